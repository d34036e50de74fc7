import pytest

from trio440.actors.rates import MAX_TARGETS, Rates


def test_the_rate_is_the_count_by_floor_of_age_and_a_bit() -> None:
    rates = Rates()
    assert rates.highest(10) == 0
    for _ in range(9):
        rates.count("a")
    rates.count("b")
    assert rates.highest(0.0) == 9
    assert rates.highest(0.89) == 9
    assert rates.highest(1.95) == 3
    assert rates.highest(2.95) == pytest.approx(9 / 4)


def test_space_is_bounded_and_the_busiest_is_kept() -> None:
    rates = Rates()
    for _ in range(5):
        rates.count("busy")
    for number in range(20 * MAX_TARGETS):
        rates.count(number)
    rates.count("busy")
    assert rates.highest(0) == 6
    assert len(rates.counts) <= MAX_TARGETS
