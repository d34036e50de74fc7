"""What clients ask a query actor, on the wire and in its mailbox, and the rpc service. Pure.

Operations and results are rows: a word for the kind, and columns that mean what the kind needs. So
they are decoded in one go, and pass from the connection to the actor without being copied.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import attrs

from trio440.actors.messages import Question, message
from trio440.kv.operations import (
    Changed,
    CommonOperation,
    Count,
    Counted,
    Delete,
    Entry,
    EventualOperation,
    Expire,
    Found,
    Get,
    GetSiblings,
    List,
    Operation,
    Page,
    Put,
    PutSibling,
    RefusalKind,
    Refused,
    Result,
    Siblings,
)
from trio440.kv.replica_limits import ReplicaStatistics
from trio440.rpc.service import Service, method
from trio440.wire.codec import INT64_MAX, INT64_MIN

__all__ = [
    "MALFORMED",
    "AskStatus",
    "Execute",
    "Executed",
    "Follow",
    "Followed",
    "OperationRow",
    "Queries",
    "Seen",
    "read_operation",
    "read_results",
    "write_operation",
    "write_result",
]

OperationRow: TypeAlias = tuple[str, bytes, bytes | None, int | None, bool, bytes]
"""Kind, key or prefix, value or ``after``, time to live or limit, whether to keep the former, and
the context of a sibling."""
EntryRow: TypeAlias = tuple[bytes, bytes, int, int | None]
ResultRow: TypeAlias = tuple[str, int, bool, str, tuple[EntryRow, ...], bytes]
"""Kind, version or number, a yes or no, a reason, entries, and a context."""
ChangeRow: TypeAlias = tuple[bytes, bytes | None, int, int]
"""Key, value or None, version, and the number of the change."""

MALFORMED: Final = Refused("this is no operation that the server knows", "malformed")
KINDS: Final[dict[str, RefusalKind]] = {
    "limit": "limit",
    "unsupported": "unsupported",
    "malformed": "malformed",
}


@message("kv.Executed")
@attrs.frozen
class Executed:
    """The results of a batch."""

    clock: int
    """The greatest stamp that the actor has seen: the client sends it with its next batch."""
    results: tuple[ResultRow, ...]


@message("kv.Execute")
@attrs.frozen
class Execute(Question[Executed]):
    """A batch of operations."""

    clock: int
    """The greatest stamp that the client has seen."""
    operations: tuple[OperationRow, ...]


@message("kv.Followed")
@attrs.frozen
class Followed:
    """Changes, in their order."""

    life: str
    """Of the replica: its numbers mean nothing to another one."""
    number: int
    """Up to which these are all changes with the prefix."""
    forgotten: int
    """The number behind which the changes are remembered."""
    changes: tuple[ChangeRow, ...] = ()
    is_refused: bool = False
    """As many as may wait for changes already."""


@message("kv.Follow")
@attrs.frozen
class Follow(Question[Followed]):
    """Ask for changes behind a number, and wait for them where there are none."""

    prefix: bytes
    life: str
    """Of the replica that gave the number; empty: ask for the number of now."""
    number: int
    wait_ms: int
    """The answer comes after so long, though it has no changes."""


@attrs.frozen
class AskStatus:
    """Ask how a query actor is."""


@attrs.frozen
class Seen:
    """A query actor at one moment."""

    server: str
    """The address of its system of actors."""
    replica: ReplicaStatistics
    digest: int
    """Equal replicas have equal ones."""


class Queries(Service, name="kv"):
    """What each query actor is asked over its own port."""

    execute = method(Execute, Executed)
    follow = method(Follow, Followed)
    look = method(AskStatus, Seen)


def write_operation(operation: Operation) -> OperationRow | None:  # noqa: PLR0911 - a table
    """Return the row of an operation; None for one that the eventual engine does not know."""
    match operation:
        case Get(key):
            return "get", key, None, None, False, b""
        case Put(key, value, ttl_ms, keep_ttl, lease) if not lease:
            return "put", key, value, _bounded(ttl_ms), keep_ttl, b""
        case Delete(key):
            return "delete", key, None, None, False, b""
        case Expire(key, ttl_ms):
            return "expire", key, None, _bounded(ttl_ms), False, b""
        case List(prefix, after, limit):
            return "list", prefix, after, _bounded(limit), False, b""
        case Count(prefix):
            return "count", prefix, None, None, False, b""
        case PutSibling(key, value, context, ttl_ms):
            return "put_sibling", key, value, _bounded(ttl_ms), False, context
        case GetSiblings(key):
            return "siblings", key, None, None, False, b""
    return None


def read_operation(  # noqa: PLR0911 - a table
    row: OperationRow,
) -> CommonOperation | EventualOperation | None:
    """Return the operation of a row; None: it is none."""
    match row:
        case ("get", key, _, _, _, _):
            return Get(key)
        case ("put", key, bytes(value), ttl_ms, keep_ttl, _):
            return Put(key, value, ttl_ms, keep_ttl)
        case ("delete", key, _, _, _, _):
            return Delete(key)
        case ("expire", key, _, ttl_ms, _, _):
            return Expire(key, ttl_ms)
        case ("list", prefix, after, int(limit), _, _):
            return List(prefix, after, limit)
        case ("count", prefix, _, _, _, _):
            return Count(prefix)
        case ("put_sibling", key, bytes(value), ttl_ms, _, context):
            return PutSibling(key, value, context, ttl_ms)
        case ("siblings", key, _, _, _, _):
            return GetSiblings(key)
    return None


def _bounded(number: int | None) -> int | None:
    """Let a number that has no wire form be one that is refused as well."""
    return None if number is None else min(max(number, INT64_MIN), INT64_MAX)


def write_result(result: Result) -> ResultRow:  # noqa: PLR0911 - a table
    """Return the row of a result of the eventual engine."""
    match result:
        case Found(None):
            return "found", 0, False, "", (), b""
        case Found(Entry() as entry):
            return "found", 0, True, "", (_entry_row(entry),), b""
        case Changed(version, existed, _):
            return "changed", version, existed, "", (), b""
        case Page(entries, more):
            return "page", 0, more, "", tuple(map(_entry_row, entries)), b""
        case Siblings(entries, context):
            return "siblings", 0, False, "", tuple(map(_entry_row, entries)), context
        case Counted(number):
            return "counted", number, False, "", (), b""
        case Refused(reason, kind):
            return kind, 0, False, reason, (), b""
    raise AssertionError(f"no result of this engine: {result}")  # pragma: no cover


def _read_result(row: ResultRow) -> Result | None:  # noqa: PLR0911 - a table
    """Return the result of a row; None: it is none."""
    match row:
        case ("found", _, _, _, entries, _):
            return Found(Entry(*entries[0]) if entries else None)
        case ("changed", version, existed, _, _, _):
            return Changed(version, existed=existed)
        case ("page", _, more, _, entries, _):
            return Page(tuple(Entry(*entry) for entry in entries), more=more)
        case ("siblings", _, _, _, entries, context):
            return Siblings(tuple(Entry(*entry) for entry in entries), context)
        case ("counted", number, _, _, _, _):
            return Counted(number)
        case (kind, _, _, reason, _, _) if kind in KINDS:
            return Refused(reason, KINDS[kind])
    return None


def read_results(rows: Sequence[ResultRow]) -> list[Result] | None:
    """Return the results of rows; None: one is none."""
    results = [result for row in rows if (result := _read_result(row)) is not None]
    return results if len(results) == len(rows) else None


def _entry_row(entry: Entry) -> EntryRow:
    return entry.key, entry.value, entry.version, entry.ttl_ms
