"""A line that is edited on a terminal, while other lines are written above it.

The last row is what is drawn anew all the time: the line, or whatever its user shows there. The
terminal hands over each key as it comes and shows none; what is typed while nobody asks is kept.
Ctrl-C and Ctrl-Z still are signals. Leaving the context gives the terminal back as it was.
"""

import os
import signal
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Final, TypeAlias

import trio
from rich.cells import cell_len
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.text import Text

from trio440.cli.completion import Completed
from trio440.cli.line_editor import Cleared, Completing, Ended, Event, LineEditor
from trio440.cli.running import emit
from trio440.core.lifetimes import open_service_nursery

__all__ = ["Complete", "LineTerminal", "open_line_terminal"]

PROMPT_STYLE: Final = "bold blue"
DEFAULT_COLUMNS: Final = 80
LEAST_COLUMNS: Final = 8
MAX_LINES: Final = 100
"""Typed ahead; the keys behind them wait."""
INPUT: Final = 0
OUTPUT: Final = 1
WIPE: Final = "\r\x1b[J"
INPUT_FLAGS: Final = 0
LOCAL_FLAGS: Final = 3
CHARACTERS: Final = 6
"""Where they are in a mode."""

Mode: TypeAlias = list[int | list[bytes | int]]
"""Of a terminal, as termios has it."""

Complete: TypeAlias = Callable[[str], Awaitable[tuple[int, Completed]]]
"""Is given what stands before the cursor; returns where the last word begins, and its completion.

Keys that are typed meanwhile wait, so it has to give up soon.
"""


