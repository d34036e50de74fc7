"""Simulated TCP connections: two bounded directions, half-close, reset, silence, a backlog.

A stream counts what it has sent, what the other machine has received and what the program there
has read: the second tells it that the other machine lives, the third how much it may send. The
table of a machine's connections is :mod:`trio440.sim.tcp_table`.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TypeAlias

import trio

from trio440.core.host import Address, ByteStream
from trio440.errors import InvalidParameter
from trio440.sim.packets import Packet, PacketKind

__all__ = ["REFUSED", "STREAM_TIMEOUT", "OnEnd", "SimByteStream", "Wire"]

STREAM_TIMEOUT: Final = 15_000_000
"""Microseconds after which a stream breaks whose data no machine takes."""
FIRST_AGAIN: Final = 200_000
"""Microseconds until what a dead machine did not take is sent again; doubles each time."""
RECEIVE_SIZE: Final = 65_536
SPLIT_SHARE: Final = 0.25
"""The share of segments that travel as two."""
MERGE_SHARE: Final = 0.125
"""The share of segments that wait a little for the next before the reader is woken."""
MERGE_DELAY: Final = 1_000
"""Up to so many microseconds."""
REFUSED: Final = "connection refused"
"""What breaks a stream to where nobody listens."""


class Wire(Protocol):
    """What a stream needs of its machine."""

    def check_power(self) -> None:
        """Raise ``PowerCut`` if the machine is dead."""

    def now(self) -> int:
        """Return the time in microseconds."""

    def later(self, delay: int, fn: Callable[[], None]) -> None:
        """Call ``fn`` after ``delay`` microseconds if the machine still lives."""

    def transmit(self, packet: Packet, lost: Callable[[], None] | None = None) -> None:
        """Send a packet; ``lost`` is called when it met a dead machine."""


class SimByteStream(ByteStream):
    """One end of a connection.

    An end that is closed with bytes unread, or that is sent bytes after it was closed, answers
    with a reset.
    """

    def __init__(
        self,
        wire: Wire,
        connection: str,
        local: Address,
        remote: Address,
        *,
        capacity: int,
        rng: random.Random | None,
        on_end: "OnEnd",
    ) -> None:
        """Make an end that does not know yet whether there is another.

        Args:
            wire: of its machine.
            connection: its name at both ends.
            local: this end's address.
            remote: the other end's address.
            capacity: how many bytes of one direction may be sent and not read.
            rng: decides where data is split and merged; None leaves it as it is.
            on_end: called once with the reason, when the connection is over at this end.
        """
        self.connection = connection
        self.established = False
        self._wire = wire
        self._local = local
        self._remote = remote
        self._capacity = capacity
        self._rng = rng
        self._on_end = on_end
        self._incoming = bytearray()
        self._sent = self._taken = self._read_by_peer = 0
        self._received = self._read = self._read_told = 0
        self._end_sent = self._end_received = self._closed = False
        self._broken = ""
        self._sending = self._receiving = False
        self._changed = trio.lowlevel.ParkingLot()
        self._on_change: Callable[[], None] | None = None
        """Called, too, while a group receives from this end."""
        self._watching = self._again_planned = False
        self._progress_at = 0
        self._again_wait = FIRST_AGAIN

    @property
    def local_address(self) -> Address:
        """See :class:`trio440.core.host.ByteStream`, also for the methods below."""
        return self._local

    @property
    def remote_address(self) -> Address:
        """The other end's address."""
        return self._remote

    @property
    def broken(self) -> str:
        """Why the connection broke; empty while it has not."""
        return self._broken

    # The port

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes as fast as the other end reads; see the port."""
        self._wire.check_power()
        if self._end_sent:
            raise trio.ClosedResourceError("cannot send after the end was sent")
        with self._only_sender(), memoryview(bytes(data)) as whole:
            rest = whole
            while True:
                self._check_sendable()
                await trio.lowlevel.checkpoint_if_cancelled()
                self._check_sendable()
                room = self._capacity - (self._sent - self._read_by_peer)
                if rest and room <= 0:
                    await self._changed.park()
                    continue
                if segment := bytes(rest[:room]):
                    self._send_data(segment)
                    rest = rest[room:]
                if not rest:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    self._wire.check_power()
                    return

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Send what there is room for; see the port."""
        self._wire.check_power()
        with self._only_sender():
            self._check_sendable()
            if self._end_sent:
                raise trio.ClosedResourceError("cannot send after the end was sent")
            room = max(self._capacity - (self._sent - self._read_by_peer), 0)
            if segment := bytes(data[:room]):
                self._send_data(segment)
            return len(segment)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room; see the port."""
        self._wire.check_power()
        with self._only_sender():
            self._check_open()
            await trio.lowlevel.checkpoint()
            self._check_open()
            while self._sent - self._read_by_peer >= self._capacity and not self._broken:
                await self._changed.park()
                self._check_open()

    async def send_eof(self) -> None:
        """End this direction; see the port."""
        self._wire.check_power()
        with self._only_sender():
            await trio.lowlevel.checkpoint()
            self._check_open()
            if not self._end_sent:
                self._check_sendable()
                self._send_end()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive bytes; see the port."""
        self._wire.check_power()
        if max_bytes is not None and max_bytes < 1:
            raise InvalidParameter("max_bytes", max_bytes, "at least 1")
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        while not (self._incoming or self._broken or self._end_received):
            if self._receiving:
                raise trio.BusyResourceError("another task is receiving on this stream")
            self._receiving = True
            try:
                await self._changed.park()
            finally:
                self._receiving = False
            self._check_open()
        data = self._take_incoming(max_bytes or RECEIVE_SIZE)
        if not data and self._broken:
            raise trio.BrokenResourceError(self._broken)
        await trio.lowlevel.cancel_shielded_checkpoint()
        self._wire.check_power()
        return data

    async def aclose(self) -> None:
        """Close both directions; see the port."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self, *, reset: bool = False) -> None:
        """Close at once; with ``reset``, or with bytes unread, the other end breaks."""
        self._wire.check_power()
        if self._closed:
            return
        self._closed = True
        self._tell()
        if self._broken:
            return
        if self.established and (reset or self._incoming):
            self._transmit("rst")
        elif self.established and not self._end_sent:
            self._send_end()
        self._on_end(self, "closed")

    # A group's side

    def join(self, on_change: Callable[[], None]) -> None:
        """Let a group receive from this end: it is told when there may be something."""
        self._check_open()
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this stream")
        self._receiving = True
        self._on_change = on_change

    def leave(self) -> None:
        """Let tasks receive from this end again."""
        self._receiving = False
        self._on_change = None

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """Return what there is; ``b""`` at the end, None where nothing has come."""
        if not (self._incoming or self._broken or self._end_received):
            return None
        return self._take_incoming(max_bytes)

    # The network's side

    def take(self, packet: Packet) -> None:
        """Take a packet that arrived for this connection; this end is open."""
        if packet.kind == "rst":
            refused = not self.established
            self.fail(REFUSED if refused else "the other side reset the connection")
            return
        if not self.established:
            self.established = True
            self._tell()
        self._acknowledge(packet)
        if packet.kind == "data":
            self._received = packet.end
            self._incoming += packet.data
            self._transmit("ack")
            self._wake_reader()
        elif packet.kind == "fin":
            self._received = packet.end
            self._end_received = True
            self._transmit("ack")
            self._tell()

    def fail(self, reason: str) -> None:
        """Break this end."""
        if not (self._broken or self._closed):
            self._broken = reason
            self._tell()
            self._on_end(self, reason)

    async def wait_established(self) -> None:
        """Wait until the other machine has answered, or this end is broken."""
        while not (self.established or self._broken):
            await self._changed.park()
        self._wire.check_power()

    def _acknowledge(self, packet: Packet) -> None:
        if packet.received > self._taken:
            self._taken = packet.received
            self._progress_at = self._wire.now()
        if packet.read > self._read_by_peer:
            self._read_by_peer = packet.read
            self._tell()

    def _wake_reader(self) -> None:
        rng = self._rng
        if rng is not None and rng.random() < MERGE_SHARE:
            delay = 1 + int(rng.random() * MERGE_DELAY)
            self._wire.later(delay, self._tell)
        else:
            self._tell()

    # Within

    def _tell(self) -> None:
        self._changed.unpark_all()
        if self._on_change is not None:
            self._on_change()

    def _take_incoming(self, max_bytes: int) -> bytes:
        data = bytes(self._incoming[:max_bytes])
        if data:
            del self._incoming[: len(data)]
            self._was_read(len(data))
        return data

    def _send_data(self, segment: bytes) -> None:
        rng, length = self._rng, len(segment)
        parts = [segment]
        if rng is not None and length > 1 and rng.random() < SPLIT_SHARE:
            place = rng.randrange(1, length)
            parts = [segment[:place], segment[place:]]
        for part in parts:
            self._begin_waiting()
            self._sent += len(part)
            self._transmit("data", part)

    def _send_end(self) -> None:
        self._begin_waiting()
        self._end_sent = True
        self._transmit("fin")

    def _was_read(self, count: int) -> None:
        """Tell the other end of the new room once that is half of all."""
        self._read += count
        if (self._read - self._read_told) * 2 >= self._capacity and not self._broken:
            self._transmit("ack")

    def _transmit(self, kind: PacketKind, data: bytes = b"") -> None:
        self._read_told = self._read
        packet = Packet(
            kind,
            self.connection,
            self._local,
            self._remote,
            data,
            end=self._end,
            received=self._received,
            read=self._read,
        )
        self._wire.transmit(packet, self._was_lost if kind in {"data", "fin", "again"} else None)

    @property
    def _end(self) -> int:
        return self._sent + self._end_sent

    def _begin_waiting(self) -> None:
        """Note when the oldest byte left that the other machine has not taken."""
        if self._taken >= self._end:
            self._progress_at = self._wire.now()
        if not self._watching:
            self._watching = True
            self._wire.later(STREAM_TIMEOUT, self._look)

    def _look(self) -> None:
        """Break if the other machine has taken nothing for too long."""
        self._watching = False
        if self._closed or self._broken or self._taken >= self._end:
            return
        waited = self._wire.now() - self._progress_at
        if waited >= STREAM_TIMEOUT:
            self.fail("the connection timed out")
        else:
            self._watching = True
            self._wire.later(STREAM_TIMEOUT - waited, self._look)

    def _was_lost(self) -> None:
        """Go on asking a machine that did not answer."""
        if not (self._again_planned or self._closed or self._broken):
            self._again_planned = True
            self._wire.later(self._again_wait, self._ask_again)
            self._again_wait *= 2

    def _ask_again(self) -> None:
        self._again_planned = False
        if not (self._closed or self._broken):
            self._transmit("again")

    def _check_open(self) -> None:
        self._wire.check_power()
        if self._closed:
            raise trio.ClosedResourceError("this stream is closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._broken:
            raise trio.BrokenResourceError(self._broken)

    @contextmanager
    def _only_sender(self) -> Iterator[None]:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False


OnEnd: TypeAlias = Callable[[SimByteStream, str], object]
"""Hears that a connection is over at one end, and why."""
