"""A peer's storage on a disk: a journal of what Readys say, and files of snapshots.

::

    DIRECTORY/journal/      see trio440.journal; one record for each fact: trio440.raft.records
    DIRECTORY/snapshots/    see trio440.raft.snapshot_files

One write is one frame of the journal and one fsync, however many Readys it takes, with a record
for each run of entries; a power cut leaves all of it or nothing. The commit has no sync of its
own: alone, it waits in memory for the next write that has one. A snapshot of any size is a file of
its own, and is read and written a piece at a time; the journal holds what it is of. What the log
no longer needs is given up by a snapshot of the *journal*, which is one short record: where the
log begins now.

What cannot be told apart is what the journal cannot: damage to the very last write before a
crash looks like a torn one, and an empty directory like a new one. The latter the other peers
tell apart, see :mod:`trio440.raft.acquaintance`; a directory that was put back from a copy,
nobody does.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar, TypeVarTuple, final

import trio

from trio440.core.host import Host, Worker
from trio440.core.real import REAL_HOST
from trio440.errors import (
    BadMessage,
    InvalidParameter,
    JournalCorrupt,
    JournalFailed,
    RaftViolated,
    WrongStorage,
)
from trio440.journal import Journal, JournalLimits, JournalStatistics, Recovered, open_journal
from trio440.raft.acquaintance import Acquaintance
from trio440.raft.kept import Kept, beginning, replay
from trio440.raft.messages import HardState, SnapshotMeta
from trio440.raft.ready import Ready
from trio440.raft.records import Compacted, Installed, Record, Saved, encode_record
from trio440.raft.snapshot_files import (
    SLICE,
    Received,
    StateWriter,
    open_files,
    remove,
    state_name,
)
from trio440.raft.storage import Stored

__all__ = ["DiskStorage", "open_disk_storage"]

T = TypeVar("T")
Args = TypeVarTuple("Args")

DISPENSABLE: Final = 64
"""So many records that are not needed are given up at an opening."""


@asynccontextmanager
async def open_disk_storage(
    directory: str,
    *,
    cluster: str,
    node: str,
    limits: JournalLimits | None = None,
    ports: Host = REAL_HOST,
) -> "AsyncIterator[DiskStorage]":
    """Open the storage in a directory, which is made when absent, for as long as the body runs.

    Everything behind the last compaction is read into memory, the snapshot is read through and
    checked, and so are the pieces of one that was half received.

    Leaving normally writes what still waits in memory. Leaving by exception or cancellation
    writes nothing more.

    Args:
        directory: the peer's own; at most one process, and one task of it, has it open.
        cluster: the name of the cluster.
        node: the peer's id in it.
        limits: the bounds of the journal; ``record_bytes`` must be some 100 bytes above the
            largest entry. The defaults of :class:`~trio440.journal.JournalLimits` when None.
        ports: the machine to run on.

    Raises:
        WrongStorage: the directory is that of another node or cluster.
        JournalBusy: somebody else has it open.
        JournalCorrupt: what had been synced is damaged or missing.
        JournalFailed: the disk cannot be read or written; also when the body ends and it has
            stopped before.
    """
    where = f"{directory}/journal"
    async with (
        open_journal(where, limits=limits, ports=ports) as journal,
        ports.blocking.open_worker("trio440 raft pieces") as first,
        ports.blocking.open_worker("trio440 raft snapshots") as second,
    ):
        kept = _replay(where, journal.take_recovered())
        wanted = cluster, node
        if kept is not None and (owner := (kept.base.cluster, kept.base.node)) != wanted:
            raise WrongStorage(directory, owner, wanted)
        snapshots = f"{directory}/snapshots"
        try:
            received = Received(await first.run(ports.disk, snapshots))
            number = await first.run(_open_files, received, snapshots, kept)
        except OSError as error:
            raise JournalFailed(f"{snapshots} cannot be opened: {error}") from error
        storage = DiskStorage(
            journal, kept, received, number, workers=(first, second), identity=wanted
        )
        try:
            await storage.begin()
            yield storage
            await storage.finish()
        finally:
            with trio.CancelScope(shield=True):
                await first.run(received.close)


def _replay(where: str, recovered: Recovered) -> Kept | None:
    """Follow the records of a journal; None: there is none."""
    at, records = recovered.snapshot_index, recovered.records
    try:
        if recovered.snapshot is not None:
            return replay(recovered.snapshot, at, records)
        return replay(records[0], 1, records[1:]) if records else None
    except BadMessage as error:
        raise JournalCorrupt(where, 0, str(error)) from error


def _open_files(received: Received, where: str, kept: Kept | None) -> int:
    """Check and tidy the files of snapshots, and return the next number."""
    if kept is None:
        return open_files(received, where, 0, None)
    return open_files(received, where, kept.file, kept.snapshot)


class _Turn:
    """Lets one task at a time write; a lock's own checkpoint would cost a lone write a hop."""

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


