"""Channels and select: what they cost, and what a bare trio memory channel costs.

    python benchmarks/core.py                 a table, in about 20 seconds
    python benchmarks/core.py --check         the same, with status 1 if a target is missed
    python benchmarks/core.py --rounds 31     more rounds, for a quieter median

Everything runs in one thread that never waits for anything outside, so what is counted is the
processor time of the process: other work on the machine does not show. The two sides of a
comparison take turns (A B A B), because the speed of a processor changes within seconds; a
ratio is that of the medians, with the least and the greatest ratio of one round behind it.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import attrs
import trio

from trio440.core import Chan, select, select_nowait

LEAST_RATIO: Final = 0.8
LEAST_READY_PER_SECOND: Final = 100_000
LEAST_PARKED_PER_SECOND: Final = 80_000


class Sender(Protocol):
    """The sending end of either kind of channel."""

    async def send(self, value: int, /) -> None:
        """Send, waiting if need be."""

    def send_nowait(self, value: int, /) -> None:
        """Send or raise WouldBlock."""


class Receiver(Protocol):
    """The receiving end of either kind of channel."""

    async def receive(self) -> int:
        """Receive, waiting if need be."""

    def receive_nowait(self) -> int:
        """Receive or raise WouldBlock."""


Ends = tuple[Sender, Receiver]
Work = Callable[[], Awaitable[int]]


def raw_ends(capacity: int) -> Ends:
    """Open a bare trio memory channel."""
    return trio.open_memory_channel[int](capacity)


def chan_ends(capacity: int) -> Ends:
    """Make a Chan, which is both of its ends."""
    ch = Chan[int](capacity)
    return ch, ch


# What channels do; each returns how many values went through


async def nowait_pairs(ends: Ends) -> int:
    """Send one and receive it, without any await."""
    sender, receiver = ends
    for value in range(20_000):
        sender.send_nowait(value)
        receiver.receive_nowait()
    return 20_000


async def nowait_bursts(ends: Ends) -> int:
    """Fill a buffer of 64 and drain it, without any await."""
    sender, receiver = ends
    for _ in range(300):
        for value in range(64):
            sender.send_nowait(value)
        for _ in range(64):
            receiver.receive_nowait()
    return 300 * 64


async def stream(ends: Ends) -> int:
    """Send from one task to another; who is faster waits for the other."""
    sender, receiver = ends

    async def produce() -> None:
        for value in range(4_000):
            await sender.send(value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        for _ in range(4_000):
            await receiver.receive()
    return 4_000


async def ping_pong(there: Ends, back: Ends) -> int:
    """Two tasks that wait for each other's value in turn."""

    async def answer() -> None:
        for _ in range(1_500):
            await back[0].send(await there[1].receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        for value in range(1_500):
            await there[0].send(value)
            await back[1].receive()
    return 3_000


# What selects do; each returns how many selects happened


async def select_ready() -> int:
    """Select over four channels, of which one has a value."""
    a, b, c, d = (Chan[int](1) for _ in range(4))
    channels = (a, b, c, d)
    for value in range(8_000):
        channels[value & 3].send_nowait(value)
        await select(a.receiving(), b.receiving(), c.receiving(), d.receiving())
    return 8_000


async def select_mixed_ready() -> int:
    """Select over four cases, two of them sends, of which one can happen."""
    full, room, a, b = Chan[int](1), Chan[int](1), Chan[int](1), Chan[int](1)
    full.send_nowait(0)
    for value in range(8_000):
        await select(a.receiving(), full.sending(value), b.receiving(), room.sending(value))
        room.receive_nowait()
    return 8_000


async def select_facing() -> int:
    """Two tasks wake each other; every select waits in four channels."""
    mine, theirs = [Chan[int]() for _ in range(4)], [Chan[int]() for _ in range(4)]

    async def side(receive: list[Chan[int]], send: list[Chan[int]], *, begins: bool) -> None:
        a, b, c, d = receive
        for value in range(2_000):
            if begins:
                send[value & 3].send_nowait(value)
            await select(a.receiving(), b.receiving(), c.receiving(), d.receiving())
            if not begins:
                send[value & 3].send_nowait(value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: side(mine, theirs, begins=False))
        while not mine[0].statistics().tasks_waiting_receive:
            await trio.lowlevel.checkpoint()
        await side(theirs, mine, begins=True)
    return 4_000


async def select_fed() -> int:
    """Wait in four channels for a task that does a full checkpoint after every value."""
    channels = [Chan[int]() for _ in range(4)]
    a, b, c, d = channels

    async def feed() -> None:
        for value in range(3_000):
            await trio.lowlevel.checkpoint()
            while not select_nowait(channels[value & 3].sending(value)):
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        for _ in range(3_000):
            await select(a.receiving(), b.receiving(), c.receiving(), d.receiving())
    return 3_000


async def checkpoints() -> int:
    """Bare trio checkpoints: the price of one turn of the scheduler, for scale."""
    for _ in range(10_000):
        await trio.lowlevel.checkpoint()
    return 10_000


@attrs.frozen
class Row:
    """One line of the table: what is measured, beside what, and what is asked of it."""

    name: str
    work: Work
    baseline: Work | None = None
    least_per_second: int = 0


def rows() -> list[Row]:
    """Everything that is measured."""

    def compared(name: str, capacity: int, work: Callable[[Ends], Awaitable[int]]) -> Row:
        return Row(name, lambda: work(chan_ends(capacity)), lambda: work(raw_ends(capacity)))

    return [
        Row("trio checkpoint", checkpoints),
        compared("nowait pair", 1, nowait_pairs),
        compared("nowait burst of 64", 64, nowait_bursts),
        compared("stream, unbuffered", 0, stream),
        compared("stream, buffer of 64", 64, stream),
        Row(
            "ping-pong, unbuffered",
            lambda: ping_pong(chan_ends(0), chan_ends(0)),
            lambda: ping_pong(raw_ends(0), raw_ends(0)),
        ),
        Row(
            "ping-pong, buffer of 1",
            lambda: ping_pong(chan_ends(1), chan_ends(1)),
            lambda: ping_pong(raw_ends(1), raw_ends(1)),
        ),
        Row("select of 4, ready", select_ready, None, LEAST_READY_PER_SECOND),
        Row("select of 4, send ready", select_mixed_ready, None, LEAST_READY_PER_SECOND),
        Row("select of 4, parks", select_facing, None, LEAST_PARKED_PER_SECOND),
        Row("select of 4, parks, fed", select_fed),
    ]


async def measure(work: Work) -> float:
    """Return how often per second of processor time the work's operation happens."""
    start = time.process_time()
    operations = await work()
    return operations / (time.process_time() - start)


def spread(values: list[float]) -> str:
    """Write the least and the greatest of some ratios or rates."""
    digits = 0 if min(values) > 100 else 2
    return f"[{min(values):.{digits}f} to {max(values):.{digits}f}]"


async def measure_row(row: Row, rounds: int) -> tuple[str, bool]:
    """Measure in turns; return the line of the table and whether the target is met."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(await measure(row.work) / 1000)
        if row.baseline is not None:
            theirs.append(await measure(row.baseline) / 1000)
    median = statistics.median(ours)
    line = f"{row.name:24} {median:6.0f} k/s  {spread(ours):14}"
    if theirs:
        baseline = statistics.median(theirs)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        ratio = median / baseline
        line += f"  memory channel {baseline:5.0f} k/s, ratio {ratio:.2f} {spread(ratios)}"
        return f"{line}, at least {LEAST_RATIO}", ratio >= LEAST_RATIO
    if row.least_per_second:
        line += f"  at least {row.least_per_second // 1000}"
    return line, median * 1000 >= row.least_per_second


async def run(rounds: int) -> bool:
    """Print the table; return whether all targets are met."""
    met = True
    for row in rows():
        await measure(row.work)  # warm up
        line, row_met = await measure_row(row, rounds)
        print(line if row_met else f"{line}  MISSED", flush=True)
        met = met and row_met
    return met


def main() -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description="Measure channels and select.")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of each row (21)")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    options = parser.parse_args()
    met = trio.run(run, options.rounds)
    if options.check and not met:
        sys.exit(1)


if __name__ == "__main__":
    main()
