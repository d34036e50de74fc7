"""The recent changes of a table, one for each of its revisions; the oldest go first. Pure.

A change is what the table has as its row, too, so that a write makes one tuple and not two.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias, TypeVar, final

__all__ = ["CHANGE_BYTES", "History", "Recorded"]

CHANGE_BYTES: Final = 128
"""What a change is charged beside its key and value."""

Recorded: TypeAlias = tuple[bytes, bytes | None, int]
"""A key, the value that it has got, None: it is gone, and the revision."""

V = TypeVar("V", bound=bytes | None)


@final
class History:
    """The changes behind some revision. What is given up depends on the changes alone."""

    def __init__(self, *, most_changes: int, most_bytes: int) -> None:
        """Start empty, at revision 0."""
        self._most_changes = most_changes
        self._most_bytes = most_bytes
        self._changes: deque[Recorded] = deque()
        self._bytes = 0
        self.revision = 0
        """Of the last change, remembered or not."""

    def __len__(self) -> int:
        """Return how many changes are remembered."""
        return len(self._changes)

    @property
    def compacted(self) -> int:
        """The last revision whose change is not here; 0: all are."""
        return self.revision - len(self._changes)

    @property
    def byte_count(self) -> int:
        """What ``most_bytes`` limits."""
        return self._bytes

    def add(self, key: bytes, value: V) -> tuple[bytes, V, int]:
        """Add the change of the next revision, and return it."""
        changes = self._changes
        self.revision = revision = self.revision + 1
        change = key, value, revision
        changes.append(change)
        self._bytes += len(key) + CHANGE_BYTES + (0 if value is None else len(value))
        while len(changes) > self._most_changes or self._bytes > self._most_bytes:
            key, old, _ = changes.popleft()
            self._bytes -= len(key) + CHANGE_BYTES + (0 if old is None else len(old))
        return change

    def since(
        self, after: int, start: bytes, end: bytes | None, *, most: int, most_bytes: int
    ) -> tuple[int, list[tuple[int, bytes, bytes | None]]]:
        """Return changes of keys in a range, and the revision up to which there are no others.

        Args:
            after: at least :attr:`compacted`; a revision that is not reached yet has no changes.
            start: the first key.
            end: behind the last one; None: there is no end.
            most: changes, at least 1.
            most_bytes: what they may be charged; one is given all the same.
        """
        changes, compacted = self._changes, self.compacted
        found: list[tuple[int, bytes, bytes | None]] = []
        cost = 0
        for place in range(after - compacted, len(changes)):
            key, value, revision = changes[place]
            if key < start or (end is not None and key >= end):
                continue
            cost += _cost(changes[place])
            if found and cost > most_bytes:
                return found[-1][0], found
            found.append((revision, key, value))
            if len(found) >= most:
                return found[-1][0], found
        return max(after, self.revision), found

    def copy(self) -> tuple[Recorded, ...]:
        """Return what is remembered, the oldest first."""
        return tuple(self._changes)

    def restore(self, revision: int, changes: Iterable[Recorded]) -> None:
        """Replace everything by the last changes up to a revision."""
        self._changes = deque(changes)
        self._bytes = sum(map(_cost, self._changes))
        self.revision = revision


def _cost(change: Recorded) -> int:
    key, value, _ = change
    return len(key) + CHANGE_BYTES + (0 if value is None else len(value))
