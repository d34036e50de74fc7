"""Deliberate bugs in what Raft promises for a time: leases, loyalty, elections, reads."""

from collections.abc import Callable, Iterable
from typing import Any, Final
from unittest.mock import patch

import attrs

from tests.ablations.raft import replaced
from trio440.raft.config import PHASES, Config
from trio440.raft.election import Election
from trio440.raft.messages import RequestVote, VoteReply
from trio440.raft.quorum import VoteResult, vote_result
from trio440.raft.reading import Reading
from trio440.raft.replication import Replication
from trio440.raft.roles import Roles
from trio440.sim.systems.raft_owner import Owner

__all__ = ["ABLATIONS"]


# Leases


def leases_last_longer_than_loyalty() -> Any:
    return patch.object(Config, "lease_ticks", property(lambda self: 3 * self.election_ticks))


def leases_have_no_margin() -> Any:
    """A lease ends with loyalty, by a clock that may be slower than the followers'."""
    return patch.object(
        Config, "lease_ticks", property(lambda self: self.election_ticks - PHASES)
    )


def leases_begin_with_the_answer() -> Any:
    """A lease is counted from when a quorum answered, not from when it was asked."""

    def make(real: Any) -> Any:
        def has_lease(self: Replication) -> bool:
            confirmed = self.confirmed_round()
            if confirmed > getattr(self, "_confirmed", 0):
                self._confirmed = confirmed  # type: ignore[attr-defined]
                self._round_began[confirmed] = self._state.ticks
            return bool(real(self))

        return has_lease

    def make_answered(real: Any) -> Any:
        def answered(self: Replication, reply: Any) -> None:
            real(self, reply)
            self.has_lease()

        return answered

    return _both(
        replaced(Replication, "has_lease", make),
        replaced(Replication, "heartbeat_answered", make_answered),
    )


def leases_outlive_a_transfer() -> Any:
    """A leader that has asked another one to take over goes on reading from its lease."""

    def make(real: Any) -> Any:
        def has_lease(self: Replication) -> bool:
            before = self.transferee, self.gave_notice
            self.transferee, self.gave_notice = None, False
            try:
                return bool(real(self))
            finally:
                self.transferee, self.gave_notice = before

        return has_lease

    return replaced(Replication, "has_lease", make)


def leases_come_back_when_a_transfer_is_given_up() -> Any:
    """The other one may still be on its way to take over."""

    def make(real: Any) -> Any:
        def has_lease(self: Replication) -> bool:
            self.gave_notice = False
            return bool(real(self))

        return has_lease

    return replaced(Replication, "has_lease", make)


def who_has_just_started_is_not_loyal() -> Any:
    def make(real: Any) -> Any:
        def begin(self: Election, state: Any) -> None:
            real(self, state)
            self._silence = state.config.election_ticks

        return begin

    return replaced(Election, "__init__", make)


def nobody_is_loyal() -> Any:
    """Votes against a leader that is heard, while it answers from its lease."""
    return patch.object(Election, "is_loyal", lambda *_: False)


def leaders_are_not_loyal_to_themselves() -> Any:
    """A leader votes for another one while it answers from its lease."""

    def make(real: Any) -> Any:
        def is_loyal(self: Election, request: RequestVote) -> bool:
            from trio440.raft.state import Role

            return self._state.role is not Role.LEADER and bool(real(self, request))

        return is_loyal

    return replaced(Election, "is_loyal", make)


def reads_before_the_ticks_of_a_pause() -> Any:
    """A leader that stood still answers from a lease that is over."""

    def read(self: Owner, context: object, answer: Any) -> None:
        self.node.read_index(context)
        self._reads[context] = (self._watch.committed, answer)
        self._work()

    return patch.object(Owner, "read", read)


def ticks_of_a_pause_are_lost() -> Any:
    """However late it is, the clock gives one tick."""

    def make(real: Any) -> Any:
        def catch_up(self: Owner) -> None:
            now = self._clock()
            self._ticks = max(self._ticks, now - 1)
            real(self)

        return catch_up

    return replaced(Owner, "catch_up", make)


# Reads


def reads_ask_nobody() -> Any:
    """A leader answers from what it has, without asking whether it still leads."""

    def begin(self: Reading, read: Any, leading: Replication) -> None:
        self._answer(read, self._state.log.commit)

    return patch.object(Reading, "_begin", begin)


def reads_before_the_first_commit() -> Any:
    """A new leader reads at a commit index that may be behind its predecessor's."""

    def begin(self: Reading, read: Any, leading: Replication) -> None:
        self._new.append(read)
        self._new_index = self._state.log.commit

    return patch.object(Reading, "_begin", begin)


def reads_are_confirmed_by_earlier_rounds() -> Any:
    """An answer to a heartbeat that was sent before the read confirms it."""

    def make(real: Any) -> Any:
        def confirmed_round(self: Replication) -> int:
            return int(real(self)) + 1

        return confirmed_round

    return replaced(Replication, "confirmed_round", make)


