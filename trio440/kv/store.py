"""A server of the store with all that it offers: a namespace of each engine that is wanted.

::

    eventual       the system of actors on the port start, query actor i on start + 1 + i
    linearizable   a Raft peer
    memory         keys of this process alone

Each of the engines that come behind the eventual one has the next port; a store without that one
begins with them at the start. Clients are answered on all of these ports but the actors' own.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any, Final, NoReturn, final, get_args

import attrs
import trio

from trio440 import raft, rpc
from trio440.core.host import MAX_PORT, Host, format_address, parse_address
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import InvalidParameter, StoreUnavailable
from trio440.kv.address_book import AddressBook
from trio440.kv.connect import describe
from trio440.kv.discovery import (
    CLUSTER,
    DEFAULT,
    IDENTITY,
    MOST_NAME,
    Discovery,
    Offer,
    Offered,
    StoreDescription,
    read_store_description,
)
from trio440.kv.keeper import Durability
from trio440.kv.linearizable import open_linearizable
from trio440.kv.linearizable_peer import open_linearizable_peer
from trio440.kv.memory import open_memory
from trio440.kv.namespace import Engine, Namespace
from trio440.kv.served import serve_routes
from trio440.kv.server import SERVERS, Server, open_server
from trio440.kv.voters import Voters, become_voter, note_places, read_places

__all__ = ["Store", "StoreConfig", "open_store"]

PEERS: Final = "peers"
"""The file with the addresses of other Raft peers."""
ENGINES: Final[tuple[Engine, ...]] = get_args(Engine)


def _ignore(_: Exception) -> None:
    """Report nothing."""


def _usual() -> Mapping[str, Engine]:
    return {DEFAULT: "eventual"}


def _kept(given: Mapping[str, Engine]) -> Mapping[str, Engine]:
    return MappingProxyType({**given})


@attrs.frozen(kw_only=True)
class StoreConfig:
    """What one server of a store is."""

    host: str = "127.0.0.1"
    """To listen on, and where others reach it."""
    start_port: int = 0
    """The first of its ports; 0: any free ones."""
    count: int = 1
    """Query actors of the eventual engine, 1 to 256."""
    namespaces: Mapping[str, Engine] = attrs.field(factory=_usual, converter=_kept)
    """The engine of each namespace, by name; one of each engine at most."""
    descriptions: Sequence[str] = ()
    """Of servers that are there already, or ``HOST:PORT`` where they answer clients."""
    directory: str | None = None
    """Where it keeps what outlives it; None: nothing does."""
    durability: Durability | None = None
    """What an answer of the eventual engine means; None: ``synced`` with a directory, otherwise
    ``memory``. The linearizable engine always syncs where it has a directory."""
    id: str = ""
    """Of its Raft peer, never used again for another one; ``HOST:PORT`` or drawn, when empty."""

    def __attrs_post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        engines = [*self.namespaces.values()]
        for name, engine in self.namespaces.items():
            if not 1 <= len(name) <= MOST_NAME or not name.isprintable():
                allowed = f"a name of 1 to {MOST_NAME} printable characters"
                raise InvalidParameter("namespaces", name, allowed)
            if engine not in ENGINES:
                raise InvalidParameter("namespaces", engine, f"one of {', '.join(ENGINES)}")
            if engines.count(engine) > 1:
                raise InvalidParameter("namespaces", engine, "the engine of one namespace only")
        if not engines:
            raise InvalidParameter("namespaces", {}, "one namespace or more")
        if type(self.start_port) is not int or not 0 <= self.start_port <= MAX_PORT - 2:
            raise InvalidParameter("start_port", self.start_port, f"0 to {MAX_PORT - 2}")
        needs_id = "linearizable" in engines and self.directory is not None and not self.id
        if needs_id and not self.start_port:
            raise InvalidParameter("id", self.id, "given where a directory is and no port")


@final
class Store:
    """A running server; :func:`open_store` makes one."""

    def __init__(
        self, eventual: Server | None, peer: "raft.Peer[Any] | None", joined: trio.Event
    ) -> None:
        self.eventual: Final = eventual
        """The server of the eventual engine, if there is one."""
        self.peer: Final = peer
        """The Raft peer of the linearizable engine, if there is one."""
        self._joined = joined
        self._namespaces: dict[str, Namespace] = {}
        self._offers: dict[str, Offer] = {}

    def __repr__(self) -> str:
        return f"<kv.Store {', '.join(self._offers)}>"

    @property
    def namespaces(self) -> Mapping[str, Namespace]:
        """The namespaces, to be used in this process."""
        return MappingProxyType(self._namespaces)

    @property
    def offers(self) -> Mapping[str, Offer]:
        """What clients hear of them."""
        return MappingProxyType(self._offers)

    @property
    def description(self) -> str:
        """Opaque; for the servers that are opened later."""
        peers = () if self.peer is None else ((self.peer.id, *self.peer.address[:2]),)
        eventual = None if self.eventual is None else self.eventual.description
        return str(StoreDescription(eventual, peers))

    async def wait_joined(self) -> None:
        """Wait until its Raft peer is a voter; return at once where it has none.

        That takes a leader, so a majority of those before it. Cancelled: nothing happened.
        """
        await self._joined.wait()

    async def wait_failed(self) -> NoReturn:
        """Wait until the eventual engine's journal fails, see :meth:`Server.wait_failed`.

        Raises:
            JournalFailed: why.
        """
        while self.eventual is None:
            await trio.Event().wait()
        await self.eventual.wait_failed()

    def add(self, name: str, namespace: Namespace, addresses: Sequence[str]) -> None:
        """Offer a namespace."""
        self._namespaces[name] = namespace
        self._offers[name] = Offer(name, namespace.engine, tuple(addresses))


@asynccontextmanager
async def open_store(
    config: StoreConfig,
    *,
    report: Callable[[Exception], None] = _ignore,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Store]:
    """Be a server of a store for as long as the body runs.

    When the body begins every port is open. A Raft peer that joins others becomes a voter beside
    the body, as soon as they are there to agree, see :meth:`Store.wait_joined`; until then its
    namespace waits. With a directory it looks for the servers that it knew at their addresses,
    and begins though of those in ``config.descriptions`` none answers.

    Args:
        config: which server.
        report: hears of connections that broke rules, and of addresses in ``config.descriptions``
            at which nobody answers.
        ports: the machine to run on.

    Raises:
        AddressError: it cannot listen on one of the ports; nothing is left running.
        InvalidParameter: a description is none, or names no peer of an engine that is to join.
        StoreUnavailable: nobody answers at an address in ``config.descriptions``, and no other
            server is known yet.
        RaftError, JournalError: as for :func:`trio440.raft.open_peer`.
    """
    peers = AddressBook(config.directory, PEERS, ports)
    servers = AddressBook(_eventual_directory(config), SERVERS, ports)
    await peers.load()
    await servers.load()
    is_known = bool(peers.lines or servers.lines)
    described = []
    for text in config.descriptions:
        try:
            described.append(read_store_description(await _describe(text, ports)))
        except StoreUnavailable as error:
            if not is_known:
                raise
            report(error)
    opening = _Opening(config, described, peers, report, ports)
    async with AsyncExitStack() as stack:
        yield await opening.open(stack)


def _eventual_directory(config: StoreConfig) -> str | None:
    if config.directory is None or "eventual" not in config.namespaces.values():
        return None
    return f"{config.directory}/eventual"


async def _describe(text: str, ports: Host) -> str:
    """Return a description as it is, or ask for that of the server at an address."""
    try:
        parse_address(text)
    except InvalidParameter:
        return text
    return await describe(text, ports=ports)


@final
class _Opening:
    """Opens one part after the other."""

    def __init__(
        self,
        config: StoreConfig,
        described: Sequence[StoreDescription],
        book: AddressBook,
        report: Callable[[Exception], None],
        ports: Host,
    ) -> None:
        self._config = config
        self._described = described
        self._book = book
        """Where other Raft peers listened."""
        self._report = report
        self._ports = ports
        self._store: Store | None = None
        self._joined = trio.Event()
        self._next_port = config.start_port
        self._names = {engine: name for name, engine in config.namespaces.items()}

    async def open(self, stack: AsyncExitStack) -> Store:
        names, ports = self._names, self._ports
        eventual, peer, memory = None, None, None
        if "eventual" in names:
            eventual = await self._open_eventual(stack)
        if "linearizable" in names:
            peer = await self._open_peer(stack)
        else:
            self._joined.set()
        if "memory" in names:
            memory = await stack.enter_async_context(open_memory(ports=ports))
        store = Store(eventual, peer, self._joined)
        if eventual is not None:
            store.add(names["eventual"], eventual.namespace, eventual.client_addresses)
        if peer is not None:
            known = open_linearizable(peer=peer, cluster=CLUSTER, ports=ports)
            linearizable = await stack.enter_async_context(known)
            store.add(names["linearizable"], linearizable, [format_address(peer.address)])
        if memory is not None:
            routes = self._routes()
            serve_routes(memory, routes, ports)
            server = await stack.enter_async_context(
                rpc.open_server(
                    self._take_port(),
                    routes,
                    host=self._config.host,
                    identity=IDENTITY,
                    report=self._report,
                    ports=ports,
                )
            )
            store.add(names["memory"], memory, [format_address(server.address)])
        self._store = store
        return store

    def _take_port(self) -> int:
        port = self._next_port
        self._next_port += bool(port)
        return port

    def _offered(self) -> Offered:
        if self._store is None:
            return Offered(())
        return Offered(tuple(self._store.offers.values()), self._store.description)

    def _routes(self) -> rpc.Routes:
        routes = rpc.Routes()
        routes.add(Discovery.offers, lambda _, __: self._offered())
        return routes

    async def _open_eventual(self, stack: AsyncExitStack) -> Server:
        config = self._config
        server = await stack.enter_async_context(
            open_server(
                config.start_port,
                config.count,
                host=config.host,
                descriptions=[
                    each.eventual for each in self._described if each.eventual is not None
                ],
                data=_eventual_directory(config),
                durability=config.durability or ("synced" if config.directory else "memory"),
                offers=self._offered,
                ports=self._ports,
            )
        )
        if self._next_port:
            self._next_port += 1 + config.count
        return server

    async def _open_peer(self, stack: AsyncExitStack) -> "raft.Peer[Any]":
        config, ports = self._config, self._ports
        directory = config.directory
        book = self._book
        described = [raft.Place(*peer) for each in self._described for peer in each.peers]
        if self._described and not described:
            allowed = "of a server with a linearizable namespace"
            raise InvalidParameter("descriptions", config.descriptions[0], allowed)
        port = self._take_port()
        name = config.id or format_address((config.host, port))
        if not config.id and not port:
            name = f"peer-{ports.rng.getrandbits(64):016x}"
        known = {place.id: place for place in (*read_places(book), *described)}
        known.pop(name, None)
        places = tuple(known.values())
        peer_config = raft.PeerConfig(
            id=name,
            members=() if places else (name,),
            places=places,
            directory=None if directory is None else f"{directory}/raft",
            is_new=not places,
            cluster=CLUSTER,
            host=config.host,
            port=port,
        )
        routes, voters = self._routes(), Voters()
        voters.add_routes(routes)
        peer = await stack.enter_async_context(
            open_linearizable_peer(peer_config, routes=routes, report=self._report, ports=ports)
        )
        voters.peer = peer
        nursery = await stack.enter_async_context(open_service_nursery())
        nursery.start_soon(note_places, peer, book, ports)
        if name in peer.members.voters:
            self._joined.set()
        else:
            nursery.start_soon(self._join, peer, places)
        return peer

    async def _join(self, peer: "raft.Peer[Any]", places: Sequence[raft.Place]) -> None:
        await become_voter(peer, places, self._ports)
        self._joined.set()
