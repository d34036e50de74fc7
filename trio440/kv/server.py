"""A server of the store: one system of actors, and query actors that answer clients.

::

    clients ──rpc──▶ port start+1 ─▶ query actor 0 ─┐
    clients ──rpc──▶ port start+2 ─▶ query actor 1 ─┼── port start: actors ◀──▶ other servers
    clients ──rpc──▶ port start+3 ─▶ query actor 2 ─┘

Each query actor holds everything and answers at once. How they come to agree is told in
``docs/kv-sync.md``.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, NoReturn, final

import trio

from trio440 import actors, rpc
from trio440.actors.checks import check_seconds
from trio440.actors.cluster.config import Config
from trio440.core.host import MAX_PORT, Host, format_address, parse_address
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import (
    ActorError,
    ActorFailed,
    AskTimedOut,
    InvalidParameter,
    JournalFailed,
    RemoteError,
)
from trio440.kv.address_book import AddressBook
from trio440.kv.description import Description, parse_description
from trio440.kv.discovery import CLUSTER, DEFAULT, IDENTITY, Discovery, Offer, Offered
from trio440.kv.hlc import HybridClock
from trio440.kv.keeper import MOST_DURABLE_BYTES, Durability, Keeper, open_keeper
from trio440.kv.local import LocalNamespace, open_local
from trio440.kv.packing import pack, unpack_operation
from trio440.kv.query_actor import Batches, Inspect, Inspected, Meet, QueryActor, Role, Roster
from trio440.kv.questions import SyncTimes
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.service import AskStatus, Execute, Executed, Follow, Followed, Queries, Seen
from trio440.kv.strangers import FIRST, meet_strangers
from trio440.kv.sync_messages import ServerInfo

__all__ = ["SERVERS", "Server", "open_server"]

MOST_ACTORS: Final = 256
SERVERS: Final = "servers"
"""The file with the addresses of others, beside the journal's."""
MAILBOX: Final = actors.MailboxPolicy(10_000)
"""What finds no room is answered with an error, or healed like any lost message."""
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
        keeper: Keeper | None,
        namespace: LocalNamespace,
    ) -> None:
        self._system = system
        self._refs = tuple(refs)
        self._description = description
        self._keeper = keeper
        self.namespace: Final = namespace
        """The store, to be used in this process."""

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

    async def wait_failed(self) -> NoReturn:
        """Wait until the server has told a client that its journal has failed.

        It answers nobody from then on, and is to be left and opened again. For ever, where that
        does not happen, or there is no journal.

        Raises:
            JournalFailed: why.
        """
        while self._keeper is None:
            await trio.Event().wait()
        raise await self._keeper.wait_failed()


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
    data: str | None = None,
    durability: Durability = "memory",
    join_seconds: float = 2.0,
    offers: Callable[[], Offered] | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Server]:
    """Be a server of the store for as long as the body runs.

    When the body begins every port is open, and each server that was described has been met,
    or ``join_seconds`` are over: what they know comes in from then on. Left normally, requests
    that are being answered are finished; what was written in the last moments may reach no other
    server. Left by an exception or a cancellation, everything ends at once.

    With ``data`` the server is durable, see ``durability``: opened again on the same directory,
    with any count of query actors, it has what it had, and looks for the servers that it knew at
    their addresses. A journal that fails (a full disk) stops for good: clients get
    ``StoreUnavailable``, and leaving raises ``JournalFailed``.

    Args:
        start_port: of the system of actors; query actor ``i`` answers clients on the port
            ``start_port + 1 + i``. 0: any free ports.
        count: of query actors, 1 to 256.
        host: the address to listen on.
        descriptions: of servers that are there already; they pass on whom else they know. One of
            an earlier life will do: its address counts.
        limits: of each replica; the defaults of :class:`ReplicaLimits` when None.
        client_limits: of each query actor's connections; the defaults of ``rpc`` when None.
        times: when replicas compare what they have; the defaults of :class:`SyncTimes` when None.
        data: the directory of the server's journal, made when absent.
        durability: what an answer means: ``memory`` without ``data``; ``written``: on its way to
            the disk, and lost by a crash at once; ``synced``: on the disk.
        join_seconds: to wait for servers that do not answer, 0 or more.
        offers: what clients hear that there is; this engine as the default namespace when None.
        ports: the machine to run on.

    Raises:
        AddressError: it cannot listen on one of the ports; nothing is left running.
        InvalidParameter: a port, the count or a description is none, ``data`` and ``durability``
            do not go together, or the limits are too high for a durable server.
        JournalBusy: another server has the directory open.
        JournalCorrupt: the journal is damaged, or another program's.
        JournalFailed: the disk failed.
    """
    check_seconds("join_seconds", join_seconds)
    if type(count) is not int or not 1 <= count <= MOST_ACTORS:
        raise InvalidParameter("count", count, f"1 to {MOST_ACTORS}")
    if type(start_port) is not int or not 0 <= start_port <= MAX_PORT - count:
        raise InvalidParameter("start_port", start_port, f"0 to {MAX_PORT - count}")
    roster = Roster()
    roster.note(parse_description(text).server for text in descriptions)
    book = AddressBook(data, SERVERS, ports)
    async with AsyncExitStack() as stack:
        most_bytes = ReplicaLimits().total_bytes if data is None else MOST_DURABLE_BYTES
        limits, times = limits or ReplicaLimits(total_bytes=most_bytes), times or SyncTimes()
        keeper, kept = await stack.enter_async_context(open_keeper(data, durability, limits, ports))
        await book.load()
        await book.note(roster.servers)
        system = await stack.enter_async_context(
            actors.open_actor_system(
                host, start_port, networking=_networking(roster, book), ports=ports
            )
        )
        refs = []
        for _ in range(count):
            clock = HybridClock(limits.max_clock_offset_ms)
            role = Role(clock, limits, times, roster, ports, keeper, kept)
            refs.append(await system.spawn(QueryActor, role, restart=RESTART, mailbox=MAILBOX))
        clients: list[str] = []

        def mine() -> Offered:
            described = Description(roster.me, tuple(clients)) if roster.me else ""
            return Offered((Offer(DEFAULT, "eventual", tuple(clients)),), str(described))

        for place, ref in enumerate(refs, 1):
            server = await stack.enter_async_context(
                rpc.open_server(
                    start_port + place if start_port else 0,
                    _routes(system, ref, keeper, limits, offers or mine),
                    host=host,
                    identity=IDENTITY,
                    limits=client_limits,
                    ports=ports,
                )
            )
            clients.append(format_address(server.address))
        counters = tuple(ref.counter for ref in refs)
        if counters[0] != FIRST:
            raise AssertionError(f"the first query actor is {refs[0]}")
        roster.me = ServerInfo(system.address, system.incarnation, counters)
        nursery = await stack.enter_async_context(open_service_nursery())
        nursery.start_soon(meet_strangers, system, roster, book, ports.clock)
        await _meet_all(system, refs, join_seconds)
        namespace = await stack.enter_async_context(
            open_local(system, dict(zip(clients, refs, strict=True)), keeper, ports)
        )
        yield Server(system, refs, Description(roster.me, tuple(clients)), keeper, namespace)


