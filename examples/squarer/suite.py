"""One suite for every squarer: it passes the good one and catches each of the bad ones.

What the checks show about testing concurrency, beside squares:

- Each runs under a clock that jumps: a minute of patience takes no time, and "for ever" is a day.
- A check knows that everybody has come to rest when :func:`trio.testing.wait_all_tasks_blocked`
  returns; nothing sleeps and hopes.
- Time jumps only when nobody runs, so a busy squarer would stop it: each check has a limit of
  steps, counted by a trio instrument, and the idle squarer one of its own.
- Chance comes from a seed.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from examples.squarer.squarer import Squarer
from trio440.core import Chan

__all__ = ["CHECKS", "failures"]

PATIENCE_SECONDS: Final = 60.0
FOR_EVER_SECONDS: Final = 24 * 3600.0
MAX_STEPS: Final = 20_000
"""How many times the tasks of one check may run; the longest honest one takes hundreds."""

Check: TypeAlias = Callable[[Squarer, trio.Nursery], Awaitable[None]]

CHECKS: Final[dict[str, Check]] = {}
"""The checks by name: what a squarer does."""


class Failed(Exception):
    """A check has failed."""


def failures(make: Callable[[], Squarer]) -> dict[str, str]:
    """Run every check on a new squarer; return the names of those that failed, and why."""
    reasons = {name: _failure(check, make) for name, check in CHECKS.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def expect(condition: bool, problem: str) -> None:
    """Fail the check unless the condition holds."""
    if not condition:
        raise Failed(problem)


def _failure(check: Check, make: Callable[[], Squarer]) -> str | None:
    """Run one check under virtual time; return why it failed, if it did."""
    limit = _StepLimit()

    async def run() -> None:
        with limit.scope:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(FOR_EVER_SECONDS):
                    await check(make(), nursery)
                nursery.cancel_scope.cancel()

    reason = None
    try:
        trio.run(run, clock=MockClock(autojump_threshold=0), instruments=[limit])
    except* Failed as group:
        reason = str(group.exceptions[0])
    except* trio.TooSlowError:
        reason = "nothing happened any more"
    except* Exception as group:  # noqa: BLE001 - whatever a squarer does wrong is its failure
        reason = f"it ended with {group.exceptions[0]!r}"
    return "never came to rest" if limit.scope.cancelled_caught else reason


class _StepLimit(trio.abc.Instrument):
    """Counts the steps of all tasks, and cancels whoever takes too many."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.steps += 1
        if self.steps > MAX_STEPS:
            self.scope.cancel()


