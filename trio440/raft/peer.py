"""A Raft peer: a node with a disk, a network, time, and a state machine that it feeds.

::

    async with raft.open_peer(PeerConfig(...), KeyValueMap()) as peer:
        result = await peer.propose(command)      # on the leader
        answer = await peer.read(question)        # anywhere, linearizable
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final, final

from trio440.core.host import Address, Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import (
    InvalidParameter,
    JournalFailed,
    NotLeader,
    PeerStopped,
    TransferRefused,
    WatchRefused,
)
from trio440.raft.applier import read_whole
from trio440.raft.desk import Desk
from trio440.raft.disk_storage import open_disk_storage
from trio440.raft.driver import Driver
from trio440.raft.machine import StateMachine, Watchable
from trio440.raft.meeting import Meeting
from trio440.raft.membership import LARGEST_STORE, NO_STORE, Configuration
from trio440.raft.peer_config import PeerConfig
from trio440.raft.status import Status
from trio440.raft.storage import MemoryStorage, Storage, Stored, bootstrap, joining
from trio440.raft.trace_lines import Recorder
from trio440.raft.tracing import make_node
from trio440.raft.transport import Transport
from trio440.raft.waiting import AppliedEntries
from trio440.raft.wire import Place, Report
from trio440.rpc import Identity, Routes, ServerLimits, open_server

__all__ = ["Peer", "open_peer"]

BOOK_SECONDS: Final = 1.0
"""Peers tell each other so often where everybody listens."""
APPLIED_LIMIT: Final = 65_536
WATCH_SECONDS: Final = 10.0


@final
class Peer:
    """A running peer; :func:`open_peer` opens one.

    Every method that waits may be cancelled. All raise ``PeerStopped`` once the peer has stopped,
    by its end or by a failure of its disk.
    """

    def __init__(
        self, config: PeerConfig, driver: Driver, transport: Transport, meeting: Meeting
    ) -> None:
        self._config = config
        self._driver = driver
        self._meeting = meeting
        self._node = driver.node
        self._transport = transport
        self._address: Address | None = None

    def __repr__(self) -> str:
        return f"<raft.Peer {self.id}, {self._node.role.value} of term {self._node.term}>"

    @property
    def id(self) -> str:
        """Its name."""
        return self._node.id

    @property
    def address(self) -> Address:
        """Where it listens, with the real port."""
        assert self._address is not None  # noqa: S101 - set before anybody has the peer
        return self._address

    @property
    def is_leader(self) -> bool:
        """Whether it believes to lead."""
        return self._node.is_leader

    @property
    def leader(self) -> str | None:
        """The leader of its term, where it knows one."""
        return self._node.leader

    # Commands and questions

    async def propose(self, command: bytes) -> bytes:
        """Have a command carried out by all peers, and return this state machine's result.

        It returns when the command is durable on a majority and applied here. Cancelled, or cut
        short by a deadline: the command may be carried out or not, now or later, once at most.

        Raises:
            NotLeader: this peer does not lead; nothing was done.
            ProposalRefused: a limit is met; nothing was done.
            LeadershipLost: this peer led and does no more; as for a cancellation, nobody knows.
            PeerStopped: this peer has stopped; the same, if it was under way.
        """
        return await self._driver.propose(command)

    async def read(self, query: bytes) -> bytes:
        """Answer a question from this peer's state machine, linearizable.

        The answer has in it whatever was acknowledged, by any peer, before the call. The peer need
        not lead: it asks its leader how far it must have applied. Waits for a leader where there
        is none. Cancelled: nothing has happened.

        Raises:
            ReadRefused: too many reads wait.
            PeerStopped: this peer has stopped.
        """
        driver = self._driver
        if not self._meeting.is_admitted:
            await self.wait_admitted()
        while True:
            try:
                if await driver.wait_readable():
                    return driver.applier.machine.query(query)
            except NotLeader:
                await self.wait_leader()
            else:
                await driver.wait_change()

    async def watch(self, request: bytes, *, seconds: float = WATCH_SECONDS) -> bytes:
        """Wait until this peer's state machine has something to tell; it must be ``Watchable``.

        The answer is of what is applied here, which is committed, and may be behind what other
        peers have. Cancelled: nothing has happened.

        Args:
            request: what the machine's ``watch`` is given.
            seconds: after so long the answer is that there was nothing, and up to where.

        Raises:
            NotLeader: no leader is known here, or none any more: there may be news elsewhere.
            WatchRefused: the machine cannot be watched, or 1000 others wait.
            PeerStopped: this peer has stopped.
        """
        driver = self._driver
        driver.check()
        if self._node.leader is None:
            raise NotLeader(None)
        machine = driver.applier.machine
        if not isinstance(machine, Watchable):
            raise WatchRefused("this state machine cannot be watched")
        return await driver.watchers.wait(machine.watch(request), seconds)

    # The course's form

    def get_state(self) -> tuple[str, int, bool]:
        """Return this peer's id, its term, and whether it believes to lead; does not wait."""
        return self.id, self._node.term, self._node.is_leader

    def put_command(self, command: bytes) -> tuple[int, int, bool]:
        """Append a command if this peer leads, and return its index, the term and True.

        Does not wait for agreement: see :meth:`applied_entries`. Where it does not lead nothing is
        done, and the index is 0.

        Raises:
            ProposalRefused: a limit is met; nothing was done.
            PeerStopped: this peer has stopped.
        """
        try:
            return *self._driver.append(command), True
        except NotLeader:
            return 0, self._node.term, False

    @contextmanager
    def applied_entries(self, limit: int = APPLIED_LIMIT) -> Iterator[AppliedEntries]:
        """Iterate over entries as they are applied here, from now on, each once and in order.

        Args:
            limit: so many wait for their reader; then the iteration ends with ``FellBehind``, as
                it does when a snapshot stands in for entries.
        """
        stream = AppliedEntries(limit)
        streams = self._driver.applier.streams
        streams[stream] = None
        try:
            yield stream
        finally:
            del streams[stream]

    # Leaders and members

    async def wait_leader(self) -> str:
        """Wait until this peer knows who leads, and return that peer's id."""
        while self._node.leader is None:
            await self._driver.wait_change()
        self._driver.check()
        return self._node.leader

    async def transfer_leadership(self, to: str) -> None:
        """Hand leadership to another voter, and return when this peer leads no more.

        Commands are refused meanwhile. Cancelled: it goes on.

        Raises:
            NotLeader: this peer does not lead.
            TransferRefused: ``to`` is no other voter, or has not taken over in time.
        """
        node, driver = self._node, self._driver
        driver.check()
        node.transfer_leadership(to)
        driver.poke()
        term = node.term
        while node.is_leader and node.term == term:
            if node.status().transferee is None:
                raise TransferRefused(f"{to} has not taken over in time")
            await driver.wait_change()

    async def add_learner(self, peer: str, host: str | None = None, port: int = 0) -> int:
        """Add a member that listens and does not vote; returns the index of the change.

        Args:
            peer: its id, which nobody had before.
            host: where it listens; None: it has told some peer already.
            port: with ``host``.

        Raises:
            NotLeader, ChangeRefused, LeadershipLost: as for :meth:`change_members`.
        """
        self._driver.check()
        if host is not None:
            self._transport.learn(Place(peer, host, port))
        members = self._node.configuration
        return await self.change_members(members.voters, (*members.learners, peer))

    async def promote(self, peer: str) -> int:
        """Let a learner vote, as soon as it has caught up; returns the index of the change.

        Raises:
            NotLeader, ChangeRefused, LeadershipLost: as for :meth:`change_members`.
        """
        node = self._node
        while node.is_leader and (seen := node.status().peers.get(peer)) is not None:
            if seen.is_caught_up:
                break
            await self._driver.wait_change()
        members = node.configuration
        learners = [name for name in members.learners if name != peer]
        return await self.change_members((*members.voters, peer), learners)

    async def change_members(self, voters: Iterable[str], learners: Iterable[str] = ()) -> int:
        """Change the members, through a joint configuration where several voters change.

        Returns when the change is complete and committed. Cancelled: it goes on.

        Returns:
            The index of the entry that holds the new members.

        Raises:
            NotLeader: this peer does not lead.
            ChangeRefused: another change is not complete, a new voter has not caught up, a voter
                was never heard, or nothing would change.
            LeadershipLost: the change may be completed by another leader, or undone.
            InvalidParameter: there would be no voter, or somebody is in both roles.
        """
        driver, node = self._driver, self._node
        driver.check()
        place = node.change_membership(tuple(voters), tuple(learners), self._meeting.met)
        driver.poke()
        await driver.result_of(place)
        # A leader that is removed steps down when its removal is committed.
        while node.configuration.is_joint or driver.applier.applied < node.configuration_index:
            await driver.wait_change()
        return node.configuration_index

    async def wait_admitted(self) -> None:
        """Wait until this peer takes part; it does at once unless this is its first start.

        Raises:
            PeerStopped: this peer has stopped.
        """
        while not self._meeting.is_admitted:
            await self._driver.wait_change()

    @property
    def awaited(self) -> tuple[str, ...]:
        """Whose consent it waits for at its first start, as far as it knows, sorted."""
        return self._meeting.awaited

    # What it is

    async def snapshot(self) -> int:
        """Keep a snapshot of the state machine, compact the log, and return its last index."""
        return await self._driver.snapshot()

    def status(self) -> Status:
        """Return everything about the node, frozen."""
        return self._node.status()

    @property
    def members(self) -> Configuration:
        """The members, committed or not."""
        return self._node.configuration

    @property
    def places(self) -> tuple[Place, ...]:
        """Where peers listen, this one included, sorted."""
        return tuple(sorted(self._transport.places.values(), key=lambda place: place.id))

    @property
    def reachable(self) -> tuple[str, ...]:
        """To whom it has a connection, sorted."""
        return self._transport.reachable

    def report(self) -> Report:
        """Return what clients are told of this peer."""
        node, members = self._node, self._node.configuration
        return Report(
            id=node.id,
            role=node.role.value,
            term=node.term,
            leader=node.leader,
            last=node.log.last_index,
            commit=node.commit,
            applied=self._driver.applier.applied,
            snapshot=node.snapshot_index,
            voters=members.voters,
            learners=members.learners,
            places=self.places,
            reachable=self.reachable,
        )


