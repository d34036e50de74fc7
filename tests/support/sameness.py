"""One seed is one history in every process: what a program prints under several hash seeds."""

import os
import subprocess
import sys
from collections.abc import Iterable

from tests.support.processes import ROOT

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
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *setups],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        )
        for seed in hash_seeds
    ]
    outputs = {tuple(process.communicate(timeout=60)[0].split()) for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert all(len(digests) == len(setups) for digests in outputs)
    return outputs
