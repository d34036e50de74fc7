"""One peer of PySyncObj, told by lines of JSON what to do; the answers are lines, too.

It has no journal, so nothing is ever on a disk, which is how it comes. ``--settings`` says what
else is not as it comes, see :data:`SETTINGS`.
"""

import argparse
import gc
import json
import logging
import queue
import statistics
import sys
import threading
import time
from typing import Any, Final

from pysyncobj import SyncObj, SyncObjConf, replicated

SHORT: Final = 0.0005
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "unbatched": {"appendEntriesUseBatch": False},
    "short": {"autoTickPeriod": SHORT, "appendEntriesPeriod": SHORT},
    "short, unbatched": {
        "autoTickPeriod": SHORT,
        "appendEntriesPeriod": SHORT,
        "appendEntriesUseBatch": False,
    },
    "driven": {"autoTick": False, "appendEntriesPeriod": SHORT},
    "driven, unbatched": {
        "autoTick": False,
        "appendEntriesPeriod": SHORT,
        "appendEntriesUseBatch": False,
    },
}
"""What is given to PySyncObj. ``default``: as it comes. ``unbatched``: a command is sent without
waiting for others. ``short``: its ticks, and the time between two messages to a follower, are as
short as they can be. ``driven``: the same, and one thread ticks and makes the commands, in the
place of two."""
TICK_SECONDS: Final = {"driven": SHORT, "driven, unbatched": SHORT}
"""How long a tick waits at most, where this program ticks."""


class Warnings(logging.Handler):
    """Counts what PySyncObj complains of, in the place of printing it."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, _record: logging.LogRecord) -> None:
        """Count one."""
        self.count += 1


WARNINGS: Final = Warnings()


class Last(SyncObj):  # type: ignore[misc] # PySyncObj has no types
    """Keeps the last command."""

    def __init__(self, me: str, others: list[str], conf: SyncObjConf) -> None:
        """Join the others."""
        self.last = b""
        super().__init__(me, others, conf)

    @replicated  # type: ignore[untyped-decorator] # the same
    def put(self, command: bytes) -> bytes:
        """Keep a command."""
        self.last = command
        return command


class Load:
    """So many commands, each chain of them one after the other."""

    def __init__(self, machine: Last, count: int, in_flight: int) -> None:
        """Begin."""
        self._machine = machine
        self._left = count
        self._count = count
        self.times: list[float] = []
        self.failures = 0
        self.done = threading.Event()
        self.began = time.perf_counter()
        for number in range(min(in_flight, count)):
            self._next(b"%010d" % number)

    def _next(self, command: bytes) -> None:
        if self._left <= 0:
            return
        self._left -= 1
        began = time.perf_counter()

        def answered(_result: object, error: int) -> None:
            self.times.append(time.perf_counter() - began)
            self.failures += error != 0
            if len(self.times) == self._count:
                self.elapsed = time.perf_counter() - self.began
                self.done.set()
            self._next(command)

        self._machine.put(command, callback=answered)


def obey(machine: Last, order: dict[str, Any], tick_seconds: float | None) -> dict[str, Any]:
    """Do one thing and return what came of it; tick where nobody else does."""

    def until(is_done: Any) -> None:
        while not is_done():
            if tick_seconds is None:
                time.sleep(0.001)
            else:
                machine.doTick(tick_seconds)

    if order["do"] == "lead":
        until(lambda: machine.isReady() and machine._getLeader() is not None)  # noqa: SLF001 - it has no other way
        return {"leader": str(machine._getLeader())}  # noqa: SLF001 - the same
    if order["do"] == "warnings":
        return {"warnings": WARNINGS.count}
    load = Load(machine, order["count"], order["in_flight"])
    until(load.done.is_set)
    times = sorted(load.times)
    return {
        "rate": (len(times) - load.failures) / load.elapsed,
        "p50_ms": 1000 * statistics.median(times),
        "p99_ms": 1000 * times[int(len(times) * 0.99)],
        "failures": load.failures,
    }


def main() -> None:
    """Be a peer until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--id", required=True)
    parser.add_argument("--other", dest="others", action="append", default=[])
    parser.add_argument("--settings", choices=[*SETTINGS], default="default")
    arguments = parser.parse_args()
    gc.freeze()
    gc.set_threshold(50_000)
    logging.getLogger().addHandler(WARNINGS)
    tick_seconds = TICK_SECONDS.get(arguments.settings)
    conf = SyncObjConf(**SETTINGS[arguments.settings])
    machine = Last(arguments.id, arguments.others, conf)
    print(json.dumps({}), flush=True)
    if tick_seconds is None:
        for line in sys.stdin:
            print(json.dumps(obey(machine, json.loads(line), None)), flush=True)
        return
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    while True:
        machine.doTick(tick_seconds)
        if lines.empty():
            continue
        if not (line := lines.get()):
            return
        print(json.dumps(obey(machine, json.loads(line), tick_seconds)), flush=True)


if __name__ == "__main__":
    main()
