"""The file of a snapshot that is being received: pieces in their order, each with a check. Pure.

::

    file     head │ piece │ piece │ ...
    head     magic (8 bytes) │ length of the meta (4) │ number of the file (8) │ check (16) │ meta
    piece    length (4) │ offset (8) │ check (16) │ data

Nobody syncs this file, so a power cut may leave anything of it: what fits is kept, up to the
first piece that does not. Checks are BLAKE2b, those of the pieces keyed with that of the head,
so no piece of another file fits.
"""

import struct
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final

import attrs

from trio440.errors import BadMessage
from trio440.raft.messages import SnapshotMeta
from trio440.raft.records import decode_meta, encode_meta

__all__ = ["Head", "Piece", "encode_head", "encode_piece", "read_head", "read_pieces"]

_MAGIC: Final = b"t440-rcv"
_CHECK_BYTES: Final = 16
_HEAD: Final = struct.Struct(f">8sIQ{_CHECK_BYTES}s")
_PIECE: Final = struct.Struct(f">IQ{_CHECK_BYTES}s")
MOST_META: Final = 1 << 24
"""Bytes that a head's meta may have; what says more is damaged."""

Read = Callable[[int, int], bytes]
"""Returns so many bytes from an offset, fewer at the end of the file."""


@attrs.frozen
class Head:
    """What a file is of."""

    meta: SnapshotMeta
    number: int
    check: bytes
    """The key of the checks of its pieces."""
    size: int
    """Bytes."""


@attrs.frozen
class Piece:
    """A piece that is sound."""

    data: bytes = attrs.field(repr=False)
    start: int
    """Where it begins in the file."""
    end: int
    """Where it ends there."""


def encode_head(meta: SnapshotMeta, number: int) -> tuple[bytes, Head]:
    """Return the first bytes of a file, and what they say."""
    content = encode_meta(meta)
    check = _head_check(content, number)
    data = _HEAD.pack(_MAGIC, len(content), number, check) + content
    return data, Head(meta, number, check, len(data))


def encode_piece(head: Head, offset: int, data: bytes) -> bytes:
    """Return the bytes of a piece that belongs at an offset of the snapshot."""
    return _PIECE.pack(len(data), offset, _piece_check(head, offset, data)) + data


def read_head(read: Read) -> Head | None:
    """Read the beginning of a file; None: it is damaged."""
    start = read(0, _HEAD.size)
    if len(start) < _HEAD.size:
        return None
    magic, length, number, check = _HEAD.unpack(start)
    if magic != _MAGIC or length > MOST_META:
        return None
    content = read(_HEAD.size, length)
    if check != _head_check(content, number):
        return None
    try:
        return Head(decode_meta(content), number, check, _HEAD.size + length)
    except BadMessage:
        return None


def read_pieces(head: Head, read: Read) -> Iterator[Piece]:
    """Read the pieces of a file, up to the first that does not fit."""
    at, offset = head.size, 0
    while len(start := read(at, _PIECE.size)) == _PIECE.size:
        length, stated, check = _PIECE.unpack(start)
        if stated != offset or offset + length > head.meta.size:
            return
        data = read(at + _PIECE.size, length)
        if check != _piece_check(head, offset, data):
            return
        begin, at = at, at + _PIECE.size + length
        offset += length
        yield Piece(data, begin, at)


def _head_check(content: bytes, number: int) -> bytes:
    return blake2b(number.to_bytes(8) + content, digest_size=_CHECK_BYTES).digest()


def _piece_check(head: Head, offset: int, data: bytes) -> bytes:
    check = blake2b(offset.to_bytes(8), digest_size=_CHECK_BYTES, key=head.check)
    check.update(data)
    return check.digest()
