"""The store at both levels: a few histories, and their sameness."""

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
@pytest.mark.parametrize("setup", ["kv 3 A hostile", "kv 3 B hostile"])
def test_a_history_is_the_same_in_every_process(setup: str) -> None:
    assert len(digests_in_processes(setup, hash_seeds=(None, 1))) == 1


@pytest.mark.parametrize("profile", ["hostile", *IN_CAMPAIGNS])
def test_servers_and_clients_keep_their_promises(profile: str) -> None:
    outcome, _ = run(Setup("kv", 0, "B", profile))
    assert outcome.failure is None, f"{outcome.failure}\n{outcome.setup.replay_command()}"
    assert outcome.events > 300
