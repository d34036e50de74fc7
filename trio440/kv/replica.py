"""One replica of the eventual engine: answers at once, and merges what others took. Pure.

Each query actor has one. A write gets a stamp of the actor's hybrid clock, above all that the
actor and the client have seen, and wins over everything that either of them had read.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, final

from trio440.actors.ref import Ref
from trio440.kv.hlc import HybridClock
from trio440.kv.operations import (
    Changed,
    Count,
    Counted,
    Delete,
    Entry,
    Expire,
    Found,
    Get,
    GetSiblings,
    List,
    Operation,
    Page,
    Put,
    PutSibling,
    Refused,
    Result,
    Siblings,
)
from trio440.kv.records import RECORD_BYTES, Record
from trio440.kv.replica_core import ReplicaCore
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.siblings import (
    DOT_BYTES,
    HIDDEN,
    Dot,
    dot_of,
    dots_of_context,
    hidden_dot,
    hidden_key,
    latest_stamp,
    write_context,
)

__all__ = ["MOST_TTL_MS", "Replica"]

MOST_TTL_MS: Final = 1 << 46
"""Two thousand years: a moment so far from now is still an int64."""
ENTRY_BYTES: Final = 100
"""What an entry of a list that a batch gets back counts beside its key and value."""
AHEAD: Final = Refused("the clock of the client or of this server is too far ahead", "limit")
FULL: Final = Refused("the store is full", "limit")
HIDDEN_KEY: Final = Refused(f"a key that begins with {HIDDEN!r} is the store's own", "malformed")
NO_CONTEXT: Final = Refused("this is no context of siblings", "malformed")
NO_LEASES: Final = Refused("the eventual engine has no leases", "unsupported")
NEW_AND_OLD: Final = Refused("a new time to live cannot keep the old one", "malformed")
UNSUPPORTED: Final = Refused("the eventual engine cannot do this", "unsupported")


@final
class Replica(ReplicaCore):
    """The whole store, as one actor knows it."""

    def __init__(
        self, ref: Ref[Any], clock: HybridClock, limits: ReplicaLimits, now_ms: int = 0
    ) -> None:
        """Start empty; see :class:`ReplicaCore`."""
        super().__init__(ref, clock, limits, now_ms)
        self._handlers: dict[type, Callable[[Any, int], Result]] = {
            Get: self._get,
            Put: self._put,
            Delete: self._delete,
            Expire: self._expire,
            PutSibling: self._put_sibling,
            GetSiblings: self._siblings,
            List: self._list,
            Count: self._count,
            Refused: lambda refused, _: refused,
        }
        self._written: list[bytes] = []
        self._answered = 0
        """Bytes of entries in the answers of the present batch."""
        self._replaced = 0
        """Siblings that the present batch is to replace."""

    def execute(
        self, seen: int, operations: Sequence[Operation | Refused], now_ms: int
    ) -> tuple[list[Result], list[bytes]]:
        """Carry out operations in their order.

        Args:
            seen: the greatest stamp that the client has seen; 0: none.
            operations: of the client; what is none is answered by the refusal in its place.
            now_ms: the time of day.

        Returns:
            A result for each, and the keys that were written to.
        """
        if (refused := self.limits.refuse_batch(len(operations))) is not None:
            return [refused] * len(operations), []
        is_ahead = not self.clock.observe(seen, now_ms) or self.clock.is_ahead(now_ms)
        self.sweep(now_ms)
        self._written, self._answered, self._replaced = [], 0, 0
        results: list[Result] = []
        for operation in operations:
            kind = type(operation)
            if is_ahead and kind in (Put, PutSibling, Delete, Expire):
                results.append(AHEAD)
            elif (handle := self._handlers.get(kind)) is not None:
                results.append(handle(operation, now_ms))
            else:
                results.append(UNSUPPORTED)
        self._writes += len(self._written)
        return results, self._written

    # Operations that read

    def _get(self, operation: Get, now_ms: int) -> Result:
        key = operation.key
        record = self.records.find(key)
        if (record is None or key.startswith(HIDDEN)) and (refused := self._check_key(key)):
            return refused
        if record is None or record.value is None:
            return Found(None)
        value, expires_ms = record.value, record.expires_ms
        if expires_ms and now_ms >= expires_ms:
            return Found(None)
        if self._answered > self.limits.batch_bytes:
            return self._too_much()
        self._answered += len(value)
        return Found(Entry(key, value, record.stamp, expires_ms - now_ms if expires_ms else None))

    def _siblings(self, operation: GetSiblings, now_ms: int) -> Result:
        key, records = operation.key, self.records
        if (refused := self._check_key(key)) is not None:
            return refused
        if self._answered > self.limits.batch_bytes:
            return self._too_much()
        every = {hidden_dot(name): records.live(name, now_ms) for name in records.siblings_of(key)}
        if (last := records.live(key, now_ms)) is not None:
            dot = dot_of(last.stamp, last.writer)
            if records.find(hidden_key(key, dot)) is None:  # else it is there, or was replaced
                every[dot] = last
        found = [(dot, record) for dot, record in every.items() if record is not None]
        found.sort(key=lambda each: (each[1].stamp, each[1].writer), reverse=True)
        entries: list[Entry] = []
        size = 0
        for _, record in found:
            assert record.value is not None  # noqa: S101 - it is live
            size += len(key) + len(record.value)
            is_full = size > self.limits.list_bytes or len(entries) == self.limits.list_entries
            if entries and is_full:
                break
            entries.append(_entry(key, record.value, record, now_ms))
        self._answered += size + ENTRY_BYTES * len(entries)
        return Siblings(tuple(entries), write_context(dot for dot, _ in found[: len(entries)]))

    def _list(self, operation: List, now_ms: int) -> Result:
        if operation.limit < 1:
            return Refused("the limit of a list is at least 1", "malformed")
        if self._answered > self.limits.batch_bytes:
            return self._too_much()
        most, most_bytes = min(operation.limit, self.limits.list_entries), self.limits.list_bytes
        entries: list[Entry] = []
        size, more = 0, False
        for record in self.records.listed(operation.prefix, operation.after):
            key, value, expires_ms = record.key, record.value, record.expires_ms
            if value is None or (expires_ms and now_ms >= expires_ms):
                continue
            size += len(key) + len(value)
            if len(entries) == most or (entries and size > most_bytes):
                more = True
                break
            ttl_ms = expires_ms - now_ms if expires_ms else None
            entries.append(Entry(key, value, record.stamp, ttl_ms))
        self._answered += size + ENTRY_BYTES * len(entries)
        return Page(tuple(entries), more)

    def _count(self, operation: Count, now_ms: int) -> Result:
        self.sweep(now_ms, None)
        return Counted(self.records.count(operation.prefix))

    def _too_much(self) -> Refused:
        return Refused(f"a batch gets back about {self.limits.batch_bytes} bytes at most")

    # Operations that write

    def _put(self, operation: Put, now_ms: int) -> Result:
        key, value, ttl_ms = operation.key, operation.value, operation.ttl_ms
        if operation.lease:
            return NO_LEASES
        records, expires_ms = self.records, 0
        old = records.find(key)
        if old is None or len(value) > len(old.value or b"") or key.startswith(HIDDEN):
            refused = self._check(key, len(value), old)  # else it takes no more than what is there
            if refused is not None:
                return refused
        if ttl_ms is not None:
            if (refused := _check_ttl(ttl_ms)) is not None:
                return refused
            if operation.keep_ttl:
                return NEW_AND_OLD
            expires_ms = now_ms + ttl_ms
        elif operation.keep_ttl and old is not None and old.is_live(now_ms):
            expires_ms = old.expires_ms
        changed = self._write(key, value, expires_ms, old, now_ms)
        if records.siblings and (siblings := records.siblings_of(key)):
            self._replace(key, map(hidden_dot, siblings), now_ms)
        return changed

    def _put_sibling(self, operation: PutSibling, now_ms: int) -> Result:
        key, value, ttl_ms = operation.key, operation.value, operation.ttl_ms
        record = self.records.find(key)
        if (refused := self._check(key, len(value), record) or _check_ttl(ttl_ms)) is not None:
            return refused
        replaced = self._read_context(operation.context)
        if isinstance(replaced, Refused):
            return replaced
        most, records = self.limits.siblings, self.records
        kept = {*map(hidden_dot, records.siblings_of(key))}.difference(replaced)
        if len(kept) >= most:
            return Refused(f"a key has {most} siblings at most: read and replace them")
        new = 1 + len(replaced) + (records.find(key) is None)
        more = new * (RECORD_BYTES + len(hidden_key(key, bytes(DOT_BYTES)))) + 2 * len(value)
        if len(records) + new > self.limits.keys or records.bytes + more > self.limits.total_bytes:
            return FULL
        if not self.clock.observe(latest_stamp(replaced), now_ms):
            return AHEAD
        expires_ms = now_ms + ttl_ms if ttl_ms is not None else 0
        changed = self._write(key, value, expires_ms, record, now_ms)
        self._keep(key, value, changed.version, expires_ms)
        self._replace(key, replaced, now_ms)
        return changed

    def _read_context(self, context: bytes) -> list[Dot] | Refused:
        """Return which siblings a write replaces, or why it does not."""
        dots = dots_of_context(context)
        if dots is None or len(dots) > self.limits.list_entries:
            return NO_CONTEXT
        self._replaced += len(dots)
        if self._replaced > self.limits.operations:
            return Refused(f"a batch replaces at most {self.limits.operations} siblings")
        return dots

    def _keep(self, key: bytes, value: bytes, stamp: int, expires_ms: int) -> None:
        """Let the value of a write stay until somebody replaces it who knows of it."""
        name = hidden_key(key, dot_of(stamp, self.ref))
        self.records.merge(name, value, stamp, self.ref, expires_ms)
        self._written.insert(-1, name)  # others are to have it no later than the write itself

    def _replace(self, key: bytes, dots: Iterable[Dot], now_ms: int) -> None:
        """Remove siblings, also such as have not come here yet."""
        for dot in dots:
            name = hidden_key(key, dot)
            record = self.records.find(name)
            if record is None or record.value is not None:
                self.records.merge(name, None, self.clock.next(now_ms), self.ref)
                self._written.append(name)

    def _delete(self, operation: Delete, now_ms: int) -> Result:
        # Also of a key that is not here: a put of it may be on its way, and this is later.
        record = self.records.find(operation.key)
        if (refused := self._check(operation.key, 0, record)) is not None:
            return refused
        changed = self._write(operation.key, None, 0, record, now_ms)
        self._replace(
            operation.key, map(hidden_dot, self.records.siblings_of(operation.key)), now_ms
        )
        return changed

    def _expire(self, operation: Expire, now_ms: int) -> Result:
        key, ttl_ms = operation.key, operation.ttl_ms
        if (refused := self._check_key(key)) is not None:
            return refused
        if ttl_ms is not None and ttl_ms > MOST_TTL_MS:
            return Refused(f"a time to live is at most {MOST_TTL_MS} ms", "malformed")
        old = self.records.live(key, now_ms)
        if old is None:
            return Changed(self.clock.last, existed=False)
        if ttl_ms is not None and ttl_ms <= 0:
            return self._delete(Delete(key), now_ms)
        value, dot = old.value, dot_of(old.stamp, old.writer)
        expires_ms = now_ms + ttl_ms if ttl_ms else 0
        changed = self._write(key, value, expires_ms, old, now_ms)
        if value is not None and self.records.live(hidden_key(key, dot), now_ms) is not None:
            self._keep(key, value, changed.version, expires_ms)
            self._replace(key, [dot], now_ms)
        return changed

    def _check_key(self, key: bytes) -> Refused | None:
        """Say why there can be no such key."""
        limit = self.limits.key_bytes
        if not key:
            return Refused("a key is empty", "malformed")
        if key.startswith(HIDDEN):
            return HIDDEN_KEY
        if len(key) > limit:
            return Refused(f"a key of {len(key)} bytes is too long, the limit is {limit}")
        return None

    def _check(self, key: bytes, value_bytes: int, old: Record | None) -> Refused | None:
        """Say why a write cannot be taken, where the key has had a record."""
        limits, records = self.limits, self.records
        is_sound = old is not None and not key.startswith(HIDDEN)  # for there is a record of it
        if not is_sound and (refused := self._check_key(key)) is not None:
            return refused
        if value_bytes > (limit := limits.value_bytes):
            return Refused(f"a value of {value_bytes} bytes is too long, the limit is {limit}")
        if old is None:
            more = RECORD_BYTES + len(key) + value_bytes
            if len(records) >= limits.keys or records.bytes + more > limits.total_bytes:
                return FULL
        elif value_bytes > (had := len(old.value or b"")) and (
            records.bytes + value_bytes - had > limits.total_bytes
        ):
            return FULL
        return None

    def _write(
        self, key: bytes, value: bytes | None, expires_ms: int, old: Record | None, now_ms: int
    ) -> Changed:
        """Let a key have a value, or none; ``old`` is its present record."""
        stamp, existed, is_change = self.clock.next(now_ms), False, value is not None
        if old is not None:
            key = old.key
            if old.value is not None:
                existed = not old.expires_ms or now_ms < old.expires_ms
                is_change = True  # of what watchers take it to have
        record = Record(key, value, stamp, self.ref, expires_ms)
        self.records.replace(old, record)
        self._written.append(key)
        if is_change:
            self.feed.add(record)
        return Changed(stamp, existed)


def _check_ttl(ttl_ms: int | None) -> Refused | None:
    """Say why this is no time to live."""
    if ttl_ms is not None and not 1 <= ttl_ms <= MOST_TTL_MS:
        return Refused(f"a time to live is 1 to {MOST_TTL_MS} ms", "malformed")
    return None


def _entry(key: bytes, value: bytes, record: Record, now_ms: int) -> Entry:
    ttl_ms = record.expires_ms - now_ms if record.expires_ms else None
    return Entry(key, value, record.stamp, ttl_ms)
