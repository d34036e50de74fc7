"""What a peer's storage holds, as its records say it, and which records come next. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

import attrs

from trio440.errors import BadMessage, RaftViolated
from trio440.raft.acquaintance import Acquaintance, sorted_by_id
from trio440.raft.batches import split_entries
from trio440.raft.messages import Entry, HardState, SnapshotMeta
from trio440.raft.ready import Ready
from trio440.raft.records import Base, Compacted, Entries, Installed, Record, Saved, decode_record
from trio440.raft.storage import Stored

__all__ = ["Kept", "beginning", "replay"]

BATCH_BYTES: Final = 1 << 20
"""One record holds so much of entries' data, or one entry."""


class Kept:
    """The state of one storage; each record has a place in the journal."""

    def __init__(self, base: Base, place: int) -> None:
        """Begin.

        Args:
            base: the first record, or the one that stands for those that were compacted.
            place: of the journal's last record that it stands for.
        """
        self.base = base
        self.hard_state = base.hard_state
        self.snapshot = base.snapshot
        self.file = base.file
        """The number of the snapshot's file; 0: it has none."""
        self.index = base.index
        """The entry before the first of ``entries``."""
        self.term = base.term
        """Of that entry."""
        self.entries: list[Entry] = []
        self._noted = {one.id: one for one in base.acquaintances}
        self._places: list[int] = []
        self.place = place
        """Of the last record."""

    @property
    def last_index(self) -> int:
        """The last entry, or what stands for it."""
        return self.index + len(self.entries)

    @property
    def dispensable(self) -> int:
        """The last record that is not needed once :meth:`compacted` stands for it."""
        return self._places[0] - 1 if self._places else self.place

    def term_of(self, index: int) -> int | None:
        """Return the term of an entry; None: it is not here."""
        at = index - self.index
        if at == 0:
            return self.term
        return self.entries[at - 1].term if 0 < at <= len(self.entries) else None

    def take(self, record: Record, place: int) -> None:
        """Take in the next record.

        Raises:
            BadMessage: it does not follow those before it.
        """
        match record:
            case Entries():
                self._take_entries(record.entries, place)
            case HardState():
                self.hard_state = record
            case Compacted():
                self.compact(record.index)
            case Saved():
                self.snapshot, self.file = record.snapshot, record.file
            case Installed():
                self._install(record)
            case Acquaintance():
                self._noted[record.id] = record
            case Base():
                raise BadMessage("a log begins where another has not ended")
        self.place = place

    def _take_entries(self, entries: Sequence[Entry], place: int) -> None:
        """Take in entries; those before the first that is kept were compacted meanwhile."""
        kept = entries[0].index - self.index - 1
        if kept > len(self.entries):
            raise BadMessage(f"entry {entries[0].index} follows no other")
        if kept < 0:
            entries, kept = entries[-kept:], 0
        del self.entries[kept:], self._places[kept:]
        self.entries += entries
        self._places += [place] * len(entries)

    def _install(self, record: Installed) -> None:
        meta = record.snapshot
        self.snapshot, self.file = meta, record.file
        if record.keeps:
            self.compact(meta.index)
        else:
            self.entries.clear()
            self._places.clear()
            self.index, self.term = meta.index, meta.term

    def compact(self, index: int) -> bool:
        """Forget the entries up to an index; whether there was one."""
        gone = min(index - self.index, len(self.entries))
        if gone <= 0:
            return False
        self.index, self.term = self.index + gone, self.entries[gone - 1].term
        del self.entries[:gone], self._places[:gone]
        return True

    def plan(
        self, batch: Sequence[Ready], state: HardState
    ) -> tuple[HardState, list[Record] | None]:
        """Return the state that Readys lead to, and the records that keep what they say.

        Args:
            batch: in their order.
            state: the latest, which may not be kept yet.

        Returns:
            None in the place of the records where nothing needs a sync: only the commit grew.

        Raises:
            RaftViolated: no sound node says so; nothing is changed.
        """
        last, must_sync = self.last_index, False
        records: list[Record] = []
        for ready in batch:
            if ready.hard_state is not None:
                _check_state(state, ready.hard_state)
                state = ready.hard_state
            if ready.entries:
                _check_entries(ready.entries, self.index, last)
                last = ready.last_index
                records += map(Entries, split_entries(ready.entries, BATCH_BYTES))
            must_sync |= ready.must_sync
        kept = self.hard_state
        votes = (state.term, state.vote) != (kept.term, kept.vote)
        if not (must_sync or records or votes):
            return state, None
        if state != kept:
            records.append(state)
        return state, records

    def compacted(self) -> Base:
        """Return the record that can stand for all records that are not needed."""
        return attrs.evolve(
            self.base,
            hard_state=self.hard_state,
            snapshot=self.snapshot,
            file=self.file,
            index=self.index,
            term=self.term,
            acquaintances=sorted_by_id(self._noted.values()),
        )

    def stored(self, state: HardState, partial: tuple[SnapshotMeta, int] | None) -> Stored:
        """Return what a node starts from.

        The commit of ``state`` is not synced by itself, and is found out again: no more of it
        counts than there are entries.
        """
        commit = min(state.commit, max(self.last_index, self.snapshot.index))
        is_plain = (self.index, self.term) == (self.snapshot.index, self.snapshot.term)
        return Stored(
            snapshot=self.snapshot,
            hard_state=attrs.evolve(state, commit=commit),
            entries=tuple(self.entries),
            base_index=None if is_plain else self.index,
            base_term=0 if is_plain else self.term,
            partial=partial,
            store=self.base.store,
            acquaintances=sorted_by_id(self._noted.values()),
        )


