"""The log of one peer: entries in memory, and how far each of them has come.

::

    base          applied    handed    committed          last
     |  snapshot     |          |          |                |
     +---------------+----------+----------+----------------+
                                      stable ≤ written ≤ last

``written`` have been given to the owner to be written, ``stable`` are known to be durable,
``handed`` have been given to the owner to be applied, ``applied`` have been. An entry is handed
out when it is both committed and durable here.

Several writes may be on their way. One that was overtaken by a truncation says nothing about
what came in its place, even if that has the same index and term: each write remembers how much
of it still counts.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs

from trio440.errors import RaftViolated
from trio440.raft.messages import Entry

__all__ = ["ENTRY_OVERHEAD", "Conflict", "Log", "size_of"]

ENTRY_OVERHEAD: Final = 32
"""Bytes that every entry is charged beside its data, so that empty ones count."""


@attrs.frozen
class Conflict:
    """Where a log may agree with another one at best."""

    index: int
    term: int


@attrs.define
class _Write:
    index: int
    term: int
    valid: int
    """Entries above were overwritten since."""


def size_of(entries: Sequence[Entry]) -> int:
    """Return what entries are charged, in bytes."""
    return sum([len(entry.data) for entry in entries]) + ENTRY_OVERHEAD * len(entries)


class Log:
    """Entries after a base, which is the end of what a snapshot replaced."""

    def __init__(
        self, base_index: int, base_term: int, entries: Sequence[Entry] = (), commit: int = 0
    ) -> None:
        """Start with what is durable.

        Args:
            base_index: the entry before the first one; 0 where there is none.
            base_term: of that entry.
            entries: what follows, without a gap.
            commit: committed as far as is known, the base at least.

        Raises:
            RaftViolated: the entries do not follow each other, or the commit is not among them.
        """
        self.base_index = base_index
        self.base_term = base_term
        self._entries: list[Entry] = []
        self.last_index = base_index
        self.last_term = base_term
        self._append(entries)
        self.commit = max(commit, base_index)
        if self.commit > self.last_index:
            raise RaftViolated(f"{commit} are committed, the log ends at {self.last_index}")
        self.handed = base_index
        self.applied = base_index
        self.stable = self.written = self.last_index
        self._writes: deque[_Write] = deque()

    def __len__(self) -> int:
        """Return how many entries are held."""
        return len(self._entries)

    @property
    def last_committed_term(self) -> int:
        """The term of the last entry that is known to be committed."""
        return self.term(self.commit) or 0

    # What is in it

    def term(self, index: int) -> int | None:
        """Return the term of an entry, or None if it is not here any more, or not yet."""
        place = index - self.base_index
        if place == 0:
            return self.base_term
        if 0 < place <= len(self._entries):
            return self._entries[place - 1].term
        return None

    def entry(self, index: int) -> Entry:
        """Return an entry that is in the log.

        Raises:
            IndexError: it is not.
        """
        place = index - self.base_index - 1
        if place < 0:
            raise IndexError(index)
        return self._entries[place]

    def entries(self, start: int, end: int) -> tuple[Entry, ...]:
        """Return the entries from ``start`` to ``end``, both included; both are in the log."""
        base = self.base_index
        return tuple(self._entries[start - base - 1 : end - base])

    def entries_within(self, start: int, max_bytes: int) -> tuple[Entry, ...]:
        """Return the entries from ``start``, one at least if there is one, within a size."""
        first = start - self.base_index - 1
        spent = 0
        for place in range(first, len(self._entries)):
            spent += len(self._entries[place].data) + ENTRY_OVERHEAD
            if spent > max_bytes and place > first:
                return tuple(self._entries[first:place])
        return tuple(self._entries[first:])

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a candidate's log is as complete as this one (paper, 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def find_conflict(self, index: int, term: int) -> Conflict:
        """Return the last place, up to ``index``, at which a log with ``term`` there may agree.

        Terms never fall along a log: where this log has a greater term than ``term``, a log that
        has ``term`` further on cannot have the same entry.
        """
        place = min(index, self.last_index)
        while place > self.base_index:
            here = self._entries[place - self.base_index - 1].term
            if here <= term:
                return Conflict(place, here)
            place -= 1
        return Conflict(self.base_index, self.base_term)

    # How it grows and shrinks

    def append(self, entry: Entry) -> None:
        """Append a leader's own entry.

        Raises:
            RaftViolated: it does not follow the last one.
        """
        if entry.index != self.last_index + 1:
            raise RaftViolated(f"entry {entry.index} in the place of {self.last_index + 1}")
        self._entries.append(entry)
        self.last_index, self.last_term = entry.index, entry.term

    def merge(self, entries: Sequence[Entry]) -> int | None:
        """Take in a leader's entries, of which the first follows an entry that matches.

        What is here already stays. Where one differs, it and all after it go.

        Returns:
            The index of the first entry that was not here before; None where all were.

        Raises:
            RaftViolated: a committed entry would go.
        """
        for place, entry in enumerate(entries):
            here = self.term(entry.index)
            if here == entry.term:
                continue
            if here is not None:
                self._truncate(entry.index)
            elif entry.index <= self.base_index:
                continue
            self._append(entries[place:])
            return entry.index
        return None

    def restore(self, index: int, term: int) -> bool:
        """Let a snapshot take the place of everything up to ``index``.

        Returns:
            Whether entries after it stay: those that follow the entry that the snapshot ends
            with; else nothing does.
        """
        keeps = self.term(index) == term
        if keeps:
            self.compact(index)
        else:
            self._entries.clear()
            self._writes.clear()
            self.base_index, self.base_term = index, term
            self.last_index, self.last_term = index, term
            self.stable = self.written = index
        self.commit = max(self.commit, index)
        self.handed = max(self.handed, index)
        self.applied = max(self.applied, index)
        self.stable = max(self.stable, index)
        self.written = max(self.written, index)
        return keeps

    def compact(self, index: int) -> None:
        """Forget the entries up to ``index``; it is in the log, or compacted already."""
        if index <= self.base_index:
            return
        term = self.term(index)
        if term is None:
            raise RaftViolated(f"compaction to {index}, the log ends at {self.last_index}")
        del self._entries[: index - self.base_index]
        self.base_index, self.base_term = index, term

    def _append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        index = self.last_index
        for entry in entries:
            index += 1
            if entry.index != index:
                raise RaftViolated(f"entry {entry.index} in the place of {index}")
        self._entries.extend(entries)
        self.last_index = index
        self.last_term = entries[-1].term

    def _truncate(self, index: int) -> None:
        """Forget the entries from ``index`` on."""
        if index <= self.commit:
            raise RaftViolated(f"entry {index} would be overwritten, {self.commit} are committed")
        del self._entries[index - self.base_index - 1 :]
        self.last_index = index - 1
        self.last_term = self._entries[-1].term if self._entries else self.base_term
        self.written = min(self.written, index - 1)
        self.stable = min(self.stable, index - 1)
        for write in self._writes:
            write.valid = min(write.valid, index - 1)

    # How far it has come

    def take_unwritten(self) -> tuple[Entry, ...]:
        """Return what is to be written next; each entry once."""
        if self.written == self.last_index:
            return ()
        entries = self.entries(max(self.written, self.base_index) + 1, self.last_index)
        self.written = self.last_index
        self._writes.append(_Write(self.last_index, self.last_term, self.last_index))
        return entries

    def persisted(self, index: int, term: int) -> None:
        """Take note that the write that ended with this entry is durable, and all before it."""
        if not any(write.index == index and write.term == term for write in self._writes):
            return
        while True:
            write = self._writes.popleft()
            self.stable = max(self.stable, min(write.valid, self.last_index))
            if write.index == index and write.term == term:
                return

    def commit_to(self, index: int) -> bool:
        """Raise the commit, which never falls; whether it rose.

        Raises:
            RaftViolated: there is no such entry here.
        """
        if index <= self.commit:
            return False
        if index > self.last_index:
            raise RaftViolated(f"{index} are committed, the log ends at {self.last_index}")
        self.commit = index
        return True

    def take_committed(self, limit: int) -> tuple[Entry, ...]:
        """Return what is to be applied next; each entry once, in order.

        Args:
            limit: how many may be handed out and not yet applied.
        """
        end = min(self.commit, self.stable, self.applied + limit)
        if end <= self.handed:
            return ()
        entries = self.entries(self.handed + 1, end)
        self.handed = end
        return entries

    def apply_to(self, index: int) -> None:
        """Take note that the owner has applied everything up to ``index``."""
        if index > self.handed:
            raise RaftViolated(f"{index} are applied, {self.handed} were handed out")
        self.applied = max(self.applied, index)
