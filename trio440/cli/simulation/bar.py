"""The progress of a campaign as a bar on a terminal, drawn by rich."""

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from trio440.cli.running import emit
from trio440.cli.simulation.progress import Display
from trio440.core import REAL_HOST

__all__ = ["open_bar"]


@attrs.define
class _Bar:
    """One bar, which makes room for lines of standard output."""

    _period_seconds: float
    _progress: Progress
    _task: TaskID
    _next: float = 0.0

    def show(self, text: str, share: float) -> None:
        self._progress.update(self._task, description=text, completed=share)
        now = REAL_HOST.clock.now()
        if now >= self._next:
            self._next = now + self._period_seconds
            self._progress.refresh()

    def say(self, line: str) -> None:
        self._progress.stop()
        emit(line)
        self._progress.start()


@contextmanager
def open_bar(period_seconds: float) -> Iterator[Display]:
    """Draw on standard error until the context ends; then the bar is gone."""
    columns = (
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.description}", markup=False),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        yield _Bar(period_seconds, progress, progress.add_task("", total=1.0))
