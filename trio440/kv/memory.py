"""The engine in this process: a table, and nothing that outlives the process.

::

    async with kv.open_memory() as namespace:
        await namespace.put(b"k", b"v", ttl_ms=500)

What ends by its time ends by the machine's monotonic clock, within a millisecond of it, whether
somebody looks or not: a watch hears of it.
"""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Self, final

import trio

from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import HistoryCompacted, InvalidParameter
from trio440.kv.namespace import AtomicNamespace
from trio440.kv.operation_types import check_types
from trio440.kv.operations import Change, Operation, Result
from trio440.kv.positions import decode_position, encode_position
from trio440.kv.table import Table
from trio440.kv.table_limits import TableLimits
from trio440.raft.kv_messages import prefix_end

__all__ = ["MemoryNamespace", "MemoryWatch", "open_memory"]

PIECE: Final = 64
"""Changes that a watch takes out of the history at once; so many less may it be behind."""


@final
class MemoryNamespace(AtomicNamespace):
    """Keys and values of this process; :func:`open_memory` opens one.

    After its context was left every method raises ``trio.ClosedResourceError``.
    """

    engine = "memory"

    def __init__(self, limits: TableLimits | None, ports: Host) -> None:
        self._table = Table(limits)
        self._clock = ports.clock
        self._start = ports.clock.now()
        self._is_closed = False
        self._watching = trio.lowlevel.ParkingLot()
        self._planned: int | None = None
        """When the task that lets things end looks again, by the table's time; None: not before it
        is woken."""
        self._wake = trio.Event()

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._table)

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Carry out operations in their order, at one moment; see :meth:`Namespace.execute`.

        Cancelled: none of them was carried out.

        Raises:
            InvalidParameter: an operation holds something of a wrong type; nothing was done.
        """
        check_types(operations)
        await trio.lowlevel.checkpoint()
        return self.execute_nowait(operations)

    @property
    def revision(self) -> int:
        """How many changes there were."""
        return self._table.revision

    def execute_nowait(self, operations: Sequence[Operation]) -> list[Result]:
        """Carry out operations in their order and return one result for each; no checkpoint.

        That their fields hold what their classes say is left to the caller.
        """
        return self._do(operations)

    def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AbstractAsyncContextManager["MemoryWatch"]:
        """Hear of changes; see :meth:`Namespace.watch`.

        Raises:
            InvalidParameter: ``after`` is no position of this namespace.
        """
        return self._watch(prefix, after)

    @asynccontextmanager
    async def _watch(self, prefix: bytes, after: bytes | None) -> "AsyncIterator[MemoryWatch]":
        self._let_time_pass()
        revision = self._table.revision
        if after is not None:
            revision = decode_position(after)
            if revision > self._table.revision:
                raise InvalidParameter("after", after, "a position that this namespace has reached")
            if revision < self._table.compacted:
                raise HistoryCompacted(revision, self._table.compacted)
        yield MemoryWatch(self, prefix, revision)

    # Time

    def _do(self, operations: Sequence[Operation]) -> list[Result]:
        self._check_open()
        table, watching = self._table, self._watching
        had_ends = table.has_ends
        if had_ends:  # else nobody needs to know the time, which costs as much as an operation
            self._let_time_pass()
        before = table.revision
        results = table.execute_all(operations)
        if watching and table.revision != before:
            watching.unpark_all()
        if had_ends:
            self._plan()
        elif table.has_ends:
            table.advance_late(self._now_ms())
            self._plan()
        return results

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("the namespace is closed")

    def _now_ms(self) -> int:
        return int((self._clock.now() - self._start) * 1000)

    def _let_time_pass(self) -> None:
        self._check_open()
        table = self._table
        before = table.revision
        table.advance(self._now_ms())
        if table.revision != before:
            self._watching.unpark_all()

    def _plan(self) -> None:
        """Wake the task that lets things end, if it would sleep for too long."""
        deadline = self._table.next_deadline
        if deadline is not None and (self._planned is None or deadline < self._planned):
            self._wake.set()

    async def run(self) -> None:
        """Let things end when their time has come, until cancelled."""
        while True:
            self._let_time_pass()
            self._wake = trio.Event()
            self._planned = self._table.next_deadline
            if self._planned is None:
                await self._wake.wait()
                continue
            # A millisecond of the table has passed when its end is reached.
            with self._clock.move_on_at(self._start + (self._planned + 0.5) / 1000):
                await self._wake.wait()

    def close(self) -> None:
        """Refuse everything from now on, and end all watches."""
        self._is_closed = True
        self._watching.unpark_all()

    # For watches

    async def wait_changes(self, after: int, prefix: bytes) -> tuple[int, list[Change]]:
        """Wait for changes behind a revision, and return the one up to which these are all.

        Raises:
            HistoryCompacted: they are no longer remembered.
            trio.ClosedResourceError: the namespace is closed.
        """
        end = prefix_end(prefix)
        while True:
            self._let_time_pass()
            table = self._table
            if after < table.compacted:
                raise HistoryCompacted(after, table.compacted)
            after, found = table.since(after, prefix, end, most=PIECE)
            if found:
                return after, [
                    Change(key, value, revision, encode_position(revision))
                    for revision, key, value in found
                ]
            await self._watching.park()


@final
class MemoryWatch(AsyncIterator[Change]):
    """Changes of the keys with a prefix, in order; :meth:`MemoryNamespace.watch` opens one.

    One task iterates. It costs nothing while it is not read, and misses nothing until the
    namespace has forgotten changes that it has not been given.
    """

    def __init__(self, namespace: MemoryNamespace, prefix: bytes, revision: int) -> None:
        self._namespace = namespace
        self._prefix = prefix
        self._revision = revision
        self._changes: deque[Change] = deque()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Change:
        """Wait for the next change. Cancelled: none was taken.

        Raises:
            HistoryCompacted: it was read too slowly.
            trio.ClosedResourceError: the namespace is closed.
        """
        if self._changes:  # others have had their turn before these were taken
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
            self._revision, changes = await self._namespace.wait_changes(
                self._revision, self._prefix
            )
            self._changes += changes
        return self._changes.popleft()


@asynccontextmanager
async def open_memory(
    limits: TableLimits | None = None, *, ports: Host = REAL_HOST
) -> AsyncIterator[MemoryNamespace]:
    """Have a namespace in this process for as long as the body runs; it begins empty.

    Args:
        limits: its bounds.
        ports: the machine to run on, of which it needs the clock.
    """
    namespace = MemoryNamespace(limits, ports)
    try:
        async with open_service_nursery() as nursery:
            nursery.start_soon(namespace.run)
            yield namespace
    finally:
        namespace.close()
