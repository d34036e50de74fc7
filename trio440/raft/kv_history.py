"""The recent changes of a key-value map, by revision; the oldest are given up first. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from trio440.errors import BadMessage
from trio440.raft.kv_messages import Change

__all__ = ["CHANGE_BYTES", "History"]

CHANGE_BYTES: Final = 128
"""What a change is charged beside its key and value."""


class History:
    """Changes up to the map's revision, those of each revision together.

    Every revision has at least one change. What is given up depends on the changes alone, so it
    is the same at every peer.
    """

    def __init__(self, *, most_revisions: int, most_bytes: int) -> None:
        """Start empty, at revision 0."""
        self._most_revisions = most_revisions
        self._most_bytes = most_bytes
        self._revisions: deque[tuple[Change, ...]] = deque()
        self._bytes = 0
        self._last = 0

    @property
    def compacted(self) -> int:
        """The last revision whose changes are not here; 0: all are."""
        return self._last - len(self._revisions)

    @property
    def byte_count(self) -> int:
        """What ``most_bytes`` limits."""
        return self._bytes

    def __iter__(self) -> Iterator[Change]:
        """Iterate over all changes, the oldest first."""
        for changes in self._revisions:
            yield from changes

    def groups(self) -> tuple[tuple[Change, ...], ...]:
        """Return all changes, those of each revision together."""
        return tuple(self._revisions)

    def add(self, change: Change) -> None:
        """Add a change of the last revision, or of the next one."""
        revisions = self._revisions
        if change.revision == self._last:
            if not revisions:  # this very revision was too large to be kept
                return
            revisions[-1] = (*revisions[-1], change)
        else:
            revisions.append((change,))
            self._last = change.revision
        self._bytes += _cost(change)
        while self._bytes > self._most_bytes or len(revisions) > self._most_revisions:
            self._bytes -= sum(map(_cost, revisions.popleft()))

    def restore(self, revision: int, changes: Iterable[Change]) -> None:
        """Replace everything.

        Args:
            revision: of the map.
            changes: in their order, of all revisions from some one up to ``revision``.

        Raises:
            BadMessage: they are not; nothing was changed.
        """
        groups: deque[tuple[Change, ...]] = deque()
        cost = 0
        for change in changes:
            if groups and groups[-1][0].revision == change.revision:
                groups[-1] = (*groups[-1], change)
            else:
                groups.append((change,))
            cost += _cost(change)
        first = revision - len(groups) + 1
        if first < 1 or [g[0].revision for g in groups] != list(range(first, revision + 1)):
            raise BadMessage("a history has gaps")
        self._revisions, self._bytes, self._last = groups, cost, revision

    def since(
        self, after: int, start: bytes, end: bytes | None, *, most: int, most_bytes: int
    ) -> tuple[int, tuple[Change, ...]]:
        """Return changes of keys in a range, and the revision up to which there are no others.

        Args:
            after: at least :attr:`compacted`.
            start: the first key.
            end: behind the last one; None: there is no end.
            most: so many changes, but those of one revision are never parted.
            most_bytes: what they may be charged, likewise.
        """
        revisions = self._revisions
        found: list[Change] = []
        cost = 0
        for place in range(after - self.compacted, len(revisions)):
            for change in revisions[place]:
                if change.key >= start and (end is None or change.key < end):
                    found.append(change)
                    cost += _cost(change)
            if len(found) >= most or cost >= most_bytes:
                return self.compacted + place + 1, tuple(found)
        return max(after, self._last), tuple(found)


def _cost(change: Change) -> int:
    return len(change.key) + len(change.value or b"") + CHANGE_BYTES
