"""The bytes of a journal: segments of chained frames, and snapshots.

A *record* is what the user appends; records have indexes 1, 2, 3, ... A *frame* is what is
written at once: all the records of one group commit, or a statement about the log. Frames have
sequence numbers 1, 2, 3, ... over the whole life of the journal, whatever happens to records.

::

    segment file   header │ frame │ frame │ ... │ seal        continued in the next segment
    frame          head (56 bytes) │ check of the head (8) │ body
    snapshot file  head │ check of head and data (32) │ data

Checks are BLAKE2b, those of a segment keyed with the segment's salt, drawn by chance: no record
can hold bytes that pass for a frame. Every head carries the check of the frame before it, so a
frame that is missing, moved, repeated or left over from an earlier life of the file does not
fit. Every head also states how far the journal *had been synced* when it was written. This is
what tells bit rot from a torn end: behind a torn end nothing says that what is missing was ever
synced.

What cannot be told apart
    Damage to the last frames of the last segment, when no later frame has stated that they were
    synced, looks like a write that a power cut tore, and is cut off. Such statements are
    written by the next commit, by a journal that was idle for a second, at a clean end and at
    every opening; so at risk are the frames of the last commit before a crash, in the second after
    it. A last segment that was shortened to a boundary of frames looks like one that was never
    longer; an empty directory looks like a new journal.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from hashlib import blake2b
from typing import Final

import attrs

__all__ = [
    "FRAME_HEAD_BYTES",
    "NO_FRAME",
    "SEGMENT_HEADER_BYTES",
    "Head",
    "Kind",
    "Scan",
    "SegmentHeader",
    "Snapshot",
    "decode_snapshot",
    "encode_frame",
    "encode_segment_header",
    "encode_snapshot",
    "join_records",
    "next_salt",
    "scan_segment",
    "segment_name",
    "segment_sequence",
    "snapshot_index",
    "snapshot_name",
    "split_records",
]

VERSION: Final = 1
CHECK_BYTES: Final = 8
NO_FRAME: Final = bytes(CHECK_BYTES)
"""What the first frame of a journal has in place of the check of the one before."""

_SEGMENT_MAGIC: Final = b"t440-log"
_SEGMENT: Final = struct.Struct("<8sIxxxxQQ8s8s")
_SNAPSHOT_MAGIC: Final = b"t440-snp"
_SNAPSHOT: Final = struct.Struct("<8sIxxxxQQQ")
_SNAPSHOT_CHECK_BYTES: Final = 32
_FRAME_MARK: Final = b"\xf4\x40fr"
_FRAME: Final = struct.Struct("<4sBxxxIIQQQ8s8s")

SEGMENT_HEADER_BYTES: Final = _SEGMENT.size + CHECK_BYTES
FRAME_HEAD_BYTES: Final = _FRAME.size + CHECK_BYTES
_SNAPSHOT_HEAD_BYTES: Final = _SNAPSHOT.size + _SNAPSHOT_CHECK_BYTES

_SEGMENT_PREFIX: Final = "segment-"
_SNAPSHOT_PREFIX: Final = "snapshot-"
_DIGITS: Final = 20


class Kind(IntEnum):
    """What a frame says."""

    RECORDS = 1
    """The body holds records, the first of which has the head's index."""
    RESUME = 2
    """The last record is now the head's index: later ones are dropped, and those up to it that
    are not in the log are in a snapshot."""
    MARK = 3
    """Nothing but how far the journal had been synced."""
    SEAL = 4
    """The segment is complete, and the next one was there before this frame was written."""
    KEPT = 5
    """The snapshot up to the head's index is on disk, its name included."""


_KINDS: Final = frozenset(Kind)


@attrs.frozen
class SegmentHeader:
    """What the beginning of a segment says."""

    sequence: int
    """Of its first frame."""
    index: int
    """Of the last record before it."""
    previous: bytes
    """The check of the last frame before it."""
    salt: bytes
    """The key of the checks of its frames."""


@attrs.frozen
class Head:
    """What the head of a frame says."""

    kind: Kind
    length: int
    """Bytes of the body."""
    count: int
    """Records in the body."""
    sequence: int
    """Its number, and that of no other frame of this journal."""
    index: int
    """Of the first record in the body, or of the last record before this frame."""
    synced: int
    """Every frame up to this sequence number had been synced when this one was written."""
    previous: bytes
    """The check of the frame before."""
    check: bytes
    """The check of this frame, which the next one repeats."""


