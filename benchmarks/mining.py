"""The hash engines: compiled against plain on one core, two cores against one, and the whole.

    python benchmarks/mining.py                a table, in about 20 seconds
    python benchmarks/mining.py --check        the same, with status 1 if a target is missed
    python benchmarks/mining.py --rounds 31    more rounds, for a quieter median

What is counted is the time on the wall, of searches through the engines' own interface. The two
sides of a comparison take turns (A B A B), because the speed of a processor changes within
seconds; a ratio is that of the medians, with the least and the greatest ratio of one round
behind it. Two cores against one needs an otherwise idle machine, for which the best round of
each side stands: whatever else runs only ever makes it slower. The whole is a server, two miners
of one lane each and a client, over LSP on loopback, against one engine with two lanes.
"""

import argparse
import statistics
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import attrs
import trio

from trio440.core.lifetimes import open_service_nursery
from trio440.mining import HashEngine, NonceRange, find_least_hash, open_mining_server, work
from trio440.mining.engines import measure_rate, open_engine

LEAST_COMPILED: Final = 8.0
LEAST_TWO_LANES: Final = 1.8
SEARCH_SECONDS: Final = 0.4
WHOLE_SECONDS: Final = 4.0
TEXT: Final = "bradfitz"
START: Final = 10**9

Side = Callable[[], Awaitable[float]]


def searches(engine: HashEngine, size: int) -> Side:
    """Return what measures the nonces per second of a search of ``size`` nonces."""

    async def measure() -> float:
        began = trio.current_time()
        await engine.search(TEXT, NonceRange(START, START + size - 1))
        return size / (trio.current_time() - began)

    return measure


async def whole(size: int) -> float:
    """Return the nonces per second of a whole job, miners already there."""
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(open_engine("numba", lanes=1)) for _ in range(2)]
        with trio.CancelScope() as scope:
            async with open_mining_server() as server, open_service_nursery() as nursery:
                host, port = server.address[:2]
                for engine in engines:
                    nursery.start_soon(work, host, port, engine)
                while server.miners < len(engines):  # noqa: ASYNC110 - they join over the network
                    await trio.sleep(0.01)
                began = trio.current_time()
                await find_least_hash(host, port, TEXT, NonceRange(START, START + size - 1))
                elapsed = trio.current_time() - began
                scope.cancel()
                await trio.lowlevel.checkpoint()
    return size / elapsed


@attrs.frozen
class Rates:
    """The nonces per second of both sides, round by round."""

    ours: list[float]
    theirs: list[float]

    def line(self, name: str, ratio: float) -> str:
        """Write a line of the table."""
        ours, theirs = (statistics.median(side) / 1e6 for side in (self.ours, self.theirs))
        ratios = [a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        spread = f"[{min(ratios):.2f} to {max(ratios):.2f}]"
        return f"{name:30} {ours:7.2f} M/s  against {theirs:6.2f} M/s, ratio {ratio:5.2f} {spread}"

    @property
    def ratio_of_medians(self) -> float:
        """What usually is."""
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def ratio_of_bests(self) -> float:
        """What can be."""
        return max(self.ours) / max(self.theirs)


async def take_turns(ours: Side, theirs: Side, rounds: int) -> Rates:
    """Measure both sides in turn."""
    pairs = [(await ours(), await theirs()) for _ in range(rounds)]
    return Rates([pair[0] for pair in pairs], [pair[1] for pair in pairs])


async def run(rounds: int) -> bool:
    """Print the table; return whether all targets are met."""
    async with (
        open_engine("hashlib", lanes=1) as plain,
        open_engine("numba", lanes=1) as compiled,
        open_engine("numba", lanes=2) as two_lanes,
    ):
        speed = await measure_rate(compiled)
        size = int(speed * SEARCH_SECONDS)
        plain_size = int(await measure_rate(plain) * SEARCH_SECONDS)
        one_lane = searches(compiled, size)
        rates = await take_turns(one_lane, searches(plain, plain_size), rounds)
        compiled_ratio = rates.ratio_of_medians
        print(rates.line("numba against hashlib", compiled_ratio), f"at least {LEAST_COMPILED}")
        rates = await take_turns(searches(two_lanes, 2 * size), one_lane, rounds)
        lanes_ratio = rates.ratio_of_bests
        line = rates.line("two lanes against one, at best", lanes_ratio)
        print(line, f"at least {LEAST_TWO_LANES} on an idle machine")
        whole_size = int(2 * speed * WHOLE_SECONDS)
        both = searches(two_lanes, whole_size)
        rates = await take_turns(lambda: whole(whole_size), both, max(1, rounds // 8))
        print(rates.line("two miners against two lanes", rates.ratio_of_medians))
    return compiled_ratio >= LEAST_COMPILED and lanes_ratio >= LEAST_TWO_LANES


def main() -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description="Measure the hash engines.")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each row (9)")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    options = parser.parse_args()
    met = trio.run(run, options.rounds)
    if options.check and not met:
        sys.exit("a target was missed")


if __name__ == "__main__":
    main()
