"""Where a cluster's peers listen, a connection to each that is asked, and which of them leads.

A client knows some addresses. It asks one after the other until somebody leads or says who does,
then the leader until it does so no more.
"""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Final, TypeVar, final

import trio

from trio440.core.host import Host, format_address
from trio440.errors import (
    AnswerLost,
    CallTimedOut,
    HandshakeRefused,
    InvalidParameter,
    NotQueryable,
    RemoteError,
)
from trio440.raft.wire import Answered, Done, Elsewhere, Outcome, Refusal, Unknown
from trio440.rpc import Client as Caller
from trio440.rpc import ClientLimits, Identity, Method
from trio440.rpc import open_client as open_caller

__all__ = ["ATTEMPT_SECONDS", "Endpoint", "Endpoints"]

A = TypeVar("A")
Endpoint = tuple[str, int]
"""A host and a port."""

ATTEMPT_SECONDS: Final = 2.0
"""A peer that has not answered within so long is not waited for."""
CONNECT_SECONDS: Final = 0.3
"""A peer to which there is no connection is not waited for longer: another may be up."""
REST_SECONDS: Final = 0.05
"""After a round without success the next one comes about so much later."""


@final
class Endpoints:
    """A cluster as its clients reach it; any number of tasks may ask at once."""

    def __init__(
        self,
        addresses: Iterable[Endpoint],
        cluster: str,
        nursery: trio.Nursery,
        *,
        attempt_seconds: float,
        ports: Host,
    ) -> None:
        """Know some addresses, and connect to nobody yet.

        Args:
            addresses: where peers listen, at least one.
            cluster: its name.
            nursery: holds the connections.
            attempt_seconds: a peer that has not answered within so long is left for another one.
            ports: the machine to run on.

        Raises:
            InvalidParameter: there is no address.
        """
        self.addresses: Final = tuple(dict.fromkeys(addresses))
        if not self.addresses:
            raise InvalidParameter("addresses", [], "at least one")
        self.attempt_seconds: Final = attempt_seconds
        self.leader: Endpoint | None = None
        """Who is asked first: who leads, as far as is known."""
        self._cluster = cluster
        self._nursery = nursery
        self._ports = ports
        self._callers: dict[Endpoint, Caller] = {}
        self._troubles: dict[Endpoint, str] = {}
        self._next = 0

    @property
    def troubles(self) -> str:
        """What the last try came to at each address that gave no answer; empty if all did."""
        return "; ".join(
            f"{format_address(at)} {trouble}" for at, trouble in self._troubles.items()
        )

    def draw(self) -> int:
        """Return the place of any of the addresses."""
        return self._ports.rng.randrange(len(self.addresses))

    async def ask(self, method: Method[A, Outcome], request: A, *, repeat: bool) -> Outcome:
        """Ask the leader, whoever that is; again where nobody knows what came of it.

        Args:
            method: what to ask.
            request: its argument.
            repeat: whether a request whose fate is not known may be repeated.

        Raises:
            HandshakeRefused: none of the addresses belongs to this cluster.
            NotQueryable: the state machine answers no questions.
        """
        final_answers = (Answered, Done) if repeat else (Answered, Done, Refusal, Unknown)
        tried = 0
        while True:
            outcome: Outcome | None = None
            address = self._next_address()
            try:
                outcome = await self.attempt(address, method, request, repeat=repeat)
            except HandshakeRefused:
                self._forget(address, "is of another cluster")
                if tried >= len(self.addresses):
                    raise
            if isinstance(outcome, final_answers):
                return outcome
            tried += 1
            if self.leader is None or tried > 1:
                await self.rest()

    async def attempt(
        self, address: Endpoint, method: Method[A, Outcome], request: A, *, repeat: bool
    ) -> Outcome | None:
        """Ask one peer, and take note of who leads; None: it did not answer."""
        caller = await self.reach(address)
        if caller is None:
            self._forget(address, "cannot be reached")
            return None
        seconds = self.attempt_seconds if repeat else None
        try:
            outcome = await caller.call(method, request, timeout_seconds=seconds)
        except (CallTimedOut, AnswerLost, RemoteError) as error:
            if isinstance(error, RemoteError) and error.name == NotQueryable.__name__:
                raise NotQueryable from None
            self._forget(address, "has not answered")
            return None if repeat else Unknown(f"whether it was done is not known: {error}")
        if isinstance(outcome, Elsewhere):
            self._forget(address, f"says that {outcome.leader or 'nobody'} leads")
            if (place := outcome.place) is not None:
                self.leader = (place.host, place.port)
        elif isinstance(outcome, Unknown):
            self._forget(address, f"says: {outcome.problem}")
        else:
            self.leader = address
            self._troubles.clear()
        return outcome

    def _forget(self, address: Endpoint, trouble: str) -> None:
        """Take note that a peer does not lead, and of what was wrong."""
        self._troubles[address] = trouble
        if self.leader == address:
            self.leader = None

    def _next_address(self) -> Endpoint:
        """Return where the leader is, as far as is known, or else one peer after the other."""
        if self.leader is not None:
            return self.leader
        self._next += 1
        return self.addresses[self._next % len(self.addresses)]

    async def reach(self, address: Endpoint) -> Caller | None:
        """Return who calls a peer, None where there is no connection soon."""
        caller = await self.caller(address)
        with self._ports.clock.move_on_after(CONNECT_SECONDS):
            await caller.wait_connected()
        return caller if caller.is_connected else None

    async def caller(self, address: Endpoint) -> Caller:
        """Return who calls a peer, connected or not."""
        caller = self._callers.get(address)
        if caller is None:
            caller = await self._nursery.start(self._connect, address)
        return caller

    async def _connect(
        self, address: Endpoint, *, task_status: trio.TaskStatus[Caller] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with AsyncExitStack() as stack:
            caller = await stack.enter_async_context(
                open_caller(
                    *address,
                    identity=Identity(self._cluster),
                    limits=ClientLimits(
                        connect_seconds=ATTEMPT_SECONDS,
                        silence_seconds=ATTEMPT_SECONDS,
                        longest_wait_seconds=0.5,
                    ),
                    ports=self._ports,
                )
            )
            caller = self._callers.setdefault(address, caller)
            task_status.started(caller)
            await trio.Event().wait()

    async def rest(self) -> None:
        """Wait a little before another round, some longer than others."""
        await self._ports.clock.sleep(REST_SECONDS * (0.5 + self._ports.rng.random()))
