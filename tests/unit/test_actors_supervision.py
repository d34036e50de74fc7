"""Supervision decisions, by example and against a deliberately simple second version."""

from collections.abc import Callable
from typing import Any, get_args

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from trio440.actors.supervision import (
    Decision,
    Escalate,
    Leave,
    Restart,
    RestartThese,
    Strategy,
    Supervisor,
)
from trio440.errors import InvalidParameter

SECOND = 1_000_000


def family(strategy: Strategy, *restarts: Restart) -> Supervisor:
    supervisor = Supervisor(strategy)
    for number, restart in enumerate(restarts, 1):
        supervisor.add(number, restart)
    return supervisor


def fail(supervisor: Supervisor, child: int, now_us: int = 0) -> Decision:
    return supervisor.ended(child, failed=True, now_us=now_us)


@pytest.mark.parametrize(
    ("strategy", "together"),
    [("one_for_one", (2,)), ("one_for_all", (1, 2, 3)), ("rest_for_one", (2, 3))],
)
def test_a_strategy_says_who_is_restarted(strategy: Strategy, together: tuple[int, ...]) -> None:
    decision = fail(family(strategy, Restart(), Restart(), Restart()), 2)
    assert decision == RestartThese(together, together, 0, 1)


@pytest.mark.parametrize(
    ("kind", "failed", "restarted"),
    [
        ("permanent", True, True),
        ("permanent", False, True),
        ("transient", True, True),
        ("transient", False, False),
        ("temporary", True, False),
        ("temporary", False, False),
    ],
)
def test_a_kind_says_when_it_is_restarted(kind: Any, failed: bool, restarted: bool) -> None:
    supervisor = family("one_for_one", Restart(kind))
    decision = supervisor.ended(1, failed=failed, now_us=0)
    assert isinstance(decision, RestartThese if restarted else Leave)
    assert supervisor.children == ((1,) if restarted else ())


def test_temporary_siblings_are_stopped_along_and_not_started_again() -> None:
    supervisor = family("one_for_all", Restart(), Restart("temporary"), Restart())
    assert fail(supervisor, 3) == RestartThese((1, 2, 3), (1, 3), 0, 1)


def test_the_budget_is_within_a_period_and_each_childs_own() -> None:
    restart = Restart(intensity=2, period_seconds=10)
    supervisor = family("one_for_all", restart, restart)
    for now in (0, 1):
        assert isinstance(fail(supervisor, 1, now * SECOND), RestartThese)
        assert isinstance(fail(supervisor, 2, now * SECOND), RestartThese)
    assert isinstance(fail(supervisor, 1, 10 * SECOND), RestartThese)
    assert fail(supervisor, 1, 10 * SECOND) == Escalate(2)


def test_the_wait_doubles_within_the_period_and_begins_anew_after_it() -> None:
    restart = Restart(intensity=9, period_seconds=60, first_wait_seconds=1, longest_wait_seconds=5)
    supervisor = family("one_for_one", restart)

    def wait(now: int) -> float:
        decision = fail(supervisor, 1, now * SECOND)
        assert isinstance(decision, RestartThese)
        return decision.wait_us / SECOND

    assert [wait(0) for _ in range(6)] == [0, 1, 2, 4, 5, 5]
    assert wait(60) == 0


def test_no_restart_at_all_and_very_many_are_both_possible() -> None:
    assert fail(family("one_for_one", Restart(intensity=0)), 1) == Escalate(0)
    supervisor = family("one_for_one", Restart(intensity=2000, longest_wait_seconds=1))
    decision = [fail(supervisor, 1) for _ in range(1500)][-1]
    assert isinstance(decision, RestartThese)
    assert decision.wait_us == SECOND


@pytest.mark.parametrize(
    "make",
    [
        lambda: Restart("always"),  # type: ignore[arg-type]
        lambda: Restart(intensity=-1),
        lambda: Restart(intensity=True),
        lambda: Restart(period_seconds=float("inf")),
        lambda: Restart(first_wait_seconds=-1),
        lambda: Restart(longest_wait_seconds=float("nan")),
        lambda: Supervisor("one_for_none"),  # type: ignore[arg-type]
    ],
)
def test_what_is_out_of_range_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidParameter, match="must be"):
        make()


# A second version: it keeps the whole history and looks at all of it each time


@attrs.define
class Naive:
    strategy: Strategy
    alive: list[tuple[int, Restart]] = attrs.field(factory=list)
    history: list[tuple[int, int]] = attrs.field(factory=list)

    def ended(self, child: int, failed: bool, now: int) -> Decision:
        restart = dict(self.alive)[child]
        if restart.kind == "temporary" or (restart.kind == "transient" and not failed):
            self.alive = [pair for pair in self.alive if pair[0] != child]
            return Leave()
        period = restart.period_seconds * SECOND
        recent = [at for who, at in self.history if who == child and now - at < period]
        if len(recent) >= restart.intensity:
            self.alive = [pair for pair in self.alive if pair[0] != child]
            return Escalate(len(recent))
        self.history.append((child, now))
        numbers = [number for number, _ in self.alive]
        first = {"one_for_all": 0}.get(self.strategy, numbers.index(child))
        last = {"one_for_one": numbers.index(child) + 1}.get(self.strategy, len(numbers))
        along = self.alive[first:last]
        wait = 0.0
        for number in range(len(recent)):
            wait = restart.first_wait_seconds if number == 0 else wait * 2
        return RestartThese(
            tuple(number for number, _ in along),
            tuple(n for n, each in along if each.kind != "temporary" or n == child),
            round(min(wait, restart.longest_wait_seconds) * SECOND),
            len(recent) + 1,
        )


restarts = st.builds(
    Restart,
    st.sampled_from(["permanent", "transient", "temporary"]),
    intensity=st.integers(0, 4),
    period_seconds=st.integers(0, 6),
    first_wait_seconds=st.integers(0, 3),
    longest_wait_seconds=st.integers(0, 9),
)
steps = st.tuples(st.integers(0, 7), st.booleans(), st.integers(0, 3))


@given(st.sampled_from(get_args(Strategy)), st.lists(restarts, max_size=5), st.lists(steps))
def test_both_versions_decide_the_same(
    strategy: Strategy, kinds: list[Restart], events: list[tuple[int, bool, int]]
) -> None:
    supervisor, naive = Supervisor(strategy), Naive(strategy)
    now = 0
    for number, restart in enumerate(kinds):
        supervisor.add(number, restart)
        naive.alive.append((number, restart))
    for pick, failed, later in events:
        now += later * SECOND
        if pick == 7:
            number = 100 + now + len(naive.history) + len(naive.alive)
            restart = kinds[0] if kinds else Restart()
            if number not in dict(naive.alive):
                supervisor.add(number, restart)
                naive.alive.append((number, restart))
        elif naive.alive:
            child = naive.alive[pick % len(naive.alive)][0]
            expected = naive.ended(child, failed, now)
            assert supervisor.ended(child, failed=failed, now_us=now) == expected
        assert supervisor.children == tuple(number for number, _ in naive.alive)


@given(st.lists(st.integers(0, 2 * SECOND), max_size=60), st.integers(1, 4))
def test_no_period_has_more_restarts_than_the_intensity(gaps: list[int], intensity: int) -> None:
    supervisor = family("one_for_one", Restart(intensity=intensity, period_seconds=3))
    times: list[int] = []
    now = 0
    for gap in gaps:
        now += gap
        if not isinstance(fail(supervisor, 1, now), RestartThese):
            break
        times.append(now)
    for start in times:
        assert len([at for at in times if start <= at < start + 3 * SECOND]) <= intensity