class LineTerminal:
    """The terminal of this process; made by :func:`open_line_terminal`."""

    def __init__(self, editor: LineEditor, complete: Complete | None) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._editor = editor
        self._complete = complete
        self._lines: list[str] = []
        """Typed and not yet asked for."""
        self._ended = False
        self._typed = trio.Event()
        self._taken = trio.Event()
        self._handling = trio.CancelScope()
        """Of what a key has begun."""
        self._is_asking = False
        self._row: Callable[[], tuple[str, int]] | None = None
        """Returns the last row, and the column of the cursor in it."""

    @property
    def columns(self) -> int:
        """How wide the terminal is now."""
        try:
            columns = os.get_terminal_size(OUTPUT).columns
        except OSError:
            columns = 0
        return max(columns, LEAST_COLUMNS) if columns else DEFAULT_COLUMNS

    async def ask(self, prompt: str) -> str | None:
        """Let a line be edited, and return it; None at the end of input.

        Cancelled: nothing was taken.
        """
        await trio.lowlevel.checkpoint()
        self._is_asking = True
        try:
            with self.with_row(lambda: self._edited(prompt)):
                while not self._lines and not self._ended:
                    self._typed = trio.Event()
                    await self._typed.wait()
        finally:
            self._is_asking = False
        line = self._lines.pop(0) if self._lines else None
        self._taken.set()
        emit(self.styled(prompt, PROMPT_STYLE) + (line or ""))
        return line

    def write(self, text: str) -> None:
        """Write whole lines above the last row."""
        row = self._drawn()
        _write("".join([WIPE if row else "", text, row]))

    @contextmanager
    def with_row(self, row: Callable[[], tuple[str, int]]) -> Iterator[None]:
        """Show a last row while the body runs.

        Args:
            row: returns its text, less wide than the terminal, and the column of the cursor in it.
        """
        self._row = row
        self.draw()
        try:
            yield
        finally:
            self._row = None
            _write(WIPE)

    def draw(self) -> None:
        """Draw the last row anew."""
        _write(self._drawn())

    def styled(self, text: str, style: str) -> str:
        """Return a text with what makes a terminal show it in a style."""
        return self.rendered(Text(text, style, end=""))

    def rendered(self, what: RenderableType, *, as_wide: bool = True) -> str:
        """Return what makes a terminal show something of rich's.

        Args:
            what: rich can show it.
            as_wide: as it is by itself, however wide the terminal.
        """
        with self._console.capture() as drawn:
            self._console.print(what, end="", crop=False, soft_wrap=as_wide)
        return drawn.get()

    def interrupt(self) -> None:
        """Forget the line, and all that was typed ahead."""
        self._handling.cancel()
        self._lines.clear()
        if self._is_asking and self._row is not None:
            _write(f"\r{self._row()[0]}^C\x1b[J\n")
        self._editor.clear()
        self.draw()

    # Keys

    async def read_keys(self) -> None:
        """Take what is typed, until the input ends."""
        while not self._ended:
            await trio.lowlevel.wait_readable(INPUT)
            try:
                data = os.read(INPUT, 4_096)
            except OSError:  # the terminal is gone
                data = b""
            for event in self._editor.feed(data) if data else [Ended()]:
                with trio.CancelScope() as self._handling:
                    await self._handle(event)
            if not self._lines:
                self.draw()

    async def _handle(self, event: Event) -> None:
        if isinstance(event, Completing):
            await self._complete_word(event.before)
            return
        if isinstance(event, Ended):
            self._ended = True
        elif isinstance(event, Cleared):
            _write("\x1b[H\x1b[2J")
        else:
            while len(self._lines) >= MAX_LINES:
                self._taken = trio.Event()
                await self._taken.wait()
            self._lines.append(event.line)
        self._typed.set()

    async def _complete_word(self, before: str) -> None:
        """Complete what stands before the cursor, or show what it may become."""
        if self._complete is None or not self._is_asking or self._lines:
            return
        self.draw()
        start, completed = await self._complete(before)
        if completed.text is not None:
            self._editor.replace(start, completed.text)
        elif completed.choices:
            self._show(completed)

    def _show(self, completed: Completed) -> None:
        names = [Text(name, no_wrap=True, overflow="ellipsis") for name in completed.choices]
        table = Columns(names, padding=(0, 2), column_first=True)
        lines = self.rendered(table, as_wide=False).splitlines()
        lines += ["..."] if completed.more else []
        self.write("".join(f"{line.rstrip()}\n" for line in lines))

    # The last row

    def _drawn(self) -> str:
        """Return what draws the last row."""
        if self._row is None:
            return ""
        text, column = self._row()
        move = f"\x1b[{column}C" if column else ""
        return f"\r{text}\x1b[J\r{move}"

    def _edited(self, prompt: str) -> tuple[str, int]:
        """Return the line that is edited."""
        columns = self.columns
        if (search := self._editor.search) is not None:
            prompt = f"({'looking for' if search.is_found else 'not found'}: {search.wanted}) "
        shown_prompt = prompt[-(columns // 2) :]
        text, cursor = self._editor.view(max(columns - 1 - cell_len(shown_prompt), 2))
        return self.styled(shown_prompt, PROMPT_STYLE) + text, cell_len(shown_prompt) + cursor


@asynccontextmanager
async def open_line_terminal(
    editor: LineEditor | None = None, complete: Complete | None = None
) -> AsyncIterator[LineTerminal]:
    """Take this process's terminal; standard input and output both are it.

    Args:
        editor: of the lines; None: one without history.
        complete: called when Tab is typed; what it raises ends the context.
    """
    terminal = LineTerminal(editor or LineEditor(), complete)
    with _borrowed_mode() as before:
        async with open_service_nursery() as nursery:
            nursery.start_soon(terminal.read_keys)
            await nursery.start(_follow_signals, terminal, before)
            yield terminal


@contextmanager
def _borrowed_mode() -> Iterator[Mode]:
    """Hand over keys while the body runs, and give the terminal back as it was.

    Also where an alarm ends this process, since the body does not.
    """
    before = termios.tcgetattr(INPUT)
    last_resort = signal.getsignal(signal.SIGALRM)

    def give_back() -> None:
        with suppress(termios.error):  # where the terminal is gone there is none to give back
            termios.tcsetattr(INPUT, termios.TCSANOW, before)

    def on_alarm(number: int, frame: FrameType | None) -> None:
        give_back()
        if callable(last_resort):
            last_resort(number, frame)

    signal.signal(signal.SIGALRM, on_alarm)
    try:
        _hand_over_keys(before)
        yield before
    finally:
        signal.signal(signal.SIGALRM, last_resort or signal.SIG_DFL)
        give_back()
        if sys.exc_info()[0] is not None:
            emit("")


async def _follow_signals(
    terminal: LineTerminal,
    before: Mode,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Draw anew when the terminal has another size, or this process goes on after Ctrl-Z."""
    with trio.open_signal_receiver(signal.SIGWINCH, signal.SIGCONT) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGCONT:
                _hand_over_keys(before)
            terminal.draw()


def _hand_over_keys(before: Mode) -> None:
    """Get each key at once and unseen; Ctrl-C and Ctrl-Z stay signals.

    Ctrl-backslash does not: it would leave the terminal as it is then.
    """
    mode = [*before]
    for place, without, with_ in (
        (INPUT_FLAGS, termios.IXON | termios.INLCR | termios.IGNCR, termios.ICRNL),
        (LOCAL_FLAGS, termios.ICANON | termios.ECHO | termios.IEXTEN, termios.ISIG),
    ):
        flags = mode[place]
        assert isinstance(flags, int)  # noqa: S101 - only the last of them is a list
        mode[place] = flags & ~without | with_
    characters = mode[CHARACTERS]
    assert isinstance(characters, list)  # noqa: S101 - the last of them is one
    characters = [*characters]
    characters[termios.VQUIT] = b"\0"
    mode[CHARACTERS] = characters
    termios.tcsetattr(INPUT, termios.TCSANOW, mode)


def _write(text: str) -> None:
    emit(text, end=b"")