def _networking(roster: Roster, book: AddressBook) -> actors.Networking:
    """Begin with servers that it was told of, and with those last met, as far as there is room."""
    config, told = Config(), [*roster.servers]
    met = [line for line in reversed(book.lines) if line not in roster.servers]
    room = max(0, config.max_seeds - len(told))
    seeds = [*told, *[line for line in met if _is_address(line)][:room]]
    return actors.Networking(cluster=CLUSTER, seeds=seeds, membership=config)


def _is_address(line: str) -> bool:
    try:
        parse_address(line)
    except InvalidParameter:
        return False
    return True


async def _meet_all(
    system: actors.ActorSystem, refs: Sequence[actors.Ref[Any]], seconds: float
) -> None:
    async def meet(ref: actors.Ref[Any]) -> None:
        with suppress(AskTimedOut):
            await system.ask(ref, Meet(), timeout_seconds=seconds)

    async with trio.open_nursery() as nursery:
        for ref in refs:
            nursery.start_soon(meet, ref)


def _routes(
    system: actors.ActorSystem,
    ref: actors.Ref[Any],
    keeper: Keeper | None,
    limits: ReplicaLimits,
    offers: Callable[[], Offered],
) -> rpc.Routes:
    """Let clients ask one query actor."""
    routes = rpc.Routes()
    routes.add(Discovery.offers, lambda _, __: offers())

    @routes.answers(Queries.execute)
    async def execute(request: Execute, _: rpc.Peer) -> Executed:
        count = len(request.operations)
        if (refused := limits.refuse_batch(count)) is not None:
            return Executed(0, (pack(refused),) * count)
        operations = [unpack_operation(data) for data in request.operations]
        question = Batches(((request.clock, operations),))
        try:
            answer = await system.ask(ref, question, timeout_seconds=ANSWER_SECONDS)
            if keeper is not None:
                await keeper.settle()
        except (ActorError, JournalFailed) as error:
            raise _failure(error) from None
        return Executed(answer.clock, tuple(map(pack, answer.results[0])))

    @routes.answers(Queries.look)
    async def look(_: AskStatus, __: rpc.Peer) -> Seen:
        try:
            found = await system.ask(ref, Inspect(), timeout_seconds=ANSWER_SECONDS)
        except ActorError as error:
            raise _failure(error) from None
        return Seen(system.address, found.replica, found.digest)

    @routes.answers(Queries.follow)
    async def follow(request: Follow, _: rpc.Peer) -> Followed:
        seconds = ANSWER_SECONDS + min(max(0, request.wait_ms), ANSWER_SECONDS * 1000) / 1000
        try:
            answer = await system.ask(ref, request, timeout_seconds=seconds)
            if keeper is not None:
                await keeper.settle()
        except (ActorError, JournalFailed) as error:
            raise _failure(error) from None
        return answer

    return routes


def _failure(error: ActorError | JournalFailed) -> RemoteError:
    detail = "it failed" if isinstance(error, ActorFailed) else str(error)
    return RemoteError(type(error).__name__, detail)
