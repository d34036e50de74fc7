"""What a server says on stderr of others' mistakes, however many those make. Pure."""

from collections.abc import Callable
from typing import Final

from trio440.errors import Trio440Error

__all__ = ["Reports"]

MOST_LINES: Final = 20
WINDOW_SECONDS: Final = 10.0


class Reports:
    """Notes errors, at most 20 within ten seconds; whoever causes more fills no disk with them."""

    def __init__(self, name: str, note: Callable[[str], None], now: Callable[[], float]) -> None:
        """Begin without any.

        Args:
            name: what the lines begin with.
            note: writes a line.
            now: seconds on a clock that does not go back.
        """
        self._name = name
        self._note = note
        self._now = now
        self._began = now()
        self._lines = 0
        self._left_out = 0

    def take(self, error: Exception) -> None:
        """Note an error of this package, or count it."""
        if not isinstance(error, Trio440Error):
            return
        now = self._now()
        if now - self._began >= WINDOW_SECONDS:
            if self._left_out:
                self._note(f"{self._name}: {self._left_out} more reports were left out")
            self._began, self._lines, self._left_out = now, 0, 0
        if self._lines < MOST_LINES:
            self._lines += 1
            self._note(f"{self._name}: {error}")
        else:
            self._left_out += 1
