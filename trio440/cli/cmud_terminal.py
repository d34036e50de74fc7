"""The game on a terminal: colour, a line that is edited, and others who are heard meanwhile.

The last row is the line that the player edits, or a bar while something takes its time.
Whatever is told goes above it.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from rich.cells import cell_len
from rich.progress_bar import ProgressBar

from trio440.cli.cmud_plain import WIDTH, wrapped
from trio440.cli.line_terminal import LineTerminal, open_line_terminal
from trio440.cmud import Tone

__all__ = ["TerminalFace", "open_terminal_face"]

STYLES: Final = {
    Tone.PLAIN: "",
    Tone.TITLE: "bold cyan",
    Tone.GOOD: "green",
    Tone.BAD: "red",
    Tone.VOICE: "bold yellow",
    Tone.QUIET: "dim",
}
BAR_COLUMNS: Final = 30
LEAST_BAR_COLUMNS: Final = 8


class TerminalFace:
    """A terminal of one player; made by :func:`open_terminal_face`."""

    def __init__(self, terminal: LineTerminal) -> None:
        self._terminal = terminal

    async def ask(self, prompt: str) -> str | None:
        """Let the player edit a line; see :class:`~trio440.cmud.Face`."""
        return await self._terminal.ask(prompt)

    def tell(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Write lines above the last row."""
        columns = min(self._terminal.columns - 1, WIDTH)
        lines = wrapped(text, columns)
        self._terminal.write(
            "".join(self._terminal.styled(line, STYLES[tone]) + "\n" for line in lines)
        )

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[float], None]]:
        """Draw a bar in the last row."""
        share = 0.0

        def advance(to: float) -> None:
            nonlocal share
            share = to
            self._terminal.draw()

        with self._terminal.with_row(lambda: self._bar(title, share)):
            yield advance

    def _bar(self, title: str, share: float) -> tuple[str, int]:
        columns = self._terminal.columns
        width = min(BAR_COLUMNS, columns - cell_len(title) - 8)
        if width < LEAST_BAR_COLUMNS:
            text = f"{share:4.0%} {title}"[: columns - 1]
            return self._terminal.styled(text, STYLES[Tone.QUIET]), 0
        bar = self._terminal.rendered(ProgressBar(total=1.0, completed=share, width=width))
        return f"{title} {bar.rstrip()} {share:4.0%}", 0


@asynccontextmanager
async def open_terminal_face() -> AsyncIterator[TerminalFace]:
    """Take this process's terminal for a game; standard input and output both are it."""
    async with open_line_terminal() as terminal:
        yield TerminalFace(terminal)
