"""A server of the store: one system of actors, and query actors that answer clients.

::

    clients ──rpc──▶ port start+1 ─▶ query actor 0 ─┐
    clients ──rpc──▶ port start+2 ─▶ query actor 1 ─┼── port start: actors ◀──▶ other servers
    clients ──rpc──▶ port start+3 ─▶ query actor 2 ─┘

Each query actor holds everything and answers at once. How they come to agree is told in
``docs/kv-sync.md``.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, final

import trio

from trio440 import actors, rpc
from trio440.actors.checks import check_seconds
from trio440.core.host import MAX_PORT, Host, format_address
from trio440.core.real import REAL_HOST
from trio440.errors import (
    ActorError,
    ActorFailed,
    AskTimedOut,
    InvalidParameter,
    RemoteError,
)
from trio440.kv.description import Description, parse_description
from trio440.kv.hlc import HybridClock
from trio440.kv.query_actor import Inspect, Inspected, Meet, QueryActor, Role, Roster
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.service import Execute, Executed, Follow, Followed, Store
from trio440.kv.sync import SyncTimes
from trio440.kv.sync_messages import ServerInfo

__all__ = ["Server", "open_server"]

MOST_ACTORS: Final = 256
MAILBOX: Final = actors.MailboxPolicy(10_000)
"""What finds no room is answered with an error, or healed like any lost message."""
CLUSTER: Final = "kv"
ANSWER_SECONDS: Final = 60.0
RESTART: Final = actors.Restart("permanent")


@final
class Server:
    """A running server; :func:`open_server` makes one."""

    def __init__(
        self,
        system: actors.ActorSystem,
        refs: Sequence[actors.Ref[Any]],
        description: Description,
    ) -> None:
        self._system = system
        self._refs = tuple(refs)
        self._description = description

    def __repr__(self) -> str:
        return f"<kv.Server {self.address}, {len(self._refs)} query actors>"

    @property
    def description(self) -> str:
        """Opaque; for the servers that are opened later."""
        return str(self._description)

    @property
    def address(self) -> str:
        """Of the system of actors."""
        return self._description.server.address

    @property
    def client_addresses(self) -> tuple[str, ...]:
        """Where each query actor answers clients."""
        return self._description.clients

    def statistics(self) -> actors.SystemStatistics:
        """Return what the system of actors has counted: messages, bytes, rates."""
        return self._system.statistics()

    async def inspect(self) -> list[Inspected]:
        """Return how each query actor is; always a checkpoint.

        Raises:
            ActorError: one does not answer.
        """
        return [await self._system.ask(ref, Inspect()) for ref in self._refs]


@asynccontextmanager
async def open_server(
    start_port: int = 0,
    count: int = 1,
    *,
    host: str = "127.0.0.1",
    descriptions: Sequence[str] = (),
    limits: ReplicaLimits | None = None,
    client_limits: rpc.ServerLimits | None = None,
    times: SyncTimes | None = None,
    join_seconds: float = 2.0,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Server]:
    """Be a server of the store for as long as the body runs.

    When the body begins every port is open, and each server that was described has been met,
    or ``join_seconds`` are over: what they know comes in from then on. Left normally, requests
    that are being answered are finished; what was written in the last moments may reach no other
    server. Left by an exception or a cancellation, everything ends at once.

    Args:
        start_port: of the system of actors; query actor ``i`` answers clients on the port
            ``start_port + 1 + i``. 0: any free ports.
        count: of query actors, 1 to 256.
        host: the address to listen on.
        descriptions: of servers that are there already; they pass on whom else they know.
        limits: of each replica; the defaults of :class:`ReplicaLimits` when None.
        client_limits: of each query actor's connections; the defaults of ``rpc`` when None.
        times: when replicas compare what they have; the defaults of :class:`SyncTimes` when None.
        join_seconds: to wait for servers that do not answer, 0 or more.
        ports: the machine to run on.

    Raises:
        AddressError: it cannot listen on one of the ports; nothing is left running.
        InvalidParameter: a port, the count or a description is none.
    """
    check_seconds("join_seconds", join_seconds)
    if type(count) is not int or not 1 <= count <= MOST_ACTORS:
        raise InvalidParameter("count", count, f"1 to {MOST_ACTORS}")
    if type(start_port) is not int or not 0 <= start_port <= MAX_PORT - count:
        raise InvalidParameter("start_port", start_port, f"0 to {MAX_PORT - count}")
    others = [parse_description(text).server for text in descriptions]
    networking = actors.Networking(cluster=CLUSTER, seeds=[other.address for other in others])
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(
            actors.open_actor_system(host, start_port, networking=networking, ports=ports)
        )
        limits, times = limits or ReplicaLimits(), times or SyncTimes()
        roster = Roster(others=tuple(others))
        refs = []
        for _ in range(count):
            clock = HybridClock(limits.max_clock_offset_ms)
            role = Role(clock, limits, times, roster, ports)
            refs.append(await system.spawn(QueryActor, role, restart=RESTART, mailbox=MAILBOX))
        clients = []
        for place, ref in enumerate(refs, 1):
            server = await stack.enter_async_context(
                rpc.open_server(
                    start_port + place if start_port else 0,
                    _routes(system, ref),
                    host=host,
                    limits=client_limits,
                    ports=ports,
                )
            )
            clients.append(format_address(server.address))
        counters = tuple(ref.counter for ref in refs)
        roster.me = ServerInfo(system.address, system.incarnation, counters)
        await _meet_all(system, refs, join_seconds)
        yield Server(system, refs, Description(roster.me, tuple(clients)))


async def _meet_all(
    system: actors.ActorSystem, refs: Sequence[actors.Ref[Any]], seconds: float
) -> None:
    async def meet(ref: actors.Ref[Any]) -> None:
        with suppress(AskTimedOut):
            await system.ask(ref, Meet(), timeout_seconds=seconds)

    async with trio.open_nursery() as nursery:
        for ref in refs:
            nursery.start_soon(meet, ref)


def _routes(system: actors.ActorSystem, ref: actors.Ref[Any]) -> rpc.Routes:
    """Let clients ask one query actor."""
    routes = rpc.Routes()

    @routes.answers(Store.execute)
    async def execute(request: Execute, _: rpc.Peer) -> Executed:
        try:
            return await system.ask(ref, request, timeout_seconds=ANSWER_SECONDS)
        except ActorError as error:
            raise _failure(error) from None

    @routes.answers(Store.follow)
    async def follow(request: Follow, _: rpc.Peer) -> Followed:
        seconds = ANSWER_SECONDS + min(max(0, request.wait_ms), ANSWER_SECONDS * 1000) / 1000
        try:
            return await system.ask(ref, request, timeout_seconds=seconds)
        except ActorError as error:
            raise _failure(error) from None

    return routes


def _failure(error: ActorError) -> RemoteError:
    detail = "it failed" if isinstance(error, ActorFailed) else str(error)
    return RemoteError(type(error).__name__, detail)
