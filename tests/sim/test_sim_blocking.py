"""Blocking work on a simulated machine: order, virtual time, cancellation, the power cut."""

import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio440.core.host import Worker
from trio440.core.real import REAL_HOST
from trio440.sim.blocking import SimBlocking
from trio440.sim.clock import SimClock
from trio440.sim.disk import SimDisk
from trio440.sim.power import PowerCut


class Log:
    """What was done, and when."""

    def __init__(self) -> None:
        self.start = trio.current_time()
        self.lines: list[tuple[str, float]] = []

    def add(self, name: str) -> None:
        self.lines.append((name, round(trio.current_time() - self.start, 6)))


def one_second() -> float:
    return 1.0


@asynccontextmanager
async def open_worker(latency: Callable[[], float] = one_second) -> AsyncIterator[Worker]:
    async with SimBlocking(latency, REAL_HOST.clock).open_worker("test") as worker:
        yield worker


async def give(worker: Worker, log: Log, name: str) -> None:
    """Have ``name`` done, and note when the caller heard of it, or of what else."""
    try:
        await worker.run(log.add, name)
        log.add(f"{name} returned")
    except trio.ClosedResourceError:
        log.add(f"{name} refused")
    except PowerCut:
        log.add(f"{name} cut")


async def test_calls_take_their_latency_one_after_the_other() -> None:
    log = Log()
    latencies = iter([1.0, 0.25, 2.0])
    async with open_worker(lambda: next(latencies)) as worker, trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            nursery.start_soon(give, worker, log, name)
            await wait_all_tasks_blocked()
    assert sorted(log.lines) == [
        ("one", 0.0),
        ("one returned", 1.0),
        ("three", 1.25),
        ("three returned", 3.25),
        ("two", 1.0),
        ("two returned", 1.25),
    ]
    assert [name for name, _ in log.lines if " " not in name] == ["one", "two", "three"]


async def test_the_latency_is_drawn_after_the_function() -> None:
    disk = SimDisk(random.Random(1))
    tree = disk.tree("/data")
    tree.open_append("log").close()
    syncs = []

    def latency() -> float:
        syncs.append(disk.syncs)
        return 0.0

    async with open_worker(latency) as worker:
        await worker.run(tree.sync_file, "log")
        await worker.run(tree.read, "log")
    assert syncs == [1, 1]


async def test_other_tasks_go_on_while_a_call_takes_its_time() -> None:
    log = Log()
    async with open_worker() as worker, trio.open_nursery() as nursery:
        nursery.start_soon(give, worker, log, "work")
        await trio.sleep(0.5)
        log.add("meanwhile")
    assert log.lines == [("work", 0.0), ("meanwhile", 0.5), ("work returned", 1.0)]


async def test_a_cancelled_wait_returns_at_once_and_the_work_goes_on() -> None:
    log = Log()
    async with open_worker() as worker:
        with trio.move_on_after(0.25) as scope:
            await worker.run(log.add, "running")
        assert scope.cancelled_caught
        log.add("first wait cancelled")
        with trio.move_on_after(0.25) as scope:
            await worker.run(log.add, "queued")
        assert scope.cancelled_caught
        log.add("second wait cancelled")
        await give(worker, log, "last")
    assert log.lines == [
        ("running", 0.0),
        ("first wait cancelled", 0.25),
        ("second wait cancelled", 0.5),
        ("queued", 1.0),
        ("last", 2.0),
        ("last returned", 3.0),
    ]


async def test_leaving_waits_for_the_running_call_and_drops_the_others() -> None:
    log = Log()
    async with trio.open_nursery() as nursery:
        async with open_worker() as worker:
            for name in ("running", "first", "second"):
                nursery.start_soon(give, worker, log, name)
                await wait_all_tasks_blocked()
        log.add("left")
    assert log.lines[0] == ("running", 0.0)
    assert sorted(log.lines[1:3]) == [("first refused", 0.0), ("second refused", 0.0)]
    assert sorted(log.lines[3:]) == [("left", 1.0), ("running returned", 1.0)]


