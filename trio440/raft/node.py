"""One peer of a Raft cluster as a deterministic state machine: no socket, disk, clock or chance.

Inputs are method calls: messages, ticks, requests, and what the owner has done. After every batch
of inputs the owner takes :meth:`Node.ready` until it gives None, and does what each
:class:`~trio440.raft.ready.Ready` says; it may go on with inputs meanwhile. Nothing is sent twice
for more calls of ``ready``: what many proposals have in common goes out as one message.
"""

import random
from collections.abc import Mapping
from typing import Any

from trio440.errors import (
    ChangeRefused,
    InvalidParameter,
    ProposalRefused,
    RaftViolated,
    TransferRefused,
)
from trio440.raft.config import Config
from trio440.raft.log import Log
from trio440.raft.membership import Configuration, Configurations, plan_change
from trio440.raft.messages import (
    EntryKind,
    HardState,
    Message,
    SnapshotMeta,
)
from trio440.raft.ready import ChunkRead, Ready
from trio440.raft.roles import Roles
from trio440.raft.state import Role, State, configurations_in
from trio440.raft.status import Status, describe
from trio440.raft.storage import Stored

__all__ = ["Node"]


class Node:
    """A peer; see the module's text."""

    _STATE: type[State] = State
    _ROLES: type[Roles] = Roles
    """Its parts; :mod:`trio440.raft.tracing` has some that tell what they do."""

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
        if not base[0] <= meta.index <= log.last_index:
            held = f"{base[0] + 1} to {log.last_index}"
            raise RaftViolated(f"the log is {held}, the snapshot ends at {meta.index}")
        log.handed = log.applied = meta.index
        self._state = state = self._STATE(
            id=node_id,
            config=config,
            rng=rng,
            log=log,
            configurations=Configurations(meta.index, meta.configuration),
            snapshot=meta,
            term=max(stored.hard_state.term, log.last_term),
            vote=stored.hard_state.vote,
            store=stored.store,
        )
        if state.term > stored.hard_state.term:
            state.vote = None
        state.take_in(configurations_in(stored.entries), meta.index + 1)
        state.handed_state = stored.hard_state
        self._roles = self._ROLES(state, stored.partial)

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
        return self._roles.leading is not None

    @property
    def is_replaced(self) -> bool:
        """Whether a member of this peer's id has another store; then this peer is no member."""
        return self._state.is_replaced

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

    @property
    def configuration_index(self) -> int:
        """The entry, or the snapshot, that :attr:`configuration` comes from."""
        return self._state.configurations.index

    def status(self) -> Status:
        """Return everything that may be of interest, frozen."""
        reads = len(self._roles.reading)
        return describe(self._state, self._roles.leading, reads, self._roles.uncommitted_bytes)

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
        roles, config = self._roles, self._state.config
        leading = roles.leading or roles.require_leading()
        if leading.transferee is not None:
            raise ProposalRefused(f"leadership is on its way to {leading.transferee}")
        if len(data) > (limit := config.max_entry_bytes):
            raise ProposalRefused(f"the command has {len(data)} bytes, the limit is {limit}")
        if roles.uncommitted_bytes >= (limit := config.max_uncommitted_bytes):
            raise ProposalRefused(f"{limit} bytes are not committed yet, which is the limit")
        return roles.append(EntryKind.COMMAND, data)

    def change_membership(
        self, voters: Any, learners: Any = (), met: Mapping[str, int] | None = None
    ) -> tuple[int, int]:
        """Begin to change the members to these and return the index and term of the entry.

        A change that needs a joint configuration is completed by the leader, whoever that is by
        then. A new voter must have been a learner before and have caught up.

        Args:
            voters: the ids that vote in the end.
            learners: the ids that listen in the end.
            met: the stores of those whom this peer has met, see :func:`plan_change`.

        Raises:
            NotLeader: this peer does not lead.
            ChangeRefused: another change is not complete, nothing of this leader's term is
                committed yet, a new voter has not caught up, a voter was never heard, or nothing
                would change.
            InvalidParameter: there would be no voter, or somebody is in both roles.
        """
        state, leading = self._state, self._roles.require_leading()
        if leading.transferee is not None:
            raise ChangeRefused(f"leadership is on its way to {leading.transferee}")
        if state.configurations.index > state.log.commit:
            raise ChangeRefused("the change before is not committed yet")
        if state.log.term(state.log.commit) != state.term:
            raise ChangeRefused("nothing of this leader's term is committed yet")
        current = state.configurations.current
        planned = plan_change(current, voters, learners, met)
        for peer in planned.voters:
            if not (current.is_voter(peer) or peer == state.id or leading.is_caught_up(peer)):
                raise ChangeRefused(f"{peer} is no learner that has caught up")
        return self._roles.reconfigure(planned)

    def read_index(self, context: object) -> None:
        """Begin a linearizable read; a ReadState with this context answers it.

        Raises:
            NotLeader: nobody is known to lead.
            ReadRefused: too many are waiting.
        """
        self._roles.reading.ask(context, self._roles.leading)

    def transfer_leadership(self, to: str) -> None:
        """Hand leadership to another voter; given up after ``election_ticks``.

        Nothing is accepted meanwhile.

        Raises:
            NotLeader: this peer does not lead.
            TransferRefused: ``to`` is no other voter, or another transfer goes on.
        """
        leading = self._roles.require_leading()
        if to == self._state.id or to not in self.configuration.voters:
            raise TransferRefused(f"'{to}' is no other voter")
        if leading.transferee not in (None, to):
            raise TransferRefused(f"leadership is on its way to {leading.transferee}")
        if leading.transferee is None:
            leading.begin_transfer(to)

    def campaign(self) -> None:
        """Start an election now, as if the election timer had run out."""
        self._roles.campaign()

    # Time and messages

    def tick(self, count: int = 1) -> None:
        """Let ticks pass.

        More than ``heartbeat_ticks`` at a time are those of a pause: they count in full for what
        was promised for a time (loyalty, leases). But no election begins and no leader steps down
        because of them alone: a heartbeat's time is left for what has arrived meanwhile.

        Args:
            count: 1 or more.
        """
        self._state.ticks += count
        self._roles.tick(count)

    def step(self, message: Message) -> None:
        """Take in a message from another peer, or one of this peer's own after a sync.

        Messages may be lost, repeated and late, and overtake each other.

        Raises:
            RaftViolated: the sender broke Raft's rules, or this peer has lost what it had
                promised to keep; it must stop.
            BadMessage: an entry holds no configuration, and should.
        """
        self._roles.step(message)

    # What the owner has done

    def persisted(self, index: int, term: int) -> None:
        """Say that a Ready's entries are durable, and all those before.

        To be called for every Ready that had entries, in their order.

        Args:
            index: of the last one.
            term: of the last one.
        """
        self._state.log.persisted(index, term)
        self._roles.commit()

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
            self._roles.following.installed(meta)
        elif meta.index > state.snapshot.index:
            state.snapshot = meta
            state.log.compact(max(state.log.base_index, meta.index - state.config.keep_entries))
            state.configurations.compact(meta.index)
            state.counts["snapshots_taken"] += 1
        return state.log.base_index

    def snapshot_failed(self, meta: SnapshotMeta) -> None:
        """Say that a snapshot that was handed out is not what it should be as a whole."""
        if self._state.installing == meta:
            self._roles.following.failed(meta)

    def chunk_read(self, read: ChunkRead, data: bytes) -> None:
        """Give the piece of a snapshot that a Ready asked for."""
        if len(data) != read.length:
            raise InvalidParameter("data", len(data), f"{read.length} bytes long")
        if self._roles.leading is not None:
            self._roles.leading.send_piece(read, data)

    def report_snapshot(self, peer: str, *, ok: bool) -> None:
        """Say what became of a snapshot for a peer, where it was not sent piece by piece.

        Args:
            peer: who was to have it.
            ok: False starts anew, with the latest snapshot; also for a piece that could not be
                read. True has the peer probed, which shows what it has.
        """
        progress = None if self._roles.leading is None else self._roles.leading.progress.get(peer)
        if progress is not None and progress.snapshot is not None:
            index = progress.snapshot.index
            progress.become_probe()
            if ok:
                progress.next = max(progress.next, index + 1)

    def report_unreachable(self, peer: str) -> None:
        """Say that messages to a peer were lost: nothing is sent ahead until it answers."""
        progress = None if self._roles.leading is None else self._roles.leading.progress.get(peer)
        if progress is not None and progress.may_be_unreachable:
            progress.become_probe()

    @property
    def is_quiet(self) -> bool:
        """Whether a follower or candidate has no more to hand out than before its last tick.

        Always false for a leader, which looks itself at what it has for whom.
        """
        state = self._state
        return self._roles.leading is None and not (
            state.messages_now or state.messages_after_sync or state.read_states
        )

    def ready(self) -> Ready | None:
        """Return what is to be done, None where there is nothing."""
        state, leading, log = self._state, self._roles.leading, self._state.log
        if leading is not None:
            self._roles.reading.flush(leading)
            leading.flush()
            self._roles.resign_if_removed()
        must_sync = not state.term_is_handed
        entries = log.take_unwritten()
        committed = log.take_committed(state.config.max_apply_entries)
        is_news = must_sync or state.handed_state.commit != log.commit
        if not (is_news or entries or committed or state.has_output):
            return None
        if is_news:
            state.handed_state = HardState(state.term, state.vote, log.commit)
        ready = Ready(
            hard_state=state.handed_state if is_news else None,
            entries=entries,
            must_sync=must_sync or bool(entries),
            chunks=tuple(state.chunk_writes),
            snapshot=state.snapshot_to_install,
            messages_now=tuple(state.messages_now),
            messages_after_sync=tuple(state.messages_after_sync),
            committed=committed,
            read_states=tuple(state.read_states),
            chunk_reads=tuple(state.chunk_reads),
        )
        state.clear_output()
        return ready
