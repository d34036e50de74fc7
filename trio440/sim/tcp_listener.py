"""Simulated listening sockets: connections wait in a bounded backlog."""

from collections import deque
from collections.abc import Callable

import trio

from trio440.core.host import Address, ByteStream, StreamListener
from trio440.sim.tcp import SimByteStream

__all__ = ["SimListener"]


class SimListener(StreamListener):
    """A bounded queue of connections that wait to be accepted."""

    def __init__(
        self,
        local: Address,
        backlog: int,
        check_power: Callable[[], None],
        on_close: "Callable[[SimListener], object]",
    ) -> None:
        """Listen on ``local``; ``on_close`` is called once."""
        self._local = local
        self._backlog = backlog
        self._check_power = check_power
        self._on_close = on_close
        self._queue: deque[SimByteStream] = deque()
        self._open = True
        self._waiting = False
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def local_address(self) -> Address:
        """See :class:`trio440.core.host.StreamListener`, also for the methods below."""
        return self._local

    @property
    def full(self) -> bool:
        """Whether the backlog holds all it may."""
        return len(self._queue) >= self._backlog

    def offer(self, stream: SimByteStream) -> None:
        """Put the near end of a new connection into the backlog."""
        self._queue.append(stream)
        self._changed.unpark_all()

    async def accept(self) -> ByteStream:
        """Wait for a connection; see the port."""
        self._check_power()
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            self._check_power()
            if not self._open:
                raise trio.ClosedResourceError("this listener is closed")
            while self._queue:
                stream = self._queue.popleft()
                if stream.broken:
                    stream.close()
                    continue
                await trio.lowlevel.cancel_shielded_checkpoint()
                self._check_power()
                return stream
            if self._waiting:
                raise trio.BusyResourceError("another task is accepting on this listener")
            self._waiting = True
            try:
                await self._changed.park()
            finally:
                self._waiting = False

    async def aclose(self) -> None:
        """Stop listening; see the port."""
        self._check_power()
        if self._open:
            self._open = False
            self._on_close(self)
            for stream in self._queue:
                stream.close(reset=True)
            self._queue.clear()
            self._changed.unpark_all()
        await trio.lowlevel.checkpoint()
