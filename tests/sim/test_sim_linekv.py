"""linekv in simulated worlds: a few histories at each level, and their sameness everywhere."""

import attrs
import pytest

from tests.ablations import ABLATIONS
from tests.support.sameness import digests_in_processes
from trio440.errors import InvariantViolated
from trio440.sim.ablating import by_name
from trio440.sim.checking import History, LineStore, check_linearizable
from trio440.sim.outcome import Level, Setup
from trio440.sim.running import run, simulate
from trio440.sim.timeline import render_page
from trio440.sim.world import World

IN_CAMPAIGNS = [pytest.param(each, marks=pytest.mark.campaign) for each in ("crashes", "disks")]


@pytest.mark.parametrize(
    "profile", [pytest.param("calm", marks=pytest.mark.slow), "hostile", *IN_CAMPAIGNS]
)
@pytest.mark.parametrize(("level", "seeds"), [("A", 2), ("B", 1)])
def test_linekv_keeps_its_promises(level: Level, seeds: int, profile: str) -> None:
    for seed in range(seeds):
        outcome, _ = run(Setup("linekv", seed, level, profile))
        assert outcome.failure is None, f"{outcome.failure}\n{outcome.setup.replay_command()}"
        assert outcome.events > 300


@pytest.mark.slow
def test_pct_finds_nothing_either() -> None:
    outcome, _ = run(Setup("linekv", 1, "B", "disks", "pct"))
    assert outcome.failure is None, outcome.failure


@pytest.mark.slow
def test_a_history_is_the_same_in_every_process() -> None:
    assert (
        len(digests_in_processes("linekv 3 A hostile", "linekv 3 B hostile", hash_seeds=(None, 1)))
        == 1
    )


@pytest.mark.parametrize("name", ["journal-new-names-are-not-synced", "linekv-gets-overtake-puts"])
def test_a_bug_is_found_soon(name: str) -> None:
    ablation = by_name(ABLATIONS)[name]
    with ablation.apply():
        found = [run(ablation.setup(seed))[0].failure for seed in range(5)]
    assert any(found)


def test_a_history_that_is_not_linearizable_brings_its_explanation_to_the_page() -> None:
    clock = iter(range(100))
    history = History(lambda: next(clock))
    put = history.invoke("one", LineStore.put(b"k", b"1"))
    put.ok(None)
    get = history.invoke("two", LineStore.get(b"k"))
    get.ok(())
    verdict = check_linearizable(history, LineStore())
    assert verdict.answer == "violated"

    async def story(_world: World) -> None:
        why = verdict.explanations[0]
        raise InvariantViolated("the history is linearizable", str(verdict), why)

    outcome, trace = simulate(story, Setup("test", 0, profile="calm"), keep_trace=True)
    page = render_page(outcome, list(trace))
    assert "fits nowhere" in page
    assert "fits nowhere" not in render_page(attrs.evolve(outcome, failure=None), list(trace))
