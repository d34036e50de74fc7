"""The journal: appends a second with group commit, against one sync for each record.

    python benchmarks/journal.py                  a table, in about 10 seconds
    python benchmarks/journal.py --check          the same, with status 1 if a target is missed
    python benchmarks/journal.py --directory DIR  on the disk of DIR, not of temporary files

The two sides of a comparison take turns (A B A B), because the speed of the machine and of its
disk changes within seconds; a ratio is that of the medians, with the least and the greatest ratio
of one round behind it. Each append is awaited: the next one of that task comes after the sync.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import trio

from trio440.core.real import REAL_HOST
from trio440.journal import Journal, open_journal

RECORD: Final = bytes(range(100))
LEAST_RATIO: Final = 5.0

Work = Callable[[str], Awaitable[float]]


async def bare(directory: str) -> float:
    """Append and fdatasync in a loop, without a journal; the appends a second."""
    disk = REAL_HOST.disk(directory)
    with closing(disk.open_append("bare")) as file:
        start = time.perf_counter()
        for _ in range(500):
            file.append(RECORD)
            file.sync()
        return 500 / (time.perf_counter() - start)


def journalled(tasks: int, turns: int) -> Work:
    """Return work in which so many tasks append so many records each, one at a time."""

    async def append(journal: Journal) -> None:
        for _ in range(turns):
            await journal.append([RECORD])

    async def run(directory: str) -> float:
        async with open_journal(directory) as journal:
            start = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(tasks):
                    nursery.start_soon(append, journal)
            seconds = time.perf_counter() - start
            return tasks * turns / seconds

    return run


async def pipelined(directory: str) -> float:
    """One task that appends without waiting, and waits once at the end of each 1000."""
    async with open_journal(directory) as journal:
        start = time.perf_counter()
        for _ in range(40):
            for _ in range(1000):
                journal.append_nowait([RECORD])
            await journal.sync()
        return 40_000 / (time.perf_counter() - start)


COMPARISONS: Final[dict[str, tuple[Work, Work, float | None]]] = {
    "journal, 1 task / bare append and sync": (journalled(1, 300), bare, None),
    "64 tasks / 1 task": (journalled(64, 30), journalled(1, 300), LEAST_RATIO),
    "1000 tasks / 1 task": (journalled(1000, 8), journalled(1, 300), LEAST_RATIO),
    "pipelined by 1000 / 1 task": (pipelined, journalled(1, 300), LEAST_RATIO),
}


def measure(work: Work, parent: str) -> float:
    """Do the work once in a directory of its own; the appends a second."""
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        return trio.run(work, str(Path(directory) / "journal"))


def main() -> int:
    """Print the table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="status 1 if a target is missed")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison")
    parser.add_argument("--directory", help="where the files are written")
    arguments = parser.parse_args()
    missed = False
    for name, (left, right, target) in COMPARISONS.items():
        rounds = [
            (measure(left, arguments.directory), measure(right, arguments.directory))
            for _ in range(arguments.rounds)
        ]
        lefts, rights = zip(*rounds, strict=True)
        ratio = statistics.median(lefts) / statistics.median(rights)
        ratios = [a / b for a, b in rounds]
        missed |= target is not None and ratio < target
        print(
            f"{name:40} {statistics.median(lefts):10,.0f}/s {statistics.median(rights):10,.0f}/s"
            f"   {ratio:6.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            + (f"   target {target}" if target else "")
        )
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
