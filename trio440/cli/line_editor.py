"""A line that is edited: keys in, what is to be seen out. Pure.

The keys are those of most shells: arrows, Home, End, Delete, and with Ctrl: A and E (to an end),
B and F (a step), P and N (earlier and later lines), K and U (remove to an end), W (remove a word),
L (clear the screen), D (remove, or end the input where the line is empty), R (look in earlier lines
for what is typed then; R again: in those before, G: give it up, other keys edit what was found).
Tab asks whoever reads the events to complete what stands before the cursor.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import attrs
from rich.cells import cell_len

__all__ = ["Cleared", "Completing", "Ended", "Entered", "Event", "LineEditor", "Search"]

MAX_LINE: Final = 1_000
"""Characters; more are not taken."""
MAX_HISTORY: Final = 200
"""Lines."""
ESCAPE: Final = "\x1b"
LOOK: Final = "\x12"
GIVE_UP: Final = "\x07"
RUB_OUT: Final = ("\x7f", "\x08")
SEQUENCE: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O.|[^\[O])", re.DOTALL)
"""What a special key sends."""
UNFINISHED: Final = re.compile(r"\x1b(\[[0-?]{0,16}[ -/]{0,4}|O)?")


@attrs.frozen
class Entered:
    """A line is complete."""

    line: str


@attrs.frozen
class Ended:
    """The input has ended."""


@attrs.frozen
class Cleared:
    """The screen is to be cleared."""


@attrs.frozen
class Completing:
    """What stands before the cursor is to be completed, by :meth:`LineEditor.replace`."""

    before: str


@attrs.frozen
class Search:
    """Looking for a text in earlier lines."""

    wanted: str
    is_found: bool = True
    """Whether the line that is shown has it, or nothing is wanted so far."""


Event: TypeAlias = Entered | Ended | Cleared | Completing


class LineEditor:
    """One line, those before it, and where the cursor is."""

    def __init__(
        self,
        history: Iterable[str] = (),
        *,
        max_line: int = MAX_LINE,
        max_history: int = MAX_HISTORY,
    ) -> None:
        """Begin with an empty line.

        Args:
            history: earlier lines, the latest last.
            max_line: characters; more are not taken.
            max_history: lines that are remembered.
        """
        self._text = ""
        self._cursor = 0
        self._max_line = max_line
        self._max_history = max_history
        self._history = [*history][-max_history:]
        self._shown = len(self._history)
        """Which line of the history is edited; its length: a new one."""
        self._draft = ""
        """The new line, while an earlier one is looked at."""
        self._search: Search | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unread = ""
        self._edits = self._edits_by_key()

    @property
    def text(self) -> str:
        """The line so far."""
        return self._text

    @property
    def search(self) -> Search | None:
        """What is looked for in earlier lines; None: nothing is."""
        return self._search

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take what a terminal has sent, and yield what comes of it, in order.

        Keys behind an event are not looked at before the next one is asked for.
        """
        self._unread += self._decoder.decode(data)
        while self._unread:
            if not self._unread.startswith(ESCAPE):
                key, self._unread = self._unread[0], self._unread[1:]
            elif match := SEQUENCE.match(self._unread):
                key, self._unread = match[0], self._unread[match.end() :]
            elif UNFINISHED.fullmatch(self._unread):
                return
            else:
                self._unread = self._unread[1:]
                continue
            event = self._press(key)
            if event is not None:
                yield event

    def view(self, columns: int) -> tuple[str, int]:
        """Return the part of the line that fits, and the column of the cursor in it.

        Args:
            columns: how wide it may be, at least 2.
        """
        start, end = self._cursor, self._cursor
        room = columns - 1
        while start and (width := cell_len(self._text[start - 1])) <= room:
            start, room = start - 1, room - width
        while end < len(self._text) and (width := cell_len(self._text[end])) <= room:
            end, room = end + 1, room - width
        return self._text[start:end], cell_len(self._text[start : self._cursor])

    def replace(self, start: int, text: str) -> None:
        """Put a text in place of what is between ``start`` and the cursor, if it fits."""
        line = self._text[:start] + text + self._text[self._cursor :]
        if len(line) <= self._max_line:
            self._text, self._cursor = line, start + len(text)

    def clear(self) -> None:
        """Forget the line, and the keys that were not looked at."""
        self._begin()
        self._unread = ""

    def _press(self, key: str) -> Event | None:
        if key == LOOK or self._search is not None:
            if self._press_looking(key):
                return None
            self._search = None
        if key in "\r\n":
            return self._enter()
        if key == "\x0c":
            return Cleared()
        if key == "\t":
            return Completing(self._text[: self._cursor])
        if key == "\x04" and not self._text:
            return Ended()
        if key in self._edits:
            self._edits[key]()
        elif key.isprintable() and len(self._text) < self._max_line:
            self._text = self._text[: self._cursor] + key + self._text[self._cursor :]
            self._cursor += 1
        return None

    def _enter(self) -> Entered:
        line = self._text
        if line.strip() and line not in self._history[-1:]:
            self._history = [*self._history, line][-self._max_history :]
        self._begin()
        return Entered(line)

    def _begin(self) -> None:
        self._shown = len(self._history)
        self._text, self._cursor, self._draft = "", 0, ""
        self._search = None

    def _go(self, place: int) -> None:
        self._cursor = max(0, min(place, len(self._text)))

    def _cut(self, start: int, end: int) -> None:
        """Remove a part; the cursor stands where it was."""
        start, end = max(0, start), min(end, len(self._text))
        self._text = self._text[:start] + self._text[end:]
        self._cursor = start

    def _word_start(self) -> int:
        before = self._text[: self._cursor].rstrip()
        return len(before) - len(before.split(" ")[-1])

    def _recall(self, step: int) -> None:
        """Go to an earlier or a later line."""
        wanted = self._shown + step
        if 0 <= wanted <= len(self._history):
            self._show(wanted)

    def _show(self, place: int) -> None:
        """Show a line of the history, or the new one that is behind them."""
        if self._shown == len(self._history):
            self._draft = self._text
        self._shown = place
        self._text = self._draft if place == len(self._history) else self._history[place]
        self._cursor = len(self._text)

    def _press_looking(self, key: str) -> bool:
        """Take a key while a text is looked for; return whether it was one for that."""
        search = self._search
        if search is None:
            self._search = Search("")
        elif key == LOOK:
            self._look(search.wanted, self._shown - 1)
        elif key == GIVE_UP:
            self._show(len(self._history))
            self._search = None
        elif key in RUB_OUT:
            self._look(search.wanted[:-1], len(self._history) - 1)
        elif key.isprintable():
            if len(search.wanted) < self._max_line:
                self._look(search.wanted + key, self._shown)
        else:
            return False
        return True

    def _look(self, wanted: str, last: int) -> None:
        """Show the last line up to a place that has a text, and stay where none has."""
        for place in range(min(last, len(self._history) - 1), -1, -1):
            at = self._history[place].find(wanted)
            if wanted and at >= 0:
                self._show(place)
                self._cursor = at
                self._search = Search(wanted)
                return
        self._search = Search(wanted, is_found=not wanted)

    def _edits_by_key(self) -> dict[str, Callable[[], None]]:
        edits: list[tuple[Callable[[], None], tuple[str, ...]]] = [
            (lambda: self._go(self._cursor - 1), ("\x1b[D", "\x1bOD", "\x02")),
            (lambda: self._go(self._cursor + 1), ("\x1b[C", "\x1bOC", "\x06")),
            (lambda: self._go(0), ("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~", "\x01")),
            (
                lambda: self._go(len(self._text)),
                ("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~", "\x05"),
            ),
            (lambda: self._recall(-1), ("\x1b[A", "\x1bOA", "\x10")),
            (lambda: self._recall(1), ("\x1b[B", "\x1bOB", "\x0e")),
            (lambda: self._cut(self._cursor - 1, self._cursor), ("\x7f", "\x08")),
            (lambda: self._cut(self._cursor, self._cursor + 1), ("\x1b[3~", "\x04")),
            (lambda: self._cut(self._cursor, len(self._text)), ("\x0b",)),
            (lambda: self._cut(0, self._cursor), ("\x15",)),
            (lambda: self._cut(self._word_start(), self._cursor), ("\x17",)),
        ]
        return {key: edit for edit, keys in edits for key in keys}
