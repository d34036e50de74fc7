"""The files of a storage's snapshots: what its workers do, in blocking calls on a disk.

::

    state-NUMBER       a whole snapshot, nothing but its bytes; the journal says which is in use
    state-NUMBER.tmp   one that is being written
    received-NUMBER    the pieces of one that is being received: trio440.raft.pieces

A snapshot gets its name when it is whole and synced, and the journal names it when its name is
durable. A number is never used twice while a file has it. Pieces are copied into a new file
when all are there: a file whose sync failed in an earlier life may read well and still not be on
disk, and what was copied has been written anew.
"""

import zlib
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Final

import attrs

from trio440.core.host import AppendFile, Disk
from trio440.errors import JournalCorrupt, RaftViolated
from trio440.raft.messages import SnapshotMeta
from trio440.raft.pieces import Head, Piece, encode_head, encode_piece, read_head, read_pieces
from trio440.raft.ready import ChunkWrite

__all__ = ["SLICE", "Received", "StateWriter", "open_files", "remove", "state_name"]

SLICE: Final = 1 << 20
"""Bytes that are read or written at once."""
TEMPORARY: Final = ".tmp"
_STATE: Final = "state-"
_RECEIVED: Final = "received-"
_DIGITS: Final = 20


def state_name(number: int) -> str:
    """Return the name of a snapshot's file."""
    return f"{_STATE}{number:0{_DIGITS}}"


def _numbers(names: Iterable[str], kind: str) -> list[int]:
    """Return the numbers of the files of a kind, temporary ones too, in their order."""
    ends = [name.removeprefix(kind) for name in names if name.startswith(kind)]
    digits = [end.removesuffix(TEMPORARY) for end in ends]
    return sorted(int(number) for number in digits if number.isdecimal())


def remove(disk: Disk, names: Iterable[str]) -> None:
    """Remove files; whether that lasts is found out at the next opening."""
    for name in names:
        if disk.exists(name):
            disk.remove(name)


def _find_damage(disk: Disk, name: str, meta: SnapshotMeta) -> str | None:
    """Read a whole snapshot and say what is wrong with it; None: it is sound."""
    if not disk.exists(name):
        return "the snapshot is missing"
    size = disk.size(name)
    if size != meta.size:
        return f"the snapshot has {size} bytes, not {meta.size}"
    checksum = 0
    for offset in range(0, size, SLICE):
        checksum = zlib.crc32(disk.read(name, offset, SLICE), checksum)
    return None if checksum == meta.checksum else "the checksum of the snapshot is wrong"


def open_files(received: "Received", where: str, file: int, meta: SnapshotMeta | None) -> int:
    """Check the snapshot that is in use, find what was received, and remove everything else.

    Args:
        received: takes what was received.
        where: the directory, for the text of errors.
        file: the number of the snapshot's file; 0: it has none.
        meta: of the snapshot; None: the storage is new.

    Returns:
        A number that no file has.

    Raises:
        JournalCorrupt: the snapshot is missing or damaged, or nobody knows whose it is.
        OSError: the disk failed.
    """
    disk = received.disk
    names = disk.list_directory("")
    used = _numbers(names, _STATE) + _numbers(names, _RECEIVED)
    if meta is None:
        if used:
            raise JournalCorrupt(where, 0, "there are snapshots, but no journal that names them")
        return 1
    current = state_name(file)
    problem = _find_damage(disk, current, meta) if file else None
    if problem is not None:
        raise JournalCorrupt(f"{where}/{current}", 0, problem)
    received.recover(names, meta.index)
    remove(disk, [name for name in names if name.startswith(_STATE) and name != current])
    return max([file, *used]) + 1


class StateWriter:
    """Writes the file of one snapshot."""

    def __init__(self, disk: Disk, number: int, meta: SnapshotMeta) -> None:
        """Begin; nobody has used the number."""
        self._disk = disk
        self._meta = meta
        self._name = state_name(number)
        self._size = self._checksum = 0
        self._file = disk.open_append(self._name + TEMPORARY)

    def append(self, data: bytes) -> None:
        """Write the next bytes."""
        self._file.append(data)
        self._size += len(data)
        self._checksum = zlib.crc32(data, self._checksum)

    def finish(self) -> bool:
        """Make the file last under its name; False: it is not what its meta says, and is gone."""
        meta = self._meta
        if (self._size, self._checksum) != (meta.size, meta.checksum):
            self.abandon()
            return False
        self._file.sync()
        self._file.close()
        self._disk.rename(self._name + TEMPORARY, self._name)
        self._disk.sync_directory("")
        return True

    def abandon(self) -> None:
        """Remove the file, if the disk still does that; the next opening will, if not."""
        with suppress(OSError):
            self._file.close()
            remove(self._disk, (self._name, self._name + TEMPORARY))


