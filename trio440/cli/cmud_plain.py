"""The game without a terminal that can be drawn on: a script, a pipe, a dumb terminal."""

import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from trio440.cli.running import emit
from trio440.cli.stdin_lines import StdinLines
from trio440.cmud import Tone

__all__ = ["WIDTH", "Lines", "PlainFace", "ScriptLines", "TypedLines", "wrapped"]

WIDTH: Final = 78
MAX_LINE_BYTES: Final = 4_096
"""Of one line of input; the rest of it is dropped."""


class Lines(Protocol):
    """Where input comes from, line by line."""

    async def next(self) -> str | None:
        """Wait for the next line, without its end; None at the end of input."""


class ScriptLines:
    """Those of a script."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)

    async def next(self) -> str | None:
        """Return the next line."""
        return next(self._lines, None)


class TypedLines:
    """Those of standard input, as they come."""

    def __init__(self) -> None:
        self._lines = StdinLines(MAX_LINE_BYTES)

    async def next(self) -> str | None:
        """Read the next line."""
        line = await self._lines.next()
        if line is None:
            return None
        return line[:MAX_LINE_BYTES].decode(errors="replace").rstrip("\r")


class PlainFace:
    """Lines in, lines out, without colour."""

    def __init__(self, lines: Lines, *, echo: bool) -> None:
        """Begin.

        Args:
            lines: of input.
            echo: show each behind its prompt, since nobody has typed it there.
        """
        self._lines = lines
        self._echo = echo

    async def ask(self, prompt: str) -> str | None:
        """Return the next line; see :class:`~trio440.cmud.Face`."""
        if not self._echo:
            emit(prompt, end=b"")
        line = await self._lines.next()
        if self._echo and line is not None:
            emit(f"{prompt}{line}".rstrip())
        elif line is None and not self._echo:
            emit("")  # the prompt stands there alone
        return line

    def tell(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Write lines."""
        del tone
        for line in wrapped(text, WIDTH):
            emit(line)

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[float], None]]:
        """Say on a terminal what takes its time."""
        if not self._echo:
            emit(f"... {title}")
        yield lambda _: None


def wrapped(text: str, width: int) -> Iterator[str]:
    """Yield lines of at most so many characters, broken at words.

    The lines that one is broken into are indented as it is.
    """
    for line in text.split("\n"):
        if len(line) <= width:
            yield line.rstrip()
        else:
            indent = line[: len(line) - len(line.lstrip())]
            yield from textwrap.wrap(line, max(width, 8), subsequent_indent=indent)
