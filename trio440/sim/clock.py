"""A machine's clocks: virtual time seen through an offset, a rate and the machine's pauses."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import trio

from trio440.core.host import Clock, Scope, WallClock
from trio440.core.tracked_scopes import TrackedScope

__all__ = ["SimClock", "SimWallClock"]

FIRST_SECOND: Final = 1_700_000_000
"""The time of day, in Unix seconds, at which every world begins."""


class SimClock(Clock):
    """The monotonic clock of one life of a machine.

    While the machine is paused no deadline passes: those that fall into the pause pass at its
    end. What a task has begun between two calls of a port is still finished.
    """

    def __init__(self, check: Callable[[], None], *, offset: float = 0.0) -> None:
        """Start a clock.

        Args:
            check: raises when the machine is dead.
            offset: what it shows, in seconds, when the world begins.
        """
        self._check = check
        self._rate = 1.0
        self._anchor = (0.0, offset)
        self._scopes: dict[trio.CancelScope, float] = {}
        self._paused_until = 0.0

    def now(self) -> float:
        """Return the machine's own seconds."""
        self._check()
        return self.read()

    def read(self) -> float:
        """Return the machine's own seconds, be it dead or alive."""
        virtual, local = self._anchor
        return local + (trio.current_time() - virtual) * self._rate

    async def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds`` of this clock."""
        await self.sleep_until(self.now() + seconds)

    async def sleep_until(self, deadline: float) -> None:
        """Sleep until this clock shows ``deadline``."""
        with self.move_on_at(deadline):
            await trio.sleep_forever()

    @contextmanager
    def fail_after(self, seconds: float) -> Iterator[Scope]:
        """Cancel the body after ``seconds`` of this clock and raise ``trio.TooSlowError``."""
        with self.move_on_after(seconds) as scope:
            yield scope
        if scope.cancelled_caught:
            raise trio.TooSlowError

    def move_on_after(self, seconds: float) -> AbstractContextManager[Scope, bool]:
        """Cancel the body after ``seconds`` of this clock."""
        return self.move_on_at(self.now() + seconds)

    def move_on_at(self, deadline: float) -> AbstractContextManager[Scope, bool]:
        """Cancel the body when this clock shows ``deadline``."""
        self._check()
        scope = trio.CancelScope(deadline=self._virtual(deadline))
        return TrackedScope(scope, deadline, self._scopes)

    def set_drift(self, parts_in_a_million: int) -> None:
        """Run faster, or slower when negative, from now on."""
        self._anchor = (trio.current_time(), self.read())
        self._rate = 1 + parts_in_a_million / 1e6
        self._move_deadlines()

    def pause(self, until: float) -> None:
        """Let no deadline pass before ``until``, which is virtual time in seconds."""
        self._paused_until = until
        self._move_deadlines()

    def _move_deadlines(self) -> None:
        for scope, deadline in self._scopes.items():
            scope.deadline = self._virtual(deadline)

    def _virtual(self, deadline: float) -> float:
        virtual, local = self._anchor
        return max(virtual + (deadline - local) / self._rate, self._paused_until)


class SimWallClock(WallClock):
    """The time of day of a machine: its monotonic clock from a fixed day on, and an error."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self.error = 0.0
        """Seconds by which it is wrong; may be changed at any time, in either direction."""

    def now_ns(self) -> int:
        """Return the nanoseconds since the Unix epoch that the machine believes in."""
        return round((FIRST_SECOND + self._clock.now() + self.error) * 1e9)