@attrs.frozen
class Snapshot:
    """The state that stands for every record up to ``index``."""

    index: int
    first_sequence: int
    """The segment that begins with this frame, and those after it, are still needed."""
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Scan:
    """What the bytes of one segment hold: frames that fit, up to the first that does not."""

    header: SegmentHeader | None
    """None: it is damaged, and nothing below was looked at."""
    frames: list[tuple[Head, int]]
    """Each frame's head, and where its body begins."""
    end: int
    """Where the last frame that fits ends."""
    problem: str
    """Why the frame that begins at ``end`` does not fit; empty: there are no bytes more."""
    synced_beyond: bool
    """Whether a frame behind ``end`` states that what does not fit had been synced."""


# Names


def segment_name(first_sequence: int) -> str:
    """Return the name of the segment that begins with this frame."""
    return f"{_SEGMENT_PREFIX}{first_sequence:0{_DIGITS}}"


def snapshot_name(index: int) -> str:
    """Return the name of the snapshot up to this index."""
    return f"{_SNAPSHOT_PREFIX}{index:0{_DIGITS}}"


def segment_sequence(name: str) -> int | None:
    """Return the first frame of a segment by its file's name; None: it is no segment."""
    return _number(name, _SEGMENT_PREFIX)


def snapshot_index(name: str) -> int | None:
    """Return the index of a snapshot by its file's name; None: it is no snapshot."""
    return _number(name, _SNAPSHOT_PREFIX)


def _number(name: str, prefix: str) -> int | None:
    digits = name.removeprefix(prefix)
    if digits == name or len(digits) != _DIGITS or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits)


# Writing


def encode_segment_header(header: SegmentHeader) -> bytes:
    """Return the first bytes of a segment."""
    fields = (header.sequence, header.index, header.previous, header.salt)
    head = _SEGMENT.pack(_SEGMENT_MAGIC, VERSION, *fields)
    return head + _check(head, b"")


def encode_frame(
    kind: Kind,
    body: bytes = b"",
    *,
    count: int = 0,
    sequence: int,
    index: int,
    synced: int,
    previous: bytes,
    salt: bytes,
) -> tuple[bytes, bytes]:
    """Return the bytes of a frame, and its check for the next frame to repeat."""
    head = _FRAME.pack(
        *(_FRAME_MARK, kind, len(body), count, sequence, index, synced, previous),
        _check(body, salt),
    )
    check = _check(head, salt)
    return head + check + body, check


def join_records(records: Sequence[bytes]) -> bytes:
    """Return the body of a frame of records: their lengths, then their bytes."""
    return struct.pack(f"<{len(records)}I", *map(len, records)) + b"".join(records)


