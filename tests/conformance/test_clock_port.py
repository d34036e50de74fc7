"""The contracts of :class:`trio440.core.host.Clock`, ``WallClock`` and of the bundle.

Time is trio's virtual time here; a clock may map it as it likes but must keep its own promises.
"""

import random
import time

import attrs
import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from trio440.core.host import Clock, Host
from trio440.core.real import REAL_HOST

NANOSECONDS = 1_000_000_000
YEAR_2020 = 1_577_836_800 * NANOSECONDS
YEAR_2200 = 7_258_118_400 * NANOSECONDS


@pytest.fixture
def clock(ports: Host) -> Clock:
    return ports.clock


async def test_sleeping_lasts_as_long_as_asked(clock: Clock, autojump_clock: MockClock) -> None:
    for seconds in (0.5, 3.0, 1000.0):
        before = clock.now()
        await clock.sleep(seconds)
        assert clock.now() - before == pytest.approx(seconds)


async def test_sleeping_until_a_moment(clock: Clock, autojump_clock: MockClock) -> None:
    deadline = clock.now() + 12.5
    await clock.sleep_until(deadline)
    assert clock.now() >= deadline
    assert clock.now() == pytest.approx(deadline)


async def test_a_past_moment_and_no_time_are_over_at_once(
    clock: Clock, autojump_clock: MockClock
) -> None:
    before = clock.now()
    with assert_checkpoints():
        await clock.sleep_until(before - 10)
    with assert_checkpoints():
        await clock.sleep(0)
    assert clock.now() == before


async def test_many_sleepers_wake_in_the_order_of_their_deadlines(
    clock: Clock, autojump_clock: MockClock
) -> None:
    woken: list[int] = []

    async def sleeper(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with trio.open_nursery() as nursery:
        for seconds in (5, 1, 4, 2, 3):
            nursery.start_soon(sleeper, seconds)
    assert woken == [1, 2, 3, 4, 5]


async def test_fail_after_raises_on_time_and_only_then(
    clock: Clock, autojump_clock: MockClock
) -> None:
    before = clock.now()
    with pytest.raises(trio.TooSlowError), clock.fail_after(2):
        await trio.sleep_forever()
    assert clock.now() - before == pytest.approx(2)
    with clock.fail_after(2) as scope:
        await clock.sleep(1)
    assert not scope.cancelled_caught


async def test_move_on_after_cuts_its_body_short_on_time(
    clock: Clock, autojump_clock: MockClock
) -> None:
    before = clock.now()
    with clock.move_on_after(2) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert clock.now() - before == pytest.approx(2)
    with clock.move_on_after(2) as scope:
        await clock.sleep(1)
    assert not scope.cancelled_caught


async def test_move_on_at_takes_a_moment_of_this_clock(
    clock: Clock, autojump_clock: MockClock
) -> None:
    deadline = clock.now() + 7
    with clock.move_on_at(deadline) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert clock.now() == pytest.approx(deadline)
    with clock.move_on_at(clock.now() - 1) as scope:
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_a_scope_can_be_cancelled_by_hand(clock: Clock, autojump_clock: MockClock) -> None:
    before = clock.now()
    with clock.move_on_after(100) as scope:
        scope.cancel()
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert clock.now() == before


async def test_a_sleep_can_be_cancelled(clock: Clock, autojump_clock: MockClock) -> None:
    with clock.move_on_after(1) as scope:
        await clock.sleep(50)
    assert scope.cancelled_caught


@pytest.mark.real
async def test_the_real_clock_measures_real_seconds() -> None:
    clock = REAL_HOST.clock
    before, outside = clock.now(), time.perf_counter()
    await clock.sleep(0.05)
    elapsed, measured = clock.now() - before, time.perf_counter() - outside
    assert elapsed >= 0.05
    assert measured >= 0.049


async def test_the_time_of_day_is_nanoseconds_of_this_epoch(
    ports: Host, autojump_clock: MockClock
) -> None:
    now = ports.wall.now_ns()
    assert isinstance(now, int)
    assert YEAR_2020 < now < YEAR_2200
    assert ports.wall.now_ns() >= now


@pytest.mark.real
async def test_the_real_time_of_day_is_the_systems() -> None:
    before = time.time_ns()
    now = REAL_HOST.wall.now_ns()
    assert before <= now <= time.time_ns()


async def test_chance_is_a_generator_of_this_host(ports: Host) -> None:
    assert isinstance(ports.rng, random.Random)
    drawn = [ports.rng.getrandbits(64) for _ in range(100)]
    assert len(set(drawn)) == 100


@pytest.mark.real
async def test_the_real_hosts_chance_is_not_the_modules() -> None:
    random.seed(1)
    expected = random.Random(1).getrandbits(64)
    assert REAL_HOST.rng.getrandbits(64) != expected
    assert random.getrandbits(64) == expected


async def test_a_host_is_a_value_that_can_be_varied(ports: Host) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ports.rng = random.Random(2)  # type: ignore[misc]  # that it is refused is the test
    seeded = attrs.evolve(ports, rng=random.Random(2))
    assert seeded.net is ports.net
    assert seeded.rng.random() == random.Random(2).random()
