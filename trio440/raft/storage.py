"""What a peer keeps, and where: the interface, and a version in memory.

The owner of a node writes what each Ready says, in order; the node itself never waits for a
disk. See :class:`~trio440.raft.ready.Ready` for what must be durable when.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs

from trio440.errors import RaftViolated
from trio440.raft.acquaintance import Acquaintance, sorted_by_id
from trio440.raft.membership import NO_STORE, Configuration
from trio440.raft.messages import Entry, HardState, SnapshotMeta
from trio440.raft.ready import Ready

__all__ = ["MemoryStorage", "Storage", "Stored", "bootstrap", "joining"]


@attrs.frozen(kw_only=True)
class Stored:
    """What a peer starts from."""

    snapshot: SnapshotMeta
    """Everything up to its index; at index 0 it holds the members that the cluster begins with."""
    hard_state: HardState = attrs.field(factory=HardState)
    entries: tuple[Entry, ...] = ()
    """What follows the snapshot or, where entries before its end were kept, what follows
    ``base``."""
    base_index: int | None = None
    """The entry before the first of ``entries``; None: the snapshot's."""
    base_term: int = 0
    partial: tuple[SnapshotMeta, int] | None = None
    """A snapshot that was half received, and how many bytes of it are kept: never all, since its
    last piece, when it comes again, leads to the installation."""
    store: int = NO_STORE
    """The number that names this storage for good, drawn at random when it began."""
    acquaintances: tuple[Acquaintance, ...] = ()
    """The stores of other peers, sorted by id."""

    @property
    def has_promised(self) -> bool:
        """Whether there is anything that a peer could have promised others to keep."""
        return self.hard_state.term > 0 or self.snapshot.index > 0 or bool(self.entries)


def bootstrap(voters: Iterable[str], learners: Iterable[str] = (), store: int = NO_STORE) -> Stored:
    """Return what every member of a new cluster starts from: the same but for its ``store``."""
    configuration = Configuration(voters=tuple(voters), learners=tuple(learners))
    return Stored(snapshot=SnapshotMeta(0, 0, configuration), store=store)


def joining(store: int = NO_STORE) -> Stored:
    """Return what a peer starts from that is added to a cluster: it waits to be told who is in."""
    return Stored(snapshot=SnapshotMeta(0, 0, Configuration()), store=store)


class Storage(Protocol):
    """Where a peer keeps its state; used by one task at a time, in the order of the Readys.

    A method that has returned has made everything durable that was given to it and to all calls
    before. One that has raised has stopped the storage for good: nobody knows what is on disk.
    """

    async def load(self) -> Stored | None:
        """Return what is kept, None where nothing ever was.

        Raises:
            JournalCorrupt: what had been durable is damaged.
        """

    async def initialize(self, stored: Stored) -> None:
        """Keep the beginning, see :func:`bootstrap` and :func:`joining`; once, before all."""

    async def write(self, batch: Sequence[Ready]) -> None:
        """Keep what these Readys say, with one sync for all of them, or none if none must.

        The first of a Ready's entries replaces what is kept at its index and all after it.
        Pieces of a snapshot are kept beside everything else.
        """

    async def acquaint(self, batch: Sequence[Acquaintance]) -> None:
        """Keep what was noted of other peers, each in the place of what was noted before.

        It may be called while another task does something else.
        """

    async def install_snapshot(self, meta: SnapshotMeta) -> bool:
        """Let the snapshot whose pieces were written replace the log up to its index.

        Entries after it stay only if the entry at its index has its term.

        Returns:
            False, and nothing is changed but the pieces gone, if the whole is not what ``meta``
            says.
        """

    async def save_snapshot(self, meta: SnapshotMeta, data: bytes) -> None:
        """Keep a snapshot of this peer's own state machine; entries stay, see :meth:`compact`.

        One that is not after the latest is passed over: a leader's snapshot may have been
        installed since this one was taken, and the entries between the two are gone.
        """

    async def compact(self, index: int) -> None:
        """Forget entries up to an index, which is not after the latest snapshot's."""

    async def read_snapshot(self, meta: SnapshotMeta, offset: int, length: int) -> bytes | None:
        """Return a piece of the latest snapshot, None if ``meta`` is another one."""


