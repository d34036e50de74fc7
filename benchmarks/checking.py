"""The linearizability checker: how long it takes for what clients of a correct store see.

    python benchmarks/checking.py             a table, in a few seconds
    python benchmarks/checking.py --check     the same, with status 1 if the target is missed

Histories are made in memory, not measured: clients of a key-value store call it at random, each
call takes effect once while it is open, and a share of the calls never returns.
"""

import argparse
import random
import statistics
import sys
import time
from typing import Final

import attrs

from trio440.sim.checking import (
    Call,
    History,
    Impossible,
    Invocation,
    KeyValue,
    Value,
    check_linearizable,
)

MOST_SECONDS: Final = 10.0
"""For the first load."""
ROUNDS: Final = 3


@attrs.frozen
class Load:
    """What clients do."""

    keys: int
    clients: int
    lost_share: float = 0.0
    operations: int = 10_000


LOADS: Final = [Load(10, 8), Load(1, 8), Load(10, 30), Load(10, 8, lost_share=0.01)]


def draw_call(rng: random.Random, keys: int) -> Call:
    """Half of the calls read."""
    key, value = rng.randrange(keys), rng.randrange(5)
    writes = [KeyValue.put(key, value), KeyValue.cas(key, value, -value), KeyValue.delete(key)]
    return KeyValue.get(key) if rng.random() < 0.5 else rng.choice(writes)


def record(load: Load, seed: int) -> History:
    """Let clients call a correct store."""
    rng, model = random.Random(seed), KeyValue()
    now = 0
    history = History(lambda: now)
    store: dict[Value, Value] = {}
    busy: dict[int, tuple[Invocation, Call, list[Value | Impossible]]] = {}
    while len(history) < load.operations or busy:
        now += rng.randrange(1, 100)
        client = rng.randrange(load.clients)
        if client not in busy:
            if len(history) < load.operations:
                call = draw_call(rng, load.keys)
                busy[client] = (history.invoke(f"c{client}", call), call, [])
            continue
        invocation, call, answer = busy[client]
        if not answer:
            result, store[call.key] = model.apply(store.get(call.key), call)
            answer.append(result)
            continue
        result = answer[0]
        if rng.random() < load.lost_share:
            invocation.unknown()
        elif not isinstance(result, Impossible):
            invocation.ok(result)
        del busy[client]
    return history


def main() -> int:
    """Print the table; return 1 if the target is missed and ``--check`` was given."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="fail if the target is missed")
    check = parser.parse_args().check
    medians = []
    print("operations  keys  clients  lost   answer     steps      seconds (least to greatest)")
    for load in LOADS:
        history = record(load, seed=1)
        verdict = check_linearizable(history, KeyValue())
        times = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            check_linearizable(history, KeyValue())
            times.append(time.perf_counter() - begin)
        medians.append(statistics.median(times))
        print(
            f"{load.operations:10}  {load.keys:4}  {load.clients:7}  {load.lost_share:4.0%}   "
            f"{verdict.answer:8}  {verdict.steps:8}   {medians[-1]:.2f} "
            f"({min(times):.2f} to {max(times):.2f})"
        )
    print(f"target: the first in under {MOST_SECONDS:.0f} seconds")
    return 1 if check and medians[0] >= MOST_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main())