async def test_leaving_by_cancellation_waits_for_the_running_call_too() -> None:
    log = Log()
    with trio.move_on_after(0.5):
        async with open_worker() as worker:
            await worker.run(log.add, "running")
    log.add("left")
    assert log.lines == [("running", 0.0), ("left", 1.0)]


async def test_a_shielded_call_is_still_answered_after_the_cancellation() -> None:
    log = Log()
    with trio.CancelScope() as outer:
        async with open_worker() as worker:
            outer.cancel()
            with trio.CancelScope(shield=True):
                await give(worker, log, "saving")
            await trio.lowlevel.checkpoint()
    assert outer.cancelled_caught
    assert log.lines == [("saving", 0.0), ("saving returned", 1.0)]


async def test_no_thread_is_started() -> None:
    before = threading.active_count()
    async with open_worker() as worker:
        assert await worker.run(threading.current_thread) is threading.main_thread()
        assert threading.active_count() == before


# The power cut


async def test_a_power_cut_begins_nothing_and_wakes_everybody_at_once() -> None:
    log = Log()
    blocking = SimBlocking(one_second, REAL_HOST.clock)
    with trio.CancelScope() as life:
        async with blocking.open_worker("test") as worker, trio.open_nursery() as nursery:
            for name in ("running", "queued"):
                nursery.start_soon(give, worker, log, name)
                await wait_all_tasks_blocked()
            await trio.sleep(0.5)
            blocking.fence()
            await wait_all_tasks_blocked()
            await give(worker, log, "later")
            life.cancel()
            with trio.CancelScope(shield=True), pytest.raises(PowerCut):
                await worker.run(log.add, "saving")
    assert log.lines[0] == ("running", 0.0)
    assert sorted(log.lines[1:]) == [
        ("later cut", 0.5),
        ("queued cut", 0.5),
        ("running cut", 0.5),
    ]
    assert trio.current_time() - log.start == 0.5
    with pytest.raises(PowerCut):
        async with blocking.open_worker("test"):
            pytest.fail("the machine is dead")


async def test_the_power_may_go_in_the_middle_of_a_function() -> None:
    disk = SimDisk(random.Random(1))
    blocking = SimBlocking(one_second, REAL_HOST.clock)
    disk.on_power_cut = blocking.fence
    disk.cut_power_at(1)
    tree = disk.tree("/data")
    start = trio.current_time()
    async with blocking.open_worker("test") as worker:
        await worker.run(tree.make_directory, "one")
        for name in ("two", "three"):
            with pytest.raises(PowerCut):
                await worker.run(tree.make_directory, name)
    assert trio.current_time() - start == 1.0
    assert disk.crash(random.Random(1), "everything").tree("/data").list_directory("") == ["one"]


async def test_a_dead_machine_begins_nothing_though_nobody_fenced_its_workers() -> None:
    dead = False
    log = Log()

    def check() -> None:
        if dead:
            raise PowerCut

    clock = SimClock(check)
    blocking = SimBlocking(one_second, clock)
    async with blocking.open_worker("test") as worker, trio.open_nursery() as nursery:
        nursery.start_soon(give, worker, log, "running")
        await wait_all_tasks_blocked()
        nursery.start_soon(give, worker, log, "queued")
        await wait_all_tasks_blocked()
        dead = True
    assert sorted(log.lines) == [("queued cut", 1.0), ("running", 0.0), ("running cut", 1.0)]


async def test_a_machine_that_died_at_rest_begins_nothing() -> None:
    dead = False
    log = Log()

    def check() -> None:
        if dead:
            raise PowerCut

    async with SimBlocking(one_second, SimClock(check)).open_worker("test") as worker:
        await give(worker, log, "first")
        dead = True
        await give(worker, log, "late")
    assert log.lines == [("first", 0.0), ("first returned", 1.0), ("late cut", 1.0)]


async def test_a_paused_machine_pays_its_latency_after_the_pause() -> None:
    log = Log()
    clock = SimClock(lambda: None)
    blocking = SimBlocking(one_second, clock)
    async with blocking.open_worker("test") as worker, trio.open_nursery() as nursery:
        nursery.start_soon(give, worker, log, "running")
        await trio.sleep(0.5)
        clock.pause(trio.current_time() + 4.5)
    assert log.lines == [("running", 0.0), ("running returned", 5.0)]
