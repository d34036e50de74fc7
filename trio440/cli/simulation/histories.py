"""Running one history in this process, with a limit of real time and a page of its timeline."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Protocol

import attrs
import click

from trio440.sim.campaign import hung
from trio440.sim.outcome import Failure, Outcome, Setup
from trio440.sim.trace import Record, Trace

__all__ = ["Run", "find_run", "limited", "write_file", "write_page"]


class Run(Protocol):
    """What runs a history: :func:`trio440.sim.running.run`, or a test's own."""

    def __call__(
        self, setup: Setup, *, keep_trace: bool = False, record: Record = ...
    ) -> tuple[Outcome, Trace]:
        """Run it; a failure of the system is told in the outcome, not raised."""


def find_run(name: str) -> Run:
    """Return the function that ``MODULE:FUNCTION`` names."""
    module, _, function = name.partition(":")
    run: Run = getattr(import_module(module), function)
    return run


@contextmanager
def limited(setup: Setup, seconds: float, end: Callable[[Outcome], None]) -> Iterator[None]:
    """Bound the body's real time; for the main thread.

    Args:
        setup: what the body runs.
        seconds: how long it may take.
        end: is called in the midst of the body with the outcome of a history that hangs; it
            ends the process.
    """

    def on_alarm(number: int, frame: FrameType | None) -> None:
        del number
        end(_hung_at(setup, seconds, frame))
        os._exit(os.EX_SOFTWARE)

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _hung_at(setup: Setup, seconds: float, frame: FrameType | None) -> Outcome:
    """Say where it was when its time was over."""
    outcome = hung(setup, seconds)
    if frame is None or outcome.failure is None:
        return outcome
    code = frame.f_code
    place = f"it was in {code.co_qualname}, {code.co_filename}:{frame.f_lineno}"
    detail = f"{outcome.failure.detail}\n{place}"
    return attrs.evolve(outcome, failure=Failure(outcome.failure.invariant, detail, at=0))


def write_page(path: str, outcome: Outcome, trace: Trace) -> None:
    """Write the timeline of a history, as one HTML page.

    Raises:
        ClickException: the file cannot be written.
    """
    from trio440.sim.timeline import render_page  # noqa: PLC0415 - of use to few commands

    write_file(path, render_page(outcome, list(trace)).encode())


def write_file(path: str, data: bytes) -> None:
    """Write a file.

    Raises:
        ClickException: it cannot be written.
    """
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise click.ClickException(f"{path} cannot be written: {reason}") from None
