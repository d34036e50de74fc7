"""A terminal for tests: a program has a pty as its own, and a person looks at the screen.

The screen understands what this project writes: line ends, wrapping at the edge, cursor moves to
the right, erasing, and colours, which it notes and does not show.
"""

import codecs
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.support.processes import PATIENCE_SECONDS, ROOT

TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b])", re.DOTALL)


class Screen:
    """What is to be seen; lines that have left it at the top are kept."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows = [""]
        self.column = 0
        self.erased: list[str] = []
        """The last rows that were drawn over, in their order, however briefly they were seen."""
        self.styles: set[str] = set()
        self._unread = ""

    def feed(self, text: str) -> None:
        self._unread += text
        at = 0
        while match := TOKEN.match(self._unread, at):
            at = match.end()
            if match[3] is None:
                self._obey(match[1], match[2])
            else:
                self._show(match[3])
        self._unread = self._unread[at:]

    def _obey(self, parameters: str, final: str) -> None:
        if final == "m":
            self.styles.add(parameters)
        elif final == "C":
            self.column += int(parameters)
        elif final == "J" and parameters == "":
            self.erased.append(self.rows[-1])
            self.rows[-1] = self.rows[-1][: self.column]
        elif final in "HJ":
            self.rows, self.column = [""], 0
        else:
            raise AssertionError(f"this screen does not know {parameters}{final}")

    def _show(self, each: str) -> None:
        if each == "\r":
            self.column = 0
        elif each == "\n":
            self.rows.append("")
        else:
            assert each.isprintable(), ascii(each)
            if self.column == self.columns:
                self.rows.append("")
                self.column = 0
            row = self.rows[-1].ljust(self.column)
            self.rows[-1] = row[: self.column] + each + row[self.column + 1 :]
            self.column += 1


class Terminal:
    """A program on a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], controller: int, columns: int) -> None:
        self.process = process
        self.screen = Screen(columns)
        self._controller = controller
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    @property
    def text(self) -> str:
        return "\n".join(self.screen.rows)

    def type(self, text: str) -> None:
        os.write(self._controller, text.encode())

    def resize(self, columns: int) -> None:
        _set_size(self._controller, columns)
        self.screen.columns = columns

    def wait_for(self, pattern: str) -> None:
        """Wait until what is to be seen has something in it that stays there."""
        self.wait_until(lambda: re.search(pattern, self.text, re.MULTILINE), repr(pattern))

    def wait_until(self, condition: Callable[[], object], name: str) -> None:
        """Wait until the screen is as wanted."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self._read(deadline - time.monotonic()), f"no {name} in:\n{self.text}"

    def end(self) -> int:
        """Wait for the end; return the status."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.02)
        while self._read(0.0):
            pass
        return self.process.wait(0.0)

    def mode(self) -> tuple[bool, bool]:
        """Whether the terminal echoes, and whether it hands over whole lines."""
        flags = termios.tcgetattr(self._controller)[3]
        return bool(flags & termios.ECHO), bool(flags & termios.ICANON)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._controller], [], [], max(0.0, seconds))
        try:
            data = os.read(self._controller, 65_536) if ready else b""
        except OSError:  # nobody has the terminal open any more
            return False
        self.screen.feed(self._decode(data))
        return bool(data)


@contextmanager
def on_terminal(
    command: Sequence[str], *, columns: int = 80, env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run a program on a terminal of its own; it is gone behind the block."""
    controller, terminal = os.openpty()
    _set_size(controller, columns)
    settings = {"TERM": "xterm-256color", "NO_COLOR": "", "COLORTERM": "", **(env or {})}
    environment = {name: value for name, value in {**os.environ, **settings}.items() if value}
    environment.pop("COLUMNS", None)
    # The shell leads a session without a terminal: the one that it opens becomes its own.
    words = ["sh", "-c", 'tty=$1; shift; exec "$@" <"$tty" >"$tty" 2>&1', "sh"]
    try:
        with subprocess.Popen(
            [*words, os.ttyname(terminal), *command],
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        ) as process:
            try:
                yield Terminal(process, controller, columns)
            finally:
                process.send_signal(signal.SIGKILL)
    finally:
        os.close(controller)
        os.close(terminal)


def _set_size(controller: int, columns: int) -> None:
    fcntl.ioctl(controller, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
