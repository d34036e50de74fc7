"""The contract of :class:`trio440.core.host.StreamGroup`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from tests.support.processes import PATIENCE_SECONDS
from trio440.core.host import ByteStream, Host, StreamGroup
from trio440.errors import InvalidParameter


@asynccontextmanager
async def pairs(
    ports: Host, count: int
) -> AsyncIterator[tuple[list[ByteStream], list[ByteStream]]]:
    """Connections: the ends that opened them, and those that accepted them."""
    ours: list[ByteStream] = []
    theirs: list[ByteStream] = []
    async with AsyncExitStack() as stack:
        async with aclosing(await ports.net.listen_tcp()) as listener:
            for _ in range(count):
                ours.append(await ports.net.connect_tcp(*listener.local_address[:2]))
                await stack.enter_async_context(aclosing(ours[-1]))
                theirs.append(await listener.accept())
                await stack.enter_async_context(aclosing(theirs[-1]))
        yield ours, theirs


async def receive(group: StreamGroup, count: int) -> dict[ByteStream, bytes]:
    """Receive until so many streams have given something."""
    found: dict[ByteStream, bytes] = {}
    with trio.fail_after(PATIENCE_SECONDS):
        while len(found) < count:
            for stream, data in await group.receive(1000):
                found[stream] = found.get(stream, b"") + data
    return found


async def test_each_gives_what_it_has(ports: Host) -> None:
    async with pairs(ports, 5) as (ours, theirs):
        with closing(ports.net.open_stream_group()) as group:
            for stream in theirs:
                group.add(stream)
            for number in (1, 3):
                await ours[number].send_all(b"%d" % number)
            assert await receive(group, 2) == {theirs[1]: b"1", theirs[3]: b"3"}
            theirs[3].send_nowait(b"answer")
            with trio.fail_after(PATIENCE_SECONDS):
                assert await ours[3].receive_some() == b"answer"
            for stream in theirs:
                group.remove(stream)


async def test_it_waits_until_one_has_something(ports: Host) -> None:
    async with pairs(ports, 2) as (ours, theirs):
        with closing(ports.net.open_stream_group()) as group:
            found: dict[ByteStream, bytes] = {}

            async def wait() -> None:
                found.update(await receive(group, 1))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                assert not found
                group.add(theirs[1])
                await ours[1].send_all(b"late")
            assert found == {theirs[1]: b"late"}
            group.remove(theirs[1])


async def test_no_more_is_taken_than_was_asked_for(ports: Host) -> None:
    async with pairs(ports, 1) as (ours, theirs):
        with closing(ports.net.open_stream_group()) as group:
            group.add(theirs[0])
            await ours[0].send_all(b"abcdef")
            parts: list[bytes] = []
            with trio.fail_after(PATIENCE_SECONDS):
                while len(b"".join(parts)) < 6:
                    ((stream, data),) = await group.receive(4)
                    assert (stream, len(data) <= 4) == (theirs[0], True)
                    parts.append(data)
            assert b"".join(parts) == b"abcdef"
            group.remove(theirs[0])


async def test_each_has_its_turn(ports: Host) -> None:
    async with pairs(ports, 6) as (ours, theirs):
        with closing(ports.net.open_stream_group()) as group:
            for stream in theirs:
                group.add(stream)
            turns: dict[ByteStream, int] = {}
            with trio.fail_after(PATIENCE_SECONDS):
                while len(turns) < 6:
                    for stream in ours:  # so that none of them ever has nothing
                        stream.send_nowait(b"more")
                    received = await group.receive(2, limit=2)
                    assert 1 <= len(received) <= 2
                    for stream, _ in received:
                        turns[stream] = turns.get(stream, 0) + 1
            assert max(turns.values()) <= 4
            for stream in theirs:
                group.remove(stream)


@pytest.mark.parametrize("broken", [False, True])
async def test_an_end_is_told_once(ports: Host, *, broken: bool) -> None:
    async with pairs(ports, 2) as (ours, theirs):
        with closing(ports.net.open_stream_group()) as group:
            for stream in theirs:
                group.add(stream)
            if broken:  # closed with bytes unread
                theirs[0].send_nowait(b"unread")
                with trio.fail_after(PATIENCE_SECONDS):
                    await ours[0].receive_some(1)
                await ours[0].aclose()
            else:
                await ours[0].send_eof()
            assert await receive(group, 1) == {theirs[0]: b""}
            await ours[1].send_all(b"alive")
            assert await receive(group, 1) == {theirs[1]: b"alive"}
            for stream in theirs:
                group.remove(stream)


async def test_one_that_was_taken_out_keeps_what_it_has(ports: Host) -> None:
    async with pairs(ports, 2) as (ours, theirs):
        with closing(ports.net.open_stream_group()) as group:
            for stream in theirs:
                group.add(stream)
            for stream in ours:
                await stream.send_all(b"data")
            await receive(group, 2)
            for stream in ours:
                await stream.send_all(b"data")
            group.remove(theirs[0])
            group.remove(theirs[0])
            assert await receive(group, 1) == {theirs[1]: b"data"}
            with trio.fail_after(PATIENCE_SECONDS):
                assert await theirs[0].receive_some() == b"data"
            group.remove(theirs[1])


async def test_a_cancelled_one_takes_nothing(ports: Host) -> None:
    async with pairs(ports, 1) as (ours, theirs):
        with closing(ports.net.open_stream_group()) as group:
            group.add(theirs[0])
            with trio.CancelScope() as scope:
                scope.cancel()
                await group.receive(10)
            assert scope.cancelled_caught
            await ours[0].send_all(b"data")
            with trio.CancelScope() as scope:
                scope.cancel()
                await group.receive(10)
            assert scope.cancelled_caught
            assert await receive(group, 1) == {theirs[0]: b"data"}
            await ours[0].send_all(b"more")
            await wait_all_tasks_blocked()
            with assert_checkpoints():
                await group.receive(10)
            group.remove(theirs[0])


async def test_one_task_waits(ports: Host) -> None:
    with closing(ports.net.open_stream_group()) as group:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(group.receive, 1)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await group.receive(1)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"max_bytes": 1, "limit": 0}])
async def test_nothing_cannot_be_asked_for(ports: Host, wrong: dict[str, int]) -> None:
    with (
        closing(ports.net.open_stream_group()) as group,
        pytest.raises(InvalidParameter, match="at least 1"),
    ):
        await group.receive(**wrong)


async def test_what_is_closed_cannot_be_added(ports: Host) -> None:
    async with pairs(ports, 1) as (_, theirs):
        with closing(ports.net.open_stream_group()) as group:
            await theirs[0].aclose()
            with pytest.raises(trio.ClosedResourceError):
                group.add(theirs[0])


async def test_closing_leaves_the_streams_open(ports: Host) -> None:
    async with pairs(ports, 1) as (ours, theirs):
        group = ports.net.open_stream_group()
        group.add(theirs[0])
        group.close()
        group.close()
        await ours[0].send_all(b"data")
        with trio.fail_after(PATIENCE_SECONDS):
            assert await theirs[0].receive_some() == b"data"
