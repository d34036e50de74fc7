"""linekv in simulated worlds: a few histories at each level, and their sameness everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ablations import ABLATIONS
from trio440.sim.ablating import by_name
from trio440.sim.outcome import Level, Setup
from trio440.sim.running import run

SAME = """
from trio440.sim.outcome import Setup
from trio440.sim.running import run
for level in "AB":
    print(run(Setup("linekv", 3, level, "hostile"))[0].digest)
"""


@pytest.mark.parametrize("profile", ["calm", "hostile", "crashes", "disks"])
@pytest.mark.parametrize(("level", "seeds"), [("A", 4), ("B", 1)])
def test_linekv_keeps_its_promises(level: Level, seeds: int, profile: str) -> None:
    for seed in range(seeds):
        outcome, _ = run(Setup("linekv", seed, level, profile))
        assert outcome.failure is None, f"{outcome.failure}\n{outcome.setup.replay_command()}"
        assert outcome.events > 300


def test_pct_finds_nothing_either() -> None:
    outcome, _ = run(Setup("linekv", 1, "B", "disks", "pct"))
    assert outcome.failure is None, outcome.failure


def test_a_history_is_the_same_in_every_process() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SAME],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("name", ["journal-new-names-are-not-synced", "linekv-gets-overtake-puts"])
def test_a_bug_is_found_soon(name: str) -> None:
    ablation = by_name(ABLATIONS)[name]
    with ablation.apply():
        found = [run(ablation.setup(seed))[0].failure for seed in range(5)]
    assert any(found)
