"""Lifeguard's formulas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.actors.cluster.config import Config
from trio440.actors.cluster.lifeguard import LocalHealth, Suspicion, suspicion_limits

CONFIG = Config(probe_interval_us=1000, probe_timeout_us=500)


def test_iv_a_the_count_of_troubles_stays_within_its_limits() -> None:
    health = LocalHealth(8)
    health.add(-1)
    assert health.multiplier == 1
    for _ in range(20):
        health.add(1)
    assert (health.count, health.multiplier) == (8, 9)
    health.add(-1)
    assert health.multiplier == 8


@pytest.mark.parametrize(
    ("live", "least"), [(1, 5000), (5, 5000), (10, 5000), (100, 10_000), (1000, 15_000)]
)
def test_iv_b_the_least_is_alpha_log_n_intervals_and_the_greatest_beta_times_that(
    live: int, least: int
) -> None:
    assert suspicion_limits(CONFIG, live) == (least, 6 * least)


def test_iv_b_each_confirmation_takes_less_off_than_the_one_before() -> None:
    suspicion = Suspicion(100, 5000, 30_000, 3, {"a"})
    deadlines = [suspicion.deadline]
    for accuser in "bcd":
        assert suspicion.confirm(accuser)
        deadlines.append(suspicion.deadline)
    assert deadlines == [30_100, 17_600, 10_288, 5100]


def test_iv_b_only_independent_accusers_count_and_k_of_them() -> None:
    suspicion = Suspicion(0, 5000, 30_000, 2, {"a"})
    assert not suspicion.confirm("a")
    assert suspicion.confirm("b")
    assert not suspicion.confirm("b")
    assert suspicion.confirm("c")
    assert not suspicion.confirm("d")
    assert suspicion.accusers == {"a", "b", "c"}


def test_iv_b_where_nobody_can_confirm_the_least_is_all() -> None:
    suspicion = Suspicion(0, 5000, 30_000, 0, {"a"})
    assert suspicion.deadline == 5000
    assert not suspicion.confirm("b")


@given(st.integers(1, 10**9), st.integers(1, 20), st.integers(0, 10), st.integers(0, 12))
def test_a_suspicion_keeps_to_its_limits_and_only_shrinks(
    least: int, beta: int, wanted: int, confirmations: int
) -> None:
    suspicion = Suspicion(0, least, beta * least, wanted, {"0"})
    last = suspicion.deadline
    for accuser in range(1, confirmations + 1):
        suspicion.confirm(str(accuser))
        assert least <= suspicion.deadline <= last <= beta * least
        last = suspicion.deadline
    assert len(suspicion.accusers) <= wanted + 1
    if confirmations >= wanted:
        assert last == least
