"""The miner's worlds: a few seeds hold, the same seed is the same world, and the checks bite."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.sameness import digests_in_processes
from trio440.mining import scheduler
from trio440.mining.hashing import Found, least_hash
from trio440.mining.jobs import Job, Miner
from trio440.mining.policy import Level, Policy
from trio440.mining.ranges import NonceRange
from trio440.sim.outcome import Level as SimLevel
from trio440.sim.outcome import Setup
from trio440.sim.running import run
from trio440.sim.systems.miner_watch import BASES, SPAN, true_hash, true_least

PROFILES = ("hostile", "flaky", "calm", "partitions", "crashes")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("profile", PROFILES)
def test_the_scheduler_keeps_its_promises(profile: str, seed: int) -> None:
    outcome, _ = run(Setup("miner", seed, "A", profile))
    assert outcome.failure is None, outcome


@pytest.mark.parametrize("profile", ["hostile", pytest.param("calm", marks=pytest.mark.slow)])
def test_the_shells_keep_their_promises(profile: str) -> None:
    outcome, _ = run(Setup("miner", 0, "B", profile))
    assert outcome.failure is None, outcome


@pytest.mark.slow
def test_another_process_with_another_hash_seed_gives_the_same_worlds() -> None:
    setups = [f"miner 3 {level} hostile" for level in "AB"]
    levels: list[SimLevel] = ["A", "B"]
    here = tuple(run(Setup("miner", 3, level, "hostile"))[0].digest for level in levels)
    assert digests_in_processes(*setups, hash_seeds=[1]) == {here}


@pytest.mark.parametrize("base", BASES)
def test_the_true_answer_is_that_of_the_reference(base: int) -> None:
    nonces = NonceRange(base + 990, base + SPAN - 1)
    found = true_least("client1 1", nonces)
    assert found == least_hash("client1 1", nonces.lower, nonces.upper)
    assert true_hash("client1 1", found.nonce) == found.hash


def test_a_nonce_outside_of_all_jobs_has_no_true_hash() -> None:
    assert true_hash("client1 1", BASES[0] + SPAN) is None


# The checks bite


def first_failure(profile: str, seeds: int, level: SimLevel = "A") -> str:
    """Return the first promise that is broken, empty if none is."""
    for seed in range(seeds):
        outcome, _ = run(Setup("miner", seed, level, profile))
        if outcome.failure is not None:
            return outcome.failure.invariant
    return ""


def keep_the_first(job: Job, chunk: Any, found: Found) -> None:
    job.chunks.discard(chunk)
    job.missing.remove(chunk.nonces)
    job.unassigned.remove(chunk.nonces)
    job.best = job.best or found


def choose_the_last(policy: Policy, miner: Miner, jobs: list[Job], level: Level) -> Any:
    return policy._cut(miner, max(jobs, key=lambda job: job.number), level)


@pytest.mark.parametrize(
    ("place", "bug", "profile", "promise"),
    [
        ((Job, "answer"), keep_the_first, "hostile", "the books are right"),
        ((Miner, "release"), lambda _: 0, "crashes", "no work is forgotten"),
        (
            (Policy, "choose_chunk"),
            choose_the_last,
            "calm",
            "the shortest job is next, or the oldest",
        ),
        ((scheduler, "CHUNKS_IN_HAND"), 3, "calm", "hands are bounded"),
    ],
)
def test_a_bug_in_the_scheduler_is_found(
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[Any, str],
    bug: Callable[..., Any] | int,
    profile: str,
    promise: str,
) -> None:
    monkeypatch.setattr(*place, bug)
    assert first_failure(profile, 20) == promise


def test_a_wrong_least_hash_is_found_in_the_shells_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "answer", keep_the_first)
    assert first_failure("calm", 3, "B") == "the least hash is found"
