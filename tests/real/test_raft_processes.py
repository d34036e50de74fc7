"""Raft in real processes: the commands, and a leader that is killed under load."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE_SECONDS, TRIO440, Program, finished, started

pytestmark = pytest.mark.real

NAMES = ("n1", "n2", "n3")


def free_ports(count: int) -> list[int]:
    """Ports that nobody has; peers must know those of each other before they start."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """Three peers, each a process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self.at = ",".join(f"127.0.0.1:{port}" for port in self.ports.values())
        self.processes: dict[str, Program] = {}
        self.stack = ExitStack()

    def start(self, name: str) -> None:
        command = [*TRIO440, "raft", "serve", "--id", name]
        command += ["--data", str(self.directory / name)]
        command += ["--listen", f"127.0.0.1:{self.ports[name]}"]
        for other in NAMES:
            if other != name:
                command += ["--peer", f"{other}=127.0.0.1:{self.ports[other]}"]
        process = self.stack.enter_context(started(command))
        assert process.port() == self.ports[name]
        self.processes[name] = process

    def run(self, *words: str, status: int = 0) -> str:
        code, out, err = finished([*TRIO440, "raft", *words, "--at", self.at, "--timeout", "20"])
        assert (code, err) == (status, ""), (words, code, out, err)
        return out

    def leader(self) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            rows = json.loads(self.run("status", "--json"))
            leading = [row for row in rows if row["role"] == "leader"]
            if leading:
                return str(max(leading, key=lambda row: row["term"])["id"])
        raise AssertionError("nobody leads")


@contextmanager
def cluster_in(directory: Path) -> Iterator[Cluster]:
    cluster = Cluster(directory)
    with cluster.stack:
        for name in NAMES:
            cluster.start(name)
        yield cluster


def test_the_commands_do_what_they_say(tmp_path: Path) -> None:
    with cluster_in(tmp_path) as cluster:
        cluster.run("put", "k", "v 1")
        assert cluster.run("get", "k") == "v 1\n"
        cluster.run("cas", "k", "v 1", "v 2")
        cluster.run("cas", "k", "v 1", "v 3", status=1)
        cluster.run("cas", "--absent", "j", "", "w")
        assert cluster.run("list") == "j\tw\nk\tv 2\n"
        cluster.run("delete", "j")
        cluster.run("delete", "j", status=1)
        assert cluster.run("get", "j", status=1) == ""
        item = json.loads(cluster.run("get", "k", "--json"))
        assert (item["value"], item["version"]) == ("v 2", 2)
        leader = cluster.leader()
        other = next(name for name in NAMES if name != leader)
        cluster.run("transfer", other)
        assert cluster.leader() == other
        assert int(cluster.run("snapshot")) > 0
        assert cluster.run("members") == "voters: n1, n2, n3\nlearners: -\n"
        rows = json.loads(cluster.run("status", "--json"))
        assert [row["id"] for row in rows] == list(NAMES)
        assert all(row["reachable"] for row in rows)
        assert {"id", "role", "term", "commit", "applied", "reachable"} <= set(rows[0])
        assert "leader" in cluster.run("status")
        cluster.processes["n1"].signal(signal.SIGTERM)
        assert cluster.processes["n1"].end() == (0, "", "")
        directory = tmp_path / "n1"
        command = [*TRIO440, "raft", "serve", "--id", "n9", "--data", str(directory)]
        code, _, err = finished([*command, "--listen", "127.0.0.1:0"])
        assert code == 1
        assert "belongs to node 'n1'" in err


def test_a_leader_is_killed_under_load_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with cluster_in(tmp_path) as cluster:
        cluster.run("put", "start", "1")
        written: list[str] = []
        stop = threading.Event()

        def write(worker: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                key = f"{worker}.{number}"
                cluster.run("put", key, key)
                written.append(key)

        threads = [threading.Thread(target=write, args=(worker,)) for worker in range(2)]
        for thread in threads:
            thread.start()
        try:
            while len(written) < 5:
                time.sleep(0.01)
            leader = cluster.leader()
            cluster.processes[leader].signal(signal.SIGKILL)
            seen = len(written)
            while len(written) < seen + 5:
                time.sleep(0.01)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        cluster.start(leader)
        found = dict(line.split("\t") for line in cluster.run("list").splitlines())
        assert set(written) <= set(found)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            rows = {row["id"]: row for row in json.loads(cluster.run("status", "--json"))}
            if rows[leader]["applied"] == max(row["commit"] or 0 for row in rows.values()):
                return
        raise AssertionError("the old leader has not caught up")
