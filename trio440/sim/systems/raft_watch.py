"""Raft's promises, checked on all peers of a cluster after every step.

Paper, Figure 3: election safety, log matching, leader completeness, state machine safety. Beside
these: what is committed is durable on a quorum and never changes; snapshot ≤ applied ≤ committed
≤ last; terms, commits and what was applied never go back; one vote a term, restarts included;
what a message promises is durable when it leaves.

The watch looks only at what has changed since it last looked: entries are immutable, and a log
whose last entry is the same is the same.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

import attrs

from trio440.raft.config import Config
from trio440.raft.log import Log
from trio440.raft.membership import Configuration, decode_configuration
from trio440.raft.messages import (
    AppendReply,
    Entry,
    EntryKind,
    HeartbeatReply,
    Message,
    ReadRequest,
    RequestVote,
    VoteReply,
)
from trio440.raft.node import Node
from trio440.raft.state import Role
from trio440.sim.systems.raft_elections import ElectionWatch
from trio440.sim.systems.raft_snapshots import SnapshotWatch

__all__ = ["Durable", "Watch"]

Require: TypeAlias = Callable[[object, str, str], None]


class Durable(Protocol):
    """What a peer's disk would have after a crash now, at least."""

    @property
    def term(self) -> int:
        """Of the hard state."""

    @property
    def last_index(self) -> int:
        """Of the log."""

    def holds(self, index: int, term: int) -> bool:
        """Whether it has this entry, or a snapshot in its place."""


@attrs.define(eq=False)
class _Peer:
    """What was seen of a peer."""

    seen: tuple[object, ...] = ()
    term: int = 0
    commit: int = 0
    role: Role = Role.FOLLOWER
    entries: list[Entry] = attrs.Factory(list)
    """Its log, from ``base`` + 1."""
    base: int = 0
    promised_term: int = 0
    """The greatest term that a message of it has made a promise in."""
    applied: int = 0
    configuration: Configuration = attrs.Factory(Configuration)
    """That counted when it was last looked at."""


