"""Who a peer is in the present term: follower, candidate or leader, and how that changes.

::

                     timer                    timer, or a pre-vote won
      FOLLOWER ───────────────▶ PRE_CANDIDATE ─────────────────────────▶ CANDIDATE ──┐
        ▲  ▲  ▲                      │           (no PreVote: at once)    │  ▲  │     │ a quorum's
        │  │  └── refused, leader ───┘                                    │  └──┘     │ votes
        │  └───── refused, leader, later term ────────────────────────────┘ timer     ▼
        └──────── later term, no quorum heard, removed ─────────────────────────── LEADER

Every message of a later term makes its receiver a follower of that term first, but for pre-votes
and for candidates whom loyalty to a leader ignores.
"""

from typing import Any, Final

from trio440.errors import NotLeader, RaftViolated
from trio440.raft.election import Election
from trio440.raft.following import Following
from trio440.raft.log import ENTRY_OVERHEAD, size_of
from trio440.raft.membership import Configuration
from trio440.raft.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadReply,
    ReadRequest,
    RequestVote,
    SnapshotMeta,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)
from trio440.raft.quorum import VoteResult
from trio440.raft.reading import Reading
from trio440.raft.replication import Replication
from trio440.raft.state import Role, State

__all__ = ["Roles"]

FROM_LEADER: Final = (Append, Heartbeat, InstallSnapshot)


