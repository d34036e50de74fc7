"""Actors of two processes on loopback: messages of 100 bytes, and one question after the other.

    python benchmarks/actors_remote.py              a table, in about half a minute
    python benchmarks/actors_remote.py --check      the same, with status 1 if a target is missed
    python benchmarks/actors_remote.py --rounds 15  more rounds, for a quieter median

The receiver is a process of its own; no process is pinned to a core. Messages are told from
outside of actors, in bursts of a hundred, and the clock stops when the last one has been handled.
Processor time is in microseconds for each message or question, of the two sides one by one: what
other processes of the machine take does not count in it. A round of questions has its median.
Beside the questions stand calls of bare RPC to the same process, in turn with them (A B A B).
"""

import argparse
import gc
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import Final, cast

import attrs
import trio

from trio440 import actors
from trio440.actors.remote.service import Address
from trio440.actors.remote.visits import open_visit
from trio440.core import REAL_HOST

CLUSTER: Final = actors.Networking().cluster
HOST: Final = "127.0.0.1"
TOLD: Final = 50_000
BURST: Final = 100
ASKED: Final = 1_000
PATIENCE_SECONDS: Final = 120.0
LEAST_TOLD: Final = 60_000
"""Messages a second."""
MOST_ASK_MS: Final = 0.2
"""The median of a question."""


@actors.message("bench.remote.Blob")
@attrs.frozen
class Blob:
    """A hundred bytes."""

    data: bytes


@actors.message("bench.remote.Echo")
@attrs.frozen
class Echo(actors.Question[bytes]):
    """A hundred bytes that come back."""

    data: bytes


@actors.message("bench.remote.Total")
@attrs.frozen
class Total(actors.Question[int]):
    """How many messages have come since this was asked last."""


@actors.message("bench.remote.Spent")
@attrs.frozen
class Spent(actors.Question[float]):
    """How much processor time that process has used, in seconds."""


BLOB: Final = Blob(bytes(100))
ECHO: Final = Echo(bytes(100))


class Sink(actors.Actor[Blob | Echo | Total | Spent]):
    """Counts."""

    def __init__(self) -> None:
        self.total = 0

    @actors.handler
    async def blob(self, _: Blob) -> None:
        """Count."""
        self.total += 1

    @actors.handler
    async def echo(self, message: Echo) -> bytes:
        """Return what came."""
        return message.data

    @actors.handler
    async def count(self, _: Total) -> int:
        """Return the count, and begin again."""
        total, self.total = self.total, 0
        return total

    @actors.handler
    async def spent(self, _: Spent) -> float:
        """Return the processor time."""
        return time.process_time()


SinkRef = actors.Ref[Blob | Echo | Total | Spent]


async def receive() -> None:
    """Be the second process."""
    async with actors.open_actor_system(HOST) as system:
        sink = await system.spawn(Sink, mailbox=actors.MailboxPolicy(TOLD + 1))
        print(sink.address, sink.counter, sink.incarnation, flush=True)
        await system.wait_stopped(sink)


@attrs.frozen
class Round:
    """What one round has found."""

    figure: float
    """Messages a second, or the median of a question in milliseconds."""
    mine_us: float
    """Processor time."""
    theirs_us: float


@attrs.frozen
class Pair:
    """The two processes."""

    system: actors.ActorSystem
    sink: SinkRef

    async def tell(self) -> Round:
        """Tell many messages."""
        theirs, mine = await self._begin()
        began = time.perf_counter()
        for _ in range(TOLD // BURST):
            for _ in range(BURST):
                self.system.tell(self.sink, BLOB)
            await trio.lowlevel.checkpoint()
        total = await self.system.ask(self.sink, Total(), timeout_seconds=PATIENCE_SECONDS)
        seconds = time.perf_counter() - began
        if total != TOLD:
            raise SystemExit(f"{TOLD} messages were told and {total} handled")
        return await self._end(theirs, mine, TOLD, TOLD / seconds)

    async def ask(self) -> Round:
        """Ask one question after the other."""
        theirs, mine = await self._begin()
        took = []
        for _ in range(ASKED):
            began = time.perf_counter()
            await self.system.ask(self.sink, ECHO)
            took.append(time.perf_counter() - began)
        return await self._end(theirs, mine, ASKED, statistics.median(took) * 1e3)

    async def call(self) -> Round:
        """Make one call of RPC after the other, of the same process."""
        request = Address("x" * 100)
        async with open_visit(self.sink.address, CLUSTER, REAL_HOST) as other:
            theirs, mine = await self._begin()
            took = []
            for _ in range(ASKED):
                began = time.perf_counter()
                await other.latest(request)
                took.append(time.perf_counter() - began)
            return await self._end(theirs, mine, ASKED, statistics.median(took) * 1e3)

    async def _begin(self) -> tuple[float, float]:
        gc.collect()
        return await self.system.ask(self.sink, Spent()), time.process_time()

    async def _end(self, theirs: float, mine: float, count: int, figure: float) -> Round:
        mine_us = (time.process_time() - mine) / count * 1e6
        spent = await self.system.ask(self.sink, Spent()) - theirs
        return Round(figure, mine_us, spent / count * 1e6)


async def measure(rounds: int) -> bool:
    """Print the table; return whether the targets are met."""
    command = [sys.executable, __file__, "--receive"]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
        process: trio.Process = await nursery.start(run)
        line = b""
        while not line.endswith(b"\n"):
            line += await cast("trio.abc.ReceiveStream", process.stdout).receive_some()
        address, counter, life = line.decode().split()
        limits = actors.LinkLimits(messages=TOLD + 1)
        networking = actors.Networking(seeds=[address], limits=limits)
        async with actors.open_actor_system(HOST, networking=networking) as system:
            pair = Pair(system, SinkRef(address, int(counter), int(life)))
            await pair.tell()
            told, asked, called = [], [], []
            for _ in range(rounds):
                told.append(await pair.tell())
                asked.append(await pair.ask())
                called.append(await pair.call())
            await system.stop(pair.sink)
    rate = statistics.median(each.figure for each in told)
    median = statistics.median(each.figure for each in asked)
    print(f"{'':14} {'median (spread)':30} {'processor time: sender, receiver'}")
    report("tell, 100 B", told, "/s", 0)
    report("ask, 100 B", asked, " ms", 3)
    report("call of RPC", called, " ms", 3)
    print(f"targets: {LEAST_TOLD:,}/s and {MOST_ASK_MS} ms")
    return rate >= LEAST_TOLD and median < MOST_ASK_MS


def report(name: str, rounds: list[Round], unit: str, digits: int) -> None:
    """Print a row."""
    figures = [each.figure for each in rounds]
    middle, least, most = (
        f"{figure:,.{digits}f}"
        for figure in (statistics.median(figures), min(figures), max(figures))
    )
    mine = statistics.median(each.mine_us for each in rounds)
    theirs = statistics.median(each.theirs_us for each in rounds)
    spread = f"{middle}{unit} ({least} to {most})"
    print(f"{name:14} {spread:30} {mine:.1f} µs, {theirs:.1f} µs")


def main() -> int:
    """Measure; return 1 if a target is missed and ``--check`` was given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each row (7)")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.receive:
        trio.run(receive)
        return 0
    met = trio.run(measure, arguments.rounds)
    return 1 if arguments.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