class MemoryStorage:
    """A storage that lasts as long as its object: for tests, and for peers without a disk.

    A peer that has lost its storage must not come back under its id.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._stored: Stored | None = None
        self._data = b""
        self._pieces = bytearray()
        self._pieces_of: SnapshotMeta | None = None
        self._last_piece = 0
        """Where the last of them begins that is not empty."""

    async def load(self) -> Stored | None:
        """Return what is kept."""
        return self.load_now()

    async def initialize(self, stored: Stored) -> None:
        """Keep the beginning."""
        self.keep_now(stored)

    async def write(self, batch: Sequence[Ready]) -> None:
        """Keep what these Readys say."""
        for ready in batch:
            self.write_now(ready)

    async def acquaint(self, batch: Sequence[Acquaintance]) -> None:
        """Keep what was noted of other peers."""
        self.acquaint_now(batch)

    async def install_snapshot(self, meta: SnapshotMeta) -> bool:
        """Let a received snapshot replace the log up to its index."""
        return self.install_now(meta)

    async def save_snapshot(self, meta: SnapshotMeta, data: bytes) -> None:
        """Keep a snapshot of this peer's own."""
        self.save_now(meta, data)

    async def compact(self, index: int) -> None:
        """Forget entries up to an index."""
        self.compact_now(index)

    async def read_snapshot(self, meta: SnapshotMeta, offset: int, length: int) -> bytes | None:
        """Return a piece of the latest snapshot."""
        return self.read_now(meta, offset, length)

    # The same without waiting

    def keep_now(self, stored: Stored) -> None:
        """Keep the beginning."""
        self._stored = stored

    def load_now(self) -> Stored | None:
        """Return what is kept, None where nothing ever was."""
        stored, meta, size = self._stored, self._pieces_of, len(self._pieces)
        if meta is not None and self._has_all_of(meta):
            size = self._last_piece
        if stored is None or meta is None or not size:
            return stored
        return attrs.evolve(stored, partial=(meta, size))

    def write_now(self, ready: Ready) -> None:
        """Keep what a Ready says, but for its ``snapshot``."""
        for chunk in ready.chunks:
            if chunk.offset == 0:
                self._pieces = bytearray()
                self._pieces_of = chunk.meta
                self._last_piece = 0
            elif chunk.offset == self._last_piece and self._has_all_of(chunk.meta):
                del self._pieces[chunk.offset :]  # it was asked for again
            if self._pieces_of != chunk.meta or chunk.offset != len(self._pieces):
                raise RaftViolated(f"a piece of a snapshot at {chunk.offset} follows no other")
            if chunk.data:
                self._last_piece = len(self._pieces)
            self._pieces += chunk.data
        stored = self._require()
        if ready.hard_state is not None:
            stored = attrs.evolve(stored, hard_state=ready.hard_state)
        if ready.entries:
            base = _base(stored)
            kept = ready.entries[0].index - base - 1
            if not 0 <= kept <= len(stored.entries):
                raise RaftViolated(f"entry {ready.entries[0].index} follows no other")
            stored = attrs.evolve(stored, entries=stored.entries[:kept] + ready.entries)
        self._stored = stored

    def acquaint_now(self, batch: Sequence[Acquaintance]) -> None:
        """Keep what was noted of other peers."""
        stored = self._require()
        noted = {one.id: one for one in (*stored.acquaintances, *batch)}
        self._stored = attrs.evolve(stored, acquaintances=sorted_by_id(noted.values()))

    def install_now(self, meta: SnapshotMeta) -> bool:
        """Let a received snapshot replace the log up to its index, if it is whole."""
        data, of = bytes(self._pieces), self._pieces_of
        self._pieces, self._pieces_of = bytearray(), None
        if of != meta or len(data) != meta.size or zlib.crc32(data) != meta.checksum:
            return False
        stored, base = self._require(), _base(self._require())
        place = meta.index - base - 1
        follows: tuple[Entry, ...] = ()
        if 0 <= place < len(stored.entries) and stored.entries[place].term == meta.term:
            follows = stored.entries[place + 1 :]
        self._stored = attrs.evolve(
            stored, snapshot=meta, entries=follows, base_index=None, base_term=0
        )
        self._data = data
        return True

    def save_now(self, meta: SnapshotMeta, data: bytes) -> None:
        """Keep a snapshot of this peer's own."""
        stored = self._require()
        if meta.index <= stored.snapshot.index:
            return
        base = _base(stored)
        term = stored.base_term if stored.base_index is not None else stored.snapshot.term
        self._stored = attrs.evolve(stored, snapshot=meta, base_index=base, base_term=term)
        self._data = data

    def compact_now(self, index: int) -> None:
        """Forget entries up to an index."""
        stored = self._require()
        base = _base(stored)
        gone = min(index, stored.snapshot.index) - base
        if gone > 0:
            term = stored.entries[gone - 1].term
            self._stored = attrs.evolve(
                stored, entries=stored.entries[gone:], base_index=base + gone, base_term=term
            )

    def read_now(self, meta: SnapshotMeta, offset: int, length: int) -> bytes | None:
        """Return a piece of the latest snapshot, None if ``meta`` is another one."""
        if self._require().snapshot != meta:
            return None
        return self._data[offset : offset + length]

    def _has_all_of(self, meta: SnapshotMeta) -> bool:
        return self._pieces_of == meta and len(self._pieces) == meta.size

    def _require(self) -> Stored:
        if self._stored is None:
            raise RaftViolated("the storage was never initialized")
        return self._stored


def _base(stored: Stored) -> int:
    return stored.snapshot.index if stored.base_index is None else stored.base_index
