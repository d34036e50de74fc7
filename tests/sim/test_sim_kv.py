"""The store at level A: a few histories, and their sameness."""

import pytest

from tests.support.sameness import digests_in_processes
from trio440.sim.outcome import Setup
from trio440.sim.running import run

IN_CAMPAIGNS = [
    pytest.param(each, marks=pytest.mark.campaign)
    for each in ("calm", "partitions", "clocks", "shuffled")
]


@pytest.mark.parametrize("profile", ["hostile", "crashes", *IN_CAMPAIGNS])
def test_replicas_keep_their_promises(profile: str) -> None:
    outcome, _ = run(Setup("kv", 3, "A", profile))
    assert outcome.failure is None, f"{outcome.failure}\n{outcome.setup.replay_command()}"
    assert outcome.events > 50


@pytest.mark.campaign
def test_a_history_is_the_same_in_every_process() -> None:
    assert len(digests_in_processes("kv 3 A hostile", hash_seeds=(None, 1))) == 1
