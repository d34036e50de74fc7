"""Epoch timers of a machine, and tasks that fetch their ticks in time, late or not at all."""

import random
from typing import Final

import trio

from trio440.core import EpochTimer
from trio440.core.host import Host
from trio440.sim.faults import Pause
from trio440.sim.systems.core_watch import Grid
from trio440.sim.world import World

__all__ = ["start_timer"]

PERIODS: Final = (0.07, 0.2, 1 / 3, 0.5)
FOLLOWERS: Final = (1, 1, 2)
"""How many tasks share a timer."""
RESETS, DELAYS, CANCELLATIONS = 0.05, 0.2, 0.15
"""How often a task resets its timer, comes late, or gives up waiting; shares of 1."""
LATENESS: Final = 5
"""The longest delay, in periods."""


def start_timer(nursery: trio.Nursery, world: World, host: str, ports: Host, number: int) -> None:
    """Start a timer in this life of a machine, and the tasks that follow it for ever."""
    rng = world.rng(host, world.machines[host].lives, "timer", number)
    timer = _Watched(world, host, ports, rng.choice(PERIODS))
    for _ in range(rng.choice(FOLLOWERS)):
        nursery.start_soon(timer.follow, random.Random(rng.getrandbits(64)))


class _Watched:
    """A timer, and the grid that it has to keep."""

    def __init__(self, world: World, host: str, ports: Host, period: float) -> None:
        self._world = world
        self._host = host
        self._clock = ports.clock
        self._period = period
        self._timer = EpochTimer(period, ports=ports)
        self._grid = Grid(ports.clock.now(), period)

    async def follow(self, rng: random.Random) -> None:
        """Fetch ticks until cancelled."""
        kinds, weights = ("reset", "delay", "give up", "wait"), (RESETS, DELAYS, CANCELLATIONS, 0.6)
        while True:
            self._grid.require_due(self._timer.next_deadline)
            match rng.choices(kinds, weights)[0]:
                case "reset":
                    self._timer.reset()
                    self._grid.reset(self._clock.now())
                case "delay":
                    await self._clock.sleep(rng.random() * LATENESS * self._period)
                case "give up":
                    with self._clock.move_on_after(rng.random() * self._period):
                        await self._fetch()
                case _:
                    await self._fetch()

    async def _fetch(self) -> None:
        called = self._clock.now()
        tick = await self._timer.wait()
        now, due = self._clock.now(), self._grid.next_deadline
        self._grid.ticked(tick.number, tick.count, now)
        self._world.note(f"tick {tick.number} for {tick.count}", self._host)
        if not self._has_just_been_paused():
            self._grid.require_prompt(called, due, now)

    def _has_just_been_paused(self) -> bool:
        pauses = [fault for _, fault in self._world.plan.happening if isinstance(fault, Pause)]
        now = self._world.now()
        return any(one.host == self._host and abs(one.end - now) <= 1 for one in pauses)
