"""Actors on simulated machines: all that they need of the world comes through the host."""

import trio

from tests.support.actor_cast import Add, Counter, Get
from tests.support.rpc_world import ports_of
from trio440.actors import open_actor_system
from trio440.actors.testing import open_probe
from trio440.sim import simulated
from trio440.sim.world import World


@simulated(seeds=2, profile="calm", hosts=["one", "two"])
async def test_two_machines_have_two_systems_and_clocks_of_their_own(world: World) -> None:
    one, two = ports_of(world, "one"), ports_of(world, "two")
    async with (
        open_actor_system(name="same", ports=one) as first,
        open_actor_system(name="same", ports=two) as second,
    ):
        counter = await first.spawn(Counter)
        other = await second.spawn(Counter)
        assert (counter.counter, counter.address) == (other.counter, other.address)
        assert counter != other
        first.tell_every(counter, Add(1), 1)
        second.tell(counter, Add(100))
        await trio.sleep(10.5)
        assert await first.ask(counter, Get()) == 10
        assert second.statistics().dead_by_reason == {"other_life": 1}
        async with open_probe(first, Add, clock=one.clock) as probe:
            first.tell_after(probe.ref, Add(1), 2)
            await probe.expect_nothing(for_seconds=1.9)
            assert await probe.expect(Add, within_seconds=0.2) == Add(1)