@final
class DiskStorage:
    """An open storage, see :class:`~trio440.raft.storage.Storage`; :func:`open_disk_storage`.

    One task at a time writes, installs and compacts; others wait for their turn. Saving a
    snapshot and reading one go on beside. A call that is cancelled may have happened or not; if
    it has, it is in its place in the order.

    Every method raises ``JournalFailed`` once a write or sync has failed, and nothing is tried
    again; ``RaftViolated``, with nothing written, for what no node would ask for.
    """

    def __init__(
        self,
        journal: Journal,
        kept: Kept | None,
        received: Received,
        number: int,
        *,
        workers: tuple[Worker, Worker],
        identity: tuple[str, str],
    ) -> None:
        self._journal = journal
        self._kept = kept
        self._received = received
        self._number = number
        self._disk = received.disk
        self._piece_worker, self._state_worker = workers
        self._identity = identity
        self._waiting: HardState | None = None
        self._turn = _Turn()
        self._failure: OSError | None = None

    @property
    def journal_statistics(self) -> JournalStatistics:
        """What the journal is and has done since it was opened."""
        return self._journal.statistics()

    # What is there

    async def load(self) -> Stored | None:
        """Return what is kept, None where nothing ever was."""
        await trio.lowlevel.checkpoint()
        self._check()
        kept, received = self._kept, self._received
        if kept is None:
            return None
        partial = (received.meta, received.size) if received.meta and received.size else None
        state = self._waiting or kept.hard_state
        return kept.stored(state, partial)

    async def initialize(self, stored: Stored) -> None:
        """Keep the beginning; once, before all. A snapshot in it has no data.

        Raises:
            RaftViolated: the storage has been initialized.
        """
        async with self._turn:
            if self._kept is not None:
                raise RaftViolated("the storage has been initialized")
            if stored.snapshot.size:
                raise InvalidParameter("stored", stored, "without the data of a snapshot")
            first, more = beginning(*self._identity, stored)
            records: list[Record] = [first, *more]
            self._journal.append_nowait([encode_record(record) for record in records])
            kept = Kept(first, 1)
            for place, record in enumerate(more, 2):
                kept.take(record, place)
            self._kept = kept
            await self._journal.sync()

    # Readys

    async def write(self, batch: Sequence[Ready]) -> None:
        """Keep what Readys say, in one frame with one sync, or without where none needs it.

        A Ready with a ``snapshot`` is the last of its batch: :meth:`install_snapshot` comes
        before what follows.
        """
        async with self._turn:
            kept = self._require()
            state, records = kept.plan(batch, self._waiting or kept.hard_state)
            chunks = [chunk for ready in batch for chunk in ready.chunks]
            self._received.check(chunks)
            for chunk in chunks:
                await self._run(self._piece_worker, self._received.take, chunk, self._next_number())
            if records is None:
                self._waiting = None if state == kept.hard_state else state
                return
            self._waiting = None
            await self._append(records)

    async def acquaint(self, batch: Sequence[Acquaintance]) -> None:
        """Keep what was noted of other peers, in one frame with one sync."""
        async with self._turn:
            self._require()
            await self._append(batch)

    async def compact(self, index: int) -> None:
        """Forget entries up to an index, at most the snapshot's; their segments are removed."""
        async with self._turn:
            kept = self._require()
            if kept.compact(min(index, kept.snapshot.index)):
                if kept.dispensable > self._journal.snapshot_index:
                    await self._give_up()
                else:
                    await self._append([Compacted(kept.index)])

    # Snapshots

    async def install_snapshot(self, meta: SnapshotMeta) -> bool:
        """Let the snapshot whose pieces were written replace the log up to its index.

        Raises:
            RaftViolated: there is a snapshot of that index or a greater one.
        """
        async with self._turn:
            kept = self._require()
            if meta.index <= kept.snapshot.index:
                raise RaftViolated(f"a snapshot up to {meta.index} would replace a later one")
            number, keeps = self._next_number(), kept.term_of(meta.index) == meta.term
            is_sound = await self._run(self._piece_worker, self._received.copy, meta, number)
            if is_sound:
                old = kept.file
                await self._append([Installed(meta, number, keeps)])
                await self._remove_state(old)
            await self._run(self._piece_worker, self._received.discard)
            if is_sound:
                await self._give_up()
            return is_sound

    async def save_snapshot(self, meta: SnapshotMeta, data: bytes) -> None:
        """Keep a snapshot of this peer's own state machine, unless a later one is there.

        Writing goes on meanwhile.

        Raises:
            RaftViolated: the data are not what ``meta`` says, or it ends with no entry of the log.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        kept = self._require()
        if meta.index <= kept.snapshot.index:
            return
        if kept.term_of(meta.index) != meta.term:
            raise RaftViolated(f"a snapshot ends with entry {meta.index}, which is another")
        worker, number = self._state_worker, self._next_number()
        writer = await self._run(worker, StateWriter, self._disk, number, meta)
        is_named = False
        try:
            for offset in range(0, len(data), SLICE):
                await trio.lowlevel.checkpoint_if_cancelled()
                await self._run(worker, writer.append, data[offset : offset + SLICE])
            if not await self._run(worker, writer.finish):
                raise RaftViolated(f"a snapshot up to {meta.index} is not what its meta says")
            async with self._turn:
                if meta.index > kept.snapshot.index:
                    old, is_named = kept.file, True
                    await self._append([Saved(meta, number)])
                    await self._remove_state(old)
        finally:
            if not is_named:
                with trio.CancelScope(shield=True):
                    await worker.run(writer.abandon)

    async def read_snapshot(self, meta: SnapshotMeta, offset: int, length: int) -> bytes | None:
        """Return a piece of the latest snapshot, None if ``meta`` is another one.

        Raises:
            JournalCorrupt: the file has become shorter.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        kept = self._require()
        if kept.snapshot != meta:
            return None
        wanted = max(0, min(length, meta.size - offset))
        if not wanted:
            return b""
        name = state_name(kept.file)  # removed by the same worker, later
        data = await self._run(self._state_worker, self._disk.read, name, offset, wanted)
        if len(data) < wanted:
            raise JournalCorrupt(name, offset + len(data), "the snapshot is cut short")
        return data

    async def _remove_state(self, number: int) -> None:
        if number:
            await self._run(self._state_worker, remove, self._disk, [state_name(number)])

    # Inside

    async def begin(self) -> None:
        """Give up what earlier lives left; for :func:`open_disk_storage`."""
        kept, journal = self._kept, self._journal
        if kept is not None and kept.dispensable - journal.snapshot_index >= DISPENSABLE:
            await self._give_up()

    async def finish(self) -> None:
        """Write what waits in memory; for :func:`open_disk_storage`."""
        async with self._turn:
            self._check()
            if self._waiting is not None:
                state, self._waiting = self._waiting, None
                await self._append([state])

    async def _append(self, records: Sequence[Record]) -> None:
        """Put records into the journal, all or none, and wait until they are on disk."""
        kept, journal = self._require(), self._journal
        encoded = [encode_record(record) for record in records]
        end = None
        while end is None:
            try:
                end = journal.append_nowait(encoded, alone=True)
            except trio.WouldBlock:  # calls that were cancelled have left records in the queue
                await journal.sync()
        for place, record in enumerate(records, end - len(records) + 1):
            kept.take(record, place)
        await journal.sync(end)

    async def _give_up(self) -> None:
        """Let a short record stand for all records that are not needed."""
        kept = self._require()
        if kept.dispensable > self._journal.snapshot_index:
            record = encode_record(kept.compacted())
            with suppress(trio.BusyResourceError):  # one that was cancelled is still under way
                await self._journal.snapshot(record, kept.dispensable)

    async def _run(self, worker: Worker, fn: Callable[[*Args], T], *args: *Args) -> T:
        """Call on a worker and see it through; its errors end the storage."""
        self._check()
        results: list[T] = []
        try:
            with trio.CancelScope(shield=True):
                results.append(await worker.run(fn, *args))
        except OSError as error:
            raise self._fail(error) from error
        return results[0]

    def _fail(self, error: OSError) -> JournalFailed:
        self._failure = self._failure or error
        return JournalFailed(str(error))

    def _check(self) -> None:
        if self._failure is not None:
            raise JournalFailed(str(self._failure)) from self._failure

    def _require(self) -> Kept:
        self._check()
        if self._kept is None:
            raise RaftViolated("the storage was never initialized")
        return self._kept

    def _next_number(self) -> int:
        number, self._number = self._number, self._number + 1
        return number
