"""The snapshot of a key-value map: its items and its history. Pure.

::

    version (1 byte) │ revision │ number of items │ number of changes │ blocks
    block            length (4 bytes) │ items, or changes, as MessagePack

All numbers are big-endian, of 8 bytes but for the two above.
"""

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from trio440.errors import BadMessage
from trio440.raft.kv_messages import Change, Item

__all__ = ["decode_state", "encode_state"]

VERSION: Final = 2
BLOCK: Final = 1024
"""Items, or changes, that are encoded at once, so that no step takes long."""

_HEAD: Final = struct.Struct(">BQQQ")
_BLOCK_HEAD: Final = struct.Struct(">I")
_ENCODER: Final = msgspec.msgpack.Encoder()
_ITEMS: Final = msgspec.msgpack.Decoder(list[tuple[bytes, bytes, int, int, int]])
_CHANGES: Final = msgspec.msgpack.Decoder(list[tuple[int, bytes, bytes | None, int, int]])


def encode_state(
    revision: int, items: Sequence[Item], history: Sequence[tuple[Change, ...]]
) -> bytes:
    """Return the bytes of a snapshot.

    Args:
        revision: of the map.
        items: in the order of their keys.
        history: the changes that are remembered, those of each revision together.
    """
    changes = list(chain.from_iterable(history))
    parts = [_HEAD.pack(VERSION, revision, len(items), len(changes))]
    for start in range(0, len(items), BLOCK):
        rows: list[tuple[Any, ...]] = [
            (i.key, i.value, i.created, i.modified, i.version) for i in items[start : start + BLOCK]
        ]
        parts += _block(rows)
    for start in range(0, len(changes), BLOCK):
        rows = [
            (c.revision, c.key, c.value, c.created, c.version)
            for c in changes[start : start + BLOCK]
        ]
        parts += _block(rows)
    return b"".join(parts)


def _block(rows: list[tuple[Any, ...]]) -> tuple[bytes, bytes]:
    data = _ENCODER.encode(rows)
    return _BLOCK_HEAD.pack(len(data)), data


def decode_state(data: bytes) -> tuple[int, list[Item], list[Change]]:
    """Read a snapshot: the revision, the items in the order of their keys, the changes.

    Raises:
        BadMessage: it is none, or one of another version.
    """
    items: list[Item] = []
    changes: list[Change] = []
    at = _HEAD.size
    try:
        version, revision, item_count, change_count = _HEAD.unpack_from(data)
        while version == VERSION and at < len(data):
            (length,) = _BLOCK_HEAD.unpack_from(data, at)
            at += _BLOCK_HEAD.size + length
            block = data[at - length : at]
            if len(items) < item_count:
                items += [Item(*fields) for fields in _ITEMS.decode(block)]
            else:
                changes += [Change(*fields) for fields in _CHANGES.decode(block)]
    except (struct.error, msgspec.MsgspecError) as error:
        raise BadMessage(f"this is no snapshot of a map: {error}") from None
    keys = [item.key for item in items]
    counts = (len(items), len(changes)) == (item_count, change_count)
    if version != VERSION or at != len(data) or not counts or keys != sorted(set(keys)):
        raise BadMessage("this is no snapshot of a map")
    return revision, items, changes
