"""What a store has to keep, whoever looks: who wrote what, and what one replica showed. Pure."""

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import attrs

from trio440.actors.ref import Ref
from trio440.errors import InvariantViolated
from trio440.kv.feed import Seen
from trio440.kv.records import Record
from trio440.kv.replica import Replica
from trio440.kv.siblings import HIDDEN

__all__ = ["FILLER", "Life", "Truth", "Version", "Written", "require"]

Version: TypeAlias = tuple[int, Ref[Any]]
"""The stamp of a write, and who took it."""

EVERYTHING: Final = 1 << 40
WEEK: Final = 604_800
FILLER: Final = b"filler"
PIECE: Final = 300
"""Bytes that a reader takes at a time: two changes or three."""


def require(condition: object, promise: str, detail: str) -> None:
    """Raise unless a promise is kept."""
    if not condition:
        raise InvariantViolated(promise, detail)


@attrs.frozen
class Written:
    """What a client wrote."""

    value: bytes | None
    expires_ms: int


class Truth:
    """Every write that a replica has taken from a client."""

    def __init__(self) -> None:
        """Know of none."""
        self.writes: dict[bytes, dict[Version, Written]] = {}
        self._by_stamp: dict[tuple[bytes, int], list[bytes | None]] = {}

    def take(self, key: bytes, version: Version, value: bytes | None, expires_ms: int) -> None:
        """Note a write."""
        writes = self.writes.setdefault(key, {})
        require(version not in writes, "no version is given twice", f"{key!r} {version}")
        writes[version] = Written(value, expires_ms)
        self._by_stamp.setdefault((key, version[0]), []).append(value)

    def knows(self, key: bytes, value: bytes) -> bool:
        """Whether a value was written to a key."""
        return any(written.value == value for written in self.writes.get(key, {}).values())

    def check_value(self, key: bytes, value: bytes, stamp: int, where: object) -> None:
        """Require that somebody wrote this value with this stamp."""
        if value not in self._by_stamp.get((key, stamp), ()):
            shown = f"{where}: {key!r} {value!r} {stamp}"
            raise InvariantViolated("what is read was written", shown)

    def check_record(self, key: bytes, record: Record, where: object) -> None:
        """Require that a record with a value is a write as it was taken."""
        written = self.writes.get(key, {}).get((record.stamp, record.writer))
        is_same = written is not None and (
            written.value == record.value and written.expires_ms == record.expires_ms
        )
        if record.value is not None and not is_same:
            found = Written(record.value, record.expires_ms)
            shown = f"{where}: {key!r} is {_short(found)}, was written as {_short(written)}"
            raise InvariantViolated("a record is as it was written", shown)


def _short(written: Written | None) -> str:
    return "never" if written is None else f"{(written.value or b'')[:20]!r} {written.expires_ms}"


class _Reader:
    """Who reads the changes with a prefix, piece by piece, and what they make together."""

    def __init__(self, prefix: bytes, most_bytes: int) -> None:
        self.number = 0
        self.entries: dict[bytes, bytes] = {}
        self.versions: dict[bytes, int] = {}
        self._lasts: dict[bytes, Seen] = {}
        self.prefix = prefix
        self._most_bytes = most_bytes
        self._last = 0

    def read(self, life: "Life") -> None:
        feed = life.replica.feed
        if self.number < feed.forgotten:
            self._begin_anew(life)
            return
        while self.number < feed.last:
            found, number = feed.since(self.number, self.prefix, self._most_bytes)
            require(number > self.number, "a watch goes on", f"{life}: {number} again")
            for place, seen in found:
                self._take(life, place, seen)
            self.number = number

    def _begin_anew(self, life: "Life") -> None:
        """The history was compacted: what there is is read, as a client would."""
        self.number = self._last = life.replica.feed.last
        self.entries, self.versions, self._lasts = {}, {}, {}
        for key, record in life.known():
            if key.startswith(self.prefix) and not key.startswith(HIDDEN):
                self.versions[key] = record.stamp
                if record.value is not None:
                    self.entries[key] = record.value

    def _take(self, life: "Life", place: int, seen: Seen) -> None:
        key, value, version = seen
        before = self.versions.get(key, 0)
        if place <= self._last:
            raise InvariantViolated("a watch repeats nothing", f"{life}: {place} {seen}")
        last = self._lasts.get(key)
        if last is not None and last[1] is None:
            before -= 1  # the end of a write is one later than that, which may have an equal
        if version < before and version > life.born:  # equal ones are told apart by their writers
            raise InvariantViolated("a watch is in order", f"{life}: {seen} behind {before}")
        self._last, self._lasts[key], self.versions[key] = place, seen, version
        if value is None:
            self.entries.pop(key, None)
        else:
            life.truth.check_value(key, value, version, life)
            self.entries[key] = value


