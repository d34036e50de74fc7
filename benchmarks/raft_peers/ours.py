"""One peer of trio440's Raft, told by lines of JSON what to do; the answers are lines, too."""

import argparse
import functools
import gc
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio

from trio440 import raft
from trio440.raft.dedupe import Sessions

BIG_PIECE: Final = bytes(range(256)) * 4096


class Last:
    """A state machine that costs nothing: it keeps the last command, and ballast if told to."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.last = b""
        self.count = 0
        self.ballast = b""

    def apply(self, _index: int, command: bytes) -> bytes:
        """Keep a command; ``grow N`` adds N bytes to what a snapshot holds."""
        self.count += 1
        if command.startswith(b"grow "):
            size = int(command[5:])
            self.ballast = (BIG_PIECE * (size // len(BIG_PIECE) + 1))[:size]
            return b""
        self.last = command
        return command

    def query(self, _request: bytes) -> bytes:
        """Return what was kept."""
        return self.last

    def snapshot(self) -> Callable[[], bytes]:
        """Take hold of the state."""
        head, ballast = b"%d %s " % (self.count, self.last.hex().encode()), self.ballast
        return lambda: head + ballast

    def restore(self, data: bytes) -> None:
        """Replace the state."""
        count, last, self.ballast = data.split(b" ", 2)
        self.count, self.last = int(count), bytes.fromhex(last.decode())


def percentile(times: list[float], part: float) -> float:
    """Return how many milliseconds a part of the calls took at most."""
    return 1000 * sorted(times)[min(len(times) - 1, int(len(times) * part))]


def summary(times: list[float], elapsed: float) -> dict[str, Any]:
    """Return what is told of calls."""
    return {
        "rate": len(times) / elapsed,
        "p50_ms": 1000 * statistics.median(times),
        "p99_ms": percentile(times, 0.99),
    }


async def many(call: Callable[[bytes], Any], count: int, in_flight: int) -> dict[str, Any]:
    """Make calls from so many tasks, each one after the other."""
    times: list[float] = []
    left = count

    async def work(number: int) -> None:
        nonlocal left
        clock = time.perf_counter
        command = b"%010d" % number
        while left > 0:
            left -= 1
            began = clock()
            await call(command)
            times.append(clock() - began)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(min(in_flight, count)):
            nursery.start_soon(work, number)
    return summary(times, time.perf_counter() - began)


async def paced(call: Callable[[bytes], Any], seconds: float, rate: float) -> dict[str, Any]:
    """Make so many calls a second, one at a time."""
    times: list[float] = []
    clock = time.perf_counter
    start = began = clock()
    number = 0
    while began < start + seconds:
        await call(b"%010d" % number)
        times.append(clock() - began)
        number += 1
        await trio.sleep(max(0.0, start + number / rate - clock()))
        began = clock()
    return {**summary(times, began - start), "times_ms": [1000 * taken for taken in times]}


def usage() -> dict[str, Any]:
    """Return what this process has used."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"rss_mb": resident / 1e6, "cpu": used.ru_utime + used.ru_stime}


async def obey(peer: raft.Peer[Any], order: dict[str, Any]) -> dict[str, Any]:
    """Do one thing and return what came of it."""
    before = usage()["cpu"]
    result: dict[str, Any] = {}
    match order["do"]:
        case "lead":
            result = {"leader": await peer.wait_leader()}
        case "commits":
            result = await many(peer.propose, order["count"], order["in_flight"])
        case "reads":
            result = await many(peer.read, order["count"], order["in_flight"])
        case "paced":
            result = await paced(peer.propose, order["seconds"], order["rate"])
        case "propose":
            await peer.propose(order["command"].encode())
        case "snapshot":
            result = {"index": await peer.snapshot()}
        case "learner":
            await peer.add_learner(order["id"], "127.0.0.1", order["port"])
        case "report":
            report = peer.report()
            result = {"applied": report.applied, "snapshot": report.snapshot}
    found = usage()
    return {**result, **found, "cpu": found["cpu"] - before}


async def main(arguments: argparse.Namespace) -> None:
    """Be a peer until standard input ends."""
    config = raft.PeerConfig(
        id=arguments.id,
        members=arguments.members.split(",") if arguments.members else (),
        places=[raft.Place(name, "127.0.0.1", int(port)) for name, port in arguments.places],
        directory=arguments.directory,
        port=arguments.port,
        snapshot_entries=arguments.snapshot_entries,
    )
    machine = Sessions(Last()) if arguments.sessions else Last()
    async with raft.open_peer(config, machine) as peer:
        print(json.dumps({"port": peer.address[1]}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            print(json.dumps(await obey(peer, json.loads(line))), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--members", default="")
    parser.add_argument("--place", dest="places", action="append", nargs=2, default=[])
    parser.add_argument("--directory")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--snapshot-entries", type=int, default=0)
    parser.add_argument("--sessions", action="store_true", help="answer clients")
    parser.add_argument("--profile", help="a file for what cProfile finds")
    gc.freeze()
    gc.set_threshold(50_000)
    sys.setswitchinterval(0.001)
    options = parser.parse_args()
    if options.profile:
        import cProfile

        profile = cProfile.Profile()
        profile.runcall(trio.run, functools.partial(main, options))
        profile.dump_stats(options.profile)
    else:
        trio.run(main, options)
