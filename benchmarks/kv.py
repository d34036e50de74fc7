"""The store beside what others use for the same.

    python benchmarks/kv.py resp              Redis' protocol, beside redis-server; in a minute
    python benchmarks/kv.py resp --rounds 9   more rounds, for a quieter median

``resp``: ``redis-benchmark`` with 50 connections asks this project's server, over the engine in
memory, and a redis-server that writes nothing to a disk, each a process of its own on loopback,
in turn (A B A B). No process is pinned to a core, and redis-benchmark keeps a core busy itself. A
ratio is that of the medians, with the least and the greatest of one round behind it. Processor time
is in microseconds for each command; what other processes of the machine take does not count
in it.
"""

import argparse
import csv
import gc
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from trio440 import kv
from trio440.kv.resp import open_resp_server

CONNECTIONS: Final = 50
KEYS: Final = 10_000
WORKLOADS: Final = (
    ("get", 1, 40_000),
    ("set", 1, 40_000),
    ("get", 16, 400_000),
    ("set", 16, 400_000),
)
"""What redis-benchmark is to do: the command, how many in one pipeline, how many in all."""
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
START_SECONDS: Final = 10.0


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

    def measure(self, command: str, pipeline: int, number: int) -> Measured:
        """Have redis-benchmark ask it."""
        before = _processor_seconds(self.pid)
        words = ["redis-benchmark", "-p", str(self.port), "-t", command, "-n", str(number)]
        words += ["-c", str(CONNECTIONS), "-P", str(pipeline), "-r", str(KEYS), "--csv"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        spent = _processor_seconds(self.pid) - before
        (row,) = csv.DictReader(done.stdout.splitlines())
        return Measured(float(row["rps"]), spent / number * 1e6)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


# Redis' protocol


async def serve_resp() -> None:
    """Be this project's server: print the port and serve until killed."""
    async with kv.open_memory() as namespace, open_resp_server(namespace, 0) as server:
        gc.freeze()
        gc.set_threshold(50_000)
        print(server.address[1], flush=True)
        await trio.sleep_forever()


@contextmanager
def ours() -> Iterator[Contender]:
    """Start this project's server."""
    words = [sys.executable, __file__, "serve-resp"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server, ExitStack() as stack:
        stack.callback(server.kill)
        if server.stdout is not None:
            yield Contender(int(server.stdout.readline()), server.pid)


@contextmanager
def theirs(program: str) -> Iterator[Contender]:
    """Start a redis-server that keeps everything in memory."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [
        program,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]
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


def resp(rounds: int) -> int:
    """Print what redis-benchmark finds of both servers; return the exit status."""
    missing = [name for name in ("redis-server", "redis-benchmark") if shutil.which(name) is None]
    if missing:
        print(
            f"not measured: {' and '.join(missing)} not installed (apt: redis-server redis-tools)"
        )
        return 0
    with ours() as our_server, theirs("redis-server") as redis:
        print(f"{CONNECTIONS} connections, {KEYS} keys, values of 3 bytes; {rounds} rounds")
        print(
            f"{'':14} {'ours/s':>9} {'Redis/s':>9}   ratio                   processor us of each"
        )
        for command, pipeline, number in WORKLOADS:
            found: list[tuple[Measured, Measured]] = []
            for _ in range(rounds):
                mine = our_server.measure(command, pipeline, number)
                found.append((mine, redis.measure(command, pipeline, number)))
            print(_row(f"{command.upper()} -P {pipeline}", found), flush=True)
    return 0


def _row(name: str, found: list[tuple[Measured, Measured]]) -> str:
    rates = [statistics.median(pair[side].a_second for pair in found) for side in (0, 1)]
    costs = [statistics.median(pair[side].processor_us for pair in found) for side in (0, 1)]
    ratios = [mine.a_second / redis.a_second for mine, redis in found]
    ratio = f"{rates[0] / rates[1]:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return (
        f"{name:14} {rates[0]:9,.0f} {rates[1]:9,.0f}   {ratio:22}  "
        f"{costs[0]:.1f} and {costs[1]:.1f}"
    )


BENCHMARKS: Final[dict[str, Callable[[int], int]]] = {"resp": resp}


def main() -> None:
    """Run the benchmarks that are named, all without a name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", nargs="?", choices=[*BENCHMARKS, "serve-resp"], help="all without")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each workload")
    arguments = parser.parse_args()
    if arguments.name == "serve-resp":
        trio.run(serve_resp)
        return
    names = [arguments.name] if arguments.name else list(BENCHMARKS)
    sys.exit(max(BENCHMARKS[name](arguments.rounds) for name in names))


if __name__ == "__main__":
    main()
