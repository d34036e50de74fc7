"""``trio440 sim ablations``: each deliberate bug, and how many seeds it takes to find it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from trio440.cli.simulation.jobs import DIED, Job, open_jobs
from trio440.cli.simulation.progress import open_display
from trio440.cli.simulation.wire import RUN, Patch, Request
from trio440.cli.simulation.words import on_level
from trio440.core import REAL_HOST
from trio440.sim.ablating import Ablation, is_misfit
from trio440.sim.campaign import SIMULATOR_FAILED
from trio440.sim.outcome import Outcome

__all__ = ["Search", "find_all"]

FAILED: Final = 1


@attrs.frozen(kw_only=True)
class Search:
    """Which ablations are looked for, and how."""

    folder: Path
    ablations: Sequence[Ablation]
    jobs: int = 1
    max_seeds: int | None = None
    """Instead of each one's own number."""
    limit_seconds: float = 60.0
    """Real time that one history may take."""

    def bound(self, ablation: Ablation) -> int:
        """Return how many seeds are tried at most."""
        return ablation.within if self.max_seeds is None else self.max_seeds


@attrs.frozen
class _Result:
    ablation: Ablation
    seeds: int
    outcome: Outcome
    """What the last of them came to."""

    @property
    def found(self) -> bool:
        """Whether a promise was seen to be broken; what could not be run as meant shows none."""
        failure = self.outcome.failure
        if failure is None or failure.invariant in (DIED, SIMULATOR_FAILED):
            return False
        return not is_misfit(failure)


async def find_all(search: Search, run: str = RUN) -> int:
    """Look for every ablation, print a line for each and return the exit status.

    Cancelled: its processes are gone and nothing more is said.

    Raises:
        JobFailed: nothing can be run.
    """
    waiting = iter(enumerate(search.ablations))
    widths = _widths(search.ablations)
    count = len(search.ablations)
    results: dict[int, _Result] = {}
    printed = 0
    start = REAL_HOST.clock.now()
    with open_display() as display:

        async def work(job: Job) -> None:
            nonlocal printed
            for number, ablation in waiting:
                results[number] = await _find(ablation, job, search)
                while printed in results:
                    display.say(_row(results[printed], widths))
                    printed += 1
                display.show(f"{len(results)} of {count} ablations", len(results) / count)

        async with open_jobs(min(search.jobs, count), run) as jobs, trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(work, job)
        missed = sum(not result.found for result in results.values())
        words = f"all {count} found" if not missed else f"{missed} of {count} NOT FOUND"
        seeds = sum(result.seeds for result in results.values())
        levels = "".join(sorted({ablation.level for ablation in search.ablations}))
        spent = f"{seeds} seeds in {REAL_HOST.clock.now() - start:.1f} s"
        display.say(f"level {' and '.join(levels)}: {words}; {spent}")
    return FAILED if missed else 0


async def _find(ablation: Ablation, job: Job, search: Search) -> _Result:
    """Run seeds until one fails."""
    patch = Patch(str(search.folder), ablation.name)
    bound = search.bound(ablation)
    count = 0
    while True:
        setup = ablation.setup(ablation.first + count)
        outcome = await job.run_one(
            Request(setup=setup, limit_seconds=search.limit_seconds, patch=patch)
        )
        count += 1
        if outcome.failure is not None or count == bound:
            return _Result(ablation, count, outcome)


def _widths(ablations: Iterable[Ablation]) -> tuple[int, int, int]:
    """Return how wide the columns are: names, systems, profiles."""
    rows = [(len(one.name), len(one.system), len(one.profile)) for one in ablations]
    names, systems, profiles = zip(*rows, strict=True)
    return max(names), max(systems), max(profiles)


def _row(result: _Result, widths: tuple[int, int, int]) -> str:
    """Write a line of the table."""
    ablation, failure = result.ablation, result.outcome.failure
    seeds = f"{result.seeds} seed{'' if result.seeds == 1 else 's'}"
    if ablation.first:
        seeds += f" from {ablation.first} on"
    if result.found and failure is not None:
        came = f"found in {seeds}: {failure.invariant}"
    elif failure is not None:
        came = f"NOT FOUND: {failure.invariant}, but {failure.detail}"
    else:
        came = f"NOT FOUND in {seeds}"
    name, system, profile = (
        text.ljust(width)
        for text, width in zip(
            (ablation.name, ablation.system, ablation.profile), widths, strict=True
        )
    )
    return on_level(ablation.level, f"{name}  {system}  {profile}  {came}")
