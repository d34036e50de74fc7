"""Worlds of Raft at level A: a seed of each profile, here and now."""

import pytest

from tests.support.sameness import digests_in_processes
from trio440.sim.outcome import Setup
from trio440.sim.profiles import PROFILES
from trio440.sim.running import run


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_a_world_keeps_every_promise(profile: str) -> None:
    outcome, _ = run(Setup("raft", 0, "A", profile))
    assert outcome.failure is None, outcome.setup.replay_command()


@pytest.mark.slow
def test_one_seed_is_one_history_in_every_process() -> None:
    assert len(digests_in_processes("raft 3 A hostile", hash_seeds=(None, 1))) == 1


@pytest.mark.campaign
@pytest.mark.parametrize("profile", ["hostile", "partitions", "crashes", "clocks", "shuffled"])
def test_many_worlds_keep_every_promise(profile: str) -> None:
    for seed in range(1_000):
        outcome, _ = run(Setup("raft", seed, "A", profile))
        assert outcome.failure is None, outcome.setup.replay_command()
