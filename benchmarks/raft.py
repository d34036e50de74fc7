"""Commits, reads and snapshots of three Raft peers, each a process on loopback that syncs its disk.

    python benchmarks/raft.py                   everything, in some minutes
    python benchmarks/raft.py commits client    these parts: commits, settings, client, snapshot,
                                                memory

Commands have ten bytes. In ``commits`` they are proposed and read in the leader's process, beside
PySyncObj, whose commands are made in its leader's process, too: as it comes, and with the settings
that are its fastest; ``settings`` measures all that were tried. It writes nothing to a disk, as it
comes; these peers sync every batch. A command that PySyncObj answers with an error counts as
failed, and not in its rate. The sides take turns; a rate is the median of the rounds, with the
least and the greatest. No process is pinned to a core.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import trio

from trio440 import raft

PEERS: Final = Path(__file__).parent / "raft_peers"
NAMES: Final = ("n1", "n2", "n3")
IN_FLIGHT: Final = 5_000
COMMITS: Final = 150_000
THEIR_COMMITS: Final = 60_000
THEIR_SETTINGS: Final = (
    "default",
    "unbatched",
    "short",
    "short, unbatched",
    "driven",
    "driven, unbatched",
)
THEIR_BEST: Final = ("default", "short", "short, unbatched")
READERS: Final = 500
SNAPSHOT_BYTES: Final = 100_000_000
CALM_SECONDS: Final = 8.0
PACE: Final = 100.0
"""Lone commands a second beside a snapshot that is streamed."""


class Process:
    """One peer, in a process of its own."""

    def __init__(self, stack: ExitStack, script: str, *arguments: str) -> None:
        """Start it; it ends with the stack."""
        command = [sys.executable, str(PEERS / script), *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stack.callback(self._process.wait)
        stack.callback(self._process.kill)

    def answer(self) -> dict[str, Any]:
        """Return the next answer."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit("a peer has ended")
        return dict(json.loads(line))

    def begin(self, **order: Any) -> None:
        """Tell it what to do; :meth:`answer` waits until it is done."""
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    def ask(self, **order: Any) -> dict[str, Any]:
        """Tell it what to do, and return what came of it."""
        self.begin(**order)
        return self.answer()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in found]


class Ours:
    """A cluster of this project, with directories."""

    def __init__(self, stack: ExitStack, directory: str, *options: str) -> None:
        """Start the peers and wait for a leader."""
        self.stack, self.directory, self.options = stack, directory, options
        self.ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self.peers = {name: self.start(name, "--members", ",".join(NAMES)) for name in NAMES}
        for peer in self.peers.values():
            peer.answer()
        self.leader = self.peers[self.peers["n1"].ask(do="lead")["leader"]]

    def start(self, name: str, *options: str) -> Process:
        """Start one peer."""
        arguments = ["--id", name, "--directory", f"{self.directory}/{name}", *options]
        arguments += ["--port", str(self.ports.get(name, 0)), *self.options]
        for other, port in self.ports.items():
            if other != name:
                arguments += ["--place", other, str(port)]
        return Process(self.stack, "ours.py", *arguments)


@contextmanager
def ours(*options: str) -> Iterator[Ours]:
    """Run a cluster of this project."""
    with (
        tempfile.TemporaryDirectory(prefix="raft-", dir=Path.cwd()) as directory,
        ExitStack() as stack,
    ):
        yield Ours(stack, directory, *options)


@contextmanager
def theirs(settings: str) -> Iterator[Process]:
    """Run a cluster of PySyncObj, and give its leader; say what it complained of."""
    places = [f"127.0.0.1:{port}" for port in free_ports(len(NAMES))]
    with ExitStack() as stack:
        peers: dict[str, Process] = {}
        for place in places:
            others = [word for other in places if other != place for word in ("--other", other)]
            arguments = ["--id", place, "--settings", settings, *others]
            peers[place] = Process(stack, "theirs.py", *arguments)
        for peer in peers.values():
            peer.answer()
        yield peers[peers[places[0]].ask(do="lead")["leader"]]
        if found := sum(peer.ask(do="warnings")["warnings"] for peer in peers.values()):
            print(f"PySyncObj, {settings}: {found:,} warnings in its log")


