"""The table of members: which record holds, who makes room, who is forgotten."""

import random

from hypothesis import given
from hypothesis import strategies as st

from trio440.actors.cluster.members import Members, Verdict
from trio440.actors.cluster.messages import Node, Record, State

RANKED = st.builds(
    Record,
    st.builds(Node, st.sampled_from("ab"), st.integers(1, 2)),
    st.sampled_from(State),
    st.integers(0, 2),
)


def record(state: State, refutations: int = 0, *, life: int = 1, address: str = "a") -> Record:
    return Record(Node(address, life), state, refutations)


def holds(*records: Record) -> Record | None:
    members = Members(10)
    for one in records:
        members.merge(one, 0)
    return members.get("a")


def test_section_4_2_of_swim_which_record_outdoes_which() -> None:
    ascending = [
        record(State.ALIVE, 0),
        record(State.SUSPECT, 0),
        record(State.LOST, 0),
        record(State.LEFT, 0),
        record(State.ALIVE, 1),
        record(State.SUSPECT, 1),
        record(State.LOST, 1),
        record(State.ALIVE, 0, life=2),
        record(State.SUSPECT, 0, life=2),
    ]
    for i, worse in enumerate(ascending):
        for better in ascending[i + 1 :]:
            known = record(State.ALIVE) if worse.rank > ascending[0].rank else worse
            assert holds(known, worse, better) == better
            assert holds(known, better, worse) == better


@given(st.lists(RANKED, max_size=12), st.randoms())
def test_the_order_of_records_does_not_matter(records: list[Record], rng: random.Random) -> None:
    """Once each address is known, which the ends of strangers do not make it."""
    first = [record(State.ALIVE, life=0, address=address) for address in "ab"]
    shuffled = records + records
    rng.shuffle(shuffled)
    one, other = Members(10), Members(10)
    for each in first + records:
        one.merge(each, 0)
    for each in first + shuffled:
        other.merge(each, 0)
    assert list(one) == list(other)


def test_the_end_of_a_stranger_is_ignored() -> None:
    members = Members(10)
    for state in (State.LOST, State.LEFT):
        assert members.merge(record(state), 0).verdict is Verdict.IGNORED
    assert len(members) == 0


def test_the_longest_gone_makes_room_and_the_live_do_not() -> None:
    members = Members(3)
    for address in "abc":
        members.merge(record(State.ALIVE, address=address), 0)
    refused = members.merge(record(State.ALIVE, address="d"), 1)
    assert refused.verdict is Verdict.REFUSED
    members.merge(record(State.LEFT, address="b"), 2)
    members.merge(record(State.LOST, address="a"), 3)
    assert members.merge(record(State.ALIVE, address="d"), 4).evicted == "b"
    assert members.merge(record(State.SUSPECT, address="e"), 5).evicted == "a"
    assert members.merge(record(State.ALIVE, address="f"), 6).verdict is Verdict.REFUSED
    assert [one.node.address for one in members] == ["c", "d", "e"]


def test_a_table_is_full_of_the_live_alone() -> None:
    members = Members(1)
    members.merge(record(State.ALIVE), 0)
    full = [members.is_full]
    members.merge(record(State.LOST), 1)
    assert [*full, members.is_full] == [True, False]


def test_the_gone_are_forgotten_by_when_they_went() -> None:
    members = Members(10)
    for at, address in enumerate("abc"):
        members.merge(record(State.ALIVE, address=address), 0)
        members.merge(record(State.LOST, address=address), at)
    members.merge(record(State.LEFT, address="a"), 50)
    members.merge(record(State.ALIVE, 1, address="b"), 50)
    assert members.lost() == ["c"]
    assert members.forget(1) == ["a"]
    assert members.forget(1) == []
    assert members.forget(2) == ["c"]
    assert members.is_live("b")
    assert not members.is_live("a")
