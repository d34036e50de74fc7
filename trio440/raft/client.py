"""A client of a Raft cluster: finds the leader, follows it, and has each command done once.

::

    async with raft.open_client([("10.0.0.1", 7000), ("10.0.0.2", 7000)]) as client:
        result = await client.propose(command)
        answer = await client.read(question)

The state machine of the cluster's peers is wrapped in :class:`~trio440.raft.dedupe.Sessions`: so
the client may repeat a command until it is answered, at whatever peer, and it is applied once.
How it gets to the leader is :mod:`trio440.raft.endpoints`'s.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar, final

import trio

from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import (
    AnswerLost,
    BadMessage,
    CallTimedOut,
    ChangeRefused,
    HandshakeRefused,
    NoAnswer,
    RemoteError,
    SessionExpired,
)
from trio440.raft import dedupe
from trio440.raft.endpoints import ATTEMPT_SECONDS, Endpoint, Endpoints
from trio440.raft.watched import WatchedChanges
from trio440.raft.wire import (
    Answered,
    Clients,
    Command,
    Done,
    Members,
    Nothing,
    Outcome,
    Question,
    Report,
    Transfer,
)
from trio440.rpc import Method

__all__ = ["Client", "open_client"]

A = TypeVar("A")

IN_FLIGHT: Final = 128
"""Commands at a time; below what a session remembers."""
STATUS_SECONDS: Final = 1.0


@final
class Client:
    """Commands and questions for a cluster; :func:`open_client` opens one.

    Any number of tasks may share it. Each method waits until the cluster has answered, or as long
    as it is told to; all raise ``NoAnswer`` when that time is over, and ``HandshakeRefused`` when
    none of the addresses belongs to this cluster.
    """

    def __init__(self, endpoints: Endpoints, ports: Host) -> None:
        self._endpoints = endpoints
        self._clock = ports.clock
        self._session: int | None = None
        self._opening = trio.Lock()
        self._number = 0
        self._waiting: dict[int, None] = {}
        """The numbers of the session's commands that have no answer yet, in order."""
        self._room = trio.CapacityLimiter(IN_FLIGHT)

    # Commands and questions

    async def propose(self, command: bytes, *, timeout_seconds: float | None = None) -> bytes:
        """Have a command carried out once, and return its result.

        Cancelled, and after ``NoAnswer``: it may be carried out or not, once at most.

        Raises:
            SessionExpired: the cluster has forgotten this client; as for a cancellation. The next
                command begins a new session.
            NoAnswer: the time is over.
        """
        with self._limit(timeout_seconds):
            # A number is given up with its command, so nobody else waits for its result.
            async with self._room:
                return await self._do(command)
        raise NoAnswer("the command", timeout_seconds, self._endpoints.troubles)

    async def _do(self, command: bytes) -> bytes:
        session = await self._require_session()
        self._number += 1
        number = self._number
        waiting = self._waiting
        waiting[number] = None
        try:
            while True:
                lowest = next(iter(waiting))
                request = dedupe.encode(dedupe.Do(session, number, lowest, command))
                reply = await self._ask_session(request)
                if isinstance(reply, dedupe.Done):
                    return reply.result
                if not isinstance(reply, dedupe.NotDone) or reply.reason != "full":
                    break
                await self._endpoints.rest()
        finally:
            del waiting[number]
        if self._session == session:
            self._session = None
        raise SessionExpired(session)

    async def _require_session(self) -> int:
        async with self._opening:
            if self._session is None:
                reply = await self._ask_session(dedupe.encode(dedupe.Open()))
                if not isinstance(reply, dedupe.Opened):
                    raise BadMessage("the cluster's state machine has no sessions")
                self._session, self._number = reply.session, 0
                self._waiting = {}
            return self._session

    async def _ask_session(self, request: bytes) -> dedupe.Reply:
        outcome = await self._endpoints.ask(Clients.propose, Command(request), repeat=True)
        if not isinstance(outcome, Answered):
            raise BadMessage(f"a peer answered a command with {outcome}")
        return dedupe.decode_reply(outcome.data)

    async def read(self, query: bytes, *, timeout_seconds: float | None = None) -> bytes:
        """Answer a question, linearizable. Cancelled: nothing has happened.

        Raises:
            NotQueryable: the cluster's state machine answers no questions.
            NoAnswer: the time is over.
        """
        with self._limit(timeout_seconds):
            outcome = await self._endpoints.ask(Clients.read, Question(query), repeat=True)
            if isinstance(outcome, Answered):
                return outcome.data
            raise BadMessage(f"a peer answered a question with {outcome}")
        raise NoAnswer("the question", timeout_seconds, self._endpoints.troubles)

    @asynccontextmanager
    async def watch(
        self,
        prefix: bytes = b"",
        *,
        after: int | None = None,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[WatchedChanges]:
        """Watch the keys with a prefix, where the machine is a map: what is iterated over.

        ::

            async with client.watch(b"jobs/") as changes:
                async for change in changes: ...

        Iterating waits for the next change however long, at one peer after the other; no change
        is left out or repeated where a peer is lost. A peer may be behind the others. To list
        and then to watch: ``after=found.revision`` of the listing. The cluster remembers its
        last changes only, see :class:`~trio440.raft.kv.KvLimits`.

        Args:
            prefix: of the keys; all of them when empty.
            after: begin behind this revision, as of an earlier watch; None: with what is changed
                once the body runs.
            timeout_seconds: for entering the context, which asks the cluster once.

        Raises:
            HistoryCompacted: the changes behind ``after`` are no longer remembered.
            NotQueryable: the machine is no map, and answers no questions.
            NoAnswer: the time is over.
            InvalidParameter: ``after`` is less than 0.
        """
        changes = WatchedChanges(prefix, self._endpoints)
        await changes.begin(partial(self.read, timeout_seconds=timeout_seconds), after)
        yield changes

    # The cluster

    async def change_members(
        self,
        voters: Iterable[str],
        learners: Iterable[str] = (),
        *,
        timeout_seconds: float | None = None,
    ) -> int:
        """Change the members, see :meth:`Peer.change_members`; returns the index of the change.

        Raises:
            ChangeRefused: the leader does not do it, or it is not known whether it was done.
            NoAnswer: the time is over; it may be done or not.
        """
        return await self._manage(
            Clients.change, Members(tuple(voters), tuple(learners)), timeout_seconds
        )

    async def transfer_leadership(self, to: str, *, timeout_seconds: float | None = None) -> None:
        """Have another voter lead.

        Raises:
            ChangeRefused: the leader does not do it, or it is not known whether it was done.
            NoAnswer: the time is over; it may be done or not.
        """
        await self._manage(Clients.transfer, Transfer(to), timeout_seconds)

    async def snapshot(
        self, address: Endpoint | None = None, *, timeout_seconds: float | None = None
    ) -> int:
        """Have a peer keep a snapshot, and return its last index.

        Args:
            address: of that peer; None: the first one.
            timeout_seconds: for everything.

        Raises:
            ChangeRefused: the peer does not do it.
            NoAnswer: the time is over.
        """
        caller = await self._endpoints.caller(address or self._endpoints.addresses[0])
        try:
            outcome = await caller.call(
                Clients.snapshot, Nothing(), timeout_seconds=timeout_seconds
            )
        except CallTimedOut:
            raise NoAnswer("the snapshot", timeout_seconds) from None
        if isinstance(outcome, Done):
            return outcome.index
        raise ChangeRefused(str(outcome))

    async def status(self, *, timeout_seconds: float = STATUS_SECONDS) -> list[Report]:
        """Ask every peer that is known, and return what those say that answer, by their ids."""
        reports: dict[str, Report] = {}
        asked: set[Endpoint] = set()

        async def ask(address: Endpoint) -> None:
            caller = await self._endpoints.caller(address)
            try:
                report = await caller.call(
                    Clients.status, Nothing(), timeout_seconds=timeout_seconds
                )
            except (CallTimedOut, AnswerLost, HandshakeRefused, RemoteError):
                return
            reports[report.id] = report
            for place in report.places:
                begin((place.host, place.port))

        def begin(address: Endpoint) -> None:
            if address not in asked:
                asked.add(address)
                nursery.start_soon(ask, address)

        async with trio.open_nursery() as nursery:
            for address in self._endpoints.addresses:
                begin(address)
        return [reports[name] for name in sorted(reports)]

    async def _manage(self, method: Method[A, Outcome], request: A, seconds: float | None) -> int:
        with self._limit(seconds):
            outcome = await self._endpoints.ask(method, request, repeat=False)
            if isinstance(outcome, Done):
                return outcome.index
            raise ChangeRefused(getattr(outcome, "problem", str(outcome)))
        raise NoAnswer("the change", seconds, self._endpoints.troubles)

    def _limit(self, seconds: float | None) -> Any:
        return self._clock.move_on_after(seconds) if seconds is not None else trio.CancelScope()


@asynccontextmanager
async def open_client(
    addresses: Iterable[Endpoint],
    *,
    cluster: str = "raft",
    attempt_seconds: float = ATTEMPT_SECONDS,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Client]:
    """Be a client of a cluster for as long as the body runs.

    Does not wait for a connection: calls do. Leaving drops what is under way.

    Args:
        addresses: where peers listen; one that is up is enough to find the others.
        cluster: its name.
        attempt_seconds: a peer that has not answered within so long is left for another one.
        ports: the machine to run on.

    Raises:
        InvalidParameter: there is no address.
    """
    async with open_service_nursery() as nursery:
        endpoints = Endpoints(
            addresses, cluster, nursery, attempt_seconds=attempt_seconds, ports=ports
        )
        yield Client(endpoints, ports)
