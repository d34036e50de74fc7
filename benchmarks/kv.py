"""The store beside what others use for the same, and beside its targets.

    python benchmarks/kv.py                    everything, in some minutes
    python benchmarks/kv.py resp durable       these parts: resp, durable, lists, memory, visible
    python benchmarks/kv.py resp --rounds 9    more rounds, for a quieter median
    python benchmarks/kv.py lists memory --keys 50000    fewer keys, in less than a minute

``resp``: ``redis-benchmark`` with 50 connections asks this project's server, over the engine in
memory and over the eventual one, and a redis-server that writes nothing to a disk, each a process
of its own on loopback, in turn (A B C A B C). ``durable``: 500 SETs on their way, of 500
connections, and of 50 with ten each, to three servers of the linearizable engine, which sync their
directories, here in the present one, and to one redis-server with ``appendfsync always`` beside
them. No process is pinned to a core, and redis-benchmark keeps a core busy itself. A ratio is that
of the medians, with the least and the greatest of one round behind it. Processor time is in
microseconds for each command, of the server that is asked; what other processes of the machine
take does not count in it.

``lists``: a thousand keys with one prefix among a million. ``memory``: a million keys in a server
of one query actor, and of three. ``visible``: how long after a put was asked for others hear of
it, who watch at the actors of the same server and of another one.
"""

import argparse
import csv
import gc
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from trio440 import kv

CHILD: Final = str(Path(__file__).parent / "kv_servers" / "child.py")
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
START_SECONDS: Final = 10.0
KEYS: Final = 10_000
CONNECTIONS: Final = 50
WORKLOADS: Final = (
    ("get", 1, 20_000),
    ("set", 1, 20_000),
    ("get", 16, 160_000),
    ("set", 16, 160_000),
)
"""What redis-benchmark is to do: the command, how many in one pipeline, how many in all."""
IN_FLIGHT: Final = ((500, 1, 20_000), (50, 10, 40_000))
"""Connections, how many SETs of each are on their way, how many in all."""
PEERS: Final = 3
VOTERS_SECONDS: Final = 30.0
KEYS_EACH: Final = 1000
LISTS: Final = 200
MOST_LIST_MS: Final = 5.0
MANY: Final = 1_000_000
MOST_MEGABYTES: Final = 600
PUTS: Final = 200
MOST_GAP_SECONDS: Final = 0.2
MOST_LOCAL_MS: Final = 150.0
MOST_REMOTE_MS: Final = 300.0
PATIENCE_SECONDS: Final = 20.0


@attrs.frozen
class Measured:
    """What one round has found."""

    a_second: float
    processor_us: float
    """The server's, for one command."""


