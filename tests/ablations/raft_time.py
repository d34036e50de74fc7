"""Deliberate bugs in what Raft promises for a time: leases, loyalty, elections, reads."""

from typing import Any, Final
from unittest.mock import patch

from tests.ablations.patching import Bugs, ablations_of, replaced
from trio440.raft.config import Config
from trio440.raft.election import Election
from trio440.raft.messages import RequestVote, VoteReply
from trio440.raft.quorum import VoteResult, vote_result
from trio440.raft.reading import Reading
from trio440.raft.replication import Replication
from trio440.raft.roles import Roles
from trio440.raft.state import Role

__all__ = ["ABLATIONS"]


# Leases


def leases_last_longer_than_loyalty() -> Any:
    return patch.object(Config, "lease_ticks", property(lambda self: 3 * self.election_ticks))


def leases_have_no_margin() -> Any:
    """A lease is as long as loyalty, for whose ticks are slower than others'."""
    return patch.object(Config, "lease_ticks", property(lambda self: self.election_ticks))


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
            return self._state.role is not Role.LEADER and bool(real(self, request))

        return is_loyal

    return replaced(Election, "is_loyal", make)


# Reads


def reads_ask_nobody() -> Any:
    """A leader answers from what it has, without asking whether it still leads."""

    def begin(self: Reading, read: Any, leading: Replication) -> None:
        self._answer(read, self._state.log.commit, leading)

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


def numbers_of_reads_come_again() -> Any:
    """A late answer of a leader is taken for that to a newer question."""

    def make(real: Any) -> Any:
        def ask(self: Reading, context: object, leading: Any) -> None:
            self._number = len(self._asked)
            real(self, context, leading)

        return ask

    return replaced(Reading, "ask", make)


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
    return patch("trio440.raft.replication.has_quorum", lambda _, peers: len(peers) > 1)


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
            return (
                VoteResult.WON
                if granted >= needed
                else vote_result(self._state.majorities, self.votes)
            )

        return count

    return replaced(Election, "count", make)


def who_was_removed_goes_on_leading() -> Any:
    return patch.object(Roles, "resign_if_removed", lambda _: None)


BUGS: Final[Bugs] = {
    leases_last_longer_than_loyalty: ("reads from a lease that is too long", "clocks", 60),
    leases_have_no_margin: ("reads from a lease while others' clocks are faster", "clocks", 60),
    leases_outlive_a_transfer: ("reads from a lease after handing over", "clocks", 60),
    who_has_just_started_is_not_loyal: ("forgets in a restart to whom it is loyal", "crashes", 60),
    nobody_is_loyal: ("votes against a leader that it hears", "hostile", 20),
    leaders_are_not_loyal_to_themselves: ("votes while it leads", "hostile", 60),
    reads_ask_nobody: ("reads without asking whether it leads", "clocks", 30),
    reads_before_the_first_commit: ("reads before its first commit", "hostile", 60),
    reads_are_confirmed_by_earlier_rounds: ("takes an old answer for a new one", "clocks", 40),
    numbers_of_reads_come_again: ("takes a late answer for another read", "shuffled", 200),
    terms_are_raised_without_a_pre_vote: ("stands for election unasked", "hostile", 10),
    pre_votes_for_everybody: ("would vote against a leader that it hears", "hostile", 20),
    nobody_checks_the_quorum: ("leads on when nobody answers", "hostile", 40),
    one_answer_is_a_quorum: ("leads on when one other answers", "hostile", 60, 45),
    refused_candidates_start_the_timer_again: ("waits again for each request", "hostile", 20),
    every_message_starts_the_timer_again: ("waits again for each message", "hostile", 20),
    every_vote_counts: ("counts answers, not voters", "hostile", 20),
    who_was_removed_goes_on_leading: ("leads on when it was removed", "hostile", 40),
}

ABLATIONS: Final = ablations_of("raft", "A", BUGS)
"""Deliberate bugs that the simulator has to find: ``trio440 sim ablations``."""
