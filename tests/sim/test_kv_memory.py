"""The engine in this process: its time, and its end."""

import pytest
import trio
import trio.testing

from trio440 import kv
from trio440.kv import Get, Put
from trio440.kv.operations import Found


async def test_things_end_while_nobody_looks(autojump_clock: trio.testing.MockClock) -> None:
    async with kv.open_memory() as space, space.watch() as changes:
        space.execute_nowait([Put(b"late", b"", ttl_ms=3_600_000)])
        await trio.sleep(1)
        space.execute_nowait([Put(b"soon", b"", ttl_ms=250)])
        start = trio.current_time()
        heard = [(await anext(changes)).key for _ in range(3)]
        assert heard == [b"late", b"soon", b"soon"]
        assert trio.current_time() - start == pytest.approx(0.25, abs=0.002)
        assert len(space) == 1
        await trio.sleep(3600)
        assert len(space) == 0


async def test_an_idle_namespace_sleeps(autojump_clock: trio.testing.MockClock) -> None:
    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += "MemoryNamespace.run" in task.name

    async with kv.open_memory() as space:
        space.execute_nowait([Put(b"k", b"", ttl_ms=10_000), Put(b"k", b"")])
        await trio.sleep(1)
        trio.lowlevel.add_instrument(steps := Steps())
        await trio.sleep(80_000)
        trio.lowlevel.remove_instrument(steps)
        assert steps.count == 0
        assert space.execute_nowait([Get(b"k")]) == [Found(kv.Entry(b"k", b"", 2))]


async def test_nothing_is_answered_after_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with kv.open_memory() as space:
            changes = await nursery.start(_watch, space)
        del changes
        with pytest.raises(trio.ClosedResourceError):
            space.execute_nowait([Get(b"k")])
        with pytest.raises(trio.ClosedResourceError):
            await space.put(b"k", b"v")
        with pytest.raises(trio.ClosedResourceError):
            async with space.watch():
                pass


async def _watch(
    space: kv.MemoryNamespace, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with space.watch() as changes:
        task_status.started()
        with pytest.raises(trio.ClosedResourceError):
            await anext(changes)


async def test_an_error_of_the_body_comes_out_alone() -> None:
    with pytest.raises(ZeroDivisionError):
        async with kv.open_memory():
            raise ZeroDivisionError


async def test_the_first_time_to_live_begins_when_it_is_given(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with kv.open_memory() as space:
        for _ in range(2):
            await trio.sleep(100)
            assert space.execute_nowait([Put(b"x", b""), Get(b"k")])[1] == Found(None)
            _, found = space.execute_nowait([Put(b"k", b"", ttl_ms=250), Get(b"k")])
            assert isinstance(found, Found)
            assert found.entry is not None
            assert found.entry.ttl_ms == 250
            await trio.sleep(0.249)
            assert len(space) == 2
            await trio.sleep(0.002)
            assert len(space) == 1
        await trio.sleep(100)
        lease = await space.grant_lease(250)
        await trio.sleep(0.24)
        assert await space.renew_lease(lease)
