import pytest
import trio
import trio.testing

from trio440.core.lifetimes import open_service_nursery


async def fail(error: Exception) -> None:
    raise error


async def wait_forever(ended: list[str]) -> None:
    try:
        await trio.Event().wait()
    finally:
        ended.append("ended")


async def test_tasks_end_with_the_body() -> None:
    ended: list[str] = []
    async with open_service_nursery() as nursery:
        nursery.start_soon(wait_forever, ended)
        await trio.testing.wait_all_tasks_blocked()
    assert ended == ["ended"]


async def test_what_the_body_raises_comes_out_bare() -> None:
    ended: list[str] = []
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with open_service_nursery() as nursery:
            nursery.start_soon(wait_forever, ended)
            await trio.testing.wait_all_tasks_blocked()
            raise error
    assert caught.value is error
    assert ended == ["ended"]


async def test_a_task_that_fails_ends_the_body_and_comes_out_alone() -> None:
    error = ValueError("task")
    with pytest.raises(ValueError, match="task") as caught:
        async with open_service_nursery() as nursery:
            nursery.start_soon(fail, error)
            await trio.Event().wait()
    assert caught.value is error


async def test_failures_of_body_and_task_come_out_together() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_service_nursery() as nursery:
            nursery.start_soon(fail, ValueError("task"))
            try:
                await trio.Event().wait()
            finally:
                raise KeyError("body")
    assert {type(error) for error in caught.value.exceptions} == {ValueError, KeyError}


async def test_cancellation_from_outside_goes_through() -> None:
    ended: list[str] = []
    with trio.CancelScope() as scope:
        async with open_service_nursery() as nursery:
            nursery.start_soon(wait_forever, ended)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.Event().wait()
    assert scope.cancelled_caught
    assert ended == ["ended"]


async def test_a_task_cannot_outlive_a_cancelled_body() -> None:
    shutdown = trio.Event()

    async def slow_to_end() -> None:
        try:
            await trio.Event().wait()
        finally:
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
            shutdown.set()

    with trio.CancelScope() as scope:
        async with open_service_nursery() as nursery:
            nursery.start_soon(slow_to_end)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert shutdown.is_set()


async def test_a_body_cancelled_in_several_tasks_says_nothing_beside_the_failure() -> None:
    error = ValueError("task")
    with pytest.raises(ValueError, match="task") as caught:
        async with open_service_nursery() as outer:
            outer.start_soon(fail, error)
            async with open_service_nursery() as inner:
                for _ in range(2):
                    inner.start_soon(trio.sleep_forever)
                await trio.sleep_forever()
    assert caught.value is error


async def test_what_a_cancelled_body_raises_is_kept() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("body")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_service_nursery() as outer:
            outer.start_soon(fail, ValueError("task"))
            async with trio.open_nursery() as inner:
                inner.start_soon(fail_when_cancelled)
                await trio.sleep_forever()
    assert caught.value.subgroup(trio.Cancelled) is None
    assert caught.value.subgroup(KeyError) is not None
    assert caught.value.subgroup(ValueError) is not None


async def test_a_body_may_cancel_the_nursery() -> None:
    ended: list[str] = []
    try:
        async with open_service_nursery() as nursery:
            nursery.start_soon(wait_forever, ended)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            await trio.Event().wait()
        ended.append("went on")
    finally:
        assert ended == ["ended", "went on"]
