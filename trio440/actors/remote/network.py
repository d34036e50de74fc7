"""The way from the actors of one system to those of others: what is sent, and over which link."""

from functools import partial
from typing import Any, Final, final

import trio

from trio440.actors.belongings import Watched, Watcher
from trio440.actors.cluster import Back, Event, Joined, Left, Lost, Node, Superseded
from trio440.actors.cluster.gossip import Membership
from trio440.actors.notices import DeadReason
from trio440.actors.oneshot import OneShot
from trio440.actors.post import Far, Post
from trio440.actors.ref import Ref
from trio440.actors.remote.limits import Networking
from trio440.actors.remote.link import Link
from trio440.actors.remote.links import Links
from trio440.actors.remote.naming import Naming
from trio440.actors.remote.outgoing import Item, Note
from trio440.actors.remote.parcels import (
    Answered,
    Asked,
    Ended,
    Failed,
    Parcel,
    Received,
    Shared,
    Stop,
    Told,
    Unwatch,
    Watch,
    encode,
)
from trio440.actors.remote.receiving import Receiver
from trio440.actors.remote.shots import STOPPED
from trio440.actors.remote.spawning import Offers, Spawn
from trio440.actors.remote.values import can_be_sent
from trio440.actors.remote.watches import Watches
from trio440.actors.signals import Signalled
from trio440.actors.timers import Timer, Timers
from trio440.errors import ActorStopped, InvalidParameter, LimitReached, SystemSuperseded
from trio440.rpc import Identity

__all__ = ["Network"]

MICROSECONDS: Final = 1_000_000
LONGEST_SECONDS: Final = 1e9
"""Longer times are as good as this one."""
IMPOSSIBLE: Final = "belongs to no system that can be"
LOST: Final = "cannot be reached: its system is lost"


