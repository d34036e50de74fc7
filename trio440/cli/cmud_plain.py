"""The game without a terminal that can be drawn on: a script, a pipe, a dumb terminal."""

import textwrap
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from trio440.cli.running import emit, read_stdin
from trio440.cmud import Tone

__all__ = ["WIDTH", "PlainFace", "lines_of", "lines_of_stdin", "wrapped"]

WIDTH: Final = 78
MAX_LINE_BYTES: Final = 4_096
"""Of one line of input; the rest of it is dropped."""


class PlainFace:
    """Lines in, lines out, without colour."""

    def __init__(self, lines: AsyncIterator[str], *, echo: bool) -> None:
        """Begin.

        Args:
            lines: of input, without their ends.
            echo: show each behind its prompt, since nobody has typed it there.
        """
        self._lines = lines
        self._echo = echo

    async def ask(self, prompt: str) -> str | None:
        """Return the next line; see :class:`~trio440.cmud.Face`."""
        if not self._echo:
            emit(prompt, end=b"")
        line = await anext(self._lines, None)
        if self._echo or line is None:
            emit(f"{prompt}{line or ''}".rstrip() if self._echo else "")
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


async def lines_of(lines: Sequence[str]) -> AsyncIterator[str]:
    """Yield the lines of a script."""
    for line in lines:
        yield line


async def lines_of_stdin() -> AsyncIterator[str]:
    """Yield the lines of standard input as they come; the last may lack its end."""
    buffer = b""
    while data := await read_stdin():
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            yield _text(line)
        buffer = buffer[:MAX_LINE_BYTES]
    if buffer:
        yield _text(buffer)


def _text(line: bytes) -> str:
    return line[:MAX_LINE_BYTES].decode(errors="replace").rstrip("\r")
