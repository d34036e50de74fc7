"""Actors of one process, beside Pykka's and Thespian's.

    python benchmarks/actors.py                 a table, in about a minute
    python benchmarks/actors.py --check         the same, with status 1 if a target is missed
    python benchmarks/actors.py --rounds 15     more rounds, for a quieter median
    python benchmarks/actors.py --actors 10000  fewer idle actors, for a quicker end

Each side tells the same frozen message, which is made once, to an actor that adds a number; a
round ends when the last message has been handled. Pykka's actors are threads, and its caller is
another one; Thespian's ``simpleSystemBase`` runs the receiver inside of the call that tells. The
sides take turns (A B A B). A ratio is that of the medians of processor time, in which other work on
the machine does not show, with the least and the greatest of one round behind it; messages a
second are told by the clock as well. Idle actors are counted in a process of their own, whose
resident memory before and after is the difference.
"""

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import pykka
import thespian.actors as thespian
import trio

from trio440 import actors

TOLD: Final = 100_000
ASKED: Final = 10_000
IN_FLIGHT: Final = 100
PATIENCE_SECONDS: Final = 120.0
PAGE_BYTES: Final = 4096

LEAST_TELL_RATIO: Final = 2.0
LEAST_ASK_RATIO: Final = 1.3
MOST_BYTES: Final = 6 * 1024
"""Of an idle actor."""
MOST_SECONDS: Final = 15.0
"""For 100 000 actors to start and stop."""


@actors.message("bench.Add")
@attrs.frozen
class Add:
    """A number to add."""

    amount: int


@actors.message("bench.Get")
@attrs.frozen
class Get(actors.Question[int]):
    """What the sum is."""


ADD: Final = Add(1)
GET: Final = Get()


class Counter(actors.Actor[Add | Get]):
    """Adds."""

    def __init__(self) -> None:
        self.total = 0

    @actors.handler
    async def add(self, message: Add) -> None:
        """Add."""
        self.total += message.amount

    @actors.handler
    async def get(self, _: Get) -> int:
        """Return the sum."""
        return self.total


