"""Answers clients: what a peer is asked over RPC, and how it says what came of it."""

from collections.abc import Awaitable, Iterable
from typing import Protocol, final

from trio440.errors import (
    ChangeRefused,
    InvalidParameter,
    LeadershipLost,
    NotLeader,
    NotQueryable,
    PeerStopped,
    ProposalRefused,
    ReadRefused,
    RemoteError,
    TransferRefused,
    WatchRefused,
)
from trio440.raft.wire import (
    Answered,
    Awaited,
    Clients,
    Command,
    Done,
    Elsewhere,
    Members,
    Nothing,
    Outcome,
    Place,
    Question,
    Refusal,
    Report,
    Transfer,
    Unknown,
)
from trio440.rpc import Peer as Caller
from trio440.rpc import Routes

__all__ = ["Desk", "Served"]


class Served(Protocol):
    """What is needed of a peer."""

    @property
    def places(self) -> tuple[Place, ...]:
        """Where peers listen."""

    async def propose(self, command: bytes) -> bytes:
        """Have a command carried out."""

    async def read(self, query: bytes) -> bytes:
        """Answer a question."""

    async def watch(self, request: bytes, *, seconds: float) -> bytes:
        """Wait for something to tell."""

    async def change_members(self, voters: Iterable[str], learners: Iterable[str] = ()) -> int:
        """Change the members."""

    async def transfer_leadership(self, to: str) -> None:
        """Hand leadership to another."""

    async def snapshot(self) -> int:
        """Keep a snapshot."""

    def report(self) -> Report:
        """Return what clients are told of the peer."""


@final
class Desk:
    """Handlers of :class:`~trio440.raft.wire.Clients` for one peer."""

    def __init__(self, peer: Served) -> None:
        """Answer for this peer."""
        self._peer = peer

    def add_to(self, routes: Routes) -> None:
        """Let clients ask by these routes."""
        routes.add(Clients.propose, self._propose)
        routes.add(Clients.read, self._read)
        routes.add(Clients.watch, self._watch)
        routes.add(Clients.change, self._change)
        routes.add(Clients.transfer, self._transfer)
        routes.add(Clients.snapshot, self._snapshot)
        routes.add(Clients.status, self._status)

    async def _propose(self, request: Command, _: Caller) -> Outcome:
        return await self._said(self._answered(self._peer.propose(request.data)))

    async def _read(self, request: Question, _: Caller) -> Outcome:
        try:
            return await self._said(self._answered(self._peer.read(request.data)))
        except NotQueryable as error:  # no refusal, after which a client would try another peer
            raise RemoteError(type(error).__name__, str(error)) from None

    async def _watch(self, request: Awaited, _: Caller) -> Outcome:
        watch = self._peer.watch(request.data, seconds=request.seconds)
        return await self._said(self._answered(watch))

    async def _change(self, request: Members, _: Caller) -> Outcome:
        change = self._peer.change_members(request.voters, request.learners)
        return await self._said(self._done(change))

    async def _transfer(self, request: Transfer, _: Caller) -> Outcome:
        async def transfer() -> Outcome:
            await self._peer.transfer_leadership(request.to)
            return Done()

        return await self._said(transfer())

    async def _snapshot(self, _request: Nothing, _: Caller) -> Outcome:
        return await self._said(self._done(self._peer.snapshot()))

    def _status(self, _request: Nothing, _: Caller) -> Report:
        return self._peer.report()

    @staticmethod
    async def _answered(work: Awaitable[bytes]) -> Outcome:
        return Answered(await work)

    @staticmethod
    async def _done(work: Awaitable[int]) -> Outcome:
        return Done(await work)

    async def _said(self, work: Awaitable[Outcome]) -> Outcome:
        """Put into a message what came of something."""
        try:
            return await work
        except NotLeader as error:
            places = {place.id: place for place in self._peer.places}
            return Elsewhere(error.leader, places.get(error.leader or ""))
        except (LeadershipLost, PeerStopped) as error:
            return Unknown(str(error))
        except (
            ChangeRefused,
            InvalidParameter,
            ProposalRefused,
            ReadRefused,
            TransferRefused,
            WatchRefused,
        ) as error:
            return Refusal(str(error))
