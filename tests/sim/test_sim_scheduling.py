"""The seed of trio's scheduler, and what happens when trio keeps it elsewhere."""

import itertools
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import trio
from trio._core import _run
from trio.testing import MockClock

from tests.support.processes import finished
from trio440.errors import SchedulerUnavailable
from trio440.sim import scheduling
from trio440.sim.outcome import Order
from trio440.sim.scheduling import seeded_scheduler

ORDERS: tuple[Order, ...] = ("random", "pct")

EQUAL_DEADLINES = """
import trio
from trio.testing import MockClock
from trio440.sim.scheduling import seeded_scheduler

async def main():
    async def sleep(number):
        await trio.sleep_until(1)
        print(number, end=" ")
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(sleep, number)

with seeded_scheduler(5):
    trio.run(main, clock=MockClock(autojump_threshold=0))
"""


@pytest.fixture
def fresh_trial() -> Iterator[None]:
    """Forget that trio was tried out, before and behind."""
    scheduling._check_trio.cache_clear()
    yield
    scheduling._check_trio.cache_clear()


def woken(seed: int, order: Order, tasks: int = 10) -> list[int]:
    numbers: list[int] = []

    async def main() -> None:
        async def sleep(number: int) -> None:
            await trio.sleep_until(1)
            numbers.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(tasks):
                nursery.start_soon(sleep, number)

    with seeded_scheduler(seed, order):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    return numbers


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_comes_from_the_seed(order: Order) -> None:
    assert woken(1, order) == woken(1, order)
    assert sorted(woken(1, order)) == [*range(10)]
    assert len({tuple(woken(seed, order)) for seed in range(20)}) > 15


@pytest.mark.slow
def test_equal_deadlines_have_one_order_in_every_process() -> None:
    outputs = {
        finished(
            [sys.executable, "-c", EQUAL_DEADLINES], env={"PYTHONHASHSEED": str(seed)}, fresh=True
        )
        for seed in range(3)
    }
    assert len(outputs) == 1
    ((status, numbers, err),) = outputs
    assert (status, err) == (0, "")
    assert sorted(map(int, numbers.split())) == [*range(100)]


def test_pct_runs_one_task_until_it_waits() -> None:
    steps: list[int] = []

    async def main() -> None:
        async def work(number: int) -> None:
            for _ in range(5):
                steps.append(number)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(work, number)

    changes = []
    for seed in range(20):
        steps.clear()
        with seeded_scheduler(seed, "pct"):
            trio.run(main)
        changes.append(sum(a != b for a, b in itertools.pairwise(steps)))
    assert changes.count(3) > 10, "by far most runs have no change of priority within 20 steps"


def test_pct_lets_nobody_spin_for_ever() -> None:
    async def main() -> None:
        done = False

        async def spin() -> None:
            while not done:
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(spin)
            await trio.lowlevel.checkpoint()
            done = True

    for seed in range(10):
        with seeded_scheduler(seed, "pct"):
            trio.run(main)


def test_the_generator_is_given_back() -> None:
    before = _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING
    with seeded_scheduler(1):
        assert _run._r is not before[0]
    assert (_run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING) == before


@pytest.mark.usefixtures("fresh_trial")
@pytest.mark.parametrize(
    "module",
    [
        SimpleNamespace(),
        SimpleNamespace(_r=None, _ALLOW_DETERMINISTIC_SCHEDULING=False),
    ],
    ids=["the names are gone", "the names mean nothing"],
)
def test_another_trio_is_refused(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setattr(scheduling, "_run", module)
    with (
        pytest.raises(SchedulerUnavailable, match=r"trio [\d.]+ cannot be seeded: "),
        seeded_scheduler(1),
    ):
        pass
