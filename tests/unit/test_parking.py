"""Where the one task of something waits."""

import trio
import trio.testing

from trio440.core.parking import Sleeper


async def test_a_sleeper_wakes_once_and_what_came_before_does_not_count() -> None:
    sleeper = Sleeper()
    woken = 0

    async def sleep() -> None:
        nonlocal woken
        while True:
            await sleeper.sleep()
            woken += 1

    sleeper.wake()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep)
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()
            sleeper.wake()
            sleeper.wake()
        await trio.testing.wait_all_tasks_blocked()
        assert woken == 3
        nursery.cancel_scope.cancel()
    sleeper.wake()
    with trio.move_on_after(0):
        await sleeper.sleep()
    sleeper.wake()
