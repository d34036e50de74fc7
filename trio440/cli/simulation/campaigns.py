"""``trio440 sim run``: the seeds of a plan over job processes, and the first failure shrunk."""

import os
from typing import Final

import attrs
import trio

from trio440.cli.simulation.jobs import Job, open_jobs
from trio440.cli.simulation.progress import Display, open_display
from trio440.cli.simulation.wire import RUN, Request
from trio440.cli.simulation.words import (
    failure_lines,
    fault_lines,
    on_level,
    progress,
    summary,
)
from trio440.core import REAL_HOST
from trio440.sim.campaign import Campaign, Plan
from trio440.sim.outcome import Outcome, Setup
from trio440.sim.shrinking import Shrunk, places_of, same_failure, search

__all__ = ["Options", "run_campaign"]

FAILED: Final = 1
TOLD_IN_FULL: Final = 5
"""So many failures are told with all that was seen; of more, only which they are."""


@attrs.frozen(kw_only=True)
class Options:
    """How a campaign is run."""

    plan: Plan
    jobs: int = 1
    """Processes."""
    fail_fast: bool = False
    limit_seconds: float = 60.0
    """Real time that one history may take."""
    shrink_runs: int = 200
    """The most histories that shrinking may run; 0: it is left out."""
    page: str | None = None
    """A file for the timeline of the first failure, or of the first seed."""


async def run_campaign(options: Options, run: str = RUN) -> int:
    """Run a campaign, say what came of it and return the exit status.

    Cancelled: its processes are gone and nothing more is said.

    Raises:
        JobFailed: nothing can be run.
    """
    plan = options.plan
    campaign = Campaign(plan, jobs=options.jobs, fail_fast=options.fail_fast)
    with open_display() as display:
        async with open_jobs(min(options.jobs, len(plan.seeds)), run) as jobs:
            real_seconds = await _run_all(campaign, jobs, options, display)
            if campaign.stopped:
                for job in jobs:  # each may be in the midst of a history
                    await job.stop()
            shown = plan.setup(plan.seeds[0])
            if campaign.failures:
                await _compare(campaign.failures[0], options, display, run)
                shown = await _explain(campaign.failures[0], jobs[0], options, display)
            if options.page is not None:
                await _draw(
                    Request(setup=shown, limit_seconds=options.limit_seconds, page=options.page),
                    jobs[0],
                    display,
                )
        cores = min(len(jobs), len(os.sched_getaffinity(0)))
        display.say(summary(plan, campaign.tally, real_seconds, cores))
    return FAILED if campaign.failures else 0


async def _run_all(
    campaign: Campaign, jobs: list[Job], options: Options, display: Display
) -> float:
    """Run all seeds and return how long it took since the first job was ready."""
    start: float | None = None
    now = REAL_HOST.clock.now

    async with trio.open_nursery() as nursery:

        def report(outcome: Outcome) -> None:
            campaign.report(outcome)
            lines = list(failure_lines(outcome))
            if len(campaign.failures) > TOLD_IN_FULL:
                del lines[1:-1]
            for line in lines:
                display.say(line)
            tally = campaign.tally
            since = 0.0 if start is None else now() - start
            display.show(progress(campaign.plan, tally, since), tally.done / tally.seeds)
            if campaign.stopped:
                nursery.cancel_scope.cancel()

        async def work(job: Job) -> None:
            nonlocal start
            await job.start()
            start = now() if start is None else start
            while setups := campaign.take():
                await job.run(
                    [Request(setup=one, limit_seconds=options.limit_seconds) for one in setups],
                    report,
                )

        for job in jobs:
            nursery.start_soon(work, job)
    return now() - (now() if start is None else start)


async def _compare(failed: Outcome, options: Options, display: Display, run: str) -> None:
    """Say so if the history of a failure is another one in another process."""
    if not failed.digest:
        return
    async with open_jobs(1, run) as [fresh]:
        request = Request(setup=failed.setup, limit_seconds=options.limit_seconds)
        again = await fresh.run_one(request)
    if again.digest != failed.digest:
        words = (
            f"seed {failed.setup.seed} has another history in another process: something in it"
            " depends on more than the seed, as the order of a set does"
        )
        display.say(on_level(failed.setup.level, words))


async def _explain(failed: Outcome, job: Job, options: Options, display: Display) -> Setup:
    """Shrink a failure and say what it needs; returns the least history that shows it."""
    setup = failed.setup
    if options.shrink_runs < 1 or not places_of(failed):
        return setup
    shrunk, least = await _shrink(failed, job, options, display)
    level, runs = setup.level, f"{shrunk.runs} run{'' if shrunk.runs == 1 else 's'}"
    count = len(places_of(failed))
    if least is failed:
        words = f"all {count} faults of seed {setup.seed} matter"
    else:
        words = f"{len(shrunk.places)} of {count} faults of seed {setup.seed} matter"
    cut_short = "" if shrunk.minimal else "; the search was cut short, perhaps fewer do"
    display.say(on_level(level, f"{words} ({runs}{cut_short}):"))
    for line in fault_lines(least):
        display.say(line)
    if not shrunk.places:
        display.say(on_level(level, "    none: it fails in fair weather, too"))
    for line in failure_lines(least):
        display.say(line)
    return least.setup


async def _shrink(
    failed: Outcome, job: Job, options: Options, display: Display
) -> tuple[Shrunk, Outcome]:
    """Look for the faults that matter; also returns the last history that failed."""
    least = failed
    runs = 0
    steps = search(places_of(failed), max_runs=options.shrink_runs)
    try:
        keep = next(steps)
        while True:
            setup = attrs.evolve(failed.setup, keep=keep)
            request = Request(setup=setup, limit_seconds=options.limit_seconds)
            outcome = await job.run_one(request)
            runs += 1
            fails = same_failure(failed, outcome)
            least = outcome if fails else least
            words = f"shrinking seed {setup.seed}: {len(places_of(least))} faults, {runs} runs"
            display.show(on_level(setup.level, words), min(runs / options.shrink_runs, 1.0))
            keep = steps.send(fails)
    except StopIteration as found:
        return found.value, least


async def _draw(request: Request, job: Job, display: Display) -> None:
    """Write the page of a history."""
    outcome = await job.run_one(request)
    setup = request.setup
    if not outcome.digest:  # it took its process down, or never ended
        display.say(on_level(setup.level, f"there is no timeline of seed {setup.seed}"))
        return
    display.say(on_level(setup.level, f"the timeline of seed {setup.seed} is in {request.page}"))