class PykkaCounter(pykka.ThreadingActor):
    """Does the same."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def on_receive(self, message: Any) -> Any:
        """Add, or return the sum."""
        if type(message) is Add:
            self.total += message.amount
            return None
        return self.total


class PykkaFlooder(pykka.ThreadingActor):
    """Tells another one."""

    def on_receive(self, message: Any) -> None:
        """Tell as often as the test says."""
        for _ in range(TOLD):
            message.tell(ADD)


class ThespianCounter(thespian.Actor):  # type: ignore[misc]  # it has no types
    """Does the same."""

    def __init__(self) -> None:
        self.total = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - the library's name
        """Add, or send the sum."""
        if type(message) is Add:
            self.total += message.amount
        elif type(message) is Get:
            self.send(sender, self.total)


@attrs.frozen
class Rate:
    """Messages a second of one round."""

    wall: float
    processor: float


class Stopwatch:
    """Measures from when it is made."""

    def __init__(self) -> None:
        gc.collect()
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def rate(self, count: int) -> Rate:
        """Return how many messages a second that were."""
        wall = time.perf_counter() - self._wall
        return Rate(count / wall, count / (time.process_time() - self._processor))


def check_sum(total: object, told: int) -> None:
    """Refuse a round in which a message was lost."""
    if total != told:
        raise SystemExit(f"{told} messages were told and {total} handled")


# Ours


async def tell() -> Rate:
    """Tell from outside."""
    async with actors.open_actor_system() as system:
        ref = await system.spawn(Counter, mailbox=actors.MailboxPolicy(TOLD + 1))
        watch = Stopwatch()
        for _ in range(TOLD):
            system.tell(ref, ADD)
        check_sum(await system.ask(ref, GET, timeout_seconds=PATIENCE_SECONDS), TOLD)
        return watch.rate(TOLD)


async def flood(context: actors.Context[Add], message: Add, to: actors.Ref[Add]) -> None:
    """Tell another one."""
    for _ in range(TOLD):
        context.tell(to, message)


async def tell_between() -> Rate:
    """Let an actor tell another one."""
    async with actors.open_actor_system() as system:
        ref = await system.spawn(Counter, mailbox=actors.MailboxPolicy(TOLD + 1))
        flooder = await system.spawn(flood, ref)
        watch = Stopwatch()
        system.tell(flooder, ADD)
        await system.stop(flooder, drain=True, timeout_seconds=PATIENCE_SECONDS)
        check_sum(await system.ask(ref, GET, timeout_seconds=PATIENCE_SECONDS), TOLD)
        return watch.rate(TOLD)


async def ask() -> Rate:
    """Ask one question after the other."""
    async with actors.open_actor_system() as system:
        ref = await system.spawn(Counter)
        watch = Stopwatch()
        for _ in range(ASKED):
            await system.ask(ref, GET)
        return watch.rate(ASKED)


async def ask_in_flight() -> Rate:
    """Ask from many tasks."""

    async def work() -> None:
        for _ in range(ASKED // IN_FLIGHT):
            await system.ask(ref, GET)

    async with actors.open_actor_system() as system:
        ref = await system.spawn(Counter)
        watch = Stopwatch()
        async with trio.open_nursery() as nursery:
            for _ in range(IN_FLIGHT):
                nursery.start_soon(work)
        return watch.rate(ASKED)


# Pykka's


def pykka_tell() -> Rate:
    """Tell from outside."""
    ref = PykkaCounter.start()
    watch = Stopwatch()
    for _ in range(TOLD):
        ref.tell(ADD)
    check_sum(ref.ask(GET), TOLD)
    rate = watch.rate(TOLD)
    ref.stop()
    return rate


def pykka_tell_between() -> Rate:
    """Let an actor tell another one."""
    ref, flooder = PykkaCounter.start(), PykkaFlooder.start()
    watch = Stopwatch()
    flooder.ask(ref)
    check_sum(ref.ask(GET), TOLD)
    rate = watch.rate(TOLD)
    flooder.stop()
    ref.stop()
    return rate


def pykka_ask() -> Rate:
    """Ask one question after the other."""
    ref = PykkaCounter.start()
    watch = Stopwatch()
    for _ in range(ASKED):
        ref.ask(GET)
    rate = watch.rate(ASKED)
    ref.stop()
    return rate


def pykka_ask_in_flight() -> Rate:
    """Ask many questions, then take their answers."""
    ref = PykkaCounter.start()
    watch = Stopwatch()
    for _ in range(ASKED // IN_FLIGHT):
        for future in [ref.ask(GET, block=False) for _ in range(IN_FLIGHT)]:
            future.get()
    rate = watch.rate(ASKED)
    ref.stop()
    return rate


# Thespian's


def thespian_tell() -> Rate:
    """Tell from outside."""
    system = thespian.ActorSystem("simpleSystemBase")
    ref = system.createActor(ThespianCounter)
    watch = Stopwatch()
    for _ in range(TOLD):
        system.tell(ref, ADD)
    check_sum(system.ask(ref, GET), TOLD)
    rate = watch.rate(TOLD)
    system.shutdown()
    return rate


def thespian_ask() -> Rate:
    """Ask one question after the other."""
    system = thespian.ActorSystem("simpleSystemBase")
    ref = system.createActor(ThespianCounter)
    watch = Stopwatch()
    for _ in range(ASKED):
        system.ask(ref, GET)
    rate = watch.rate(ASKED)
    system.shutdown()
    return rate


Side: TypeAlias = Callable[[], Rate]


@attrs.frozen
class Row:
    """What is measured, by whom, and the least ratio to Pykka's."""

    name: str
    sides: dict[str, Side]
    target: float | None = None


LOCAL: Final = (
    Row(
        "tell, from outside",
        {"ours": lambda: trio.run(tell), "Pykka": pykka_tell, "Thespian": thespian_tell},
        LEAST_TELL_RATIO,
    ),
    Row(
        "tell, actor to actor",
        {"ours": lambda: trio.run(tell_between), "Pykka": pykka_tell_between},
        LEAST_TELL_RATIO,
    ),
    Row(
        "ask, one at a time",
        {"ours": lambda: trio.run(ask), "Pykka": pykka_ask, "Thespian": thespian_ask},
        LEAST_ASK_RATIO,
    ),
    Row(
        f"ask, {IN_FLIGHT} in flight",
        {"ours": lambda: trio.run(ask_in_flight), "Pykka": pykka_ask_in_flight},
    ),
)


