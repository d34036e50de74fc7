"""A follower: takes in the leader's entries, heartbeats and snapshots.

Paper, 5.3 and 7.
"""

import zlib

from trio440.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    SnapshotMeta,
    SnapshotReply,
)
from trio440.raft.ready import ChunkWrite
from trio440.raft.state import State, configurations_in

__all__ = ["Following"]


class Following:
    """What a peer does for a leader."""

    def __init__(self, state: State, partial: tuple[SnapshotMeta, int] | None) -> None:
        """Start; ``partial`` is a snapshot that was half received, and how many bytes of it."""
        self._state = state
        self._partial = partial

    def append(self, message: Append) -> None:
        """Take in entries (paper, Figure 2), and say how far they match.

        The answer names the last entry that was *sent*: what else this log holds may be wrong.
        """
        state, log = self._state, self._state.log
        if state.installing is not None:
            return
        prev = message.prev_index
        if prev >= log.base_index and log.term(prev) != message.prev_term:
            meeting = log.find_conflict(prev, message.prev_term)
            self._reply(
                message, prev, rejected=True, hint_index=meeting.index, hint_term=meeting.term
            )
            state.counts["appends_rejected"] += 1
            return
        configurations = configurations_in(message.entries)
        first_new = log.merge(message.entries)
        if first_new is not None:
            state.take_in(configurations, first_new)
        last = prev + len(message.entries)
        log.commit_to(min(message.commit, last))
        self._reply(message, max(last, min(log.base_index, log.commit)))

    def heartbeat(self, message: Heartbeat) -> None:
        """Answer; it promises nothing but that this leader's term is not over."""
        state = self._state
        if state.installing is None:
            state.log.commit_to(message.commit)
        reply = HeartbeatReply(state.id, message.sender, state.term, message.round)
        (state.send if state.term_is_handed else state.send_after_sync)(reply)

    def install(self, message: InstallSnapshot) -> None:
        """Take in a piece of a snapshot, and say what comes next.

        A piece that does not follow the last one, or is damaged, changes nothing but where the
        leader goes on.
        """
        state, meta = self._state, message.meta
        if meta.index <= state.log.commit:
            self._reply(message, state.log.commit)
            return
        if state.installing is not None:
            return
        if self._partial is None or self._partial[0] != meta:
            self._partial = (meta, 0)
        received = self._partial[1]
        sound = zlib.crc32(message.data) == message.checksum
        fits = message.offset + len(message.data) <= meta.size
        if message.offset == received and sound and fits:
            state.chunk_writes.append(ChunkWrite(meta, received, message.data))
            received += len(message.data)
            self._partial = (meta, received)
            if received == meta.size:
                state.installing = state.snapshot_to_install = meta
                self._partial = None
        reply = SnapshotReply(state.id, message.sender, state.term, meta.index, received)
        state.send_after_sync(reply)

    def installed(self, meta: SnapshotMeta) -> None:
        """Let a snapshot that is durable take the place of the log, and tell the leader."""
        state = self._state
        state.installing = None
        if not state.log.restore(meta.index, meta.term):
            state.configurations.restart(meta.index, meta.configuration)
        else:
            state.configurations.compact(meta.index)
        state.snapshot = meta
        state.counts["snapshots_installed"] += 1
        if state.leader not in (None, state.id):
            reply = AppendReply(state.id, str(state.leader), state.term, meta.index)
            state.send_after_sync(reply)

    def failed(self, meta: SnapshotMeta) -> None:
        """Take the snapshot from its beginning again: as a whole it was not what it should be."""
        state = self._state
        state.installing = None
        state.counts["snapshots_failed"] += 1
        if state.leader not in (None, state.id):
            reply = SnapshotReply(state.id, str(state.leader), state.term, meta.index, 0)
            state.send_after_sync(reply)

    def refuse(self, message: Append | Heartbeat | InstallSnapshot) -> None:
        """Tell the leader of a term that is over which term it is now."""
        self._reply(message, 0, rejected=True)

    def _reply(
        self,
        message: Append | Heartbeat | InstallSnapshot,
        index: int,
        *,
        rejected: bool = False,
        hint_index: int = 0,
        hint_term: int = 0,
    ) -> None:
        state = self._state
        reply = AppendReply(
            state.id, message.sender, state.term, index, rejected, hint_index, hint_term
        )
        state.send_after_sync(reply)
