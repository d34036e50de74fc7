"""A Raft peer as its users have it: what it may be asked, and what it says of itself.

::

    async with raft.open_peer(PeerConfig(...), KeyValueMap()) as peer:
        result = await peer.propose(command)      # on the leader
        answer = await peer.read(question)        # anywhere, linearizable

What it is made of, and how that begins and ends, is in :mod:`trio440.raft.opening`.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar, final

from trio440.core.host import Address
from trio440.errors import NotLeader, NotQueryable, TransferRefused, WatchRefused
from trio440.raft.driver import Driver
from trio440.raft.machine import Queryable, StateMachine, Watchable
from trio440.raft.meeting import Meeting
from trio440.raft.membership import Configuration
from trio440.raft.status import Status
from trio440.raft.transport import Transport
from trio440.raft.waiting import AppliedEntries
from trio440.raft.wire import Place, Report

__all__ = ["Peer"]

M_co = TypeVar("M_co", bound=StateMachine, covariant=True)

APPLIED_LIMIT: Final = 65_536
WATCH_SECONDS: Final = 10.0


@final
class Peer(Generic[M_co]):
    """A running peer and its state machine; :func:`open_peer` opens one.

    Every method that waits may be cancelled. All raise ``PeerStopped`` once the peer has stopped,
    by its end or by a failure of its disk.
    """

    def __init__(
        self, machine: M_co, driver: Driver, transport: Transport, meeting: Meeting
    ) -> None:
        self._machine = machine
        self._is_queryable = isinstance(machine, Queryable)
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
    def machine(self) -> M_co:
        """Its state machine, as far as it has applied the log; only to be looked at."""
        return self._machine

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

    async def read(self: "Peer[Queryable]", query: bytes) -> bytes:
        """Answer a question from this peer's state machine, linearizable.

        It is :meth:`read_barrier` and then the machine's ``query``. Cancelled: nothing has
        happened.

        Raises:
            NotQueryable: the machine has no ``query``, or it wraps one that has none.
            ReadRefused: too many reads wait.
            PeerStopped: this peer has stopped.
        """
        if not self._is_queryable:
            raise NotQueryable
        await self.read_barrier()
        return self._machine.query(query)

    async def read_barrier(self) -> None:
        """Wait until whatever was acknowledged, by any peer, before the call is applied here.

        What is read from :attr:`machine` afterwards is linearizable: ReadIndex of the
        dissertation, 6.4. The peer need not lead: it asks its leader how far it must have
        applied. Waits for a leader where there is none. Cancelled: nothing has happened.

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
                    return
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
        machine: object = self._machine
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
        while self.is_changing:
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
    def is_changing(self) -> bool:
        """Whether the last change of the members is not complete, or not known to be committed."""
        node = self._node
        return node.configuration.is_joint or (
            self._driver.applier.applied < node.configuration_index
        )

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
