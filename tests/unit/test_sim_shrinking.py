"""Shrinking, campaigns, ablations and systems as values: no world is run here."""

import random
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import InvalidParameter
from trio440.sim.ablating import Ablation, by_name
from trio440.sim.campaign import HANGS, Campaign, Plan, hung
from trio440.sim.faults import HostTraits
from trio440.sim.outcome import Failure, Outcome, Setup
from trio440.sim.shrinking import Places, Shrunk, places_of, same_failure, search, shrink
from trio440.sim.systems import SYSTEMS, System, load_system

FAULTS = 40
SETUP = Setup("lsp", 3)
BROKEN = Failure("exactly once", "twice", 7)


def outcome(setup: Setup, failure: Failure | None, faults: int = FAULTS) -> Outcome:
    return Outcome(setup, "", 10, 20, tuple(f"fault {n}" for n in range(faults)), failure)


def drive(
    places: Places, fails: Callable[[Places], bool], max_runs: int = 10_000
) -> tuple[Shrunk, list[Places]]:
    steps = search(places, max_runs=max_runs)
    tried = []
    try:
        keep = next(steps)
        while True:
            tried.append(keep)
            keep = steps.send(fails(keep))
    except StopIteration as found:
        return found.value, tried


@given(st.sets(st.integers(0, FAULTS - 1), max_size=6))
def test_the_faults_that_are_needed_are_all_that_stays(needed: set[int]) -> None:
    shrunk, tried = drive(tuple(range(FAULTS)), needed.issubset)
    assert shrunk == Shrunk(tuple(sorted(needed)), len(tried), minimal=True)
    assert len(set(tried)) == len(tried)


