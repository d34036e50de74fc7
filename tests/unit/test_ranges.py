"""Ranges of nonces and sets of them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import InvalidParameter
from trio440.mining.ranges import MAX_NONCE, NonceRange, NonceSet

EVERYTHING = NonceRange(0, MAX_NONCE)


def small_ranges(highest: int = 30) -> st.SearchStrategy[NonceRange]:
    ends = st.integers(0, highest)
    return st.tuples(ends, ends).map(lambda pair: NonceRange(min(pair), max(pair)))


def nonces_of(nonce_set: NonceSet) -> set[int]:
    return {nonce for part in nonce_set for nonce in range(part.lower, part.upper + 1)}


def check_form(nonce_set: NonceSet) -> None:
    parts = list(nonce_set)
    assert all(low.upper + 1 < high.lower for low, high in itertools.pairwise(parts))
    assert nonce_set.gaps == len(parts)
    assert bool(nonce_set) == bool(parts)


@pytest.mark.parametrize(("lower", "upper"), [(-1, 0), (0, 2**64), (1, 0), (2**64, 2**64)])
def test_bad_ranges_are_refused(lower: int, upper: int) -> None:
    with pytest.raises(InvalidParameter):
        NonceRange(lower, upper)


def test_ends_are_included() -> None:
    assert EVERYTHING.size == 2**64
    assert NonceRange(7, 7).size == 1
    assert 7 in NonceRange(7, 9)
    assert 9 in NonceRange(7, 9)
    assert 6 not in NonceRange(7, 9)
    assert 10 not in NonceRange(7, 9)


def test_first_nonces() -> None:
    assert NonceRange(5, 9).first(2) == NonceRange(5, 6)
    assert NonceRange(5, 9).first(99) == NonceRange(5, 9)
    assert NonceRange(MAX_NONCE, MAX_NONCE).first(2) == NonceRange(MAX_NONCE, MAX_NONCE)


@given(small_ranges(), st.integers(1, 40))
def test_splitting(nonces: NonceRange, count: int) -> None:
    low, high = nonces.split(count)
    assert low.size == min(count, nonces.size)
    assert nonces_of(NonceSet([low])) | nonces_of(NonceSet([high] if high else [])) == nonces_of(
        NonceSet([nonces])
    )
    assert low.size + (high.size if high else 0) == nonces.size


@given(
    st.lists(st.tuples(st.booleans(), small_ranges()), max_size=20),
    small_ranges(),
    st.lists(small_ranges(), max_size=3),
)
def test_a_set_is_a_set(
    changes: list[tuple[bool, NonceRange]], window: NonceRange, others: list[NonceRange]
) -> None:
    model: set[int] = set()
    subject = NonceSet()
    for is_added, nonces in changes:
        members = set(range(nonces.lower, nonces.upper + 1))
        if is_added:
            subject.add(nonces)
            model |= members
        else:
            subject.remove(nonces)
            model -= members
        check_form(subject)
        assert nonces_of(subject) == model
        assert subject.size == len(model)
    seen = set(range(window.lower, window.upper + 1))
    part = subject.within(window)
    check_form(part)
    assert nonces_of(part) == model & seen
    rest = subject.without(others)
    check_form(rest)
    assert nonces_of(rest) == model - nonces_of(NonceSet(others))
    assert nonces_of(subject) == model, "within and without change nothing"
    assert subject.lowest(2) == list(subject)[:2]


def test_sets_of_all_nonces_stay_small() -> None:
    subject = NonceSet([EVERYTHING])
    subject.remove(NonceRange(0, 0))
    subject.remove(NonceRange(MAX_NONCE, MAX_NONCE))
    subject.remove(NonceRange(2**63, 2**63))
    assert subject.gaps == 2
    assert subject.size == 2**64 - 3
    for nonce in (2**63, MAX_NONCE, 0):
        subject.add(NonceRange(nonce, nonce))
    assert list(subject) == [EVERYTHING]
