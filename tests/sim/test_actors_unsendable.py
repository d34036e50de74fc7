"""What cannot be sent to another system harms nobody: made-up references, texts, lengths, times."""

from collections.abc import Sequence
from typing import Any, Final

import attrs
import pytest
import trio

from tests.support.actors_enemy import serves, wait_until
from tests.support.actors_world import HOSTS, PORT, Add, Counter, Get, Names, cut, system_on
from trio440 import actors
from trio440.errors import ActorFailed, ActorStopped
from trio440.sim import simulated
from trio440.sim.world import World

# References that were made up


IMPOSSIBLE: Final[Sequence[actors.Ref[Any]]] = [
    *(
        actors.Ref(address, 1, 1)
        for address in (
            *("nowhere", "a:1", "a:0", "a\n:1", "\ud800:1", "10.0.0.7:07000", "[::0001]:1"),
            *(length * "a" + ":1" for length in (127, 128, 200, 253, 254, 255, 300)),
            *("[fe80::1%" + "0" * 300 + "2]:1", "", ":", "[]:1"),
        )
    ),
    *(actors.Ref("10.0.0.7:1", number, 1) for number in (0, -5, 1 << 63, 1 << 64, 1 << 90)),
    *(actors.Ref("10.0.0.7:1", 1, number) for number in (-1, 1 << 63, 1 << 70)),
]


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_references_that_no_system_has_made_lead_to_the_dead_letters_at_once(
    world: World,
) -> None:
    async with system_on(world, "one") as one:
        with one.dead_letters() as letters:
            for ref in IMPOSSIBLE:
                one.tell(ref, Add(1))
                assert letters.receive_nowait().reason == "unreachable"
                with pytest.raises(ActorStopped, match=r"no link leads|no system that can be"):
                    await one.ask(ref, Get())
                letters.receive_nowait()
                assert (await one.wait_stopped(ref)).reason == "lost"
                await one.stop(ref)
        assert one.links() == []


@simulated(seeds=1, profile="calm", hosts=HOSTS)
@pytest.mark.parametrize("delivery", ["at_most_once", "acknowledged"])
async def test_a_made_up_reference_does_no_harm_to_those_behind_it(
    world: World, delivery: actors.Delivery
) -> None:
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        one.set_delivery(two.address, delivery)
        counter = await two.spawn(Counter)
        for made_up in (
            attrs.evolve(counter, counter=0),
            attrs.evolve(counter, counter=-1),
            attrs.evolve(counter, incarnation=-1),
            attrs.evolve(counter, counter=1 << 63),
        ):
            one.tell(made_up, Add(100))
            one.tell(counter, Add(1))
        assert await one.ask(counter, Get()) == 4


class Watching(actors.Actor[Names | actors.Down]):
    """Watches whoever is at the addresses it is told."""

    def __init__(self) -> None:
        self.downs: list[actors.Down] = []

    @actors.handler
    async def look(self, message: Names) -> None:
        for address in message.names:
            self.context.watch(actors.Ref(address, 1, 1))

    @actors.handler
    async def down(self, message: actors.Down) -> None:
        self.downs.append(message)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_whoever_is_watched_takes_no_place_of_a_seed_and_makes_no_watcher_crash(
    world: World,
) -> None:
    made: list[Watching] = []

    def make() -> Watching:
        made.append(Watching())
        return made[-1]

    async with system_on(world, "one") as one:
        watching = await one.spawn(make)
        addresses = [f"10.9.{place}.1:1" for place in range(200)]
        one.tell(watching, Names([*addresses, "nowhere", "a:0", "a" * 300 + ":1"]))
        await wait_until(lambda: len(made[-1].downs) == 203)
        assert {down.reason for down in made[-1].downs} == {"lost"}
        one.join([f"10.1.1.{place}:1" for place in range(60)])
    assert len(made) == 1


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_a_system_is_found_by_a_watch_though_nobody_has_named_it_a_seed(
    world: World,
) -> None:
    alone = actors.Networking()
    async with (
        system_on(world, "one", networking=alone) as one,
        system_on(world, "two", networking=alone) as two,
    ):
        counter = await two.spawn(Counter)
        with trio.move_on_after(5):
            await one.wait_stopped(counter)
        assert len(one.members) == len(two.members) == 2


