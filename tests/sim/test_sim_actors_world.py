"""Actors at level B: whole systems in simulated worlds, and their sameness."""

import pytest

from tests.support.sameness import digests_in_processes
from trio440.sim.outcome import Setup
from trio440.sim.running import run

IN_CAMPAIGNS = [
    pytest.param(each, marks=pytest.mark.campaign) for each in ("crashes", "partitions", "pauses")
]


@pytest.mark.parametrize("profile", ["hostile", *IN_CAMPAIGNS])
def test_systems_of_actors_keep_their_promises(profile: str) -> None:
    for seed in range(2):
        outcome, _ = run(Setup("actors", seed, "B", profile))
        assert outcome.failure is None, f"{outcome.failure}\n{outcome.setup.replay_command()}"
        assert outcome.events > 300


@pytest.mark.campaign
def test_a_history_is_the_same_in_every_process() -> None:
    assert len(digests_in_processes("actors 3 B hostile", hash_seeds=(None, 1))) == 1
