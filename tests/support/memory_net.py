"""A network in memory: whole systems under virtual time, without a single real socket.

Several machines share one :class:`MemoryNetwork`; each has addresses of its own and is used
through the ports of :mod:`trio440.core.host`::

    async with open_memory_network(random.Random(1)) as network:
        server = memory_host(net=network.at("10.0.0.1"), rng=random.Random(2))
        client = memory_host(net=network.at("10.0.0.2"), rng=random.Random(3))
        network.default.loss = 0.2
        network.default.latency = lambda rng: rng.uniform(0.01, 0.1)

Every machine also has 127.0.0.1 and ::1, which lead to itself alone. Time is trio's, so that
``autojump_clock`` drives everything; chance comes from the one generator passed in. What is on
its way is carried by one task that the network's context owns and cancels.
"""

import heapq
import ipaddress
import itertools
import math
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Literal, NamedTuple, TypeAlias

import attrs
import trio

from tests.support.memory_disk import MemoryDisk
from tests.support.memory_machine import InlineBlocking, VirtualWallClock
from tests.support.memory_tcp import Attempt, MemoryByteStream, MemoryListener
from trio440.core.host import (
    Address,
    ByteStream,
    Datagram,
    Host,
    Net,
    StreamListener,
    UdpSocket,
)
from trio440.core.real.clock import TrioClock
from trio440.errors import (
    AddressInUse,
    AddressUnavailable,
    ConnectionRefused,
    InvalidParameter,
    ResolutionFailed,
)

__all__ = [
    "Filter",
    "Link",
    "MemoryNet",
    "MemoryNetwork",
    "WireRecord",
    "memory_host",
    "open_memory_network",
]

MAX_DATAGRAM: Final = 65_507
MAX_PORT: Final = 65_535
FIRST_FREE_PORT: Final = 49_152
SYN_AGAIN_SECONDS: Final = 1.0
LOOPBACK: Final = ("127.0.0.1", "::1")
WILDCARDS: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - the word itself, nothing is bound

Filter: TypeAlias = Callable[[bytes, Address, Address], Iterable[tuple[float, bytes]]]
"""``(data, source, destination)`` to what travels instead: ``(delay in seconds, data)`` each."""
Latency: TypeAlias = float | Callable[[random.Random], float]


class WireRecord(NamedTuple):
    """One datagram as its sender handed it over, before loss and filters."""

    time: float
    source: Address
    destination: Address
    data: bytes


