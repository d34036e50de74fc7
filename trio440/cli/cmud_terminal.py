"""The game on a terminal: colour, a line that is edited, and others who are heard meanwhile.

The last row is the line that the player edits, or a bar while something takes its time.
Whatever is told goes above it: the row is wiped, the lines are written, the row is drawn anew.
The terminal hands over each key as it comes and shows none; what is typed while nobody asks is
kept. Ctrl-C and Ctrl-Z still are signals. Leaving the context gives the terminal back as it was.
"""

import os
import signal
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, TypeAlias

import trio
from rich.cells import cell_len
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.text import Text

from trio440.cli.cmud_plain import WIDTH, wrapped
from trio440.cli.line_editor import Cleared, Ended, LineEditor
from trio440.cli.running import emit
from trio440.cmud import Tone
from trio440.core.lifetimes import open_service_nursery

__all__ = ["TerminalFace", "open_terminal_face"]

STYLES: Final = {
    Tone.PLAIN: "",
    Tone.TITLE: "bold cyan",
    Tone.GOOD: "green",
    Tone.BAD: "red",
    Tone.VOICE: "bold yellow",
    Tone.QUIET: "dim",
}
PROMPT_STYLE: Final = "bold blue"
BAR_COLUMNS: Final = 30
LEAST_COLUMNS: Final = 8
MAX_LINES: Final = 100
"""Typed ahead; more are dropped."""
INPUT: Final = 0
OUTPUT: Final = 1
WIPE: Final = "\r\x1b[J"
INPUT_FLAGS: Final = 0
LOCAL_FLAGS: Final = 3
"""Where they are in a mode."""

Mode: TypeAlias = list[int | list[bytes | int]]
"""Of a terminal, as termios has it."""


class TerminalFace:
    """A terminal of one player; made by :func:`open_terminal_face`."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._editor = LineEditor()
        self._lines: list[str] = []
        """Typed and not yet asked for."""
        self._ended = False
        self._typed = trio.Event()
        self._row: Callable[[], tuple[str, int]] | None = None
        """Returns the last row, and the column of the cursor in it."""

    async def ask(self, prompt: str) -> str | None:
        """Let the player edit a line; see :class:`~trio440.cmud.Face`."""
        await trio.lowlevel.checkpoint()
        with self._with_row(lambda: self._edited(prompt)):
            while not self._lines and not self._ended:
                self._typed = trio.Event()
                await self._typed.wait()
        line = self._lines.pop(0) if self._lines else None
        self._write(self._styled(prompt, PROMPT_STYLE) + (line or "") + "\n")
        return line

    def tell(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Write lines above the last row."""
        columns = min(self._columns() - 1, WIDTH)
        lines = [self._styled(line, STYLES[tone]) + "\n" for line in wrapped(text, columns)]
        row = self._drawn()
        self._write("".join([WIPE if row else "", *lines, row]))

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[float], None]]:
        """Draw a bar in the last row."""
        share = 0.0

        def advance(to: float) -> None:
            nonlocal share
            share = to
            self._draw()

        with self._with_row(lambda: self._bar(title, share)):
            yield advance

    def redraw(self) -> None:
        """Draw the last row anew, for a terminal that has another size."""
        self._draw()

    async def read_keys(self) -> None:
        """Take what is typed, until the input ends."""
        while not self._ended:
            await trio.lowlevel.wait_readable(INPUT)
            try:
                data = os.read(INPUT, 4_096)
            except OSError:  # the terminal is gone
                data = b""
            events = [*self._editor.feed(data)] if data else [Ended()]
            for event in events:
                if isinstance(event, Ended):
                    self._ended = True
                elif isinstance(event, Cleared):
                    self._write("\x1b[H\x1b[2J")
                elif len(self._lines) < MAX_LINES:
                    self._lines.append(event.line)
            self._typed.set()
            if not self._lines:
                self._draw()

    @contextmanager
    def _with_row(self, row: Callable[[], tuple[str, int]]) -> Iterator[None]:
        self._row = row
        self._draw()
        try:
            yield
        finally:
            self._row = None
            self._write(WIPE)

    def _draw(self) -> None:
        self._write(self._drawn())

    def _drawn(self) -> str:
        """Return what draws the last row."""
        if self._row is None:
            return ""
        text, column = self._row()
        move = f"\x1b[{column}C" if column else ""
        return f"\r{text}\x1b[J\r{move}"

    def _edited(self, prompt: str) -> tuple[str, int]:
        """Return the line that is edited."""
        columns = self._columns()
        shown_prompt = prompt[-(columns // 2) :]
        text, cursor = self._editor.view(max(columns - 1 - cell_len(shown_prompt), 2))
        return self._styled(shown_prompt, PROMPT_STYLE) + text, cell_len(shown_prompt) + cursor

    def _bar(self, title: str, share: float) -> tuple[str, int]:
        columns = self._columns()
        width = min(BAR_COLUMNS, columns - cell_len(title) - 8)
        if width < LEAST_COLUMNS:
            return self._styled(f"{share:4.0%} {title}"[: columns - 1], STYLES[Tone.QUIET]), 0
        with self._console.capture() as drawn:
            self._console.print(ProgressBar(total=1.0, completed=share, width=width), end="")
        return f"{title} {drawn.get().rstrip()} {share:4.0%}", 0

    def _styled(self, text: str, style: str) -> str:
        with self._console.capture() as drawn:
            self._console.print(Text(text, style, end=""), end="", crop=False)
        return drawn.get()

    @staticmethod
    def _columns() -> int:
        try:
            columns = os.get_terminal_size(OUTPUT).columns
        except OSError:
            columns = 0
        return max(columns, LEAST_COLUMNS) if columns else WIDTH + 2

    @staticmethod
    def _write(text: str) -> None:
        emit(text, end=b"")


@asynccontextmanager
async def open_terminal_face() -> AsyncIterator[TerminalFace]:
    """Take this process's terminal for a game; standard input and output both are it."""
    before = termios.tcgetattr(INPUT)
    _hand_over_keys(before)
    face = TerminalFace()
    try:
        async with open_service_nursery() as nursery:
            nursery.start_soon(face.read_keys)
            await nursery.start(_follow_signals, face, before)
            yield face
    finally:
        with suppress(termios.error):  # where the terminal is gone there is none to give back
            termios.tcsetattr(INPUT, termios.TCSANOW, before)
        if sys.exc_info()[0] is not None:
            emit("")


async def _follow_signals(
    face: TerminalFace,
    before: Mode,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Draw anew when the terminal has another size, or this process goes on after Ctrl-Z."""
    with trio.open_signal_receiver(signal.SIGWINCH, signal.SIGCONT) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGCONT:
                _hand_over_keys(before)
            face.redraw()


def _hand_over_keys(before: Mode) -> None:
    """Get each key at once and unseen; those that are signals stay so."""
    mode = [*before]
    for place, without, with_ in (
        (INPUT_FLAGS, termios.IXON | termios.INLCR | termios.IGNCR, termios.ICRNL),
        (LOCAL_FLAGS, termios.ICANON | termios.ECHO | termios.IEXTEN, termios.ISIG),
    ):
        flags = mode[place]
        assert isinstance(flags, int)  # noqa: S101 - only the last of them is a list
        mode[place] = flags & ~without | with_
    termios.tcsetattr(INPUT, termios.TCSANOW, mode)
