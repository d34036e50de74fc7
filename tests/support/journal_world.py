"""A journal on a simulated disk, with a model of what it must hold."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

import attrs
import trio

from tests.support.sim_network import SimNetwork
from trio440.core.host import Blocking, Host, Worker
from trio440.errors import JournalError
from trio440.journal import Journal, JournalLimits, Recovered, open_journal
from trio440.sim.blocking import SimBlocking
from trio440.sim.disk import SimDisk
from trio440.sim.power import PowerCut

DIRECTORY = "/data/journal"
SMALL = JournalLimits(segment_bytes=400)

Log = tuple[bytes, ...]

T = TypeVar("T")
Args = TypeVarTuple("Args")


class AtOnce(Blocking, Worker):
    """Runs what is given while its caller waits, which costs a test the least."""

    @asynccontextmanager
    async def open_worker(self, name: str) -> AsyncIterator[Worker]:
        del name
        yield self

    async def run(self, fn: Callable[[*Args], T], *args: *Args) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return fn(*args)
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()


def machine(disk: SimDisk, seed: int = 1, *, slow: bool = False) -> Host:
    """A machine of which only the disk matters; a slow one takes up to 1.5 s for a call."""
    ports = attrs.evolve(SimNetwork(seed).host("10.0.0.1", seed), disk=disk.tree)
    if not slow:
        return attrs.evolve(ports, blocking=AtOnce())
    latency = random.Random(seed)
    blocking = SimBlocking(lambda: latency.choice((0.0001, 0.001, 1.5)), ports.clock)
    return attrs.evolve(ports, blocking=blocking)


def pack(log: Sequence[bytes]) -> bytes:
    """A snapshot that is the log itself: then a log has one meaning, compacted or not."""
    return b"\n".join([b"", *log])


def unpack(recovered: Recovered) -> Log:
    """The whole log, snapshot included."""
    old = [] if recovered.snapshot is None else recovered.snapshot.split(b"\n")[1:]
    assert len(old) == recovered.snapshot_index
    return (*old, *recovered.records)


@attrs.define
class Model:
    """Every log that there was, in order, and the last one that was acknowledged."""

    logs: list[Log] = attrs.field(factory=lambda: [()])
    acknowledged: int = 0

    @property
    def now(self) -> Log:
        return self.logs[-1]

    def become(self, log: Sequence[bytes]) -> int:
        """The log changes, one record at a time; returns the number of the last state."""
        log = tuple(log)
        if len(log) > len(self.now) and log[: len(self.now)] == self.now:
            self.logs += [log[:end] for end in range(len(self.now) + 1, len(log) + 1)]
        elif log != self.now:
            self.logs.append(log)
        return len(self.logs) - 1

    def acknowledge(self, state: int) -> None:
        self.acknowledged = max(self.acknowledged, state)

    def admit(self, log: Log) -> bool:
        """Whether this is what a crash may leave; then it is what there is from now on."""
        if log not in self.logs[self.acknowledged :]:
            return False
        self.logs, self.acknowledged = [log], 0
        return True

    # What is done to a journal and to the model alike

    async def append(self, journal: Journal, *records: bytes, alone: bool = False) -> None:
        state = self.become((*self.now, *records))
        index = journal.append_nowait(records, alone=alone)
        assert index == journal.last_index == len(self.now)
        await journal.sync(index)
        self.acknowledge(state)

    async def truncate(self, journal: Journal, index: int) -> None:
        state = self.become(self.now[:index])
        await journal.truncate_after(index)
        self.acknowledge(state)

    async def snapshot(self, journal: Journal, upto: int) -> None:
        await journal.snapshot(pack(self.now[:upto]), upto)

    async def install(self, journal: Journal, log: Sequence[bytes]) -> None:
        self.logs.append(tuple(log))
        state = len(self.logs) - 1
        await journal.snapshot(pack(log), len(log))
        self.acknowledge(state)


async def read_log(ports: Host, limits: JournalLimits = SMALL) -> Log:
    async with open_journal(DIRECTORY, limits=limits, ports=ports) as journal:
        return unpack(journal.take_recovered())


async def until_the_end(work: Awaitable[object]) -> BaseException | None:
    """Run something that a power cut or a failing disk may end; return how it ended.

    Only these two: any other error passes through.
    """
    try:
        await work
    except BaseExceptionGroup as group:
        ends, others = group.split((PowerCut, JournalError))
        if others is not None or ends is None:
            raise
        return next(
            (error for error in _leaves(ends) if isinstance(error, PowerCut)),
            next(_leaves(ends)),
        )
    except (PowerCut, JournalError) as error:
        return error
    return None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


Workload = Callable[[Host, Model], Awaitable[None]]
