"""Hybrid logical clocks: stamps near the time of day that never go back. Pure.

A stamp is one whole number: milliseconds since the Unix epoch above 16 bits of a counter. A clock
gives each write a stamp above all that it has seen, so a write that knows of another one has the
greater stamp whatever the clocks of their machines say. A counter that is full runs over into the
milliseconds, which are then ahead of the time of day for a moment.

Kulkarni, Demirbas and others, *Logical Physical Clocks* (2014), section 4, in the compact form of
its section 6.
"""

from typing import Final, final

import attrs

from trio440.errors import InvalidParameter

__all__ = ["COUNTER_BITS", "LATEST_STAMP", "MAX_CLOCK_OFFSET_MS", "HybridClock", "ms_of", "pack"]

COUNTER_BITS: Final = 16
LATEST_STAMP: Final = (1 << 63) - 1
"""Stamps are int64: the milliseconds last until the year 6429."""
MAX_CLOCK_OFFSET_MS: Final = 600_000


def pack(ms: int, counter: int = 0) -> int:
    """Return the stamp of a moment.

    Args:
        ms: since the Unix epoch, at least 0.
        counter: 0 to 65535.
    """
    return ms << COUNTER_BITS | counter


def ms_of(stamp: int) -> int:
    """Return the milliseconds of a stamp."""
    return stamp >> COUNTER_BITS


@final
@attrs.define(on_setattr=attrs.setters.NO_OP)  # checked when it is made, and not at each stamp
class HybridClock:
    """The clock of one actor."""

    max_offset_ms: int = attrs.field(default=MAX_CLOCK_OFFSET_MS)
    """A stamp that is ahead of the time of day by more than this is refused."""
    last: int = 0
    """The greatest stamp that was given or seen."""
    refused: int = 0
    """Stamps that were too far ahead."""

    @max_offset_ms.validator
    def _check(self, _: object, value: int) -> None:
        if type(value) is not int or value < 0:
            raise InvalidParameter("max_offset_ms", value, "a whole number of at least 0")

    def next(self, now_ms: int) -> int:
        """Return the stamp of a write, above all before it.

        Args:
            now_ms: the time of day.
        """
        now = now_ms << COUNTER_BITS
        self.last = last = now if now > self.last else self.last + 1
        return last

    def observe(self, stamp: int, now_ms: int) -> bool:
        """See a stamp of somebody else; False: it is too far ahead, was counted and ignored."""
        if stamp <= self.last:
            return True
        if self._is_ahead(stamp, now_ms):
            self.refused += 1
            return False
        self.last = stamp
        return True

    def is_ahead(self, now_ms: int) -> bool:
        """Whether others would refuse the next stamp: the time of day went back by a lot."""
        return self._is_ahead(self.last, now_ms)

    def _is_ahead(self, stamp: int, now_ms: int) -> bool:
        return ms_of(stamp) > now_ms + self.max_offset_ms or stamp > LATEST_STAMP
