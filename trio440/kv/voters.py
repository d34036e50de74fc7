"""How a Raft peer of a store that joins others becomes one of the voters.

It asks one peer after the other, and the one that leads takes it in: as a learner first, which
gets what there is, and then as a voter. The leader decides by the members that it has at that
moment, so peers that join at the same time do not undo each other's change.
"""

from collections.abc import Sequence
from typing import Any, Final, final

import attrs

from trio440 import raft, rpc
from trio440.core.host import Host
from trio440.errors import (
    AnswerLost,
    CallTimedOut,
    ChangeRefused,
    HandshakeRefused,
    LeadershipLost,
    NotLeader,
    PeerStopped,
    RemoteError,
)
from trio440.kv.discovery import IDENTITY
from trio440.rpc.service import Service, method

__all__ = ["Join", "Joined", "Joining", "Voters", "become_voter"]

REST_SECONDS: Final = 0.2
ASK_SECONDS: Final = 5.0


@attrs.frozen
class Join:
    """Make this peer a voter."""

    id: str


@attrs.frozen
class Joined:
    """How far that is."""

    is_voter: bool
    places: tuple[raft.Place, ...]
    """Where peers listen: another one may lead."""


class Joining(Service, name="kv.joining"):
    """What a peer that joins asks of the others."""

    join = method(Join, Joined)


@final
class Voters:
    """Takes others in, at the peer of one process."""

    def __init__(self) -> None:
        """Start without the peer: routes are made before it."""
        self.peer: raft.Peer[Any] | None = None

    def add_routes(self, routes: rpc.Routes) -> None:
        """Let others ask."""
        routes.add(Joining.join, self._join)

    async def _join(self, asked: Join, _: rpc.Peer) -> Joined:
        peer = self.peer
        if peer is None:
            return Joined(is_voter=False, places=())
        try:
            if peer.is_leader:
                if asked.id not in peer.members.members:
                    await peer.add_learner(asked.id)
                if asked.id in peer.members.learners:
                    await peer.promote(asked.id)
        except (NotLeader, ChangeRefused, LeadershipLost, PeerStopped):
            pass  # it asks again
        is_voter = peer.is_leader and asked.id in peer.members.voters
        return Joined(is_voter, peer.places)


async def become_voter(name: str, places: Sequence[raft.Place], ports: Host) -> None:
    """Ask the others until one that leads has made this peer a voter.

    Args:
        name: of this peer.
        places: where others listen.
        ports: the machine to run on.
    """
    known = {place.id: place for place in places}
    while True:
        for place in list(known.values()):
            answer = await _ask(name, place, ports)
            if answer is not None and answer.is_voter:
                return
            for other in () if answer is None else answer.places:
                if other.id != name:
                    known[other.id] = other
        await ports.clock.sleep(REST_SECONDS * (1 + ports.rng.random()))


async def _ask(name: str, place: raft.Place, ports: Host) -> Joined | None:
    with ports.clock.move_on_after(ASK_SECONDS):
        try:
            async with rpc.open_client(
                place.host, place.port, identity=IDENTITY, ports=ports
            ) as client:
                return await Joining(client).join(Join(name))
        except (AnswerLost, CallTimedOut, HandshakeRefused, RemoteError):
            pass
    return None
