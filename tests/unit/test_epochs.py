"""EpochTimer: the grid, lateness, reset, and leaving it at any point."""

import math

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio440.core import REAL_HOST, EpochTimer, Tick
from trio440.core.real.clock import TrioClock
from trio440.errors import InvalidParameter


async def test_ticks_are_on_the_grid_exactly(autojump_clock: MockClock) -> None:
    start = autojump_clock.current_time()
    timer = EpochTimer(0.25)
    for number in range(1, 1000):
        assert await timer.wait() == Tick(number, 1)
        assert autojump_clock.current_time() == start + number * 0.25


async def test_a_period_that_no_float_can_hold_does_not_drift(autojump_clock: MockClock) -> None:
    """Tenths added up 10 000 times are 1.6e-10 off; tick k is due at start + k * period."""
    timer = EpochTimer(0.1)
    start = autojump_clock.current_time()
    for number in range(1, 10_001):
        assert timer.next_deadline == start + number * 0.1
        assert await timer.wait() == Tick(number, 1)
    assert autojump_clock.current_time() == pytest.approx(start + 1000.0, abs=1e-12)


async def test_work_between_ticks_moves_no_tick(autojump_clock: MockClock) -> None:
    start = autojump_clock.current_time()
    seen = []
    async for tick in EpochTimer(2.0):
        seen.append((tick.number, autojump_clock.current_time() - start))
        if tick.number == 5:
            break
        await trio.sleep(1.5)
    assert seen == [(number, number * 2.0) for number in range(1, 6)]


async def test_late_ticks_come_as_one_that_carries_their_number(
    autojump_clock: MockClock,
) -> None:
    start = autojump_clock.current_time()
    timer = EpochTimer(1.0)
    await trio.sleep(3.5)
    assert await timer.wait() == Tick(number=3, count=3)
    assert autojump_clock.current_time() == start + 3.5
    assert await timer.wait() == Tick(number=4, count=1)
    assert autojump_clock.current_time() == start + 4.0
    await trio.sleep(2.0)  # exactly on a tick: that one is due as well
    assert await timer.wait() == Tick(number=6, count=2)
    assert await timer.wait() == Tick(number=7, count=1)
    assert autojump_clock.current_time() == start + 7.0


@pytest.mark.parametrize("period", [0.1, 0.3, 1 / 3, 0.7, 1e-3, 2.0])
async def test_on_time_is_never_taken_for_early_or_late(
    period: float, mock_clock: MockClock
) -> None:
    """Exactly when tick k is due, or a hair before, the count is right: no rounding error."""

    class SetClock(TrioClock):
        time = 17.3

        def now(self) -> float:
            return self.time

        async def sleep_until(self, deadline: float) -> None:
            self.time = max(self.time, deadline)

    del mock_clock
    clock = SetClock()
    ports = attrs.evolve(REAL_HOST, clock=clock)
    for number in range(2, 2000):
        clock.time = 17.3
        timer = EpochTimer(period, ports=ports)
        clock.time = 17.3 + number * period
        assert await timer.wait() == Tick(number, number)
        clock.time = 17.3
        timer = EpochTimer(period, ports=ports)
        clock.time = math.nextafter(17.3 + number * period, 0)
        assert await timer.wait() == Tick(number - 1, number - 1)


async def test_reset_starts_a_new_grid(autojump_clock: MockClock) -> None:
    timer = EpochTimer(1.0)
    await timer.wait()
    await trio.sleep(2.25)
    timer.reset()
    start = autojump_clock.current_time()
    assert timer.next_deadline == start + 1.0
    assert await timer.wait() == Tick(1, 1)
    assert autojump_clock.current_time() == start + 1.0


async def test_reset_moves_the_tick_that_somebody_waits_for(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    timer = EpochTimer(1.0)
    start = autojump_clock.current_time()

    async def reset_later() -> None:
        await trio.sleep(0.75)
        timer.reset()

    nursery.start_soon(reset_later)
    assert await timer.wait() == Tick(1, 1)
    assert autojump_clock.current_time() == start + 1.75


async def test_leaving_by_break_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    """The loop can be taken up again; the timer goes on counting on the same grid."""
    timer = EpochTimer(1.0)
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    async for _ in timer:
        break
    await trio.sleep(0.5)
    assert trio.lowlevel.current_statistics().tasks_living == tasks_before
    async for tick in timer:
        assert tick == Tick(2, 1)
        break
    del autojump_clock


async def test_a_cancelled_wait_has_fetched_no_tick(autojump_clock: MockClock) -> None:
    start = autojump_clock.current_time()
    timer = EpochTimer(1.0)
    with trio.move_on_after(0.5) as scope:
        await timer.wait()
    assert scope.cancelled_caught
    assert await timer.wait() == Tick(1, 1)
    with trio.CancelScope() as scope:
        await trio.sleep(2.0)
        scope.cancel()
        await timer.wait()
    assert scope.cancelled_caught
    assert await timer.wait() == Tick(3, 2)
    assert autojump_clock.current_time() == start + 3.0


async def test_a_wait_that_is_late_already_is_a_checkpoint(mock_clock: MockClock) -> None:
    timer = EpochTimer(1.0)
    mock_clock.jump(5)
    with trio.testing.assert_checkpoints():
        assert await timer.wait() == Tick(5, 5)


async def test_each_tick_goes_to_one_of_several_waiters(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    timer = EpochTimer(1.0)
    start = autojump_clock.current_time()
    ticks: list[tuple[float, Tick]] = []

    async def fetch() -> None:
        tick = await timer.wait()
        ticks.append((autojump_clock.current_time() - start, tick))

    for _ in range(3):
        nursery.start_soon(fetch)
    await wait_all_tasks_blocked()
    await trio.sleep(10)
    assert ticks == [(number, Tick(number, 1)) for number in (1, 2, 3)]


@pytest.mark.parametrize("period", [0, -1, math.inf, math.nan, 1e-9])
async def test_a_period_out_of_range_is_refused(period: float) -> None:
    with pytest.raises(InvalidParameter, match="period_seconds must be at least 1e-06"):
        EpochTimer(period)


async def test_the_repr_says_where_the_timer_is(autojump_clock: MockClock) -> None:
    del autojump_clock
    timer = EpochTimer(1.5)
    await timer.wait()
    assert repr(timer) == "<EpochTimer of 1.5 s after epoch 1>"
