"""What the parts of one member share: its view, its word to the others, and its outputs. Pure.

The rules of SWIM, section 4.2, are here: what a record does to the view, how a member answers a
claim about itself, and what becomes of a suspicion. When to probe is :mod:`.probing`'s business,
and whom to exchange everything with, :mod:`.exchange`'s.
"""

import enum
import random
from typing import Final, TypeAlias

from trio440.actors.cluster.config import Config
from trio440.actors.cluster.dissemination import Dissemination, retransmission_limit
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
from trio440.actors.cluster.lifeguard import LocalHealth, Suspicion, suspicion_limits
from trio440.actors.cluster.members import GONE, LIVE, Change, Members, Verdict
from trio440.actors.cluster.messages import (
    MAX_REFUTATIONS,
    Gossip,
    Message,
    Node,
    Record,
    State,
    head_size,
    record_size,
)
from trio440.actors.cluster.ring import ProbeRing
from trio440.actors.cluster.statistics import Counters
from trio440.actors.cluster.timers import Timers

__all__ = ["GOSSIP", "JOIN", "PROBE", "PUSH_PULL", "RECONNECT", "Key", "Kind", "Local"]


class Kind(enum.Enum):
    """What a timer is for."""

    PROBE = enum.auto()
    GOSSIP = enum.auto()
    JOIN = enum.auto()
    PUSH_PULL = enum.auto()
    RECONNECT = enum.auto()
    SEEK = enum.auto()
    SUSPICION = enum.auto()
    RELAY = enum.auto()


Key: TypeAlias = tuple[Kind, str | int]
"""A timer: of a suspicion or a search with the address, of a relay with its number."""

PROBE: Final[Key] = (Kind.PROBE, 0)
GOSSIP: Final[Key] = (Kind.GOSSIP, 0)
JOIN: Final[Key] = (Kind.JOIN, 0)
PUSH_PULL: Final[Key] = (Kind.PUSH_PULL, 0)
RECONNECT: Final[Key] = (Kind.RECONNECT, 0)