@asynccontextmanager
async def open_peer(
    config: PeerConfig,
    machine: StateMachine,
    *,
    storage: Storage | None = None,
    routes: Routes | None = None,
    report: Callable[[Exception], None] | None = None,
    recorder: Recorder | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Peer]:
    """Be a peer of a cluster for as long as the body runs.

    A failure of the disk, or a message that no sound peer sends, stops the peer: the body is
    cancelled and the error comes out; nobody is answered any more.

    At the first start the body runs at once, and the peer takes part as soon as enough others
    have said that they know no other storage of its id: see :meth:`Peer.wait_admitted`.

    Args:
        config: which peer.
        machine: new; it is fed here and nowhere else.
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
        JournalFailed: the disk cannot be read or written, now or later.
        AddressError: it cannot listen there.
        RaftViolated: a peer has broken Raft's rules, or this one has lost what it had kept.
        InvalidParameter: ``members`` is wrong, or ``storage`` began without a number of its own.
    """
    async with AsyncExitStack() as stack:
        if storage is None and config.directory is not None:
            storage = await stack.enter_async_context(
                open_disk_storage(
                    config.directory, cluster=config.cluster, node=config.id, ports=ports
                )
            )
        storage = storage or MemoryStorage()
        stored = await _load(config, storage, machine, ports)
        node = make_node(config.id, config.raft, stored, ports.rng, recorder)
        identity = Identity(config.cluster, config.id, stored.store)
        report = report or _ignore
        meeting = Meeting(node, stored, storage, is_new=config.is_new, report=report, ports=ports)

        def receive(message: Any) -> None:
            driver.receive(message)

        silence = config.tick_seconds * config.raft.election_ticks
        transport = Transport(
            identity,
            config.places,
            receive,
            meeting,
            silence_seconds=max(0.1, 2 * silence),
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
        peer = Peer(config, driver, transport, meeting)
        routes = routes or Routes()
        transport.add_to(routes)
        meeting.add_to(routes, transport)
        Desk(peer).add_to(routes)
        nursery = await stack.enter_async_context(open_service_nursery())
        server = await stack.enter_async_context(
            open_server(
                config.port,
                routes,
                host=config.host,
                identity=identity,
                limits=ServerLimits(flush_seconds=0.2),
                report=report,
                ports=ports,
            )
        )
        peer._address = server.address  # noqa: SLF001 - its maker
        transport.learn(Place(config.id, config.host, server.address[1]))
        nursery.start_soon(_live, driver, meeting, transport)
        nursery.start_soon(transport.run)
        nursery.start_soon(_tell_places, transport, ports)
        try:
            yield peer
        finally:
            driver.stop("it was left")


def _ignore(_: Exception) -> None:
    """Report nothing."""


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
        machine.restore(data)
    return stored


async def _tell_places(transport: Transport, ports: Host) -> None:
    while True:
        await ports.clock.sleep(BOOK_SECONDS)
        transport.tell_places()
