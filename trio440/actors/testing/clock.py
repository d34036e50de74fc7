"""A clock that stands still until a test moves it.

Under trio's ``MockClock(autojump_threshold=0)`` time moves by itself whenever nothing can run,
which suits most tests: they need nothing of this module. This clock is for those that look at the
moment just before something happens.
"""

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import attrs
import trio
import trio.testing

from trio440.actors.checks import check_seconds
from trio440.core.host import Clock, Host, Scope
from trio440.core.real import REAL_HOST
from trio440.core.tracked_scopes import TrackedScope

__all__ = ["ManualClock", "host_with_clock"]


class ManualClock(Clock):
    """Shows 0 seconds at first; :meth:`advance` moves it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._deadlines: dict[trio.CancelScope, float] = {}

    def now(self) -> float:
        """Return the seconds by which it was moved."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Sleep until it was moved by ``seconds``."""
        await self.sleep_until(self._now + seconds)

    async def sleep_until(self, deadline: float) -> None:
        """Sleep until it shows ``deadline``."""
        with self.move_on_at(deadline):
            await trio.Event().wait()

    @contextmanager
    def fail_after(self, seconds: float) -> Iterator[Scope]:
        """Cancel the body after ``seconds`` and raise ``trio.TooSlowError``."""
        with self.move_on_after(seconds) as scope:
            yield scope
        if scope.cancelled_caught:
            raise trio.TooSlowError

    def move_on_after(self, seconds: float) -> AbstractContextManager[Scope, bool]:
        """Cancel the body after ``seconds`` and go on behind it."""
        return self.move_on_at(self._now + seconds)

    def move_on_at(self, deadline: float) -> AbstractContextManager[Scope, bool]:
        """Cancel the body when it shows ``deadline`` and go on behind it."""
        scope = trio.CancelScope()
        if deadline <= self._now:
            scope.cancel()
        return TrackedScope(scope, deadline, self._deadlines)

    async def advance(self, seconds: float) -> None:
        """Move it on, one deadline after the other; between them every task runs until it waits.

        Args:
            seconds: 0 or more.

        Raises:
            InvalidParameter: it is out of range.
        """
        check_seconds("seconds", seconds)
        end = self._now + seconds
        await trio.testing.wait_all_tasks_blocked()
        while (due := min(self._deadlines.values(), default=end + 1)) <= end:
            self._now = max(self._now, due)
            for scope, deadline in list(self._deadlines.items()):
                if deadline <= self._now:
                    scope.cancel()
                    self._deadlines.pop(scope, None)
            await trio.testing.wait_all_tasks_blocked()
        self._now = end


def host_with_clock(clock: Clock, *, seed: int = 0) -> Host:
    """Return this machine with another clock and with chance from a seed: ``ports`` of a system."""
    return attrs.evolve(REAL_HOST, clock=clock, rng=random.Random(seed))
