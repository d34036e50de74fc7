"""Linearizable reads without a log entry (dissertation, 6.4).

The leader notes its commit index, makes sure that it still is the leader, and answers with that
index: whoever has applied so much may answer the read. All reads that came since the last batch
share one round of heartbeats; none waits for a timer. A follower asks its leader.
"""

import attrs

from trio440.errors import NotLeader, ReadRefused
from trio440.raft.messages import ReadReply, ReadRequest
from trio440.raft.ready import ReadState
from trio440.raft.replication import Replication
from trio440.raft.state import State

__all__ = ["Reading"]

NUMBERS = 1 << 62


@attrs.frozen
class _Read:
    context: object
    requester: ReadRequest | None
    """Another peer's request; None for a read of this peer's own."""


@attrs.frozen
class _Group:
    round: int
    index: int
    reads: list[_Read]


class Reading:
    """Reads that wait: for the term's first commit, for a round of heartbeats, for an answer."""

    def __init__(self, state: State) -> None:
        """Start with no read."""
        self._state = state
        # A number of another life must not be taken for one of this.
        self._number = state.rng.randrange(NUMBERS)
        self._asked: dict[int, tuple[object, int]] = {}
        """By number, reads that a leader was asked about, and when."""
        self._early: list[_Read] = []
        """They wait until something of this term is committed."""
        self._new: list[_Read] = []
        """They need a round of heartbeats that begins now."""
        self._new_index = 0
        self._groups: list[_Group] = []

    def __len__(self) -> int:
        """Return how many reads wait."""
        grouped = sum(len(group.reads) for group in self._groups)
        return len(self._asked) + len(self._early) + len(self._new) + grouped

    def ask(self, context: object, leading: Replication | None) -> None:
        """Begin a read of this peer's own.

        Raises:
            NotLeader: nobody is known to lead.
            ReadRefused: too many are waiting.
        """
        state = self._state
        if state.leader is None:
            raise NotLeader(None)
        if len(self) >= state.config.max_pending_reads:
            raise ReadRefused(state.config.max_pending_reads)
        if leading is not None:
            self._begin(_Read(context, None), leading)
            return
        self._number += 1
        self._asked[self._number] = (context, state.ticks)
        state.send(ReadRequest(state.id, state.leader, state.term, self._number))

    def requested(self, request: ReadRequest, leading: Replication) -> None:
        """Begin a read of another peer's; where too many wait, it has to ask again."""
        if len(self) < self._state.config.max_pending_reads:
            self._begin(_Read(None, request), leading)
        else:
            self._state.counts["reads_refused"] += 1

    def replied(self, reply: ReadReply) -> None:
        """Take in a leader's answer; one that nobody waits for any more reaches nobody."""
        asked = self._asked.pop(reply.number, None)
        if asked is not None:
            self._state.read_states.append(ReadState(asked[0], reply.index))

    def _begin(self, read: _Read, leading: Replication) -> None:
        state, log = self._state, self._state.log
        if log.term(log.commit) != state.term:
            self._early.append(read)
        elif leading.has_lease():
            state.counts["lease_reads"] += 1
            self._answer(read, log.commit, leading)
        else:
            # The latest index is right for the earlier ones of the batch, too.
            self._new.append(read)
            self._new_index = log.commit

    def committed(self, leading: Replication) -> None:
        """Go on with what waited for the term's first commit."""
        log = self._state.log
        if self._early and log.term(log.commit) == self._state.term:
            early, self._early = self._early, []
            for read in early:
                self._begin(read, leading)

    def flush(self, leading: Replication) -> None:
        """Begin the round that confirms the reads of this batch."""
        if self._new:
            reads, self._new = self._new, []
            self._state.counts["read_rounds"] += 1
            self._groups.append(_Group(leading.heartbeat(), self._new_index, reads))
            self.confirmed(leading)

    def confirmed(self, leading: Replication) -> None:
        """Answer the reads whose round a quorum has answered."""
        if not self._groups:
            return
        confirmed = leading.confirmed_round()
        while self._groups and self._groups[0].round <= confirmed:
            group = self._groups.pop(0)
            for read in group.reads:
                self._answer(read, group.index, leading)

    def tick(self) -> None:
        """Give up on answers that do not come."""
        if self._asked:
            oldest = self._state.ticks - self._state.config.election_ticks
            for number in [n for n, (_, when) in self._asked.items() if when <= oldest]:
                context, _ = self._asked.pop(number)
                self._state.read_states.append(ReadState(context, None))

    def abandon(self) -> None:
        """Give up on everything: the leader, or the term, is another."""
        waiting = [*self._early, *self._new]
        for group in self._groups:
            waiting += group.reads
        contexts = [context for context, _ in self._asked.values()]
        contexts += [read.context for read in waiting if read.requester is None]
        self._state.read_states += [ReadState(context, None) for context in contexts]
        self._asked.clear()
        self._early.clear()
        self._new.clear()
        self._groups.clear()

    def _answer(self, read: _Read, index: int, leading: Replication) -> None:
        state, request = self._state, read.requester
        if request is None:
            state.read_states.append(ReadState(read.context, index))
        else:
            leading.has_reader(request.sender)
            state.send(ReadReply(state.id, request.sender, state.term, request.number, index))