@attrs.frozen
class Contender:
    """A server that is measured."""

    port: int
    pid: int

    def measure(self, command: str, *, connections: int, pipeline: int, number: int) -> Measured:
        """Have redis-benchmark ask it."""
        before = _processor_seconds(self.pid)
        words = ["redis-benchmark", "-p", str(self.port), "-t", command, "-n", str(number)]
        words += ["-c", str(connections), "-P", str(pipeline), "-r", str(KEYS), "--csv"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        spent = _processor_seconds(self.pid) - before
        (row,) = csv.DictReader(done.stdout.splitlines())
        return Measured(float(row["rps"]), spent / number * 1e6)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def missing_tools() -> str:
    """Say which programs of Redis are not here; empty: all are."""
    missing = [name for name in ("redis-server", "redis-benchmark") if shutil.which(name) is None]
    if not missing:
        return ""
    return f"not measured: {' and '.join(missing)} not installed (apt: redis-server redis-tools)"


@contextmanager
def started(*words: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Start a child; give what it prints, and its process id."""
    with (
        subprocess.Popen([sys.executable, CHILD, *words], stdout=subprocess.PIPE) as child,
        ExitStack() as stack,
    ):
        stack.callback(child.kill)
        line = child.stdout.readline() if child.stdout is not None else b""
        if not line:
            raise SystemExit(f"the child {words[0]} has ended")
        yield dict(json.loads(line)), child.pid


@contextmanager
def ours(engine: str) -> Iterator[Contender]:
    """Start this project's server over one of its engines."""
    with started("resp", engine) as (found, pid):
        yield Contender(found["port"], pid)


@contextmanager
def redis(*options: str) -> Iterator[Contender]:
    """Start a redis-server; without options it keeps everything in memory."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as server, ExitStack() as stack:
        stack.callback(server.kill)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield Contender(port, server.pid)


def compared(found: list[Measured], others: list[Measured]) -> str:
    """Return the ratio of the medians, with the least and the greatest of one round."""
    medians = [statistics.median(each.a_second for each in side) for side in (found, others)]
    ratios = [one.a_second / other.a_second for one, other in zip(found, others, strict=True)]
    return f"{medians[0] / medians[1]:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


# Redis' protocol


def resp(rounds: int, _: int) -> None:
    """Print what redis-benchmark finds of the engines of one process and of redis-server."""
    if problem := missing_tools():
        print(problem)
        return
    with ours("memory") as memory, ours("eventual") as eventual, redis() as theirs:
        print(f"{CONNECTIONS} connections, {KEYS} keys, values of 3 bytes; {rounds} rounds")
        print(f"{'':14}{'':10} {'a second':>9}   {'of Redis':22} {'of memory':22} processor us")
        sides = {"memory": memory, "eventual": eventual, "Redis": theirs}
        for command, pipeline, number in WORKLOADS:
            found: dict[str, list[Measured]] = {side: [] for side in sides}
            for _ in range(rounds):
                for side, server in sides.items():
                    found[side].append(
                        server.measure(
                            command, connections=CONNECTIONS, pipeline=pipeline, number=number
                        )
                    )
            for side, measured in found.items():
                name = f"{command.upper()} -P {pipeline}" if side == "memory" else ""
                ratio = "" if side == "Redis" else compared(measured, found["Redis"])
                other = compared(measured, found["memory"]) if side == "eventual" else ""
                print(f"{name:14}{_row(side, measured, ratio, other)}", flush=True)


def _row(side: str, measured: list[Measured], ratio: str, other: str = "") -> str:
    rate = statistics.median(each.a_second for each in measured)
    cost = statistics.median(each.processor_us for each in measured)
    return f"{side:10} {rate:9,.0f}   {ratio:22} {other:22} {cost:.1f}"


def durable(rounds: int, _: int) -> None:
    """Print the rate of SETs that are on the disks of two servers of three, at least."""
    if problem := missing_tools():
        print(problem)
        return
    with (
        tempfile.TemporaryDirectory(prefix="kv-", dir=Path.cwd()) as directory,
        ExitStack() as stack,
    ):
        leader = _peers(stack, directory)
        theirs = stack.enter_context(
            redis("--appendonly", "yes", "--appendfsync", "always", "--dir", directory)
        )
        sides = {"three": leader, "Redis": theirs}
        for connections, pipeline, number in IN_FLIGHT:
            print(
                f"{connections} connections with {pipeline} SETs on their way each, "
                f"values of 3 bytes; {rounds} rounds"
            )
            found: dict[str, list[Measured]] = {side: [] for side in sides}
            for _ in range(rounds):
                for side, server in sides.items():
                    found[side].append(
                        server.measure(
                            "set", connections=connections, pipeline=pipeline, number=number
                        )
                    )
            print(f"{'':10} {'a second':>9}   {'of Redis':22} {'':22} processor us")
            print(_row("three", found["three"], compared(found["three"], found["Redis"])))
            print(_row("Redis", found["Redis"], ""), flush=True)


def _peers(stack: ExitStack, directory: str) -> Contender:
    """Start three servers, wait until all vote, and give the one that leads."""
    peers: list[tuple[dict[str, Any], int]] = []
    for number in range(PEERS):
        joined = [peer["description"] for peer, _ in peers]
        words = ("peer", f"n{number}", f"{directory}/n{number}", *joined)
        peers.append(stack.enter_context(started(*words)))
    leader = trio.run(_leader, [address for peer, _ in peers for address in peer["clients"]])
    for peer, pid in peers:
        if leader in peer["clients"]:
            return Contender(peer["port"], pid)
    raise SystemExit("the leader is none of the three servers")


async def _leader(addresses: list[str]) -> str:
    deadline = time.monotonic() + VOTERS_SECONDS
    while time.monotonic() < deadline:
        rows = (await kv.look(addresses)).replicas
        leaders = [row.address for row in rows if row.role == "leader"]
        if len(leaders) == 1 and [row.role for row in rows].count("follower") == PEERS - 1:
            return leaders[0]
        await trio.sleep(0.2)
    raise SystemExit(f"there are no {PEERS} voters after {VOTERS_SECONDS:g} s")


def show(name: str, times_ms: list[float], target_ms: float) -> None:
    """Print a row of times."""
    times = sorted(times_ms)
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    print(
        f"{name:44} p50 {statistics.median(times):7.2f}   p99 {p99:7.2f}   most {times[-1]:7.2f} ms"
        f"   target {target_ms:g}",
        flush=True,
    )


# Lists


def lists(_: int, keys: int) -> None:
    """Print how long lists of a thousand keys take, among many."""
    trio.run(_lists, max(1, keys // KEYS_EACH))


async def _lists(prefixes: int) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(kv.open_server())
        spaces: dict[str, kv.Namespace] = {
            "eventual, in its process": server.namespace,
            "memory": await stack.enter_async_context(kv.open_memory()),
        }
        for space in spaces.values():
            for number in range(prefixes):
                await space.execute(
                    [kv.Put(b"%03d/%03d" % (number, at), b"%010d" % at) for at in range(KEYS_EACH)]
                )
        gc.collect()  # else its longest pauses fall into the lists
        client = await stack.enter_async_context(kv.open_client(server.client_addresses))
        spaces["eventual, through a client"] = client
        rng = random.Random(1)
        print(f"lists of {KEYS_EACH} keys of {prefixes * KEYS_EACH:,}, values of 10 bytes")
        for name, space in spaces.items():
            times, spent = [], []
            for _ in range(LISTS):
                prefix = b"%03d/" % rng.randrange(prefixes)
                began, used = time.perf_counter(), time.process_time()
                page = await space.list(prefix)
                times.append(1000 * (time.perf_counter() - began))
                spent.append(1000 * (time.process_time() - used))
                if len(page.entries) != KEYS_EACH:
                    raise SystemExit(f"a list has {len(page.entries)} keys")
            show(name, times, MOST_LIST_MS)
            show(f"{name}: processor time", spent, MOST_LIST_MS)


# Memory


def memory(_: int, keys: int) -> None:
    """Print what many keys take in a server of one query actor, and of three."""
    print(f"{keys:,} keys and values of 10 bytes, resident memory")
    for count in (1, 3):
        with started("hold", str(count), str(keys)) as (found, _pid):
            whole = (found["after"] - found["before"]) / 1e6
            print(
                f"query actors: {count}   the keys {whole:,.0f} MB   "
                f"of each actor {whole / count:,.0f} MB   target {MOST_MEGABYTES}   "
                f"the whole process {found['after'] / 1e6:,.0f} MB",
                flush=True,
            )


# How soon others see a put


def visible(_: int, __: int) -> None:
    """Print how long it takes until others see a put."""
    with (
        started("server", "2") as (one, _one),
        started("server", "2", one["description"]) as (
            two,
            _two,
        ),
    ):
        trio.run(_visible, one["clients"], two["clients"])


async def _visible(mine: list[str], theirs: list[str]) -> None:
    """Put at the first actor, at random moments, and watch at the others."""
    began: list[float] = []
    times: dict[str, list[float]] = {address: [] for address in (mine[1], *theirs)}

    async def watch(
        address: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with kv.open_client([address]) as client, client.watch() as changes:
            task_status.started()
            found = [0.0] * PUTS
            for _ in range(PUTS):
                change = await anext(changes)
                found[int(change.key)] = 1000 * (time.perf_counter() - began[int(change.key)])
            times[address] = found

    rng = random.Random(1)
    with trio.fail_after(PUTS * MOST_GAP_SECONDS + PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery, kv.open_client([mine[0]]) as client:
            for address in times:
                await nursery.start(watch, address)
            for number in range(PUTS):
                began.append(time.perf_counter())
                await client.put(b"%d" % number, b"")
                await trio.sleep(rng.random() * MOST_GAP_SECONDS)
    print(f"{PUTS} puts, {1000 * MOST_GAP_SECONDS / 2:g} ms apart on average; servers on loopback")
    show("a sibling of the same server", times[mine[1]], MOST_LOCAL_MS)
    both = list(zip(*(times[address] for address in theirs), strict=True))
    show("another server, the first of its two actors", list(map(min, both)), MOST_REMOTE_MS)
    show("another server, both of its actors", list(map(max, both)), MOST_REMOTE_MS)


PARTS: Final[dict[str, Callable[[int, int], None]]] = {
    "resp": resp,
    "durable": durable,
    "lists": lists,
    "memory": memory,
    "visible": visible,
}


def main() -> None:
    """Measure the parts that are named, all without a name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all where none is named")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each workload")
    parser.add_argument("--keys", type=int, default=MANY, help="of the lists and of the memory")
    arguments = parser.parse_args()
    for name in arguments.parts or PARTS:
        PARTS[name](arguments.rounds, arguments.keys)


if __name__ == "__main__":
    main()
