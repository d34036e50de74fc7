"""When keys and leases end: the earliest first, those of one moment in their own order. Pure."""

import heapq
from typing import Final, Generic, TypeVar, final

__all__ = ["Deadlines"]

NameT = TypeVar("NameT", bytes, int)

SPARE: Final = 64
"""Entries of the heap that may be void before it is made anew, beside as many as are not."""


@final
class Deadlines(Generic[NameT]):
    """Names, each with a moment in milliseconds."""

    def __init__(self) -> None:
        """Start empty."""
        self.at: dict[NameT, int] = {}
        """The moment of each; to be looked at only."""
        self._heap: list[tuple[int, NameT]] = []
        """All of these, and some that are void."""

    def set(self, name: NameT, moment: int) -> None:
        """Give a name a moment, in the place of the one that it has."""
        self.at[name] = moment
        heapq.heappush(self._heap, (moment, name))
        if len(self._heap) > 2 * len(self.at) + SPARE:
            self._rebuild()

    def discard(self, name: NameT) -> None:
        """Forget a name, if it is there."""
        self.at.pop(name, None)

    def first(self) -> tuple[int, NameT] | None:
        """Return the earliest moment and its name; None: there is none."""
        heap = self._heap
        while heap:
            moment, name = heap[0]
            if self.at.get(name) == moment:
                return heap[0]
            heapq.heappop(heap)
        return None

    def restore(self, moments: dict[NameT, int]) -> None:
        """Replace everything."""
        self.at = moments
        self._rebuild()

    def _rebuild(self) -> None:
        self._heap = [(moment, name) for name, moment in self.at.items()]
        heapq.heapify(self._heap)
