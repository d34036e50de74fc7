"""The records of one replica: who wrote what to each key last, and what was deleted. Pure.

A record is the last write to its key that this replica knows of. Its *version* is the stamp of the
write and the reference of the actor that took it; the greater version wins, so merging is
associative, commutative and idempotent, and replicas that were told the same writes hold the same
records. A delete is a write without a value, a *tombstone*: it has to stay, or an older write that
is still on its way would bring the key back.

A tombstone goes when it is older than the grace period; the greatest stamp that has gone is the
*horizon*. Behind it a replica cannot know whether a key that it does not have was deleted, and
nothing may come back: so it refuses a write from behind its horizon to a key that is unknown to
it. That hits only what took longer than the grace period to get here. Of a replica that began with
nothing, tombstones from before its beginning are none for the horizon: what is older may not have
been told to it yet, and it has one grace period for that.

A record whose time to live is over becomes a tombstone of the same version, on each replica by
itself, and has its grace period from then on.

Digests are needed when replicas compare, which is far less often than they are written to: keys
that were written since are noted, and added to the tree when somebody asks for it.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias, final

import msgspec
from sortedcontainers import SortedList

from trio440.actors.ref import Ref
from trio440.kv.digests import FIRST_LEAF, LEAVES, DigestTree, hash_write, leaf, leaves_below
from trio440.kv.hlc import ms_of
from trio440.kv.siblings import HIDDEN, hidden_prefix

__all__ = ["RECORD_BYTES", "Merged", "Record", "Records", "prefix_end"]

RECORD_BYTES: Final = 256
"""What a record takes beside its key and value, about."""
MOST_UNHASHED: Final = 16_384
"""Keys that the tree does not know of yet, so that adding them keeps nobody waiting for long."""
MOST_WRITERS: Final = 10_000
"""That are remembered in bytes at a time."""
SLACK: Final = 1000

Merged: TypeAlias = Literal["news", "old", "over", "refused"]
"""What became of a write: it is the last one now; this replica knows a later one, or itself; it
knows itself, and has learnt that its time is over; it is from behind the horizon."""


@final
class Record(msgspec.Struct, gc=False, frozen=True):
    """The last write to a key. It refers to nothing that could refer to it."""

    key: bytes
    value: bytes | None
    """None: the key was deleted, or its time is over."""
    stamp: int
    writer: Ref[Any]
    """Who took the write."""
    expires_ms: int
    """Since the Unix epoch; 0: never."""

    def is_live(self, now_ms: int) -> bool:
        """Whether there is a value."""
        return self.value is not None and (not self.expires_ms or now_ms < self.expires_ms)

    def is_before(self, stamp: int, writer: Ref[Any]) -> bool:
        """Whether a version is greater than this one's."""
        return self.stamp < stamp or (self.stamp == stamp and self.writer < writer)


def prefix_end(prefix: bytes) -> bytes | None:
    """Return the least key behind all keys with a prefix; None: there is none."""
    bare = prefix.rstrip(b"\xff")
    return bare[:-1] + bytes([bare[-1] + 1]) if bare else None


