"""The deadlines of many calls at once. Pure.

A cancel scope for each call would cost as much as the rest of the call; one heap and one task
that sleeps until its least entry cost next to nothing. Calls that were answered stay in the heap
until their time, or until they are most of it.
"""

import heapq
from collections.abc import Container
from typing import Final

__all__ = ["Deadlines"]

SPARE: Final = 64
"""Heaps up to this length are never pruned."""


class Deadlines:
    """Calls by the moment, in microseconds, at which their time is over."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, deadline: int, call_id: int, waiting: Container[int], count: int) -> bool:
        """Add a call; whether it is now the first.

        Args:
            deadline: in microseconds.
            call_id: of the call.
            waiting: the ids of calls that still wait; others may be dropped.
            count: how many these are.
        """
        heap = self._heap
        if len(heap) > 2 * count + SPARE:
            heap[:] = [entry for entry in heap if entry[1] in waiting]
            heapq.heapify(heap)
        heapq.heappush(heap, (deadline, call_id))
        return heap[0][1] == call_id

    def first(self) -> int | None:
        """Return the first deadline; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: int) -> list[int]:
        """Remove the calls whose time is over and return them, the first to end first."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[1])
        return due