class Life:
    """One life of one replica, and what it has shown."""

    def __init__(self, truth: Truth, replica: Replica, born: int) -> None:
        """Begin with a replica that is empty.

        Args:
            truth: what was written.
            replica: which takes anything that was written before its beginning.
            born: the stamp of that.
        """
        self.truth: Final = truth
        self.replica: Final = replica
        self.born: Final = born
        self._looked = 0
        self._tops: dict[bytes, tuple[int, Ref[Any]]] = {}
        """The greatest version of each key that was held."""
        self._readers = [_Reader(b"", EVERYTHING), _Reader(b"k1", PIECE)]

    def __str__(self) -> str:
        return repr(self.replica.ref)

    def known(self, *, every: bool = True) -> Iterable[tuple[bytes, Record]]:
        """Give the records of the keys that were ever written; of fillers, where all are wanted."""
        find = self.replica.records.find
        for key in self.truth.writes:
            if (every or not key.startswith(FILLER)) and (record := find(key)) is not None:
                yield key, record

    def read(self) -> None:
        """Read on in its history."""
        for reader in self._readers:
            reader.read(self)

    def look(self, *, every: bool) -> None:
        """Require what must hold of it at any moment; ``every``: of fillers, too."""
        self.read()
        if self._looked == self.replica.feed.last and not every:
            return
        self._looked = self.replica.feed.last
        live: dict[bytes, bytes] = {}
        forgets = self.replica.limits.grace_seconds < WEEK
        for key, record in self.known(every=every):
            version = record.stamp, record.writer
            top = self._tops.get(key, version)
            is_hidden = key.startswith(HIDDEN)
            if record.value is not None:
                self.truth.check_record(key, record, self)
                if not is_hidden:
                    live[key] = record.value
            elif is_hidden and not forgets and version not in self.truth.writes[key]:
                shown = f"{self}: {key!r}, nobody who had read it wrote again"
                raise InvariantViolated("a sibling stays until it is replaced", shown)
            if version < top and record.stamp > self.born:
                shown = f"{self}: {key!r} {version} after {top}"
                raise InvariantViolated("nothing comes back", shown)
            self._tops[key] = version
        for reader in self._readers:
            self._compare(reader, live, every=every)
        if every:
            self._look_at_bounds(live)

    def _compare(self, reader: _Reader, live: dict[bytes, bytes], *, every: bool) -> None:
        told = {k: v for k, v in reader.entries.items() if every or not k.startswith(FILLER)}
        there = {k: v for k, v in live.items() if k.startswith(reader.prefix)}
        if told != there:
            wrong = sorted(told.items() ^ there.items())[:3]
            raise InvariantViolated("a watch misses nothing", f"{self}: it is wrong in {wrong}")

    def _look_at_bounds(self, live: dict[bytes, bytes]) -> None:
        replica, limits = self.replica, self.replica.limits
        statistics = replica.statistics()
        shown = f"{self}: {statistics}, of which {len(live)} were written"
        require(statistics.keys == len(live), "keys are counted", shown)
        most = limits.keys * 5 // 4 + 1, limits.total_bytes * 5 // 4 + limits.value_bytes
        within = len(replica.records) <= most[0] and statistics.bytes <= most[1]
        require(within, "a replica keeps its bounds", shown)
        kept = replica.feed.last - replica.feed.forgotten
        require(kept <= limits.history_changes, "a history keeps its bound", f"{self}: {kept}")
