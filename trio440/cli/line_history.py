"""The lines of earlier sessions, in a file of the user's.

Each line is appended at once, so that sessions side by side lose none of theirs. Whatever is wrong
with the file, a session goes on without it: :attr:`LineHistory.problem` says what.
"""

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["LineHistory", "parse_history", "state_path"]

MAX_BYTES: Final = 256 << 10
"""What is read of a file, and left of one that has twice as many."""
FLAGS: Final = os.O_CLOEXEC | os.O_NONBLOCK
"""Whatever has the file's name: to open it waits for nobody."""


def state_path(name: str, environment: Mapping[str, str]) -> Path | None:
    """Return where a file of state is by the XDG Base Directory Specification; None: nowhere.

    Args:
        name: of the file.
        environment: of the process; a relative ``XDG_STATE_HOME`` counts as none.
    """
    state = Path(environment.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        home = Path(environment.get("HOME", ""))
        if not home.is_absolute():
            return None
        state = home / ".local" / "state"
    return state / "trio440" / name


def parse_history(data: bytes) -> list[str]:
    """Return the lines that can be typed again; what repeats the line before it is left out."""
    lines: list[str] = []
    for line in data.decode(errors="replace").split("\n"):
        if line.strip() and line.isprintable() and line not in lines[-1:]:
            lines.append(line)
    return lines


class LineHistory:
    """The lines of one file."""

    def __init__(self, path: Path | None) -> None:
        """Read the file; one that is not there is made, for its owner alone.

        Args:
            path: None: nothing is kept.
        """
        self.problem: str | None = None
        """Why lines are not kept."""
        self.lines: list[str] = []
        """Of earlier sessions, the latest last."""
        self._path = path
        self._last = ""
        if path is None:
            return
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.lines = parse_history(self._tail(os.O_CREAT))
        except OSError as error:
            self._give_up(error)
        self._last = self.lines[-1] if self.lines else ""

    def add(self, line: str) -> None:
        """Append a line, unless it is blank or repeats the one before it."""
        if self._path is None or not line.strip() or line == self._last:
            return
        self._last = line
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | FLAGS, 0o600)
            try:
                _check(file)
                os.write(file, line.encode(errors="replace") + b"\n")
                size = os.fstat(file).st_size
            finally:
                os.close(file)
            if size > 2 * MAX_BYTES:
                self._shorten()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        reason = (error.strerror or "cannot be used").lower()
        self.problem = f"the lines of this session are not kept: {self._path}: {reason}"
        self._path = None

    def _tail(self, flags: int = 0) -> bytes:
        """Return the last lines of the file, as far as they are complete."""
        assert self._path is not None  # noqa: S101 - asked where there is a file alone
        file = os.open(self._path, os.O_RDONLY | flags | FLAGS, 0o600)
        try:
            _check(file)
            start = max(0, os.fstat(file).st_size - MAX_BYTES)
            data = os.pread(file, MAX_BYTES, start)
        finally:
            os.close(file)
        return data.partition(b"\n")[2] if start else data

    def _shorten(self) -> None:
        """Put the last lines in place of all."""
        assert self._path is not None  # noqa: S101 - asked where there is a file alone
        whole = self._path.resolve()
        part = whole.with_name(f"{whole.name}.{os.getpid()}")
        data = self._tail()
        try:
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | FLAGS, 0o600)
            try:
                os.write(file, data)
            finally:
                os.close(file)
            part.replace(whole)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise


def _check(file: int) -> None:
    """See that it is a file, and its owner's alone.

    Raises:
        OSError: it is none.
    """
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "no regular file")
    if stat.S_IMODE(mode) != 0o600:  # noqa: PLR2004 - as octal as chmod has it
        os.fchmod(file, 0o600)