def beginning(cluster: str, node: str, stored: Stored) -> tuple[Base, list[Entries]]:
    """Return the first record of a storage, and those of the entries that it begins with.

    Raises:
        RaftViolated: its entries do not follow what stands before them.
    """
    meta = stored.snapshot
    base = (meta.index, meta.term)
    if stored.base_index is not None:
        base = (stored.base_index, stored.base_term)
    own = (stored.store, stored.acquaintances)
    first = Base(cluster, node, stored.hard_state, meta, 0, *base, *own)
    if stored.entries:
        _check_entries(stored.entries, first.index, first.index)
    return first, [Entries(part) for part in split_entries(stored.entries, BATCH_BYTES)]


def _check_entries(entries: tuple[Entry, ...], first: int, last: int) -> None:
    """Check that entries can be written over or behind those from ``first + 1`` to ``last``.

    Raises:
        RaftViolated: the first follows no other, or there is a gap.
    """
    if not first < entries[0].index <= last + 1:
        raise RaftViolated(f"entry {entries[0].index} follows no other")
    for place, entry in enumerate(entries, entries[0].index):
        if entry.index != place:
            raise RaftViolated(f"entry {entry.index} in the place of {place}")


def _check_state(old: HardState, new: HardState) -> None:
    """Check that a peer forgets neither its term nor its vote.

    Raises:
        RaftViolated: it would.
    """
    if new.term < old.term or (new.term == old.term and old.vote not in {None, new.vote}):
        raise RaftViolated(f"{new} would follow {old}")


def replay(first: bytes, place: int, records: Iterable[bytes]) -> Kept:
    """Follow the records of a journal.

    Args:
        first: the first of all, or what stands for those that were compacted.
        place: of the last record that it stands for.
        records: those behind it.

    Raises:
        BadMessage: a record is none, or does not follow those before it.
    """
    try:
        base = decode_record(first)
        if not isinstance(base, Base):
            _refuse_beginning()
        kept = Kept(base, place)
        for record in records:
            place += 1
            kept.take(decode_record(record), place)
    except BadMessage as error:
        raise BadMessage(f"record {place}: {error}") from None
    return kept


def _refuse_beginning() -> NoReturn:
    raise BadMessage("the first record does not say where the log begins")
