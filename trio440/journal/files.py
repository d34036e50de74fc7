"""The files of one open journal: what its workers do, in blocking calls on a disk.

The order of the writes is what recovery counts on (:mod:`trio440.journal.recovery`):

- A file gets its name when it is complete: it is written as ``NAME.tmp``, synced, renamed, and
  its directory is synced.
- Opening always writes the last segment anew, with a frame that nobody could foretell behind
  its sound bytes. A file whose sync failed may read well and still not be on disk; so nothing
  that was read is taken for synced, unless a later frame says so.
- A segment is sealed when the next one is on disk under its name.
- Files are removed when the snapshot that stands for them is on disk under its name.

After an error nothing is written any more: what is on disk is then unknown, and a second sync
that succeeds would say nothing about the bytes that the first one lost.
"""

import errno
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import Final

import attrs

from trio440.core.host import AppendFile, Disk
from trio440.errors import JournalBusy
from trio440.journal.format import (
    NO_FRAME,
    Kind,
    SegmentHeader,
    Snapshot,
    encode_frame,
    encode_segment_header,
    encode_snapshot,
    join_records,
    next_salt,
    segment_name,
    snapshot_name,
)
from trio440.journal.recovery import TEMPORARY, Recovery, SegmentState, recover

__all__ = ["Committed", "Entry", "JournalFiles"]

LOCK: Final = "LOCK"


@attrs.frozen
class Entry:
    """What one frame is to say."""

    kind: Kind
    index: int
    records: list[bytes] = attrs.Factory(list)


@attrs.frozen
class Committed:
    """What is on disk after a commit."""

    sealed: tuple[SegmentState, ...]
    """The segments that it sealed; they change no more."""
    current: SegmentState
    """The segment that it wrote to."""
    size: int
    """How many bytes it wrote."""


