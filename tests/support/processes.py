"""Real processes in tests: this project's commands, started, talked to and always ended."""

import io
import os
import re
import select
import selectors
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import IO
from unittest import mock

from tests.support.forking import Fork, Request, fork
from trio440.cli.root import run_command_line

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 200.0
"""How long a step may take on a busy machine before the test gives up."""
AN_HOUR_SECONDS = 3600.0
"""How long something takes that nobody is to wait for: whoever did would lose patience."""

TRIO440 = (sys.executable, "-m", "trio440")


class Program:
    """A running process whose outputs are pipes; text is UTF-8, other bytes are escaped."""

    def __init__(
        self,
        process: subprocess.Popen[bytes] | Fork,
        stdin: IO[bytes],
        stdout: IO[bytes],
        stderr: IO[bytes],
    ) -> None:
        self._process = process
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        self._unread: defaultdict[IO[bytes], bytes] = defaultdict(bytes)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def wait_blocked(self) -> None:
        """Wait until its main thread sleeps in the kernel."""
        wait_until(lambda: _state(self.pid) == "S")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def write(self, data: bytes) -> None:
        self._stdin.write(data)

    def close_stdin(self) -> None:
        self._stdin.close()

    def close_stdout(self) -> None:
        self._stdout.close()

    def line(self) -> str:
        """Wait for the next line of standard output; its line end is cut."""
        return self._read_line(self._stdout)

    def note(self) -> str:
        """Wait for the next line of standard error; its line end is cut."""
        return self._read_line(self._stderr)

    def _read_line(self, pipe: IO[bytes]) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\n" not in self._unread[pipe]:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(pipe.fileno(), 65_536) if ready else b""
            if not data:
                raise AssertionError(f"no line more; so far: {self._unread}")
            self._unread[pipe] += data
        line, _, self._unread[pipe] = self._unread[pipe].partition(b"\n")
        return line.decode()

    def port(self) -> int:
        """Wait for a server's first line and return the port it listens on."""
        match = re.fullmatch(r"listening on (\S+):(\d+)", line := self.line())
        assert match is not None, line
        return int(match[2])

    def end(self, *, stdin: bytes = b"") -> tuple[int, str, str]:
        """Write ``stdin``, close it, and wait for the end.

        Returns the status and the rest of both outputs.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        self._exchange(stdin, deadline)
        status = self._process.wait(max(0.0, deadline - time.monotonic()))
        out, err = (self._unread[pipe] for pipe in (self._stdout, self._stderr))
        return status, out.decode(errors="surrogateescape"), err.decode(errors="surrogateescape")

    def _exchange(self, data: bytes, deadline: float) -> None:
        """Write the data and read both outputs to their ends, in the order the pipes allow."""
        rest = memoryview(data)
        with selectors.DefaultSelector() as pipes:
            for output in (self._stdout, self._stderr):
                if not output.closed:
                    pipes.register(output, selectors.EVENT_READ, output)
            if data:
                pipes.register(self._stdin, selectors.EVENT_WRITE)
            else:
                self.close_stdin()
            while pipes.get_map():
                events = pipes.select(max(0.0, deadline - time.monotonic()))
                assert events, f"it goes on; so far: {self._unread}"
                for key, _ in events:
                    if key.data is None:
                        rest = _write_some(key.fd, rest)
                    elif piece := os.read(key.fd, 65_536):
                        self._unread[key.data] += piece
                        continue
                    if key.data is not None or not rest:
                        pipes.unregister(key.fileobj)
                if not rest:
                    self.close_stdin()


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that only the kernel or another process knows the moment of."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def children_of(pid: int) -> list[int]:
    """The children of all threads of a process; trio starts processes on threads."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            children += map(int, task.read_text().split())
    return children


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    return _state(pid) not in ("", "Z")


def cpu_ticks(pid: int) -> int:
    """How long a process and its children have computed, in hundredths of a second."""
    ticks = 0
    for member in [pid, *children_of(pid)]:
        if fields := _stat(member):
            ticks += sum(map(int, fields[11:13]))
    return ticks


def _state(pid: int) -> str:
    """The letter of what a process is about; none where it is gone."""
    return "".join(_stat(pid)[:1])


def _stat(pid: int) -> list[str]:
    """What the kernel says about a process, from its state on; nothing where it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _write_some(pipe: int, data: memoryview) -> memoryview:
    """Write what a pipe is sure to take, and return what is left; nothing if nobody reads it."""
    try:
        return data[os.write(pipe, data[: select.PIPE_BUF]) :]
    except BrokenPipeError:
        return data[:0]


@contextmanager
def started(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    new_session: bool = False,
    fresh: bool = False,
) -> Iterator[Program]:
    """Start a process; whatever happens it is gone, and its pipes closed, behind the block.

    A program of this Python is forked from an interpreter that has imported the project already,
    see :mod:`tests.support.forking`; one whose start is of interest is to be ``fresh``.
    """
    words = [str(part) for part in command]
    environment = {**os.environ, **(env or {})}
    forked = not fresh and words[0] == sys.executable and not re.match("-[^mc]", words[1])
    with ExitStack() as stack:
        (stdin, our_stdin), (our_stdout, stdout), (our_stderr, stderr) = (
            _pipe(stack) for _ in range(3)
        )
        theirs = stdin, stdout, stderr
        process: subprocess.Popen[bytes] | Fork
        if forked:
            request = Request(words[1:], environment, str(cwd), new_session)
            process = fork(request, [pipe.fileno() for pipe in theirs])
        else:
            process = subprocess.Popen(
                words,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=environment,
                cwd=cwd,
                start_new_session=new_session,
            )
        stack.callback(process.wait)
        stack.callback(process.kill)
        for pipe in theirs:
            pipe.close()
        yield Program(process, our_stdin, our_stdout, our_stderr)


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """Open a pipe for as long as ``stack``; its read end and its write end, without buffers."""
    read_end, write_end = os.pipe()
    return (
        stack.enter_context(os.fdopen(read_end, "rb", buffering=0)),
        stack.enter_context(os.fdopen(write_end, "wb", buffering=0)),
    )


def finished(
    command: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    fresh: bool = False,
) -> tuple[int, str, str]:
    """Run a process to its end; return its status, standard output and standard error."""
    with started(command, env=env, cwd=cwd, fresh=fresh) as program:
        return program.end(stdin=stdin)


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
