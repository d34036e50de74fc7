"""How far mining jobs are, on standard error: bars on a terminal, now and then a line elsewhere."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import attrs

from trio440.cli.running import note
from trio440.mining import JobProgress

__all__ = ["LINE_SECONDS", "Display", "describe", "duration", "name", "open_display", "rate"]

LINE_SECONDS: Final = 2.0
BAR_SECONDS: Final = 0.2
SHOWN_TEXT: Final = 20
MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
YEAR: Final = 365 * DAY


class Display(Protocol):
    """Where progress is shown."""

    @property
    def period_seconds(self) -> float:
        """How often it wants to be told."""

    def show(self, jobs: Sequence[JobProgress]) -> None:
        """Show the jobs that there are now."""


@attrs.frozen
class _Lines:
    """A line for each job."""

    period_seconds: float

    def show(self, jobs: Sequence[JobProgress]) -> None:
        for job in jobs:
            note(f"{name(job)}: {100 * job.share:.1f} % done, {describe(job)}")


@contextmanager
def open_display(line_seconds: float = LINE_SECONDS) -> Iterator[Display]:
    """Open the display that fits standard error: bars, or a line every ``line_seconds``."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield _Lines(line_seconds)
        return
    from trio440.cli.progress_bars import open_bars  # noqa: PLC0415 - rich takes long to load

    with open_bars(BAR_SECONDS) as display:
        yield display


def name(job: JobProgress) -> str:
    """Name a job by its number and the beginning of its text."""
    text = job.text if len(job.text) <= SHOWN_TEXT else job.text[: SHOWN_TEXT - 1] + "…"
    return f"job {job.number} {text!r}"


def describe(job: JobProgress) -> str:
    """Say how fast a job is, by how many miners, and how long it will take."""
    miners = f"{job.miners} miner{'' if job.miners == 1 else 's'}"
    if job.seconds_left is None:
        return f"{miners} at work"
    return f"{rate(job.nonces_per_second)} by {miners}, {duration(job.seconds_left)} left"


def rate(nonces_per_second: float) -> str:
    """Write a speed, e.g. ``41.3 million hashes/s``."""
    if nonces_per_second >= 1e6:  # noqa: PLR2004 - the word is the number
        return f"{nonces_per_second / 1e6:.1f} million hashes/s"
    return f"{nonces_per_second:.0f} hashes/s"


def duration(seconds: float) -> str:
    """Write a time in two units at most, e.g. ``2 h 5 min``."""
    whole = round(seconds)
    if whole >= YEAR:
        return f"{whole / YEAR:,.0f} years"
    if whole >= DAY:
        return f"{whole // DAY} d {whole % DAY // HOUR} h"
    if whole >= HOUR:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    if whole >= MINUTE:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    return f"{whole} s"
