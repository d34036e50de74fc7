"""What a peer's storage writes into its journal: one record for each fact. Pure.

::

    record      version (1 byte) │ kind (1 byte) │ fields
    number      8 bytes, big-endian
    text        length (2 bytes) │ UTF-8
    names       count (2 bytes) │ texts, sorted
    stores      count (2 bytes) │ text and number of each, sorted
    meta        index │ term │ size │ checksum │ voters │ outgoing │ learners │ next learners │
                stores

Entries that were written together are one record, see :mod:`trio440.raft.batches`. There is one
way to write each
record, and :func:`decode_record` takes no other. Whether the bytes are those that were written
is the journal's business.
"""

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Final, NoReturn, TypeAlias

import attrs

from trio440.errors import BadMessage, InvalidParameter
from trio440.raft.acquaintance import Acquaintance
from trio440.raft.batches import decode_entries, encode_entries
from trio440.raft.membership import NO_STORE, Configuration, Stores
from trio440.raft.messages import Entry, HardState, SnapshotMeta

__all__ = [
    "VERSION",
    "Base",
    "Compacted",
    "Entries",
    "Installed",
    "Record",
    "Saved",
    "decode_meta",
    "decode_record",
    "encode_meta",
    "encode_record",
]

VERSION: Final = 1


@attrs.frozen
class Base:
    """Where the log begins: what a peer starts with, and what compaction leaves of the rest."""

    cluster: str
    node: str
    """Whose storage this is."""
    hard_state: HardState
    snapshot: SnapshotMeta
    file: int
    """The number of the snapshot's file; 0: it is empty and has none."""
    index: int
    """The entry before the first one that is kept."""
    term: int
    """Of that entry."""
    store: int = NO_STORE
    """The number that names this storage."""
    acquaintances: tuple[Acquaintance, ...] = ()
    """Sorted by id."""


@attrs.frozen
class Entries:
    """Entries in a row: the first replaces what is kept at its index, and all after it."""

    entries: Sequence[Entry]
    """At least one."""


@attrs.frozen
class Compacted:
    """Entries up to an index are forgotten, though the record that holds them is still needed."""

    index: int


@attrs.frozen
class Saved:
    """A snapshot of the peer's own; entries stay."""

    snapshot: SnapshotMeta
    file: int


@attrs.frozen
class Installed:
    """A snapshot from a leader: the log begins behind it."""

    snapshot: SnapshotMeta
    file: int
    keeps: bool
    """Whether the entries behind it stay."""


Record: TypeAlias = Base | HardState | Entries | Compacted | Saved | Installed | Acquaintance


class _Kind(IntEnum):
    BASE = 1
    HARD_STATE = 2
    ENTRIES = 3
    SAVED = 4
    INSTALLED = 5
    COMPACTED = 6
    ACQUAINTANCE = 7


_HEAD: Final = struct.Struct(">BB")
_NUMBER: Final = struct.Struct(">Q")
_LENGTH: Final = struct.Struct(">H")
_META_HEAD: Final = struct.Struct(">QQQQ")


# Writing


def encode_record(record: Record) -> bytes:
    """Return the bytes of a record.

    Raises:
        InvalidParameter: a number is outside 0 to 2**64 - 1, or a name is longer than 65535 bytes
            or no Unicode.
    """
    try:
        return _encode(record)
    except (struct.error, UnicodeEncodeError):
        raise InvalidParameter("record", record, "made of sound numbers and names") from None


def encode_meta(meta: SnapshotMeta) -> bytes:
    """Return the bytes of a snapshot's description, which tell their own length.

    Raises:
        struct.error: a number or a name is out of range.
    """
    configuration = meta.configuration
    groups = (
        configuration.voters,
        configuration.outgoing,
        configuration.learners,
        configuration.next_learners,
    )
    head = _META_HEAD.pack(meta.index, meta.term, meta.size, meta.checksum)
    stores = (_text(name) + _NUMBER.pack(number) for name, number in configuration.stores)
    return b"".join(
        [
            head,
            *(part for names in groups for part in (_LENGTH.pack(len(names)), *map(_text, names))),
            _LENGTH.pack(len(configuration.stores)),
            *stores,
        ]
    )


def _encode(record: Record) -> bytes:
    match record:
        case Entries():
            kind, fields = _Kind.ENTRIES, encode_entries(record.entries)
        case HardState():
            kind, fields = _Kind.HARD_STATE, _hard_state(record)
        case Compacted():
            kind, fields = _Kind.COMPACTED, _NUMBER.pack(record.index)
        case Saved():
            place = _NUMBER.pack(record.file)
            kind, fields = _Kind.SAVED, place + encode_meta(record.snapshot)
        case Installed():
            place = _NUMBER.pack(record.file) + bytes([record.keeps])
            kind, fields = _Kind.INSTALLED, place + encode_meta(record.snapshot)
        case Acquaintance():
            kind, fields = _Kind.ACQUAINTANCE, _acquaintance(record)
        case _:
            kind, fields = _Kind.BASE, _base(record)
    return _HEAD.pack(VERSION, kind) + fields


