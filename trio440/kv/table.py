"""The table of the atomic engines: an ordered map of bytes with revisions, ends and history. Pure.

::

    table.advance(now_ms)                        time is an input, and never goes back
    table.execute(Put(b"k", b"v", ttl_ms=500))   ──▶  Changed(version=1, existed=False)

Each change of a key has the next *revision* of the table as its version: also each of a
transaction, each key that ends with its lease, and a new time to live. What ends at a moment ends
by :meth:`Table.advance`, the earliest first, keys of one moment in their order and before leases.
The same calls give the same table everywhere.

An operation that is refused has changed nothing. A transaction is refused as a whole where its
own form is wrong; where one of its operations is refused, that is the result of that operation
alone, and the others are done.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

from trio440.kv.operations import (
    Append,
    Changed,
    Committed,
    CompareAndSet,
    Condition,
    Count,
    Counted,
    Delete,
    Entry,
    Expire,
    Found,
    Get,
    GrantLease,
    Increment,
    List,
    Operation,
    Page,
    Put,
    Refused,
    RenewLease,
    Result,
    RevokeLease,
    Siblings,
    SimpleResult,
    Transaction,
)
from trio440.kv.table_core import OperationStopped, TableCore
from trio440.kv.table_limits import MOST_MS, TableLimits
from trio440.raft.kv_messages import prefix_end
from trio440.wire.codec import INT64_MAX, INT64_MIN

__all__ = ["Table"]

MOST_DIGITS: Final = len(str(INT64_MIN))


@final
class Table(TableCore):
    """Keys and values, their history, their leases, and the time."""

    def __init__(self, limits: TableLimits | None = None) -> None:
        """Start empty, at time 0."""
        super().__init__(limits)
        self._do: Final = self._handlers()

    def _handlers(self) -> Mapping[type, Callable[[Any], Result]]:
        return {
            Get: self._get,
            Put: self._put,
            Delete: self._delete,
            Expire: self._expire,
            List: self._list,
            Count: self._count,
            Increment: self._increment,
            Append: self._append,
            CompareAndSet: self._compare_and_set,
            Transaction: self._transact,
            GrantLease: self._grant,
            RenewLease: self._renew,
            RevokeLease: self._revoke,
        }

    # Operations

    def execute(self, operation: Operation) -> Result:
        """Carry out one operation at the present time."""
        do = self._do.get(type(operation))
        if do is None:
            return Refused(f"{type(operation).__name__} is no operation", "unsupported")
        try:
            return do(operation)
        except OperationStopped as refusal:
            return refusal.answer

    def execute_all(self, operations: Sequence[Operation]) -> list[Result]:
        """Carry out one operation after the other, as :meth:`execute` does, in less time."""
        results: list[Result] = []
        for operation in operations:
            do = self._do.get(type(operation))
            if do is None:
                results.append(self.execute(operation))
                continue
            try:
                results.append(do(operation))
            except OperationStopped as refusal:
                results.append(refusal.answer)
        return results

    def _get(self, operation: Get) -> Found:
        key = operation.key
        row = self._rows.get(key)
        if row is None:
            self._check_key(key)
            return Found(None)
        if self._ends.at:
            return Found(self._shown(key, row))
        return Found(Entry(*row))

    def _put(self, operation: Put) -> Changed:
        key, ttl_ms, lease = operation.key, operation.ttl_ms, operation.lease
        if ttl_ms is not None:
            _check_ttl(ttl_ms)
            if operation.keep_ttl:
                raise OperationStopped("a new time to live cannot keep the old one", "malformed")
        if lease and lease not in self._book.leases:
            raise OperationStopped(f"there is no lease {lease}", "no_lease")
        before = self._rows.get(key)
        version = self._write(key, operation.value, before)
        if (self._ends.at or self._book.lease_of) and not operation.keep_ttl:
            self._forget_ends(key)
        if ttl_ms is not None:
            self._let_end(key, ttl_ms)
        if lease:
            self._book.unbind(key)
            self._book.bind(key, lease)
        return Changed(version, before is not None)

    def _delete(self, operation: Delete) -> Changed:
        if operation.key not in self._rows:
            self._check_key(operation.key)
            return Changed(self.revision, existed=False)
        self._remove(operation.key)
        return Changed(self.revision, existed=True)

    def _expire(self, operation: Expire) -> Changed:
        key, ttl_ms = operation.key, operation.ttl_ms
        row = self._rows.get(key)
        if row is None:
            self._check_key(key)
            return Changed(self.revision, existed=False)
        if ttl_ms is None:
            if key in self._ends.at:
                self._write(key, row[1], row)
                self._end_never(key)
        elif ttl_ms <= 0:
            self._remove(key)
        else:
            _check_ttl(ttl_ms)
            self._write(key, row[1], row)
            self._let_end(key, ttl_ms)
        return Changed(self.revision, existed=True)

    def _list(self, operation: List) -> Page:
        limits = self.limits
        if operation.limit < 1:
            raise OperationStopped("the limit of a list is at least 1", "malformed")
        prefix, after = operation.prefix, operation.after
        start = prefix if after is None else max(prefix, after + b"\0")
        most, room = min(operation.limit, limits.list_entries), limits.list_bytes
        rows = self._rows
        found: list[Entry] = []
        for key in self._order.between(start, prefix_end(prefix)):
            row = rows[key]
            room -= len(key) + len(row[1])
            if found and (len(found) >= most or room < 0):
                return Page(tuple(found), more=True)
            found.append(self._shown(key, row))
        return Page(tuple(found))

    def _count(self, operation: Count) -> Counted:
        if not operation.prefix:
            return Counted(len(self._rows))
        return Counted(self._order.count(operation.prefix, prefix_end(operation.prefix)))

    def _increment(self, operation: Increment) -> Changed:
        key, by = operation.key, operation.by
        before = self._rows.get(key)
        number = 0 if before is None else _read_number(before[1])
        if not INT64_MIN <= number + by <= INT64_MAX:
            raise OperationStopped(f"{number} and {by} are no int64 together", "overflow")
        version = self._write(key, b"%d" % (number + by), before)
        return Changed(version, before is not None, number + by)

    def _append(self, operation: Append) -> Changed:
        key = operation.key
        before = self._rows.get(key)
        value = operation.suffix if before is None else before[1] + operation.suffix
        version = self._write(key, value, before)
        return Changed(version, before is not None, len(value))

    def _compare_and_set(self, operation: CompareAndSet) -> Committed:
        key, value, ttl_ms = operation.key, operation.value, operation.ttl_ms
        self._check_key(key)
        self._check_value(value or b"")
        if ttl_ms is not None:
            _check_ttl(ttl_ms)
        row = self._rows.get(key)
        shown = None if row is None else self._shown(key, row)
        succeeded = (None if row is None else row[1]) == operation.expected
        if succeeded and value is not None:
            self._put(Put(key, value, ttl_ms))
        elif succeeded and row is not None:
            self._remove(key)
        return Committed(self.revision, succeeded, (Found(shown),))

    def _transact(self, operation: Transaction) -> Committed:
        most = self.limits.operations
        if max(map(len, (operation.conditions, operation.then, operation.otherwise))) > most:
            raise OperationStopped(f"a transaction is too long, the limit is {most} of each kind")
        for condition in operation.conditions:
            self._check_key(condition.key)
        succeeded = all(map(self._holds, operation.conditions))
        results: list[SimpleResult] = []
        given = 0
        for part in operation.then if succeeded else operation.otherwise:
            result = self._part(part)
            size = _answer_bytes(result)
            if given and given + size > (most := self.limits.list_bytes):
                result = Refused(f"the answers of a transaction have {most} bytes at most")
            else:
                given += size
            results.append(result)
        return Committed(self.revision, succeeded, tuple(results))

    def _part(self, operation: Operation) -> SimpleResult:
        if isinstance(operation, Transaction | CompareAndSet):
            return Refused("a transaction holds no other, and no compare-and-set", "malformed")
        result = self.execute(operation)
        assert not isinstance(result, Committed | Siblings)  # noqa: S101 - for mypy
        return result

    def _holds(self, condition: Condition) -> bool:
        row = self._rows.get(condition.key)
        _, value, version = (None, None, 0) if row is None else row
        return (
            condition.version in (None, version)
            and condition.value in (None, value)
            and condition.exists in (None, row is not None)
        )

    # Leases

    def _grant(self, operation: GrantLease) -> Changed:
        _check_ttl(operation.ttl_ms)
        if len(self._book.leases) >= (most := self.limits.leases):
            raise OperationStopped(f"there are {most} leases, which is the limit")
        lease = self._book.grant(operation.ttl_ms)
        self._let_lease_end(lease, operation.ttl_ms)
        return Changed(self.revision, existed=False, number=lease)

    def _renew(self, operation: RenewLease) -> Changed:
        lease = self._book.leases.get(operation.lease)
        if lease is not None:
            self._let_lease_end(operation.lease, lease.ttl_ms)
        return Changed(self.revision, lease is not None, operation.lease)

    def _revoke(self, operation: RevokeLease) -> Changed:
        existed = operation.lease in self._book.leases
        if existed:
            self._end_lease(operation.lease)
        return Changed(self.revision, existed, operation.lease)


def _answer_bytes(result: SimpleResult) -> int:
    match result:
        case Found(Entry(key, value)):
            return len(key) + len(value)
        case Page(entries):
            return sum(len(entry.key) + len(entry.value) for entry in entries)
        case _:
            return 0


def _check_ttl(ttl_ms: int) -> None:
    if not 1 <= ttl_ms <= MOST_MS:
        raise OperationStopped(f"a time to live of {ttl_ms} ms is none of 1 to 2**62", "malformed")


def _read_number(value: bytes) -> int:
    if len(value) <= MOST_DIGITS:
        try:
            number = int(value)
        except ValueError:
            pass
        else:
            if INT64_MIN <= number <= INT64_MAX and b"%d" % number == value:
                return number
    raise OperationStopped("the value is no decimal int64", "not_a_number")
