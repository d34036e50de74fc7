"""The progress of mining jobs as bars on a terminal, drawn by rich."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from trio440.cli.progress import Display, describe, name
from trio440.mining import JobProgress

__all__ = ["open_bars"]


@attrs.define
class _Bars:
    """One bar for each job."""

    period_seconds: float
    _progress: Progress
    _tasks: dict[int, TaskID] = attrs.field(factory=dict, init=False)

    def show(self, jobs: Sequence[JobProgress]) -> None:
        numbers = {job.number for job in jobs}
        for number in self._tasks.keys() - numbers:
            self._progress.remove_task(self._tasks.pop(number))
        for job in jobs:
            if job.number not in self._tasks:
                self._tasks[job.number] = self._progress.add_task(name(job), total=1.0, detail="")
            self._progress.update(
                self._tasks[job.number], completed=job.share, detail=describe(job)
            )
        self._progress.refresh()


@contextmanager
def open_bars(period_seconds: float) -> Iterator[Display]:
    """Draw on standard error until the context ends; then the bars are gone."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        yield _Bars(period_seconds, progress)
