"""What a demo writes to: lines for a pipe, lines and moving bars for a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

import trio

from trio440.cli.running import emit

__all__ = ["Screen", "open_screen"]

PLAIN_PROGRESS_SECONDS = 1.0
"""The least time between two progress lines of one thing where they cannot move."""


class Screen(Protocol):
    """Where a demo shows what it does."""

    def title(self, text: str) -> None:
        """Begin a part."""

    def say(self, text: str) -> None:
        """Write one line."""

    def progress(self, name: str, share: float, detail: str) -> None:
        """Show that ``share`` (0 to 1) of a thing is done; call it as often as you like."""


class _PlainScreen:
    """Lines, each flushed; progress a line a second."""

    def __init__(self) -> None:
        self._next_progress: dict[str, float] = {}

    def title(self, text: str) -> None:
        self._next_progress.clear()
        emit(f"== {text}")

    def say(self, text: str) -> None:
        emit(text)

    def progress(self, name: str, share: float, detail: str) -> None:
        now = trio.current_time()
        if now >= self._next_progress.get(name, now):
            self._next_progress[name] = now + PLAIN_PROGRESS_SECONDS
            emit(f"   {name}: {share:4.0%}  {detail}")


@contextmanager
def open_screen(output: TextIO | None) -> Iterator[Screen]:
    """Open the screen that fits the output.

    Raises:
        OutputClosed: nobody reads it, now or at any later line.
    """
    if output is None or not output.isatty():
        yield _PlainScreen()
        return
    from trio440.cli.demo.terminal import open_terminal  # noqa: PLC0415 - rich takes long to load

    with open_terminal() as screen:
        yield screen
