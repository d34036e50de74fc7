"""``trio440 sim replay``: one history in this process."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType
from typing import Final

import attrs
import click

from trio440.cli.running import emit
from trio440.cli.simulation.histories import find_run, limited, write_file, write_page
from trio440.cli.simulation.wire import RUN
from trio440.cli.simulation.words import failure_lines, fault_lines, on_level, outcome_line
from trio440.sim.outcome import Outcome, Setup
from trio440.sim.trace import Trace

__all__ = ["Wishes", "replay"]

FAILED: Final = 1


@attrs.frozen(kw_only=True)
class Wishes:
    """What is to be shown of a history."""

    hash_alone: bool = False
    trace: bool = False
    page: str | None = None
    record: str | None = None
    """A file for the system's own record."""
    limit_seconds: float = 60.0
    """Real time that it may take."""


def replay(setup: Setup, wishes: Wishes, run: str = RUN) -> int:
    """Run a history, show what came of it and return the exit status.

    Not inside trio: the history has a loop of its own.

    Raises:
        OutputClosed: nobody reads standard output.
        ClickException: the page cannot be written, or a fault is not in the plan.
    """
    keep_trace = wishes.trace or wishes.page is not None
    simulate = find_run(run)
    lines: list[bytes] = []
    options = {} if wishes.record is None else {"record": lines.append}
    with (
        _ended_by_signals(),
        limited(setup, wishes.limit_seconds, _end_hung),
        redirect_stdout(sys.stderr),
    ):
        outcome, trace = simulate(setup, keep_trace=keep_trace, **options)
    _require_faults(outcome)
    if wishes.page is not None:
        write_page(wishes.page, outcome, trace)
    if wishes.record is not None:
        write_file(wishes.record, b"".join(lines))
    if wishes.hash_alone:
        emit(outcome.digest)
    else:
        for line in _lines(outcome, trace, wishes):
            emit(line)
    return FAILED if outcome.failure is not None else 0


def _require_faults(outcome: Outcome) -> None:
    """Return if every fault that was to happen is in the plan; a usage error otherwise."""
    keep, count = outcome.setup.keep, len(outcome.faults)
    if keep and keep[-1] >= count:
        allowed = f"its faults go from 0 to {count - 1}" if count else "it has none"
        raise click.BadParameter(
            f"the plan has no fault {keep[-1]}, {allowed}", param_hint="'--keep'"
        )


def _lines(outcome: Outcome, trace: Trace, wishes: Wishes) -> Iterator[str]:
    level = outcome.setup.level
    if wishes.trace:
        kept = [*trace]
        yield from map(str, kept)
        if len(kept) < len(trace):
            yield on_level(level, f"{len(trace) - len(kept)} more events are not shown")
    yield outcome_line(outcome)
    if outcome.failure is not None:
        yield from failure_lines(outcome)
        yield from fault_lines(outcome)
    yield on_level(level, f"hash {outcome.digest}")
    if wishes.page is not None:
        yield on_level(level, f"the timeline is in {wishes.page}")
    if wishes.record is not None:
        yield on_level(level, f"the peers' trace is in {wishes.record}")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process at once, whatever the history is doing.

    As exceptions they would be part of the history, or be caught by it.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        os._exit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_hung(outcome: Outcome) -> None:
    """Tell of a history that does not end, and end the process."""
    lines = "".join(f"{line}\n" for line in failure_lines(outcome))
    os.write(1, lines.encode(errors="surrogateescape"))
    os._exit(FAILED)
