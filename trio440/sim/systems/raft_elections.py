"""What Raft's peers promise for a time, and checks of that with ticks of the watch's own.

Who hears a leader votes for nobody else (dissertation, 4.2.3); with leases, nobody does who has
just started. Where PreVote is on, a term is raised only behind a quorum that would have voted
(9.6), so that no leader falls whom a quorum hears. Who hears nobody stands for election in time
(paper, 5.2), and a leader whom no quorum answers steps down (dissertation, 6.2).

A watch counts more leniently than peers do: where it cannot tell when something was decided, it
takes the moment that is better for the peer.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import attrs

from trio440.raft.config import Config
from trio440.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    RequestVote,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)
from trio440.raft.node import Node
from trio440.raft.state import Role

__all__ = ["ElectionWatch"]

Require: TypeAlias = Callable[[object, str, str], None]
Ballot: TypeAlias = tuple[str, str, int, bool]
"""Voter, candidate, term, and whether it is a pre-vote."""


@attrs.define(eq=False)
class _Peer:
    """What was seen of a peer since it started."""

    term: int = 0
    role: Role = Role.FOLLOWER
    vote: str | None = None
    configured_at: int = 0
    """The index of its configuration."""
    ticks: int = 0
    heard_at: float = -math.inf
    """When it last heard a leader."""
    counted: int = 0
    """Ticks, of which a pause counts as one: nobody has to act because of a pause alone."""
    idle_since: int = 0
    """In ``counted``: when its election timer began anew, or later."""
    answers: dict[str, int] = attrs.Factory(dict)
    """Of a leader, in ``counted``: when others last answered."""
    leads_since: int = 0
    """In ``counted``: since when it has led these members."""
    lease_reads: int = 0
    """How many reads it has begun to answer from a lease."""
    ticks_gone: int = 0
    """How often it was seen to lead after its removal was committed."""


class ElectionWatch:
    """Looks at the timers, votes and leaders of one cluster."""

    def __init__(self, require: Require, config: Config) -> None:
        """Start with no peer.

        Args:
            require: raises where its condition does not hold.
            config: of all peers.
        """
        self._require = require
        self._config = config
        self._peers: dict[str, _Peer] = {}
        self._nodes: dict[str, tuple[Node, Callable[[], int | None]]] = {}
        self._silence: dict[Ballot, float] = {}
        """For how many ticks a voter had heard no leader when it was asked; the longest."""
        self._transfers: set[tuple[str, int]] = set()
        """Candidates whom a leader has asked for an election, with its term."""
        self._grants: dict[tuple[str, int], set[str]] = {}
        """Who has granted a pre-vote, by candidate and term."""
        self._latest = 0
        """The latest term that somebody has led."""

    def started(self, node: Node, due: Callable[[], int | None]) -> None:
        """Take note that a peer starts.

        Args:
            node: of that peer.
            due: returns how many ticks it will count before it does anything else; None: it is
                off.
        """
        config = self._config
        self._nodes[node.id] = (node, due)
        heard_at = 0.0 if config.lease_reads else -math.inf
        self._peers[node.id] = _Peer(node.term, heard_at=heard_at)

    # Time

    def ticked(self, node: Node, count: int) -> None:
        """Check a peer after so many ticks at once."""
        peer, config = self._peers[node.id], self._config
        peer.ticks += count
        peer.counted += count if count <= config.heartbeat_ticks else 1
        self.look(node)
        if node.role is Role.LEADER:
            self._check_quorum(node, peer)
            self._check_member(node, peer)
        elif node.role is Role.FOLLOWER:
            self._check_idle(node, peer)
        else:  # a candidate may have begun again
            peer.idle_since = peer.counted

    def _check_quorum(self, node: Node, peer: _Peer) -> None:
        config = self._config
        if not config.check_quorum or peer.role is not Role.LEADER:
            return
        answered = dict(peer.answers)
        answered[node.id] = peer.counted
        since = min(
            _agreed([answered.get(name, 0) for name in group])
            for group in node.configuration.majorities
        )
        silence = peer.counted - max(since, peer.leads_since)
        if silence > 2 * config.election_ticks + 1:
            shown = f"{node.id} leads term {node.term}, no quorum was heard for {silence} ticks"
            self._require(None, "a leader that no quorum answers steps down", shown)

    def _check_member(self, node: Node, peer: _Peer) -> None:
        is_gone = not node.configuration.is_voter(node.id)
        peer.ticks_gone = peer.ticks_gone + 1 if is_gone and _is_settled(node) else 0
        shown = f"{node.id} leads {node.configuration}"
        self._require(peer.ticks_gone <= 1, "who was removed leads no more", shown)

    def _check_idle(self, node: Node, peer: _Peer) -> None:
        idle = peer.counted - peer.idle_since
        longest = self._config.election_ticks + self._config.election_ticks_spread
        may_stand = node.configuration.is_voter(node.id) and node._state.installing is None  # noqa: SLF001 - as above
        if idle > longest and may_stand:
            shown = f"{node.id} has waited for {idle} ticks in term {node.term}"
            self._require(None, "who hears nobody stands for election", shown)

    # Messages

    def arrives(self, node: Node, message: Message) -> None:
        """Look at a message just before its receiver takes it in."""
        peer = self._peers[node.id]
        if message.term < node.term:
            return
        match message:
            case Append() | Heartbeat() | InstallSnapshot():
                peer.heard_at = peer.ticks
                peer.idle_since = peer.counted
            case AppendReply() | HeartbeatReply() | SnapshotReply():
                if message.term == node.term:
                    peer.answers[message.sender] = peer.counted
            case RequestVote():
                self._asked(node, peer, message)

    def _asked(self, node: Node, peer: _Peer, request: RequestVote) -> None:
        silence = 0.0 if node.role is Role.LEADER else peer.ticks - peer.heard_at
        if request.transfer or request.term == node.term:
            silence = math.inf  # loyalty is to the leaders of terms before
        if request.term == node.term and request.sender == peer.vote:
            peer.idle_since = peer.counted
        ballot = (node.id, request.sender, request.term, request.pre)
        self._silence[ballot] = max(silence, self._silence.get(ballot, 0))

    def sent(self, message: Message) -> None:
        """Check a vote as it leaves, and note who is asked to stand for election."""
        if isinstance(message, TimeoutNow):
            self._transfers.add((message.to, message.term + 1))
        if not isinstance(message, VoteReply) or not message.granted:
            return
        voter, candidate, term = message.sender, message.to, message.term
        if message.pre:
            self._grants.setdefault((candidate, term), set()).add(voter)
        if not (message.pre or self._config.check_quorum):
            return
        silence = self._silence.get((voter, candidate, term, message.pre), math.inf)
        if silence < self._config.election_ticks:
            shown = f"{voter} votes for {candidate} in term {term} after {silence:g} ticks"
            self._require(None, "who hears a leader votes for nobody else", shown)

    # What peers are

    def look(self, node: Node) -> None:
        """Check a peer that has just done something."""
        state = node._state  # noqa: SLF001 - looked at after every step
        peer, role, term, vote = self._peers[state.id], state.role, state.term, state.vote
        if role is not peer.role or term != peer.term or vote != peer.vote:
            has_voted = vote is not None and (term, vote) != (peer.term, peer.vote)
            if role is not Role.FOLLOWER or has_voted or peer.role is Role.LEADER:
                peer.idle_since = peer.counted
            if term > peer.term and role in {Role.CANDIDATE, Role.LEADER}:
                self._check_candidate(node)
            if role is Role.LEADER:
                peer.answers.clear()
                peer.leads_since = peer.counted
            peer.role, peer.term, peer.vote = role, term, vote
        if role is Role.LEADER and term > self._latest:
            self._latest = term
            self._check_leases(term)
        if state.counts["lease_reads"] > peer.lease_reads:
            peer.lease_reads = state.counts["lease_reads"]
            shown = f"{node.id} reads in term {term}, {self._latest} has a leader"
            self._require(term >= self._latest, "a lease ends before another leads", shown)
        if state.configurations.index != peer.configured_at:
            peer.configured_at = state.configurations.index
            peer.leads_since = peer.counted

    def _check_leases(self, term: int) -> None:
        """Check that no leader of an earlier term would answer from a lease now."""
        if not self._config.lease_reads:
            return
        for node, due in self._nodes.values():
            late, state, leading = due(), node._state, node._roles.leading  # noqa: SLF001 - to ask it changes nothing
            if late is None or leading is None or state.term >= term:
                continue
            state.ticks += late
            has_lease = leading.has_lease()
            state.ticks -= late
            shown = f"{node.id} has a lease in term {state.term}, {term} has a leader"
            self._require(not has_lease, "a lease ends before another leads", shown)

    def _check_candidate(self, node: Node) -> None:
        if not self._config.pre_vote or (node.id, node.term) in self._transfers:
            return
        granted = self._grants.get((node.id, node.term), set()) | {node.id}
        for group in node.configuration.majorities:
            has = 2 * len(granted.intersection(group)) > len(group)
            shown = f"{node.id} in term {node.term}: {', '.join(sorted(granted))} of {group}"
            self._require(has, "a quorum agrees before a term is raised", shown)


def _is_settled(node: Node) -> bool:
    return node.configuration_index <= node.commit


def _agreed(times: Iterable[int]) -> int:
    """Return the latest time by which a majority had answered."""
    latest: Sequence[int] = sorted(times, reverse=True)
    return latest[len(latest) // 2]
