"""What many actors and many questions leave behind: nothing.

The short forms run always, the long ones, over a million of each, in campaigns. Objects are
counted by their kind, after a warm-up; in the long forms the memory of the process is looked at,
too.
"""

import gc
from collections import Counter as Tally
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.support.actor_cast import Add, Counter, Get, Wait
from trio440.actors import ActorSystem, MailboxPolicy, Ref, open_actor_system
from trio440.errors import AskTimedOut

SHORT, LONG = 1_500, 1_000_000
SWEPT_TOGETHER = 1_200
"""Trio sweeps the scopes of deadlines that are over, and timers those that are cancelled, by the
thousand and by the 64: what is less is no leak."""
PAGE_BYTES = 4096
NOISE_BYTES = 4 << 20

COUNTS = pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.campaign)])


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


async def assert_flat(count: int, play: Callable[[int], Awaitable[None]]) -> None:
    """Play the same a few times, then ``count`` times, and compare what there is."""
    await play(count // 30)
    gc.collect()
    before = Tally(type(each).__qualname__ for each in gc.get_objects())
    tasks, memory = trio.lowlevel.current_statistics().tasks_living, resident()
    await play(count)
    gc.collect()
    after = Tally(type(each).__qualname__ for each in gc.get_objects())
    grown = {kind: more for kind, more in (after - before).items() if more > SWEPT_TOGETHER}
    assert grown == {}
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    if count == LONG:
        assert resident() - memory < NOISE_BYTES


class Nest(Counter):
    """Has all that belongs to a life."""

    async def on_start(self) -> None:
        self.context.watch(await self.context.spawn(Counter))
        self.context.tell_after(self.context.ref, Add(1), 1e6)


@pytest.mark.slow
@COUNTS
async def test_spawns_and_stops_leave_nothing(count: int) -> None:
    async with open_actor_system() as system:

        async def play(times: int) -> None:
            for number in range(times):
                cls = Counter if number % 50 else Nest
                actor = await system.spawn(cls, name="one")
                system.tell(actor, Add(1))
                await system.stop(actor)

        await assert_flat(count, play)
        counts = system.statistics()
        assert (counts.actors, counts.timers, counts.open_asks, counts.names) == (0, 0, 0, 0)
        assert counts.spawned == counts.ended >= count


@COUNTS
async def test_asks_that_time_out_leave_nothing(count: int) -> None:
    at_once = 50

    async def ask_in_vain(system: ActorSystem, silent: Ref[Get], times: int) -> None:
        for _ in range(times):
            with pytest.raises(AskTimedOut):
                await system.ask(silent, Get(), timeout_seconds=1)

    async with open_actor_system() as system:
        silent = await system.spawn(Counter, mailbox=MailboxPolicy(1, "drop_newest"))
        system.tell(silent, Wait())

        async def play(times: int) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(at_once):
                    nursery.start_soon(ask_in_vain, system, silent, times // at_once)

        await assert_flat(count, play)
        counts = system.statistics()
        assert (counts.actors, counts.open_asks) == (1, 0)
        assert counts.one_shots_used >= count
        await system.stop(silent, timeout_seconds=0)
