"""How often one actor tells each of the others, in bounded space. Pure."""

from collections.abc import Hashable
from typing import Final

__all__ = ["Rates"]

MAX_TARGETS: Final = 256


class Rates:
    """Counts the messages of one sender by their receiver.

    At most 256 receivers are counted at a time: when there is one more, the lower half by count
    is forgotten. The highest rate is exact while a sender has no more receivers than that.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[Hashable, int] = {}
        """By receiver. Who finds its receiver here may count by itself."""

    def count(self, target: Hashable) -> None:
        """Note one message more."""
        counts = self.counts
        if target in counts:
            counts[target] += 1
            return
        if len(counts) >= MAX_TARGETS:
            kept = sorted(counts, key=counts.__getitem__, reverse=True)[: MAX_TARGETS // 2]
            self.counts = counts = {each: counts[each] for each in kept}
        counts[target] = 1

    def highest(self, age_seconds: float) -> float:
        """Return the highest rate to one receiver: its count, divided by floor(age + 1.1)."""
        return max(self.counts.values(), default=0) / int(age_seconds + 1.1)
