"""What is promised of a cluster's members, held against all that they say and know. Pure.

Of each observer: events follow their grammar and agree with its view, and what it knows of an
address never goes back to something of lower rank. Against the truth: nobody is known that never
was, nobody says of another that it left, or has refuted more than it has, and nobody is lost
before it had the time to refute that, counted while its accuser was awake.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NoReturn

import attrs

from trio440.actors.cluster.config import Config
from trio440.actors.cluster.events import (
    Back,
    Cleared,
    Event,
    Joined,
    Left,
    Lost,
    Superseded,
    Suspected,
)
from trio440.actors.cluster.messages import Message, Node, PushPull, Record, State
from trio440.actors.cluster.swim import Swim
from trio440.errors import InvariantViolated
from trio440.sim.faults import FaultPlan, Pause

__all__ = ["Life", "Truth", "View"]

CALM_AFTER: Final = 1_000_000
"""So long after the last fault a suspicion may still become a loss."""
ALLOWED: Final[dict[str, tuple[type[Event], ...]]] = {
    "unknown": (Joined,),
    "alive": (Suspected, Lost, Left),
    "suspect": (Cleared, Lost, Left),
    "gone": (Back, Joined),
}
AFTER: Final[dict[type[Event], str]] = {
    Joined: "alive",
    Suspected: "suspect",
    Cleared: "alive",
    Lost: "gone",
    Left: "gone",
    Back: "alive",
}


@attrs.define(eq=False)
class Life:
    """What is true of one life of a member."""

    node: Node
    swim: Swim
    began: int
    """In the stage's time."""
    refutations: int = 0
    has_said_farewell: bool = False
    is_over: bool = False


class Truth:
    """All lives that ever were, and what was first known of them."""

    def __init__(self, config: Config, plan: FaultPlan, *, is_calm: bool) -> None:
        self.config = config
        self.calm_at = plan.heal_at + CALM_AFTER
        """From here on nobody loses a member that is there."""
        self.is_calm = is_calm
        """Whether no fault may keep anybody from hearing the others."""
        self.lives: dict[Node, Life] = {}
        self._pauses: dict[str, list[tuple[int, int]]] = {}
        for _, fault in plan.happening:
            if isinstance(fault, Pause):
                self._pauses.setdefault(fault.host, []).append((fault.start, fault.end))
        self._lost: set[tuple[Node, int]] = set()
        """Lives that somebody has lost, with the refutations at that time."""

    def begin(self, swim: Swim, now: int) -> Life:
        """Note that a life has begun."""
        life = self.lives[swim.node] = Life(swim.node, swim, now)
        return life

    def paused(self, host: str, life: Life, since: int, until: int) -> int:
        """Return how long a life of a host has stood still in a span of time, as it must notice.

        It cannot notice what comes before its next deadline, and need not what is shorter than
        the timeout of a probe.
        """
        config = self.config
        unnoticed = config.probe_interval_us * (config.max_health + 1) + config.probe_timeout_us
        return sum(
            max(0, min(end, until) - max(start, since) - unnoticed)
            for start, end in self._pauses.get(host, ())
            if start >= life.began
        )

    def is_first_loss(self, record: Record) -> bool:
        """Note a loss, and tell whether nobody had that before."""
        loss = (record.node, record.refutations)
        if loss in self._lost:
            return False
        self._lost.add(loss)
        return True


