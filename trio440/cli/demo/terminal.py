"""The demo on a terminal, drawn by rich."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from trio440.cli.demo.screen import Screen

__all__ = ["open_terminal"]


class _TerminalScreen:
    """Lines above, bars below; a part begins without the bars of the last."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def title(self, text: str) -> None:
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()
        self._bars.console.rule(text, align="left")

    def say(self, text: str) -> None:
        self._bars.console.print(text, markup=False)

    def progress(self, name: str, share: float, detail: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=1.0, detail="")
        self._bars.update(self._tasks[name], completed=share, detail=detail)


@contextmanager
def open_terminal() -> Iterator[Screen]:
    """Draw on standard output until the context ends."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=Console(highlight=False)) as bars:
        yield _TerminalScreen(bars)
