"""The records of a durable server as bytes: what is appended to its journal, and snapshots. Pure.

Writes commute, so the journal is a heap of writes in no certain order, and a snapshot may be
collected while others go on: what it holds of a key is what the replicas had then, or later.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from trio440.actors.ref import Ref
from trio440.errors import BadMessage
from trio440.kv.digests import FIRST_LEAF, NODES
from trio440.kv.records import Record, Records
from trio440.kv.replica_core import Row
from trio440.kv.sync_messages import Writer
from trio440.wire.codec import Codec

__all__ = [
    "collect",
    "decode_kept",
    "encode_birth",
    "encode_kept",
    "encode_snapshot",
    "restore",
]

CHUNK_BYTES: Final = 4 << 20
ROW_BYTES: Final = 64


@attrs.frozen
class _Kept:
    """Writes, in columns."""

    actors: tuple[Writer, ...]
    keys: tuple[bytes, ...]
    values: tuple[bytes | None, ...]
    stamps: tuple[int, ...]
    writers: tuple[int, ...]
    expiries: tuple[int, ...]
    born: int = 0
    """Of the first one: when the store began here, as a stamp."""

    def __attrs_post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            BadMessage: so it is.
        """
        columns = (self.values, self.stamps, self.writers, self.expiries)
        if any(len(column) != len(self.keys) for column in columns):
            raise BadMessage("columns of different lengths")
        if self.writers and not 0 <= min(self.writers) <= max(self.writers) < len(self.actors):
            raise BadMessage("no such writer")


@attrs.frozen
class _Snapshot:
    """All writes that are kept, the horizon, and when the store began here."""

    horizon: int
    born: int
    chunks: tuple[bytes, ...]


KEPT: Final = Codec[_Kept](_Kept)
SNAPSHOT: Final = Codec[_Snapshot](_Snapshot)


def encode_birth(born: int) -> bytes:
    """Return the first record of a journal: when the store began here, as a stamp."""
    return KEPT.encode(_Kept((), (), (), (), (), (), born))


def encode_kept(rows: Iterable[Row]) -> list[bytes]:
    """Return records of a journal with the writes, one as a rule, and more where they are long."""
    records: list[bytes] = []
    some: list[Row] = []
    size = 0
    for row in rows:
        some.append(row)
        size += ROW_BYTES + len(row[0]) + len(row[1] or b"")
        if size > CHUNK_BYTES:
            records.append(_encode(some))
            some, size = [], 0
    return [*records, _encode(some)] if some else records


def _encode(rows: Sequence[Row]) -> bytes:
    places: dict[Writer, int] = {}
    actors = [(row[3].address, row[3].counter, row[3].incarnation) for row in rows]
    return KEPT.encode(
        _Kept(
            keys=tuple(row[0] for row in rows),
            values=tuple(row[1] for row in rows),
            stamps=tuple(row[2] for row in rows),
            writers=tuple(places.setdefault(actor, len(places)) for actor in actors),
            expiries=tuple(row[4] for row in rows),
            actors=tuple(places),
        )
    )


def restore(snapshot: bytes | None, kept: Iterable[bytes], grace_ms: int) -> Records | None:
    """Return the records that a journal held; None: nothing was ever kept in it.

    Raises:
        BadMessage: it is no journal of a store.
    """
    records, horizon = Records(grace_ms), 0
    if snapshot is not None:
        whole = SNAPSHOT.decode_untrusted(snapshot)
        horizon, records.born = whole.horizon, whole.born
        kept = [*whole.chunks, *kept]
    is_empty = snapshot is None
    for data in kept:
        is_empty = False
        born, rows = decode_kept(data)
        records.born = max(records.born, born)
        for row in rows:
            records.merge(*row)
    records.horizon = horizon
    return None if is_empty else records


def decode_kept(data: bytes) -> tuple[int, Iterator[Row]]:
    """Return when the store began, or 0, and the writes of one record.

    Raises:
        BadMessage: it is none of a store.
    """
    kept = KEPT.decode_untrusted(data)
    refs = [Ref[Any](*actor) for actor in kept.actors]
    columns = zip(kept.keys, kept.values, kept.stamps, kept.writers, kept.expiries, strict=True)
    rows = ((key, value, stamp, refs[place], ms) for key, value, stamp, place, ms in columns)
    return kept.born, rows


def encode_snapshot(horizon: int, born: int, chunks: Sequence[bytes]) -> bytes:
    """Return a snapshot of chunks, which :func:`encode_kept` gives."""
    return SNAPSHOT.encode(_Snapshot(horizon, born, tuple(chunks)))


def collect(replicas: Sequence[Records], places: int) -> Iterator[list[Row]]:
    """Give all records of a server, some at a time: of each key the last write that one has.

    Args:
        replicas: of its actors. They may change between two lists.
        places: how many buckets each list is of.
    """
    for start in range(FIRST_LEAF, NODES, places):
        last: dict[bytes, Record] = {}
        for replica in replicas:
            for node in range(start, min(start + places, NODES)):
                for key, record in replica.below(node):
                    known = last.get(key)
                    if known is None or known.is_before(record.stamp, record.writer):
                        last[key] = record
        yield [
            (key, record.value, record.stamp, record.writer, record.expires_ms)
            for key, record in last.items()
        ]
