"""Names over the whole cluster, as far as links are concerned: what there is to tell is sent."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, final

from trio440.actors.cluster import Event, Node
from trio440.actors.cluster.gossip import Membership
from trio440.actors.cluster.names import MAX_UPDATE_BYTES, UPDATES, Names
from trio440.actors.post import Post
from trio440.actors.ref import Ref
from trio440.actors.remote.parcels import Shared
from trio440.errors import BadMessage

__all__ = ["Naming"]

PULL_SECONDS: Final = 15.0
"""How often the others are asked for what was missed of theirs."""


@final
class Naming:
    """The names of one system, and what it knows of those of the others."""

    def __init__(
        self, post: Post, membership: Membership, send: Callable[[Node, Shared], object]
    ) -> None:
        """Start without names.

        Args:
            post: of this system.
            membership: who is in the cluster.
            send: sends a parcel until it is received.
        """
        self._post = post
        self._membership = membership
        self._send = send
        self._names = Names(Node(post.address, post.incarnation))
        self._of_actors: dict[Ref[Any], set[str]] = {}
        """Of the actors here: their names over the cluster."""

    async def run(self) -> None:
        """Ask the others now and then, until cancelled."""
        while True:
            await self._post.clock.sleep(PULL_SECONDS)
            self._names.pull_all()
            self._share()

    def set(self, name: str, ref: Ref[Any]) -> None:
        """Give a name over the whole cluster.

        Raises:
            LimitReached, InvalidParameter: as ``Names.set``.
        """
        self.drop(name)
        self._names.set(name, ref)
        if ref.address == self._post.address:
            self._of_actors.setdefault(ref, set()).add(name)
        self._share()

    def drop(self, name: str) -> None:
        """Take a name of this system away."""
        self._names.drop(name)
        for names in self._of_actors.values():
            names.discard(name)
        self._share()

    def lookup(self, name: str) -> Ref[Any] | None:
        """Return whom a name leads to."""
        return self._names.lookup(name)

    def ended(self, ref: Ref[Any]) -> None:
        """Hear that an actor here has ended: its names end, too."""
        if (names := self._of_actors.pop(ref, None)) is not None:
            for name in names:
                self._names.drop(name)
            self._share()

    def notice(self, event: Event) -> None:
        """Hear what has happened to the members."""
        self._names.notice(event)
        self._share()

    def on_shared(self, shared: Shared, sender: Node) -> None:
        """Hear of the names of another system."""
        if len(shared.update) > MAX_UPDATE_BYTES:
            return
        with suppress(BadMessage):
            self._names.hear(sender, UPDATES.decode_untrusted(shared.update))
            self._share()

    def _share(self) -> None:
        """Send what there is to tell of names."""
        for receiver, update in self._names.updates_to_send():
            nodes = self._membership.live() if receiver is None else (receiver,)
            data = UPDATES.encode(update)
            for node in nodes:
                if node.address != self._post.address:
                    self._send(node, Shared(node.incarnation, data))
        self._post.names_changed.unpark_all()
