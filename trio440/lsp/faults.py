"""Faults on the way of LSP datagrams, as a port: any endpoint, unmodified, on a bad network.

``open_faulty_ports`` wraps the UDP side of a host. Faults are drawn from one seeded generator,
per direction, and may be changed while running::

    async with open_faulty_ports(REAL_HOST, sending=Faults(drop=0.1), rng=Random(7)) as ports:
        async with lsp.connect(host, port, ports=ports) as client:
            ...
"""

import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Literal

import attrs
import trio

from trio440.core.host import (
    Address,
    ByteStream,
    Datagram,
    Host,
    Net,
    StreamGroup,
    StreamListener,
    UdpSocket,
)
from trio440.core.lifetimes import open_service_nursery
from trio440.errors import BadMessage, InvalidParameter
from trio440.lsp.message import Data, decode_untrusted, encode

__all__ = ["Faults", "FaultyNet", "open_faulty_ports"]

MAX_DELAYED: Final = 10_000
"""Datagrams that may be on their way late at one time."""


def _check_probability(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value <= 1:
        raise InvalidParameter(attribute.name, value, "a probability from 0 to 1")


def _check_seconds(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not value >= 0:
        raise InvalidParameter(attribute.name, value, "at least 0 seconds")


@attrs.define(kw_only=True)
class Faults:
    """What may happen to a datagram in one direction; probabilities are from 0 to 1.

    The payload faults concern Data alone: the payload changes while the size and the checksum
    stay what the sender claimed, so that the datagram is still well formed.

    Raises:
        InvalidParameter: a probability or a time is out of range, also on assignment.
    """

    drop: float = attrs.field(default=0.0, validator=_check_probability)
    duplicate: float = attrs.field(default=0.0, validator=_check_probability)
    """Probability that it arrives twice."""
    delay: float = attrs.field(default=0.0, validator=_check_probability)
    """Probability that it arrives ``delay_seconds`` late."""
    delay_seconds: float = attrs.field(default=0.5, validator=_check_seconds)
    reorder: float = attrs.field(default=0.0, validator=_check_probability)
    """Probability that it is held back for up to ``reorder_seconds`` while others pass it."""
    reorder_seconds: float = attrs.field(default=0.05, validator=_check_seconds)
    corrupt: float = attrs.field(default=0.0, validator=_check_probability)
    """Probability that a bit of its payload flips."""
    shorten: float = attrs.field(default=0.0, validator=_check_probability)
    """Probability that its payload loses its tail."""
    lengthen: float = attrs.field(default=0.0, validator=_check_probability)
    """Probability that its payload gains a tail."""

    def draw(
        self, datagram: bytes, rng: random.Random, counts: Counter[str]
    ) -> list[tuple[float, bytes]]:
        """Draw the fate of a datagram: what arrives, each with its delay in seconds."""
        if rng.random() < self.drop:
            counts["dropped"] += 1
            return []
        copies = 1
        if rng.random() < self.duplicate:
            counts["duplicated"] += 1
            copies = 2
        return [(self._draw_delay(rng, counts), self._spoil(datagram, rng, counts))] * copies

    def _draw_delay(self, rng: random.Random, counts: Counter[str]) -> float:
        delay = 0.0
        if rng.random() < self.delay:
            counts["delayed"] += 1
            delay += self.delay_seconds
        if rng.random() < self.reorder:
            counts["reordered"] += 1
            delay += rng.uniform(0, self.reorder_seconds)
        return delay

    def _spoil(self, datagram: bytes, rng: random.Random, counts: Counter[str]) -> bytes:
        """Apply the payload faults."""
        for name, probability, spoil in (
            ("corrupted", self.corrupt, _flip_bit),
            ("shortened", self.shorten, _cut),
            ("lengthened", self.lengthen, _extend),
        ):
            if rng.random() < probability:
                spoiled = _change_payload(datagram, partial(spoil, rng=rng))
                counts[name] += spoiled is not datagram
                datagram = spoiled
        return datagram


def _flip_bit(payload: bytes, rng: random.Random) -> bytes:
    if not payload:
        return payload
    changed = bytearray(payload)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(payload: bytes, rng: random.Random) -> bytes:
    return payload[: rng.randrange(len(payload))] if payload else payload


def _extend(payload: bytes, rng: random.Random) -> bytes:
    return payload + rng.randbytes(rng.randint(1, 8))


def _change_payload(datagram: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change the payload of a Data and nothing else; other datagrams stay as they are."""
    try:
        message = decode_untrusted(datagram)
    except BadMessage:
        return datagram
    if not isinstance(message, Data):
        return datagram
    return encode(attrs.evolve(message, payload=change(message.payload)))


class _FaultySocket(UdpSocket):
    """A socket whose datagrams meet faults in both directions."""

    def __init__(self, socket: UdpSocket, net: "FaultyNet") -> None:
        self._socket = socket
        self._net = net
        self._ready: deque[Datagram] = deque()
        self._receiving: trio.CancelScope | None = None

    @property
    def local_address(self) -> Address:
        return self._socket.local_address

    async def receive(self, limit: int = 64) -> list[Datagram]:
        while True:
            if self._ready:
                await trio.lowlevel.checkpoint()
                if batch := self.receive_nowait(limit):
                    return batch
            with trio.CancelScope() as self._receiving:
                self._sieve(await self._socket.receive(limit))
                if self._ready:
                    return self._take_ready(limit)

    def receive_nowait(self, limit: int = 64) -> list[Datagram]:
        while found := self._socket.receive_nowait(limit):
            self._sieve(found)
            if len(self._ready) >= limit:
                break
        return self._take_ready(limit)

    def send_nowait(self, datagrams: Sequence[Datagram]) -> int:
        at_once: list[Datagram] = []
        for datagram, address in datagrams:
            for delay, data in self._net.draw_sending(datagram):
                if delay:
                    self._net.later(delay, partial(self._send_late, (data, address)))
                else:
                    at_once.append((data, address))
        refused = len(at_once) - self._socket.send_nowait(at_once)
        if refused:
            self._net.counts["send buffer full"] += refused
        return len(datagrams)

    def close(self) -> None:
        self._socket.close()

    def _sieve(self, batch: list[Datagram]) -> None:
        for datagram, address in batch:
            for delay, data in self._net.draw_receiving(datagram):
                if delay:
                    self._net.later(delay, partial(self._receive_late, (data, address)))
                else:
                    self._ready.append((data, address))

    def _take_ready(self, limit: int) -> list[Datagram]:
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def _send_late(self, datagram: Datagram) -> None:
        try:
            self._socket.send_nowait([datagram])
        except trio.ClosedResourceError:
            return

    def _receive_late(self, datagram: Datagram) -> None:
        self._ready.append(datagram)
        if self._receiving is not None:
            self._receiving.cancel()


class FaultyNet(Net):
    """A network whose UDP suffers ``sending`` and ``receiving`` faults; TCP is left alone."""

    def __init__(
        self,
        ports: Host,
        sending: Faults,
        receiving: Faults,
        rng: random.Random,
        nursery: trio.Nursery,
    ) -> None:
        """Wrap ``ports.net``; ``nursery`` owns what is delayed. Use ``open_faulty_ports``."""
        self.sending = sending
        self.receiving = receiving
        self.counts: Counter[str] = Counter()
        """Faults that happened, by name; what the wrapped socket refuses is lost and counted."""
        self._ports = ports
        self._rng = rng
        self._nursery = nursery
        self._delayed = 0

    def draw_sending(self, datagram: bytes) -> list[tuple[float, bytes]]:
        """Draw what becomes of a datagram that is being sent."""
        return self.sending.draw(datagram, self._rng, self.counts)

    def draw_receiving(self, datagram: bytes) -> list[tuple[float, bytes]]:
        """Draw what becomes of a datagram that has arrived."""
        return self.receiving.draw(datagram, self._rng, self.counts)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after ``seconds``, unless the network is closed before.

        Past ``MAX_DELAYED`` waiting datagrams, more are dropped and counted.
        """
        if self._delayed >= MAX_DELAYED:
            self.counts["too many delayed"] += 1
            return
        self._delayed += 1

        async def wait_and_act() -> None:
            await self._ports.clock.sleep(seconds)
            self._delayed -= 1
            action()

        self._nursery.start_soon(wait_and_act)

    async def resolve(
        self, host: str, port: int, *, kind: Literal["udp", "tcp"], passive: bool = False
    ) -> list[Address]:
        """Pass on to the wrapped network."""
        return await self._ports.net.resolve(host, port, kind=kind, passive=passive)

    async def bind_udp(self, host: str = "127.0.0.1", port: int = 0) -> UdpSocket:
        """Bind a socket whose datagrams meet the faults."""
        return _FaultySocket(await self._ports.net.bind_udp(host, port), self)

    async def listen_tcp(
        self, host: str = "127.0.0.1", port: int = 0, *, backlog: int = 128
    ) -> StreamListener:
        """Pass on to the wrapped network."""
        return await self._ports.net.listen_tcp(host, port, backlog=backlog)

    async def connect_tcp(self, host: str, port: int) -> ByteStream:
        """Pass on to the wrapped network."""
        return await self._ports.net.connect_tcp(host, port)

    def open_stream_group(self) -> StreamGroup:
        """Pass on to the wrapped network."""
        return self._ports.net.open_stream_group()


@asynccontextmanager
async def open_faulty_ports(
    ports: Host,
    *,
    sending: Faults | None = None,
    receiving: Faults | None = None,
    rng: random.Random | None = None,
) -> AsyncIterator[Host]:
    """Give a host like ``ports`` whose UDP datagrams meet faults.

    Args:
        ports: the host to wrap.
        sending: what happens to datagrams on their way out; may be changed while running.
        receiving: what happens to datagrams that arrive.
        rng: the source of chance; None: seeded from ``ports.rng``.

    What is still delayed when the context ends is lost.
    """
    rng = rng or random.Random(ports.rng.getrandbits(64))
    async with open_service_nursery() as nursery:
        net = FaultyNet(ports, sending or Faults(), receiving or Faults(), rng, nursery)
        yield attrs.evolve(ports, net=net)
