"""How peers get to know each other at level A: the rules of the core, over the stage."""

import random
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import attrs

from trio440.raft.acquaintance import Acquaintance, Acquaintances, Admission, Opinion, Verdict
from trio440.raft.messages import Message
from trio440.raft.node import Node
from trio440.raft.storage import Stored
from trio440.sim.stage import Stage

__all__ = ["Answer", "Ask", "Meeting", "Parcel"]

ASKING: Final = 120_000
"""Microseconds after which who has not answered is asked again."""


@attrs.frozen
class Ask:
    """A peer introduces itself."""

    sender: str
    to: str


@attrs.frozen
class Answer:
    """What another one says of it."""

    sender: str
    to: str
    opinion: Opinion


Parcel: TypeAlias = Message | Ask | Answer


class Meeting:
    """What one life of a peer knows of the others, and its admission."""

    def __init__(  # noqa: PLR0917 - a constructor, called once
        self,
        stage: Stage,
        host: str,
        node: Node,
        stored: Stored,
        keep: Callable[[tuple[Acquaintance, ...]], None],
        carry: Callable[[Ask | Answer], None],
        rng: random.Random,
        *,
        is_new: bool,
    ) -> None:
        """Begin with what is stored; :meth:`ask` follows.

        Args:
            stage: where it lives.
            host: on which machine.
            node: has just been made.
            stored: what it was made of.
            keep: writes what was noted; :meth:`recorded` is called when it is durable.
            carry: sends a question or an answer.
            rng: of the peer.
            is_new: its operator swears so.
        """
        voters = stored.snapshot.configuration.voters
        self.admission = Admission(node.id, stored.store, voters, is_new=is_new)
        self.is_first_start = not stored.has_promised
        self.is_admitted = stored.has_promised or self.admission.is_granted
        self._stage = stage
        self._host = host
        self._node = node
        self._keep = keep
        self._carry = carry
        self._rng = rng
        self._known = Acquaintances(node.id, stored.store, stored.acquaintances)
        self._asking: dict[str, int] = {}
        """Who waits for an opinion, and on which store."""
        self._answered: set[str] = set()
        self.met: Final = self._known.met

    def ask(self, names: Callable[[], Iterable[str]]) -> None:
        """Introduce the peer to all that there are, until enough have consented."""
        if self.is_over or self.admission.is_complete:
            return
        for name in names():
            if name not in self._answered and name != self._node.id:
                self._carry(Ask(self._node.id, name))
        delay = self._rng.randrange(ASKING // 2, ASKING)
        self._stage.at(self._stage.now + delay, lambda: self.ask(names), host=self._host)

    @property
    def is_over(self) -> bool:
        """Whether somebody refuses a first start: the peer stands still."""
        return self.is_first_start and self.admission.refused_by is not None

    def admits(self, sender: str, store: int) -> bool:
        """Whether a message of Raft may be taken in now."""
        if not self.is_admitted:
            return False
        self._look()
        is_good = self._known.admits(sender, store)
        if self._known.is_eventful:
            self._record()
        return is_good

    def take(self, parcel: Ask | Answer, store: int) -> bool:
        """Take in something from a peer with this store; whether that ends a first start."""
        if self.is_over:
            return False
        if isinstance(parcel, Ask):
            self._answer(parcel.sender, store)
            return False
        self.admission.take(parcel.opinion)
        if parcel.opinion.verdict is not Verdict.FULL:
            self._answered.add(parcel.sender)
        self.is_admitted = self.is_admitted or self.admission.is_granted
        return self.is_first_start and self.admission.refused_by is not None

    def recorded(self, batch: tuple[Acquaintance, ...]) -> None:
        """Answer those who have waited for this to be durable."""
        self._known.recorded(batch)
        asking, self._asking = self._asking, {}
        for peer, store in asking.items():
            self._answer(peer, store)

    def _answer(self, peer: str, store: int) -> None:
        self._look()
        opinion = self._known.introduced(peer, store)
        if opinion is None:
            self._asking[peer] = store
            self._record()
        else:
            self._carry(Answer(self._node.id, peer, opinion))

    def _look(self) -> None:
        node = self._node
        self._known.observe(node.configuration, node.configuration_index, node.commit)

    def _record(self) -> None:
        self._known.take_rejected()
        if batch := self._known.take_unrecorded():
            self._keep(batch)