class JournalFiles:
    """One journal's files. Its methods block; all but two belong to one worker.

    :meth:`write_snapshot` and :meth:`remove` touch files of their own, and may be called by
    another worker at the same time.
    """

    def __init__(self, disk: Disk, directory: str, *, segment_bytes: int) -> None:
        """Touch nothing yet.

        Args:
            disk: the tree of the journal's own directory.
            directory: its path, for the text of errors.
            segment_bytes: a segment that has reached this length is sealed before a write.
        """
        self._disk = disk
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._lock = ExitStack()
        self._file: AppendFile | None = None
        self._failure: OSError | None = None
        self._salt = NO_FRAME
        self._current = SegmentState(0, 0)
        self._next_sequence = 1
        self._previous = NO_FRAME
        self._synced = 0
        self._last_index = 0

    def open(self, salt: bytes, nonce: bytes) -> Recovery:
        """Lock the directory, recover what is in it and make it ready to be written.

        Args:
            salt: 8 bytes of chance, for a journal that has no segment.
            nonce: bytes of chance, in the first frame of this life.

        Raises:
            JournalBusy: somebody else has it open.
            JournalCorrupt: it was damaged after it was synced.
            OSError: the disk failed; what was there before is still there.
        """
        disk = self._disk
        try:
            self._lock.enter_context(disk.lock(LOCK))
        except BlockingIOError:
            raise JournalBusy(self._directory) from None
        found = recover(self._directory, disk.list_directory(""), disk.read)
        if found.snapshot is not None and not found.snapshot_confirmed:
            self.write_snapshot(found.snapshot)
        self._resume(found, salt, nonce)
        self.remove(name for name in found.leftovers if disk.exists(name))
        return found

    def _resume(self, found: Recovery, salt: bytes, nonce: bytes) -> None:
        """Write the last segment anew, or the first one, and go on behind it."""
        self._next_sequence, self._previous = found.next_sequence, found.previous
        self._synced = found.next_sequence - 1
        self._last_index = found.last_index
        if found.tail is None:
            self._salt = salt
            self._current = SegmentState(found.next_sequence, 0)
            content = encode_segment_header(
                SegmentHeader(found.next_sequence, found.last_index, found.previous, salt)
            )
        else:
            self._salt, content = found.tail.salt, found.tail.content
            self._current = found.segments[-1]
        content += self._frame(Kind.RESUME, nonce)
        if found.snapshot is not None:
            content += self._frame(Kind.KEPT, index=found.snapshot.index)
        self._file = self._replace(segment_name(self._current.sequence), content)
        self._synced = self._next_sequence - 1

    @property
    def current(self) -> SegmentState:
        """The segment that is written to."""
        return self._current

    def commit(self, entries: Sequence[Entry]) -> Committed:
        """Write entries and return when they are on disk.

        Raises:
            OSError: the disk failed; so does every later call.
        """
        if self._failure is not None:
            raise self._failure
        try:
            file = self._open_file()
            sealed: tuple[SegmentState, ...] = ()
            if file.size >= self._segment_bytes:
                sealed = (self._current,)
                file = self._rotate(file)
            data = b"".join([self._encode(entry) for entry in entries])
            file.append(data)
            file.sync()
        except OSError as error:
            self._failure = error
            raise
        self._synced = self._next_sequence - 1
        return Committed(sealed, self._current, len(data))

    def mark(self) -> Committed:
        """Have a frame state that everything before it is on disk; on disk itself, too.

        Raises:
            OSError: the disk failed; so does every later call.
        """
        return self.commit([Entry(Kind.MARK, self._last_index)])

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot, and return when it is on disk under its name.

        Raises:
            OSError: the disk failed.
        """
        self._replace(snapshot_name(snapshot.index), encode_snapshot(snapshot)).close()

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that nobody needs any more.

        Raises:
            OSError: the disk failed.
        """
        disk = self._disk
        for name in names:
            disk.remove(name)
        disk.sync_directory("")

    def close(self) -> None:
        """Close what is open, without writing; idempotent."""
        file, self._file = self._file, None
        with self._lock:
            if file is not None:
                with suppress(OSError):
                    file.close()

    def _encode(self, entry: Entry) -> bytes:
        if entry.kind is not Kind.RECORDS:
            if entry.kind is Kind.RESUME:
                self._last_index = entry.index
            return self._frame(entry.kind, index=entry.index)
        count = len(entry.records)
        self._last_index = entry.index + count - 1
        highest = max(self._current.highest, self._last_index)
        self._current = SegmentState(self._current.sequence, highest)
        return self._frame(
            Kind.RECORDS, join_records(entry.records), index=entry.index, count=count
        )

    def _frame(
        self, kind: Kind, body: bytes = b"", *, index: int | None = None, count: int = 0
    ) -> bytes:
        """Return the next frame; the one after it will repeat its check."""
        data, self._previous = encode_frame(
            kind,
            body,
            count=count,
            sequence=self._next_sequence,
            index=self._last_index if index is None else index,
            synced=self._synced,
            previous=self._previous,
            salt=self._salt,
        )
        self._next_sequence += 1
        return data

    def _rotate(self, file: AppendFile) -> AppendFile:
        """Begin the next segment, then seal this one, all of which is synced."""
        seal = self._frame(Kind.SEAL)
        self._salt = next_salt(self._salt, self._previous)
        header = SegmentHeader(self._next_sequence, self._last_index, self._previous, self._salt)
        following = self._replace(segment_name(header.sequence), encode_segment_header(header))
        self._file = following
        try:
            file.append(seal)
            file.sync()
        finally:
            file.close()
        self._current = SegmentState(header.sequence, 0)
        self._synced = header.sequence - 1
        return following

    def _replace(self, name: str, content: bytes) -> AppendFile:
        """Write a file under a name of its own, rename it, and leave it open at its end."""
        disk = self._disk
        if disk.exists(name + TEMPORARY):
            disk.remove(name + TEMPORARY)
        file = disk.open_append(name + TEMPORARY)
        try:
            file.append(content)
            file.sync()
            disk.rename(name + TEMPORARY, name)
            disk.sync_directory("")
        except BaseException:
            file.close()
            raise
        return file

    def _open_file(self) -> AppendFile:
        if self._file is None:
            raise OSError(errno.EBADF, "the journal's files are not open")
        return self._file