def measure_local(rounds: int) -> bool:
    """Print what messages within a process cost; return whether the targets are met."""
    print(f"{'within a process':22} {'':9} {'wall':>9} {'processor time':>16}   ours against it")
    met = True
    for row in LOCAL:
        found: dict[str, list[Rate]] = {who: [] for who in row.sides}
        for _ in range(rounds):
            for who, side in row.sides.items():
                found[who].append(side())
        ours = [rate.processor for rate in found["ours"]]
        for who, rates in found.items():
            theirs = [rate.processor for rate in rates]
            wall = statistics.median(rate.wall for rate in rates)
            line = f"{row.name:22} {who:9} {wall / 1e3:6.1f} k/s"
            line += f" {statistics.median(theirs) / 1e3:12.1f} k/s"
            if who != "ours":
                ratio = statistics.median(ours) / statistics.median(theirs)
                spread = [mine / other for mine, other in zip(ours, theirs, strict=True)]
                line += f"   {ratio:.2f} ({min(spread):.2f} to {max(spread):.2f})"
                if who == "Pykka" and row.target is not None:
                    met &= ratio >= row.target
                    line += f", target {row.target:g}"
            print(line, flush=True)
    return met


# Many idle actors


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


class Spent:
    """Seconds from when it is made."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        """Give seconds by the clock and of the processor."""
        wall = time.perf_counter() - self._wall
        return f"{wall} {time.process_time() - self._processor}"


async def crowd(count: int) -> None:
    """Print an idle actor's bytes, and the seconds to start all and to stop all."""
    async with actors.open_actor_system() as system:
        await system.spawn(Counter)
        gc.collect()
        before, spent = resident(), Spent()
        for _ in range(count):
            await system.spawn(Counter)
        started = str(spent)
        gc.collect()
        size = (resident() - before) / count
        spent = Spent()
    print(size, started, spent)


def pykka_crowd(count: int) -> None:
    """Print the same of Pykka's actors."""
    PykkaCounter.start()
    gc.collect()
    before, spent = resident(), Spent()
    for _ in range(count):
        PykkaCounter.start()
    started = str(spent)
    gc.collect()
    size = (resident() - before) / count
    spent = Spent()
    pykka.ActorRegistry.stop_all()
    print(size, started, spent)


def measure_crowd(count: int) -> bool:
    """Print what idle actors take; return whether the targets are met."""
    met = True
    print(f"{'idle actors':15} {'memory each':>18} {'to start':>9} {'to stop':>9}   processor time")
    for who, many in (("ours", count), ("Pykka", min(count, 1_000))):
        command = [sys.executable, __file__, "--crowd", who, "--actors", str(many)]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        size, start, start_processor, stop, stop_processor = map(float, out.split())
        line = f"{who:7} {many:9,} {size / 1024:13.1f} KB {start:7.2f} s {stop:7.2f} s"
        print(f"{line} {start_processor:8.2f} s and {stop_processor:.2f} s", flush=True)
        if who == "ours":
            seconds = (start_processor + stop_processor) * 100_000 / many
            met &= size < MOST_BYTES and seconds < MOST_SECONDS
    print(f"target: {MOST_BYTES // 1024} KB, and {MOST_SECONDS:.0f} s for 100 000 of ours")
    return met


def main() -> int:
    """Measure and print the tables; return 1 if a target is missed and ``--check`` was given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each row (7)")
    parser.add_argument("--actors", type=int, default=100_000, help="idle actors (100000)")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    parser.add_argument("--crowd", choices=("ours", "Pykka"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.crowd == "ours":
        trio.run(crowd, arguments.actors)
        return 0
    if arguments.crowd == "Pykka":
        pykka_crowd(arguments.actors)
        return 0
    met = measure_local(arguments.rounds)
    met &= measure_crowd(arguments.actors)
    return 1 if arguments.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
