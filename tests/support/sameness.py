"""One seed is one history in every process: what a program prints under several hash seeds."""

import sys
from collections.abc import Iterable

from tests.support.processes import finished

__all__ = ["digests_in_processes"]

PROGRAM = """
import sys
from trio440.sim.outcome import Setup
from trio440.sim.running import run
for words in sys.argv[1:]:
    system, seed, *rest = words.split()
    print(run(Setup(system, int(seed), *rest))[0].digest)
"""


def digests_in_processes(*setups: str, hash_seeds: Iterable[int]) -> set[tuple[str, ...]]:
    """Run the same histories in one process for each hash seed, and return what came out.

    Each of ``setups`` names a system, a seed, a level, a profile and perhaps an order.
    """
    outputs = set()
    for seed in hash_seeds:
        command = [sys.executable, "-c", PROGRAM, *setups]
        status, out, err = finished(command, env={"PYTHONHASHSEED": str(seed)})
        assert (status, err) == (0, "")
        assert len(out.split()) == len(setups)
        outputs.add(tuple(out.split()))
    return outputs
