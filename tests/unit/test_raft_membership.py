"""Configurations: changes keep majorities that meet, and a log's history of them."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import BadMessage, ChangeRefused, InvalidParameter
from trio440.raft.membership import (
    NO_STORE,
    Configuration,
    Configurations,
    decode_configuration,
    plan_change,
)
from trio440.raft.quorum import has_quorum

PEERS = ("a", "b", "c", "d", "e")
voters = st.sets(st.sampled_from(PEERS), min_size=1)
members = st.sets(st.sampled_from(PEERS))


def quorums(configuration: Configuration) -> list[set[str]]:
    """Every set of peers that can decide something."""
    sets = [set(some) for size in range(6) for some in combinations(PEERS, size)]
    return [some for some in sets if has_quorum(configuration.majorities, some)]


@given(voters, members, voters, members)
def test_every_step_of_a_change_has_quorums_that_meet(
    old: set[str], old_learners: set[str], new: set[str], new_learners: set[str]
) -> None:
    current = Configuration(voters=old, learners=old_learners - old)
    target = Configuration(voters=new, learners=new_learners - new)
    if target == current:
        with pytest.raises(ChangeRefused):
            plan_change(current, target.voters, target.learners)
        return
    steps = [current, plan_change(current, target.voters, target.learners)]
    if steps[-1].is_joint:
        assert len(old ^ new) > 1
        with pytest.raises(ChangeRefused):
            plan_change(steps[-1], ["a"], [])
        steps.append(steps[-1].completed())
    assert steps[-1] == target
    for before, after in pairwise(steps):
        for one in quorums(before):
            for other in quorums(after):
                assert one & other, (before, after)


@given(voters, members, voters, members)
def test_a_configuration_survives_its_encoding(
    old: set[str], old_learners: set[str], new: set[str], new_learners: set[str]
) -> None:
    current = Configuration(voters=old, learners=old_learners - old)
    try:
        planned = plan_change(current, new, new_learners - new)
    except ChangeRefused:
        planned = current
    assert decode_configuration(planned.encode()) == planned


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"7", b'{"voters":[]}', b'{"voters":[1]}', b'{"voters":"ab"}',
             b'{"voters":["a"],"learners":["a"]}', b'{"voters":["a"],"next_learners":["a"]}',
             b'{"voters":["a"],"stores":7}', b'{"voters":["a"],"stores":["ab"]}',
             b'{"voters":["a"],"stores":[["a",true]]}', b'{"voters":["a"],"stores":[["a",-1]]}',
             b'{"voters":["a"],"stores":[["a",1],["a",2]]}']
)  # fmt: skip
def test_what_is_no_configuration_is_a_bad_message(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_configuration(data)


def test_there_is_always_a_voter() -> None:
    current = Configuration(voters=("a", "b"))
    with pytest.raises(InvalidParameter):
        plan_change(current, [], ["a"])
    assert Configuration().members == ()


# Stores

MET = {"a": 1, "b": 2, "c": 3}
FIRST = Configuration(voters=("a", "b", "c"))


def test_a_change_writes_down_the_stores_of_all_voters_and_keeps_them() -> None:
    joined = plan_change(FIRST, "abc", "d", MET)
    assert dict(joined.stores) == MET
    promoted = plan_change(joined, "abcd", (), {"a": 1, "d": 4})
    assert dict(promoted.stores) == {**MET, "d": 4}
    swapped = plan_change(promoted, "ae", "b", {"e": 5})
    assert swapped.is_joint
    last = plan_change(swapped.completed(), "a", (), {})
    assert dict(last.stores) == {**MET, "d": 4, "e": 5}
    assert decode_configuration(last.encode()) == last


def test_a_store_that_is_written_down_is_never_replaced() -> None:
    joined = plan_change(FIRST, "abc", "d", MET)
    assert dict(plan_change(joined, "abc", (), {"b": 7}).stores) == MET


def test_a_voter_whom_the_leader_has_not_met_is_waited_for_or_removed() -> None:
    met = {"a": 1, "b": 2}
    for voters, learners in (("abc", "d"), ("ab", "c"), ("acd", ""), ("ad", "c")):
        with pytest.raises(ChangeRefused, match="c was never heard"):
            plan_change(FIRST, voters, learners, {**met, "d": 4})
    alone = plan_change(FIRST, "a", "", {"a": 1})
    assert alone == Configuration(
        voters="a", outgoing="abc", stores=[("a", 1), ("b", NO_STORE), ("c", NO_STORE)]
    )
    without = plan_change(FIRST, "ab", "", met)
    assert without == Configuration(voters="ab", stores=[*met.items(), ("c", NO_STORE)])
    with pytest.raises(ChangeRefused, match="another id"):
        plan_change(without, "ab", "c", {**met, "c": 3})


def test_stores_alone_are_no_change() -> None:
    with pytest.raises(ChangeRefused, match="already"):
        plan_change(FIRST, "abc", "", MET)


@given(st.data())
def test_the_history_follows_the_log(data: st.DataObject) -> None:
    """Against a list of all entries, of which some are configurations."""
    first = Configuration(voters=("z",))
    history = Configurations(0, first)
    log: list[Configuration | None] = [first]
    base = 0
    for _ in range(data.draw(st.integers(0, 20))):
        match data.draw(st.sampled_from(["append", "entry", "truncate", "compact"])):
            case "append":
                value = Configuration(voters=data.draw(voters))
                history.append(len(log), value)
                log.append(value)
            case "entry":
                log.append(None)
            case "truncate":
                index = data.draw(st.integers(base + 1, len(log)))
                history.truncate(index)
                del log[index:]
            case _:
                base = data.draw(st.integers(base, len(log) - 1))
                history.compact(base)
        for index in range(base, len(log)):
            expected = next(value for value in reversed(log[: index + 1]) if value is not None)
            assert history.at(index) == expected
        assert history.current == history.at(len(log) - 1)
        assert log[history.index] is not None
        for peer in PEERS:
            later = [value for value in log[base + 1 :] if value is not None]
            has_vote = any(value.is_voter(peer) for value in (history.at(base), *later))
            assert history.is_voter_since(peer, base) is has_vote
