"""The eventual engine as its server's own process uses it: a query actor is asked directly.

Calls that come while the actor has a message wait together for the next one, so that the calls of
many tasks cost the actor one message and not one each::

    task ──batch──┐                                        ┌──results──▶ task
    task ──batch──┼──▶ one message ──▶ actor ──▶ one answer ┼──results──▶ task
    task ──batch──┘                                        └──results──▶ task

Each batch is carried out by itself, with the limits of one. All calls go to the first query actor
of the server: what one task has written, every other one reads at once. Other actors of the same
process would answer no sooner, and not know of it before the next sync.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import islice
from typing import Any, Final, final

import trio

from trio440 import actors
from trio440.core.host import Clock, Host
from trio440.core.lifetimes import open_service_nursery
from trio440.errors import (
    ActorError,
    ActorFailed,
    JournalFailed,
    LimitReached,
    MailboxFull,
    StoreUnavailable,
)
from trio440.kv.client import READS
from trio440.kv.following import follow_replica
from trio440.kv.keeper import Keeper
from trio440.kv.namespace import EventualNamespace
from trio440.kv.operation_types import check_types
from trio440.kv.operations import Change, Operation, Result
from trio440.kv.query_actor import Batches
from trio440.kv.service import Follow, Followed
from trio440.raft.waiting import Waiter

__all__ = ["LocalNamespace", "open_local"]

TIMEOUT_SECONDS: Final = 60.0
"""For one message, and as long again for its writes to be as lasting as the server promises."""
MOST_OPERATIONS: Final = 512
"""Of one message, unless it has one batch only: the actor does nothing else meanwhile."""
MOST_CALLS: Final = 10_000
"""That wait for an answer; one more is refused."""
CLOSED: Final = "this server is closed"
NOT_HANDLED: Final = (MailboxFull, LimitReached)
"""Errors after which the actor knows nothing of a message."""


@final
class _Call:
    """Batches, and the task that waits for their results."""

    __slots__ = ("batches", "operations", "waiter", "was_sent")

    def __init__(self, batches: Sequence[Sequence[Operation]]) -> None:
        self.batches = [tuple(operations) for operations in batches]
        self.operations = sum(map(len, batches))
        """How many there are."""
        self.waiter = Waiter()
        self.was_sent = False

    def fail(self, reason: str) -> None:
        may_have_happened = self.was_sent and not _only_reads(self.batches)
        self.waiter.fail(StoreUnavailable(reason, may_have_happened=may_have_happened))


@final
class LocalNamespace(EventualNamespace):
    """The store, asked in the process of one of its servers; :attr:`Server.namespace` is one.

    Any number of tasks share it. It ends with its server: calls that wait raise
    ``StoreUnavailable`` then, later ones ``trio.ClosedResourceError``.
    """

    def __init__(
        self,
        system: actors.ActorSystem,
        refs: Mapping[str, actors.Ref[Any]],
        keeper: Keeper | None,
        clock: Clock,
    ) -> None:
        self.messages = 0
        """How many the actor was sent, for all calls together."""
        self._system = system
        self._refs = refs
        self._address, self._ref = next(iter(refs.items()))
        self._keeper = keeper
        self._clock = clock
        self._queue: OrderedDict[_Call, None] = OrderedDict()
        """Calls that wait for the next message."""
        self._calls: dict[_Call, None] = {}
        """All that wait for their results."""
        self._idle = trio.lowlevel.ParkingLot()
        self._is_closed = False

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Carry out operations in their order; see :meth:`Namespace.execute`.

        Raises:
            InvalidParameter: an operation holds something of a wrong type; nothing was done.
        """
        (results,) = await self.execute_batches([operations])
        return results

    async def execute_batches(
        self, batches: Sequence[Sequence[Operation]]
    ) -> Sequence[Sequence[Result]]:
        """Carry out batches as :meth:`execute` does each, with the limits of one.

        Raises:
            InvalidParameter: as for one batch; nothing was done.
        """
        for operations in batches:
            check_types(operations)
        if not any(batches) or self._is_closed or len(self._calls) >= MOST_CALLS:
            await trio.lowlevel.checkpoint()
            self._check_open()
            if not any(batches):
                return [[] for _ in batches]
            reason = f"{MOST_CALLS} calls wait for an answer, which is the limit"
            raise StoreUnavailable(reason, may_have_happened=False)
        call = _Call(batches)
        if not self._queue:
            self._idle.unpark()
        self._queue[call] = self._calls[call] = None
        try:
            results: Sequence[Sequence[Result]] = await call.waiter.wait()
        finally:
            del self._calls[call]
            if not call.was_sent:
                self._queue.pop(call, None)
        return results

    def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Hear of every change of the keys with a prefix; see :meth:`EventualClient.watch`.

        A position of another server's replica is one of changes that are not remembered here.
        """
        return follow_replica(self.follow, self._begin, prefix, after)

    async def _begin(self, request: Follow) -> tuple[str, Followed]:
        return self._address, await self.follow(self._address, request)

    async def follow(self, address: str, request: Follow) -> Followed:
        """Ask a query actor of this server for changes."""
        if self._is_closed:
            await trio.lowlevel.checkpoint()
        self._check_open()
        seconds = TIMEOUT_SECONDS + request.wait_ms / 1000
        ref = self._refs.get(address, self._ref)
        try:
            answer: Followed = await self._system.ask(ref, request, timeout_seconds=seconds)
            if self._keeper is not None:
                await self._keeper.settle()
        except (ActorError, JournalFailed) as error:
            raise StoreUnavailable(_reason(error), may_have_happened=False) from None
        return answer

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError(CLOSED)

    # Messages

    async def run(self) -> None:
        """Send one message after the other, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                while not self._queue:
                    await self._idle.park()
                if not (calls := self._take()):
                    continue
                self.messages += 1
                question = Batches(tuple([(0, batch) for call in calls for batch in call.batches]))
                try:
                    answer = await self._system.ask(
                        self._ref, question, timeout_seconds=TIMEOUT_SECONDS
                    )
                except ActorError as error:
                    _fail(calls, error)
                    continue
                if self._keeper is None:
                    _hand_out(calls, answer.results)
                else:  # the next message need not wait for the disk
                    nursery.start_soon(self._settle, self._keeper, calls, answer.results)

    def _take(self) -> list[_Call]:
        queue = self._queue
        calls: list[_Call] = []
        number = 0
        while queue:
            call, _ = queue.popitem(last=False)
            if not call.waiter.is_waiting:
                continue  # cancelled meanwhile
            number += call.operations
            if calls and number > MOST_OPERATIONS:
                queue[call] = None
                queue.move_to_end(call, last=False)
                break
            call.was_sent = True
            calls.append(call)
        return calls

    async def _settle(
        self, keeper: Keeper, calls: list[_Call], results: tuple[Sequence[Result], ...]
    ) -> None:
        with self._clock.move_on_after(TIMEOUT_SECONDS):
            try:
                await keeper.settle()
            except JournalFailed as error:
                _fail(calls, error)
            else:
                _hand_out(calls, results)
            return
        for call in calls:
            call.fail(f"the disk did not answer within {TIMEOUT_SECONDS:g} s")

    def close(self) -> None:
        """Take no more calls, and let those fail that wait."""
        self._is_closed = True
        self._queue.clear()
        for call in self._calls:
            call.fail(CLOSED)


