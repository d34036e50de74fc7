"""Lines of standard input, and whether a person types them."""

import os
import sys
from collections import deque
from typing import Final

from trio440.cli.running import read_stdin
from trio440.cli.tables import is_terminal

__all__ = ["StdinLines", "can_draw", "is_person"]

PLAIN_TERMINALS: Final = ("dumb", "unknown", "")


def is_person() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def can_draw() -> bool:
    """Whether standard input and output are a terminal on which lines can be drawn anew."""
    return is_person() and is_terminal() and os.environ.get("TERM", "") not in PLAIN_TERMINALS


class StdinLines:
    """The lines of standard input, as they come."""

    def __init__(self, max_bytes: int) -> None:
        """Begin.

        Args:
            max_bytes: of a line that has more only so many are kept, and one, so that it shows.
        """
        self._most = max_bytes + 1
        self._lines: deque[bytes] = deque()
        self._pieces: list[bytes] = []
        """Of the line that has no end so far."""
        self._room = self._most
        """Bytes that may be added to them."""
        self._has_ended = False

    async def next(self) -> bytes | None:
        """Wait for the next line, without its end; None at the end of input.

        The last line may lack its end. Cancelled: what comes now is lost.

        Raises:
            ClickException: standard input cannot be read.
        """
        while not self._lines and not self._has_ended:
            if data := await read_stdin():
                first, *rest = data.split(b"\n")
                self._add(first)
                for piece in rest:
                    self._end_line()
                    self._add(piece)
            else:
                self._has_ended = True
                if self._pieces:
                    self._end_line()
        return self._lines.popleft() if self._lines else None

    def _add(self, piece: bytes) -> None:
        if piece and self._room:
            self._pieces.append(piece[: self._room])
            self._room -= len(self._pieces[-1])

    def _end_line(self) -> None:
        self._lines.append(b"".join(self._pieces))
        self._pieces, self._room = [], self._most