# What cannot be sent


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_texts_that_are_no_unicode_do_not_keep_the_ends_of_actors_from_others(
    world: World,
) -> None:
    async def crash(_: actors.Context[Get], question: Get) -> int:
        raise ValueError("\udcff\ud800")

    async def answer(_: actors.Context[Get], question: Get) -> Any:
        return "\udcff"

    async with (
        system_on(world, "one") as one,
        system_on(world, "two", report=lambda _: None) as two,
    ):
        for behaviour, problem in ((crash, "ValueError: ??"), (answer, "InvalidParameter")):
            ref: Any = await two.spawn(behaviour, restart=actors.Restart("temporary"))
            async with trio.open_nursery() as nursery:
                downs: list[actors.Down] = []

                async def watch(ref: Any = ref, downs: list[actors.Down] = downs) -> None:
                    downs.append(await one.wait_stopped(ref))

                nursery.start_soon(watch)
                await trio.sleep(1)
                with pytest.raises(ActorFailed, match=problem.replace("?", r"\?")):
                    await one.ask(ref, Get())
            assert problem in downs[0].detail
        assert await serves(one, two)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
@pytest.mark.parametrize("delivery", ["at_most_once", "acknowledged"])
async def test_a_message_that_the_other_side_would_not_read_is_a_dead_letter(
    world: World, delivery: actors.Delivery
) -> None:
    seeds = (f"{world.machines['one'].address}:{PORT}",)
    wide = actors.LinkLimits(message_bytes=1 << 30, bytes=1 << 30)
    networking = actors.Networking(seeds=seeds, limits=wide, delivery=delivery)
    async with (
        system_on(world, "one", networking=networking) as one,
        system_on(world, "two", networking=networking) as two,
    ):
        counter = await two.spawn(Counter)
        long = Names(["x" * (17 << 20)])
        with one.dead_letters() as letters:
            one.tell(counter, Add(1))
            one.tell(counter, long)  # there is no connection so far
            one.tell(counter, Add(2))
            first = await letters.receive()
            assert await one.ask(counter, Get()) == 3
            one.tell(counter, long)
            second = letters.receive_nowait()
            assert await one.ask(counter, Get()) == 3
        for letter in (first, second):
            assert (letter.reason, letter.message) == ("link_full", long)
            assert "takes 17825" in letter.detail
        assert one.links()[0].connects == 1


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_an_answer_that_is_too_long_is_none(world: World) -> None:
    async def answer(_: actors.Context[Get], question: Get) -> Any:
        return "x" * (9 << 20)

    async with system_on(world, "one") as one, system_on(world, "two") as two:
        ref: Any = await two.spawn(answer)
        for _ in range(2):
            with pytest.raises(ActorStopped, match="has given an answer of 9437208 bytes"):
                await one.ask(ref, Get())
        assert await serves(one, two)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_one_may_wait_for_an_answer_as_long_as_a_float_can_say(world: World) -> None:
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        for seconds in (1e9, 1e13, 1e300):
            counter = await two.spawn(Counter)
            assert await one.ask(counter, Get(), timeout_seconds=seconds) == 0
            await one.stop(counter, timeout_seconds=seconds)
        assert await serves(one, two)


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=600)
@pytest.mark.parametrize("delivery", ["at_most_once", "acknowledged"])
async def test_two_systems_speak_again_after_a_long_partition(
    world: World, delivery: actors.Delivery
) -> None:
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        one.set_delivery(two.address, delivery)
        counter = await two.spawn(Counter)
        for _ in range(10):
            one.tell(counter, Add(1))
            assert await one.ask(counter, Get())
        with cut(world, "two"):
            await wait_until(lambda: len(one.members) == len(two.members) == 1)
            await wait_until(lambda: one.links() == [])
        await wait_until(lambda: len(one.members) == len(two.members) == 2)
        one.tell(counter, Add(1))
        assert await one.ask(counter, Get()) == 11
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.wait_stopped, counter)
            await trio.sleep(1)
            await two.stop(counter)
