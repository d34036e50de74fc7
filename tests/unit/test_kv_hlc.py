"""Hybrid logical clocks: above all that was seen, near the time of day, never back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import InvalidParameter
from trio440.kv.hlc import LATEST_STAMP, MAX_CLOCK_OFFSET_MS, HybridClock, ms_of, pack

NOW = 1_700_000_000_000


def test_a_stamp_is_milliseconds_above_a_counter() -> None:
    assert pack(5, 3) == 5 * 65_536 + 3
    assert ms_of(pack(5, 65_535)) == 5
    assert HybridClock().next(NOW) == pack(NOW)


def test_writes_within_one_millisecond_keep_their_order() -> None:
    clock = HybridClock()
    stamps = [clock.next(NOW) for _ in range(100)]
    assert stamps == [pack(NOW, count) for count in range(100)]


def test_a_counter_that_is_full_moves_the_milliseconds_on() -> None:
    clock = HybridClock(last=pack(NOW, 65_535))
    assert clock.next(NOW) == pack(NOW + 1, 0)
    assert clock.next(NOW) == pack(NOW + 1, 1)
    assert clock.next(NOW + 1) == pack(NOW + 1, 2)
    assert clock.next(NOW + 2) == pack(NOW + 2, 0)


def test_a_write_is_above_what_was_seen_though_the_time_of_day_is_behind() -> None:
    clock = HybridClock()
    seen = pack(NOW + 60_000, 7)
    assert clock.observe(seen, NOW)
    assert clock.next(NOW) == seen + 1


def test_what_is_too_far_ahead_is_refused_and_counted() -> None:
    clock = HybridClock()
    assert clock.observe(pack(NOW + MAX_CLOCK_OFFSET_MS, 65_535), NOW)
    assert not clock.observe(pack(NOW + MAX_CLOCK_OFFSET_MS + 1), NOW)
    assert not clock.observe(LATEST_STAMP + 1, LATEST_STAMP)
    assert clock.refused == 2
    assert clock.last == pack(NOW + MAX_CLOCK_OFFSET_MS, 65_535)


def test_a_time_of_day_that_went_back_is_noticed() -> None:
    clock = HybridClock()
    clock.next(NOW)
    assert not clock.is_ahead(NOW - MAX_CLOCK_OFFSET_MS)
    assert clock.is_ahead(NOW - MAX_CLOCK_OFFSET_MS - 1)
    assert clock.next(NOW - 10 * MAX_CLOCK_OFFSET_MS) == pack(NOW, 1)


@pytest.mark.parametrize("offset", [-1, 1.5, True])
def test_an_offset_is_a_whole_number(offset: int) -> None:
    with pytest.raises(InvalidParameter, match="max_offset_ms"):
        HybridClock(offset)


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 1 << 20), st.integers(NOW - 9999, NOW + 9999)),
        max_size=50,
    )
)
def test_stamps_only_grow(steps: list[tuple[bool, int, int]]) -> None:
    clock, last = HybridClock(), 0
    for is_write, stamp, now_ms in steps:
        if is_write:
            assert clock.next(now_ms) > last
            assert ms_of(clock.last) >= now_ms
        else:
            assert clock.observe(pack(NOW) + stamp, now_ms)
            assert clock.last >= pack(NOW) + stamp
        assert clock.last >= last
        last = clock.last