@attrs.define
class Link:
    """What happens to datagrams in one direction; every field may change while running.

    ``loss`` and ``duplicate`` are probabilities; ``latency`` is in seconds, fixed or drawn for
    each copy. TCP takes the latency alone.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    latency: Latency = 0.0

    def draw_latency(self, rng: random.Random) -> float:
        """Return the seconds that the next copy travels."""
        return self.latency(rng) if callable(self.latency) else self.latency


class _Flight(NamedTuple):
    """Ordered by time, then by number, which no two share."""

    due: float
    number: int
    land: Callable[[], None]


class MemoryNetwork:
    """The wires between all machines; made by :func:`open_memory_network`.

    Attributes:
        default: the link of every pair that has none of its own.
        filter: sees every datagram first and may drop, delay, double and change it.
        wire: every datagram sent, in order, while ``recording`` is True.
        dropped: how many datagrams went lost, by reason: ``loss``, ``filter``, ``queue``,
            ``no socket``, ``no route``, ``too big``.
        names: what :meth:`~trio440.core.host.Net.resolve` knows beside literals.
        queue_limit: how many datagrams a UDP socket holds unread.
        send_limit: how many datagrams a UDP socket takes before the wires' task has run; None
            is no limit.
        stream_capacity: how many bytes a TCP direction holds unread.
    """

    def __init__(self, rng: random.Random) -> None:
        self.default = Link()
        self.filter: Filter | None = None
        self.wire: list[WireRecord] = []
        self.recording = True
        self.dropped: Counter[str] = Counter()
        self.names: dict[str, list[str]] = {"localhost": list(LOOPBACK)}
        self.queue_limit = 1024
        self.send_limit: int | None = None
        self.stream_capacity = 65_536
        self.turn = 0
        self._rng = rng
        self._links: dict[tuple[str, str], Link] = {}
        self._machines: dict[str, MemoryNet] = {}
        self._flights: list[_Flight] = []
        self._numbers = itertools.count()
        self._scheduled = trio.Event()

    def at(self, *addresses: str) -> "MemoryNet":
        """Add a machine with these addresses, numeric and new."""
        for address in addresses:
            if address in self._machines or ipaddress.ip_address(address).is_loopback:
                raise ValueError(f"{address} belongs to a machine already")
        machine = MemoryNet(self, addresses)
        self._machines.update(dict.fromkeys(addresses, machine))
        return machine

    def link(self, source: str, destination: str) -> Link:
        """Return the link of one direction between two machines, its own from now on."""
        key = (source, destination)
        if key not in self._links:
            self._links[key] = attrs.evolve(self.default)
        return self._links[key]

    def inject(self, data: bytes, source: Address, destination: Address) -> None:
        """Put a datagram on the wire in anybody's name; it meets neither filter nor loss."""
        self._record(data, source, destination)
        self.schedule(0, lambda: self._machines[destination[0]].land(data, source, destination))

    @property
    def open_endpoints(self) -> list[str]:
        """What is still open on any machine, e.g. ``udp 10.0.0.1:53``, in order."""
        machines = dict.fromkeys(self._machines.values())
        return sorted(name for machine in machines for name in machine.open_endpoints)

    def transmit(
        self, sender: "MemoryNet", data: bytes, source: Address, destination: Address
    ) -> None:
        """Send one datagram on its way, or lose it."""
        self._record(data, source, destination)
        if len(data) > MAX_DATAGRAM:
            self.dropped["too big"] += 1
            return
        receiver = self.route(sender, source, destination)
        if receiver is None:
            self.dropped["no route"] += 1
            return
        copies = [(0.0, data)]
        if self.filter is not None:
            copies = list(self.filter(data, source, destination))
            self.dropped["filter"] += not copies
        link = self._links.get((source[0], destination[0]), self.default)
        for delay, copy in copies:
            if link.loss > 0 and self._rng.random() < link.loss:
                self.dropped["loss"] += 1
                continue
            twice = link.duplicate > 0 and self._rng.random() < link.duplicate
            for _ in range(1 + twice):
                land = partial(receiver.land, copy, source, destination)
                self.schedule(delay + link.draw_latency(self._rng), land)

    def _record(self, data: bytes, source: Address, destination: Address) -> None:
        if self.recording:
            self.wire.append(WireRecord(trio.current_time(), source, destination, data))

    def route(
        self, sender: "MemoryNet", source: Address, destination: Address
    ) -> "MemoryNet | None":
        """Return the machine that ``destination`` means for ``sender``, if any."""
        if destination[0] in LOOPBACK:
            return sender
        receiver = self._machines.get(destination[0])
        return None if source[0] in LOOPBACK and receiver is not sender else receiver

    def latency(self, source: Address, destination: Address) -> float:
        """Draw the seconds that a TCP segment travels."""
        link = self._links.get((source[0], destination[0]), self.default)
        return link.draw_latency(self._rng)

    def schedule(self, delay: float, land: Callable[[], None]) -> None:
        """Call ``land`` in the wires' task after ``delay`` seconds."""
        self.schedule_at(trio.current_time() + delay, land)

    def schedule_at(self, due: float, land: Callable[[], None]) -> float:
        """Call ``land`` in the wires' task at ``due``, equal times in order; return ``due``."""
        heapq.heappush(self._flights, _Flight(due, next(self._numbers), land))
        self._scheduled.set()
        return due

    async def carry(self) -> None:
        """Deliver what is on its way, for ever."""
        while True:
            with trio.move_on_at(self._flights[0].due if self._flights else math.inf):
                await self._scheduled.wait()
            self._scheduled = trio.Event()
            self.turn += 1
            while self._flights and self._flights[0].due <= trio.current_time():
                heapq.heappop(self._flights).land()


@asynccontextmanager
async def open_memory_network(rng: random.Random) -> AsyncIterator[MemoryNetwork]:
    """Open a network; what is still on its way at the end is dropped."""
    network = MemoryNetwork(rng)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.carry)
        try:
            yield network
        except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def memory_host(*, net: Net, rng: random.Random) -> Host:
    """Return a machine on trio's clock with this network, a disk in memory and no threads."""
    disks: dict[str, MemoryDisk] = {}
    return Host(
        clock=TrioClock(),
        wall=VirtualWallClock(),
        net=net,
        disk=lambda root: disks.setdefault(root, MemoryDisk()),
        blocking=InlineBlocking(),
        rng=rng,
    )


