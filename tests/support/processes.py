"""Real processes in tests: this project's commands, started, talked to and always ended."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30.0
"""How long a step may take on a busy machine before the test gives up."""

TRIO440 = (sys.executable, "-m", "trio440")


class Program:
    """A running process whose outputs are pipes; text is UTF-8."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._out = b""

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
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\n" not in self._out:
            ready, _, _ = select.select([descriptor], [], [], deadline - time.monotonic())
            data = os.read(descriptor, 65_536) if ready else b""
            if not data:
                raise AssertionError(f"no line on standard output; so far: {self._out!r}")
            self._out += data
        line, _, self._out = self._out.partition(b"\n")
        return line.decode()

    def port(self) -> int:
        """Wait for a server's first line and return the port it listens on."""
        match = re.fullmatch(r"listening on (\S+):(\d+)", line := self.line())
        assert match is not None, line
        return int(match[2])

    def end(self, *, seconds: float = PATIENCE_SECONDS) -> tuple[int, str, str]:
        """Wait so long for the end; return the status and the rest of both outputs."""
        if self._process.stdout is not None and self._process.stdout.closed:
            self._process.stdout = None
        out, err = self._process.communicate(timeout=seconds)
        return self._process.returncode, (self._out + (out or b"")).decode(), err.decode()


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
