"""Majorities, against every subset of the voters."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from trio440.raft.quorum import VoteResult, agreed_index, has_quorum, majority, vote_result

PEERS = ("a", "b", "c", "d", "e", "f")
groups = st.lists(st.sampled_from(PEERS), min_size=1, unique=True).map(tuple)
majorities = st.lists(groups, min_size=1, max_size=2)


def slow_has_quorum(groups: list[tuple[str, ...]], peers: set[str]) -> bool:
    """More than half of every group."""
    return all(2 * len(peers.intersection(group)) > len(group) for group in groups)


def slow_agreed_index(groups: list[tuple[str, ...]], reached: dict[str, int]) -> int:
    """Try all numbers."""
    return max(
        number
        for number in (0, *reached.values())
        if slow_has_quorum(groups, {peer for peer, at in reached.items() if at >= number})
        or number == 0
    )


def slow_vote_result(groups: list[tuple[str, ...]], votes: dict[str, bool]) -> VoteResult:
    """Try everything that those who have not voted may do."""
    open_voters = [peer for peer in PEERS if peer not in votes]
    granted = {peer for peer, vote in votes.items() if vote}
    if slow_has_quorum(groups, granted):
        return VoteResult.WON
    for size in range(len(open_voters) + 1):
        for more in combinations(open_voters, size):
            if slow_has_quorum(groups, granted.union(more)):
                return VoteResult.PENDING
    return VoteResult.LOST


@given(majorities, st.dictionaries(st.sampled_from(PEERS), st.integers(0, 9)))
def test_the_agreed_index_is_the_greatest_that_a_quorum_has(
    groups: list[tuple[str, ...]], reached: dict[str, int]
) -> None:
    assert agreed_index(groups, reached) == slow_agreed_index(groups, reached)


@given(majorities, st.dictionaries(st.sampled_from(PEERS), st.booleans()))
def test_an_election_is_decided_when_nobody_can_change_it(
    groups: list[tuple[str, ...]], votes: dict[str, bool]
) -> None:
    assert vote_result(groups, votes) is slow_vote_result(groups, votes)


@given(majorities, st.sets(st.sampled_from(PEERS)))
def test_a_quorum_is_more_than_half_of_every_group(
    groups: list[tuple[str, ...]], peers: set[str]
) -> None:
    assert has_quorum(groups, peers) is slow_has_quorum(groups, peers)


def test_a_majority_of_five_is_three_oneself_included() -> None:
    assert [majority(size) for size in range(1, 8)] == [1, 2, 2, 3, 3, 4, 4]
    assert agreed_index([PEERS[:5]], {"a": 9, "b": 9}) == 0
