"""Namespaces that pass everything on to another one, with something between."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from trio440.kv import (
    AtomicNamespace,
    Change,
    CompareAndSet,
    EventualNamespace,
    Increment,
    MemoryNamespace,
    Operation,
    Refused,
    Result,
    Transaction,
)
from trio440.kv.operations import Append

ATOMIC = (Increment, Append, CompareAndSet, Transaction)


class WaitingNamespace(AtomicNamespace):
    """An atomic namespace that has to be waited for, as one behind a network has."""

    engine = "linearizable"

    def __init__(self, inner: MemoryNamespace) -> None:
        self.inner = inner
        self.before: Callable[[Sequence[Operation]], Awaitable[None]] | None = None
        """Called before a batch is carried out."""
        self.failure: Exception | None = None
        """What a batch, and a new watch, raise."""
        self.batches: list[Sequence[Operation]] = []
        self.watches = 0
        self.watch_failure: Exception | None = None
        """What ends a watch behind its next change."""

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        await trio.lowlevel.checkpoint()
        if self.before is not None:
            await self.before(operations)
        if self.failure is not None:
            raise self.failure
        self.batches.append(list(operations))
        return self.inner.execute_nowait(operations)

    def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        return self._watch(prefix, after)

    @asynccontextmanager
    async def _watch(
        self, prefix: bytes, after: bytes | None
    ) -> AsyncIterator[AsyncIterator[Change]]:
        if self.failure is not None:
            raise self.failure
        self.watches += 1
        try:
            async with self.inner.watch(prefix, after=after) as changes:
                yield self._changes(changes)
        finally:
            self.watches -= 1

    async def _changes(self, changes: AsyncIterator[Change]) -> AsyncIterator[Change]:
        async for change in changes:
            yield change
            if self.watch_failure is not None:
                raise self.watch_failure


class BatchesNamespace(WaitingNamespace):
    """One that is asked for several batches at once; each waits for itself."""

    def __init__(self, inner: MemoryNamespace) -> None:
        super().__init__(inner)
        self.questions: list[int] = []
        """How many batches each had."""

    async def execute_batches(
        self, batches: Sequence[Sequence[Operation]]
    ) -> Sequence[Sequence[Result]]:
        self.questions.append(len(batches))
        return [await self.execute(operations) for operations in batches]


class PlainNamespace(EventualNamespace):
    """A namespace that can do what the eventual engine can, and no more."""

    def __init__(self, inner: MemoryNamespace) -> None:
        self.inner = inner

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        await trio.lowlevel.checkpoint()
        return [
            Refused("this engine cannot", "unsupported")
            if isinstance(operation, ATOMIC)
            else self.inner.execute_nowait([operation])[0]
            for operation in operations
        ]

    def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        return self.inner.watch(prefix, after=after)
