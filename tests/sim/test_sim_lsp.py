"""LSP in simulated worlds: a few histories at each level, and their sameness everywhere."""

import pytest

from tests.support.sameness import digests_in_processes
from trio440.sim.outcome import Level, Setup
from trio440.sim.running import run

IN_CAMPAIGNS = [
    pytest.param(each, marks=pytest.mark.campaign) for each in ("partitions", "crashes")
]


@pytest.mark.parametrize(
    "profile", [pytest.param("calm", marks=pytest.mark.slow), "hostile", *IN_CAMPAIGNS]
)
@pytest.mark.parametrize(("level", "seeds"), [("A", 2), ("B", 1)])
def test_lsp_keeps_its_promises(level: Level, seeds: int, profile: str) -> None:
    for seed in range(seeds):
        outcome, _ = run(Setup("lsp", seed, level, profile))
        assert outcome.failure is None, f"{outcome.failure}\n{outcome.setup.replay_command()}"
        assert outcome.events > 500


@pytest.mark.slow
def test_pct_finds_nothing_either() -> None:
    outcome, _ = run(Setup("lsp", 1, "B", "flaky", "pct"))
    assert outcome.failure is None, outcome.failure


@pytest.mark.slow
def test_a_history_is_the_same_in_every_process() -> None:
    assert (
        len(digests_in_processes("lsp 7 A hostile", "lsp 7 B hostile", hash_seeds=(None, 1))) == 1
    )
