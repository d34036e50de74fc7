"""A leader's work: what each peer is sent, what is committed, and whether anybody listens.

Paper, 5.3 and 5.4.2; dissertation, 3.10 (transfer), 4.2.1 (learners), 6.2 (CheckQuorum),
10.2.1 (writing to disk in parallel).
"""

import zlib

from trio440.errors import RaftViolated
from trio440.raft.log import size_of
from trio440.raft.messages import (
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    SnapshotReply,
    TimeoutNow,
)
from trio440.raft.progress import CatchUp, Flow, Progress, Window
from trio440.raft.quorum import agreed_index, has_quorum
from trio440.raft.ready import ChunkRead
from trio440.raft.state import State

__all__ = ["Replication"]


class Replication:
    """One leader's term, from its election to its end."""

    def __init__(self, state: State) -> None:
        """Begin the term: the first flush probes everybody."""
        self._state = state
        self.progress: dict[str, Progress] = {}
        """Of all members but the leader, by name."""
        self.round = 0
        """The latest heartbeat that was sent."""
        self.transferee: str | None = None
        """To whom leadership goes, while it does."""
        self.gave_notice = False
        """Whether a TimeoutNow was sent in this term: it may come late, and the election that it
        starts asks nobody for loyalty, so that there is no lease any more."""
        self._notified = False
        self._committed_at = state.ticks
        self._leaves = False
        """Whether it leads the change that removes it: nobody hears from it once that is done."""
        self._round_began: dict[int, int] = {}
        self._heartbeat_elapsed = 0
        self._quorum_elapsed = 0
        self._transfer_elapsed = 0
        self.membership_changed()

    # Members

    def membership_changed(self) -> None:
        """Follow the latest configuration."""
        state = self._state
        configuration, log = state.configurations.current, state.log
        self._leaves = not configuration.is_voter(state.id)
        for peer in [name for name in self.progress if name not in configuration.members]:
            del self.progress[peer]
        for peer in configuration.members:
            if peer == state.id:
                continue
            progress = self.progress.get(peer)
            if progress is None:
                window = Window(state.config.max_inflight_messages, state.config.max_inflight_bytes)
                progress = self.progress[peer] = Progress(log.last_index + 1, window)
                progress.active = True
            if configuration.is_voter(peer):
                progress.catch_up = None
            elif progress.catch_up is None:
                progress.catch_up = CatchUp(log.last_index, state.ticks)
        if self.transferee is not None and not configuration.is_voter(self.transferee):
            self.transferee = None

    def is_caught_up(self, peer: str) -> bool:
        """Whether a learner keeps up with the leader."""
        progress = self.progress.get(peer)
        if progress is None or progress.catch_up is None:
            return False
        return progress.catch_up.done and progress.flow is Flow.REPLICATE

    # What is sent

    def flush(self) -> None:
        """Send everybody all that may be sent now."""
        for peer, progress in self.progress.items():
            while self._has_something(progress) and self._send_append(peer, progress):
                pass

    def _has_something(self, progress: Progress) -> bool:
        if progress.flow is Flow.REPLICATE and progress.nudged:
            return True
        if progress.paused:
            return False
        log = self._state.log
        if progress.next <= log.last_index or progress.wanted:
            return True
        if not self._state.config.eager_commit or progress.flow is not Flow.REPLICATE:
            return False
        is_due = progress.reads or self._leaves or self._committed_at < self._state.ticks
        return is_due and progress.sent_commit < log.commit

    def _send_append(self, peer: str, progress: Progress) -> bool:
        """Send one append; false where that needs what only a snapshot has."""
        state, log = self._state, self._state.log
        prev = progress.next - 1
        prev_term = log.term(prev)
        if prev_term is None:
            progress.become_snapshot(state.snapshot)
            state.counts["snapshots_sent"] += 1
            self._send_chunk(peer, progress)
            return False
        entries: tuple[Entry, ...] = ()
        if not progress.paused:
            entries = log.entries_within(progress.next, state.config.max_append_bytes)
        progress.nudged = progress.reads = False
        progress.sent_commit = log.commit
        progress.sent(prev + len(entries), size_of(entries))
        state.send(Append(state.id, peer, state.term, prev, prev_term, entries, log.commit))
        return True

    def heartbeat(self) -> int:
        """Send everybody a heartbeat and return its number."""
        state = self._state
        self.round += 1
        self._heartbeat_elapsed = 0
        if state.config.lease_reads:
            self._round_began[self.round] = state.ticks
            self.has_lease()
        for peer, progress in self.progress.items():
            commit = min(state.log.commit, progress.match)
            progress.sent_commit = max(progress.sent_commit, commit)
            state.send(Heartbeat(state.id, peer, state.term, commit, self.round))
        return self.round

    def has_reader(self, peer: str) -> None:
        """Have a peer told at once what is committed, in the next flush: it waits to read that."""
        progress = self.progress.get(peer)
        if progress is not None:
            progress.reads = True

    # What comes back

    def appended(self, reply: AppendReply) -> bool:
        """Take in a follower's answer to an append; whether it has more than before."""
        progress = self.progress.get(reply.sender)
        if progress is None:
            return False
        progress.active = True
        log = self._state.log
        if reply.index > log.last_index:
            raise RaftViolated(f"{reply.sender} has {reply.index}, the log ends before")
        if reply.rejected:
            progress.rejected(reply.index, self._meeting(reply) + 1)
            return False
        is_news = progress.matched(reply.index)
        if progress.catch_up is not None:
            most = self._state.config.election_ticks
            progress.catch_up.reached(progress.match, log.last_index, self._state.ticks, most)
        if reply.sender == self.transferee:
            self._hand_over()
        return is_news

    def _meeting(self, reply: AppendReply) -> int:
        """Return the last place at which both logs may agree; one that is gone wants a snapshot."""
        log = self._state.log
        if reply.hint_index < log.base_index:
            return reply.hint_index
        meeting = log.find_conflict(reply.hint_index, reply.hint_term)
        return meeting.index if meeting.term <= reply.hint_term else log.base_index - 1

    def heartbeat_answered(self, reply: HeartbeatReply) -> None:
        """Take in a follower's answer to a heartbeat."""
        progress = self.progress.get(reply.sender)
        if progress is None:
            return
        progress.active = True
        progress.round = max(progress.round, reply.round)
        progress.heartbeat_answered()
        if progress.flow is Flow.SNAPSHOT:
            self._send_chunk(reply.sender, progress)

    # What is committed

    def commit(self) -> bool:
        """Commit what a quorum has, if it is of this term (paper, 5.4.2); whether that is news.

        The leader counts itself as far as its own log is durable.
        """
        state, log = self._state, self._state.log
        reached = {peer: progress.match for peer, progress in self.progress.items()}
        reached[state.id] = log.stable
        index = agreed_index(state.majorities, reached)
        if index > log.commit and log.term(index) == state.term and log.commit_to(index):
            self._committed_at = state.ticks
            return True
        return False

    def confirmed_round(self) -> int:
        """Return the latest heartbeat that a quorum has answered, this peer included."""
        reached = {peer: progress.round for peer, progress in self.progress.items()}
        reached[self._state.id] = self.round
        return agreed_index(self._state.majorities, reached)

    def has_lease(self) -> bool:
        """Whether a quorum is still loyal, so that nobody else can have been elected."""
        state = self._state
        if not state.config.lease_reads or self.transferee is not None or self.gave_notice:
            return False
        confirmed = self.confirmed_round()  # lower than before where somebody has joined
        for number in [number for number in self._round_began if number < confirmed]:
            del self._round_began[number]
        began = self._round_began.get(confirmed)
        return began is not None and state.ticks - began <= state.config.lease_ticks

    # Time

    def tick(self, count: int) -> bool:
        """Let ticks pass; false where no quorum was heard for too long."""
        config = self._state.config
        self._heartbeat_elapsed += count
        if self._heartbeat_elapsed >= config.heartbeat_ticks:
            self.heartbeat()
        if self.transferee is not None:
            self._transfer_elapsed += count
            if self._transfer_elapsed >= config.election_ticks:
                self.transferee = None
        self._quorum_elapsed = config.after(self._quorum_elapsed, count, config.election_ticks)
        if self._quorum_elapsed < config.election_ticks:
            return True
        self._quorum_elapsed = 0
        heard = {peer for peer, progress in self.progress.items() if progress.active}
        for progress in self.progress.values():
            progress.active = False
        return not config.check_quorum or has_quorum(
            self._state.majorities, {*heard, self._state.id}
        )

    # Leadership transfer

    def begin_transfer(self, to: str) -> None:
        """Bring a peer up to date, and then let it start an election."""
        self.transferee = to
        self._transfer_elapsed = 0
        self._notified = False
        self._hand_over()

    def _hand_over(self) -> None:
        state = self._state
        peer = self.transferee
        if peer is None or self._notified:
            return
        if self.progress[peer].match == state.log.last_index:
            self._notified = self.gave_notice = True
            state.send(TimeoutNow(state.id, peer, state.term))

    # Snapshots

    def snapshot_wanted(self, reply: SnapshotReply) -> None:
        """Send the next piece, from where the follower says."""
        progress = self.progress.get(reply.sender)
        if progress is None:
            return
        progress.active = True
        snapshot = progress.snapshot
        if snapshot is None or snapshot.index != reply.index or reply.offset > snapshot.size:
            return
        if reply.offset != progress.offset or not progress.asked:
            progress.offset = reply.offset
            progress.asked = False
            if reply.offset < snapshot.size:
                self._send_chunk(reply.sender, progress)

    def send_piece(self, read: ChunkRead, data: bytes) -> None:
        """Send a piece that was read, if it is still wanted."""
        progress = self.progress.get(read.to)
        if progress is None or progress.snapshot != read.meta or progress.offset != read.offset:
            return
        state = self._state
        state.send(
            InstallSnapshot(
                state.id, read.to, state.term, read.meta, read.offset, data, zlib.crc32(data)
            )
        )

    def _send_chunk(self, peer: str, progress: Progress) -> None:
        """Ask for the piece that comes next, once."""
        meta = progress.snapshot
        if meta is None or progress.asked:
            return
        progress.asked = True
        length = min(self._state.config.snapshot_chunk_bytes, meta.size - progress.offset)
        read = ChunkRead(peer, meta, progress.offset, length)
        if length:
            self._state.chunk_reads.append(read)
        else:  # nothing to be read: the answer says how far the follower is
            self.send_piece(read, b"")