def one_answer_confirms_a_read() -> Any:
    def confirmed_round(self: Replication) -> int:
        return max((progress.round for progress in self.progress.values()), default=self.round)

    return patch.object(Replication, "confirmed_round", confirmed_round)


def numbers_of_reads_come_again() -> Any:
    """A late answer of a leader is taken for that to a newer question."""

    def make(real: Any) -> Any:
        def ask(self: Reading, context: object, leading: Any) -> None:
            self._number = len(self._asked)
            real(self, context, leading)

        return ask

    return replaced(Reading, "ask", make)


def numbers_of_reads_begin_anew_with_a_restart() -> Any:
    def make(real: Any) -> Any:
        def begin(self: Reading, state: Any) -> None:
            real(self, state)
            self._number = 0

        return begin

    return replaced(Reading, "__init__", make)


# Elections


def terms_are_raised_without_a_pre_vote() -> Any:
    """A peer that was cut off comes back with a later term, and the leader falls."""

    def make(real: Any) -> Any:
        def campaign(self: Roles, *, pre: bool, transfer: bool = False) -> None:
            real(self, pre=False, transfer=transfer)

        return campaign

    return replaced(Roles, "_campaign", make)


def pre_votes_for_everybody() -> Any:
    """A pre-vote does not ask whether a leader is heard."""

    def make(real: Any) -> Any:
        def is_loyal(self: Election, request: RequestVote) -> bool:
            return not request.pre and bool(real(self, request))

        return is_loyal

    return replaced(Election, "is_loyal", make)


def nobody_checks_the_quorum() -> Any:
    """A leader that is cut off goes on believing."""

    def make(real: Any) -> Any:
        def tick(self: Replication, count: int) -> bool:
            real(self, count)
            return True

        return tick

    return replaced(Replication, "tick", make)


def one_answer_is_a_quorum() -> Any:
    """CheckQuorum is content with anybody."""
    return patch(
        "trio440.raft.replication.has_quorum", lambda _, peers: len(peers) > 1
    )


def refused_candidates_start_the_timer_again() -> Any:
    """Every request for a vote puts an election off, also one that is refused."""

    def make(real: Any) -> Any:
        def answer(self: Election, request: RequestVote) -> None:
            real(self, request)
            self._elapsed = 0

        return answer

    return replaced(Election, "answer", make)


def every_message_starts_the_timer_again() -> Any:
    def make(real: Any) -> Any:
        def step(self: Roles, message: Any) -> None:
            real(self, message)
            self._election._elapsed = 0

        return step

    return replaced(Roles, "step", make)


def every_vote_counts() -> Any:
    """Answers are counted, not voters: a duplicate is another vote."""

    def make(real: Any) -> Any:
        def count(self: Election, reply: VoteReply) -> VoteResult:
            seen = [name for name in self.votes if name.split("+")[0] == reply.sender]
            self.votes[reply.sender + "+" * len(seen)] = reply.granted
            granted = sum(self.votes.values())
            needed = max(len(group) // 2 + 1 for group in self._state.majorities)
            return VoteResult.WON if granted >= needed else vote_result(
                self._state.majorities, self.votes
            )

        return count

    return replaced(Election, "count", make)


def votes_of_earlier_elections_count() -> Any:
    """An answer of an older term is acted upon."""

    def make(real: Any) -> Any:
        def step(self: Roles, message: Any) -> None:
            if isinstance(message, VoteReply) and message.term < self._state.term:
                message = attrs.evolve(message, term=self._state.term)
            real(self, message)

        return step

    return replaced(Roles, "step", make)


def pre_votes_are_votes() -> Any:
    """The answers to a pre-vote are counted in the election that follows."""

    def make(real: Any) -> Any:
        def begin(self: Election, *, pre: bool, transfer: bool = False) -> VoteResult:
            before = dict(self.votes)
            real(self, pre=pre, transfer=transfer)
            if not pre:
                self.votes.update(before)
            return vote_result(self._state.majorities, self.votes)

        return begin

    def make_become(real: Any) -> Any:
        def become(self: Roles, term: int, leader: str | None) -> None:
            votes = dict(self._election.votes)
            real(self, term, leader)
            self._election.votes.update(votes)

        return become

    return _both(
        replaced(Election, "begin", make), replaced(Roles, "_become_follower", make_become)
    )


def longer_logs_are_more_complete() -> Any:
    """Logs are compared by their lengths, not by their last terms."""

    def is_up_to_date(self: Any, last_index: int, _last_term: int) -> bool:
        return bool(last_index >= self.last_index)

    return patch("trio440.raft.log.Log.is_up_to_date", is_up_to_date)


def who_was_removed_goes_on_leading() -> Any:
    return patch.object(Roles, "resign_if_removed", lambda _: None)


def _both(first: Any, second: Any) -> Any:
    from contextlib import ExitStack

    stack = ExitStack()

    class Both:
        def __enter__(self) -> None:
            stack.enter_context(first)
            stack.enter_context(second)

        def __exit__(self, *_: object) -> None:
            stack.close()

    return Both()


CAND: Final = [v for k, v in list(globals().items()) if callable(v) and getattr(v, "__module__", "") == __name__ and not k.startswith("_")]