class Watch:
    """Looks at the peers of one cluster."""

    def __init__(self, require: Require, config: Config) -> None:
        """Start with no peer.

        Args:
            require: raises where its condition does not hold.
            config: of all peers.
        """
        self.elections = ElectionWatch(require, config)
        self.snapshots = SnapshotWatch(require)
        self._require = require
        self._peers: dict[str, _Peer] = {}
        self._nodes: dict[str, Node] = {}
        self._durable: dict[str, Durable] = {}
        self._lost: set[str] = set()
        self._leaders: dict[int, str] = {}
        self._votes: dict[tuple[str, int], str] = {}
        self._entries: dict[tuple[int, int], tuple[Entry, int]] = {}
        """Every entry by index and term, with the term of the one before it."""
        self._committed: list[tuple[Entry, int]] = []
        """From index 1: the entry, and the term in which it was committed."""
        self._applied: dict[int, Entry] = {}
        self._members: list[tuple[int, Configuration]] = []
        """The committed configurations, by the index of their entries; the first one at 0."""

    @property
    def committed(self) -> int:
        """The last index that is known to be committed by anybody."""
        return len(self._committed)

    @property
    def leaders(self) -> int:
        """How many terms had a leader."""
        return len(self._leaders)

    def members_in_doubt(self) -> list[Configuration]:
        """Return the members who are committed last, and those who may still take their place.

        An entry behind all that is committed may come back from whatever disk or message has it,
        also where no peer that is up knows of it.
        """
        behind = (entry for entry, _ in self._entries.values() if entry.index > self.committed)
        changes = (entry.data for entry in behind if entry.kind is EntryKind.CONFIGURATION)
        last = (members for _, members in self._members[-1:])
        return [*last, *map(decode_configuration, changes)]

    # What peers say

    def sent(self, message: Message) -> None:
        """Check that what a message promises is durable at its sender as it leaves."""
        self.elections.sent(message)
        self.snapshots.sent(message)
        sender = message.sender
        if sender in self._lost:
            self._fail("a lost disk's id promises nothing", f"{sender} says {message}")
        durable, term = self._durable[sender], message.term
        match message:
            case RequestVote(pre=True) | VoteReply(pre=True) | HeartbeatReply() | ReadRequest():
                return
            case RequestVote():
                self._vote(sender, term, sender)
            case VoteReply(granted=True):
                self._vote(sender, term, message.to)
            case AppendReply(rejected=False):
                if durable.last_index < message.index:
                    shown = f"{sender} acknowledged {message.index} of {durable.last_index}"
                    self._fail("acknowledged is durable", shown)
                self._check_acknowledgement(message)
        if durable.term < term:
            shown = f"{sender} speaks in term {term}, its disk knows {durable.term}"
            self._fail("a term is durable before it is spoken in", shown)
        peer = self._peers[sender]
        peer.promised_term = max(peer.promised_term, term)

    def _check_acknowledgement(self, reply: AppendReply) -> None:
        """Check that what a follower acknowledges is what its leader has, not something else."""
        leader = self._nodes.get(reply.to)
        if leader is None or not leader.is_leader or leader.term != reply.term:
            return  # it may have crashed with what it had sent and not synced
        if leader.log.base_index > reply.index:
            return
        term = leader.log.term(reply.index)
        if term is None or not self._durable[reply.sender].holds(reply.index, term):
            shown = f"{reply.sender} acknowledged {reply.index}, {reply.to} has it of term {term}"
            self._fail("acknowledged is what was sent", shown)

    def _vote(self, voter: str, term: int, candidate: str) -> None:
        before = self._votes.setdefault((voter, term), candidate)
        if before != candidate:
            self._fail("one vote a term", f"{voter} in term {term} for {before} and {candidate}")

    # What peers are

    def lost(self, name: str) -> None:
        """Have a peer's disk lost: nobody may come back under its id.

        What it had held stays in view, since its answers may still be under way.
        """
        self._lost.add(name)
        del self._nodes[name]

    def started(
        self, node: Node, durable: Durable, applied: int, due: Callable[[], int | None]
    ) -> None:
        """Check what a peer comes back with; ``due`` as for :meth:`ElectionWatch.started`."""
        if node.id in self._lost:
            self._fail("a peer that has lost its disk is refused", f"{node.id} takes part")
        peer = self._peers.setdefault(node.id, _Peer())
        self._nodes[node.id] = node
        self.elections.started(node, due)
        self._durable[node.id] = durable
        if node.term < peer.promised_term:
            shown = f"{node.id} is back in term {node.term}, it had promised {peer.promised_term}"
            self._fail("terms never go back", shown)
        peer.term, peer.role, peer.seen = node.term, Role.FOLLOWER, ()
        peer.commit = node.commit
        if not self._members:
            self._members.append((0, node.configuration))
        peer.applied = applied
        peer.base, peer.entries = node.log.base_index, []
        self.look(node)

    def look(self, node: Node) -> None:
        """Check a peer that has just done something."""
        state = node._state  # noqa: SLF001 - looked at after every step: properties take time
        log, peer = state.log, self._peers[state.id]
        now = (
            state.term,
            state.role,
            state.vote,
            state.configurations.index,
            state.counts["lease_reads"],
            log.base_index,
            log.last_index,
            log.last_term,
            log.commit,
            log.applied,
        )
        if now == peer.seen:
            return
        peer.seen = now
        self.elections.look(node)
        self._check_order(node, peer)
        self._check_entries(node.id, log, peer)
        if node.role is Role.LEADER and peer.role is not Role.LEADER:
            self._check_leader(node)
        elif node.role is Role.LEADER and node.configuration is not peer.configuration:
            self._check_new_voters(node, peer.configuration)
        peer.role, peer.term = node.role, node.term
        if log.commit > peer.commit:
            self._check_commit(node, peer)
            peer.commit = log.commit
        self._check_members(node)
        peer.configuration = node.configuration

    def _check_order(self, node: Node, peer: _Peer) -> None:
        log, snapshot = node.log, node.snapshot_index
        if not log.base_index <= snapshot <= log.applied <= log.commit <= log.last_index:
            shown = f"{node.id}: {snapshot} ≤ {log.applied} ≤ {log.commit} ≤ {log.last_index}"
            self._fail("snapshot ≤ applied ≤ committed ≤ last", shown)
        if node.term < peer.term:
            self._fail("terms never go back", f"{node.id}: {node.term}")
        if log.commit < peer.commit:
            self._fail("commits never go back", f"{node.id}: {log.commit}")

    def _check_entries(self, name: str, log: Log, peer: _Peer) -> None:
        """Check entries that are new here: log matching, one step at a time."""
        if log.base_index != peer.base:
            gone = log.base_index - peer.base
            peer.entries = peer.entries[gone:] if gone <= len(peer.entries) else []
            peer.base = log.base_index
        seen, base = peer.entries, peer.base
        del seen[log.last_index - base :]
        place = log.last_index - base
        new: list[Entry] = []
        while place > 0:
            entry = log.entry(base + place)
            if place <= len(seen) and seen[place - 1] is entry:
                break
            new.append(entry)
            place -= 1
        before = log.base_term if place == 0 else log.entry(base + place).term
        del seen[place:]
        for entry in reversed(new):
            self._check_entry(name, entry, before)
            seen.append(entry)
            before = entry.term

    def _check_entry(self, name: str, entry: Entry, before: int) -> None:
        known, known_before = self._entries.setdefault((entry.index, entry.term), (entry, before))
        if (known is not entry and known != entry) or known_before != before:
            other = f"elsewhere {known} after {known_before}"
            self._fail("log matching", f"{name} has {entry} after term {before}, {other}")
        if entry.term < before:
            self._fail("terms never fall along a log", f"{name} has {entry} after term {before}")
        if entry.index <= self.committed:
            committed, in_term = self._committed[entry.index - 1]
            if entry.term > in_term:  # an older leader that is cut off may still hope
                shown = f"{name} has {entry}, {committed} was committed in term {in_term}"
                self._fail("committed never changes", shown)

    def _check_leader(self, node: Node) -> None:
        """Check election safety and leader completeness."""
        term, name = node.term, node.id
        first = self._leaders.setdefault(term, name)
        if first != name:
            self._fail("election safety", f"{first} and {name} in term {term}")
        log = node.log
        for entry, in_term in self._committed[log.base_index :]:
            if in_term < term and log.term(entry.index) != entry.term:
                shown = f"{name} leads term {term} without {entry}, committed in {in_term}"
                self._fail("leader completeness", shown)

    def _check_commit(self, node: Node, peer: _Peer) -> None:
        """Check that what a peer takes for committed is what everybody does."""
        log = node.log
        known = self.committed
        for index in range(max(peer.commit, log.base_index) + 1, min(log.commit, known) + 1):
            entry, other = log.entry(index), self._committed[index - 1][0]
            if entry.term != other.term:
                self._fail("committed never changes", f"{node.id}: {entry}, elsewhere {other}")
        if log.commit <= known:
            return
        shown = f"{node.id}: {log.commit} in term {node.term}"
        # One that has led its own removal to the end has stepped down meanwhile.
        self._require(self._leaders.get(node.term) == node.id, "leaders commit", shown)
        own = log.last_committed_term == node.term
        self._require(own, "entries of the leader's own term are committed by counting", shown)
        self._check_quorum(node, peer.configuration)
        for index in range(known + 1, log.commit + 1):
            entry = log.entry(index)
            self._committed.append((entry, node.term))
            if entry.kind is EntryKind.CONFIGURATION:
                self._members.append((index, decode_configuration(entry.data)))

    def _check_members(self, node: Node) -> None:
        """Check that members who are committed are the same for everybody."""
        members, commit = node.configuration, node.log.commit
        if node.configuration_index > commit or not members.members:
            return  # not committed yet, or it joins and has heard nothing
        committed = (then for index, then in reversed(self._members) if index <= commit)
        expected = next(committed, members)
        if members is not expected and members != expected:
            shown = f"{node.id} at {commit}: {members}, committed are {expected}"
            self._fail("committed members are the same everywhere", shown)

    def _check_new_voters(self, node: Node, before: Configuration) -> None:
        """Check that who becomes a voter was a learner, and has what was there when that began.

        A leader that is cut off does not know what others have committed meanwhile.
        """
        known = [(index, members) for index, members in self._members if index <= node.log.commit]
        for name in set(node.configuration.voters) - {*before.voters, *before.outgoing, node.id}:
            learner_since = None
            for index, members in reversed(known):
                if name not in members.learners:
                    break
                learner_since = index
            has = self._durable[name].last_index if name in self._durable else 0
            if learner_since is None or has < learner_since:
                shown = f"{name} has {has} and has been a learner since {learner_since}"
                self._fail("a new voter has caught up", shown)

    def _check_quorum(self, node: Node, before: Configuration) -> None:
        """Check that what a leader has just committed is durable on a quorum.

        With the commit of a joint configuration the leader goes on to the next one at once: the
        one before counted.
        """
        index, term = node.log.commit, node.log.last_committed_term
        holders = [name for name, durable in self._durable.items() if durable.holds(index, term)]
        enough = any(
            all(2 * len(set(group) & set(holders)) > len(group) for group in groups if group)
            for groups in ((c.voters, c.outgoing) for c in (before, node.configuration))
        )
        if not enough:
            shown = f"{index} of term {term} on {', '.join(holders)} of {before}"
            self._fail("what is committed is durable on a quorum", shown)

    def acknowledged(self, index: int, term: int) -> None:
        """Check that a client is told of what is committed only."""
        is_committed = index <= self.committed and self._committed[index - 1][0].term == term
        shown = f"{index} of term {term}, {self.committed} are committed"
        self._require(is_committed, "acknowledged is committed", shown)

    # What peers do

    def applied(self, name: str, entries: Iterable[Entry]) -> None:
        """Check what a peer hands to its state machine: in order, once, the same everywhere."""
        peer = self._peers[name]
        for entry in entries:
            if entry.index != peer.applied + 1:
                shown = f"{name} applies {entry} after {peer.applied}"
                self._fail("each entry once and in order", shown)
            peer.applied = entry.index
            other = self._applied.setdefault(entry.index, entry)
            if other is not entry and other != entry:
                self._fail("state machine safety", f"{name} applies {entry}, elsewhere {other}")
            if entry.index > self.committed:
                self._fail("only what is committed is applied", f"{name} applies {entry}")
            if not self._durable[name].holds(entry.index, entry.term):
                self._fail("only what is durable here is applied", f"{name} applies {entry}")

    def restored(self, name: str, index: int) -> None:
        """Check that a snapshot takes a peer's state machine forward."""
        peer = self._peers[name]
        shown = f"{name} goes from {peer.applied} to {index}"
        self._require(index >= peer.applied, "applied never goes back", shown)
        peer.applied = index

    def read(self, name: str, index: int, began: int) -> None:
        """Check the index of a read against :attr:`committed` when the read began."""
        if index < began:
            shown = f"{name} reads at {index}, {began} were committed before"
            self._fail("a read sees what was committed before it", shown)

    def _fail(self, promise: str, shown: str) -> None:
        self._require(None, promise, shown)

    def look_at_all(self, nodes: Iterable[Node]) -> None:
        """Check whole logs, whatever was seen before."""
        for node in nodes:
            peer = self._peers[node.id]
            peer.seen, peer.entries = (), []
            self.look(node)
