"""The links of one system, by the addresses of the others: made when they are needed, in bounds.

A system makes a link to whomever its actors speak to, to whoever is to get an answer, and to each
member, which is told of names. Anybody can ask for an answer in the name of any address, and tell
of members that there are not. So a link to which no actor has spoken, and to what is no member or
does not answer, makes room for one that is needed more.
"""

from collections.abc import Callable
from typing import Final, final

import trio

from trio440.actors.cluster.gossip import Membership
from trio440.actors.notices import DeadReason
from trio440.actors.post import Post
from trio440.actors.remote.limits import Delivery, LinkStatistics, Networking
from trio440.actors.remote.link import Link
from trio440.actors.remote.outgoing import Item
from trio440.errors import InvalidParameter
from trio440.rpc import Identity

__all__ = ["Links"]

MOST_STRANGERS: Final = 64
"""Links to systems that are no members of the cluster, as far as is known."""
IDLE_SECONDS: Final = 30.0
"""After so long a link to one that is no member is closed."""


@final
class Links:
    """All links of one system."""

    def __init__(
        self,
        post: Post,
        networking: Networking,
        identity: Identity,
        membership: Membership,
        refuse: Callable[[int, str], None],
    ) -> None:
        """Start with none.

        Args:
            post: of this system.
            networking: its bounds, and how it delivers.
            identity: of this system.
            membership: who is in the cluster.
            refuse: hears which question, by its one-shot reference, is not sent, and why.
        """
        self._post = post
        self._networking = networking
        self._identity = identity
        self.find: Final = membership.find
        """Gives the live member at an address."""
        self._refuse = refuse
        self._by_address: dict[str, Link] = {}
        self._wanted: set[str] = set()
        """The addresses that actors here speak to."""
        self._delivery: dict[str, Delivery] = {}
        self._nursery: trio.Nursery | None = None
        self._is_closed = False
        self._made = 0

    def get(self, address: str) -> Link | None:
        """Return the link to an address, if there is one."""
        return self._by_address.get(address)

    def get_or_make(self, address: str, *, is_wanted: bool) -> Link | None:
        """Return the link to an address, made when it is first needed; None: there is none.

        Args:
            address: of the other system.
            is_wanted: whether actors here speak to it; otherwise it is to get an answer, or names.
        """
        link = self._by_address.get(address)
        if link is None and not self._is_closed:
            link = self._make(address, is_wanted=is_wanted)
        if link is not None and is_wanted:
            self._wanted.add(address)
        return link

    def _make(self, address: str, *, is_wanted: bool) -> Link | None:
        is_for_member = self.find(address) is not None
        try:
            link = Link(
                address,
                self._identity,
                self._delivery.get(address, self._networking.delivery),
                number=self._made + 1,
                is_for_member=is_for_member,
                limits=self._networking.limits,
                give_up=self._give_up,
                ports=self._post.ports,
            )
        except InvalidParameter:
            return None
        if not self._has_room(is_for_member=is_for_member):
            spare = self._find_spare() if is_wanted or is_for_member else None
            if spare is None:
                return None
            self.close(spare, "has made room for another system")
        self._made += 1
        self._by_address[address] = link
        if self._nursery is not None:
            self._nursery.start_soon(link.run)
        return link

    def _has_room(self, *, is_for_member: bool) -> bool:
        if len(self._by_address) >= self._networking.limits.links:
            return False
        if is_for_member:
            return True
        return sum(self.find(other) is None for other in self._by_address) < MOST_STRANGERS

    def _find_spare(self) -> str | None:
        """Return the link that is needed least: no actor here speaks to that system.

        Strangers come first, then members that have not answered; among them, who was not spoken
        to for longest.
        """
        spare = [
            (is_member, link.used_at, address)
            for address, link in self._by_address.items()
            if address not in self._wanted
            and not ((is_member := self.find(address) is not None) and link.is_connected)
        ]
        return min(spare)[2] if spare else None

    def close(self, address: str, why: str) -> None:
        """Close a link, and give up what waits on it."""
        self._wanted.discard(address)
        link = self._by_address.pop(address, None)
        if link is not None:
            link.close(why)

    def _give_up(self, item: Item, reason: DeadReason, why: str) -> None:
        """Bury a message that will not be sent; a question fails."""
        note = item.note
        if note is None:
            return
        self._post.bury(note.ref, note.message, reason, why, note.sender)
        if note.shot:
            self._refuse(note.shot, why)

    # All of them

    async def run(self) -> None:
        """Serve the links until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for link in self._by_address.values():
                    nursery.start_soon(link.run)
                while True:
                    await self._post.clock.sleep(IDLE_SECONDS / 2)
                    self._close_idle()
        finally:
            self._nursery = None

    def _close_idle(self) -> None:
        now = self._post.clock.now()
        for address, link in list(self._by_address.items()):
            if self.find(address) is None and now - link.used_at > IDLE_SECONDS:
                self.close(address, "cannot be reached")

    async def finish(self) -> None:
        """Send what waits, to those who can be reached."""
        async with trio.open_nursery() as nursery:
            for link in self._by_address.values():
                nursery.start_soon(link.finish)

    def close_all(self) -> None:
        """Give up what waits; no link is made any more."""
        self._is_closed = True
        for link in list(self._by_address.values()):
            link.close("was not sent before this system ended")

    def statistics(self) -> list[LinkStatistics]:
        """Return the counts of all links, by address."""
        return [link.statistics() for _, link in sorted(self._by_address.items())]

    def set_delivery(self, address: str, delivery: Delivery) -> None:
        """Say how messages to one system are delivered from now on."""
        self._delivery[address] = delivery
        if (link := self._by_address.get(address)) is not None:
            link.delivery = delivery
