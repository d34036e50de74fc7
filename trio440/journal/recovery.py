"""The rules by which a journal is read after whatever happened to it.

::

    the newest snapshot            damaged: refuse. It names the first segment that is needed
    segments before that one       left over from compaction: removed, unread
    segments from there on         each continues the one before; all but the last end in a seal
    the end of the last segment    frames that do not fit are cut off, unless a later frame
                                   states that they had been synced: then refuse
    a segment without frames       its creation was interrupted: removed, and a seal before it
                                   is undone, since its sync may have failed

A segment gets its name when its header is on disk, a seal is written when the next segment is
there under its name, and frames are written when the seal is on disk. Hence frames in a segment
whose predecessor has no seal, a seal without a next segment, a damaged header before frames and
a first segment without frames are all damage.

To refuse is to raise :class:`~trio440.errors.JournalCorrupt`, which names the file, the byte and
what is wrong there. Nothing here writes: :class:`Recovery` says what is to be done.
"""

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import attrs

from trio440.errors import JournalCorrupt
from trio440.journal.format import (
    FRAME_HEAD_BYTES,
    NO_FRAME,
    SEGMENT_HEADER_BYTES,
    Head,
    Kind,
    Scan,
    SegmentHeader,
    Snapshot,
    decode_snapshot,
    scan_segment,
    segment_name,
    segment_sequence,
    snapshot_index,
    split_records,
)

__all__ = ["TEMPORARY", "Recovery", "SegmentState", "Tail", "recover"]

TEMPORARY: Final = ".tmp"
"""The end of the name of a file that is being written; such files are removed."""


@attrs.frozen
class SegmentState:
    """A segment that is there."""

    sequence: int
    """Of its first frame."""
    highest: int
    """The highest index that a record in it ever had; 0: it holds none."""


@attrs.frozen
class Tail:
    """The segment that the journal goes on in."""

    sequence: int
    """Of its first frame."""
    salt: bytes
    content: bytes = attrs.field(repr=False)
    """Its sound bytes."""
    torn_bytes: int
    """How many bytes behind them are cut off."""


@attrs.frozen
class Recovery:
    """What was found, and what is to be done before the journal goes on."""

    snapshot: Snapshot | None
    snapshot_confirmed: bool
    """Whether the snapshot is known to last; otherwise it is to be written again."""
    records: list[bytes] = attrs.field(repr=False)
    """Those behind the snapshot, in order."""
    last_index: int
    """Of the last record; that of the snapshot when there is none behind it."""
    next_sequence: int
    previous: bytes
    """The check of the last frame."""
    segments: tuple[SegmentState, ...]
    """In order; the last is the tail."""
    tail: Tail | None
    """None: there is no segment."""
    leftovers: tuple[str, ...]
    """Names of files that are to be removed."""


def recover(directory: str, names: Sequence[str], read: Callable[[str], bytes]) -> Recovery:
    """Read a journal.

    Args:
        directory: for the text of errors.
        names: of all files in it; those that are not the journal's are ignored.
        read: returns the content of a file; its errors pass through.

    Raises:
        JournalCorrupt: see the module.
    """
    snapshot, leftovers = _newest_snapshot(directory, names, read)
    leftovers += [name for name in names if name.endswith(TEMPORARY)]
    replay = _Replay(directory, snapshot)
    for sequence in sorted(s for name in names if (s := segment_sequence(name)) is not None):
        name = segment_name(sequence)
        if sequence < replay.first_sequence or not replay.take(sequence, read(name)):
            leftovers.append(name)
    return replay.result(tuple(leftovers))


def _newest_snapshot(
    directory: str, names: Sequence[str], read: Callable[[str], bytes]
) -> tuple[Snapshot | None, list[str]]:
    """Return the newest snapshot, and the names of the others."""
    indexes = sorted((index, name) for name in names if (index := snapshot_index(name)) is not None)
    if not indexes:
        return None, []
    index, name = indexes.pop()
    snapshot = decode_snapshot(read(name))
    if isinstance(snapshot, str):
        raise JournalCorrupt(f"{directory}/{name}", 0, snapshot)
    if snapshot.index != index:
        problem = f"it is the snapshot up to index {snapshot.index}"
        raise JournalCorrupt(f"{directory}/{name}", 0, problem)
    return snapshot, [name for _, name in indexes]


