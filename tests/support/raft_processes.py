"""A Raft cluster of real processes, for tests: started, killed, asked by the command."""

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.net import free_port
from tests.support.processes import PATIENCE_SECONDS, TRIO440, Program, finished_here, started

NAMES = ("n1", "n2", "n3")
QUICK = ("--election-seconds", "0.3")
"""A new leader soon after the old one was killed."""


class Cluster:
    """Three peers, each a process with a directory of its own name."""

    def __init__(self, directory: Path, *, options: Sequence[str] = QUICK) -> None:
        self.directory = directory
        self.options = options
        self.ports: dict[str, int] = {}
        while len(set(self.ports.values())) < len(NAMES):  # peers know them before they are bound
            self.ports = {name: free_port() for name in NAMES}
        self.at = ",".join(f"127.0.0.1:{port}" for port in self.ports.values())
        self.processes: dict[str, Program] = {}
        self.stack = ExitStack()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", port) for port in self.ports.values()]

    def data(self, name: str) -> Path:
        return self.directory / name

    def serve(self, name: str) -> list[str]:
        """The command that is a peer."""
        command = [*TRIO440, "raft", "serve", "--id", name, "--data", str(self.data(name))]
        command += ["--listen", f"127.0.0.1:{self.ports[name]}", *self.options]
        for other in NAMES:
            if other != name:
                command += ["--peer", f"{other}=127.0.0.1:{self.ports[other]}"]
        return command

    def start(self, *names: str) -> None:
        """Start peers together, and wait until each listens."""
        for name in names:
            self.processes[name] = self.stack.enter_context(started(self.serve(name)))
        for name in names:
            assert self.processes[name].port() == self.ports[name]

    def kill(self, *names: str) -> None:
        """Kill peers at one moment, and wait until they are gone."""
        for name in names:
            self.processes[name].signal(signal.SIGKILL)
        for name in names:
            assert self.processes[name].end()[0] == -signal.SIGKILL

    def run(self, *words: str, status: int = 0) -> str:
        """Run a client's command; its output."""
        code, out, err = finished_here("raft", *words, "--at", self.at, "--timeout", "50")
        assert (code, err) == (status, ""), (words, code, out, err)
        return out

    def rows(self) -> dict[str, dict[str, Any]]:
        """The status of each member, by id."""
        return {row["id"]: row for row in json.loads(self.run("status", "--json"))}

    def wait_rows(
        self, condition: Callable[[dict[str, dict[str, Any]]], object]
    ) -> dict[str, dict[str, Any]]:
        """Ask until the members' status is as wanted."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition(rows := self.rows()):
            assert time.monotonic() < deadline, rows
        return rows

    def leader(self) -> str:
        """Who leads in the latest term."""
        rows = self.wait_rows(lambda rows: any(row["role"] == "leader" for row in rows.values()))
        leading = [row for row in rows.values() if row["role"] == "leader"]
        return str(max(leading, key=lambda row: row["term"])["id"])


@contextmanager
def cluster_in(directory: Path, *, options: Sequence[str] = QUICK) -> Iterator[Cluster]:
    """Three peers that run; they are gone behind the block."""
    cluster = Cluster(directory, options=options)
    with cluster.stack:
        cluster.start(*NAMES)
        yield cluster