class _MemoryUdpSocket(UdpSocket):
    """A bounded queue of datagrams with an address."""

    def __init__(self, machine: "MemoryNet", local: Address) -> None:
        self._machine = machine
        self._local = local
        self._queue: deque[Datagram] = deque()
        self._arrived = trio.Event()
        self._waiting = False
        self._open = True
        self._sent_in_turn = (0, 0)

    @property
    def local_address(self) -> Address:
        return self._local

    async def receive(self, limit: int = 64) -> list[Datagram]:
        self._check_open()
        if limit < 1:
            raise InvalidParameter("limit", limit, "at least 1")
        if self._waiting:
            raise trio.BusyResourceError("another task is receiving on this UDP socket")
        self._waiting = True
        try:
            await trio.lowlevel.checkpoint()
            while not (batch := self.receive_nowait(limit)):
                self._arrived = trio.Event()
                await self._arrived.wait()
            return batch
        finally:
            self._waiting = False

    def receive_nowait(self, limit: int = 64) -> list[Datagram]:
        self._check_open()
        if limit < 1:
            raise InvalidParameter("limit", limit, "at least 1")
        return [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]

    def send_nowait(self, datagrams: Sequence[Datagram]) -> int:
        self._check_open()
        network = self._machine.network
        turn, count = self._sent_in_turn
        room = len(datagrams)
        if network.send_limit is not None:
            count = count if turn == network.turn else 0
            room = min(room, network.send_limit - count)
            self._sent_in_turn = (network.turn, count + room)
        for data, destination in datagrams[:room]:
            source = self._machine.source(self._local, destination)
            network.transmit(self._machine, bytes(data), source, destination)
        return room

    def close(self) -> None:
        if self._open:
            self._open = False
            self._machine.udp.pop(self._local[:2], None)
            self._arrived.set()

    def land(self, data: bytes, source: Address) -> None:
        """Take a datagram that arrived, or drop it at the bound."""
        network = self._machine.network
        if len(self._queue) >= network.queue_limit:
            network.dropped["queue"] += 1
            return
        self._queue.append((data, source))
        self._arrived.set()

    def _check_open(self) -> None:
        if not self._open:
            raise trio.ClosedResourceError("this UDP socket is closed")