def _base(base: Base) -> bytes:
    return b"".join(
        [
            _text(base.cluster),
            _text(base.node),
            _hard_state(base.hard_state),
            _NUMBER.pack(base.file),
            _NUMBER.pack(base.index),
            _NUMBER.pack(base.term),
            encode_meta(base.snapshot),
            _NUMBER.pack(base.store),
            _LENGTH.pack(len(base.acquaintances)),
            *map(_acquaintance, base.acquaintances),
        ]
    )


def _text(text: str) -> bytes:
    data = text.encode()
    return _LENGTH.pack(len(data)) + data


def _hard_state(state: HardState) -> bytes:
    vote = b"\0" if state.vote is None else b"\1" + _text(state.vote)
    return _NUMBER.pack(state.term) + _NUMBER.pack(state.commit) + vote


def _acquaintance(one: Acquaintance) -> bytes:
    return _text(one.id) + _NUMBER.pack(one.store) + bytes([one.met])


# Reading


def decode_record(data: bytes) -> Record:
    """Read a record.

    Raises:
        BadMessage: the bytes are no record, or one of another version.
    """
    reader = _Reader(data)
    version, kind = reader.byte(), reader.byte()
    if version != VERSION:
        _refuse(f"it is of version {version}, this program reads {VERSION}")
    if kind == _Kind.ENTRIES:
        return Entries(decode_entries(data[_HEAD.size :]))
    record: Record
    match kind:
        case _Kind.BASE:
            record = _read_base(reader)
        case _Kind.HARD_STATE:
            record = reader.hard_state()
        case _Kind.COMPACTED:
            record = Compacted(reader.number())
        case _Kind.SAVED:
            file = reader.number()
            record = Saved(file=file, snapshot=reader.meta())
        case _Kind.INSTALLED:
            file, keeps = reader.number(), reader.flag()
            record = Installed(file=file, keeps=keeps, snapshot=reader.meta())
        case _Kind.ACQUAINTANCE:
            record = reader.acquaintance()
        case _:
            _refuse(f"it is of the unknown kind {kind}")
    reader.end()
    return record


def decode_meta(data: bytes) -> SnapshotMeta:
    """Read what :func:`encode_meta` wrote.

    Raises:
        BadMessage: the bytes are nothing of the kind.
    """
    reader = _Reader(data)
    meta = reader.meta()
    reader.end()
    return meta


def _read_base(reader: "_Reader") -> Base:
    cluster, node, hard_state = reader.text(), reader.text(), reader.hard_state()
    file, index, term = reader.number(), reader.number(), reader.number()
    snapshot, store = reader.meta(), reader.number()
    acquaintances = tuple(reader.acquaintance() for _ in range(reader.length()))
    _check_sorted(one.id for one in acquaintances)
    return Base(cluster, node, hard_state, snapshot, file, index, term, store, acquaintances)


def _check_sorted(names: Iterable[str]) -> None:
    if any(first >= second for first, second in pairwise(names)):
        _refuse("names are not in their order")


def _refuse(problem: str) -> NoReturn:
    raise BadMessage(f"this is no record of Raft's: {problem}")


class _Reader:
    """Takes fields off the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._data):
            _refuse("it is cut short")
        return self._data[start : self._at]

    def byte(self) -> int:
        return self._take(1)[0]

    def flag(self) -> bool:
        value = self.byte()
        if value > 1:
            _refuse("what is to be yes or no is neither")
        return value == 1

    def number(self) -> int:
        return int.from_bytes(self._take(_NUMBER.size))

    def length(self) -> int:
        return int.from_bytes(self._take(_LENGTH.size))

    def text(self) -> str:
        data = self._take(self.length())
        try:
            return data.decode()
        except UnicodeDecodeError:
            _refuse("a name is no text")

    def names(self) -> tuple[str, ...]:
        names = tuple(self.text() for _ in range(self.length()))
        _check_sorted(names)
        return names

    def stores(self) -> Stores:
        stores = tuple((self.text(), self.number()) for _ in range(self.length()))
        _check_sorted(name for name, _ in stores)
        return stores

    def acquaintance(self) -> Acquaintance:
        name, store, met = self.text(), self.number(), self.flag()
        try:
            return Acquaintance(name, store, met)
        except ValueError:
            _refuse(f"no store has the number {store}")

    def hard_state(self) -> HardState:
        term, commit = self.number(), self.number()
        return HardState(term, self.text() if self.flag() else None, commit)

    def meta(self) -> SnapshotMeta:
        index, term, size, checksum = (self.number() for _ in range(4))
        voters, outgoing, learners, following = (self.names() for _ in range(4))
        stores = self.stores()
        try:
            configuration = Configuration(
                voters=voters,
                outgoing=outgoing,
                learners=learners,
                next_learners=following,
                stores=stores,
            )
        except InvalidParameter as error:
            _refuse(str(error))
        return SnapshotMeta(index, term, configuration, size, checksum)

    def end(self) -> None:
        if self._at != len(self._data):
            _refuse("something follows it")
