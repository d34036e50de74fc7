"""The way from the actors of one system to those of others: links, and what is sent over them."""

from contextlib import suppress
from typing import Any, Final, final

import trio

from trio440.actors.belongings import Watched, Watcher
from trio440.actors.cluster import Back, Event, Joined, Left, Lost, Node, Superseded
from trio440.actors.cluster.names import UPDATES, Names
from trio440.actors.notices import DeadReason
from trio440.actors.oneshot import OneShot
from trio440.actors.post import Far, Post
from trio440.actors.ref import Ref
from trio440.actors.remote.limits import Delivery, LinkStatistics, Networking
from trio440.actors.remote.link import Link
from trio440.actors.remote.outgoing import Item, Note
from trio440.actors.remote.parcels import (
    Asked,
    Batch,
    Ended,
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
from trio440.actors.remote.service import SpawnRequest, Systems
from trio440.actors.remote.values import encode_value
from trio440.actors.remote.watches import Watches
from trio440.errors import (
    AskTimedOut,
    BadMessage,
    InvalidParameter,
    MessageTooLarge,
    RpcError,
    StartFailed,
    SystemSuperseded,
)
from trio440.rpc import Identity, Peer

__all__ = ["Members", "Network"]

MOST_STRANGERS: Final = 64
"""Links to systems that are no members of the cluster, as far as is known."""
IDLE_SECONDS: Final = 30.0
"""After so long a link to one that is no member is closed."""
LOOK_SECONDS: Final = 0.05
"""How often it is looked whether a system has become a member."""
MICROSECONDS: Final = 1_000_000
LOST: Final = "cannot be reached: its system is lost"


class Members:
    """Who is in the cluster; before it is known, nobody."""

    def live(self) -> tuple[Node, ...]:
        """Return all."""
        return ()

    def find(self, address: str) -> Node | None:
        """Return the live member at an address."""
        del address
        return None

    def join(self, seeds: list[str]) -> None:
        """Try to make somebody a member."""


@final
class Network(Far):
    """All links of one system."""

    def __init__(self, post: Post, networking: Networking) -> None:
        """Make the way out; :meth:`run` serves it."""
        self.members: Any = Members()
        self._post = post
        self._networking = networking
        self._limits = networking.limits
        self._identity = Identity(networking.cluster, post.address, post.incarnation)
        self._links: dict[str, Link] = {}
        self._questions: set[type] = set()
        """The classes of questions whose answers can be read."""
        self._delivery: dict[str, Delivery] = {}
        self._nursery: trio.Nursery | None = None
        self._is_closed = False
        self._is_superseded = trio.Event()
        self._later = 0
        self.watches: Final = Watches(post, self._send_sure, self._find, self._limits.watches)
        self.receiver: Final = Receiver(
            post,
            self._send_back,
            self._owe,
            self._find,
            {
                Watch: self.watches.on_watch,
                Unwatch: self.watches.on_unwatch,
                Ended: self.watches.on_ended,
                Stop: self._on_stop,
                Received: self._on_received,
                Shared: self._on_shared,
            },
        )
        self.names: Final = Names(Node(post.address, post.incarnation))
        self._named: dict[Ref[Any], set[str]] = {}
        """Of the actors here: their names over the cluster."""

    @property
    def identity(self) -> Identity:
        """Who this system is for others."""
        return self._identity

    async def run(self) -> None:
        """Serve the links until cancelled.

        Raises:
            SystemSuperseded: others listen to a later life of this system.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for link in self._links.values():
                nursery.start_soon(link.run)
            nursery.start_soon(self._close_idle_links)
            try:
                await self._is_superseded.wait()
            finally:
                self._nursery = None
            nursery.cancel_scope.cancel()
        raise SystemSuperseded(self._post.address, self._later)

    async def _close_idle_links(self) -> None:
        while True:
            await self._post.clock.sleep(IDLE_SECONDS / 2)
            self._close_idle()
            self.names.pull_all()
            self._share()

    async def finish(self) -> None:
        """Send what waits, to those who can be reached."""
        async with trio.open_nursery() as nursery:
            for link in self._links.values():
                nursery.start_soon(link.finish)

    def close(self) -> None:
        """Give up what waits."""
        self._is_closed = True
        for link in list(self._links.values()):
            link.close("was not sent before this system ended")

    def statistics(self) -> list[LinkStatistics]:
        """Return the counts of all links, by address."""
        return [self._links[address].statistics() for address in sorted(self._links)]

    def set_delivery(self, address: str, delivery: Delivery) -> None:
        """Say how messages to one system are delivered from now on."""
        self._delivery[address] = delivery
        if (link := self._links.get(address)) is not None:
            link.delivery = delivery

    # Links

    def _find(self, address: str) -> Node | None:
        found: Node | None = self.members.find(address)
        return found

    def _link(self, address: str) -> Link | None:
        """Return the link to an address, made when it is first needed; None: there is none."""
        if (link := self._links.get(address)) is not None:
            return link
        if self._is_closed or len(self._links) >= self._limits.links:
            return None
        if self._find(address) is None:
            strangers = sum(self._find(other) is None for other in self._links)
            if strangers >= MOST_STRANGERS:
                return None
        try:
            link = Link(
                address,
                self._identity,
                self._delivery.get(address, self._networking.delivery),
                limits=self._limits,
                give_up=self._give_up,
                ports=self._post.ports,
            )
        except InvalidParameter:
            return None
        self._links[address] = link
        if self._nursery is not None:
            self._nursery.start_soon(link.run)
        return link

    def _close_idle(self) -> None:
        now = self._post.clock.now()
        for address, link in list(self._links.items()):
            if self._find(address) is None and now - link.used_at > IDLE_SECONDS:
                self._close(address, "cannot be reached")

    def _close(self, address: str, why: str) -> None:
        link = self._links.pop(address, None)
        if link is not None:
            link.close(why)

    def _give_up(self, item: Item, why: str) -> None:
        """Bury a message that will not be sent; a question fails."""
        note = item.note
        if note is None:
            return
        reason: DeadReason = "other_life" if "life" in why else "unreachable"
        self._post.bury(note.ref, note.message, reason, why, note.sender)
        if note.shot:
            self.receiver.refuse(note.shot, why)

    def hear(self, event: Event) -> None:
        """Hear what has happened to the members."""
        self.names.notice(event)
        self._share()
        match event:
            case Superseded(by):
                self._later = by.incarnation
                self._is_superseded.set()
            case Lost(node):
                self._lose(node)
            case Left(node):
                self._lose(node)
                self._close(node.address, "has left the cluster")
            case Joined(node) | Back(node):
                if (link := self._links.get(node.address)) is not None:
                    link.is_lost = False
                self.watches.forget(node.address, node.incarnation)
                self.receiver.forget(node.address, node.incarnation)

    def _lose(self, node: Node) -> None:
        if (link := self._links.get(node.address)) is not None:
            link.lose(LOST)
        self.watches.lose(node)
        self.receiver.lose(node)

    # Names

    def set_name(self, name: str, ref: Ref[Any]) -> None:
        """Give a name over the whole cluster.

        Raises:
            LimitReached, InvalidParameter: as ``Names.set``.
        """
        self.drop_name(name)
        self.names.set(name, ref)
        if ref.address == self._post.address:
            self._named.setdefault(ref, set()).add(name)
        self._share()

    def drop_name(self, name: str) -> None:
        """Take a name of this system away."""
        self.names.drop(name)
        for names in self._named.values():
            names.discard(name)
        self._share()

    def lookup(self, name: str) -> Ref[Any] | None:
        """Return whom a name leads to."""
        return self.names.lookup(name)

    def ended(self, ref: Ref[Any]) -> None:
        """Hear that an actor here has ended: its names end, too."""
        for name in self._named.pop(ref, ()):
            self.names.drop(name)
        self._share()

    def _share(self) -> None:
        """Send what there is to tell of names."""
        for receiver, update in self.names.updates_to_send():
            nodes = self.members.live() if receiver is None else (receiver,)
            data = UPDATES.encode(update)
            for node in nodes:
                if node.address != self._post.address:
                    self._send_sure(node, Shared(node.incarnation, data))
        self._post.names_changed.unpark_all()

    def _on_shared(self, shared: Shared, sender: Node) -> None:
        with suppress(BadMessage):
            self.names.hear(sender, UPDATES.decode_untrusted(shared.update))
            self._share()

    # Spawning elsewhere

    async def spawn(
        self, address: str, name: str, args: tuple[Any, ...], seconds: float
    ) -> Ref[Any]:
        """Spawn what another system offers; see ``ActorSystem.spawn_at``."""
        vocabulary = self._post.vocabulary
        copies = [vocabulary.copy_answer(arg, "an argument") for arg in args]
        values = tuple(encode_value(copy, vocabulary) for copy in copies)
        what = f"{address}/{name}"
        with self._post.clock.move_on_after(seconds):
            if (link := self._link(address)) is None:
                raise StartFailed(what, f"no link leads to {address}")
            while (node := self._find(address)) is None:
                await self._post.clock.sleep(LOOK_SECONDS)
            try:
                answer = await link.call(
                    Systems.spawn, SpawnRequest(node.incarnation, name, values)
                )
            except (RpcError, MessageTooLarge) as error:
                raise StartFailed(what, str(error)) from None
            if answer.problem:
                raise StartFailed(what, answer.problem)
            return Ref(address, answer.counter, answer.incarnation)
        raise AskTimedOut(what, seconds)

    # Out

    def tell(self, ref: Ref[Any], message: Any, sender: Ref[Any] | None) -> None:
        """Encode a message and send it."""
        try:
            entry, body = self._post.encode(message)
        except InvalidParameter as error:
            self._post.bury_uncopied(ref, message, error, sender)
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
        asked = Asked(
            ref.counter,
            ref.incarnation,
            sender.counter if sender is not None else 0,
            entry.name,
            entry.version,
            body,
            shot.ref.counter,
            round(timeout_seconds * MICROSECONDS),
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
        if self._find(ref.address) is None:
            self.members.join([ref.address])
        self.watches.begin(ref, watch, watcher, self._limits.unknown_seconds)
        return self.watches

    def unwatch(self, watch: int) -> None:
        """Forget a watch."""
        self.watches.remove_watcher(watch)

    def stop(self, ref: Ref[Any], timeout_seconds: float, *, drain: bool) -> None:
        """Let an actor end."""
        left_us = round(timeout_seconds * MICROSECONDS)
        stop = Stop(ref.counter, ref.incarnation, drain, left_us)
        self._send_sure(Node(ref.address, ref.incarnation), stop)

    def _put(self, ref: Ref[Any], data: bytes, note: Note) -> tuple[DeadReason, str] | None:
        """Hand a parcel to a link; returns why not."""
        if len(data) > self._limits.message_bytes:
            return "link_full", f"takes {len(data)} bytes, at most {self._limits.message_bytes}"
        link = self._link(ref.address)
        if link is None:
            return "unreachable", f"no link leads to {ref.address}"
        sure = link.delivery == "acknowledged"
        if link.is_lost and not sure:
            return "unreachable", LOST
        if not link.put(Item(data, ref.incarnation, sure=sure, note=note)):
            return "link_full", f"as much as may be waits for {ref.address}"
        return None

    def _send_sure(self, node: Node, parcel: Parcel) -> bool:
        link = self._link(node.address)
        return link is not None and link.put(Item(encode(parcel), node.incarnation, sure=True))

    def _send_back(self, ref: Ref[Any], parcel: Parcel) -> None:
        """Send an answer; one that cannot be is not waited for any longer than its time."""
        link = self._link(ref.address)
        if link is not None and not link.is_lost:
            sure = link.delivery == "acknowledged"
            link.put(Item(encode(parcel), ref.incarnation, sure=sure))

    def _owe(self, node: Node, number: int) -> None:
        link = self._link(node.address)
        if link is not None:
            link.owe(node.incarnation, number)

    # In

    def deliver(self, batch: Batch, peer: Peer) -> None:
        """Take in what another system has sent.

        Raises:
            BadMessage: it is none.
        """
        self.receiver.take(batch, peer)

    def _on_received(self, received: Received, sender: Node) -> None:
        link = self._links.get(sender.address)
        if link is not None and received.life == self._post.incarnation:
            link.received(received.number, sender.incarnation)

    def _on_stop(self, stop: Stop, sender: Node) -> None:
        del sender
        ref: Ref[Any] = Ref(self._post.address, stop.to, stop.life)
        target: Any = self._post.find(ref)
        if target is not None and hasattr(target, "request_stop"):
            target.request_stop(drain=stop.drain)
            self._post.timers.start(stop.left_us / MICROSECONDS, None, lambda _: target.kill())