def _hand_out(calls: Sequence[_Call], results: Sequence[Sequence[Result]]) -> None:
    rest = iter(results)
    for call in calls:
        call.waiter.wake(list(islice(rest, len(call.batches))))


def _fail(calls: Sequence[_Call], error: ActorError | JournalFailed) -> None:
    for call in calls:
        call.was_sent = not isinstance(error, NOT_HANDLED)
        call.fail(_reason(error))


def _reason(error: ActorError | JournalFailed) -> str:
    return "its query actor failed" if isinstance(error, ActorFailed) else str(error)


def _only_reads(batches: Sequence[Sequence[Operation]]) -> bool:
    return all(isinstance(operation, READS) for batch in batches for operation in batch)


@asynccontextmanager
async def open_local(
    system: actors.ActorSystem,
    refs: Mapping[str, actors.Ref[Any]],
    keeper: Keeper | None,
    ports: Host,
) -> AsyncIterator[LocalNamespace]:
    """Ask the query actors of a server for as long as the body runs.

    Args:
        system: of the server.
        refs: its query actors, by the addresses where they answer clients; one or more.
        keeper: its journal, if it has one.
        ports: the machine.
    """
    namespace = LocalNamespace(system, refs, keeper, ports.clock)
    async with open_service_nursery() as nursery:
        nursery.start_soon(namespace.run)
        try:
            yield namespace
        finally:
            namespace.close()
