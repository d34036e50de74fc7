"""The timers of a system alone, on a clock that is moved by hand."""

import pytest
import trio
import trio.testing

from trio440.actors.testing import ManualClock
from trio440.actors.timers import COMPACT_FROM, Timer, Timers
from trio440.errors import LimitReached


async def test_a_late_message_leaves_the_grid_where_it_was() -> None:
    fired: list[float] = []
    timers = Timers(ManualClock(), 10)
    timer = timers.start(1, 2, lambda timer: fired.append(timer.deadline))
    assert timer.fire(1.5)
    assert timer.deadline == 3
    assert timer.fire(8.9)
    assert timer.deadline == 9, "the messages of 5 and 7 are left out"
    assert fired == [3, 9]


async def test_timers_fire_in_the_order_of_their_deadlines() -> None:
    clock, fired = ManualClock(), list[str]()
    timers = Timers(clock, 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        for name, seconds in (("c", 3), ("a", 1), ("b", 2), ("b2", 2)):
            timers.start(seconds, None, lambda _, name=name: fired.append(name))  # type: ignore[misc]  # of the loop
        await clock.advance(2)
        assert fired == ["a", "b", "b2"]
        await clock.advance(5)
        assert fired[3:] == ["c"]
        nursery.cancel_scope.cancel()


async def test_many_that_are_due_at_once_let_others_run() -> None:
    clock, fired, turns = ManualClock(), [0], list[int]()

    def fire(_: Timer) -> None:
        fired[0] += 1

    async def look() -> None:
        while fired[0] < 1000:
            turns.append(fired[0])
            await trio.lowlevel.checkpoint()

    timers = Timers(clock, 1000)
    for _ in range(1000):
        timers.start(0, None, fire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        nursery.start_soon(timers.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(set(turns)) > 5


async def test_timers_that_were_cancelled_take_no_room() -> None:
    timers = Timers(ManualClock(), 3)
    kept = timers.start(1e9, None, lambda _: None)
    for _ in range(50 * COMPACT_FROM):
        timers.start(1e6, None, lambda _: None).cancel()
    assert len(timers._heap) <= COMPACT_FROM + 1
    assert kept.is_running
    timers.start(1, None, lambda _: None)
    timers.start(1, None, lambda _: None)
    with pytest.raises(LimitReached, match="3 timers"):
        timers.start(1, None, lambda _: None)


async def test_a_timer_belongs_to_a_life_until_it_has_fired() -> None:
    timers, owners = Timers(ManualClock(), 10), set[Timer]()
    once = timers.start(1, None, lambda _: None)
    again = timers.start(1, 1, lambda _: None)
    for timer in (once, again):
        timer.belong(owners)
    assert not once.fire(1)
    assert again.fire(1)
    assert owners == {again}
    assert not once.fire(2)
    again.cancel()
    assert owners == set()
    assert len(timers) == 0
