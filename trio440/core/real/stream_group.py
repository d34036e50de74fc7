"""Many sockets behind one descriptor: the kernel's own selector (epoll, kqueue) is waited for."""

import os
import selectors
from collections import deque
from typing import Final

import trio

from trio440.core.host import ByteStream, StreamGroup
from trio440.errors import InvalidParameter

__all__ = ["KernelStreamGroup"]


class KernelStreamGroup(StreamGroup):
    """Sockets of one selector, which is itself readable while one of them is."""

    def __init__(self) -> None:
        self._selector: Final = selectors.DefaultSelector()
        self._handles: dict[ByteStream, int] = {}
        self._ready: deque[tuple[int, ByteStream]] = deque()
        """Those whose turn has not come since the selector was asked."""

    def add(self, stream: ByteStream) -> None:
        """See :class:`trio440.core.host.StreamGroup`, also for the methods below."""
        handle = _handle(stream)
        self._selector.register(handle, selectors.EVENT_READ, stream)
        self._handles[stream] = handle

    def remove(self, stream: ByteStream) -> None:
        """Receive from this stream no more."""
        handle = self._handles.pop(stream, None)
        if handle is not None:
            self._selector.unregister(handle)

    async def receive(self, max_bytes: int, limit: int = 64) -> list[tuple[ByteStream, bytes]]:
        """Receive from those that have something; see the port."""
        if max_bytes < 1:
            raise InvalidParameter("max_bytes", max_bytes, "at least 1")
        if limit < 1:
            raise InvalidParameter("limit", limit, "at least 1")
        while True:
            if self._ready:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._selector)
                self._ready += [(key.fd, key.data) for key, _ in self._selector.select(0)]
            if received := self._take(max_bytes, limit):
                return received

    def _take(self, max_bytes: int, limit: int) -> list[tuple[ByteStream, bytes]]:
        ready, handles, read = self._ready, self._handles, os.read
        received: list[tuple[ByteStream, bytes]] = []
        while ready and len(received) < limit:
            handle, stream = ready.popleft()
            if handles.get(stream) != handle:
                continue  # taken out meanwhile
            try:
                data = read(handle, max_bytes)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self.remove(stream)
            received.append((stream, data))
        return received

    def close(self) -> None:
        """Let go of all streams."""
        if self._selector.get_map() is not None:
            trio.lowlevel.notify_closing(self._selector)
            self._selector.close()
        self._handles.clear()
        self._ready.clear()


def _handle(stream: ByteStream) -> int:
    """Return the descriptor of a stream of :class:`~trio440.core.real.net.KernelNet`."""
    handle: int = getattr(stream, "handle", -1)
    if handle < 0:
        raise trio.ClosedResourceError(
            "this stream is closed, or not one of this machine's network"
        )
    return handle
