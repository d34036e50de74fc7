"""What clients ask a query actor, on the wire and in its mailbox, and the rpc service. Pure.

Operations and results travel as :mod:`trio440.kv.packing` writes them, each by itself: so one that
is none takes nothing from the others, and a batch that is too long is refused unread.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias, get_args

import attrs
import msgspec

from trio440.actors.messages import Question, message
from trio440.errors import BadMessage, InvalidParameter
from trio440.kv.operations import CommonOperation, EventualOperation, Operation, Result
from trio440.kv.packing import pack, unpack_result
from trio440.kv.replica_limits import ReplicaStatistics
from trio440.rpc.service import Service, method
from trio440.wire.codec import INT64_MAX, INT64_MIN

__all__ = [
    "AskStatus",
    "Execute",
    "Executed",
    "Follow",
    "Followed",
    "Queries",
    "Seen",
    "pack_known",
    "unpack_results",
]

KNOWN: Final = frozenset(get_args(CommonOperation | EventualOperation))

ChangeRow: TypeAlias = tuple[bytes, bytes | None, int, int]
"""Key, value or None, version, and the number of the change."""


@attrs.frozen
class Executed:
    """The results of a batch."""

    clock: int
    """The greatest stamp that the actor has seen: the client sends it with its next batch. 0: the
    actor was not asked."""
    results: tuple[bytes, ...]
    """Packed."""


@attrs.frozen
class Execute:
    """A batch of operations."""

    clock: int
    """The greatest stamp that the client has seen."""
    operations: tuple[bytes, ...]
    """Packed."""


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


def pack_known(operation: Operation) -> bytes | None:
    """Return the bytes of an operation; None: it is none of the eventual engine."""
    if type(operation) not in KNOWN:
        return None
    try:
        return pack(operation)
    except InvalidParameter:
        return pack(_bounded(operation))


def _bounded(operation: Operation) -> Operation:
    """Let numbers that have no wire form be such as are refused as well."""
    fields = [(name, getattr(operation, name)) for name in operation.__struct_fields__]
    numbers = {
        name: min(max(value, INT64_MIN), INT64_MAX) for name, value in fields if type(value) is int
    }
    return msgspec.structs.replace(operation, **numbers)


def unpack_results(packed: Iterable[bytes]) -> list[Result] | None:
    """Return results that were packed; None: one is none."""
    try:
        return list(map(unpack_result, packed))
    except BadMessage:
        return None