@final
class Records:
    """All records of a replica, with their keys in order and their digests."""

    def __init__(self, grace_ms: int, born: int = 0) -> None:
        """Start with none.

        Args:
            grace_ms: how long a tombstone stays.
            born: the stamp of the beginning; tombstones that are older move no horizon.
        """
        self.bytes = 0
        """Of keys, values and what records take, tombstones included."""
        self.horizon = 0
        """The greatest stamp of a tombstone of its own time that has gone; 0: none has."""
        self.born = born
        """The stamp of the beginning: tombstones that are older move no horizon."""
        self._grace_ms = grace_ms
        self.siblings = 0
        """How many hidden keys have a value."""
        self._records: dict[bytes, Record] = {}
        self.find: Final[Callable[[bytes], Record | None]] = self._records.get
        """Returns the record of a key, a tombstone too."""
        self._tree = DigestTree()
        self._unhashed: dict[bytes, tuple[int, Ref[Any]] | None] = {}
        """Keys whose records have changed, with the versions that the tree has of them."""
        self._buckets: list[dict[bytes, None] | None] = [None] * LEAVES
        """The keys of each leaf of the tree. The garbage collector passes over such dictionaries,
        and would go through lists."""
        self._keys: SortedList[bytes] = SortedList()
        """Those that have a value, without the hidden ones."""
        self._hidden: SortedList[bytes] = SortedList()
        """The hidden ones that have a value."""
        self._due: list[tuple[int, bytes]] = []
        """A heap: when a record is to be looked at again."""
        self._timed = 0
        """Records that are to be looked at again; the heap has old entries, too."""
        self._writers: dict[Ref[Any], tuple[Ref[Any], bytes]] = {}

    def __len__(self) -> int:
        return len(self._records)

    # Reading

    @property
    def tree(self) -> DigestTree:
        """The digests of all records as they are now."""
        while self._unhashed:
            self._hash_one()
        return self._tree

    def live(self, key: bytes, now_ms: int) -> Record | None:
        """Return the record of a key that has a value."""
        record = self.find(key)
        return record if record is not None and record.is_live(now_ms) else None

    def listed(self, prefix: bytes, after: bytes | None) -> Iterator[Record]:
        """Give the records of the keys with a prefix and behind a key, in order.

        They have a value, if :meth:`sweep` was called just before. No record may change meanwhile.
        """
        end = prefix_end(prefix)
        if after is None or after < prefix:
            keys = self._keys.irange(prefix, end, (True, False))
        elif end is not None and after >= end:
            return iter(())
        else:
            keys = self._keys.irange(after, end, (False, False))
        return map(self._records.__getitem__, keys)

    def count(self, prefix: bytes) -> int:
        """Return how many keys have a prefix, see :meth:`listed`."""
        end = prefix_end(prefix)
        stop = len(self._keys) if end is None else self._keys.bisect_left(end)
        return stop - self._keys.bisect_left(prefix)

    def siblings_of(self, key: bytes) -> list[bytes]:
        """Return the hidden keys of a key that have a value, see :meth:`listed`."""
        if not self.siblings:
            return []
        prefix = hidden_prefix(key)
        return list(self._hidden.irange(prefix, prefix_end(prefix), inclusive=(True, False)))

    def below(self, node: int) -> Iterator[tuple[bytes, Record]]:
        """Give the records below a node of the tree of digests, in no certain order."""
        for place in leaves_below(node):
            if (bucket := self._buckets[place - FIRST_LEAF]) is not None:
                for key in bucket:
                    yield key, self._records[key]

    # Writing

    def merge(
        self, key: bytes, value: bytes | None, stamp: int, writer: Ref[Any], expires_ms: int = 0
    ) -> Merged:
        """Take a write, whoever took it first.

        Args:
            key: not empty.
            value: None: a delete.
            stamp: of the write.
            writer: who took it.
            expires_ms: since the Unix epoch; 0: never.
        """
        old = self.find(key)
        if old is None:
            if stamp <= self.horizon:
                return "refused"
        elif stamp <= old.stamp and not old.is_before(stamp, writer):
            return self._keep(key, old, value, stamp, writer)
        if old is not None:
            key = old.key  # as long as it lasts: the one that has come need not be kept
        if old is None or old.writer is not writer:
            writer = self._know(writer)[0]
        self.replace(old, Record(key, value, stamp, writer, expires_ms))
        return "news"

    def replace(self, old: Record | None, record: Record) -> None:
        """Take a write that is later than the present record of its key.

        Args:
            old: what :meth:`find` returns for the key.
            record: the new one.
        """
        key, value = record.key, record.value
        if key not in self._unhashed:
            self._note(key, old)
        self._records[key] = record
        if old is None:
            place = leaf(key) - FIRST_LEAF
            bucket = self._buckets[place]
            if bucket is None:
                bucket = self._buckets[place] = {}
            bucket[key] = None
            self.bytes += RECORD_BYTES + len(key) + len(value or b"")
            if value is not None:
                self._show(key)
        else:
            before = old.value
            self.bytes += len(value or b"") - len(before or b"")
            if before is None:
                if value is not None:
                    self._show(key)
                self._timed -= 1
            else:
                if value is None:
                    self._hide(key)
                if old.expires_ms:
                    self._timed -= 1
        if value is None or record.expires_ms:
            self._schedule(key, record)

    def _keep(
        self, key: bytes, old: Record, value: bytes | None, stamp: int, writer: Ref[Any]
    ) -> Merged:
        """Say what became of a write that is no later than the record, which may lose its value."""
        if old.stamp == stamp and value is None and writer == old.writer and old.value is not None:
            self._bury(key, old)
            return "over"
        return "old"

    def sweep(self, now_ms: int, most: int | None = None) -> list[Record]:
        """Let go what is over: values whose time is, and tombstones after their grace period.

        Args:
            now_ms: the time of day.
            most: of what is looked at; None: everything.

        Returns:
            The records that have lost their values.
        """
        expired: list[Record] = []
        due = self._due
        while due and due[0][0] <= now_ms and most != 0:
            _, key = heapq.heappop(due)
            record = self.find(key)
            if record is not None and self._is_timed(record) and self._when(record) <= now_ms:
                if record.value is None:
                    self._forget(key, record)
                else:
                    self._bury(key, record)
                    expired.append(record)
            if most is not None:
                most -= 1
        return expired

    def next_due_ms(self) -> int | None:
        """Return when there is something to sweep, at the earliest; None: never."""
        return self._due[0][0] if self._due else None

    def _show(self, key: bytes) -> None:
        """Note that a key has a value."""
        if key.startswith(HIDDEN):
            self._hidden.add(key)
            self.siblings += 1
        else:
            self._keys.add(key)

    def _hide(self, key: bytes) -> None:
        """Note that a key has no value."""
        if key.startswith(HIDDEN):
            self._hidden.remove(key)
            self.siblings -= 1
        else:
            self._keys.remove(key)

    def _bury(self, key: bytes, record: Record) -> None:
        """Let a record lose its value, and nothing else."""
        if record.value is not None:
            self.bytes -= len(record.value)
            self._timed -= self._is_timed(record)
            buried = Record(record.key, None, record.stamp, record.writer, record.expires_ms)
            self._records[key] = buried
            self._hide(key)
            self._schedule(key, buried)

    def _forget(self, key: bytes, record: Record) -> None:
        place = leaf(key) - FIRST_LEAF
        bucket = self._buckets[place]
        assert bucket is not None  # noqa: S101 - the key is in it
        del self._records[key]
        del bucket[key]
        if not bucket:
            self._buckets[place] = None
        if key not in self._unhashed:
            self._note(key, record)
        self.bytes -= RECORD_BYTES + len(key)
        self._timed -= 1
        if record.stamp >= self.born:
            self.horizon = max(self.horizon, record.stamp)

    def _note(self, key: bytes, record: Record | None) -> None:
        """Note that a key changes, for the first time since it was hashed, and what it was."""
        if len(self._unhashed) >= MOST_UNHASHED:
            self._hash_one()
        self._unhashed[key] = None if record is None else (record.stamp, record.writer)

    def _hash_one(self) -> None:
        """Let the tree know the record of a key that has changed."""
        key, known = self._unhashed.popitem()
        record, change, count = self.find(key), 0, 0
        if known is not None:
            change -= self._hash(key, *known)
            count -= 1
        if record is not None:
            change += self._hash(key, record.stamp, record.writer)
            count += 1
        self._tree.add(leaf(key), change, count)

    def _hash(self, key: bytes, stamp: int, writer: Ref[Any]) -> int:
        return hash_write(key, stamp, self._know(writer)[1])

    def _know(self, writer: Ref[Any]) -> tuple[Ref[Any], bytes]:
        """Return one reference for all that are equal, so that records share it, and its bytes."""
        known = self._writers.get(writer)
        if known is None:
            if len(self._writers) >= MOST_WRITERS:
                self._writers.clear()
            text = f"{writer.address}/{writer.counter}/{writer.incarnation}"
            known = self._writers[writer] = writer, text.encode()
        return known

    # Time

    def _is_timed(self, record: Record) -> bool:
        return record.value is None or bool(record.expires_ms)

    def _when(self, record: Record) -> int:
        if record.value is not None:
            return record.expires_ms
        return max(record.expires_ms, ms_of(record.stamp)) + self._grace_ms

    def _schedule(self, key: bytes, record: Record) -> None:
        if not self._is_timed(record):
            return
        self._timed += 1
        heapq.heappush(self._due, (self._when(record), key))
        if len(self._due) > 2 * self._timed + SLACK:
            alive = (item for item in self.below(0) if self._is_timed(item[1]))
            self._due = [(self._when(record), key) for key, record in alive]
            heapq.heapify(self._due)
