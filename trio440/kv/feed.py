"""The changes of one replica in their order, for those who watch. Pure.

The last changes are remembered, within bounds, and each has a number; who has read up to a number
goes on behind it, or hears that what is behind it is forgotten. The numbers are those of one life
of one replica: another one sees the same changes in another order.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias, final

from trio440.kv.records import Record

__all__ = ["Feed", "Seen"]

CHANGE_BYTES: Final = 128

Seen: TypeAlias = tuple[bytes, bytes | None, int]
"""A key, its value or None, and the version."""


@final
class Feed:
    """The last changes of one replica."""

    def __init__(self, most_changes: int, most_bytes: int) -> None:
        """Start with none."""
        self.last = 0
        """The number of the last change."""
        self._most_changes = most_changes
        self._most_bytes = most_bytes
        self._bytes = 0
        self._changes: deque[Record] = deque()

    @property
    def forgotten(self) -> int:
        """The number of the last change that is not remembered; 0: all are."""
        return self.last - len(self._changes)

    def add(self, record: Record) -> None:
        """Note that a key has got a record."""
        changes, value = self._changes, record.value
        self.last += 1
        changes.append(record)
        self._bytes += CHANGE_BYTES + len(record.key) + (0 if value is None else len(value))
        while len(changes) > self._most_changes or self._bytes > self._most_bytes:
            gone = changes.popleft()
            value = gone.value
            self._bytes -= CHANGE_BYTES + len(gone.key) + (0 if value is None else len(value))

    def recent(self, stamp: int) -> Iterator[bytes]:
        """Give the keys of changes that are remembered and have versions above a stamp."""
        return (record.key for record in self._changes if record.stamp > stamp)

    def since(
        self, number: int, prefix: bytes, most_bytes: int
    ) -> tuple[Sequence[tuple[int, Seen]], int]:
        """Return changes behind a number, and up to which number these are all.

        Args:
            number: from :attr:`forgotten` to :attr:`last`.
            prefix: of the keys.
            most_bytes: of keys and values; one change is always given.
        """
        found: list[tuple[int, Seen]] = []
        size = 0
        for place in range(number - self.forgotten, len(self._changes)):
            record = self._changes[place]
            number = self.forgotten + place + 1
            if record.key.startswith(prefix):
                size += _cost(record)
                if found and size > most_bytes:
                    return found, number - 1
                found.append((number, (record.key, record.value, record.stamp)))
        return found, self.last


def _cost(record: Record) -> int:
    value = record.value
    return CHANGE_BYTES + len(record.key) + (0 if value is None else len(value))
