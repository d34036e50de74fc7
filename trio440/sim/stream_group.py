"""Simulated connections of which one task receives."""

from collections.abc import Callable

import trio

from trio440.core.host import ByteStream, StreamGroup
from trio440.errors import InvalidParameter
from trio440.sim.tcp import SimByteStream

__all__ = ["SimStreamGroup"]


class SimStreamGroup(StreamGroup):
    """The group of one machine."""

    def __init__(self, check_power: Callable[[], None]) -> None:
        self._check_power = check_power
        self._streams: dict[SimByteStream, None] = {}
        """In the order of their turns."""
        self._parked = trio.lowlevel.ParkingLot()

    def add(self, stream: ByteStream) -> None:
        """See :class:`trio440.core.host.StreamGroup`, also for the methods below."""
        self._check_power()
        if not isinstance(stream, SimByteStream):
            raise trio.ClosedResourceError("this stream is not one of this network")
        stream.join(self._wake)
        self._streams[stream] = None
        self._wake()

    def remove(self, stream: ByteStream) -> None:
        """Receive from this stream no more."""
        if isinstance(stream, SimByteStream) and stream in self._streams:
            del self._streams[stream]
            stream.leave()

    async def receive(self, max_bytes: int, limit: int = 64) -> list[tuple[ByteStream, bytes]]:
        """Receive from those that have something; see the port."""
        for name, value in (("max_bytes", max_bytes), ("limit", limit)):
            if value < 1:
                raise InvalidParameter(name, value, "at least 1")
        while True:
            self._check_power()
            await trio.lowlevel.checkpoint_if_cancelled()
            if received := self._take(max_bytes, limit):
                await trio.lowlevel.cancel_shielded_checkpoint()
                self._check_power()
                return received
            if self._parked:
                raise trio.BusyResourceError("another task is receiving on this group")
            await self._parked.park()

    def _wake(self) -> None:
        self._parked.unpark_all()

    def _take(self, max_bytes: int, limit: int) -> list[tuple[ByteStream, bytes]]:
        received: list[tuple[ByteStream, bytes]] = []
        for stream in list(self._streams):
            if len(received) == limit:
                break
            data = stream.receive_nowait(max_bytes)
            if data is None:
                continue
            received.append((stream, data))
            if data:
                self._streams[stream] = self._streams.pop(stream)
            else:
                self.remove(stream)
        return received

    def close(self) -> None:
        """Let go of all streams."""
        for stream in list(self._streams):
            self.remove(stream)