@final
class Network(Far):
    """All links of one system."""

    def __init__(
        self, post: Post, networking: Networking, membership: Membership, spawn: Spawn
    ) -> None:
        """Make the way out; :meth:`run` serves it."""
        self._post = post
        self._limits = networking.limits
        self._membership = membership
        self.find: Final = membership.find
        """Gives the live member at an address."""
        self.identity: Final = Identity(networking.cluster, post.address, post.incarnation)
        """Who this system is for others."""
        self._questions: set[type] = set()
        """The classes of questions whose answers can be read."""
        self._kills: dict[int, Timer] = {}
        """By the counters of actors that others have stopped: when they are cancelled."""
        self._is_superseded = trio.Event()
        self._later = 0
        self._timers = Timers(post.clock, post.limits.open_asks)
        """Of what others ask for: they take no room from those of the actors here."""
        self.offers: Final = Offers(post, spawn)
        self.naming: Final = Naming(post, membership, partial(self._send_sure, is_wanted=False))
        self.watches: Final = Watches(
            post, self._send_sure, self.find, self._timers, networking.limits
        )
        self.receiver: Final = Receiver(
            post,
            self._send_back,
            self._owe,
            self.find,
            {
                Watch: self.watches.on_watch,
                Unwatch: self.watches.on_unwatch,
                Ended: self.watches.on_ended,
                Stop: self._on_stop,
                Received: self._on_received,
                Shared: self.naming.on_shared,
            },
            timers=self._timers,
            most_questions=networking.limits.questions,
        )
        self.links: Final = Links(post, networking, self.identity, membership, self.receiver.refuse)

    async def run(self) -> None:
        """Serve the links until cancelled.

        Raises:
            SystemSuperseded: others listen to a later life of this system.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timers.run)
            nursery.start_soon(self.links.run)
            nursery.start_soon(self.naming.run)
            await self._is_superseded.wait()
            nursery.cancel_scope.cancel()
        raise SystemSuperseded(self._post.address, self._later)

    # Members

    def hear(self, event: Event) -> None:
        """Hear what has happened to the members."""
        self.naming.notice(event)
        match event:
            case Superseded(by):
                self._later = by.incarnation
                self._is_superseded.set()
            case Lost(node):
                self._lose(node)
            case Left(node):
                self._lose(node)
                if self._link_of(node) is not None:
                    self.links.close(node.address, "has left the cluster")
            case Joined(node) | Back(node):
                if (link := self.links.get(node.address)) is not None:
                    link.set_member()
                self.watches.forget(node.address, node.incarnation)
                self.receiver.forget(node.address, node.incarnation)

    def _link_of(self, node: Node) -> Link | None:
        """Return the link to a node, unless it has reached a later life of that system already.

        A connection may be faster than what the members say to each other.
        """
        link = self.links.get(node.address)
        return None if link is None or link.life > node.incarnation else link

    def _lose(self, node: Node) -> None:
        if (link := self._link_of(node)) is not None:
            link.lose(LOST)
        self.watches.lose(node)
        self.receiver.lose(node)

    def lookup(self, name: str) -> Ref[Any] | None:
        """Return whom a name leads to over the cluster."""
        return self.naming.lookup(name)

    def ended(self, ref: Ref[Any]) -> None:
        """Hear that an actor here has ended."""
        self.naming.ended(ref)
        self.offers.ended(ref)
        if (timer := self._kills.pop(ref.counter, None)) is not None:
            timer.cancel()

    # Out

    def tell(self, ref: Ref[Any], message: Any, sender: Ref[Any] | None) -> None:
        """Encode a message and send it."""
        try:
            entry, body = self._post.encode(message)
        except InvalidParameter as error:
            self._post.bury_uncopied(ref, message, error, sender)
            return
        if not can_be_sent(ref):
            self._post.bury(ref, message, "unreachable", IMPOSSIBLE, sender)
            return
        told = Told(
            ref.counter,
            ref.incarnation,
            sender.counter if sender is not None else 0,
            entry.name,
            entry.version,
            body,
        )
        problem = self._put(ref, encode(told), Note(ref, message, sender))
        if problem is not None:
            self._post.bury(ref, message, *problem, sender)

    def ask(
        self,
        ref: Ref[Any],
        question: Any,
        shot: OneShot,
        timeout_seconds: float,
        sender: Ref[Any] | None,
    ) -> None:
        """Encode a question and send it."""
        entry, body = self._post.encode(question)
        if (kind := type(question)) not in self._questions:
            self._post.vocabulary.learn_all((kind,))
            self._questions.add(kind)
        if not can_be_sent(ref):
            self._post.bury(ref, question, "unreachable", IMPOSSIBLE, sender)
            shot.fail(ActorStopped(ref, IMPOSSIBLE))
            return
        asked = Asked(
            ref.counter,
            ref.incarnation,
            sender.counter if sender is not None else 0,
            entry.name,
            entry.version,
            body,
            shot.ref.counter,
            _to_microseconds(timeout_seconds),
        )
        self.receiver.expect(shot.ref.counter, ref)
        problem = self._put(ref, encode(asked), Note(ref, question, sender, shot.ref.counter))
        if problem is not None:
            self._post.bury(ref, question, *problem, sender)
            self.receiver.refuse(shot.ref.counter, problem[1])

    def forget(self, shot: OneShot) -> None:
        """Hear that nobody waits for an answer any more."""
        self.receiver.expect_no_more(shot.ref.counter)

    def watch(self, ref: Ref[Any], watch: int, watcher: Watcher) -> Watched:
        """Let somebody hear of an end."""
        self.watches.begin(ref, watch, watcher)
        if self.find(ref.address) is None and self.links.get(ref.address) is not None:
            self._membership.seek(ref.address)
        return self.watches

    def unwatch(self, watch: int) -> None:
        """Forget a watch."""
        self.watches.remove_watcher(watch)

    def stop(self, ref: Ref[Any], timeout_seconds: float, *, drain: bool) -> None:
        """Let an actor end."""
        if can_be_sent(ref):
            left_us = _to_microseconds(timeout_seconds)
            stop = Stop(ref.counter, ref.incarnation, drain, left_us)
            self._send_sure(Node(ref.address, ref.incarnation), stop, is_wanted=True)

    def _put(self, ref: Ref[Any], data: bytes, note: Note) -> tuple[DeadReason, str] | None:
        """Hand a parcel to a link; returns why not."""
        link = self.links.get_or_make(ref.address, is_wanted=True)
        if link is None:
            return "unreachable", f"no link leads to {ref.address}"
        if len(data) > (most := self._most_bytes(link)):
            return "link_full", f"takes {len(data)} bytes, at most {most}"
        sure = link.delivery == "acknowledged"
        if link.is_lost and not sure:
            return "unreachable", LOST
        if not link.put(Item(data, ref.incarnation, sure=sure, note=note)):
            return "link_full", f"as much as may be waits for {ref.address}"
        return None

    def _most_bytes(self, link: Link) -> int:
        return min(self._limits.message_bytes, link.most_parcel_bytes)

    def _send_sure(self, node: Node, parcel: Parcel, *, is_wanted: bool) -> bool:
        link = self.links.get_or_make(node.address, is_wanted=is_wanted)
        return link is not None and link.put(Item(encode(parcel), node.incarnation, sure=True))

    def _send_back(self, ref: Ref[Any], parcel: Answered | Failed) -> None:
        """Send an answer; one that cannot be is not waited for any longer than its time."""
        link = self.links.get_or_make(ref.address, is_wanted=False)
        if link is None or link.is_lost:
            return
        data = encode(parcel)
        if len(data) > (most := self._most_bytes(link)):
            detail = f"has given an answer of {len(data)} bytes, at most {most} are sent"
            data = encode(Failed(ref.counter, ref.incarnation, STOPPED, 0, 0, detail))
        sure = link.delivery == "acknowledged"
        link.put(Item(data, ref.incarnation, sure=sure))

    def _owe(self, node: Node, received: Received) -> None:
        link = self.links.get_or_make(node.address, is_wanted=False)
        if link is not None:
            link.owe(received)

    # In

    def _on_received(self, received: Received, sender: Node) -> None:
        link = self.links.get(sender.address)
        if link is not None and received.life == self._post.incarnation:
            link.received(received, sender.incarnation)

    def _on_stop(self, stop: Stop, sender: Node) -> None:
        """Let an actor here end, and cancel it when the shortest time that was given is over."""
        del sender
        target = self._post.find(Ref(self._post.address, stop.to, stop.life))
        if not isinstance(target, Signalled):
            return
        target.request_stop(drain=stop.drain)
        seconds = stop.left_us / MICROSECONDS
        timer = self._kills.get(stop.to)
        if timer is not None and timer.deadline <= self._post.clock.now() + seconds:
            return
        if timer is not None:
            timer.cancel()
        try:
            self._kills[stop.to] = self._timers.start(seconds, None, lambda _: target.kill())
        except LimitReached:
            target.kill()


def _to_microseconds(seconds: float) -> int:
    return round(min(seconds, LONGEST_SECONDS) * MICROSECONDS)
