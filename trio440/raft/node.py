"""One peer of a Raft cluster as a deterministic state machine: no socket, disk, clock or chance.

Inputs are method calls: messages, ticks, requests, and what the owner has done. After every batch
of inputs the owner takes :meth:`Node.ready` until it gives None, and does what each
:class:`~trio440.raft.ready.Ready` says; it may go on with inputs meanwhile. Nothing is sent twice
for more calls of ``ready``: what many proposals have in common goes out as one message.
"""

import random
from typing import Any, Final

from trio440.errors import (
    ChangeRefused,
    InvalidParameter,
    NotLeader,
    ProposalRefused,
    RaftViolated,
    TransferRefused,
)
from trio440.raft.config import Config
from trio440.raft.election import Election
from trio440.raft.following import Following
from trio440.raft.log import Log, size_of
from trio440.raft.membership import Configuration, Configurations, plan_change
from trio440.raft.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    HardState,
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
from trio440.raft.ready import ChunkRead, Ready
from trio440.raft.replication import Replication
from trio440.raft.state import Role, State
from trio440.raft.status import Status, describe
from trio440.raft.storage import Stored

__all__ = ["Node"]

FROM_LEADER: Final = (Append, Heartbeat, InstallSnapshot)


class Node:
    """A peer; see the module's text."""

    def __init__(self, node_id: str, config: Config, stored: Stored, rng: random.Random) -> None:
        """Start from what is durable, as a follower.

        Args:
            node_id: this peer's own name among the members.
            config: the numbers.
            stored: what the storage holds; for a new peer what ``bootstrap`` or ``joining`` gives.
            rng: draws election timeouts; different at each peer.

        Raises:
            RaftViolated: what is stored contradicts itself.
            BadMessage: an entry that is stored holds no configuration, and should.
        """
        meta = stored.snapshot
        whole = stored.base_index is None
        base = (meta.index, meta.term) if whole else (stored.base_index or 0, stored.base_term)
        commit = max(meta.index, stored.hard_state.commit)
        log = Log(*base, stored.entries, commit)
        if log.last_index < meta.index:
            raise RaftViolated(f"the log ends at {log.last_index}, the snapshot at {meta.index}")
        log.handed = log.applied = meta.index
        self._state = state = State(
            id=node_id,
            config=config,
            rng=rng,
            log=log,
            configurations=Configurations(meta.index, meta.configuration),
            snapshot=meta,
            term=max(stored.hard_state.term, log.last_term),
            vote=stored.hard_state.vote,
        )
        if state.term > stored.hard_state.term:
            state.vote = None
        state.take_in(stored.entries, meta.index + 1)
        state.handed_state = stored.hard_state
        self._election = Election(state)
        self._following = Following(state, stored.partial)
        self._reading = Reading(state)
        self._leading: Replication | None = None
        self._uncommitted_bytes = 0
        self._handlers: dict[type[Any], Any] = {
            RequestVote: self._election.answer,
            VoteReply: self._voted,
            Append: self._following.append,
            Heartbeat: self._following.heartbeat,
            InstallSnapshot: self._following.install,
            AppendReply: self._appended,
            HeartbeatReply: self._heartbeat_answered,
            SnapshotReply: self._snapshot_answered,
            TimeoutNow: self._told_to_campaign,
            ReadRequest: self._read_requested,
            ReadReply: self._reading.replied,
        }

    # What it is

    @property
    def id(self) -> str:
        """This peer's name."""
        return self._state.id

    @property
    def term(self) -> int:
        """The current term."""
        return self._state.term

    @property
    def role(self) -> Role:
        """What the peer is doing."""
        return self._state.role

    @property
    def leader(self) -> str | None:
        """The leader of the term, where it is known."""
        return self._state.leader

    @property
    def is_leader(self) -> bool:
        """Whether it believes to lead."""
        return self._leading is not None

    @property
    def commit(self) -> int:
        """The last entry that is known to be committed."""
        return self._state.log.commit

    @property
    def snapshot_index(self) -> int:
        """The last entry that is in the latest durable snapshot."""
        return self._state.snapshot.index

    @property
    def log(self) -> Log:
        """The log, to be looked at and not to be changed."""
        return self._state.log

    @property
    def configuration(self) -> Configuration:
        """The members, committed or not."""
        return self._state.configurations.current

    def status(self) -> Status:
        """Return everything that may be of interest, frozen."""
        reads = len(self._reading)
        return describe(self._state, self._leading, reads, self._uncommitted_bytes)

    # Requests

    def propose(self, data: bytes) -> tuple[int, int]:
        """Append a command to the log and return its index and term.

        It is committed when an entry of this index *and term* is handed out; an entry of another
        term there means that it never will be.

        Raises:
            NotLeader: this peer does not lead.
            ProposalRefused: the command is too large, too many bytes are not committed yet, or
                leadership is being transferred.
        """
        state, leading = self._state, self._require_leading()
        if leading.transferee is not None:
            raise ProposalRefused(f"leadership is on its way to {leading.transferee}")
        if len(data) > state.config.max_entry_bytes:
            limit = state.config.max_entry_bytes
            raise ProposalRefused(f"the command has {len(data)} bytes, the limit is {limit}")
        if self._uncommitted_bytes >= state.config.max_uncommitted_bytes:
            limit = state.config.max_uncommitted_bytes
            raise ProposalRefused(f"{limit} bytes are not committed yet, which is the limit")
        return self._append(EntryKind.COMMAND, data)

    def change_membership(self, voters: Any, learners: Any = ()) -> tuple[int, int]:
        """Begin to change the members to these and return the index and term of the entry.

        A change that needs a joint configuration is completed by the leader, whoever that is by
        then. A new voter must have been a learner before and have caught up.

        Args:
            voters: the ids that vote in the end.
            learners: the ids that listen in the end.

        Raises:
            NotLeader: this peer does not lead.
            ChangeRefused: another change is not complete, nothing of this leader's term is
                committed yet, a new voter has not caught up, or nothing would change.
            InvalidParameter: there would be no voter, or somebody is in both roles.
        """
        state, leading = self._state, self._require_leading()
        if leading.transferee is not None:
            raise ChangeRefused(f"leadership is on its way to {leading.transferee}")
        if state.configurations.index > state.log.commit:
            raise ChangeRefused("the change before is not committed yet")
        if state.log.term(state.log.commit) != state.term:
            raise ChangeRefused("nothing of this leader's term is committed yet")
        current = state.configurations.current
        planned = plan_change(current, voters, learners)
        for peer in planned.voters:
            if not (current.is_voter(peer) or peer == state.id or leading.is_caught_up(peer)):
                raise ChangeRefused(f"{peer} is no learner that has caught up")
        return self._reconfigure(planned)

    def read_index(self, context: object) -> None:
        """Begin a linearizable read; a ReadState with this context answers it.

        Raises:
            NotLeader: nobody is known to lead.
            ReadRefused: too many are waiting.
        """
        self._reading.ask(context, self._leading)

    def transfer_leadership(self, to: str) -> None:
        """Hand leadership to another voter; given up after ``election_ticks``.

        Nothing is accepted meanwhile.

        Raises:
            NotLeader: this peer does not lead.
            TransferRefused: ``to`` is no other voter, or another transfer goes on.
        """
        leading = self._require_leading()
        if to == self._state.id or to not in self.configuration.voters:
            raise TransferRefused(f"{to} is no other voter")
        if leading.transferee not in (None, to):
            raise TransferRefused(f"leadership is on its way to {leading.transferee}")
        if leading.transferee is None:
            leading.begin_transfer(to)

    def campaign(self) -> None:
        """Start an election now, as if the election timer had run out."""
        if not self.is_leader and self._state.may_campaign:
            self._campaign(pre=self._state.config.pre_vote)

    # Time and messages

    def tick(self) -> None:
        """Let a tick pass."""
        state, leading = self._state, self._leading
        state.ticks += 1
        self._reading.tick()
        if leading is None:
            if self._election.tick():
                self._campaign(pre=state.config.pre_vote)
        elif not leading.tick():
            state.counts["quorum_lost"] += 1
            self._become_follower(state.term, None)

    def step(self, message: Message) -> None:
        """Take in a message from another peer, or one of this peer's own after a sync.

        Messages may be lost, repeated and late, and overtake each other.

        Raises:
            RaftViolated: the sender broke Raft's rules, or this peer has lost what it had
                promised to keep; it must stop.
            BadMessage: an entry holds no configuration, and should.
        """
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
                self._following.refuse(message)
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

    # What the owner has done

    def persisted(self, index: int, term: int) -> None:
        """Say that a Ready's entries are durable, and all those before.

        Args:
            index: of the last one.
            term: of the last one.
        """
        self._state.log.persisted(index, term)
        self._commit()

    def applied(self, index: int) -> None:
        """Say that everything handed out up to ``index`` has been applied."""
        self._state.log.apply_to(index)

    def describe_snapshot(self, index: int, size: int, checksum: int) -> SnapshotMeta:
        """Return what is to be stored with a snapshot of the state machine.

        Args:
            index: of the last entry that is in it; applied, and not before the last snapshot.
            size: bytes.
            checksum: CRC-32 of all bytes.

        Raises:
            InvalidParameter: there can be no such snapshot.
        """
        state = self._state
        term = state.log.term(index)
        if term is None or not state.snapshot.index <= index <= state.log.applied:
            first = state.snapshot.index
            raise InvalidParameter("index", index, f"{first} to {state.log.applied}")
        return SnapshotMeta(index, term, state.configurations.at(index), size, checksum)

    def snapshot_persisted(self, meta: SnapshotMeta) -> int:
        """Say that a snapshot is durable: one that was handed out, or one of this peer's own.

        Returns:
            The index up to which entries are no longer needed, to be forgotten by the storage.
        """
        state = self._state
        if state.installing == meta:
            self._following.installed(meta)
        elif meta.index > state.snapshot.index:
            state.snapshot = meta
            state.log.compact(max(state.log.base_index, meta.index - state.config.keep_entries))
            state.configurations.compact(meta.index)
            state.counts["snapshots_taken"] += 1
        return state.log.base_index

    def snapshot_failed(self, meta: SnapshotMeta) -> None:
        """Say that a snapshot that was handed out is not what it should be as a whole."""
        if self._state.installing == meta:
            self._following.failed(meta)

    def chunk_read(self, read: ChunkRead, data: bytes) -> None:
        """Give the piece of a snapshot that a Ready asked for."""
        if len(data) != read.length:
            raise InvalidParameter("data", len(data), f"{read.length} bytes long")
        if self._leading is not None:
            self._leading.send_piece(read, data)

    def report_snapshot(self, peer: str, *, ok: bool) -> None:
        """Say what became of a snapshot for a peer, where it was not sent piece by piece.

        Args:
            peer: who was to have it.
            ok: False starts anew, with the latest snapshot; also for a piece that could not be
                read. True has the peer probed, which shows what it has.
        """
        progress = None if self._leading is None else self._leading.progress.get(peer)
        if progress is not None and progress.snapshot is not None:
            index = progress.snapshot.index
            progress.become_probe()
            if ok:
                progress.next = max(progress.next, index + 1)

    def report_unreachable(self, peer: str) -> None:
        """Say that messages to a peer were lost: nothing is sent ahead until it answers."""
        progress = None if self._leading is None else self._leading.progress.get(peer)
        if progress is not None and progress.may_be_unreachable:
            progress.become_probe()

    def ready(self) -> Ready | None:
        """Return what is to be done, None where there is nothing."""
        state, leading, log = self._state, self._leading, self._state.log
        if leading is not None:
            self._reading.flush(leading)
            leading.flush()
            if self._is_removed():
                self._become_follower(state.term, None)
        must_sync = not state.term_is_handed
        before = state.handed_state
        state.handed_state = after = HardState(state.term, state.vote, log.commit)
        entries = log.take_unwritten()
        ready = Ready(
            hard_state=None if after == before else after,
            entries=entries,
            must_sync=must_sync or bool(entries),
            chunks=tuple(state.chunk_writes),
            snapshot=state.snapshot_to_install,
            messages_now=tuple(state.messages_now),
            messages_after_sync=tuple(state.messages_after_sync),
            committed=log.take_committed(state.config.max_apply_entries),
            read_states=tuple(state.read_states),
            chunk_reads=tuple(state.chunk_reads),
        )
        state.snapshot_to_install = None
        for box in (
            state.chunk_writes,
            state.messages_now,
            state.messages_after_sync,
            state.read_states,
            state.chunk_reads,
        ):
            box.clear()
        return None if ready == NOTHING else ready

    # Roles

    def _become_follower(self, term: int, leader: str | None) -> None:
        state = self._state
        if term != state.term:
            state.term = term
            state.vote = None
        state.role = Role.FOLLOWER
        if state.leader != leader or self._leading is not None:
            self._reading.abandon()
        state.leader = leader
        if self._leading is not None:
            self._election.redraw()
        self._leading = None
        self._uncommitted_bytes = 0
        self._election.votes.clear()

    def _campaign(self, *, pre: bool, transfer: bool = False) -> None:
        state = self._state
        self._become_follower(state.term, None)
        if pre:
            state.role = Role.PRE_CANDIDATE
        else:
            state.role = Role.CANDIDATE
            state.term += 1
            state.vote = state.id
        self._judge(self._election.begin(pre=pre, transfer=transfer))

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
        state = self._state
        state.role = Role.LEADER
        state.leader = state.id
        state.counts["terms_led"] += 1
        self._leading = Replication(state)
        if state.config.no_op:
            self._append(EntryKind.NO_OP, b"")

    def _is_removed(self) -> bool:
        """Whether this leader led the change that removes it, to its end."""
        configurations, log = self._state.configurations, self._state.log
        gone = not configurations.current.is_voter(self._state.id)
        return gone and configurations.index <= log.commit

    # A leader's log

    def _require_leading(self) -> Replication:
        if self._leading is None:
            raise NotLeader(self._state.leader)
        return self._leading

    def _append(self, kind: EntryKind, data: bytes) -> tuple[int, int]:
        state = self._state
        entry = Entry(state.log.last_index + 1, state.term, data, kind)
        state.log.append((entry,))
        self._uncommitted_bytes += size_of((entry,))
        return entry.index, entry.term

    def _reconfigure(self, configuration: Configuration) -> tuple[int, int]:
        index, term = self._append(EntryKind.CONFIGURATION, configuration.encode())
        self._state.configurations.append(index, configuration)
        if self._leading is not None:
            self._leading.membership_changed()
        return index, term

    def _commit(self) -> None:
        """Commit what can be, and do what waited for that."""
        state, leading = self._state, self._leading
        if leading is None:
            return
        before = state.log.commit
        if not leading.commit():
            return
        self._uncommitted_bytes -= size_of(state.log.entries(before + 1, state.log.commit))
        self._uncommitted_bytes = max(0, self._uncommitted_bytes)
        configurations = state.configurations
        if configurations.current.is_joint and configurations.index <= state.log.commit:
            self._reconfigure(configurations.current.completed())
        self._reading.committed(leading)

    # Answers to a leader

    def _appended(self, reply: AppendReply) -> None:
        if self._leading is not None and self._leading.appended(reply):
            self._commit()

    def _heartbeat_answered(self, reply: HeartbeatReply) -> None:
        if self._leading is not None:
            self._leading.heartbeat_answered(reply)
            self._reading.confirmed(self._leading)

    def _snapshot_answered(self, reply: SnapshotReply) -> None:
        if self._leading is not None:
            self._leading.snapshot_wanted(reply)

    def _read_requested(self, request: ReadRequest) -> None:
        if self._leading is not None:
            self._reading.requested(request, self._leading)

    def _told_to_campaign(self, message: TimeoutNow) -> None:
        state = self._state
        if self._leading is None and state.may_campaign and state.leader == message.sender:
            self._campaign(pre=False, transfer=True)


NOTHING: Final = Ready(
    hard_state=None,
    entries=(),
    must_sync=False,
    chunks=(),
    snapshot=None,
    messages_now=(),
    messages_after_sync=(),
    committed=(),
    read_states=(),
    chunk_reads=(),
)
