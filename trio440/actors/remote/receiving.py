"""What comes from other systems: each parcel to whom it is for."""

from collections.abc import Callable
from typing import Any, Final, final

import attrs

from trio440.actors.cluster import Node
from trio440.actors.oneshot import Asked as Question
from trio440.actors.post import Post
from trio440.actors.ref import Ref
from trio440.actors.remote.incoming import Incoming
from trio440.actors.remote.parcels import (
    Answered,
    Asked,
    Batch,
    Failed,
    Received,
    Told,
    decode_untrusted,
)
from trio440.actors.remote.shots import RemoteShot, read_failure
from trio440.actors.remote.values import Value, decode_value_untrusted
from trio440.actors.timers import Timers
from trio440.errors import ActorStopped, BadMessage, InvalidParameter, LimitReached
from trio440.rpc import Peer
from trio440.wire.codec import INT64_MAX

__all__ = ["Counts", "Handlers", "Receiver"]

MOST_SENDERS: Final = 4096
"""Lives of other systems of which it is known how far their parcels have come."""
MICROSECONDS: Final = 1_000_000

Handlers = dict[type, Callable[[Any, Node], None]]
"""Who takes the parcels of each kind, with the node that sent them."""


@attrs.define
class Counts:
    """What has come."""

    batches_dropped: int = 0
    """That were old, or for another life, or from one sender too many."""


@attrs.define
class _Sender:
    """One life of another system."""

    node: Node
    incoming: Incoming
    questions: int = 0
    """Of its, that wait for an answer."""


