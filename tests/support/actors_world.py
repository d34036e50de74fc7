"""What the tests of several systems of actors have in common: machines, messages, an actor."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Any, Final

import attrs
import trio

from tests.support.rpc_world import ports_of
from trio440 import actors
from trio440.sim.faults import Partition
from trio440.sim.world import World

HOSTS: Final = ("one", "two", "three")
PORT: Final = 7000
SEEDS: Final = 1


@actors.message("test.Add")
@attrs.frozen
class Add:
    amount: int


@actors.message("test.Names")
@attrs.define
class Names:
    """No message that may be shared."""

    names: list[str]


@actors.message("test.Get")
@attrs.frozen
class Get(actors.Question[int]):
    pass


@actors.message("test.GetNames")
@attrs.frozen
class GetNames(actors.Question[Names]):
    pass


@actors.message("test.Slow")
@attrs.frozen
class Slow(actors.Question[int]):
    seconds: float


class Counter(actors.Actor[Add | Names | Get | GetNames | Slow]):
    def __init__(self) -> None:
        self.total = 0
        self.names: list[str] = []

    @actors.handler
    async def add(self, message: Add) -> None:
        if message.amount < 0:
            raise ValueError(message.amount)
        self.total += message.amount

    @actors.handler
    async def add_names(self, message: Names) -> None:
        self.names += message.names

    @actors.handler
    async def get(self, message: Get) -> int:  # noqa: ARG002 - says only what it is
        return self.total

    @actors.handler
    async def get_names(self, message: GetNames) -> Names:  # noqa: ARG002 - the same
        return Names(self.names)

    @actors.handler
    async def slow(self, message: Slow) -> int:
        await trio.sleep(message.seconds)
        return self.total


@asynccontextmanager
async def system_on(world: World, host: str, **options: Any) -> AsyncIterator[actors.ActorSystem]:
    """A system on a simulated machine, in the cluster of the first one."""
    seeds = (f"{world.machines[HOSTS[0]].address}:{PORT}",)
    networking = options.pop("networking", actors.Networking(seeds=seeds))
    async with actors.open_actor_system(
        world.machines[host].address,
        PORT,
        networking=networking,
        ports=ports_of(world, host),
        **options,
    ) as system:
        yield system


places = count(99)  # behind those of the plan


@contextmanager
def cut(world: World, host: str) -> Iterator[None]:
    """Lose everything between one machine and the others."""
    fabric, now, place = world.network.fabric, world.now(), next(places)
    fault = Partition(start=now, end=now + 10**9, side=(host,))
    fabric.begin(place, fault)
    yield
    fabric.end(place, fault)
    world.network.ring()
