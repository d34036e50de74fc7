"""The order of probes."""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trio440.actors.cluster.ring import ProbeRing


def test_an_empty_ring_has_no_turn() -> None:
    ring = ProbeRing(random.Random(0))
    assert ring.next() is None
    assert list(ring.sample(3)) == []


@given(st.integers(1, 20), st.randoms(use_true_random=False))
def test_section_4_3_of_swim_each_round_has_everybody_once(count: int, rng: random.Random) -> None:
    ring = ProbeRing(rng)
    names = {f"n{i}" for i in range(count)}
    for name in sorted(names):
        ring.add(name)
    turns = [ring.next() for _ in range(3 * count)]
    assert all(set(turns[i : i + count]) == names for i in range(0, 3 * count, count))
    last = {name: [i for i, turn in enumerate(turns) if turn == name] for name in names}
    for places in last.values():
        assert all(b - a <= 2 * count - 1 for a, b in pairwise(places))


def test_section_4_3_of_swim_rounds_are_shuffled_and_newcomers_go_anywhere() -> None:
    orders = set()
    for seed in range(30):
        ring = ProbeRing(random.Random(seed))
        for name in "abc":
            ring.add(name)
        orders.add("".join(str(ring.next()) for _ in range(3)))
    assert len(orders) == 6


@given(
    st.lists(st.sampled_from(["add", "remove", "next"]), max_size=60),
    st.randoms(use_true_random=False),
)
def test_nobody_is_skipped_when_others_come_and_go(steps: list[str], rng: random.Random) -> None:
    """Whoever stays has its turn within a round and the rest of the one before."""
    ring = ProbeRing(rng)
    ring.add("stays")
    names: list[str] = []
    since = most = 0
    for number, step in enumerate(steps):
        if step == "add":
            names.append(f"n{number}")
            ring.add(names[-1])
        elif step == "remove" and names:
            ring.remove(names.pop(rng.randrange(len(names))))
        elif step == "next":
            most = max(most, len(ring))
            since = 0 if ring.next() == "stays" else since + 1
            assert since <= 2 * most + len(steps)
    turns = [ring.next() for _ in range(2 * len(ring))]
    assert "stays" in turns
    assert set(turns) == {"stays", *names}


def test_a_sample_has_different_members_and_leaves_one_out() -> None:
    ring = ProbeRing(random.Random(1))
    for name in "abcde":
        ring.add(name)
    seen = set()
    for _ in range(50):
        drawn = ring.sample(2, without="c")
        assert len(set(drawn)) == 2
        seen |= set(drawn)
    assert seen == set("abde")
    assert set(ring.sample(9, without="c")) == set("abde")