def _check(name: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return register


async def _send_all(numbers: Chan[int], values: range) -> None:
    """Send the values and say that there are no more."""
    with numbers:
        for value in values:
            await numbers.send(value)


@_check("squares each number once")
async def _squares(squarer: Squarer, nursery: trio.Nursery) -> None:
    numbers = Chan[int]()
    squares = squarer.start(numbers, nursery)
    nursery.start_soon(_send_all, numbers, range(-5, 10))
    received = [square async for square in squares]
    expect(received == [number**2 for number in range(-5, 10)], f"the squares were {received}")


@_check("keeps the order under load")
async def _keeps_order(squarer: Squarer, nursery: trio.Nursery) -> None:
    rng = random.Random(440)
    numbers = Chan[int](20)
    squares = squarer.start(numbers, nursery)

    async def write() -> None:
        with numbers:
            for number in range(100):
                await numbers.send(number)
                if rng.random() < 0.2:
                    await trio.sleep(rng.random())

    nursery.start_soon(write)
    received = []
    async for square in squares:
        received.append(square)
        if rng.random() < 0.5:
            await trio.sleep(rng.random())
    expect(sorted(received) == sorted(set(received)), "a square came twice")
    expect(received == sorted(received), "a square overtook another")
    expect(len(received) == 100, f"{100 - len(received)} squares are missing")


@_check("keeps a square until it is read")
async def _keeps_square(squarer: Squarer, nursery: trio.Nursery) -> None:
    numbers = Chan[int]()
    squares = squarer.start(numbers, nursery)
    nursery.start_soon(_send_all, numbers, range(1, 4))
    received = []
    for _ in range(2):
        await trio.sleep(PATIENCE_SECONDS)
        received.append(await squares.receive())
    received += [square async for square in squares]
    expect(received == [1, 4, 9], f"a patient reader got {received}")


@_check("gives a square to the next reader when one gives up")
async def _outlives_readers(squarer: Squarer, nursery: trio.Nursery) -> None:
    numbers = Chan[int](1)
    squares = squarer.start(numbers, nursery)
    with trio.move_on_after(PATIENCE_SECONDS):
        await squares.receive()
    with trio.CancelScope() as impatient:
        impatient.cancel()  # gives up in the same moment in which a number arrives
        numbers.send_nowait(7)
        await squares.receive()
    square = await squares.receive()
    expect(square == 49, f"the square of 7 was {square}")


@_check("has one number in flight")
async def _one_in_flight(squarer: Squarer, nursery: trio.Nursery) -> None:
    numbers = Chan[int](10)
    squares = squarer.start(numbers, nursery)
    for number in range(10):
        numbers.send_nowait(number)
    for taken in range(1, 5):
        await wait_all_tasks_blocked()
        waiting = numbers.statistics().current_buffer_used
        expect(waiting == 10 - taken, f"{10 - waiting} numbers are taken, {taken - 1} are read")
        await squares.receive()


@_check("ends its squares when the numbers end")
async def _ends(squarer: Squarer, nursery: trio.Nursery) -> None:
    numbers = Chan[int]()
    squares = squarer.start(numbers, nursery)
    await numbers.send(3)
    numbers.close()
    await wait_all_tasks_blocked()
    received = [square async for square in squares]
    expect(received == [9], f"after the end came {received}")
    await squarer.close()


@_check("closes before it has begun")
async def _closes_early(squarer: Squarer, nursery: trio.Nursery) -> None:
    squarer.start(Chan[int](), nursery)
    await squarer.close()
    await squarer.close()


@_check("closes while nobody writes")
async def _closes_idle(squarer: Squarer, nursery: trio.Nursery) -> None:
    squares = squarer.start(Chan[int](), nursery)
    await wait_all_tasks_blocked()
    await squarer.close()
    received = [square async for square in squares]
    expect(not received, f"after it was closed came {received}")


@_check("closes while nobody reads")
async def _closes_delivering(squarer: Squarer, nursery: trio.Nursery) -> None:
    numbers = Chan[int]()
    squarer.start(numbers, nursery)
    await numbers.send(3)
    await wait_all_tasks_blocked()
    await squarer.close()


@_check("takes nothing when it is closed")
async def _takes_nothing(squarer: Squarer, nursery: trio.Nursery) -> None:
    numbers = Chan[int](10)
    squarer.start(numbers, nursery)
    for number in range(10):
        numbers.send_nowait(number)
    await wait_all_tasks_blocked()
    before = numbers.statistics().current_buffer_used
    with trio.move_on_after(PATIENCE_SECONDS):
        await squarer.close()
    await wait_all_tasks_blocked()
    after = numbers.statistics()
    expect(not after.closed, "the numbers were closed")
    expect(
        after.current_buffer_used == before,
        f"of {before} numbers it left {after.current_buffer_used}",
    )


@_check("leaves no task when it is closed")
async def _leaves_nothing(squarer: Squarer, nursery: trio.Nursery) -> None:
    before = set(nursery.child_tasks)
    numbers = Chan[int]()
    squares = squarer.start(numbers, nursery)
    nursery.start_soon(_send_all, numbers, range(100))
    for _ in range(10):
        await squares.receive()
    others = {task for task in nursery.child_tasks if "_send_all" in task.name}
    with trio.move_on_after(PATIENCE_SECONDS):
        await squarer.close()
        left = set(nursery.child_tasks) - before - others
        expect(not left, f"there is still {', '.join(task.name for task in left)}")


@_check("rests while there is nothing to do")
async def _rests(squarer: Squarer, nursery: trio.Nursery) -> None:
    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            del task
            self.count += 1

    numbers = Chan[int]()
    squares = squarer.start(numbers, nursery)
    for state in ("idle", "delivering"):
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(PATIENCE_SECONDS)
        trio.lowlevel.remove_instrument(steps)
        expect(steps.count < 20, f"it took {steps.count} steps in a minute of {state}")
        if state == "idle":
            await numbers.send(2)
    expect(await squares.receive() == 4, "it has forgotten the number")