@given(
    st.lists(st.sets(st.integers(0, 11), min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_with_several_causes_no_single_fault_can_be_left_out(causes: list[set[int]]) -> None:
    def fails(places: Places) -> bool:
        return any(cause.issubset(places) for cause in causes)

    shrunk, _ = drive(tuple(range(12)), fails)
    assert fails(shrunk.places)
    for place in shrunk.places:
        assert not fails(tuple(other for other in shrunk.places if other != place))


@given(st.sets(st.integers(0, 20)), st.integers(1, 12), st.randoms(use_true_random=False))
def test_whatever_it_is_told_it_keeps_its_bound(
    places: set[int], max_runs: int, rng: random.Random
) -> None:
    given_places = tuple(sorted(places))
    told: list[Places] = [given_places]

    def fails(kept: Places) -> bool:
        answer = rng.random() < 0.4
        if answer:
            told.append(kept)
        return answer

    shrunk, tried = drive(given_places, fails, max_runs)
    assert len(tried) == shrunk.runs <= max_runs
    assert shrunk.places == told[-1]
    assert all(set(kept) < set(places) for kept in tried)


def test_few_runs_suffice_for_two_of_many() -> None:
    shrunk, tried = drive(tuple(range(64)), {5, 50}.issubset)
    assert shrunk.places == (5, 50)
    assert len(tried) < 60


def test_no_faults_need_no_run() -> None:
    assert drive((), lambda _: True) == (Shrunk((), 0, minimal=True), [])


def test_a_failure_without_any_fault_is_found_at_once() -> None:
    assert drive((1, 2, 3), lambda _: True) == (Shrunk((), 1, minimal=True), [()])


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="max_runs must be at least 1, not 0"):
        next(search((1,), max_runs=0))


def test_shrinking_runs_setups_that_differ_in_their_faults_alone() -> None:
    seen = []

    def run(setup: Setup) -> Outcome:
        seen.append(setup)
        assert setup.keep is not None
        return outcome(setup, BROKEN if {3, 17}.issubset(setup.keep) else None)

    assert shrink(outcome(SETUP, BROKEN), run).places == (3, 17)
    assert {attrs.evolve(setup, keep=None) for setup in seen} == {SETUP}


def test_another_failure_is_not_the_one_that_was_looked_for() -> None:
    other = Failure("in order", "3 before 2", 7)

    def run(setup: Setup) -> Outcome:
        assert setup.keep is not None
        return outcome(setup, BROKEN if {3, 17}.issubset(setup.keep) else other)

    assert shrink(outcome(SETUP, BROKEN), run).places == (3, 17)
    assert not same_failure(outcome(SETUP, BROKEN), outcome(SETUP, other))
    assert not same_failure(outcome(SETUP, None), outcome(SETUP, None))


def test_a_history_that_did_not_fail_is_not_shrunk() -> None:
    with pytest.raises(InvalidParameter, match="a history that failed"):
        shrink(outcome(SETUP, None), lambda setup: outcome(setup, None))


def test_only_what_was_kept_can_be_left_out() -> None:
    kept = attrs.evolve(SETUP, keep=(4, 2, 99))
    assert places_of(outcome(kept, BROKEN)) == (2, 4)
    assert places_of(outcome(SETUP, BROKEN, 3)) == (0, 1, 2)


# Campaigns


@pytest.mark.parametrize("jobs", [1, 2, 7])
@pytest.mark.parametrize("seeds", [range(1), range(5, 9), range(1000)])
def test_every_seed_is_handed_out_once_and_in_order(seeds: range, jobs: int) -> None:
    campaign = Campaign(Plan(system="lsp", seeds=seeds), jobs=jobs)
    chunks = list(iter(campaign.take, []))
    assert [setup.seed for chunk in chunks for setup in chunk] == [*seeds]
    assert all(len(first) >= len(second) for first, second in pairwise(chunks))
    assert len(chunks) >= min(len(seeds), jobs)


def test_setups_are_what_the_plan_says() -> None:
    plan = Plan(system="miner", seeds=range(7, 8), level="A", profile="calm", order="pct")
    assert Campaign(plan).take() == [Setup("miner", 7, "A", "calm", "pct")]


def test_what_was_not_run_is_taken_by_another() -> None:
    campaign = Campaign(Plan(system="lsp", seeds=range(8)))
    first = campaign.take()
    assert len(first) == 2
    campaign.give_back(first[1:])
    assert campaign.take() == first[1:]


def test_the_tally_counts_and_failures_are_sorted() -> None:
    campaign = Campaign(Plan(system="lsp", seeds=range(4)))
    for seed, failure in [(2, BROKEN), (0, None), (1, BROKEN)]:
        campaign.report(outcome(Setup("lsp", seed), failure))
    tally = campaign.tally
    assert (tally.seeds, tally.done, tally.failed, tally.events) == (4, 3, 2, 30)
    assert tally.virtual_seconds == pytest.approx(60e-6)
    assert [failed.setup.seed for failed in campaign.failures] == [1, 2]
    assert campaign.take()


def test_a_failure_can_stop_it() -> None:
    campaign = Campaign(Plan(system="lsp", seeds=range(4)), fail_fast=True)
    campaign.report(outcome(SETUP, None))
    assert campaign.take()
    campaign.report(outcome(SETUP, BROKEN))
    assert campaign.stopped
    assert campaign.take() == []


def test_a_campaign_without_seeds_or_jobs_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="seeds must be at least one, not '5:5'"):
        Campaign(Plan(system="lsp", seeds=range(5, 5)))
    with pytest.raises(InvalidParameter, match="jobs must be at least 1, not 0"):
        Campaign(Plan(system="lsp", seeds=range(5)), jobs=0)


def test_a_run_that_hangs_is_a_failure() -> None:
    hanging = hung(SETUP, 2.5)
    assert hanging.failure is not None
    assert hanging.failure.invariant == HANGS
    assert "2.5 s" in hanging.failure.detail


# Ablations and systems


def ablation(name: str) -> Ablation:
    return Ablation(name=name, system="lsp", description="wrong", apply=nullcontext)


def test_an_ablation_names_its_histories() -> None:
    assert ablation("no-ack").setup(4) == Setup("lsp", 4, "A", "hostile")


def test_names_of_ablations_are_unique() -> None:
    assert [*by_name([ablation("b"), ablation("a")])] == ["b", "a"]
    with pytest.raises(InvalidParameter, match="of different names, not 'a'"):
        by_name([ablation("a"), ablation("a")])


@pytest.mark.parametrize("name", ["paxos", "", "nowhere:SYSTEM", "math:pi", "math", "a b:c", ":x"])
def test_an_unknown_system_is_one_line_with_those_that_exist(name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        load_system(name)
    allowed = "one of actors, core, kv, linekv, lsp, miner, raft, or MODULE:NAME"
    assert str(caught.value) == f"system must be {allowed}, not {name!r}"


async def play(world: object) -> None:
    del world


MINE = System(name="mine", summary="", hosts=(HostTraits("server"),), level_b=play)


def test_a_system_of_your_own_is_found_by_its_module() -> None:
    found = load_system(f"{__name__}:MINE")
    assert (found.name, found.levels) == ("mine", ("B",))


def test_a_level_that_a_system_has_not_is_named() -> None:
    MINE.require_level("B")
    with pytest.raises(InvalidParameter, match="level must be B for mine, not 'A'"):
        MINE.require_level("A")


def test_times_of_a_system_are_positive() -> None:
    with pytest.raises(InvalidParameter, match="duration must be a positive number"):
        System(name="x", summary="", hosts=(), duration=0)


def test_the_registry_is_sorted() -> None:
    assert [*SYSTEMS] == sorted(SYSTEMS)
