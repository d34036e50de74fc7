"""A table as plainly as it can be said: it looks at everything for every question."""

import re
from typing import Any

import attrs

from trio440.kv import (
    Append,
    CompareAndSet,
    Condition,
    Count,
    Delete,
    Entry,
    Expire,
    Get,
    Increment,
    List,
    Page,
    Put,
    TableLimits,
    Transaction,
)
from trio440.kv.operations import (
    Changed,
    Committed,
    Counted,
    Found,
    GrantLease,
    RenewLease,
    RevokeLease,
)


class No(Exception):
    """The operation is refused, for a reason of this kind."""


@attrs.define
class Row:
    value: bytes
    version: int
    end: int | None = None
    lease: int = 0
    is_new: bool = False
    """Nothing of its time to live has passed."""


class Model:
    """What a :class:`trio440.kv.Table` does, without its speed and its bounds of memory."""

    def __init__(self, limits: TableLimits) -> None:
        self.limits = limits
        self.now = 0
        self.rows: dict[bytes, Row] = {}
        self.changes: list[tuple[bytes, bytes | None]] = []
        self.leases: dict[int, list[int]] = {}
        self.new_leases: set[int] = set()
        self.last_lease = 0

    def size(self) -> int:
        return sum(len(key) + len(row.value) + 256 for key, row in self.rows.items())

    def next_deadline(self) -> int | None:
        ends = [row.end for row in self.rows.values() if row.end is not None]
        return min([*ends, *(end for _, end in self.leases.values())], default=None)

    def advance_late(self, now: int) -> None:
        """As :meth:`advance`; what has begun to have an end since the last time begins now."""
        shift = max(now - self.now, 0)
        for row in self.rows.values():
            if row.end is not None and row.is_new:
                row.end += shift
        for number in self.new_leases & {*self.leases}:
            self.leases[number][1] += shift
        self.forget_new()
        self.advance(now)

    def forget_new(self) -> None:
        for row in self.rows.values():
            row.is_new = False
        self.new_leases.clear()

    def advance(self, now: int) -> None:
        if now > self.now:
            self.forget_new()
        self.now = max(self.now, now)
        while True:
            due: list[tuple[int, int, Any]] = [
                (row.end, 0, key) for key, row in self.rows.items() if row.end is not None
            ]
            due += [(end, 1, number) for number, (_, end) in self.leases.items()]
            if not due or min(due)[0] > self.now:
                return
            _, kind, name = min(due)
            if kind:
                self.end_lease(name)
            else:
                self.remove(name)

    def change(self, key: bytes, value: bytes | None) -> int:
        self.changes.append((key, value))
        return len(self.changes)

    def remove(self, key: bytes) -> None:
        del self.rows[key]
        self.change(key, None)

    def end_lease(self, number: int) -> None:
        del self.leases[number]
        for key in sorted(key for key, row in self.rows.items() if row.lease == number):
            self.remove(key)

    def entry(self, key: bytes) -> Entry | None:
        row = self.rows.get(key)
        if row is None:
            return None
        return Entry(key, row.value, row.version, None if row.end is None else row.end - self.now)

    # Operations

    def do(self, operation: Any) -> object:
        """Return the result, or the kind of its refusal."""
        try:
            method = getattr(self, type(operation).__name__.lower())
            return method(*(getattr(operation, name) for name in operation.__struct_fields__))
        except No as no:
            return str(no)

    def check_key(self, key: bytes) -> None:
        if not key:
            raise No("malformed")
        if len(key) > self.limits.key_bytes:
            raise No("limit")

    def check_ttl(self, ttl: int | None) -> None:
        if ttl is not None and not 1 <= ttl <= 1 << 62:
            raise No("malformed")

    def write(self, key: bytes, value: bytes) -> bool:
        """Give a key a value, leave its end and its lease, and return whether it was there."""
        if len(value) > self.limits.value_bytes:
            raise No("limit")
        self.check_key(key)
        row = self.rows.get(key)
        growth = len(value) - len(row.value) if row else len(key) + len(value) + 256
        if growth > 0 and self.size() + growth > self.limits.total_bytes:
            raise No("limit")
        version = self.change(key, value)
        if row is None:
            self.rows[key] = Row(value, version)
        else:
            row.value, row.version = value, version
        return row is not None

    def get(self, key: bytes) -> Found:
        self.check_key(key)
        return Found(self.entry(key))

    def put(self, key: bytes, value: bytes, ttl: int | None, *ends: Any) -> Changed:
        keep, lease = ends
        self.check_ttl(ttl)
        if ttl is not None and keep:
            raise No("malformed")
        if lease and lease not in self.leases:
            raise No("no_lease")
        existed = self.write(key, value)
        row = self.rows[key]
        if not keep:
            row.end, row.lease = None, 0
        if ttl is not None:
            row.end, row.is_new = self.now + ttl, True
        if lease:
            row.lease = lease
        return Changed(row.version, existed)

    def delete(self, key: bytes) -> Changed:
        self.check_key(key)
        existed = key in self.rows
        if existed:
            self.remove(key)
        return Changed(len(self.changes), existed)

    def expire(self, key: bytes, ttl: int | None) -> Changed:
        self.check_key(key)
        row = self.rows.get(key)
        if row is not None:
            if ttl is not None and ttl <= 0:
                self.remove(key)
            elif ttl is not None or row.end is not None:
                self.check_ttl(ttl)
                self.write(key, row.value)
                row.end = None if ttl is None else self.now + ttl
                row.is_new = True
        return Changed(len(self.changes), row is not None)

    def list(self, prefix: bytes, after: bytes | None, limit: int) -> Page:
        if limit < 1:
            raise No("malformed")
        keys = [key for key in sorted(self.rows) if key.startswith(prefix)]
        keys = [key for key in keys if after is None or key > after]
        taken: list[Entry] = []
        room = self.limits.list_bytes
        for key in keys:
            entry = self.entry(key)
            assert entry is not None
            room -= len(key) + len(entry.value)
            if taken and (room < 0 or len(taken) >= min(limit, self.limits.list_entries)):
                break
            taken.append(entry)
        return Page(tuple(taken), more=len(taken) < len(keys))

    def count(self, prefix: bytes) -> Counted:
        return Counted(sum(key.startswith(prefix) for key in self.rows))

    def increment(self, key: bytes, by: int) -> Changed:
        row = self.rows.get(key)
        text = b"0" if row is None else row.value
        if not re.fullmatch(rb"0|-?[1-9][0-9]*", text):
            raise No("not_a_number")
        total = int(text) + by
        if not -(1 << 63) <= total < 1 << 63:
            raise No("overflow")
        existed = self.write(key, b"%d" % total)
        return Changed(self.rows[key].version, existed, total)

    def append(self, key: bytes, suffix: bytes) -> Changed:
        value = (self.rows[key].value if key in self.rows else b"") + suffix
        existed = self.write(key, value)
        return Changed(self.rows[key].version, existed, len(value))

    def compareandset(
        self, key: bytes, expected: bytes | None, value: bytes | None, ttl: int | None
    ) -> Committed:
        self.check_key(key)
        if len(value or b"") > self.limits.value_bytes:
            raise No("limit")
        self.check_ttl(ttl)
        before = self.entry(key)
        succeeded = (before.value if before else None) == expected
        if succeeded and value is not None:
            self.put(key, value, ttl, False, 0)
        elif succeeded and before is not None:
            self.remove(key)
        return Committed(len(self.changes), succeeded, (Found(before),))

    def transaction(
        self, conditions: tuple[Condition, ...], then: tuple[Any, ...], otherwise: tuple[Any, ...]
    ) -> object:
        if max(map(len, (conditions, then, otherwise))) > self.limits.operations:
            raise No("limit")
        for condition in conditions:
            self.check_key(condition.key)
        succeeded = all(map(self.holds, conditions))
        results: list[object] = []
        given = 0
        for operation in then if succeeded else otherwise:
            result = self.do(operation)
            entries: tuple[Entry | None, ...] = ()
            if isinstance(result, Found):
                entries = (result.entry,)
            elif isinstance(result, Page):
                entries = result.entries
            size = sum(len(entry.key) + len(entry.value) for entry in entries if entry)
            if given and given + size > self.limits.list_bytes:
                result, size = "limit", 0
            given += size
            results.append(result)
        return Committed(len(self.changes), succeeded, tuple(results))  # type: ignore[arg-type]

    def holds(self, condition: Condition) -> bool:
        row = self.rows.get(condition.key)
        if condition.version is not None and condition.version != (row.version if row else 0):
            return False
        if condition.value is not None and (row is None or row.value != condition.value):
            return False
        return condition.exists is None or condition.exists == (row is not None)

    # Leases

    def grantlease(self, ttl: int) -> Changed:
        self.check_ttl(ttl)
        if len(self.leases) >= self.limits.leases:
            raise No("limit")
        self.last_lease += 1
        self.leases[self.last_lease] = [ttl, self.now + ttl]
        self.new_leases.add(self.last_lease)
        return Changed(len(self.changes), existed=False, number=self.last_lease)

    def renewlease(self, number: int) -> Changed:
        if number in self.leases:
            self.leases[number][1] = self.now + self.leases[number][0]
            self.new_leases.add(number)
        return Changed(len(self.changes), number in self.leases, number)

    def revokelease(self, number: int) -> Changed:
        existed = number in self.leases
        if existed:
            self.end_lease(number)
        return Changed(len(self.changes), existed, number)


OPERATIONS = (
    *(Get, Put, Delete, Expire, List, Count, Increment, Append, CompareAndSet, Transaction),
    *(GrantLease, RenewLease, RevokeLease),
)
"""What the model knows."""
