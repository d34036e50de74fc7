"""An interpreter that has imported this project already, and forks a process for each command.

To start Python and to import what a command needs is most of the work of a short one. An
interpreter started once does both, and each command is a fork of it: a process of its own, with
its own descriptors, environment, folder, signals and session, that runs the same ``__main__`` and
ends in the same way. What it does not show is the start itself: such tests start a new
interpreter.

``python -m tests.support.forking DESCRIPTOR`` is such an interpreter. Each request comes over
the socket DESCRIPTOR with four descriptors: the standard ones of the process, and a line that
tells its identifier and later its status.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import attrs

__all__ = ["Fork", "Request", "fork"]

PRELOADED: Final = (
    *("pytest", "hypothesis"),
    *(
        f"trio440.cli.{name}"
        for name in ("demo", "kv", "linekv", "lsp", "mine", "raft", "root", "sim")
    ),
    *("trio440.cli.course_flags", "trio440.sim.running", "trio440.sim.systems"),
    *(f"trio440.sim.systems.{name}" for name in ("core", "linekv", "lsp", "miner", "raft")),
)
"""What most processes import."""
HASH_SEED: Final = "PYTHONHASHSEED"
REQUEST_BYTES: Final = 1 << 17
NUMBER: Final = struct.Struct("!q")
"""How a line tells a process's identifier, and its status."""


@attrs.frozen
class Request:
    """Run a Python program in a process of its own."""

    arguments: Sequence[str]
    """What follows the interpreter: ``-m MODULE``, ``-c CODE`` or a script, and its arguments."""
    environment: dict[str, str]
    folder: str
    new_session: bool


# The side of whoever wants processes


class Fork:
    """A process that was forked, with as much of :class:`subprocess.Popen` as is needed here."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        """Take over the line on which the status of process ``pid`` will be told."""
        self.pid = pid
        self.returncode: int | None = None
        self._line = line

    def poll(self) -> int | None:
        """Return its status, as Popen's; None while it runs."""
        with suppress(TimeoutError, BlockingIOError):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most ``timeout`` seconds, and return its status.

        Raises:
            TimeoutError: it goes on.
        """
        if self.returncode is None:
            self._line.settimeout(timeout)
            self.returncode = _read_number(self._line)
            self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and its status is on its way
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


def fork(request: Request, standard: Sequence[int]) -> Fork:
    """Start a process with these three standard descriptors, which stay open here, too."""
    line, far_end = socket.socketpair()
    requests = _interpreter(request.environment.get(HASH_SEED))
    packet = json.dumps(attrs.asdict(request)).encode()
    with far_end:
        socket.send_fds(requests, [packet], [*standard, far_end.fileno()])
    return Fork(_read_number(line), line)


@cache
def _interpreter(hash_seed: str | None) -> socket.socket:
    """Start an interpreter with such a hash seed, and return the socket for its requests."""
    requests, far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {name: value for name, value in os.environ.items() if name != HASH_SEED}
    if hash_seed is not None:
        environment[HASH_SEED] = hash_seed
    with far_end:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(far_end.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[far_end.fileno()],
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
        )

    def end() -> None:
        requests.close()
        process.wait()

    atexit.register(end)
    return requests


def _read_number(line: socket.socket) -> int:
    data = line.recv(NUMBER.size)
    if not data:
        raise AssertionError("the interpreter that forks has died")
    number: int = NUMBER.unpack(data)[0]
    return number


# The side of the interpreter


class _Forker:
    """The loop of the interpreter that is forked."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._lines: dict[int, tuple[int, socket.socket]] = {}
        """By a descriptor of the process: its identifier, and the line to whoever wants it."""
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)

    def next_process(self) -> Request | None:
        """Serve; returns in each new process, and in this one when nobody is left who asks."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._lines:
                    self._tell_end(descriptor)
                    continue
                packet, descriptors, _, _ = socket.recv_fds(self._requests, REQUEST_BYTES, 4)
                if not packet:
                    return None
                *standard, far_end = descriptors
                line = socket.socket(fileno=far_end)
                if (pid := os.fork()) == 0:
                    self._close(line)
                    for number, own in enumerate(standard):
                        os.dup2(own, number)
                        os.close(own)
                    return Request(**json.loads(packet))
                for own in standard:
                    os.close(own)
                self._tell(line, pid)
                process = os.pidfd_open(pid)
                self._lines[process] = pid, line
                self._poll.register(process, select.POLLIN)

    def _tell_end(self, process: int) -> None:
        pid, line = self._lines.pop(process)
        self._poll.unregister(process)
        os.close(process)
        _, status = os.waitpid(pid, 0)
        with line:
            self._tell(line, os.waitstatus_to_exitcode(status))

    def _tell(self, line: socket.socket, number: int) -> None:
        with suppress(BrokenPipeError):  # of a test that has given up
            line.send(NUMBER.pack(number))

    def _close(self, line: socket.socket) -> None:
        """Leave to a new process nothing of this one's."""
        for each in (self._requests, line, *(other for _, other in self._lines.values())):
            each.close()
        for process in self._lines:
            os.close(process)


def _run_as_main(request: Request) -> None:
    """Make this process what was asked for; what the program raises ends it, as in any other."""
    if request.new_session:
        os.setsid()
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    first, *rest = request.arguments
    if first == "-m":
        sys.path[0], sys.argv = request.folder, rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.path[0], sys.argv = "", ["-c", *rest[1:]]
        sys.modules["__main__"] = module = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(module))  # noqa: S102 - a test's own code
    else:
        sys.path[0], sys.argv = str(Path(first).resolve().parent), [first, *rest]
        runpy.run_path(first, run_name="__main__")


def main() -> None:
    """Serve until the other end of the socket is closed."""
    # A terminal's Ctrl-C is for the processes, each of which hears it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in PRELOADED:
        importlib.import_module(name)
    with suppress(ImportError):  # where the extra is absent
        importlib.import_module("trio440.mining.engines.kernel")
    if threading.active_count() > 1:
        raise AssertionError("what is imported beforehand has started a thread")
    gc.collect()
    gc.freeze()
    request = _Forker(socket.socket(fileno=int(sys.argv[1]))).next_process()
    if request is not None:
        _run_as_main(request)


if __name__ == "__main__":
    main()
