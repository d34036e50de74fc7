"""MULTI, WATCH and EXEC as one transaction of the namespace. Pure.

What was queued becomes the operations of one :class:`~trio440.kv.operations.Transaction`, and the
versions that WATCH has seen its conditions. A queued command that has a condition of its own
(``SET key value NX``) cannot be part of it as it is, since transactions do not nest. Such keys are
read first; whether each condition will hold is then known, given what the transaction itself does
before, and the versions that were read join the conditions. Where they do not hold any more it is
read and tried again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

from trio440.kv.operations import (
    Append,
    Committed,
    Condition,
    Delete,
    Expire,
    Found,
    Get,
    Increment,
    Put,
    Result,
    SimpleOperation,
    SimpleResult,
    Transaction,
)
from trio440.kv.resp.calls import Call, CommandError, expect, too_long
from trio440.kv.resp.limits import Limits
from trio440.kv.resp.parser import Request
from trio440.kv.resp.replies import Encoding, array
from trio440.kv.resp.table import Command

__all__ = ["ATTEMPTS", "Execution", "Plan", "Queue"]

ATTEMPTS: Final = 100
"""How often an EXEC that has to read first is tried while others change what it has read."""


@attrs.define
class Queue:
    """What a client has said since MULTI."""

    commands: list[tuple[Command, Request]] = attrs.field(factory=list)
    spoiled: bool = False
    """Something could not be queued: EXEC will do nothing."""
    refusal: CommandError | None = None
    """Nothing can be queued: the namespace has no transactions."""


@attrs.frozen
class Execution:
    """An EXEC that is ready to be tried."""

    calls: Sequence[Call]
    watched: Mapping[bytes, int]
    """The version that each watched key had, 0: it was not there."""
    encoding: Encoding
    limits: Limits

    def keys_to_read(self) -> list[bytes]:
        """Return the keys whose presence decides what is done."""
        keys = {
            condition.key: None
            for call in self.calls
            for operation in call.operations
            if isinstance(operation, Transaction)
            for condition in operation.conditions
        }
        return list(keys)

    def plan(self, found: Mapping[bytes, int]) -> "Plan":
        """Return what to ask of the namespace, given the versions of the keys to read."""
        present = {key: version != 0 for key, version in found.items()}
        operations: list[SimpleOperation] = []
        decided: list[bool] = []
        for call in self.calls:
            chosen, holds = _flatten(call, present)
            decided.append(holds)
            operations += chosen
            _follow(chosen, present)
        conditions = tuple(
            Condition(key, version=version) for key, version in {**found, **self.watched}.items()
        )
        watched = tuple(map(Get, self.watched))
        return Plan(self, Transaction(conditions, tuple(operations), watched), tuple(decided))


def _flatten(call: Call, present: Mapping[bytes, bool]) -> tuple[list[SimpleOperation], bool]:
    """Return the operations of a call, of a transaction those of the branch that is taken."""
    chosen: list[SimpleOperation] = []
    holds = True
    for operation in call.operations:
        if isinstance(operation, Transaction):
            holds = all(present[each.key] == each.exists for each in operation.conditions)
            chosen += operation.then if holds else operation.otherwise
        elif isinstance(operation, SimpleOperation):
            chosen.append(operation)
    return chosen, holds


def _follow(operations: Sequence[SimpleOperation], present: dict[bytes, bool]) -> None:
    """Note which keys are there after operations."""
    for operation in operations:
        match operation:
            case Put(key) | Increment(key) | Append(key) if key in present:
                present[key] = True
            case Delete(key) if key in present:
                present[key] = False
            case Expire(key, int(ttl_ms)) if key in present and ttl_ms <= 0:
                present[key] = False


@attrs.frozen
class Plan:
    """One attempt at an EXEC."""

    execution: Execution
    transaction: Transaction
    decided: tuple[bool, ...]
    """For each call whether its condition holds, True where it has none."""

    def answer(self, committed: Committed) -> bytes | None:
        """Return the answer to EXEC; None where it has to be tried again.

        Raises:
            CommandError: it has been done, and the answer is too long.
        """
        if not committed.succeeded:
            return self.execution.encoding.null_array if self._disturbed(committed) else None
        replies: list[bytes] = []
        size = 0
        results = iter(committed.results)
        for call, holds in zip(self.execution.calls, self.decided, strict=True):
            replies.append(call.reply(_gather(call, holds, results, committed)))
            size += len(replies[-1])
            if size > self.execution.limits.answer_bytes:
                raise too_long(self.execution.limits)
        return array(replies)

    def _disturbed(self, committed: Committed) -> bool:
        """Whether a watched key has another version than it had."""
        if not self.execution.keys_to_read():
            return True
        for result, version in zip(committed.results, self.execution.watched.values(), strict=True):
            entry = expect(result, Found).entry
            if (0 if entry is None else entry.version) != version:
                return True
        return False


def _gather(
    call: Call, holds: bool, results: Iterator[SimpleResult], committed: Committed
) -> list[Result]:
    """Return the results of a call as it would have got them alone."""
    gathered: list[Result] = []
    for operation in call.operations:
        if isinstance(operation, Transaction):
            branch = operation.then if holds else operation.otherwise
            own = tuple(next(results) for _ in branch)
            gathered.append(Committed(committed.version, holds, own))
        else:
            gathered.append(next(results))
    return gathered
