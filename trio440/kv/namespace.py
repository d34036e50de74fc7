"""Namespaces as their users see them: what every engine can do, and what only some can.

Which engine a namespace has is visible in its type::

    Namespace              get, put, delete, expire, list, count, watch
    ├── EventualNamespace  also put_sibling, siblings; always answers at once
    └── AtomicNamespace    also compare_and_set, increment, append, transact, leases
        ├── MemoryNamespace         in this process
        └── LinearizableNamespace   on Raft

Everything goes through :meth:`Namespace.execute`, which carries a batch of operations to the
engine in one message; the other methods say one operation each. Any number of tasks may share a
namespace.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar, Literal, TypeAlias, TypeVar

from trio440.errors import OperationRefused
from trio440.kv.operations import (
    Append,
    Change,
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
    GetSiblings,
    GrantLease,
    Increment,
    List,
    Operation,
    Page,
    Put,
    PutSibling,
    Refused,
    RenewLease,
    Result,
    RevokeLease,
    Siblings,
    SimpleOperation,
    Transaction,
)

__all__ = ["AtomicNamespace", "Engine", "EventualNamespace", "Namespace"]

Engine: TypeAlias = Literal["eventual", "linearizable", "memory"]

R = TypeVar("R")


class Namespace(ABC):
    """Keys and values under one engine."""

    engine: ClassVar[Engine]

    @abstractmethod
    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Carry out operations in their order, and return one result for each.

        They are one message to the engine, and no transaction: others may come between. Always a
        checkpoint. Cancelled: each of them has been carried out, or not, in their order.

        Raises:
            InvalidParameter: a field holds what its class does not say; nothing was done.
            StoreUnavailable: nobody has answered; its ``may_have_happened`` says whether the same
                holds as for a cancellation, or nothing was done.
        """

    @abstractmethod
    def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Hear of every change of the keys with a prefix, in order, from now on.

        Args:
            prefix: of the keys; ``b""`` is all.
            after: the ``position`` of a change: of those behind it, too.

        Raises:
            HistoryCompacted: changes behind ``after`` are forgotten; from entering the context,
                or from the iterator where its reader was too slow.
        """

    async def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key, or None."""
        return (await self._one(Get(key), Found)).entry

    async def put(self, key: bytes, value: bytes, *, ttl_ms: int | None = None) -> int:
        """Give a key a value, and return its version.

        Args:
            key: not empty.
            value: any bytes.
            ttl_ms: the key goes after so many milliseconds, at least 1; None: never.

        Raises:
            OperationRefused: key or value are too long, or the namespace is full.
        """
        return (await self._one(Put(key, value, ttl_ms), Changed)).version

    async def delete(self, key: bytes) -> bool:
        """Remove a key, and return whether it was there."""
        return (await self._one(Delete(key), Changed)).existed

    async def expire(self, key: bytes, ttl_ms: int | None) -> bool:
        """Change a key's time to live, None: for ever; return whether it was there."""
        return (await self._one(Expire(key, ttl_ms), Changed)).existed

    async def list(
        self, prefix: bytes = b"", *, after: bytes | None = None, limit: int = 1000
    ) -> Page:
        """Return the entries of the keys with a prefix, in the order of their bytes.

        Args:
            prefix: ``b""`` is all.
            after: only those behind this key: the last one of the page before.
            limit: the most entries.
        """
        return await self._one(List(prefix, after, limit), Page)

    async def count(self, prefix: bytes = b"") -> int:
        """Return how many keys have a prefix."""
        return (await self._one(Count(prefix), Counted)).number

    async def _one(self, operation: Operation, kind: type[R]) -> R:
        (result,) = await self.execute([operation])
        if isinstance(result, Refused):
            raise OperationRefused(result.reason)
        if not isinstance(result, kind):
            raise AssertionError(  # noqa: TRY004 - a bug of the engine, and no bad argument
                f"{operation} was answered with {result}"
            )
        return result


class EventualNamespace(Namespace):
    """Answers from the replica it asks; replicas converge, the last writer wins."""

    engine = "eventual"

    async def put_sibling(
        self, key: bytes, value: bytes, context: bytes = b"", *, ttl_ms: int | None = None
    ) -> int:
        """Give a key a value that replaces what was read, and nothing else; return its version.

        Values that were written meanwhile, here or elsewhere, stay beside it; :meth:`siblings`
        gives them all, and :meth:`get` the last one. A :meth:`put` or :meth:`delete` replaces all
        that its replica has.

        Args:
            key: not empty.
            value: any bytes.
            context: of the :class:`~trio440.kv.Siblings` that it replaces; empty: it replaces none.
            ttl_ms: as for :meth:`put`.

        Raises:
            OperationRefused: as for :meth:`put`; the key has as many siblings as it may, which are
                to be read and replaced; the context is none.
        """
        return (await self._one(PutSibling(key, value, context, ttl_ms), Changed)).version

    async def siblings(self, key: bytes) -> Siblings:
        """Return the values that were written to a key without knowing of each other.

        The one that wins, which :meth:`get` returns, comes first. What was written by :meth:`put`
        is among them only while it wins.
        """
        return await self._one(GetSiblings(key), Siblings)


class AtomicNamespace(Namespace):
    """Each operation happens at one moment, and all see them in one order."""

    async def compare_and_set(
        self, key: bytes, expected: bytes | None, value: bytes | None, *, ttl_ms: int | None = None
    ) -> bool:
        """Give a key a value if it has the expected one; return whether it had.

        Args:
            key: not empty.
            expected: None: the key must not be there.
            value: None: remove the key.
            ttl_ms: as for :meth:`put`.
        """
        operation = CompareAndSet(key, expected, value, ttl_ms)
        return (await self._one(operation, Committed)).succeeded

    async def increment(self, key: bytes, by: int = 1) -> int:
        """Add to a value that is a decimal number, and return the sum.

        Raises:
            OperationRefused: the value is no int64, or the sum is none.
        """
        return (await self._one(Increment(key, by), Changed)).number

    async def append(self, key: bytes, suffix: bytes) -> int:
        """Add bytes to the end of a value, and return its length."""
        return (await self._one(Append(key, suffix), Changed)).number

    async def transact(
        self,
        conditions: Sequence[Condition] = (),
        then: Sequence[SimpleOperation] = (),
        otherwise: Sequence[SimpleOperation] = (),
    ) -> Committed:
        """Where all conditions hold do ``then``, otherwise ``otherwise``, at one moment."""
        operation = Transaction(tuple(conditions), tuple(then), tuple(otherwise))
        return await self._one(operation, Committed)

    async def grant_lease(self, ttl_ms: int) -> int:
        """Begin a lease, and return its number: it ends unless it is renewed in time.

        The keys that were put under it go with it. One that began unheard, since nobody has
        answered, ends by its time.

        Raises:
            OperationRefused: there are too many, or the time is none.
        """
        return (await self._one(GrantLease(ttl_ms), Changed)).number

    async def renew_lease(self, lease: int) -> bool:
        """Let a lease begin anew; return whether it was there."""
        return (await self._one(RenewLease(lease), Changed)).existed

    async def revoke_lease(self, lease: int) -> bool:
        """End a lease and remove its keys; return whether it was there."""
        return (await self._one(RevokeLease(lease), Changed)).existed
