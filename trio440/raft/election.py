"""Elections: when one begins, who gets a vote, and what the votes amount to.

Paper, 5.2 and 5.4.1; dissertation, 4.2.3 (loyalty to a leader that is heard), 9.6 (PreVote).
"""

from trio440.raft.messages import RequestVote, VoteReply
from trio440.raft.quorum import VoteResult, vote_result
from trio440.raft.state import Role, State

__all__ = ["Election"]


class Election:
    """The election timer of a peer, and the votes for it."""

    def __init__(self, state: State) -> None:
        """Start a timer; nobody has been heard yet."""
        self._state = state
        self._elapsed = 0
        self._timeout = 0
        self.votes: dict[str, bool] = {}
        """By voter, in the election that goes on."""
        # Before its restart this peer may have heard a leader who now relies on its loyalty.
        self._silence = 0 if state.config.lease_reads else state.config.election_ticks
        self.redraw()

    def redraw(self) -> None:
        """Start the timer with another length."""
        config = self._state.config
        self._elapsed = 0
        self._timeout = config.election_ticks + self._state.rng.randrange(
            config.election_ticks_spread
        )

    def heard_leader(self) -> None:
        """Start the timer again: the leader of this term was heard."""
        self._elapsed = 0
        self._silence = 0

    def tick(self, count: int) -> bool:
        """Let ticks pass; whether an election is due."""
        state = self._state
        self._elapsed = state.config.after(self._elapsed, count, self._timeout)
        self._silence += count
        return self._elapsed >= self._timeout and state.may_campaign

    def is_loyal(self, request: RequestVote) -> bool:
        """Whether a candidate is ignored because a leader is thought to be there.

        A leader itself is loyal until CheckQuorum makes it step down.
        """
        state = self._state
        if request.transfer or not (state.config.check_quorum or request.pre):
            return False
        if state.role is Role.LEADER:
            return True
        return self._silence < state.config.election_ticks

    def begin(self, *, pre: bool, transfer: bool = False) -> VoteResult:
        """Ask for votes; the role and the term are the caller's to set, before.

        The vote for oneself counts when it is durable, like everybody else's: it comes back as
        a message. One in a pre-vote promises nothing, and counts at once.
        """
        state = self._state
        state.counts["pre_votes" if pre else "elections"] += 1
        self.redraw()
        self.votes = {state.id: True} if pre else {}
        term = state.term + 1 if pre else state.term
        log = state.log
        for peer in state.configurations.current.members:
            if not state.configurations.current.is_voter(peer):
                continue
            if peer != state.id:
                request = RequestVote(
                    state.id, peer, term, log.last_index, log.last_term, pre, transfer
                )
                (state.send if pre else state.send_after_sync)(request)
            elif not pre:
                state.send_after_sync(VoteReply(state.id, peer, term, granted=True))
        return vote_result(state.majorities, self.votes)

    def count(self, reply: VoteReply) -> VoteResult:
        """Take in a vote of the election that goes on; the first of each voter counts."""
        self.votes.setdefault(reply.sender, reply.granted)
        return vote_result(self._state.majorities, self.votes)

    def answer(self, request: RequestVote) -> None:
        """Grant or refuse a vote; the request's term is this peer's, or a pre-vote's later one."""
        state = self._state
        complete = state.log.is_up_to_date(request.last_index, request.last_term)
        if request.pre:
            granted = complete and request.term > state.term
        else:
            granted = complete and state.vote in (None, request.sender)
            if granted:
                state.vote = request.sender
                self._elapsed = 0
        term = request.term if granted else state.term
        reply = VoteReply(state.id, request.sender, term, granted, request.pre)
        state.send_after_sync(reply)

    def refuse(self, request: RequestVote) -> None:
        """Refuse a vote in a term that is over, saying which one it is now."""
        state = self._state
        reply = VoteReply(state.id, request.sender, state.term, granted=False, pre=request.pre)
        state.send_after_sync(reply)
