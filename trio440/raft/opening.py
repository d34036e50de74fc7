"""Opens a Raft peer: a node with a disk, a network, time, and a state machine that it feeds.

::

    storage ─▶ stored ─▶ node ─▶ driver, meeting, transport ─▶ peer ─▶ server ─▶ tasks

They begin in this order and end in the other one: nobody is answered who was not heard in full,
and the disk is closed when nobody writes to it any more.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final, TypeVar

import attrs

from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import BadMessage, InvalidParameter, JournalFailed, PeerStopped
from trio440.raft.applier import read_whole
from trio440.raft.desk import Desk
from trio440.raft.disk_storage import open_disk_storage
from trio440.raft.driver import Driver
from trio440.raft.machine import StateMachine
from trio440.raft.meeting import Meeting
from trio440.raft.membership import LARGEST_STORE, NO_STORE
from trio440.raft.messages import Message
from trio440.raft.node import Node
from trio440.raft.peer import Peer
from trio440.raft.peer_config import PeerConfig
from trio440.raft.storage import MemoryStorage, Storage, Stored, bootstrap, joining
from trio440.raft.trace_lines import Recorder
from trio440.raft.tracing import make_node
from trio440.raft.transport import Transport
from trio440.raft.wire import Place
from trio440.rpc import Identity, Routes, ServerLimits, open_server

__all__ = ["open_peer"]

M = TypeVar("M", bound=StateMachine)

BOOK_SECONDS: Final = 1.0
"""Peers tell each other so often where everybody listens."""
LEAST_SILENCE_SECONDS: Final = 0.1
FLUSH_SECONDS: Final = 0.2
MOST_CONNECTIONS: Final = 512
"""Of clients and peers: a process has often no more than 1024 files, and a peer that cannot open
one for its log stops."""


@asynccontextmanager
async def open_peer(
    config: PeerConfig,
    machine: M,
    *,
    storage: Storage | None = None,
    routes: Routes | None = None,
    report: Callable[[Exception], None] | None = None,
    recorder: Recorder | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Peer[M]]:
    """Be a peer of a cluster for as long as the body runs.

    A failure of the disk, or a message that no sound peer sends, stops the peer: the body is
    cancelled and the error comes out; nobody is answered any more.

    At the first start the body runs at once, and the peer takes part as soon as enough others
    have said that they know no other storage of its id: see :meth:`Peer.wait_admitted`.

    Args:
        config: which peer.
        machine: new; it is fed here and nowhere else. :meth:`Peer.read` and clients that read
            need one that is ``Queryable``.
        storage: another one than ``config.directory`` says.
        routes: answered beside what peers and clients ask, on the same port.
        report: hears of connections that were refused or broke rules, and of messages under an
            id that is known with another storage.
        recorder: is told of all that the peer does, see :func:`open_trace`.
        ports: the machine to run on.

    Raises:
        WrongStorage: the directory is another peer's, or another cluster's.
        LostStorage: the cluster knows this id with another storage, now or later.
        JournalBusy: another process has it open.
        JournalCorrupt: what had been durable is damaged.
        PeerStopped: what the directory has is of another kind of state machine.
        JournalFailed: the disk cannot be read or written, now or later.
        AddressError: it cannot listen there.
        RaftViolated: a peer has broken Raft's rules, or this one has lost what it had kept.
        InvalidParameter: ``members`` is wrong, or ``storage`` began without a number of its own.
    """
    tell = report or _ignore
    opening = _open_storage(config, ports) if storage is None else nullcontext(storage)
    async with opening as kept:
        stored = await _load(config, kept, machine, ports)
        node = make_node(config.id, config.raft, stored, ports.rng, recorder)
        meeting = Meeting(node, stored, kept, is_new=config.is_new, report=tell, ports=ports)
        identity = Identity(config.cluster, config.id, stored.store)
        parts = _assemble(
            config,
            node,
            storage=kept,
            machine=machine,
            meeting=meeting,
            identity=identity,
            ports=ports,
        )
        async with _serve(config, parts, routes or Routes(), tell, ports) as peer:
            yield peer


def _ignore(_: Exception) -> None:
    """Report nothing."""


@asynccontextmanager
async def _open_storage(config: PeerConfig, ports: Host) -> AsyncIterator[Storage]:
    """Open the storage that a configuration asks for."""
    if config.directory is None:
        yield MemoryStorage()
        return
    async with open_disk_storage(
        config.directory, cluster=config.cluster, node=config.id, ports=ports
    ) as storage:
        yield storage


@attrs.frozen
class _Parts:
    """What a peer is made of, connected with each other."""

    identity: Identity
    driver: Driver
    meeting: Meeting
    transport: Transport

    def add_to(self, routes: Routes) -> None:
        """Let other peers in by these routes."""
        self.transport.add_to(routes)
        self.meeting.add_to(routes, self.transport)


def _assemble(
    config: PeerConfig,
    node: Node,
    *,
    storage: Storage,
    machine: StateMachine,
    meeting: Meeting,
    identity: Identity,
    ports: Host,
) -> _Parts:
    """Connect a node with what stands around it."""

    def receive(message: Message) -> None:
        driver.receive(message)

    silence = config.tick_seconds * config.raft.election_ticks
    transport = Transport(
        identity,
        config.places,
        receive,
        meeting,
        silence_seconds=max(LEAST_SILENCE_SECONDS, 2 * silence),
        ports=ports,
    )
    driver = Driver(
        node,
        storage,
        machine,
        transport.send,
        tick_seconds=config.tick_seconds,
        snapshot_entries=config.snapshot_entries,
        ports=ports,
    )
    return _Parts(identity, driver, meeting, transport)


@asynccontextmanager
async def _serve(
    config: PeerConfig,
    parts: _Parts,
    routes: Routes,
    report: Callable[[Exception], None],
    ports: Host,
) -> AsyncIterator[Peer[Any]]:
    """Listen, and let all parts live for as long as the body runs."""
    driver, transport = parts.driver, parts.transport
    peer: Peer[Any] = Peer(driver.applier.machine, driver, transport, parts.meeting)
    parts.add_to(routes)
    Desk(peer).add_to(routes)
    async with (
        open_service_nursery() as nursery,
        open_server(
            config.port,
            routes,
            host=config.host,
            identity=parts.identity,
            limits=ServerLimits(connections=MOST_CONNECTIONS, flush_seconds=FLUSH_SECONDS),
            report=report,
            ports=ports,
        ) as server,
    ):
        peer._address = server.address  # noqa: SLF001 - its maker
        transport.learn(Place(config.id, config.host, server.address[1]))
        nursery.start_soon(_live, driver, parts.meeting, transport)
        nursery.start_soon(transport.run)
        nursery.start_soon(_tell_places, transport, ports)
        try:
            yield peer
        finally:
            driver.stop("it was left")


async def _live(driver: Driver, meeting: Meeting, transport: Transport) -> None:
    """Get to know the others, and drive the node from its admission on."""
    try:
        async with open_service_nursery() as nursery:
            nursery.start_soon(meeting.run, transport)
            await meeting.wait_admitted()
            await driver.run()
    except Exception as error:
        failure = _alone(error)
        driver.stop(str(failure))
        if failure is error:
            raise
        raise failure from None


def _alone(error: Exception) -> Exception:
    """Return the first failure of a disk in the place of all: several tasks may meet it."""
    if isinstance(error, ExceptionGroup) and error.split(JournalFailed)[1] is None:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
    return error


async def _load(config: PeerConfig, storage: Storage, machine: StateMachine, ports: Host) -> Stored:
    """Load what is kept, or begin; the machine has the snapshot then."""
    stored = await storage.load()
    if stored is None:
        store = ports.rng.randint(1, LARGEST_STORE)
        stored = bootstrap(config.members, store=store) if config.members else joining(store)
        await storage.initialize(stored)
    if stored.store == NO_STORE:
        raise InvalidParameter("storage", storage, "begun with a number of its own")
    if stored.snapshot.index > 0:
        data = await read_whole(storage, stored.snapshot)
        if data is None:
            raise PeerStopped(config.id, "its snapshot cannot be read")
        try:
            machine.restore(data)
        except BadMessage as error:
            problem = f"its snapshot up to {stored.snapshot.index} is none of this state machine"
            raise PeerStopped(config.id, f"{problem}: {error}") from error
    return stored


async def _tell_places(transport: Transport, ports: Host) -> None:
    while True:
        await ports.clock.sleep(BOOK_SECONDS)
        transport.tell_places()
