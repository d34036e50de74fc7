"""The journal: append records, know when they are on disk, replace the old ones by a snapshot.

One task writes at a time. While one commit is in the hands of the disk, everything that is
appended gathers for the next: however many tasks append, there is one write and one fsync at a
time, and each append waits for two of them at most. Who appends alone, and says so, may find the
disk at rest and write in its own task, which saves two switches of task on each commit.

::

    append ──▶ gathering ──▶ writing (one write, one fsync) ──▶ durable
                   ▲             │
                   └── next ─────┘        an error anywhere ──▶ failed, for good
"""

from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from trio440.core.host import Clock, Worker
from trio440.errors import InvalidParameter, JournalFailed, RecordTooLarge
from trio440.journal.batch import Batch
from trio440.journal.files import Committed, Entry, JournalFiles
from trio440.journal.format import Kind, Snapshot, segment_name, snapshot_name
from trio440.journal.limits import JournalLimits, JournalStatistics
from trio440.journal.recovery import Recovery

__all__ = ["Journal", "Recovered"]

IDLE_SECONDS: Final = 1.0
"""How long after the last commit its being synced is put on record, if nothing else comes."""


@attrs.frozen
class Recovered:
    """What a journal held when it was opened."""

    snapshot: bytes | None = attrs.field(repr=False)
    """The state that stands for the records up to ``snapshot_index``."""
    snapshot_index: int
    """0 when there is no snapshot."""
    records: list[bytes] = attrs.field(repr=False)
    """The records behind it: the first has the index ``snapshot_index + 1``, and so on."""
    torn_bytes: int
    """What was cut off from the end: a write that had not been acknowledged."""