class Table:
    """What was measured, by row."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def add(self, name: str, found: dict[str, Any]) -> None:
        """Take in one round."""
        self._rows.setdefault(name, []).append(found)

    def show(self) -> None:
        """Print the medians, and how far the rounds lie apart."""
        print(
            f"{'':60} {'a second':>9}   {'least':>8} {'most':>8}   {'p50 ms':>8} {'p99 ms':>8}"
            f" {'failed':>8}"
        )
        for name, rounds in self._rows.items():
            rates = [found["rate"] for found in rounds]
            p50, p99 = (statistics.median(r[key] for r in rounds) for key in ("p50_ms", "p99_ms"))
            shown = f"{statistics.median(rates):9,.0f}   {min(rates):8,.0f} {max(rates):8,.0f}"
            failed = sum(found.get("failures", 0) for found in rounds)
            print(f"{name:60} {shown}   {p50:8.2f} {p99:8.2f} {failed:8,}")


def commits(rounds: int) -> None:
    """Measure commits and reads, and PySyncObj's commits; one cluster runs at a time."""
    table = Table()
    for _ in range(rounds):
        with ours() as cluster:
            ask = cluster.leader.ask
            ask(do="commits", count=IN_FLIGHT, in_flight=100)
            table.add("one commit at a time", ask(do="commits", count=2_000, in_flight=1))
            for name, count, in_flight in (
                ("commits", COMMITS, IN_FLIGHT),
                ("reads", 50_000, READERS),
            ):
                found = ask(do=name, count=count, in_flight=in_flight)
                table.add(f"{name}, {in_flight:,} in flight", found)
        for settings in THEIR_BEST:
            their_commits(table, settings)
    table.show()


def their_commits(table: Table, settings: str) -> None:
    """Measure PySyncObj's commits once."""
    lone = 20 if settings in {"default", "unbatched"} else 1_000
    with theirs(settings) as peer:
        for shown, count, in_flight in (
            ("one commit at a time", lone, 1),
            (f"commits, {IN_FLIGHT:,} in flight", THEIR_COMMITS, IN_FLIGHT),
        ):
            found = peer.ask(do="commits", count=count, in_flight=in_flight)
            table.add(f"PySyncObj, {settings}: {shown}", found)


def settings(rounds: int) -> None:
    """Measure PySyncObj's commits with all settings that were tried."""
    table = Table()
    for _ in range(rounds):
        for name in THEIR_SETTINGS:
            their_commits(table, name)
    table.show()


async def through_client(ports: dict[str, int], in_flight: int, count: int) -> dict[str, Any]:
    """Make commits through the client library, from this process."""
    times: list[float] = []
    left = count
    async with raft.open_client([("127.0.0.1", port) for port in ports.values()]) as client:
        await client.propose(b"first")

        async def work() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                began = time.perf_counter()
                await client.propose(b"0123456789")
                times.append(time.perf_counter() - began)

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(in_flight):
                nursery.start_soon(work)
        elapsed = time.perf_counter() - began
    times.sort()
    return {
        "rate": len(times) / elapsed,
        "p50_ms": 1000 * statistics.median(times),
        "p99_ms": 1000 * times[int(len(times) * 0.99)],
    }


def client(rounds: int) -> None:
    """Measure commits through the client library."""
    table = Table()
    with ours("--sessions") as cluster:
        for _ in range(rounds):
            for in_flight, count in ((1, 500), (100, 10_000)):
                found = trio.run(through_client, cluster.ports, in_flight, count)
                table.add(f"commits through a client, {in_flight} in flight", found)
    table.show()


def snapshot(_rounds: int) -> None:
    """Measure lone commits while a new member is sent a snapshot."""
    with ours() as cluster:
        leader = cluster.leader
        leader.ask(do="propose", command=f"grow {SNAPSHOT_BYTES}")
        leader.ask(do="commits", count=20_000, in_flight=100)
        leader.ask(do="snapshot")
        calm = leader.ask(do="paced", seconds=CALM_SECONDS, rate=PACE)
        member = cluster.start("n4")
        port = member.answer()["port"]
        began = time.monotonic()
        leader.ask(do="learner", id="n4", port=port)
        parts = []
        while member.ask(do="report")["snapshot"] == 0:
            parts.append(leader.ask(do="paced", seconds=0.5, rate=PACE))
        took = time.monotonic() - began
    times = sorted(t for part in parts for t in part["times_ms"])
    busy = times[int(len(times) * 0.99)]
    print(f"a snapshot of {SNAPSHOT_BYTES / 1e6:.0f} MB reached a new member in {took:.1f} s")
    print(f"lone commits, p99: {calm['p99_ms']:.2f} ms before, {busy:.2f} ms meanwhile, ", end="")
    print(f"{busy / calm['p99_ms']:.1f} times as long ({len(times)} commits)")


def memory(_rounds: int) -> None:
    """Measure how much memory peers hold while a million commands pass, with compaction."""
    with ours("--snapshot-entries", "10000") as cluster:
        for step in range(10):
            cluster.leader.ask(do="commits", count=100_000, in_flight=IN_FLIGHT)
            held = [peer.ask(do="report")["rss_mb"] for peer in cluster.peers.values()]
            shown = ", ".join(f"{megabytes:.0f}" for megabytes in held)
            print(f"after {step + 1}00,000 commands: {shown} MB resident")


def main() -> None:
    """Measure and print."""
    parts: dict[str, Callable[[int], None]] = {
        "commits": commits,
        "settings": settings,
        "client": client,
        "snapshot": snapshot,
        "memory": memory,
    }
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[[], *parts], help="all where none is named")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each workload")
    arguments = parser.parse_args()
    for name in arguments.parts or parts:
        parts[name](arguments.rounds)


if __name__ == "__main__":
    main()
