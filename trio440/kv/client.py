"""The client of the eventual engine: each call goes to the query actor that its router names."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar, final

import trio

from trio440 import rpc
from trio440.actors.checks import check_seconds
from trio440.core.host import Host, parse_address
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import (
    AnswerLost,
    BadMessage,
    CallTimedOut,
    HandshakeRefused,
    MessageTooLarge,
    RemoteError,
    RpcClosed,
    StoreUnavailable,
    Trio440Error,
)
from trio440.kv.discovery import IDENTITY
from trio440.kv.following import follow_replica
from trio440.kv.namespace import EventualNamespace
from trio440.kv.operation_types import check_types
from trio440.kv.operations import (
    Change,
    Count,
    Get,
    GetSiblings,
    List,
    Operation,
    Refused,
    Result,
)
from trio440.kv.router import RoundRobin, Router
from trio440.kv.service import (
    Execute,
    Executed,
    Follow,
    Followed,
    Queries,
    pack_known,
    unpack_results,
)
from trio440.kv.unanswered import explain, join_problems
from trio440.rpc import BoundMethod

__all__ = ["EventualClient", "open_client"]

A = TypeVar("A")
R = TypeVar("R")

MOST_CONNECTIONS: Final = 64
"""For one address more, the one that was not used for longest is closed if nothing waits there."""
READS: Final = (Get, GetSiblings, List, Count)
UNSUPPORTED: Final = Refused("the eventual engine cannot do this", "unsupported")
DEFAULT_TIMEOUT_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 2.0
MOST_TRIES: Final = 3
"""Addresses that one call tries where its router does not say how many it knows."""
LIMITS: Final = rpc.ClientLimits(longest_wait_seconds=0.5)
"""A server that has come back is soon asked again."""


@final
class EventualClient(EventualNamespace):
    """A namespace on the servers of a store; :func:`open_client` opens one.

    A call that has certainly not been carried out, since there is no connection to its actor, goes
    to the next address that the router names, and so does one that only reads where its answer is
    lost. A write that may have happened is never repeated.

    Any number of calls may be under way. The client tells each actor the greatest stamp that it has
    seen, so that what it writes is later than all that it has read, wherever that was.
    """

    def __init__(
        self,
        router: Router,
        nursery: trio.Nursery,
        timeout_seconds: float,
        ports: Host,
    ) -> None:
        known = router.addresses if isinstance(router, RoundRobin) else None
        self._router = router
        self._round = MOST_TRIES if known is None else len(known)
        """How often the router is asked until it has named all addresses that it may."""
        self._has_others = known is None or len({*known}) > 1
        """Whether it may lead to another address than the present one."""
        self._nursery = nursery
        self._timeout_seconds = timeout_seconds
        self._ports = ports
        self._clock = 0
        self._is_closed = False
        self._connections: OrderedDict[str, _Connection] = OrderedDict()

    @property
    def clock(self) -> int:
        """The greatest stamp that it has seen."""
        return self._clock

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Carry out operations in their order; see :meth:`Namespace.execute`.

        Operations of one batch see those before it; two batches may meet different replicas.

        Raises:
            InvalidParameter: an operation holds something of a wrong type; nothing was done.
        """
        check_types(operations)
        packed = list(map(pack_known, operations))
        known = tuple([data for data in packed if data is not None])
        is_read = all(isinstance(operation, READS) for operation in operations)

        async def ask(address: str, until: float) -> Sequence[Result]:
            answer = await self._execute(address, known, until, is_read=is_read)
            results = unpack_results(answer.results)
            if results is None or len(results) != len(known):
                problem = f"{address}: its answer cannot be read"
                raise StoreUnavailable(problem, may_have_happened=not is_read)
            return results

        try:
            rest = iter(await self._somewhere(ask))
        except MessageTooLarge as error:
            return [Refused(f"the batch takes too many bytes: {error}")] * len(operations)
        return [UNSUPPORTED if data is None else next(rest) for data in packed]

    async def _execute(
        self, address: str, known: tuple[bytes, ...], until: float, *, is_read: bool
    ) -> Executed:
        connection = await self._connect(address)
        try:
            store = await self._store(address, connection, until, waits=not self._has_others)
            request = Execute(self._clock, known)
            answer = await self._call(address, store.execute, request, until, is_read=is_read)
        finally:
            connection.calls -= 1
        self._clock = max(self._clock, answer.clock)
        return answer

    def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Hear of every change of the keys with a prefix; see :meth:`Namespace.watch`.

        The order is that of one replica, and its positions lead back to it, as long as it lives.

        Raises:
            StoreUnavailable: no query actor answers; the iterator raises it where its own does
                not, and a watch after the last position goes on.
            HistoryCompacted: as of :meth:`Namespace.watch`; the replica has begun anew, too.
            OperationRefused: as many wait there as may.
            InvalidParameter: ``after`` is no position of this engine.
        """
        return follow_replica(self.follow, self._begin, prefix, after)

    async def follow(self, address: str, request: Follow) -> Followed:
        """Ask the query actor at an address for changes."""
        until = self._ports.clock.now() + self._timeout_seconds
        return await self._follow(address, request, until, waits=True)

    async def _begin(self, request: Follow) -> tuple[str, Followed]:
        """Ask any query actor where it is; return its address, too."""

        async def ask(address: str, until: float) -> tuple[str, Followed]:
            waits = not self._has_others
            return address, await self._follow(address, request, until, waits=waits)

        return await self._somewhere(ask)

    async def _follow(
        self, address: str, request: Follow, until: float, *, waits: bool
    ) -> Followed:
        connection = await self._connect(address)
        try:
            store = await self._store(address, connection, until, waits=waits)
            until += request.wait_ms / 1000
            return await self._call(address, store.follow, request, until, is_read=True)
        finally:
            connection.calls -= 1

    # Addresses

    async def _somewhere(self, ask: Callable[[str, float], Awaitable[R]]) -> R:
        """Ask where the router says, and elsewhere as long as nothing can have happened.

        Args:
            ask: asks at an address, until a moment of the machine's clock.

        Raises:
            StoreUnavailable: of the last one where it may have happened; otherwise of all.
        """
        clock = self._ports.clock
        until = clock.now() + self._timeout_seconds
        problems: dict[str, str] = {}
        address: str | None = self._router.next_address()
        while address is not None:
            try:
                return await ask(address, until)
            except StoreUnavailable as error:
                if error.may_have_happened or self._is_closed:
                    raise
                problems[address] = error.reason
            address = self._next_address(problems) if clock.now() < until else None
        raise StoreUnavailable(join_problems(problems.values()), may_have_happened=False)

    def _next_address(self, tried: Mapping[str, str]) -> str | None:
        """Return one that a call has not tried; None: there is none, or it has tried enough.

        Calls of other tasks ask the router, too, so it may name one again that was tried.
        """
        if self._has_others and len(tried) < self._round:
            for _ in range(self._round):
                if (address := self._router.next_address()) not in tried:
                    return address
        return None

    # Connections

    def close(self) -> None:
        """Take no more calls; its maker ends those that are under way."""
        self._is_closed = True

    async def _connect(self, address: str) -> "_Connection":
        """Return the connection to an address, with one call more on it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_closed:
            raise trio.ClosedResourceError("the client of the store is closed")
        connection = self._connections.get(address)
        if connection is None:
            self._close_idle()
            connection = self._connections[address] = _Connection(address)
            self._nursery.start_soon(connection.run, self._ports)
        self._connections.move_to_end(address)
        connection.calls += 1
        return connection

    def _close_idle(self) -> None:
        if len(self._connections) >= MOST_CONNECTIONS:
            for address, connection in self._connections.items():
                if not connection.calls:
                    connection.scope.cancel()
                    del self._connections[address]
                    return

    async def _store(
        self, address: str, connection: "_Connection", until: float, *, waits: bool
    ) -> Queries:
        """Wait until there is a connection; nothing was sent where there is none.

        Who does not wait for somebody to listen there is told at once that nobody does. Where
        there are other addresses half of the time is theirs.
        """
        left = until - self._ports.clock.now()
        seconds = max(0.0, min(CONNECT_SECONDS, left if waits else left / 2))
        with self._ports.clock.move_on_after(seconds) as scope:
            client = await connection.client()
            try:
                if client.is_connected or await _connected(client, waits=waits):
                    return Queries(client)
            except (HandshakeRefused, RpcClosed) as error:
                raise StoreUnavailable(str(error), may_have_happened=False) from None
        had = seconds if scope.cancelled_caught else None
        problem = explain(address, connection.failure, had)
        raise StoreUnavailable(str(problem), may_have_happened=False)

    async def _call(
        self,
        address: str,
        call: BoundMethod[A, R],
        request: A,
        until: float,
        *,
        is_read: bool,
    ) -> R:
        seconds = until - self._ports.clock.now()
        if seconds <= 0:  # and nothing was sent
            reason = f"no time was left to ask {address}"
            raise StoreUnavailable(reason, may_have_happened=False)
        try:
            return await call(request, timeout_seconds=seconds)
        except CallTimedOut as error:
            shown = f"{error.method} was not answered within {_shown(seconds)} s"
            problem, may_have_happened = f"{address}: {shown}", not is_read
        except (AnswerLost, RemoteError, BadMessage) as error:
            problem, may_have_happened = f"{address}: {error}", not is_read
        except RpcClosed as error:
            problem, may_have_happened = str(error), not is_read
        except HandshakeRefused as error:
            problem, may_have_happened = str(error), False
        raise StoreUnavailable(problem, may_have_happened=may_have_happened)