class View:
    """What one life of a member has said and known so far."""

    def __init__(self, truth: Truth, host: str, life: Life) -> None:
        self.life = life
        self.states: dict[Node, str] = {}
        """What its events make of each node."""
        self._truth = truth
        self._host = host
        self._known: dict[str, Record] = {}
        self._suspected: dict[str, int] = {}
        """Since when it has suspected whom it suspects, in the stage's time."""

    @property
    def has_suspects(self) -> bool:
        """Whether it suspects anybody."""
        return "suspect" in self.states.values()

    def look(self, events: Sequence[Event], now: int, message: Message | None = None) -> None:
        """Check what an input, a message or else a timer, has made of a member."""
        joined = {event.node for event in events if isinstance(event, Joined)}
        for event in events:
            self._hear(event, now)
            if isinstance(message, PushPull) and isinstance(event, Lost):
                self._doubt(event, joined)
        records = self.life.swim.records()
        known = self._known
        if len(records) < len(known):
            addresses = {record.node.address for record in records}
            for address in [one for one in known if one not in addresses]:
                del known[address]
        for record in records:
            before = known.get(record.node.address)
            if before is not record and before != record:
                self._learn(before, record, now)
                known[record.node.address] = record
        if events:
            self._compare()

    def _hear(self, event: Event, now: int) -> None:
        if isinstance(event, Superseded):
            self._fail("nobody is superseded while it lives", f"{event}")
        state = self.states.get(event.node, "unknown")
        if not isinstance(event, ALLOWED[state]):
            self._fail("events follow their grammar", f"{event} of a node that is {state}")
        self.states[event.node] = AFTER[type(event)]
        life = self._truth.lives.get(event.node)
        if life is None:
            return
        if self._truth.is_calm and life.has_said_farewell and isinstance(event, Lost):
            self._fail("who has left is not taken for lost", f"{event}")
        if life.is_over or life.has_said_farewell:
            return
        if self._truth.is_calm and isinstance(event, Suspected | Lost):
            self._fail("whoever answers is not suspected", f"{event}")
        if isinstance(event, Lost) and now >= self._truth.calm_at:
            self._fail("after the faults nobody is lost that is there", f"{event}")

    def _doubt(self, event: Lost, joined: AbstractSet[Node]) -> None:
        """Hold a loss that was told in a full exchange against the rule for that.

        Of a life that was not known, and is gone, both are believed: that it was, and that it is
        gone; and that it is gone if there is a later one.
        """
        lost = event.node
        known = [record.node for record in self.life.swim.records()]
        is_succeeded = any(
            node.address == lost.address and node.incarnation > lost.incarnation for node in known
        )
        if not is_succeeded and lost not in joined:
            self._fail("a loss told in a full exchange is doubted", f"{event}")

    def _compare(self) -> None:
        live = set(self.life.swim.live())
        told = {node for node, state in self.states.items() if state != "gone"}
        told.add(self.life.node)
        if told != live:
            self._fail("events and view agree", f"told of {told}, sees {live}")

    def _learn(self, before: Record | None, record: Record, now: int) -> None:
        if before is not None and before.rank > record.rank:
            self._fail("what is known never goes back", f"{before}, then {record}")
        life = self._truth.lives.get(record.node)
        if life is None:
            self._fail("nobody is known that never was", f"{record}")
        if life is self.life:
            life.refutations = record.refutations
            return
        if record.refutations > life.refutations:
            self._fail("only a member itself refutes", f"{record}")
        if record.state is State.LEFT and not life.has_said_farewell:
            self._fail("who has left has said so", f"{record}")
        self._time(before, record, now)

    def _time(self, before: Record | None, record: Record, now: int) -> None:
        """Hold a loss against the time that its suspect must have had."""
        address = record.node.address
        is_same = before is not None and (before.node, before.refutations) == (
            record.node,
            record.refutations,
        )
        if record.state is State.SUSPECT and not (is_same and address in self._suspected):
            self._suspected[address] = now
        elif record.state is State.LOST:
            since = self._suspected.pop(address, now) if is_same else now
            if self._truth.is_first_loss(record):
                self._require_patience(record, since, now)
        elif record.state is not State.SUSPECT:
            self._suspected.pop(address, None)

    def _require_patience(self, record: Record, since: int, now: int) -> None:
        config = self._truth.config
        # A clock may be fast by half a percent.
        least = config.suspicion_alpha * config.probe_interval_us * 99 // 100
        awake = now - since - self._truth.paused(self._host, self.life, since, now)
        if awake < least:
            self._fail("a suspect has its time to refute", f"{record} after {awake} microseconds")

    def _fail(self, invariant: str, detail: str) -> NoReturn:
        who = f"{self._host}, life {self.life.node.incarnation}"
        raise InvariantViolated(invariant, f"{who}: {detail}")
