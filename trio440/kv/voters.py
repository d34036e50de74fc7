"""How a Raft peer of a store that joins others becomes one of the voters.

It asks one peer after the other, and the one that leads takes it in: as a learner first, which
gets what there is, and then as a voter. The leader decides by the members that it has at that
moment, so peers that join at the same time do not undo each other's change.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, final

import attrs

from trio440 import raft, rpc
from trio440.core.host import Host, format_address, parse_address
from trio440.errors import (
    AnswerLost,
    BadMessage,
    CallTimedOut,
    ChangeRefused,
    HandshakeRefused,
    InvalidParameter,
    LeadershipLost,
    NotLeader,
    PeerStopped,
    RemoteError,
)
from trio440.kv.address_book import AddressBook
from trio440.kv.discovery import IDENTITY
from trio440.raft.membership import is_id
from trio440.rpc.service import Service, method

__all__ = [
    "Join",
    "Joined",
    "Joining",
    "Voters",
    "add_places",
    "become_voter",
    "note_places",
    "read_places",
]

REST_SECONDS: Final = 0.2
ASK_SECONDS: Final = 5.0
NOTE_SECONDS: Final = 1.0
MOST_PLACES: Final = 128
"""That are asked in turn."""


@attrs.frozen
class Join:
    """Make this peer a voter."""

    id: str


@attrs.frozen
class Joined:
    """How far that is."""

    is_voter: bool
    """Whether it is one, and that is committed."""
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
        is_voter = peer.is_leader and asked.id in peer.members.voters and not peer.is_changing
        return Joined(is_voter, peer.places)


async def become_voter(peer: raft.Peer[Any], places: Sequence[raft.Place], ports: Host) -> None:
    """Ask the others until one that leads has made this peer a voter.

    Args:
        peer: that joins.
        places: where others listen, as far as it was told.
        ports: the machine to run on.
    """
    known = {place.id: place for place in places}
    while True:
        known |= {place.id: place for place in peer.places if place.id != peer.id}
        for place in list(known.values()):
            answer = await _ask(peer.id, place, ports)
            if answer is not None and answer.is_voter:
                return
            if answer is not None:
                add_places(known, peer.id, answer.places)
        await ports.clock.sleep(REST_SECONDS * (1 + ports.rng.random()))


def add_places(known: dict[str, raft.Place], name: str, places: Iterable[raft.Place]) -> None:
    """Add places that somebody has told of, as far as they are some and there is room."""
    for place in places:
        has_room = len(known) < MOST_PLACES or place.id in known
        if place.id != name and has_room and _is_place(place):
            known[place.id] = place


def _is_place(place: raft.Place) -> bool:
    """Whether a peer may be there: who answers may be no peer."""
    try:
        parse_address(format_address((place.host, place.port)))
    except InvalidParameter:
        return False
    return is_id(place.id)


def read_places(book: AddressBook) -> list[raft.Place]:
    """Return where peers listened, as a former life of this one has noted."""
    places = []
    for line in book.lines:
        address, _, name = line.partition(" ")
        with suppress(InvalidParameter):
            host, port = parse_address(address)
            if is_id(name):
                places.append(raft.Place(name, host, port))
    return places


async def note_places(peer: raft.Peer[Any], book: AddressBook, ports: Host) -> None:
    """Note where the other members listen, until cancelled.

    Of those that this one is told of when it is opened again, none may be up.
    """
    while True:
        members = peer.members.members or tuple(place.id for place in peer.places)
        await book.replace(
            f"{format_address((place.host, place.port))} {place.id}"
            for place in sorted(peer.places, key=attrgetter("id"))
            if place.id in members and place.id != peer.id
        )
        await ports.clock.sleep(NOTE_SECONDS)


async def _ask(name: str, place: raft.Place, ports: Host) -> Joined | None:
    with ports.clock.move_on_after(ASK_SECONDS):
        try:
            async with rpc.open_client(
                place.host, place.port, identity=IDENTITY, ports=ports
            ) as client:
                return await Joining(client).join(Join(name))
        except (AnswerLost, BadMessage, CallTimedOut, HandshakeRefused, RemoteError):
            pass
    return None