def _shown(seconds: float) -> str:
    return f"{round(seconds, 2):g}"


async def _connected(client: rpc.Client, *, waits: bool) -> bool:
    if waits:
        await client.wait_connected()
        return True
    return await client.wait_attempt() is not None


@final
class _Connection:
    """The rpc client of one address, for as long as it is kept."""

    def __init__(self, address: str) -> None:
        self.calls = 0
        self.scope: Final = trio.CancelScope()
        self._host, self._port = parse_address(address)
        self._client: rpc.Client | None = None
        self._is_open = trio.Event()

    async def run(self, ports: Host) -> None:
        with self.scope:
            async with rpc.open_client(
                self._host, self._port, identity=IDENTITY, limits=LIMITS, ports=ports
            ) as client:
                self._client = client
                self._is_open.set()
                await trio.Event().wait()

    @property
    def failure(self) -> Trio440Error | None:
        """Of the last attempt to connect."""
        return None if self._client is None else self._client.failure

    async def client(self) -> rpc.Client:
        if self._client is None:
            await self._is_open.wait()
            assert self._client is not None  # noqa: S101 - that is what the event says
        return self._client


@asynccontextmanager
async def open_client(
    router: Router | Sequence[str],
    *,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ports: Host = REAL_HOST,
) -> AsyncIterator[EventualClient]:
    """Be a client of a store for as long as the body runs; nothing is connected before a call.

    Args:
        router: asked for an address before each call, and for another one where a call has come
            to nothing there; addresses are taken in turn. A call tries each of them at most once,
            and three of a router of another class.
        timeout_seconds: for each call, wherever it is asked; one that finds no connection for 2 s
            ends, or goes elsewhere. Where nobody listens it does so at once, unless there is one
            address only.
        ports: the machine to run on.

    Raises:
        InvalidParameter: the time is none, or there is no address, or one that is none.
    """
    check_seconds("timeout_seconds", timeout_seconds)
    chosen = RoundRobin(router) if isinstance(router, Sequence) else router
    async with open_service_nursery() as nursery:
        client = EventualClient(chosen, nursery, timeout_seconds, ports)
        try:
            yield client
        finally:
            client.close()
