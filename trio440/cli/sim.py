"""``trio440 sim``: whole systems in a simulated world, where one seed gives one history."""

from typing import Any

import click

from trio440.cli import running
from trio440.cli.simulation import ablations, campaigns, patches, replaying
from trio440.cli.simulation.arguments import (
    FILE,
    KEEP,
    LIMIT,
    SEED,
    SEEDS,
    SYSTEM,
    history_options,
    jobs_option,
)
from trio440.cli.simulation.systems import find_system, profiles
from trio440.errors import InvalidParameter
from trio440.sim.campaign import Plan
from trio440.sim.outcome import LEVELS, Level, Order, Setup
from trio440.sim.shrinking import MAX_RUNS
from trio440.sim.systems import SYSTEMS

__all__ = ["command"]


@click.group()
def command() -> None:
    """Run whole systems in a simulated world, where one seed gives one history."""


def _require_level(system: str, level: Level) -> None:
    """Return if the system can be run at this level; a usage error otherwise."""
    try:
        find_system(system).require_level(level)
    except InvalidParameter as error:
        text = f"Invalid value for '--level': {level!r} is not {error.allowed}"
        raise click.UsageError(text, click.get_current_context()) from None


@command.command("run")
@click.argument("system", type=SYSTEM)
@click.option(
    "--seeds",
    type=SEEDS,
    default="0:100",
    show_default=True,
    metavar="START:END",
    help="Which seeds, without END; a number N alone means 0:N.",
)
@history_options
@jobs_option
@click.option(
    "--fail-fast/--keep-going",
    default=False,
    show_default="--keep-going",
    help="Whether the first failure ends the campaign.",
)
@click.option(
    "--shrink/--no-shrink",
    default=True,
    show_default="--shrink",
    help="Whether to look for the faults that the first failure needs.",
)
@click.option(
    "--shrink-runs",
    type=click.IntRange(min=1),
    default=MAX_RUNS,
    show_default=True,
    metavar="N",
    help="How many runs that may take.",
)
@click.option(
    "--html",
    "page",
    type=FILE,
    metavar="FILE",
    help="Write the timeline of the first failure, or of the first seed.",
)
def run_many(
    *,
    system: str,
    seeds: range,
    level: Level,
    profile: str,
    order: Order,
    jobs: int,
    limit: float,
    page: str | None,
    **switches: Any,
) -> int:
    """Run many seeds of SYSTEM and say which of them broke a promise.

    Every failure is printed with the command that replays it; of the first, the faults that
    matter are found. Exit status 1 when a seed failed.
    """
    _require_level(system, level)
    plan = Plan(system=system, seeds=seeds, level=level, profile=profile, order=order)
    options = campaigns.Options(
        plan=plan,
        jobs=jobs,
        fail_fast=switches["fail_fast"],
        limit_seconds=limit,
        shrink_runs=switches["shrink_runs"] if switches["shrink"] else 0,
        page=page,
    )
    return running.run(lambda: campaigns.run_campaign(options))


@command.command()
@click.argument("system", type=SYSTEM)
@click.option("--seed", type=SEED, required=True, metavar="N", help="The seed.")
@history_options
@click.option(
    "--keep",
    type=KEEP,
    metavar="PLACES",
    help="Let only these faults of the plan happen, as 3,7, or none.",
)
@click.option("--hash", "hash_alone", is_flag=True, help="Print the hash of the trace alone.")
@click.option("--trace", is_flag=True, help="Print every event.")
@click.option("--html", "page", type=FILE, metavar="FILE", help="Write the timeline.")
@click.option(
    "--tla-trace",
    "record",
    type=FILE,
    metavar="FILE",
    help="Write what all peers of raft do, in etcd's form for TLA+.",
)
def replay(
    *,
    system: str,
    seed: int,
    level: Level,
    profile: str,
    order: Order,
    keep: tuple[int, ...] | None,
    limit: float,
    **wishes: Any,
) -> int:
    """Run one seed of SYSTEM again and say what came of it.

    The hash of its trace is equal in every run, in every process. Exit status 1 when it fails.
    """
    _require_level(system, level)
    if wishes["record"] is not None and find_system(system).recorded != "TLA+":
        text = f"Invalid value for '--tla-trace': {system} has no such trace; raft has"
        raise click.UsageError(text, click.get_current_context())
    setup = Setup(system, seed, level, profile, order, keep)
    return replaying.replay(setup, replaying.Wishes(limit_seconds=limit, **wishes))


@command.command("ablations")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--max-seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Try so many seeds of each; by default each says how many.",
)
@click.option(
    "--limit",
    type=LIMIT,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Real time after which a seed counts as hanging.",
)
@jobs_option
def find_bugs(names: tuple[str, ...], max_seeds: int | None, limit: float, jobs: int) -> int:
    """Look for every deliberate bug, or for those of these NAMEs; in a clone of trio440.

    Each is a patch in tests/ablations that breaks a system; what is printed is how many seeds it
    took until a promise was broken. Exit status 1 when one was not found.
    """
    folder = patches.find_ablations()
    known = patches.load_ablations(folder)
    if unknown := [name for name in names if name not in known]:
        text = f"Invalid value for 'NAME': {unknown[0]!r} is not one of {', '.join(known)}"
        raise click.UsageError(text, click.get_current_context())
    chosen = [known[name] for name in names or known]
    if not chosen:
        raise click.ClickException(f"there are no ablations in {folder}")
    search = ablations.Search(
        folder=folder, ablations=chosen, jobs=jobs, max_seeds=max_seeds, limit_seconds=limit
    )
    return running.run(lambda: ablations.find_all(search))


@command.command("list")
def show_what_there_is() -> None:
    """List the systems with their levels, and the profiles."""
    systems = {name: find_system(name) for name in SYSTEMS}
    width = max(map(len, systems))
    running.emit("systems:")
    for name, system in systems.items():
        levels = " and ".join(system.levels)
        running.emit(f"  {name:{width}}  level {levels}: {system.summary}")
    running.emit(f"levels: {', '.join(LEVELS)}")
    running.emit(f"profiles: {', '.join(profiles())}")
