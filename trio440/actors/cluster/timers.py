"""Deadlines by name, the next one first. Pure."""

import heapq
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ["Timers"]

K = TypeVar("K", bound=Hashable)

SPARE: Final = 64
"""Entries of the heap that may be out of date, beside as many as are not."""


class Timers(Generic[K]):
    """At most one deadline for each key; equal deadlines come in the order they were set."""

    def __init__(self) -> None:
        self._deadlines: dict[K, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, key: K) -> bool:
        return key in self._deadlines

    def set(self, key: K, deadline: int) -> None:
        """Set the deadline of a key, in place of what it had."""
        self._number += 1
        self._deadlines[key] = (deadline, self._number)
        heapq.heappush(self._heap, (deadline, self._number, key))
        if len(self._heap) > 2 * len(self._deadlines) + SPARE:
            self._rebuild(0)

    def cancel(self, key: K) -> None:
        """Forget the deadline of a key, if it has one."""
        self._deadlines.pop(key, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._deadlines.clear()
        self._heap.clear()

    def next_deadline(self) -> int | None:
        """Return the earliest deadline."""
        while self._heap:
            deadline, number, key = self._heap[0]
            if self._deadlines.get(key) == (deadline, number):
                return deadline
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: int) -> K | None:
        """Take the key of the earliest deadline, if that has come."""
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._deadlines[key]
        return key

    def postpone(self, microseconds: int) -> None:
        """Put all deadlines off."""
        self._rebuild(microseconds)

    def _rebuild(self, later: int) -> None:
        self._deadlines = {
            key: (deadline + later, number) for key, (deadline, number) in self._deadlines.items()
        }
        self._heap = [(at, number, key) for key, (at, number) in self._deadlines.items()]
        heapq.heapify(self._heap)