class Journal:
    """An open journal; :func:`~trio440.journal.open_journal` makes one.

    Records have indexes 1, 2, 3, ... The order of the calls is the order of the records.

    Every method raises ``trio.ClosedResourceError`` once the journal was left, and
    ``JournalFailed`` once a write or sync has failed: what is on disk is then unknown until the
    journal is opened again, nothing is tried again, and every task that waits gets the error.
    """

    def __init__(
        self,
        files: JournalFiles,
        found: Recovery,
        *,
        limits: JournalLimits,
        clock: Clock,
        workers: tuple[Worker, Worker],
        nursery: trio.Nursery,
    ) -> None:
        self._files = files
        self._limits = limits
        self._clock = clock
        self._worker, self._snapshot_worker = workers
        self._nursery = nursery
        self._recovered: Recovered | None = Recovered(
            None if found.snapshot is None else found.snapshot.data,
            0 if found.snapshot is None else found.snapshot.index,
            found.records,
            0 if found.tail is None else found.tail.torn_bytes,
        )
        self._torn_bytes = self._recovered.torn_bytes
        self._snapshot_index = self._recovered.snapshot_index
        self._last_index = found.last_index
        self._sealed = list(found.segments[:-1])
        self._current = files.current
        self._gathering = Batch()
        self._writing: Batch | None = None
        self._work = trio.Event()
        self._room = trio.Event()
        self._turn = trio.Lock()
        self._waiting = 0
        self._abandoned: Batch | None = None
        self._marked = True
        self._committed = trio.Event()
        self._committed_at = 0.0
        self._installing = False
        self._snapshot_until: int | None = None
        self._snapshot_done = trio.Event()
        self._failure: JournalFailed | None = None
        self._closed = False
        self._records = self._commits = self._largest = self._bytes = self._snapshots = 0

    @property
    def last_index(self) -> int:
        """The index of the last record, on disk or not; 0 when there never was one."""
        return self._last_index

    @property
    def snapshot_index(self) -> int:
        """Up to where the newest snapshot stands for the records; 0 when there is none."""
        return self._snapshot_index

    @property
    def durable_index(self) -> int:
        """The index up to which the records, as they are now, are known to be on disk."""
        lows = [b.lowest for b in (self._writing, self._gathering) if b is not None]
        return min([self._last_index, *(low - 1 for low in lows if low is not None)])

    @property
    def failure(self) -> JournalFailed | None:
        """Why the journal has stopped; None while it works."""
        return self._failure

    def take_recovered(self) -> Recovered:
        """Return what the journal held when it was opened, and keep no reference to it.

        Raises:
            RuntimeError: it was taken before.
        """
        recovered, self._recovered = self._recovered, None
        if recovered is None:
            raise RuntimeError("what was recovered has been taken before")
        return recovered

    def append_nowait(self, records: Sequence[bytes], *, alone: bool = False) -> int:
        """Append records, to be written soon, and return the index of the last one.

        :meth:`sync` tells when they are on disk.

        Args:
            records: what to append.
            alone: nobody else is likely to append now, and :meth:`sync` is called before anything
                else is awaited: that writes them, if the disk is at rest.

        Raises:
            trio.WouldBlock: too much waits to be written (:class:`JournalLimits`), other
                appends wait for room, or a snapshot past the end is being written.
            RecordTooLarge: a record passes its limit; none was appended.
        """
        if self._waiting:
            self._check_open()
            raise trio.WouldBlock
        return self._append(records, alone=alone)

    async def append(self, records: Sequence[bytes]) -> int:
        """Append records and return the index of the last one when all are on disk.

        Records of one call have adjacent indexes. Calls are served in the order in which they
        were made; one that finds too much waiting to be written (:class:`JournalLimits`) waits
        for room first. No record: returns when everything before is on disk.

        Cancelled: the records may or may not have been appended, and may or may not last; if
        they were, they are in their place in the order.

        Raises:
            RecordTooLarge: a record passes its limit; none was appended.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            index = self.append_nowait(records)
        except trio.WouldBlock:
            index = await self._append_in_turn(records)
        await self.sync(index)
        return index

    async def sync(self, upto: int | None = None) -> None:
        """Wait until the records up to an index are on disk. Always a checkpoint.

        Cancelled: they are written all the same.

        Args:
            upto: at most :attr:`last_index`, and 0 or more. None: everything that was asked
                for so far, dropped records included.

        Raises:
            InvalidParameter: there is no such record.
        """
        if upto is not None and not 0 <= upto <= self._last_index:
            raise InvalidParameter("upto", upto, f"0 to {self._last_index}, the last index")
        for batch in (self._gathering, self._writing):
            if batch is not None and batch.entries and (upto is None or batch.covers(upto)):
                if batch.is_lone and batch is self._gathering and self._writing is None:
                    await self._write_here()
                    return
                await batch.done.wait()
                if not batch.durable:
                    raise self._end()
                return
        await trio.lowlevel.checkpoint()
        if upto is None:
            self._check_failure()

    def truncate_after_nowait(self, index: int) -> None:
        """Drop the records behind ``index``: the next one appended is ``index + 1`` again.

        A power cut leaves the log as it was, or truncated, or truncated with some of what was
        appended since, in order. ``sync()`` tells when it is on disk.

        Args:
            index: from :attr:`snapshot_index`, or that of a snapshot that is being taken, to
                :attr:`last_index`.

        Raises:
            InvalidParameter: the index is outside that range.
            trio.WouldBlock: a snapshot past the end is being written.
        """
        self._check_open()
        if self._installing:
            raise trio.WouldBlock
        lowest = max(self._snapshot_index, self._snapshot_until or 0)
        if not lowest <= index <= self._last_index:
            allowed = f"{lowest} to {self._last_index}, the records behind the snapshot"
            raise InvalidParameter("index", index, allowed)
        if index < self._last_index:
            self._enqueue(Entry(Kind.RESUME, index), 0)
            self._last_index = index

    async def truncate_after(self, index: int) -> None:
        """As :meth:`truncate_after_nowait`, and return when it is on disk.

        Cancelled: the records are dropped, on disk perhaps later.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.truncate_after_nowait(index)
        await self.sync()

    async def snapshot(self, data: bytes | Callable[[], bytes], upto: int) -> None:
        """Put a snapshot in the place of all records up to an index; return when it is on disk.

        Appending goes on meanwhile. Segments that hold no record behind the index are removed.
        With ``upto`` past the last record the snapshot replaces the whole log, and the next
        record is ``upto + 1``; then nothing can be appended meanwhile.

        Cancelled: the snapshot is taken all the same, unless the journal is left.

        Args:
            data: the state that stands for the records, or what computes it; that is called on
                a worker, must not touch what changes, and ends the journal if it raises.
            upto: greater than :attr:`snapshot_index`.

        Raises:
            InvalidParameter: a snapshot of that index or a greater one was taken.
            trio.BusyResourceError: another snapshot is being taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if upto <= self._snapshot_index:
            allowed = f"greater than {self._snapshot_index}, the index of the last snapshot"
            raise InvalidParameter("upto", upto, allowed)
        if self._snapshot_until is not None:
            raise trio.BusyResourceError("another snapshot is being taken")
        self._snapshot_until = upto
        self._installing = upto > self._last_index
        self._snapshot_done = done = trio.Event()
        self._nursery.start_soon(self._take_snapshot, data, upto)
        await done.wait()
        if self._snapshot_index < upto:
            raise self._end()

    def statistics(self) -> JournalStatistics:
        """Return what the journal is and has done; works after its end, too."""
        return JournalStatistics(
            last_index=self._last_index,
            durable_index=self.durable_index,
            snapshot_index=self._snapshot_index,
            segments=len(self._sealed) + 1,
            queued_records=self._gathering.records,
            queued_bytes=self._gathering.bytes,
            records=self._records,
            commits=self._commits,
            largest_commit=self._largest,
            bytes_written=self._bytes,
            snapshots=self._snapshots,
            torn_bytes=self._torn_bytes,
        )

    # Appending

    def _append(self, records: Sequence[bytes], *, alone: bool = False) -> int:
        self._check_open()
        batch, limits, size = self._gathering, self._limits, 0
        for record in records:
            if len(record) > limits.record_bytes:
                raise RecordTooLarge(len(record), limits.record_bytes)
            size += len(record)
        too_many = batch.records + len(records) > limits.queued_records
        if batch.records and (too_many or batch.bytes + size > limits.queued_bytes):
            raise trio.WouldBlock
        if self._installing:
            raise trio.WouldBlock
        if records:
            entry = Entry(Kind.RECORDS, self._last_index + 1, list(records))
            self._enqueue(entry, size, alone=alone)
            self._last_index += len(records)
            self._records += len(records)
        return self._last_index

    async def _append_in_turn(self, records: Sequence[bytes]) -> int:
        """Append when there is room, behind all who came before."""
        self._waiting += 1
        try:
            async with self._turn:
                while True:
                    try:
                        return self._append(records)
                    except trio.WouldBlock:
                        await self._room.wait()
        finally:
            self._waiting -= 1

    def _enqueue(self, entry: Entry, size: int, *, alone: bool = False) -> None:
        batch = self._gathering
        batch.is_lone = alone and not batch.entries and self._writing is None
        batch.add(entry, size)
        if not batch.is_lone:
            self._work.set()

    def _check_open(self) -> None:
        if self._failure is not None or self._closed:
            raise self._end()

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise self._end()

    def _end(self) -> Exception:
        """Return why the journal has ended: an error of its own for every task."""
        if self._failure is None:
            return trio.ClosedResourceError("this journal is closed")
        failure = JournalFailed(self._failure.problem)
        failure.__cause__ = self._failure.__cause__
        return failure

    # Writing

    async def run(self) -> None:
        """Write until cancelled or failed; for :func:`open_journal`."""
        self._nursery.start_soon(self._mark_when_idle)
        try:
            while True:
                await self._work.wait()
                self._work = trio.Event()
                if self._abandoned is not None:
                    await self._see_through(self._abandoned)
                while self._gathering.entries and self._writing is None:
                    await self._commit()
        except OSError as error:
            self._fail(error)

    async def _commit(self) -> None:
        batch = self._begin()
        await self._worker.run(self._write, batch)
        self._written(batch)
        # Whoever was waiting gets to append again before the next commit begins.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()

    async def _write_here(self) -> None:
        """Write what has gathered in the present task; cancelled: the journal's own goes on."""
        batch, is_over = self._begin(), False
        try:
            await self._worker.run(self._write, batch)
            is_over = True
        except OSError as error:
            is_over = True
            self._fail(error)
            raise self._end() from error
        finally:
            if not is_over:
                self._abandoned = batch
                self._work.set()
        self._written(batch)

    async def _see_through(self, batch: Batch) -> None:
        """Do the rest for a task that was cancelled, perhaps before its work was given."""
        self._abandoned = None
        await self._worker.run(self._write, batch)
        self._written(batch)

    def _begin(self) -> Batch:
        batch, self._gathering = self._gathering, Batch()
        self._writing = batch
        self._give_room()
        return batch

    def _write(self, batch: Batch) -> None:
        """Write a batch, once; on the worker."""
        if batch.committed is None:
            batch.committed = self._files.commit(batch.entries)

    def _written(self, batch: Batch) -> None:
        self._writing = None
        if batch.committed is not None:
            self._note(batch.committed)
            self._bytes += batch.committed.size
        self._marked = False
        self._commits += 1
        self._largest = max(self._largest, batch.records)
        batch.durable = True
        batch.done.set()
        self._committed_at = self._clock.now()
        self._committed.set()
        self._go_on()

    def _go_on(self) -> None:
        """Let the journal's own task write what has gathered meanwhile."""
        if self._gathering.entries:
            self._work.set()

    async def _mark_when_idle(self) -> None:
        """Put on record that the last commit was synced, when nothing has come for a while."""
        while self._failure is None:
            await self._committed.wait()
            while self._clock.now() < (due := self._committed_at + IDLE_SECONDS):
                await self._clock.sleep_until(due)
            self._committed = trio.Event()
            if self._writing is not None or self._gathering.entries or self._closed:
                continue
            self._begin()
            try:
                self._note(await self._worker.run(self._files.mark))
            except OSError as error:
                self._fail(error)
            self._writing, self._marked = None, True
            self._go_on()

    def _note(self, committed: Committed) -> None:
        self._sealed += committed.sealed
        self._current = committed.current

    def _give_room(self) -> None:
        self._room.set()
        self._room = trio.Event()

    def _fail(self, error: OSError) -> None:
        """Stop for good, and tell everybody who waits."""
        if self._failure is None:
            self._failure = JournalFailed(str(error))
            self._failure.__cause__ = error
        self._release()

    def _release(self) -> None:
        """Wake everybody who waits, to find the journal failed or closed."""
        self._room.set()
        self._gathering.done.set()
        if self._writing is not None:
            self._writing.done.set()
        self._snapshot_done.set()

    # Snapshots

    async def _take_snapshot(self, data: bytes | Callable[[], bytes], upto: int) -> None:
        try:
            # Records that were dropped must not turn up behind the snapshot.
            await self.sync()
            first = self._first_segment_needed(upto)
            await self._snapshot_worker.run(self._write_snapshot, data, upto, first)
            removed = [segment_name(s.sequence) for s in self._sealed if s.sequence < first]
            if self._snapshot_index:
                removed.append(snapshot_name(self._snapshot_index))
            self._snapshot_index = upto
            if upto > self._last_index:
                self._last_index = upto
                self._enqueue(Entry(Kind.RESUME, upto), 0)
            self._enqueue(Entry(Kind.KEPT, upto), 0)
            await self._snapshot_worker.run(self._files.remove, removed)
            self._sealed = [s for s in self._sealed if s.sequence >= first]
        except (JournalFailed, trio.ClosedResourceError):  # failed or left meanwhile
            return
        except OSError as error:
            self._fail(error)
            return
        self._snapshots += 1
        self._snapshot_until, self._installing = None, False
        self._give_room()
        self._snapshot_done.set()

    def _first_segment_needed(self, upto: int) -> int:
        """Return the sequence of the first segment that may hold a record behind ``upto``."""
        needed = (s.sequence for s in self._sealed if s.highest > upto)
        return next(needed, self._current.sequence)

    def _write_snapshot(self, data: bytes | Callable[[], bytes], upto: int, first: int) -> None:
        content = data if isinstance(data, bytes) else data()
        self._files.write_snapshot(Snapshot(upto, first, content))

    # The end

    async def finish(self) -> None:
        """Write what was appended and put on record that it is on disk; for open_journal."""
        self._closed = True
        self._give_room()
        while self._snapshot_until is not None and self._failure is None:
            await self._snapshot_done.wait()
        await self.sync()
        if not self._marked:
            try:
                await self._worker.run(self._files.mark)
            except OSError as error:
                self._fail(error)
        self._check_failure()

    def abort(self) -> None:
        """Refuse whatever comes, and free whoever waits; for open_journal."""
        self._closed = True
        self._release()
