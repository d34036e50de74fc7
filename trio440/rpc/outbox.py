"""What waits to be sent on one connection, and the one task that sends it.

A frame that comes alone is written at once, without a switch to another task; when more are to be
expected, frames gather until the writer has its turn, and go out as one burst. Which it is, the
caller knows: see :meth:`Outbox.put`, :meth:`Outbox.put_alone` and :meth:`Outbox.put_first`.
"""

import math
from collections import deque
from typing import Final

import trio

from trio440.core.host import ByteStream, Clock
from trio440.core.parking import Sleeper

__all__ = ["Outbox", "Stalled"]

BURST_BYTES: Final = 65_536
"""How much is handed to the network at once, and must be taken within the stall time."""
BURST_SECONDS: Final = 200e-6
"""Frames that come so soon after one that was written at once are of one burst with it."""


class Stalled(Exception):
    """The other side has taken nothing for the stall time."""


class Outbox:
    """The frames that wait for one connection, and its writer."""

    def __init__(
        self, stream: ByteStream, clock: Clock, *, limit_bytes: int, stall_seconds: float
    ) -> None:
        """Make an empty one; :meth:`run` is the writer.

        Args:
            stream: the connection.
            clock: for the stall time.
            limit_bytes: past this :attr:`has_room` is false; frames are taken all the same.
            stall_seconds: for each burst.
        """
        self.bytes_sent = 0
        self.said = False
        """Whether anything was sent since somebody set this to False."""
        self._stream = stream
        self._clock = clock
        self._limit = limit_bytes
        self._stall_seconds = stall_seconds
        self._frames: deque[bytes] = deque()
        self._queued = 0
        self._is_writing = False
        self._burst_until = -math.inf
        self._sleeper = Sleeper()
        self._is_over = False
        self._broken: trio.BrokenResourceError | None = None
        self._drained = trio.lowlevel.ParkingLot()

    @property
    def queued_bytes(self) -> int:
        """What waits, or is on its way to the network."""
        return self._queued

    @property
    def has_room(self) -> bool:
        """Whether less than the limit waits."""
        return self._queued < self._limit

    def put(self, frame: bytes) -> None:
        """Send when the writer has its turn, with all that has come until then."""
        if self._is_over:
            return
        self._frames.append(frame)
        self._queued += len(frame)
        self._sleeper.wake()

    def put_alone(self, frame: bytes) -> None:
        """Send at once if nothing waits: for a frame after which nothing more is expected."""
        if self._is_writing or self._frames or self._is_over or self._broken is not None:
            self.put(frame)
            return
        try:
            sent = self._stream.send_nowait(frame)
        except trio.BrokenResourceError as error:
            self._broken = error
            self._sleeper.wake()
            return
        self.said = True
        self.bytes_sent += sent
        if sent < len(frame):
            self.put(frame[sent:])

    def put_first(self, frame: bytes) -> None:
        """Send at once if nothing waits, and let what others put soon after it gather."""
        now = self._clock.now()
        if now < self._burst_until:
            self.put(frame)
        else:
            self._burst_until = now + BURST_SECONDS
            self.put_alone(frame)

    async def wait_room(self) -> None:
        """Wait until :attr:`has_room`. Cancelled: nothing happened."""
        while not self.has_room:
            await self._drained.park()

    async def wait_empty(self) -> None:
        """Wait until the network has everything. Cancelled: nothing happened."""
        while self._queued:
            await self._drained.park()

    def give_up(self) -> None:
        """Drop what waits, and whatever still comes."""
        self._is_over = True
        self._frames.clear()
        self._queued = 0
        self._drained.unpark_all()

    async def run(self) -> None:
        """Send what comes, until cancelled.

        Raises:
            trio.BrokenResourceError: the connection broke.
            Stalled: the other side takes nothing.
        """
        while True:
            while self._frames:
                await self._send(self._take())
            if self._broken is not None:
                raise self._broken
            self._is_writing = False
            await self._sleeper.sleep()

    def _take(self) -> bytes:
        frames = self._frames
        if len(frames) == 1 or len(frames[0]) >= BURST_BYTES:
            return frames.popleft()
        if self._queued <= BURST_BYTES:
            burst = b"".join(frames)
            frames.clear()
            return burst
        taken, size = [], 0
        while frames and size < BURST_BYTES:
            taken.append(part := frames.popleft())
            size += len(part)
        return b"".join(taken)

    async def _send(self, burst: bytes) -> None:
        self._is_writing = True
        done = self._stream.send_nowait(burst)
        self._sent(done)
        while done < len(burst):
            part = memoryview(burst)[done : done + BURST_BYTES]
            with self._clock.move_on_after(self._stall_seconds) as scope:
                await self._stream.send_all(part)
            if scope.cancelled_caught:
                raise Stalled
            done += len(part)
            self._sent(len(part))

    def _sent(self, count: int) -> None:
        self.said = True
        self.bytes_sent += count
        self._queued -= count
        if self._drained and (self.has_room or not self._queued):
            self._drained.unpark_all()
