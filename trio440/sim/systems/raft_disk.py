"""A peer's disk at level A: writing and syncing are two things, and a crash tells them apart.

What was synced stays. Of what was written and not synced some first part stays, up to where the
power went: a record that is torn counts as absent, since the journal cuts it.
"""

import random
from collections.abc import Callable
from typing import TypeAlias

import attrs

from trio440.raft.acquaintance import Acquaintance
from trio440.raft.messages import SnapshotMeta
from trio440.raft.ready import Ready
from trio440.raft.storage import MemoryStorage, Stored

__all__ = ["Disk", "Note", "Save", "Write"]


@attrs.frozen
class Save:
    """A snapshot of the peer's own, to be kept."""

    meta: SnapshotMeta
    data: bytes


@attrs.frozen
class Note:
    """What was noted of other peers, to be kept."""

    batch: tuple[Acquaintance, ...]


Write: TypeAlias = Ready | Save | Note
Done: TypeAlias = Callable[[Write, bool], None]
"""Called when a write is durable, or was let through without; False: the snapshot is damaged."""


class Disk:
    """Writes in order, many at a time, each batch with one sync."""

    def __init__(
        self, stored: Stored, begin_sync: Callable[[Callable[[], None]], None], done: Done
    ) -> None:
        """Start with what is durable.

        Args:
            stored: that.
            begin_sync: calls what it is given when the sync is done.
            done: hears of each write, in order.
        """
        self._storage = MemoryStorage()
        self._storage.keep_now(stored)
        self._begin_sync = begin_sync
        self._done = done
        self._waiting: list[Write] = []
        self._syncing: list[Write] = []
        self._unsynced: list[Write] = []
        """Written, with no sync begun since."""
        self._look()

    # What would be there after a crash

    def _look(self) -> None:
        stored = self.load()
        whole = stored.base_index is None
        self._base = stored.snapshot.index if whole else stored.base_index or 0
        self.term = stored.hard_state.term
        self.last_index = max(self._base + len(stored.entries), stored.snapshot.index)
        self._stored = stored

    def holds(self, index: int, term: int) -> bool:
        """Whether this entry is durable, or a snapshot in its place."""
        place = index - self._base - 1
        if 0 <= place < len(self._stored.entries):
            return self._stored.entries[place].term == term
        return index <= self._stored.snapshot.index

    def load(self) -> Stored:
        """Return what is durable."""
        stored = self._storage.load_now()
        assert stored is not None  # noqa: S101 - it was kept at the start
        return stored

    # Writing

    def write(self, write: Write) -> None:
        """Write something; what needs no sync goes through as soon as its turn has come."""
        self._waiting.append(write)
        self._advance()

    def _advance(self) -> None:
        while self._waiting and not self._syncing:
            first = self._waiting[0]
            if not _needs_sync(first):
                self._unsynced.append(self._waiting.pop(0))
                self._done(first, True)
                continue
            self._syncing, self._waiting = self._waiting, []
            self._begin_sync(self._synced)

    def _synced(self) -> None:
        writes, self._syncing = self._syncing, []
        results = [self._apply(write) for write in (*self._unsynced, *writes)]
        results = results[len(self._unsynced) :]
        self._unsynced.clear()
        self._look()
        for write, is_sound in zip(writes, results, strict=True):
            self._done(write, is_sound)
        self._advance()

    def _apply(self, write: Write) -> bool:
        if isinstance(write, Save):
            self._storage.save_now(write.meta, write.data)
            return True
        if isinstance(write, Note):
            self._storage.acquaint_now(write.batch)
            return True
        self._storage.write_now(write)
        return write.snapshot is None or self._storage.install_now(write.snapshot)

    def compact(self, index: int) -> None:
        """Forget entries; done beside the rest, since losing this is no loss."""
        self._storage.compact_now(index)
        self._look()

    def read(self, meta: SnapshotMeta, offset: int, length: int) -> bytes | None:
        """Return a piece of the durable snapshot, None if it is another one."""
        return self._storage.read_now(meta, offset, length)

    def read_all(self) -> bytes:
        """Return the data of the durable snapshot."""
        meta = self.load().snapshot
        return self._storage.read_now(meta, 0, meta.size) or b""

    def crash(self, rng: random.Random) -> None:
        """Lose power: a first part of what was written survives, at least what was synced."""
        writes = [*self._unsynced, *self._syncing]
        for write in writes[: rng.randint(0, len(writes))]:
            self._apply(write)
        self._waiting.clear()
        self._syncing.clear()
        self._unsynced.clear()
        self._look()


def _needs_sync(write: Write) -> bool:
    return isinstance(write, Save | Note) or write.must_sync or write.snapshot is not None
