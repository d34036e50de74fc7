"""Three servers of a store as real processes, for tests: started, killed, started again."""

import random
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.support.net import RARE_PORTS
from tests.support.processes import TRIO440, Program, started

__all__ = ["NAMES", "Servers", "servers_in"]

NAMES = ("n1", "n2", "n3")
PORTS = 2
"""Of each server, one after the other: at most the actors' and one for clients."""


class Servers:
    """Each has a directory and ports of its own, and the same command line at each start."""

    def __init__(self, directory: Path, *, engine: str) -> None:
        self.directory = directory
        self.engine = engine
        self.processes: dict[str, Program] = {}
        self.stack = ExitStack()
        with ExitStack() as stack:  # no two get the same
            self.ports = {name: _free_ports(stack) for name in NAMES}

    def address(self, name: str) -> str:
        """Where a server answers clients."""
        return f"127.0.0.1:{self.ports[name] + (self.engine == 'eventual')}"

    @property
    def addresses(self) -> list[str]:
        return [self.address(name) for name in NAMES]

    def command(self, name: str) -> Sequence[str]:
        """The command line of a server, which joins all that are started before it."""
        words = [*TRIO440, "kv", "serve", "--engine", self.engine, "--id", name]
        words += ["--data", str(self.directory / name), "--port", str(self.ports[name])]
        for before in NAMES[: NAMES.index(name)]:
            words += ["--join", self.address(before)]
        return words

    def start(self, *names: str) -> None:
        """Start servers together, and wait until each has said all that it says."""
        for name in names:
            self.processes[name] = self.stack.enter_context(started(self.command(name)))
        for name in names:
            process = self.processes[name]
            assert process.line() == f"listening on {self.address(name)}"
            while not process.line().startswith("description "):
                pass

    def kill(self, *names: str) -> None:
        """Kill servers at one moment, and wait until they are gone."""
        for name in names:
            self.processes[name].signal(signal.SIGKILL)
        for name in names:
            assert self.processes[name].end()[0] == -signal.SIGKILL


def _free_ports(stack: ExitStack) -> int:
    """Return the first of some ports that nobody else takes as long as the stack is open."""
    while True:
        first = random.choice(RARE_PORTS)
        with ExitStack() as held, suppress(OSError):
            for port in range(first, first + PORTS):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    sock = held.enter_context(socket.socket(socket.AF_INET, kind))
                    sock.bind(("127.0.0.1", port))
            stack.push(held.pop_all())
            return first


@contextmanager
def servers_in(directory: Path, *, engine: str) -> Iterator[Servers]:
    """Three servers that run; they are gone behind the block."""
    servers = Servers(directory, engine=engine)
    with servers.stack:
        for name in NAMES:
            servers.start(name)
        yield servers
