"""The kit for tests of actors, on virtual time and on a clock that is moved by hand."""

import random
from typing import Any

import pytest
import trio
import trio.testing

from tests.support.actor_cast import Add, Counter, Get, Watch, Watcher
from trio440.actors import Actor, Context, Down, Ref, handler, open_actor_system
from trio440.actors.testing import ManualClock, SpawnRecorder, host_with_clock, open_probe
from trio440.errors import InvalidParameter


async def test_a_probe_shows_what_it_was_told_and_when_nothing_came() -> None:
    async def later(context: Context[Add], message: Add, to: Ref[Add]) -> None:
        context.tell_after(to, message, 2)

    async with open_actor_system() as system, open_probe(system, Add, name="probe") as probe:
        assert system.lookup("probe") == probe.ref
        system.tell(await system.spawn(later, probe.ref), Add(1))
        began = trio.current_time()
        await probe.expect_nothing(for_seconds=1.9)
        assert await probe.expect(Add, within_seconds=0.2) == Add(1)
        assert trio.current_time() - began == pytest.approx(2)
        with pytest.raises(AssertionError, match="came to local/1 within 3 s, expected: Add"):
            await probe.expect(Add)
        probe.context.tell(probe.ref, Add(2))
        with pytest.raises(AssertionError, match=r"expected nothing and got Add\(amount=2\)"):
            await probe.expect_nothing()
        probe.context.tell(probe.ref, Add(3))
        with pytest.raises(AssertionError, match=r"expected a Down and got Add\(amount=3\)"):
            await probe.expect(Down)
        with pytest.raises(InvalidParameter):
            await probe.expect(Add, within_seconds=-1)


async def test_a_probe_answers_questions_and_watches() -> None:
    async with open_actor_system() as system, open_probe(system, Get) as probe:

        async def ask() -> None:
            assert await system.ask(probe.ref, Get()) == 5

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            received = await probe.receive()
            assert received.message == Get()
            assert received.reply is not None
            received.reply.answer(5)
        system.tell(probe.ref, Get())
        assert (await probe.receive()).reply is None
        counter = await system.spawn(Counter)
        probe.context.watch(counter)
        await system.stop(counter)
        assert (await probe.expect(Down)).ref == counter


async def test_a_probe_ends_with_its_body() -> None:
    async with open_actor_system() as system:
        async with open_probe(system, Add) as probe:
            assert system.statistics().actors == 1
        assert (await system.wait_stopped(probe.ref)).reason == "unknown"
        assert system.statistics().actors == 0


async def test_a_recorder_knows_who_spawned_whom() -> None:
    class Parent(Actor[Add]):
        @handler
        async def add(self, message: Add) -> None:
            for number in range(message.amount):
                await self.context.spawn(Counter, None, name=f"child {number}")

    recorder = SpawnRecorder()
    async with open_actor_system(on_spawn=recorder) as system:
        parent = await system.spawn(Parent)
        system.tell(parent, Add(2))
        first, second = await recorder.wait_for(Counter, count=2)
        assert [first, second] == recorder.children_of(parent)
        assert (first.name, second.parent, second.args) == ("child 0", parent, (None,))
        assert recorder.children_of(None) == recorder.spawned[:1]
        with trio.move_on_after(1) as scope:
            await recorder.wait_for(Watcher)
        assert scope.cancelled_caught


async def test_a_clock_that_is_moved_by_hand_drives_timers_and_deadlines() -> None:
    clock = ManualClock()
    seen: list[Any] = []

    async def note(_: Context[Add], message: Add) -> None:
        seen.append((clock.now(), message.amount))

    ports = host_with_clock(clock, seed=3)
    assert ports.rng.random() == random.Random(3).random()
    async with open_actor_system(ports=ports) as system:
        ref = await system.spawn(note)
        system.tell_every(ref, Add(1), 2)
        system.tell_after(ref, Add(2), 3)
        await trio.sleep(100)
        assert seen == []
        await clock.advance(1.99)
        assert seen == []
        await clock.advance(0.01)
        assert seen == [(2, 1)]
        await clock.advance(4)
        assert seen == [(2, 1), (3, 2), (4, 1), (6, 1)]
        async with open_probe(system, Add, clock=clock) as probe, trio.open_nursery() as nursery:
            nursery.start_soon(probe.expect_nothing)
            await trio.testing.wait_all_tasks_blocked()
            await clock.advance(1)
        with pytest.raises(InvalidParameter):
            await clock.advance(-1)


async def test_the_clock_that_is_moved_by_hand_keeps_the_manners_of_clocks() -> None:
    clock = ManualClock()
    ended: list[str] = []

    async def fail() -> None:
        with pytest.raises(trio.TooSlowError), clock.fail_after(2):
            await clock.sleep(5)
        ended.append("failed")

    async def move_on() -> None:
        with clock.move_on_after(0) as scope:
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        await clock.sleep_until(3)
        ended.append("slept")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        nursery.start_soon(move_on)
        await clock.advance(2.5)
        assert ended == ["failed"]
        await clock.advance(0.5)
    assert ended == ["failed", "slept"]


async def test_a_watcher_is_told_under_a_clock_that_stands_still() -> None:
    heard: list[Down] = []
    async with open_actor_system(ports=host_with_clock(ManualClock())) as system:
        counter = await system.spawn(Counter)
        system.tell(await system.spawn(Watcher, heard), Watch(counter))
        await trio.testing.wait_all_tasks_blocked()
        await system.stop(counter)
        await trio.testing.wait_all_tasks_blocked()
    assert len(heard) == 1
