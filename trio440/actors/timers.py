"""The timers of one system: a heap of deadlines, and one task that waits for the first of them."""

import heapq
from collections.abc import Callable
from typing import Final, Protocol, final

import trio

from trio440.core.host import Clock
from trio440.core.parking import Sleeper
from trio440.errors import LimitReached

__all__ = ["Due", "Timer", "Timers"]

FIRES_PER_TURN: Final = 64
COMPACT_FROM: Final = 64


class Due(Protocol):
    """What has a time at which it hears of it."""

    @property
    def is_running(self) -> bool:
        """Whether it still wants to."""

    def fire(self, now: float) -> float | None:
        """Hear of it, and return when it is due again, if it is."""


@final
class Timer:
    """A message to come; ``tell_after`` and ``tell_every`` return one.

    It dies with the actor that started it, at the end of the life in which it was started.
    """

    __slots__ = ("_fire", "_owners", "_timers", "deadline", "period_seconds")

    def __init__(
        self,
        timers: "Timers",
        deadline: float,
        period_seconds: float | None,
        fire: Callable[["Timer"], None],
    ) -> None:
        self._timers = timers
        self._fire: Callable[[Timer], None] | None = fire
        self._owners: set[Timer] | None = None
        self.deadline = deadline
        """When the message is due next, on the clock of the system's host."""
        self.period_seconds: Final = period_seconds
        """Between messages, of a periodic one."""

    @property
    def is_running(self) -> bool:
        """Whether a message is still to come."""
        return self._fire is not None

    def cancel(self) -> None:
        """Let nothing come any more; idempotent. What is in a mailbox already stays there."""
        if self._fire is not None:
            self._fire = None
            if self._owners is not None:
                self._owners.discard(self)
            self._timers.note_end()

    def belong(self, owners: "set[Timer]") -> None:
        """Be among the timers of a life until it ends."""
        owners.add(self)
        self._owners = owners

    def fire(self, now: float) -> float | None:
        """Send the message, and return when the next one is due, if there is one to come.

        The next one of a periodic timer is due on the grid of its periods; those that have been
        missed entirely are left out.
        """
        if (fire := self._fire) is None:
            return None
        if self.period_seconds is None:
            self.cancel()
        else:
            missed = int((now - self.deadline) / self.period_seconds)
            self.deadline += self.period_seconds * (missed + 1)
        fire(self)
        return self.deadline if self.is_running else None


@final
class Timers:
    """All timers of a system; :meth:`run` is their task."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._heap: list[tuple[float, int, Due]] = []
        self._running = 0
        self._number = 0
        self._sleeper = Sleeper()

    def __len__(self) -> int:
        return self._running

    def start(
        self, seconds: float, period_seconds: float | None, fire: Callable[[Timer], None]
    ) -> Timer:
        """Start a timer whose first message is due in ``seconds``.

        Raises:
            LimitReached: as many run as may.
        """
        if self._running >= self._limit:
            raise LimitReached("timers", self._limit)
        timer = Timer(self, self._clock.now() + seconds, period_seconds, fire)
        self._begin(timer.deadline, timer)
        return timer

    def limit(self, due: Due, seconds: float) -> None:
        """Let somebody hear in ``seconds``, unless :meth:`note_end` is called before."""
        self._begin(self._clock.now() + seconds, due)

    def _begin(self, deadline: float, due: Due) -> None:
        self._running += 1
        self._number = number = self._number + 1
        heapq.heappush(self._heap, (deadline, number, due))
        if self._heap[0][2] is due:
            self._sleeper.wake()

    def note_end(self) -> None:
        """Hear that a timer has ended; its place in the heap is freed with others, later."""
        self._running -= 1
        if len(self._heap) > max(COMPACT_FROM, 2 * self._running):
            self._heap = [entry for entry in self._heap if entry[2].is_running]
            heapq.heapify(self._heap)

    async def run(self) -> None:
        """Fire what is due, for ever."""
        while True:
            if not self._heap:
                await self._sleeper.sleep()
                continue
            deadline = self._heap[0][0]
            with self._clock.move_on_at(deadline) as scope:
                await self._sleeper.sleep()
            # A clock that is read may be a rounding error behind the deadline that has passed.
            now = max(deadline, self._clock.now()) if scope.cancelled_caught else self._clock.now()
            await self._fire_due(now)

    async def _fire_due(self, now: float) -> None:
        fired = 0
        while self._heap and self._heap[0][0] <= now:
            due = heapq.heappop(self._heap)[2]
            if (again := due.fire(now)) is not None:
                self._number += 1
                heapq.heappush(self._heap, (again, self._number, due))
            fired += 1
            if fired % FIRES_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
