"""How far a campaign is, on standard error: a bar on a terminal, now and then a line elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from trio440.cli.running import emit, note
from trio440.core import REAL_HOST

__all__ = ["Display", "open_display"]

LINE_SECONDS: Final = 2.0
BAR_SECONDS: Final = 0.1


class Display(Protocol):
    """Where progress is shown."""

    def show(self, text: str, share: float) -> None:
        """Show how far it is: a line, and the share from 0 to 1 that is done."""

    def say(self, line: str) -> None:
        """Print a line to standard output."""


class _Lines:
    """A line every few seconds."""

    def __init__(self) -> None:
        self._next = REAL_HOST.clock.now() + LINE_SECONDS

    def show(self, text: str, share: float) -> None:
        del share
        now = REAL_HOST.clock.now()
        if now >= self._next:
            self._next = now + LINE_SECONDS
            note(text)

    def say(self, line: str) -> None:
        emit(line)


@contextmanager
def open_display() -> Iterator[Display]:
    """Open the display that fits standard error; inside trio."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield _Lines()
        return
    from trio440.cli.simulation.bar import open_bar  # noqa: PLC0415 - rich takes long to load

    with open_bar(BAR_SECONDS) as display:
        yield display