def next_salt(salt: bytes, check: bytes) -> bytes:
    """Return the salt of the segment after one that ends with the frame of this check."""
    return _check(salt + check, salt)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return the bytes of a snapshot file."""
    numbers = (snapshot.index, snapshot.first_sequence, len(snapshot.data))
    head = _SNAPSHOT.pack(_SNAPSHOT_MAGIC, VERSION, *numbers)
    return head + _snapshot_check(head, snapshot.data) + snapshot.data


def _check(data: bytes, salt: bytes) -> bytes:
    return blake2b(data, digest_size=CHECK_BYTES, key=salt).digest()


def _snapshot_check(head: bytes, data: bytes) -> bytes:
    check = blake2b(head, digest_size=_SNAPSHOT_CHECK_BYTES)
    check.update(data)
    return check.digest()


# Reading


def decode_snapshot(data: bytes) -> Snapshot | str:
    """Read a snapshot file; a string says what is wrong with it."""
    if len(data) < _SNAPSHOT_HEAD_BYTES:
        return "the snapshot is cut short"
    head, check = data[: _SNAPSHOT.size], data[_SNAPSHOT.size : _SNAPSHOT_HEAD_BYTES]
    magic, version, index, first_sequence, length = _SNAPSHOT.unpack(head)
    content = data[_SNAPSHOT_HEAD_BYTES:]
    if magic != _SNAPSHOT_MAGIC or check != _snapshot_check(head, content):
        return "the checksum of the snapshot is wrong"
    if version != VERSION:
        return f"its format is version {version}, this program reads {VERSION}"
    if length != len(content):
        return "the length of the snapshot is wrong"
    return Snapshot(index, first_sequence, content)


def scan_segment(data: bytes, *, synced_beyond: bool = True) -> Scan:
    """Read a segment as far as its frames fit.

    Args:
        data: all bytes of the file.
        synced_beyond: look behind what does not fit for a statement that it had been synced.
    """
    header = _decode_segment_header(data)
    if isinstance(header, str):
        return Scan(None, [], 0, header, synced_beyond=False)
    frames: list[tuple[Head, int]] = []
    at, expected, previous = SEGMENT_HEADER_BYTES, header.sequence, header.previous
    problem = ""
    while at < len(data):
        head = _read_head(data, at, header.salt)
        if isinstance(head, str):
            problem = head
        elif head.sequence != expected or head.previous != previous:
            problem = "a frame does not follow the one before it"
        else:
            problem = _body_problem(data, at, head, header.salt)
        if problem or isinstance(head, str):
            break
        at += FRAME_HEAD_BYTES
        frames.append((head, at))
        at += head.length
        expected, previous = expected + 1, head.check
    beyond = bool(problem) and synced_beyond and _states_synced(data, at, header.salt, expected)
    return Scan(header, frames, at, problem, synced_beyond=beyond)


def split_records(data: bytes, body_at: int, head: Head) -> list[bytes] | None:
    """Return the records of a frame, whose body begins at ``body_at``; None: they do not fit."""
    lengths_bytes = 4 * head.count
    if lengths_bytes > head.length:
        return None
    lengths = struct.unpack_from(f"<{head.count}I", data, body_at)
    if lengths_bytes + sum(lengths) != head.length:
        return None
    at = body_at + lengths_bytes
    records = []
    for length in lengths:
        records.append(data[at : at + length])
        at += length
    return records


def _decode_segment_header(data: bytes) -> SegmentHeader | str:
    if len(data) < SEGMENT_HEADER_BYTES:
        return "the header of the segment is cut short"
    head, check = data[: _SEGMENT.size], data[_SEGMENT.size : SEGMENT_HEADER_BYTES]
    magic, version, sequence, index, previous, salt = _SEGMENT.unpack(head)
    if magic != _SEGMENT_MAGIC or check != _check(head, b""):
        return "the checksum of the segment's header is wrong"
    if version != VERSION:
        return f"its format is version {version}, this program reads {VERSION}"
    return SegmentHeader(sequence, index, previous, salt)


def _read_head(data: bytes, at: int, salt: bytes) -> Head | str:
    """Read the head of a frame; its body is not looked at."""
    after = at + _FRAME.size
    check = data[after : at + FRAME_HEAD_BYTES]
    if len(check) < CHECK_BYTES:
        return "the head of a frame is cut short"
    if check != _check(data[at:after], salt):
        return "the checksum of a frame's head is wrong"
    mark, kind, length, count, sequence, index, synced, previous, _ = _FRAME.unpack_from(data, at)
    if mark != _FRAME_MARK or kind not in _KINDS:
        return f"a frame is of the unknown kind {kind}"
    return Head(Kind(kind), length, count, sequence, index, synced, previous, check)


def _body_problem(data: bytes, at: int, head: Head, salt: bytes) -> str:
    """Say what is wrong with the body of the frame that begins at ``at``."""
    body_at = at + FRAME_HEAD_BYTES
    body = data[body_at : body_at + head.length]
    if len(body) < head.length:
        return "a frame is cut short"
    stored = data[at + _FRAME.size - CHECK_BYTES : at + _FRAME.size]
    return "" if stored == _check(body, salt) else "the checksum of a frame's body is wrong"


def _states_synced(data: bytes, start: int, salt: bytes, sequence: int) -> bool:
    """Whether a head behind ``start`` states that the frame of this number had been synced.

    The head alone is enough, be its body damaged or not.
    """
    at = data.find(_FRAME_MARK, start)
    while at >= 0:
        head = _read_head(data, at, salt)
        if isinstance(head, Head) and head.synced >= sequence:
            return True
        at = data.find(_FRAME_MARK, at + 1)
    return False