class Local:
    """One member as its parts see it."""

    def __init__(self, node: Node, config: Config, rng: random.Random) -> None:
        self.node: Final = node
        self.config: Final = config
        self.rng: Final = rng
        self.members: Final = Members(config.max_members)
        self.ring: Final = ProbeRing(rng)
        self.queue: Final = Dissemination()
        self.health: Final = LocalHealth(config.max_health)
        self.timers: Final[Timers[Key]] = Timers()
        self.counters: Final = Counters()
        self.outbox: list[tuple[str, Message]] = []
        self.events: list[Event] = []
        self.is_leaving = False
        self._refutations = 0
        self._is_superseded = False
        self._suspicions: dict[str, Suspicion] = {}

    @property
    def live(self) -> int:
        """How many members are live, this one included."""
        return len(self.ring) + 1

    @property
    def own_record(self) -> Record:
        """What this member says of itself."""
        state = State.LEFT if self.is_leaving else State.ALIVE
        return Record(self.node, state, self._refutations)

    # What goes out

    def post(self, to: str, message: Message) -> None:
        """Let a message leave."""
        self.outbox.append((to, message))

    def records_for(self, to: str, *nodes: Node) -> tuple[Record, ...]:
        """Choose what rides on a message to an address, besides the nodes that it names.

        A member under suspicion is told so first of all (Lifeguard's buddy system, IV-C), and
        one that counts as lost, too. Somebody who is no member gets nothing: an ack to a forged
        source is no larger than what asked for it.
        """
        about = self.members.get(to)
        if about is None:
            return ()
        room = self.config.max_datagram_bytes - head_size(*nodes)
        limit = retransmission_limit(self.config.retransmissions, self.live)
        if about.state not in (State.SUSPECT, State.LOST):
            return tuple(self.queue.take(room, limit))
        self.queue.count(to, limit)
        rest = self.queue.take(room - record_size(about), limit, without=to)
        return (about, *rest)

    def tell(self, record: Record, now: int) -> None:
        """Let a record ride on the next messages, if there is somebody to tell."""
        if not len(self.ring) and record.node != self.node:
            return
        self.queue.put(record)
        if GOSSIP not in self.timers:
            self.timers.set(GOSSIP, now + self.config.gossip_interval_us)

    def gossip(self, now: int) -> None:
        """Send what there is to tell to a few members."""
        for to in self.ring.sample(self.config.gossip_fanout):
            if not len(self.queue):
                break
            self.post(to, Gossip(self.node, self.records_for(to, self.node)))
        if len(self.queue) and len(self.ring):
            self.timers.set(GOSSIP, now + self.config.gossip_interval_us)

    # What comes in

    def hear(self, record: Record, now: int) -> None:
        """Take a claim about a member, whoever made it."""
        if record.node.address == self.node.address:
            self._hear_of_myself(record, now)
            return
        change = self.members.merge(record, now)
        if change.verdict is Verdict.NEWS:
            self._believe(record, change, now)
        elif change.verdict is Verdict.KNOWN and record.state is State.SUSPECT:
            self._confirm(record, now)
        elif change.verdict is Verdict.REFUSED:
            self.counters.members_refused += 1

    def suspect(self, node: Node, now: int) -> None:
        """Say that a member has not answered."""
        known = self.members.get(node.address)
        if known is not None and known.node == node and known.state in LIVE:
            suspicion = Record(node, State.SUSPECT, known.refutations, self.node.address)
            self.hear(suspicion, now)

    def give_up(self, address: str, now: int) -> None:
        """Count a suspect as lost: it had its time."""
        known = self.members.get(address)
        if known is not None and known.state is State.SUSPECT:
            self.hear(Record(known.node, State.LOST, known.refutations), now)

    def _hear_of_myself(self, record: Record, now: int) -> None:
        """Refute what is wrong (SWIM, section 4.2)."""
        mine = self.own_record
        if record.node.incarnation > self.node.incarnation:
            self._be_superseded(record.node)
        elif record.rank[:2] < mine.rank[:2]:
            # Somebody lags behind; what outdoes the claim may have passed that member by.
            if self.node.address not in self.queue:
                self.tell(mine, now)
        elif record.state is not State.ALIVE and not self.is_leaving:
            if record.refutations >= MAX_REFUTATIONS:
                self._be_superseded(self.node)
                return
            self._refutations = record.refutations + 1
            self.counters.refutations += 1
            self.health.add(1)
            self.tell(self.own_record, now)

    def _be_superseded(self, by: Node) -> None:
        if not self._is_superseded:
            self._is_superseded = True
            self.events.append(Superseded(by))

    def _believe(self, record: Record, change: Change, now: int) -> None:
        address, before = record.node.address, change.before
        if change.evicted is not None:
            self.queue.drop(change.evicted)
        was_live = before is not None and before.state in LIVE
        if record.state in LIVE and not was_live:
            self.ring.add(address)
        elif was_live and record.state in GONE:
            self.ring.remove(address)
            if not len(self.ring):
                # Whoever is cut off alone loses all others. Told as news after the partition, not
                # in a full exchange, that would be believed.
                self.queue.drop_all_but(self.node.address)
        self._report(before, record)
        if self._suspicions.pop(address, None) is not None:
            self.timers.cancel((Kind.SUSPICION, address))
        if record.state is State.SUSPECT:
            self._begin_suspicion(record, now)
        self.tell(record, now)

    def _report(self, before: Record | None, record: Record) -> None:
        node, state = record.node, record.state
        if before is not None and before.node != node:
            if before.state in LIVE:
                self.events.append(Lost(before.node))
            before = None
        if before is None:
            self.events.append(Joined(node))
        elif before.state in GONE and state in LIVE:
            self.events.append(Back(node))
        elif before.state is State.SUSPECT and state is State.ALIVE:
            self.events.append(Cleared(node))
        was_live = before is None or before.state in LIVE
        was_suspect = before is not None and before.state is State.SUSPECT
        if state is State.SUSPECT and not was_suspect:
            self.events.append(Suspected(node))
        elif state in GONE and was_live:
            self.events.append(Lost(node) if state is State.LOST else Left(node))

    def _begin_suspicion(self, record: Record, now: int) -> None:
        address = record.node.address
        least, greatest = suspicion_limits(self.config, self.live)
        # Neither the suspect nor its first accuser confirms anything.
        wanted = max(0, min(self.config.suspicion_confirmations, self.live - 2))
        suspicion = Suspicion(now, least, greatest, wanted, {record.by})
        self._suspicions[address] = suspicion
        self.timers.set((Kind.SUSPICION, address), suspicion.deadline)

    def _confirm(self, record: Record, now: int) -> None:
        """Count an independent accuser, and pass its word on (Lifeguard, IV-B)."""
        address, accuser = record.node.address, record.by
        is_member = accuser == self.node.address or self.members.is_live(accuser)
        if not is_member or accuser == address:
            return
        suspicion = self._suspicions.get(address)
        if suspicion is not None and suspicion.confirm(accuser):
            # That may be over already; a deadline in the past would look like a pause.
            self.timers.set((Kind.SUSPICION, address), max(now, suspicion.deadline))
            self.tell(record, now)

    def postpone(self, microseconds: int) -> None:
        """Put everything off that this member waits for: it was not there to hear it."""
        self.timers.postpone(microseconds)
        for suspicion in self._suspicions.values():
            suspicion.started += microseconds

    def wait_for_nothing(self) -> None:
        """Stop all timers, those of suspicions too."""
        self.timers.clear()
        self._suspicions.clear()
