"""The rules of the game, and what chance can make of them."""

import random
from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.cmud.rules import (
    AllGone,
    Blow,
    Chipped,
    Kind,
    Level,
    Solved,
    Stuck,
    Student,
    attempt,
    buy,
    dig,
    enrolled,
)
from trio440.errors import InvalidParameter

named = pytest.mark.parametrize

COUNTS = st.integers(0, 10**6)
STUDENTS = st.builds(
    Student,
    st.sampled_from([level for level in Level if level.problem]),
    st.just("5"),
    st.integers(0, 10**9),
    st.dictionaries(st.sampled_from(Kind), COUNTS).filter(lambda found: any(found.values())),
)


class Dice(random.Random):
    """Draws what it was told to."""

    def __init__(self, *draws: int) -> None:
        super().__init__(0)
        self.draws = [*draws]

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        assert (stop, step) == (None, 1)
        draw = self.draws.pop(0)
        assert 0 <= draw < start
        return draw

    def randint(self, a: int, b: int) -> int:
        return self.randrange(b - a + 1) + a

    def choice(self, seq: Sequence[Kind]) -> Kind:  # type: ignore[override]
        return seq[self.randrange(len(seq))]


def student(level: Level = Level.UNDERGRADUATE, coins: int = 0, **counts: int) -> Student:
    return Student(level, "5", coins, {kind: counts.get(kind.title, 0) for kind in Kind})


# What there is


def test_levels_and_their_problems() -> None:
    assert [(level.title, level.problem) for level in Level] == [
        ("Undergraduate", 100),
        ("Masters", 1_000),
        ("PhD", 10_000),
        ("PostDoc", 500_000),
        ("Professor", 10_000_000),
        ("Retired", None),
    ]
    assert [level.after for level in Level] == [*[*Level][1:], Level.RETIRED]


def test_hardware_and_its_prices() -> None:
    assert [(kind.title, kind.price, kind.power) for kind in Kind] == [
        ("cpu", 1, 1),
        ("gpu", 5, 10),
        ("asic", 25, 100),
        ("quantum", 125, 1_000),
        ("dark_matter", 625, 10_000),
    ]


def test_one_begins_with_a_cpu() -> None:
    begun = enrolled("5")
    assert (begun.level, begun.place, begun.coins) == (Level.UNDERGRADUATE, "5", 0)
    assert {kind: count for kind in Kind if (count := begun.count(kind))} == {Kind.CPU: 1}
    assert begun.power == 1


def test_nothing_is_less_than_nothing() -> None:
    with pytest.raises(InvalidParameter, match="coins must be at least 0, not -1"):
        student(coins=-1)
    with pytest.raises(InvalidParameter, match="gpu must be at least 0, not -1"):
        student(gpu=-1)


def test_what_a_student_owns_is_a_copy() -> None:
    counts = {Kind.CPU: 1}
    owner = Student(Level.PHD, "5", 0, counts)
    counts[Kind.CPU] = 7
    assert owner.count(Kind.CPU) == 1


# Mining and buying


def test_a_dig_pays_up_to_the_total_power() -> None:
    miner = student(coins=5, cpu=2, gpu=1)
    assert dig(miner, Dice(0, 0)).coins == 1
    assert dig(miner, Dice(8, 11)).coins == 12
    assert dig(miner, Dice(8, 11)).student == attrs.evolve(miner, coins=17)


def test_one_dig_in_ten_finds_nothing() -> None:
    miner = student(coins=5, cpu=2)
    assert dig(miner, Dice(9)).coins == 0
    assert dig(miner, Dice(9)).student == miner


def test_digs_are_as_lucky_as_the_rule_says() -> None:
    rng = random.Random(440)
    miner = student(gpu=1)
    found = [dig(miner, rng).coins for _ in range(10_000)]
    assert 8_850 <= sum(map(bool, found)) <= 9_150
    assert {*found} == {*range(11)}
    assert all(850 <= found.count(coins) <= 950 + 100 for coins in range(11))


def test_one_buys_as_many_as_can_be_paid() -> None:
    bought = buy(student(coins=14, gpu=1), Kind.GPU)
    assert (bought.count, bought.student) == (2, student(coins=4, gpu=3))
    assert buy(student(coins=4), Kind.GPU).count == 0
    assert buy(student(coins=4), Kind.GPU).student == student(coins=4)


