"""Real processes in tests: this project's commands, started, talked to and always ended."""

import io
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO
from unittest import mock

from trio440.cli.root import run_command_line

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30.0
"""How long a step may take on a busy machine before the test gives up."""

TRIO440 = (sys.executable, "-m", "trio440")


class Program:
    """A running process whose outputs are pipes; text is UTF-8."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._unread: defaultdict[IO[bytes] | None, bytes] = defaultdict(bytes)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def close_stdin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close_stdout(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()

    def line(self) -> str:
        """Wait for the next line of standard output; its line end is cut."""
        return self._read_line(self._process.stdout)

    def note(self) -> str:
        """Wait for the next line of standard error; its line end is cut."""
        return self._read_line(self._process.stderr)

    def _read_line(self, pipe: IO[bytes] | None) -> str:
        assert pipe is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\n" not in self._unread[pipe]:
            ready, _, _ = select.select([pipe], [], [], deadline - time.monotonic())
            data = os.read(pipe.fileno(), 65_536) if ready else b""
            if not data:
                raise AssertionError(f"no line more; so far: {self._unread[pipe]!r}")
            self._unread[pipe] += data
        line, _, self._unread[pipe] = self._unread[pipe].partition(b"\n")
        return line.decode()

    def port(self) -> int:
        """Wait for a server's first line and return the port it listens on."""
        match = re.fullmatch(r"listening on (\S+):(\d+)", line := self.line())
        assert match is not None, line
        return int(match[2])

    def end(self, *, seconds: float = PATIENCE_SECONDS) -> tuple[int, str, str]:
        """Wait so long for the end; return the status and the rest of both outputs."""
        out_pipe, err_pipe = self._process.stdout, self._process.stderr
        if out_pipe is not None and out_pipe.closed:
            self._process.stdout = None
        out, err = self._process.communicate(timeout=seconds)
        out, err = self._unread[out_pipe] + (out or b""), self._unread[err_pipe] + err
        return self._process.returncode, out.decode(), err.decode()


@contextmanager
def started(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    new_session: bool = False,
) -> Iterator[Program]:
    """Start a process; whatever happens it is gone, and its pipes closed, behind the block."""
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        start_new_session=new_session,
    )
    try:
        yield Program(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


def finished(
    command: Sequence[str | Path], *, stdin: bytes = b"", cwd: Path = ROOT
) -> tuple[int, str, str]:
    """Run a process to its end; return its status, standard output and standard error."""
    done = subprocess.run(
        [str(part) for part in command],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def finished_here(*words: str | Path) -> tuple[int, str, str]:
    """Run ``trio440 WORDS...`` in this process, which spares an interpreter's start.

    As :func:`finished`; for the main thread only.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    argv = ["trio440", *map(str, words)]
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        status = run_command_line()
    texts = [each.buffer.getvalue().decode() for each in (out, err)]
    return status, texts[0], texts[1]