class MemoryNet(Net):
    """One machine's view of a :class:`MemoryNetwork`; made by :meth:`MemoryNetwork.at`."""

    def __init__(self, network: MemoryNetwork, addresses: Sequence[str]) -> None:
        self.network = network
        self.udp: dict[tuple[str, int], _MemoryUdpSocket] = {}
        self.tcp: dict[tuple[str, int], MemoryListener] = {}
        self.streams: dict[MemoryByteStream, None] = {}
        self._addresses = (*addresses, *LOOPBACK)
        self._free_ports = itertools.cycle(range(FIRST_FREE_PORT, MAX_PORT + 1))

    @property
    def open_endpoints(self) -> list[str]:
        """What this machine has open."""
        names = [f"udp {host}:{port}" for host, port in self.udp]
        names += [f"tcp {host}:{port}" for host, port in self.tcp]
        return names + [f"tcp {one.local_address} to {one.remote_address}" for one in self.streams]

    async def resolve(
        self, host: str, port: int, *, kind: Literal["udp", "tcp"], passive: bool = False
    ) -> list[Address]:
        """Look a name up in the network's table."""
        del kind
        await trio.lowlevel.checkpoint()
        if not 0 <= port <= MAX_PORT:
            raise InvalidParameter("port", port, f"0 to {MAX_PORT}")
        if host:
            found = self.network.names.get(host, [host])
        else:
            found = list(WILDCARDS.values() if passive else LOOPBACK)
        try:
            versions = {name: ipaddress.ip_address(name).version for name in found}
        except ValueError:
            versions = {}
        if not versions or "%" in host:
            raise ResolutionFailed(host, port, "is an unknown host")
        return [_address(name, port) for name in sorted(found, key=lambda name: versions[name])]

    async def bind_udp(self, host: str = "127.0.0.1", port: int = 0) -> UdpSocket:
        """Bind a UDP socket of this machine."""
        local = await self._local_address(host, port, "udp")
        sock = _MemoryUdpSocket(self, local)
        self.udp[local[:2]] = sock
        return sock

    async def listen_tcp(
        self, host: str = "127.0.0.1", port: int = 0, *, backlog: int = 128
    ) -> StreamListener:
        """Listen on an address of this machine."""
        if backlog < 1:
            raise InvalidParameter("backlog", backlog, "at least 1")
        local = await self._local_address(host, port, "tcp")
        listener = MemoryListener(local, backlog, lambda: self.tcp.pop(local[:2], None))
        self.tcp[local[:2]] = listener
        return listener

    async def connect_tcp(self, host: str, port: int) -> ByteStream:
        """Connect to a listener of any machine."""
        for address in await self.resolve(host, port, kind="tcp"):
            wildcard = _address(WILDCARDS[6 if len(address) > 2 else 4], 0)
            local = self.source(wildcard, address)
            local = _address(local[0], self._free_port("tcp"))
            attempt = Attempt(self._stream(local, address))
            self._knock(attempt, local, address)
            try:
                if await attempt.wait():
                    return attempt.stream
            except BaseException:
                attempt.abandon()
                raise
            attempt.abandon()
        raise ConnectionRefused(host, port, "cannot be reached: connection refused")

    def source(self, local: Address, destination: Address) -> Address:
        """Return the address that a datagram of a socket at ``local`` shows."""
        if local[0] not in WILDCARDS.values():
            return local
        if destination[0] in LOOPBACK:
            return _address(destination[0], local[1])
        version = ipaddress.ip_address(local[0]).version
        fitting = (a for a in self._addresses if ipaddress.ip_address(a).version == version)
        return _address(next(fitting), local[1])

    def land(self, data: bytes, source: Address, destination: Address) -> None:
        """Hand a datagram that arrived to its socket."""
        wildcard = WILDCARDS[6 if len(destination) > 2 else 4]
        sock = self.udp.get(destination[:2]) or self.udp.get((wildcard, destination[1]))
        if sock is None:
            self.network.dropped["no socket"] += 1
        else:
            sock.land(data, source)

    def _knock(self, attempt: Attempt, local: Address, remote: Address) -> None:
        """Let a wish to connect travel to its listener, and its answer back."""
        machine = self.network.route(self, local, remote)

        def arrive() -> None:
            wildcard = WILDCARDS[6 if len(remote) > 2 else 4]
            tables = machine.tcp if machine is not None else {}
            listener = tables.get(remote[:2]) or tables.get((wildcard, remote[1]))
            if attempt.abandoned:
                return
            if listener is not None and listener.full:
                self.network.schedule(SYN_AGAIN_SECONDS, arrive)
                return
            if listener is not None and machine is not None:
                near = machine._stream(remote, local)
                near.pair(attempt.stream)
                listener.offer(near)
            answer = self.network.latency(remote, local)
            self.network.schedule(answer, lambda: attempt.answer(accepted=listener is not None))

        self.network.schedule(self.network.latency(local, remote), arrive)

    def _stream(self, local: Address, remote: Address) -> MemoryByteStream:
        def send(earliest: float, land: Callable[[], None]) -> float:
            arrival = trio.current_time() + self.network.latency(local, remote)
            return self.network.schedule_at(max(earliest, arrival), land)

        stream = MemoryByteStream(
            local,
            remote,
            capacity=self.network.stream_capacity,
            send=send,
            on_close=lambda stream: self.streams.pop(stream, None),
        )
        self.streams[stream] = None
        return stream

    async def _local_address(self, host: str, port: int, kind: Literal["udp", "tcp"]) -> Address:
        address = (await self.resolve(host, port, kind=kind, passive=True))[0]
        if address[0] not in (*self._addresses, *WILDCARDS.values()):
            raise AddressUnavailable(host, port, "cannot be used: no such address here")
        if port and not self._is_free(address, kind):
            raise AddressInUse(host, port, "is already in use")
        return address if port else _address(address[0], self._free_port(kind))

    def _is_free(self, address: Address, kind: Literal["udp", "tcp"]) -> bool:
        wildcard = WILDCARDS[6 if len(address) > 2 else 4]
        taken = [name for name, port in self._taken(kind) if port == address[1]]
        if address[0] == wildcard:
            return all((":" in name) != (":" in wildcard) for name in taken)
        return address[0] not in taken and wildcard not in taken

    def _free_port(self, kind: Literal["udp", "tcp"]) -> int:
        taken = {port for _, port in self._taken(kind)}
        tried = itertools.islice(self._free_ports, MAX_PORT + 1 - FIRST_FREE_PORT)
        for port in tried:
            if port not in taken:
                return port
        raise AddressUnavailable(self._addresses[0], 0, "cannot be used: no port is free")

    def _taken(self, kind: Literal["udp", "tcp"]) -> list[tuple[str, int]]:
        if kind == "udp":
            return list(self.udp)
        clients = [stream.local_address[:2] for stream in self.streams]
        return [*self.tcp, *clients]


def _address(host: str, port: int) -> Address:
    return (host, port, 0, 0) if ":" in host else (host, port)