@final
class Receiver:
    """Takes in batches, and hands messages and questions to the actors here."""

    def __init__(
        self,
        post: Post,
        send: Callable[[Ref[Any], Answered | Failed], None],
        owe: Callable[[Node, Received], None],
        find: Callable[[str], Node | None],
        handlers: Handlers,
        *,
        timers: Timers,
        most_questions: int,
    ) -> None:
        """Start.

        Args:
            post: of this system.
            send: sends an answer to a one-shot reference elsewhere.
            owe: lets a node know how far its sure parcels have come.
            find: gives the live member at an address.
            handlers: take all other parcels.
            timers: of what is between systems.
            most_questions: by each other system, that wait for an answer.
        """
        self.counts: Final = Counts()
        self._post = post
        self._send = send
        self._owe = owe
        self._find = find
        self._timers = timers
        self._most_questions = most_questions
        self._senders: dict[tuple[str, int], _Sender] = {}
        """By address and incarnation."""
        self._latest: dict[str, int] = {}
        """Of each address, the latest life that is a member, or was."""
        self._asked: dict[int, Ref[Any]] = {}
        """By the counters of their one-shot references: who was asked elsewhere."""
        self._handlers: Handlers = {
            Told: self._on_told,
            Asked: self._on_asked,
            Answered: self._on_answered,
            Failed: self._on_failed,
            **handlers,
        }

    def forget(self, address: str, but: int) -> None:
        """Listen no more to earlier lives of a system; ``but`` is the present one."""
        self._latest.pop(address, None)
        if len(self._latest) >= MOST_SENDERS:
            self._latest.pop(next(iter(self._latest)))
        self._latest[address] = but
        for key in [key for key in self._senders if key[0] == address and key[1] < but]:
            del self._senders[key]

    def take(self, batch: Batch, peer: Peer) -> None:
        """Take in what one batch has.

        Raises:
            BadMessage: it is none; nothing of it was taken in.
        """
        post, identity = self._post, peer.identity
        parcels = decode_untrusted(batch.parcels)
        if not parcels or not 1 <= batch.first <= INT64_MAX - len(parcels):
            raise BadMessage("a batch without parcels, or without a number")
        key = address, incarnation = identity.node_id, identity.incarnation
        entry = self._senders.get(key)
        sender = self._node_untrusted(address, incarnation) if entry is None else entry.node
        if batch.life != post.incarnation or incarnation < self._latest.get(address, 0):
            self.counts.batches_dropped += 1
            return
        if entry is None:
            entry = self._begin(sender, batch.link)
        if entry is None or batch.link < entry.incoming.link:
            self.counts.batches_dropped += 1
            return
        if batch.link > entry.incoming.link:
            entry.incoming = Incoming(batch.link)
        incoming = entry.incoming
        if batch.sure:
            known = incoming.admit_sure(batch.first, len(parcels))
            self.counts.batches_dropped += known == len(parcels)
            parcels = parcels[known:]
        elif not incoming.admit_casual(batch.first, len(parcels)):
            self.counts.batches_dropped += 1
            return
        handlers = self._handlers
        for parcel in parcels:
            handlers[type(parcel)](parcel, sender)
        if batch.sure:
            self._owe(sender, Received(incarnation, batch.link, incoming.sure))

    def _node_untrusted(self, address: str, incarnation: int) -> Node:
        """Return who sends; nobody else does in the name of this system."""
        try:
            node = Node(address, incarnation)
        except InvalidParameter as error:
            raise BadMessage(str(error)) from None
        if address == self._post.address:
            raise BadMessage("a batch in the name of its receiver")
        return node

    def _begin(self, sender: Node, link: int) -> "_Sender | None":
        """Begin to hear a sender; where there are as many as may be, in place of a stranger."""
        if len(self._senders) >= MOST_SENDERS:
            strangers = (key for key in self._senders if self._find(key[0]) is None)
            if (stranger := next(strangers, None)) is None:
                return None
            del self._senders[stranger]
        entry = _Sender(sender, Incoming(link))
        self._senders[sender.address, sender.incarnation] = entry
        return entry

    # Messages and questions

    def _on_told(self, told: Told, sender: Node) -> None:
        ref: Ref[Any] = Ref(self._post.address, told.to, told.life)
        source = _source(told.sender, sender)
        self._post.counters.remote_bytes_received += len(told.body)
        message = self._read(told, ref, source)
        if message is not None:
            self._post.route(ref, message, source)

    def _on_asked(self, asked: Asked, sender: Node) -> None:
        post = self._post
        ref: Ref[Any] = Ref(post.address, asked.to, asked.life)
        source = _source(asked.sender, sender)
        post.counters.remote_bytes_received += len(asked.body)
        back: Ref[Any] = Ref(sender.address, asked.shot, sender.incarnation)
        shot = RemoteShot(asked.to, back, post.vocabulary, self._send)
        message = self._read(asked, ref, source)
        if message is None:
            shot.fail(ActorStopped(ref, "cannot read this question"))
            return
        target = post.find(ref)
        if target is None:
            reason, detail = post.why_dead(ref)
            post.bury(ref, message, reason, detail, source)
            shot.fail(ActorStopped(ref, detail))
            return
        try:
            self._limit(shot, asked.left_us / MICROSECONDS, sender)
        except LimitReached as error:
            shot.fail(ActorStopped(ref, f"cannot be asked: {error}"))
            return
        target.accept(Question(message, shot), source)

    def _limit(self, shot: RemoteShot, seconds: float, sender: Node) -> None:
        """Let a question end with its time, and count it until then.

        Raises:
            LimitReached: its system has as many as may wait, or all together have.
        """
        entry = self._senders[sender.address, sender.incarnation]
        if entry.questions >= self._most_questions:
            raise LimitReached("questions of one system", self._most_questions)
        timer = self._timers.start(seconds, None, lambda _: shot.close())
        entry.questions += 1

        def end() -> None:
            timer.cancel()
            entry.questions -= 1

        shot.on_close = end

    def _read(self, parcel: Told | Asked, ref: Ref[Any], source: Ref[Any] | None) -> Any:
        """Return the message in a parcel; None: nobody can read it."""
        post = self._post
        try:
            return post.vocabulary.decode_untrusted(parcel.name, parcel.version, parcel.body)
        except BadMessage as error:
            known = post.vocabulary.knows(parcel.name, parcel.version)
            post.bury(
                ref, parcel.body, "undecodable" if known else "unknown_message", str(error), source
            )
            return None

    # Answers

    def expect(self, shot: int, ref: Ref[Any]) -> None:
        """Hear that a question has been sent elsewhere."""
        self._asked[shot] = ref

    def expect_no_more(self, shot: int) -> None:
        """Hear that nobody waits for an answer any more."""
        self._asked.pop(shot, None)

    def lose(self, node: Node) -> None:
        """Hear that a system is lost: who has asked there gets no answer."""
        for counter, ref in list(self._asked.items()):
            if ref.address == node.address and ref.incarnation <= node.incarnation:
                self._fail(counter, ActorStopped(ref, "cannot answer: its system is lost"))

    def refuse(self, shot: int, why: str) -> None:
        """Hear that a question was not sent."""
        if (ref := self._asked.get(shot)) is not None:
            self._fail(shot, ActorStopped(ref, why))

    def _on_answered(self, answered: Answered, sender: Node) -> None:
        ref = self._asked.get(answered.shot)
        if ref is None or ref.address != sender.address or answered.life != self._post.incarnation:
            return  # its time is over
        try:
            found = Value(answered.name, answered.version, answered.body)
            value = decode_value_untrusted(found, self._post.vocabulary)
        except BadMessage as error:
            self._fail(answered.shot, ActorStopped(ref, f"has given no answer: {error}"))
            return
        del self._asked[answered.shot]
        self._post.answer(answered.shot, value, ref)

    def _on_failed(self, failed: Failed, sender: Node) -> None:
        ref = self._asked.get(failed.shot)
        if ref is not None and ref.address == sender.address:
            self._fail(failed.shot, read_failure(failed, ref))

    def _fail(self, shot: int, error: Exception) -> None:
        self._asked.pop(shot, None)
        self._post.refuse(shot, error)


def _source(counter: int, node: Node) -> Ref[Any] | None:
    return Ref(node.address, counter, node.incarnation) if counter else None
