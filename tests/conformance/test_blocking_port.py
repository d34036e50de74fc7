"""The contract of :class:`trio440.core.host.Worker` and ``Blocking``.

What can only be seen while a call is running needs a worker that runs beside the loop; those
tests are in ``tests/real``.
"""

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio440.core.host import Host


class Trouble(Exception):
    """Raised by a worker's function."""


async def test_a_function_gets_its_arguments_and_gives_its_result(ports: Host) -> None:
    async with ports.blocking.open_worker("test") as worker:
        assert await worker.run(divmod, 17, 5) == (3, 2)
        assert await worker.run(list) == []


@pytest.mark.parametrize("error", [Trouble("no"), KeyError("k"), SystemExit(3), GeneratorExit()])
async def test_what_a_function_raises_is_raised_to_its_caller(
    ports: Host, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    async with ports.blocking.open_worker("test") as worker:
        with pytest.raises(type(error)) as caught:
            await worker.run(fail)
        assert caught.value is error
        assert await worker.run(int, "7") == 7


async def test_calls_run_in_the_order_they_were_given(ports: Host) -> None:
    order: list[int] = []

    async def give(number: int) -> None:
        await worker.run(order.append, number)

    async with ports.blocking.open_worker("test") as worker:
        given: list[int] = []
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(give, number)
                given.append(number)
                await wait_all_tasks_blocked() if number % 10 == 0 else None
        assert sorted(order) == given
        order.clear()
        for number in range(20):
            await worker.run(order.append, number)
        assert order == list(range(20))


async def test_one_task_that_is_cancelled_does_not_stop_the_others(ports: Host) -> None:
    done: list[str] = []

    async def give(name: str, scope: trio.CancelScope) -> None:
        with scope:
            await worker.run(done.append, name)

    async with ports.blocking.open_worker("test") as worker:
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give, "cancelled", scope)
            nursery.start_soon(give, "kept", trio.CancelScope())
            await trio.lowlevel.checkpoint()
            scope.cancel()
        await worker.run(done.append, "last")
    assert set(done) >= {"kept", "last"}
    assert done[-1] == "last"
    assert ("cancelled" in done) or scope.cancelled_caught


async def test_a_task_cancelled_beforehand_gives_no_work(ports: Host) -> None:
    done: list[str] = []
    async with ports.blocking.open_worker("test") as worker:
        with trio.CancelScope() as scope:
            scope.cancel()
            await worker.run(done.append, "never")
        assert scope.cancelled_caught
        await worker.run(done.append, "after")
    assert done == ["after"]


async def test_running_is_a_checkpoint(ports: Host) -> None:
    async with ports.blocking.open_worker("test") as worker:
        with assert_checkpoints():
            await worker.run(list)


async def test_a_closed_worker_refuses(ports: Host) -> None:
    done: list[str] = []
    async with ports.blocking.open_worker("test") as worker:
        pass
    with pytest.raises(trio.ClosedResourceError):
        await worker.run(done.append, "never")
    assert done == []


async def test_leaving_by_an_error_keeps_the_error(ports: Host) -> None:
    with pytest.raises(Trouble):
        async with ports.blocking.open_worker("test"):
            raise Trouble


async def test_leaving_by_cancellation_closes_too(ports: Host) -> None:
    with trio.CancelScope() as scope:
        async with ports.blocking.open_worker("test") as worker:
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    with pytest.raises(trio.ClosedResourceError):
        await worker.run(list)


async def test_workers_are_independent(ports: Host) -> None:
    async with ports.blocking.open_worker("one") as one:
        async with ports.blocking.open_worker("two") as two:
            assert await two.run(int, "2") == 2
        assert await one.run(int, "1") == 1
