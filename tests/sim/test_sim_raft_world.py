"""Raft at level B: whole peers and clients in simulated worlds, their sameness, and a bug."""

import pytest

from tests.support.sameness import digests_in_processes
from trio440.raft import driver
from trio440.sim.outcome import Setup
from trio440.sim.running import run

IN_CAMPAIGNS = [
    pytest.param(each, marks=pytest.mark.campaign) for each in ("crashes", "partitions")
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "profile", ["hostile", pytest.param("disks", marks=pytest.mark.slow), *IN_CAMPAIGNS]
)
def test_raft_keeps_its_promises(profile: str) -> None:
    for seed in range(1):
        outcome, _ = run(Setup("raft", seed, "B", profile))
        assert outcome.failure is None, f"{outcome.failure}\n{outcome.setup.replay_command()}"
        assert outcome.events > 300


@pytest.mark.slow
def test_a_history_is_the_same_in_every_process() -> None:
    assert len(digests_in_processes("raft 3 B hostile", hash_seeds=(None, 1))) == 1


def test_a_peer_that_speaks_before_it_writes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_has_writes", lambda _: False)
    failure = run(Setup("raft", 0, "B", "calm"))[0].failure
    assert failure is not None
    assert failure.invariant == "a term is durable before it is spoken in"