class _Replay:
    """Takes segments in the order of their names, and follows what their frames say."""

    def __init__(self, directory: str, snapshot: Snapshot | None) -> None:
        self._directory = directory
        self._snapshot = snapshot
        self._covered = 0 if snapshot is None else snapshot.index
        self.first_sequence = 1 if snapshot is None else snapshot.first_sequence
        """The segment to begin with."""
        # What the next frame must say; None: that is known from the first segment's header.
        self._next_sequence = self.first_sequence
        self._previous = NO_FRAME if self.first_sequence == 1 else None
        self._last_index = 0
        self._segments: list[SegmentState] = []
        self._tail: Tail | None = None
        self._seal: tuple[Head, int] | None = None
        self._interrupted = False
        self._end = 0
        self._problem = ""
        # The records behind the snapshot, and the index before the first of them.
        self._records: list[bytes] = []
        self._base = self._covered
        self._kept = 0

    def take(self, sequence: int, data: bytes) -> bool:
        """Take the next segment; False when its creation was interrupted."""
        if len(data) <= SEGMENT_HEADER_BYTES:
            if self._tail is None:
                self._refuse(sequence, len(data), "the first segment has no frames")
            self._interrupted |= self._seal is not None and sequence == self._next_sequence
            return False
        if self._tail is not None and (self._seal is None or self._interrupted):
            problem = self._problem or "the segment does not end in a seal"
            self._refuse(self._tail.sequence, self._end, f"{problem}, and another follows")
        if sequence != self._next_sequence:
            problem = f"the one that begins with frame {sequence} is there, but not this one"
            self._refuse(self._next_sequence, 0, problem)
        scan = scan_segment(data)
        if scan.header is None:
            self._refuse(sequence, 0, scan.problem)
        self._check_header(sequence, scan.header)
        self._follow(sequence, data, scan, scan.header)
        return True

    def _check_header(self, sequence: int, header: SegmentHeader) -> None:
        if self._previous is None:
            self._previous, self._last_index = header.previous, header.index
        fitting = (sequence, self._last_index, self._previous)
        if (header.sequence, header.index, header.previous) != fitting:
            self._refuse(sequence, 0, "the segment does not continue the one before it")

    def _follow(self, sequence: int, data: bytes, scan: Scan, header: SegmentHeader) -> None:
        if scan.synced_beyond:
            self._refuse(sequence, scan.end, f"{scan.problem}, and had been synced")
        highest = 0
        self._seal = None
        for head, body_at in scan.frames:
            if self._seal is not None:
                self._refuse(sequence, body_at, "a frame follows the seal of the segment")
            self._obey(sequence, data, head, body_at)
            if head.kind is Kind.RECORDS:
                highest = max(highest, head.index + head.count - 1)
            if head.kind is Kind.SEAL:
                self._seal = head, body_at - FRAME_HEAD_BYTES
            self._next_sequence, self._previous = head.sequence + 1, head.check
        if self._seal is not None and scan.problem:
            self._refuse(sequence, scan.end, "bytes follow the seal of the segment")
        self._segments.append(SegmentState(sequence, highest))
        torn_bytes = len(data) - scan.end
        self._tail = Tail(sequence, header.salt, data[: scan.end], torn_bytes)
        self._end, self._problem = scan.end, scan.problem

    def _obey(self, sequence: int, data: bytes, head: Head, body_at: int) -> None:
        match head.kind:
            case Kind.RECORDS:
                records = split_records(data, body_at, head)
                if records is None or head.index != self._last_index + 1:
                    self._refuse(sequence, body_at, "the records of a frame do not fit")
                self._last_index += len(records)
                skipped = max(0, self._covered - head.index + 1)
                self._records += records[skipped:]
            case Kind.RESUME:
                if head.index <= self._last_index:
                    del self._records[max(0, head.index - self._base) :]
                else:
                    self._records.clear()
                    self._base = max(self._covered, head.index)
                self._last_index = head.index
            case Kind.KEPT:
                self._kept = head.index
            case _:
                pass

    def result(self, leftovers: tuple[str, ...]) -> Recovery:
        """Return what was found; no more segments come."""
        sealed = self._seal is not None and not self._interrupted
        if sealed or (self._tail is None and self._snapshot is not None):
            self._refuse(self._next_sequence, 0, "the segment is missing")
        self._undo_seal()
        if self._base != self._covered:
            problem = f"the snapshot up to index {self._base} is missing"
            self._refuse(self._segments[-1].sequence, self._end, problem)
        return Recovery(
            snapshot=self._snapshot,
            snapshot_confirmed=self._snapshot is not None and self._kept == self._covered,
            records=self._records,
            last_index=max(self._covered, self._last_index),
            next_sequence=self._next_sequence,
            previous=self._previous or NO_FRAME,
            segments=tuple(self._segments),
            tail=self._tail,
            leftovers=leftovers,
        )

    def _undo_seal(self) -> None:
        if self._seal is not None and self._tail is not None:
            head, at = self._seal
            self._next_sequence, self._previous = head.sequence, head.previous
            self._tail = attrs.evolve(self._tail, content=self._tail.content[:at])

    def _refuse(self, sequence: int, offset: int, problem: str) -> NoReturn:
        raise JournalCorrupt(f"{self._directory}/{segment_name(sequence)}", offset, problem)
