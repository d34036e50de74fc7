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


def digests_in_processes(*setups: str, hash_seeds: Iterable[int | None]) -> set[tuple[str, ...]]:
    """Run the same histories in one process for each hash seed, and return what came out.

    None is the seed of other processes here, drawn at random unless somebody chose it.

    Each of ``setups`` names a system, a seed, a level, a profile and perhaps an order.
    """
    outputs = set()
    for seed in hash_seeds:
        environment = {} if seed is None else {"PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", PROGRAM, *setups]
        status, out, err = finished(command, env=environment)
        assert (status, err) == (0, "")
        assert len(out.split()) == len(setups)
        outputs.add(tuple(out.split()))
    return outputs
