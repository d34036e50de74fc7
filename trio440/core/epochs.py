"""``EpochTimer``: ticks on a fixed grid, for protocols that count time in epochs.

Tick ``k`` is due at ``start + k * period``, by multiplication: lateness of one tick does not
move the next, and rounding does not add up. Whoever comes late finds one tick that stands for
all that have become due, and is back on the grid with the next.
"""

import math
from typing import Final, Self, final

import attrs

from trio440.core.host import Host
from trio440.core.real import REAL_HOST
from trio440.errors import InvalidParameter

__all__ = ["EpochTimer", "Tick"]

MIN_PERIOD_SECONDS: Final = 1e-6


@final
@attrs.frozen
class Tick:
    """One tick of a timer, standing for the earlier ones that nobody fetched."""

    number: int
    """The latest epoch that has passed, counted from 1 since the start of the grid."""
    count: int
    """How many epochs have passed since the previous tick: 1 if none was late."""


@final
class EpochTimer:
    """A timer that ticks every ``period_seconds``, starting one period after it was made.

    ::

        async for tick in EpochTimer(2.0):
            session.on_epoch()

    There is no background task and nothing to close: the timer is a place on a grid, and may
    be left at any point, by ``break`` or by cancellation, and taken up again. Several tasks may
    wait for the same timer; each tick goes to one of them.
    """

    __slots__ = ("_clock", "_fetched", "_period", "_start")

    def __init__(self, period_seconds: float, *, ports: Host = REAL_HOST) -> None:
        """Start the grid now; to be called inside a running trio loop.

        Args:
            period_seconds: the distance of two ticks, finite and at least a microsecond, which
                is about as fine as clocks are.
            ports: ``clock`` is the one whose time counts.

        Raises:
            InvalidParameter: the period is out of range.
        """
        if not MIN_PERIOD_SECONDS <= period_seconds < math.inf:
            allowed = f"at least {MIN_PERIOD_SECONDS} and finite"
            raise InvalidParameter("period_seconds", period_seconds, allowed)
        self._clock = ports.clock
        self._period = period_seconds
        self._start = self._clock.now()
        self._fetched = 0

    def __repr__(self) -> str:
        return f"<EpochTimer of {self._period} s after epoch {self._fetched}>"

    @property
    def next_deadline(self) -> float:
        """When the next tick is due, in seconds of the clock; past if it is late."""
        return self._due(self._fetched + 1)

    def reset(self) -> None:
        """Start a new grid now: epoch 1 ends one period from now, and late ticks are dropped.

        A task that waits goes on waiting, for the first tick of the new grid.
        """
        self._start = self._clock.now()
        self._fetched = 0

    async def wait(self) -> Tick:
        """Wait for the next tick; always a checkpoint, even when the tick is late already.

        Cancelled: no tick was fetched, and the next call returns what this one would have.
        """
        while True:
            await self._clock.sleep_until(self.next_deadline)
            now = self._clock.now()
            if now >= self.next_deadline:  # no reset, and no other task was faster
                break
        number = self._epochs_before(now)
        tick = Tick(number, number - self._fetched)
        self._fetched = number
        return tick

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Tick:
        return await self.wait()

    def _due(self, number: int) -> float:
        return self._start + number * self._period

    def _epochs_before(self, now: float) -> int:
        """Return the greatest number that is due by ``now``, at least the next one."""
        number = max(self._fetched + 1, int((now - self._start) / self._period))
        while self._due(number + 1) <= now:  # the division may be off by one either way
            number += 1
        while number > self._fetched + 1 and self._due(number) > now:
            number -= 1
        return number