@given(STUDENTS, st.sampled_from(Kind))
def test_a_purchase_neither_makes_nor_loses_money(before: Student, kind: Kind) -> None:
    bought = buy(before, kind)
    assert bought.student.coins >= 0
    assert bought.student.coins < kind.price
    assert before.coins - bought.student.coins == bought.count * kind.price
    assert bought.student.count(kind) - before.count(kind) == bought.count


# The problem


@named("draw", range(3, 19))
def test_an_attempt_shrinks_the_problem_by_the_total_power(draw: int) -> None:
    worker = student(cpu=3, gpu=2)
    assert attempt(worker, 24, Dice(draw)) == Chipped(worker, 1)
    assert attempt(worker, 23, Dice(draw)) == Solved(attrs.evolve(worker, level=Level.MASTERS))
    assert attempt(worker, 1, Dice(draw)) == Solved(attrs.evolve(worker, level=Level.MASTERS))


def test_at_nineteen_one_is_stuck() -> None:
    assert attempt(student(cpu=1), 1, Dice(19)) == Stuck(student(cpu=1))


@named("draw", range(3))
def test_up_to_two_one_kind_of_hardware_is_divided_by_four(draw: int) -> None:
    worker = student(coins=9, cpu=9, asic=3)
    assert attempt(worker, 1, Dice(draw, 0)) == Blow(student(coins=9, cpu=2, asic=3), Kind.CPU, 7)
    assert attempt(worker, 1, Dice(draw, 1)) == Blow(student(coins=9, cpu=9), Kind.ASIC, 3)


def test_with_all_hardware_gone_there_is_one_cpu() -> None:
    assert attempt(student(coins=9, gpu=3), 50, Dice(2, 0)) == AllGone(
        student(coins=9, cpu=1), Kind.GPU
    )
    assert attempt(student(cpu=1), 50, Dice(0, 0)) == AllGone(student(cpu=1), Kind.CPU)


def test_only_what_one_has_can_be_lost() -> None:
    with pytest.raises(AssertionError):
        attempt(student(cpu=9), 50, Dice(0, 1))


def test_the_last_problem_leads_to_retirement() -> None:
    worker = student(Level.PROFESSOR, dark_matter=1_000)
    result = attempt(worker, 10_000_000, Dice(3))
    assert isinstance(result, Solved)
    assert result.student.level is Level.RETIRED


def test_the_retired_have_nothing_to_solve() -> None:
    with pytest.raises(InvalidParameter, match="one that has a problem, not 'Retired'"):
        attempt(student(Level.RETIRED, cpu=1), 1, Dice())
    with pytest.raises(InvalidParameter, match="left must be at least 1, not 0"):
        attempt(student(cpu=1), 0, Dice())


@given(STUDENTS, st.integers(1, 10**7), st.integers(0, 10**6))
def test_an_attempt_never_takes_coins_nor_the_last_power(
    worker: Student, left: int, seed: int
) -> None:
    result = attempt(worker, left, random.Random(seed))
    assert result.student.coins == worker.coins
    assert 1 <= result.student.power <= worker.power
    if isinstance(result, Chipped):
        assert result.left == left - worker.power
        assert result.left >= 1
    elif isinstance(result, Solved):
        assert left <= worker.power
        assert result.student.level is worker.level.after
    elif isinstance(result, Blow):
        before, after = worker.count(result.kind), result.student.count(result.kind)
        assert (after, result.lost) == (before // 4, before - before // 4)
    elif isinstance(result, AllGone):
        assert result.student.hardware[Kind.CPU] == result.student.power == 1


@given(st.integers(0, 10**6), st.lists(st.sampled_from([*Kind, "dig", "attempt"]), max_size=60))
def test_a_whole_life_keeps_its_books(seed: int, deeds: list[Kind | str]) -> None:
    rng = random.Random(seed)
    who, left = enrolled("5"), 100
    for deed in deeds:
        if isinstance(deed, Kind):
            who = buy(who, deed).student
        elif deed == "dig":
            before = who
            who = dig(who, rng).student
            assert 0 <= who.coins - before.coins <= before.power
        elif who.level.problem:
            result = attempt(who, left, rng)
            left = result.left if isinstance(result, Chipped) else left
            if isinstance(result, Solved):
                left = result.student.level.problem or 0
            who = result.student
        assert who.coins >= 0
        assert who.power >= 1
        assert all(count >= 0 for count in who.hardware.values())
        assert left <= (who.level.problem or 0)
