"""Who waits for a state machine to change: watches that are looked at whenever it may have."""

from typing import Final, final

from trio440.core.host import Clock
from trio440.errors import WatchRefused
from trio440.raft.machine import Watch
from trio440.raft.waiting import Waiter

__all__ = ["Watchers"]

MOST: Final = 1000
"""Watches at a time; one more is refused."""


@final
class Watchers:
    """The watches of one peer that have nothing to tell yet."""

    def __init__(self, clock: Clock) -> None:
        """Begin without any."""
        self._clock = clock
        self._waiting: dict[Waiter, Watch] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    async def wait(self, watch: Watch, seconds: float) -> bytes:
        """Return what a watch tells, or after so many seconds how far it has looked.

        Cancelled: nothing happened.

        Raises:
            WatchRefused: too many wait.
            Exception: what :meth:`fail` was given.
        """
        answer = watch.poll()
        if answer is not None:
            return answer
        if len(self._waiting) >= MOST:
            raise WatchRefused(f"{MOST} watches are waiting, which is the limit")
        waiter = Waiter()
        self._waiting[waiter] = watch
        try:
            with self._clock.move_on_after(seconds):
                result: bytes = await waiter.wait()
                return result
        finally:
            self._waiting.pop(waiter, None)
        return watch.progress()

    def look(self) -> None:
        """Answer those who have something to tell, after the machine has changed."""
        told = []
        for waiter, watch in self._waiting.items():
            answer = watch.poll()
            if answer is not None:
                waiter.wake(answer)
                told.append(waiter)
        for waiter in told:
            del self._waiting[waiter]

    def fail(self, error: Exception) -> None:
        """Let all who wait go on with an error."""
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            waiter.fail(error)
