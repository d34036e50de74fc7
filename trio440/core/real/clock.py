"""Real time: trio's clock, hence also the virtual time of ``trio.testing.MockClock``."""

import time
from contextlib import AbstractContextManager

import trio

from trio440.core.host import Clock, Scope, WallClock

__all__ = ["SystemWallClock", "TrioClock"]


class TrioClock(Clock):
    """The clock of the running trio loop."""

    def now(self) -> float:
        """Return trio's current time in seconds."""
        return trio.current_time()

    async def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``."""
        await trio.sleep(seconds)

    async def sleep_until(self, deadline: float) -> None:
        """Sleep until ``deadline``."""
        await trio.sleep_until(deadline)

    def fail_after(self, seconds: float) -> AbstractContextManager[Scope]:
        """Return ``trio.fail_after(seconds)``."""
        return trio.fail_after(seconds)

    def move_on_after(self, seconds: float) -> AbstractContextManager[Scope, bool]:
        """Return ``trio.move_on_after(seconds)``."""
        return trio.move_on_after(seconds)

    def move_on_at(self, deadline: float) -> AbstractContextManager[Scope, bool]:
        """Return ``trio.move_on_at(deadline)``."""
        return trio.move_on_at(deadline)


class SystemWallClock(WallClock):
    """The operating system's time of day."""

    def now_ns(self) -> int:
        """Return the nanoseconds since the Unix epoch."""
        return time.time_ns()
