"""Leaving a journal by an exception while it is at work."""

import random

import attrs
import pytest
import trio
import trio.testing

from tests.support.journal_world import DIRECTORY, machine
from trio440.journal import Journal, open_journal
from trio440.sim.blocking import SimBlocking
from trio440.sim.disk import SimDisk


class LeftError(Exception):
    """Somebody has had enough."""


async def _snapshot(journal: Journal) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await journal.snapshot(b"state", 1)


async def test_an_exception_passes_a_snapshot_that_waits_for_a_commit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    del autojump_clock
    host = machine(SimDisk(random.Random(1)))
    host = attrs.evolve(host, blocking=SimBlocking(lambda: 1.0, host.clock))

    async def use() -> None:
        with pytest.raises(LeftError):
            async with open_journal(DIRECTORY, ports=host) as journal:
                journal.append_nowait([b"record"])
                nursery.start_soon(_snapshot, journal)
                await trio.testing.wait_all_tasks_blocked()
                raise LeftError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