class Roles:
    """A peer's role, and the parts that do its work."""

    def __init__(self, state: State, partial: tuple[SnapshotMeta, int] | None) -> None:
        """Start as a follower; ``partial`` is a snapshot that was half received."""
        self._state = state
        self._election = Election(state)
        self.following = Following(state, partial)
        self.reading = Reading(state)
        self.leading: Replication | None = None
        """While this peer leads."""
        self.uncommitted_bytes = 0
        """Of a leader: what it has appended and not committed."""
        self._handlers: dict[type[Any], Any] = {
            RequestVote: self._election.answer,
            VoteReply: self._voted,
            Append: self.following.append,
            Heartbeat: self.following.heartbeat,
            InstallSnapshot: self.following.install,
            AppendReply: self._appended,
            HeartbeatReply: self._heartbeat_answered,
            SnapshotReply: self._snapshot_answered,
            TimeoutNow: self._told_to_campaign,
            ReadRequest: self._read_requested,
            ReadReply: self.reading.replied,
        }

    # Time and messages

    def tick(self, count: int) -> None:
        """Let ticks pass, see ``Node.tick``."""
        state, leading = self._state, self.leading
        self.reading.tick()
        if leading is None:
            if self._election.tick(count):
                self._campaign(pre=state.config.pre_vote)
        elif not leading.tick(count):
            state.counts["quorum_lost"] += 1
            self._become_follower(state.term, None)

    def step(self, message: Message) -> None:
        """Take in a message; see ``Node.step``."""
        state = self._state
        if message.to != state.id:
            state.counts["misdirected"] += 1
            return
        if message.term > state.term:
            if not self._enter_term(message):
                return
        elif message.term < state.term:
            state.counts["stale"] += 1
            if isinstance(message, RequestVote):
                self._election.refuse(message)
            elif isinstance(message, FROM_LEADER):
                self.following.refuse(message)
            return
        if isinstance(message, FROM_LEADER):
            self._hear_leader(message.sender)
        self._handlers[type(message)](message)

    def _enter_term(self, message: Message) -> bool:
        """Deal with a term that is new here; whether the message is to be handled then."""
        if isinstance(message, RequestVote):
            if self._election.is_loyal(message):
                self._state.counts["disloyal"] += 1
                return False
            if message.pre:
                return True
        elif isinstance(message, VoteReply) and message.pre and message.granted:
            return True
        self._become_follower(message.term, None)
        return True

    def _hear_leader(self, leader: str) -> None:
        state = self._state
        if state.role is Role.LEADER or state.leader not in (None, leader):
            raise RaftViolated(f"{leader} and {state.leader} both lead in term {state.term}")
        if state.role is not Role.FOLLOWER or state.leader is None:
            self._become_follower(state.term, leader)
        self._election.heard_leader()

    def campaign(self) -> None:
        """Start an election, if this peer may."""
        if self.leading is None and self._state.may_campaign:
            self._campaign(pre=self._state.config.pre_vote)

    # Roles

    def _become_follower(self, term: int, leader: str | None) -> None:
        state = self._state
        if term != state.term:
            state.term = term
            state.vote = None
        state.role = Role.FOLLOWER
        if state.leader != leader or self.leading is not None:
            self.reading.abandon()
        state.leader = leader
        if self.leading is not None:
            self._election.redraw()
        self.leading = None
        self.uncommitted_bytes = 0
        self._election.votes.clear()

    def _campaign(self, *, pre: bool, transfer: bool = False) -> None:
        state = self._state
        self._become_follower(state.term, None)
        if pre:
            state.role = Role.PRE_CANDIDATE
        else:
            self._become_candidate()
        self._judge(self._election.begin(pre=pre, transfer=transfer))

    def _become_candidate(self) -> None:
        state = self._state
        state.role = Role.CANDIDATE
        state.term += 1
        state.vote = state.id

    def _voted(self, reply: VoteReply) -> None:
        awaited = Role.PRE_CANDIDATE if reply.pre else Role.CANDIDATE
        is_old = reply.pre and reply.granted and reply.term != self._state.term + 1
        if self._state.role is awaited and not is_old:
            self._judge(self._election.count(reply))

    def _judge(self, result: VoteResult) -> None:
        """Act on where the election stands."""
        if result is VoteResult.LOST:
            self._become_follower(self._state.term, None)
        elif result is VoteResult.WON:
            if self._state.role is Role.PRE_CANDIDATE:
                self._campaign(pre=False)
            else:
                self._become_leader()

    def _become_leader(self) -> None:
        self._take_the_lead()
        if self._state.config.no_op:
            self.append(EntryKind.NO_OP, b"")

    def _take_the_lead(self) -> None:
        state = self._state
        state.role = Role.LEADER
        state.leader = state.id
        state.counts["terms_led"] += 1
        self.leading = Replication(state)

    def resign_if_removed(self) -> None:
        """Step down after leading the change that removes this peer to its end."""
        configurations, log = self._state.configurations, self._state.log
        gone = not configurations.current.is_voter(self._state.id)
        if gone and configurations.index <= log.commit:
            self._become_follower(self._state.term, None)

    # A leader's log

    def require_leading(self) -> Replication:
        """Return the leader's part, or raise NotLeader."""
        if self.leading is None:
            raise NotLeader(self._state.leader)
        return self.leading

    def append(self, kind: EntryKind, data: bytes) -> tuple[int, int]:
        """Append an entry to the log and return its index and term."""
        state = self._state
        index, term = state.log.last_index + 1, state.term
        state.log.append(Entry(index, term, data, kind))
        self.uncommitted_bytes += len(data) + ENTRY_OVERHEAD
        return index, term

    def reconfigure(self, configuration: Configuration) -> tuple[int, int]:
        """Append a configuration, which counts from now on; return its index and term."""
        index, term = self.append(EntryKind.CONFIGURATION, configuration.encode())
        self._state.configurations.append(index, configuration)
        if self.leading is not None:
            self.leading.membership_changed()
        return index, term

    def commit(self) -> None:
        """Commit what can be, and do what waited for that."""
        state, leading = self._state, self.leading
        if leading is None:
            return
        before = state.log.commit
        if not self._advance_commit(leading):
            return
        self.uncommitted_bytes -= size_of(state.log.entries(before + 1, state.log.commit))
        self.uncommitted_bytes = max(0, self.uncommitted_bytes)
        configurations = state.configurations
        if configurations.current.is_joint and configurations.index <= state.log.commit:
            self.reconfigure(configurations.current.completed())
        self.reading.committed(leading)

    def _advance_commit(self, leading: Replication) -> bool:
        return leading.commit()

    # Answers to a leader

    def _appended(self, reply: AppendReply) -> None:
        if self.leading is not None and self.leading.appended(reply):
            self.commit()

    def _heartbeat_answered(self, reply: HeartbeatReply) -> None:
        if self.leading is not None:
            self.leading.heartbeat_answered(reply)
            self.reading.confirmed(self.leading)

    def _snapshot_answered(self, reply: SnapshotReply) -> None:
        if self.leading is not None:
            self.leading.snapshot_wanted(reply)

    def _read_requested(self, request: ReadRequest) -> None:
        if self.leading is not None:
            self.reading.requested(request, self.leading)

    def _told_to_campaign(self, message: TimeoutNow) -> None:
        state = self._state
        if self.leading is None and state.may_campaign and state.leader == message.sender:
            self._campaign(pre=False, transfer=True)
