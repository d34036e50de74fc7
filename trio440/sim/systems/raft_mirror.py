"""What of a peer's storage is surely durable, at level B."""

from collections.abc import Sequence

import attrs

from trio440.raft.acquaintance import Acquaintance
from trio440.raft.messages import SnapshotMeta
from trio440.raft.ready import Ready
from trio440.raft.storage import MemoryStorage, Storage, Stored

__all__ = ["Mirror"]


class Mirror:
    """A storage, and what of it is surely durable: see :class:`Durable` of the watch."""

    def __init__(self, storage: Storage, stored: Stored | None) -> None:
        """Hold what is stored, and follow what is done to the storage."""
        self._storage = storage
        self._copy = MemoryStorage()
        self.term = 0
        self.last_index = 0
        if stored is not None:
            self._copy.keep_now(stored)
            self._look()

    def _look(self) -> None:
        stored = self._copy.load_now()
        assert stored is not None  # noqa: S101 - it was kept before
        self._stored = stored
        base = stored.snapshot.index if stored.base_index is None else stored.base_index
        self._base = base
        self.term = stored.hard_state.term
        self.last_index = max(base + len(stored.entries), stored.snapshot.index)

    def holds(self, index: int, term: int) -> bool:
        """Whether this entry is durable, or a snapshot in its place."""
        place = index - self._base - 1
        if 0 <= place < len(self._stored.entries):
            return self._stored.entries[place].term == term
        return index <= self._stored.snapshot.index

    async def load(self) -> Stored | None:
        """Return what is kept."""
        return await self._storage.load()

    async def initialize(self, stored: Stored) -> None:
        """Keep the beginning."""
        await self._storage.initialize(stored)
        self._copy.keep_now(stored)
        self._look()

    async def write(self, batch: Sequence[Ready]) -> None:
        """Keep what Readys say."""
        await self._storage.write(batch)
        for ready in batch:
            self._copy.write_now(attrs.evolve(ready, chunks=()))
        self._look()

    async def acquaint(self, batch: Sequence[Acquaintance]) -> None:
        """Keep what was noted of other peers."""
        await self._storage.acquaint(batch)
        self._copy.acquaint_now(batch)
        self._look()

    async def install_snapshot(self, meta: SnapshotMeta) -> bool:
        """Let a received snapshot replace the log."""
        is_sound = await self._storage.install_snapshot(meta)
        if is_sound:
            stored = await self._storage.load()
            assert stored is not None  # noqa: S101 - it was kept before
            self._copy.keep_now(attrs.evolve(stored, partial=None))
            self._look()
        return is_sound

    async def save_snapshot(self, meta: SnapshotMeta, data: bytes) -> None:
        """Keep a snapshot of this peer's own."""
        await self._storage.save_snapshot(meta, data)
        self._copy.save_now(meta, b"")
        self._look()

    async def compact(self, index: int) -> None:
        """Forget entries."""
        await self._storage.compact(index)
        self._copy.compact_now(index)
        self._look()

    async def read_snapshot(self, meta: SnapshotMeta, offset: int, length: int) -> bytes | None:
        """Return a piece of the latest snapshot."""
        return await self._storage.read_snapshot(meta, offset, length)
