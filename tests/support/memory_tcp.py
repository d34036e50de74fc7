"""TCP connections in memory: two bounded directions, half-close, reset, a backlog."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeAlias, TypeVarTuple

import trio

from trio440.core.host import Address, ByteStream, StreamListener
from trio440.errors import InvalidParameter

__all__ = ["Attempt", "MemoryByteStream", "MemoryListener"]

Segment = TypeVarTuple("Segment")

RECEIVE_SIZE: Final = 65_536

Send: TypeAlias = Callable[[float, Callable[[], None]], float]
"""``(earliest, land)``: let something travel to the other end; returns when it arrives."""


class MemoryByteStream(ByteStream):
    """One end of a connection; it works once :meth:`pair` has joined it to the other end.

    ``capacity`` bounds the bytes of one direction that the other end has not read. An end that
    is closed with bytes unread, or that is sent bytes after it was closed, answers with a reset.
    """

    def __init__(
        self,
        local: Address,
        remote: Address,
        *,
        capacity: int,
        send: Send,
        on_close: "Callable[[MemoryByteStream], object]",
    ) -> None:
        self._local = local
        self._remote = remote
        self._capacity = capacity
        self._send = send
        self._on_close = on_close
        self._peer: MemoryByteStream | None = None
        self._last_arrival = 0.0
        self._incoming = bytearray()
        self._unread_by_peer = 0
        self._end_sent = self._end_received = self._closed = self._broken = False
        self._sending = self._receiving = False
        self._changed = trio.Event()

    @property
    def local_address(self) -> Address:
        return self._local

    @property
    def remote_address(self) -> Address:
        return self._remote

    @property
    def broken(self) -> bool:
        """Whether the other end has reset the connection."""
        return self._broken

    def pair(self, peer: "MemoryByteStream") -> None:
        """Join the two ends."""
        self._peer, peer._peer = peer, self

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._end_sent:
            raise trio.ClosedResourceError("cannot send after the end was sent")
        with self._only_sender(), memoryview(bytes(data)) as whole:
            rest = whole
            while True:
                self._check_sendable()
                await trio.lowlevel.checkpoint_if_cancelled()
                room = self._capacity - self._unread_by_peer
                if rest and room <= 0:
                    await self._changed.wait()
                    continue
                if segment := bytes(rest[:room]):
                    self._unread_by_peer += len(segment)
                    self._travel(MemoryByteStream._land, segment)
                    rest = rest[room:]
                if not rest:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    return

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        with self._only_sender():
            self._check_sendable()
            if self._end_sent:
                raise trio.ClosedResourceError("cannot send after the end was sent")
            segment = bytes(data[: max(self._capacity - self._unread_by_peer, 0)])
            if segment:
                self._unread_by_peer += len(segment)
                self._travel(MemoryByteStream._land, segment)
            return len(segment)

    async def wait_send_all_might_not_block(self) -> None:
        with self._only_sender():
            self._check_open()
            await trio.lowlevel.checkpoint()
            while self._unread_by_peer >= self._capacity and not self._broken:
                await self._changed.wait()
                self._check_open()

    async def send_eof(self) -> None:
        with self._only_sender():
            await trio.lowlevel.checkpoint()
            if self._end_sent:
                return
            self._check_sendable()
            self._end_sent = True
            self._travel(MemoryByteStream._land_end)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if max_bytes is not None and max_bytes < 1:
            raise InvalidParameter("max_bytes", max_bytes, "at least 1")
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        while not (self._incoming or self._broken or self._end_received):
            if self._receiving:
                raise trio.BusyResourceError("another task is receiving on this stream")
            self._receiving = True
            try:
                await self._changed.wait()
            finally:
                self._receiving = False
            self._check_open()
        data = bytes(self._incoming[: max_bytes or RECEIVE_SIZE])
        if data:
            del self._incoming[: len(data)]
            if self._peer is not None:
                self._peer._was_read(len(data))
        elif self._broken:
            raise trio.BrokenResourceError("the other side reset the connection")
        await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self, *, reset: bool = False) -> None:
        """Close at once; with ``reset``, or with bytes unread, the other end breaks."""
        if self._closed:
            return
        self._closed = True
        if self._incoming or reset:
            self._travel(MemoryByteStream._land_reset)
        elif not self._end_sent:
            self._travel(MemoryByteStream._land_end)
        self._on_close(self)
        self._wake()

    def _travel(
        self, land: "Callable[[MemoryByteStream, *Segment], None]", *segment: *Segment
    ) -> None:
        """Let ``land`` happen at the other end, after all that was sent before."""
        if self._peer is not None:
            self._last_arrival = self._send(self._last_arrival, partial(land, self._peer, *segment))

    def _land(self, segment: bytes) -> None:
        if self._closed:
            self._travel(MemoryByteStream._land_reset)
        elif not self._broken:
            self._incoming += segment
            self._wake()

    def _land_end(self) -> None:
        self._end_received = True
        self._wake()

    def _land_reset(self) -> None:
        self._broken = True
        self._wake()

    def _was_read(self, count: int) -> None:
        self._unread_by_peer -= count
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream is closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._broken:
            raise trio.BrokenResourceError("the other side reset the connection")

    @contextmanager
    def _only_sender(self) -> Iterator[None]:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False


class Attempt:
    """A wish to connect: it is answered, or abandoned by whoever waits."""

    def __init__(self, stream: MemoryByteStream) -> None:
        self.stream = stream
        self.abandoned = False
        self._accepted = False
        self._answered = trio.Event()

    async def wait(self) -> bool:
        """Wait for the answer and return whether it is yes."""
        await self._answered.wait()
        return self._accepted

    def answer(self, *, accepted: bool) -> None:
        """Answer whoever waits."""
        self._accepted = accepted
        self._answered.set()

    def abandon(self) -> None:
        """Give up: nothing stays open, and an accepted other end breaks."""
        self.abandoned = True
        self.stream.close(reset=True)


class MemoryListener(StreamListener):
    """A bounded queue of connections that wait to be accepted."""

    def __init__(self, local: Address, backlog: int, on_close: Callable[[], object]) -> None:
        self._local = local
        self._backlog = backlog
        self._on_close = on_close
        self._queue: deque[MemoryByteStream] = deque()
        self._open = True
        self._waiting = False
        self._changed = trio.Event()

    @property
    def local_address(self) -> Address:
        return self._local

    @property
    def full(self) -> bool:
        """Whether the backlog holds all it may."""
        return len(self._queue) >= self._backlog

    def offer(self, stream: MemoryByteStream) -> None:
        """Put the near end of a new connection into the backlog."""
        self._queue.append(stream)
        self._wake()

    async def accept(self) -> ByteStream:
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if not self._open:
                raise trio.ClosedResourceError("this listener is closed")
            while self._queue:
                stream = self._queue.popleft()
                if stream.broken:
                    stream.close()
                    continue
                await trio.lowlevel.cancel_shielded_checkpoint()
                return stream
            if self._waiting:
                raise trio.BusyResourceError("another task is accepting on this listener")
            self._waiting = True
            try:
                await self._changed.wait()
            finally:
                self._waiting = False

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._on_close()
            for stream in self._queue:
                stream.close(reset=True)
            self._queue.clear()
            self._wake()
        await trio.lowlevel.checkpoint()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
