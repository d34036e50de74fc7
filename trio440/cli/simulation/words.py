"""How seeds, outcomes and speeds are written; every line begins with the level."""

from collections.abc import Iterator
from typing import Final

from trio440.sim.campaign import Plan, Tally
from trio440.sim.outcome import Level, Outcome

__all__ = ["failure_lines", "fault_lines", "on_level", "outcome_line", "progress", "summary"]

MICROSECONDS: Final = 1_000_000


def on_level(level: Level, text: str) -> str:
    """Return a line of output."""
    return f"level {level}: {text}"


def seconds(at: int) -> str:
    """Write a virtual time, given in microseconds."""
    return f"{at / MICROSECONDS:.6f} s"


def failure_lines(outcome: Outcome) -> Iterator[str]:
    """Say what failed, when, and how to see it again; nothing for a success."""
    failure, setup = outcome.failure, outcome.setup
    if failure is None:
        return
    # Without a trace, virtual time was lost with the process.
    when = f" at {seconds(failure.at)}" if outcome.digest else ""
    yield on_level(setup.level, f"seed {setup.seed} failed{when}: {failure.invariant}")
    for line in failure.detail.splitlines():
        yield on_level(setup.level, f"    {line}")
    yield on_level(setup.level, f"    replay: {setup.replay_command()}")


def fault_lines(outcome: Outcome) -> Iterator[str]:
    """List the faults that happened, with their positions."""
    keep = outcome.setup.keep
    for place, fault in enumerate(outcome.faults):
        if keep is None or place in keep:
            yield on_level(outcome.setup.level, f"    fault {place}: {fault}")


def outcome_line(outcome: Outcome) -> str:
    """Say which history it was, how it ended, and how long it was."""
    setup = outcome.setup
    end = "passed" if outcome.failure is None else "failed"
    kept = "" if setup.keep is None else f", {len(setup.keep)} of {len(outcome.faults)} faults"
    return on_level(
        setup.level,
        f"{setup.system}, seed {setup.seed}, profile {setup.profile}{kept}:"
        f" {end} after {seconds(outcome.at)}, {outcome.events} events",
    )


def progress(plan: Plan, tally: Tally, real_seconds: float) -> str:
    """Say how far a campaign is."""
    speed = tally.done / real_seconds if real_seconds > 0 else 0.0
    return on_level(
        plan.level,
        f"{tally.done} of {tally.seeds} seeds, {tally.failed} failed, {speed:.1f} seeds/s",
    )


def summary(plan: Plan, tally: Tally, real_seconds: float, cores: int) -> str:
    """Say what came of a campaign, in one line.

    Args:
        plan: what was run.
        tally: what came of it.
        real_seconds: how long it took once the first job was ready.
        cores: how many computed at a time.
    """
    ended = (
        f"all {tally.done} passed" if not tally.failed else f"{tally.failed} of {tally.done} failed"
    )
    if tally.done < tally.seeds:
        ended += f", {tally.seeds - tally.done} not run"
    speed = tally.done / max(real_seconds, 1e-9)
    cores_used = "1 core" if cores == 1 else f"{cores} cores"
    return on_level(
        plan.level,
        f"{plan.system}, profile {plan.profile}, seeds {plan.seeds.start}:{plan.seeds.stop}:"
        f" {ended} in {real_seconds:.1f} s, {speed:.1f} seeds/s on {cores_used},"
        f" {speed / cores:.1f} a core; {tally.virtual_seconds:.0f} virtual seconds,"
        f" {tally.events} events",
    )
