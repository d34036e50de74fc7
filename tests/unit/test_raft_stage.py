"""Worlds of Raft at level A: a few seeds of each profile, here and now."""

import os
import subprocess
import sys

import pytest

from trio440.sim.outcome import Setup
from trio440.sim.profiles import PROFILES
from trio440.sim.running import run


@pytest.mark.parametrize("profile", PROFILES)
def test_a_few_worlds_keep_every_promise(profile: str) -> None:
    for seed in range(4):
        outcome, _ = run(Setup("raft", seed, "A", profile))
        assert outcome.failure is None, outcome.setup.replay_command()


def test_one_seed_is_one_history_in_every_process() -> None:
    setup = 'Setup("raft", 3, "A", "hostile")'
    code = (
        "from trio440.sim.outcome import Setup\n"
        "from trio440.sim.running import run\n"
        f"print(run({setup})[0].digest)"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        digests.add(subprocess.check_output([sys.executable, "-c", code], env=environment))
    assert len(digests) == 1


@pytest.mark.campaign
@pytest.mark.parametrize("profile", ["hostile", "partitions", "crashes", "clocks", "shuffled"])
def test_many_worlds_keep_every_promise(profile: str) -> None:
    for seed in range(1_000):
        outcome, _ = run(Setup("raft", seed, "A", profile))
        assert outcome.failure is None, outcome.setup.replay_command()
