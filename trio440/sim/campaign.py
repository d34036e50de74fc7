"""A campaign: many seeds of one system, handed out in chunks, and what came of them.

Pure: whoever runs the histories (processes, a test) asks :meth:`Campaign.take` for seeds and
tells :meth:`Campaign.report` what came of each.
"""

from collections.abc import Sequence
from typing import Final

import attrs

from trio440.errors import InvalidParameter
from trio440.sim.chance import Seed
from trio440.sim.outcome import Failure, Level, Order, Outcome, Setup

__all__ = ["HANGS", "SIMULATOR_FAILED", "Campaign", "Plan", "Tally", "hung"]

HANGS: Final = "the run ends"
"""The promise that a history breaks which does not end in real time."""

SIMULATOR_FAILED: Final = "the simulator itself works"
"""The promise that a history breaks which could not be run at all."""

LARGEST_CHUNK: Final = 32
CHUNKS_PER_JOB: Final = 4
"""A job gets so much of what is left that about so many more chunks follow for it."""


@attrs.frozen(kw_only=True)
class Plan:
    """What a campaign runs."""

    system: str
    seeds: range
    level: Level = "B"
    profile: str = "flaky"
    order: Order = "random"

    def setup(self, seed: Seed) -> Setup:
        """Return the history of one seed."""
        return Setup(
            system=self.system,
            seed=seed,
            level=self.level,
            profile=self.profile,
            order=self.order,
        )


@attrs.frozen
class Tally:
    """How far a campaign is."""

    seeds: int
    """How many there are."""
    done: int
    failed: int
    events: int
    """Of all traces together."""
    virtual_seconds: float
    """Of all histories together."""


class Campaign:
    """Hands out the seeds of a plan, each once, and counts what came of them."""

    def __init__(self, plan: Plan, *, jobs: int = 1, fail_fast: bool = False) -> None:
        """Start with all seeds ahead.

        Args:
            plan: what is run.
            jobs: how many ask for seeds, at least 1.
            fail_fast: hand out no seed after the first failure.

        Raises:
            InvalidParameter: there is no job, or no seed.
        """
        if jobs < 1:
            raise InvalidParameter("jobs", jobs, "at least 1")
        if not plan.seeds:
            raise InvalidParameter("seeds", f"{plan.seeds.start}:{plan.seeds.stop}", "at least one")
        self.plan = plan
        self._jobs = jobs
        self._fail_fast = fail_fast
        self._next = 0
        self._returned: list[Seed] = []
        self._failures: list[Outcome] = []
        self._done = self._events = self._time = 0

    @property
    def failures(self) -> Sequence[Outcome]:
        """The histories that failed, by their seeds."""
        return sorted(self._failures, key=lambda outcome: outcome.setup.seed)

    @property
    def tally(self) -> Tally:
        """How far it is."""
        return Tally(
            seeds=len(self.plan.seeds),
            done=self._done,
            failed=len(self._failures),
            events=self._events,
            virtual_seconds=self._time / 1e6,
        )

    @property
    def stopped(self) -> bool:
        """Whether no seed is handed out any more because one has failed."""
        return self._fail_fast and bool(self._failures)

    def take(self) -> list[Setup]:
        """Return the next few histories to run, in order; none when all are handed out."""
        if self.stopped:
            return []
        if self._returned:
            seeds: Sequence[Seed] = self._returned
            self._returned = []
        else:
            left = len(self.plan.seeds) - self._next
            size = min(max(left // (CHUNKS_PER_JOB * self._jobs), 1), LARGEST_CHUNK, left)
            seeds = self.plan.seeds[self._next : self._next + size]
            self._next += size
        return [self.plan.setup(seed) for seed in seeds]

    def give_back(self, setups: Sequence[Setup]) -> None:
        """Take back what was handed out and not run, for somebody else to take."""
        self._returned += [setup.seed for setup in setups]

    def report(self, outcome: Outcome) -> None:
        """Count what came of a history."""
        self._done += 1
        self._events += outcome.events
        self._time += outcome.at
        if outcome.failure is not None:
            self._failures.append(outcome)


def hung(setup: Setup, limit_seconds: float) -> Outcome:
    """Return the outcome of a history that was ended because it did not end by itself."""
    detail = (
        f"the run was not over after {limit_seconds:g} s of real time;"
        " a task may spin without ever waiting"
    )
    return Outcome(setup, digest="", events=0, at=0, failure=Failure(HANGS, detail, at=0))