@attrs.define
class _Open:
    """The file that takes pieces."""

    name: str
    head: Head
    file: AppendFile


class Received:
    """The snapshot that is being received, if there is one."""

    def __init__(self, disk: Disk) -> None:
        """Touch nothing yet."""
        self.disk = disk
        self._open: _Open | None = None
        self.meta: SnapshotMeta | None = None
        self.size = 0
        """Bytes of its pieces."""

    def recover(self, names: Iterable[str], above: int) -> None:
        """Find what an earlier life received, and remove the rest of it.

        A snapshot that lacks nothing loses its last piece, so that it is asked for again: its
        arrival is what leads to the installation.

        Args:
            names: of all files.
            above: snapshots up to this index are of no use.
        """
        for number in reversed(_numbers(names, _RECEIVED)):
            name = f"{_RECEIVED}{number:0{_DIGITS}}"
            if self.meta is None:
                self._resume(name, number, above)
            if self._open is None or self._open.name != name:
                remove(self.disk, [name])

    def _resume(self, name: str, number: int, above: int) -> None:
        head = read_head(partial(self.disk.read, name))
        if head is None or head.number != number or head.meta.index <= above:
            return
        pieces = [
            (len(piece.data), piece.start, piece.end)
            for piece in read_pieces(head, partial(self.disk.read, name))
        ]
        if pieces and sum(size for size, _, _ in pieces) == head.meta.size:
            while pieces and (pieces.pop()[0] == 0):
                pass
        if not pieces:
            return
        self.disk.truncate(name, pieces[-1][2])
        self._open = _Open(name, head, self.disk.open_append(name, create=False))
        self.meta, self.size = head.meta, sum(size for size, _, _ in pieces)

    def check(self, chunks: Iterable[ChunkWrite]) -> None:
        """Check that pieces follow those before.

        Raises:
            RaftViolated: they do not.
        """
        meta, size = self.meta, self.size
        for chunk in chunks:
            if chunk.offset == 0:
                meta, size = chunk.meta, 0
            if chunk.meta != meta or chunk.offset != size:
                raise RaftViolated(f"a piece of a snapshot at {chunk.offset} follows no other")
            size += len(chunk.data)

    def take(self, chunk: ChunkWrite, number: int) -> None:
        """Write a piece.

        Args:
            chunk: the piece.
            number: that of the file, where it is to be made.
        """
        if chunk.offset == 0:
            self.discard()
            data, head = encode_head(chunk.meta, number)
            name = f"{_RECEIVED}{number:0{_DIGITS}}"
            self._open = _Open(name, head, self.disk.open_append(name))
            self._open.file.append(data)
            self.meta = chunk.meta
        if self._open is not None:
            self._open.file.append(encode_piece(self._open.head, chunk.offset, chunk.data))
            self.size += len(chunk.data)

    def copy(self, meta: SnapshotMeta, number: int) -> bool:
        """Make a snapshot of the pieces, durable under its name.

        Returns:
            False, and there is none, unless they are the whole of what ``meta`` says.
        """
        opened = self._open
        if opened is None or self.meta != meta or self.size != meta.size:
            return False
        writer = StateWriter(self.disk, number, meta)
        try:
            for piece in self._pieces(opened):
                writer.append(piece.data)
            return writer.finish()
        except BaseException:
            writer.abandon()
            raise

    def _pieces(self, opened: _Open) -> Iterable[Piece]:
        return read_pieces(opened.head, partial(self.disk.read, opened.name))

    def discard(self) -> None:
        """Forget the pieces."""
        opened, self._open = self._open, None
        self.meta, self.size = None, 0
        if opened is not None:
            opened.file.close()
            remove(self.disk, [opened.name])

    def close(self) -> None:
        """Close what is open; idempotent."""
        if self._open is not None:
            with suppress(OSError):
                self._open.file.close()
