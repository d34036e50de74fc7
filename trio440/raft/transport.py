"""Messages between Raft peers: one RPC connection to each, one-way messages on it.

What cannot be sent is dropped and reported to the node; Raft sends again what is needed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, final

import trio

from trio440.core.host import Host
from trio440.errors import BadMessage, MessageTooLarge, RpcClosed, RpcError
from trio440.raft.batches import encode_entries
from trio440.raft.membership import is_id
from trio440.raft.messages import Append, Entry, InstallSnapshot, Message
from trio440.raft.soundness import check_untrusted, is_address
from trio440.raft.wire import AppendEntries, Book, Introduced, Introduction, Peers, Place
from trio440.rpc import Client, ClientLimits, Expected, Identity, Peer, Routes, open_client

__all__ = ["Gate", "Transport"]

QUEUED_BYTES: Final = 32 << 20
CONNECT_SECONDS: Final = 2.0
LONGEST_WAIT_SECONDS: Final = 0.5
FLUSH_SECONDS: Final = 0.2
ANSWER_SECONDS: Final = 1.0
"""An introduction is answered within so long, a connection included."""
MOST_STRANGERS: Final = 64
"""So many peers that are no members may be known by what others say; anybody may make up more."""


class Gate(Protocol):
    """Knows who is who."""

    def admits(self, identity: Identity) -> bool:
        """Whether a message of a peer may be taken in."""

    def is_other(self, identity: Identity) -> bool:
        """Whether another store is known under this peer's id."""

    def is_member(self, name: str) -> bool:
        """Whether this id is a member's, as far as is known."""


@final
class Transport:
    """Connections from one peer to the others; they are opened again for as long as it runs."""

    def __init__(
        self,
        identity: Identity,
        places: Iterable[Place],
        receive: Callable[[Message], None],
        gate: Gate,
        *,
        silence_seconds: float,
        ports: Host,
    ) -> None:
        """Know where some peers listen.

        Args:
            identity: of this peer.
            places: of others; more are learned from them.
            receive: takes what another peer has sent.
            gate: knows who is who.
            silence_seconds: a peer that says nothing for so long is connected to anew.
            ports: the machine to run on.
        """
        self._identity = identity
        self._me = identity.node_id
        self._receive = receive
        self._gate = gate
        self._ports = ports
        self._places = {place.id: place for place in places}
        self._strangers: set[str] = set()
        """Whose place is known by hearsay, and who were no members then."""
        self._clients: dict[str, Client] = {}
        self._scopes: dict[str, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._encoded: tuple[Sequence[Entry], bytes] = (), b""
        self._limits = ClientLimits(
            queued_bytes=QUEUED_BYTES,
            connect_seconds=CONNECT_SECONDS,
            silence_seconds=silence_seconds,
            longest_wait_seconds=LONGEST_WAIT_SECONDS,
            flush_seconds=FLUSH_SECONDS,
        )

    def add_to(self, routes: Routes) -> None:
        """Let other peers' messages come in by these routes."""
        routes.add_one_way(Peers.message, self._take)
        routes.add_one_way(Peers.append, self._take_append)
        routes.add_one_way(Peers.piece, self._take)
        routes.add_one_way(Peers.book, self._take_book)

    @property
    def places(self) -> Mapping[str, Place]:
        """Where peers listen, by id, this one included."""
        return self._places

    @property
    def others(self) -> tuple[str, ...]:
        """Of whom it is known where they listen, without this peer."""
        return tuple(name for name in self._places if name != self._me)

    @property
    def reachable(self) -> tuple[str, ...]:
        """To whom there is a connection, sorted."""
        connected = (name for name, client in self._clients.items() if client.is_connected)
        return tuple(sorted(connected))

    def learn(self, place: Place) -> None:
        """Take note of where a peer listens; one that has moved is connected to anew."""
        if self._places.get(place.id) == place:
            return
        self._places[place.id] = place
        if place.id in self._scopes:
            self._scopes.pop(place.id).cancel()
            self._clients.pop(place.id, None)
        self._begin(place.id)

    def hear_of(self, place: Place, source: str) -> None:
        """Take note of what a peer says of a place; of itself it knows best.

        Members are always taken note of, of others 64 at a time: each costs a connection.
        """
        name = place.id
        if name == self._me or not (is_id(name) and is_address(place.host, place.port)):
            return
        if name in self._places:
            if name == source:
                self.learn(place)
            return
        if not self._gate.is_member(name):
            if len(self._strangers) >= MOST_STRANGERS:
                self._strangers = {one for one in self._strangers if not self._gate.is_member(one)}
            if len(self._strangers) >= MOST_STRANGERS:
                return
            self._strangers.add(name)
        self.learn(place)

    async def run(self) -> None:
        """Keep connections to all peers until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for name in list(self._places):
                self._begin(name)
            await trio.Event().wait()

    def _begin(self, name: str) -> None:
        if self._nursery is not None and name != self._me:
            self._scopes[name] = scope = trio.CancelScope()
            self._nursery.start_soon(self._connect, self._places[name], scope)

    async def _connect(self, place: Place, scope: trio.CancelScope) -> None:
        with scope:
            async with open_client(
                place.host,
                place.port,
                identity=self._identity,
                expected=Expected(place.id),
                limits=self._limits,
                ports=self._ports,
            ) as client:
                self._clients[place.id] = client
                await trio.Event().wait()

    # Out

    def send(self, message: Message) -> bool:
        """Send a message to its ``to``; whether it left this peer, as far as is known."""
        client = self._clients.get(message.to)
        if client is None:
            return False
        try:
            if isinstance(message, Append):
                return client.tell(Peers.append, AppendEntries.of(message, self._encode))
            if isinstance(message, InstallSnapshot):
                return client.tell(Peers.piece, message)
            return client.tell(Peers.message, message)
        except (MessageTooLarge, RpcClosed):
            return False

    def _encode(self, entries: Sequence[Entry]) -> bytes:
        """Write entries; most are sent to one follower after the other, and written once."""
        last, batch = self._encoded
        if entries != last:
            batch = encode_entries(entries)
            self._encoded = entries, batch
        return batch

    def tell_places(self) -> None:
        """Tell all peers that can be reached where everybody listens."""
        book = Book(tuple(self._places.values()))
        for client in list(self._clients.values()):
            if client.is_connected:
                client.tell(Peers.book, book)

    async def introduce(self, name: str) -> Introduced | None:
        """Ask a peer to let this one in; None: it has not answered."""
        client = self._clients.get(name)
        if client is None:
            return None
        request = Introduction(self._places[self._me])
        try:
            answer = await Peers(client).introduce(request, timeout_seconds=ANSWER_SECONDS)
        except (RpcError, BadMessage):
            return None
        self._learn_all(answer.places, name)
        return answer

    # In

    def _take(self, message: Message, peer: Peer) -> None:
        identity = peer.identity
        is_sound = message.to == self._me and message.sender == identity.node_id
        if is_sound and self._gate.admits(identity):
            check_untrusted(message)
            self._receive(message)

    def _take_append(self, message: AppendEntries, peer: Peer) -> None:
        self._take(message.read_untrusted(), peer)

    def _take_book(self, book: Book, peer: Peer) -> None:
        if is_id(peer.identity.node_id) and not self._gate.is_other(peer.identity):
            self._learn_all(book.places, peer.identity.node_id)

    def _learn_all(self, places: Iterable[Place], source: str) -> None:
        for place in places:
            self.hear_of(place, source)
