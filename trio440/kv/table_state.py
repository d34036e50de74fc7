"""The snapshot of a table. Pure.

::

    version (1 byte) │ block, block, ...
    block            length (4 bytes, big-endian) │ what it holds, as MessagePack

The first block holds the time, the revision, the number of the last lease, and how many entries,
leases and changes follow; then come blocks of entries, of leases and of changes. An entry is its
key, value and version, its end, whether that is new, and its lease, 0 for none; a lease its number,
its time to live, its end and whether that is new; a change is a key and a value.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, Final

import attrs
import msgspec

from trio440.errors import BadMessage
from trio440.kv.table_history import Recorded

__all__ = ["TableState", "decode_state"]

VERSION: Final = 1
BLOCK: Final = 1024
"""Entries, or changes, that are encoded at once, so that no step takes long."""

_LENGTH: Final = struct.Struct(">I")
_ENCODER: Final = msgspec.msgpack.Encoder()
_HEAD: Final = msgspec.msgpack.Decoder(tuple[int, int, int, int, int, int])
_ENTRIES: Final = msgspec.msgpack.Decoder(list[tuple[bytes, bytes, int, int, bool, int]])
_LEASES: Final = msgspec.msgpack.Decoder(list[tuple[int, int, int, bool]])
_CHANGES: Final = msgspec.msgpack.Decoder(list[tuple[bytes, bytes | None]])


@attrs.frozen(kw_only=True)
class TableState:
    """All that a table knows."""

    now_ms: int
    revision: int
    rows: dict[bytes, tuple[bytes, bytes, int]]
    """Key, value and version by key; in the order of the keys when it was decoded."""
    ends: dict[bytes, int]
    """The moments at which keys go."""
    new_ends: set[bytes]
    """Keys of whose time to live nothing has passed."""
    last_lease: int
    leases: dict[int, tuple[int, int]]
    """By number, the time to live and the end."""
    new_lease_ends: set[int]
    lease_of: dict[bytes, int]
    history: Sequence[Recorded]

    def encode(self) -> bytes:
        """Return the bytes of the snapshot."""
        rows, ends, lease_of, new = self.rows, self.ends, self.lease_of, self.new_ends

        def show(key: bytes) -> tuple[Any, ...]:
            return (*rows[key], ends.get(key, 0), key in new, lease_of.get(key, 0))

        leases = [
            (number, *self.leases[number], number in self.new_lease_ends)
            for number in sorted(self.leases)
        ]
        counts = (len(rows), len(leases), len(self.history))
        head = (self.now_ms, self.revision, self.last_lease, *counts)
        parts = chain(
            _block(head),
            _blocks(sorted(rows), show),
            _blocks(leases, tuple),
            _blocks(self.history, lambda change: change[:2]),
        )
        return b"".join([bytes([VERSION]), *parts])


def _blocks(things: Sequence[Any], show: Callable[[Any], tuple[Any, ...]]) -> Iterator[bytes]:
    for start in range(0, len(things), BLOCK):
        yield from _block(list(map(show, things[start : start + BLOCK])))


def _block(content: object) -> tuple[bytes, bytes]:
    data = _ENCODER.encode(content)
    return _LENGTH.pack(len(data)), data


def decode_state(data: bytes) -> TableState:
    """Read a snapshot.

    Raises:
        BadMessage: it is none, or one of another version.
    """
    try:
        return _decode(data)
    except (struct.error, msgspec.MsgspecError, ValueError, IndexError) as error:
        raise BadMessage(f"this is no snapshot of a table: {error}") from None


def _decode(data: bytes) -> TableState:
    if data[0] != VERSION:
        raise ValueError(f"its version is {data[0]}")
    blocks = _read_blocks(data)
    now_ms, revision, last_lease, *counts = _HEAD.decode(next(blocks, b""))
    rows = _take(blocks, _ENTRIES, counts[0])
    lease_rows = _take(blocks, _LEASES, counts[1])
    leases = {number: (ttl_ms, end) for number, ttl_ms, end, _ in lease_rows}
    changes = _take(blocks, _CHANGES, counts[2])
    keys = [row[0] for row in rows]
    if next(blocks, None) is not None or len(leases) != counts[1] or len(changes) != counts[2]:
        raise ValueError("its counts are wrong")
    if len(keys) != counts[0] or any(left >= right for left, right in pairwise(keys)):
        raise ValueError("its keys are not in their order")
    if any(lease and lease not in leases for *_, lease in rows):
        raise ValueError("a lease is missing")
    return TableState(
        now_ms=now_ms,
        revision=revision,
        rows={row[0]: row[:3] for row in rows},
        ends={key: end for key, _, _, end, *_ in rows if end},
        new_ends={key for key, _, _, end, is_new, _ in rows if end and is_new},
        last_lease=last_lease,
        leases=leases,
        new_lease_ends={number for number, _, _, is_new in lease_rows if is_new},
        lease_of={key: lease for key, *_, lease in rows if lease},
        history=[
            (key, value, revision)
            for revision, (key, value) in enumerate(changes, revision - len(changes) + 1)
        ],
    )


def _read_blocks(data: bytes) -> Iterator[bytes]:
    at = 1
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + length
        if at > len(data):
            raise ValueError("it is cut off")
        yield data[at - length : at]


def _take(
    blocks: Iterator[bytes], decoder: "msgspec.msgpack.Decoder[list[Any]]", count: int
) -> list[Any]:
    rows: list[Any] = []
    while len(rows) < count:
        rows += decoder.decode(next(blocks, b""))
    return rows
