"""Async handlers of RPC: in which task they run, and what they see of each other, nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
import trio
from trio.lowlevel import current_task

from tests.support.rpc_world import (
    HOSTS,
    PORT,
    Book,
    Number,
    Pair,
    Shop,
    open_pair,
    ports_of,
    receive_to_end,
    until,
)
from trio440 import rpc
from trio440.errors import InvariantViolated, RemoteError
from trio440.rpc.eager import run_eagerly
from trio440.rpc.envelope import NO_DEADLINE, encode_call, encode_cancel
from trio440.sim import simulated
from trio440.sim.world import World

SEEDS = 1
VAR: ContextVar[str] = ContextVar("VAR", default="clean")

Handler = Callable[[Number], Awaitable[Any]]


@asynccontextmanager
async def serving(
    world: World, handler: Handler, **limits: Any
) -> AsyncIterator[tuple[Pair, rpc.Client]]:
    """A server whose ``slow`` and ``slow_note`` are one handler, and a client of it."""
    routes = rpc.Routes()

    @routes.answers(Shop.slow)
    async def slow(request: Number, _: rpc.Peer) -> Number:
        await handler(request)
        return request

    @routes.takes(Shop.slow_note)
    async def slow_note(request: Number, _: rpc.Peer) -> None:
        await handler(request)

    ports = ports_of(world, "server")
    host = world.machines["server"].address
    async with (
        rpc.open_server(
            PORT, routes, host=host, ports=ports, limits=rpc.ServerLimits(**limits)
        ) as server,
    ):
        pair = Pair(server, Book(), ports_of(world, "client"), host)
        async with pair.client() as client:
            await client.wait_connected()
            yield pair, client


async def ask(client: rpc.Client, *values: int) -> None:
    """Call ``slow`` with all the values at once."""
    async with trio.open_nursery() as nursery:
        for value in values:
            nursery.start_soon(Shop(client).slow, Number(value))


def call(number: int, value: int) -> bytes:
    body = Shop.slow.request.encode(Number(value))
    return encode_call(number, NO_DEADLINE, Shop.slow.wire_name, body)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_handlers_that_do_not_wait_share_a_task_and_run_in_order(world: World) -> None:
    seen: list[int] = []
    tasks = set()

    async def handler(request: Number) -> None:
        seen.append(request.value)
        tasks.add(current_task())

    async with serving(world, handler) as (_, client):
        for value in range(20):
            Shop(client).slow_note(Number(value))
        await ask(client, 20)
        await ask(client, 21)
    assert seen == [*range(22)]
    assert len(tasks) == 1


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_handlers_that_wait_have_a_task_each_and_use_it_again(world: World) -> None:
    active: set[trio.lowlevel.Task] = set()
    tasks: set[trio.lowlevel.Task] = set()
    most = 0

    async def handler(request: Number) -> None:
        nonlocal most
        task = current_task()
        assert task not in active
        active.add(task)
        tasks.add(task)
        most = max(most, len(active))
        await trio.sleep(request.value)
        assert current_task() is task
        active.remove(task)

    async with serving(world, handler) as (pair, client):
        for _ in range(4):
            await ask(client, *[1] * 10)
        assert pair.server.statistics().answers == 40
        assert most == 10
        assert len(tasks) <= 2 * 10


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_handlers_do_not_see_each_others_context(world: World) -> None:
    seen: list[str] = []

    async def handler(request: Number) -> None:
        seen.append(VAR.get())
        VAR.set(f"before {request.value}")
        for _ in range(request.value):
            await trio.sleep(0.1)
            assert VAR.get() == f"before {request.value}"
        VAR.set(f"after {request.value}")

    async with serving(world, handler) as (_, client):
        for values in ([0], [1], [0, 1, 2, 0, 1, 2], [1, 1, 1], [0, 0, 0], [2]):
            await ask(client, *values)
    assert seen == ["clean"] * 15


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_cancelled_handlers_task_serves_on(world: World) -> None:
    async with open_pair(world) as pair, pair.client() as client:
        for round_ in range(5):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(Shop(client).slow, Number(10))
                await until(lambda: pair.book.active == 3)
                nursery.cancel_scope.cancel()
            await until(lambda: pair.book.active == 0)
            await ask(client, 1, 2, 3)
            assert len(pair.book.cancelled) == 3 * (round_ + 1)
        assert pair.server.statistics().answers == 15
        assert pair.server.statistics().handlers_active == 0


@simulated(seeds=4, profile="calm", hosts=HOSTS)
async def test_calls_that_are_cancelled_before_they_begin(world: World) -> None:
    number = 0
    async with open_pair(world) as pair:
        stream = await pair.greeted()
        for _ in range(5):
            burst = [call(number := number + 1, 1)]
            for _ in range(5):
                burst += [call(number := number + 1, 1000), encode_cancel(number)]
            burst.append(call(number := number + 1, 1))
            await stream.send_all(b"".join(burst))
            await trio.sleep(2)
            assert pair.server.statistics().handlers_active == 0
        counts = pair.server.statistics()
        assert pair.book.cancelled == [1000] * 25
        assert (counts.calls, counts.cancelled, counts.answers) == (number, 25, 10)
        await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_one_that_began_to_wait_or_ceased_to_is_served_all_the_same(world: World) -> None:
    tasks: list[trio.lowlevel.Task] = []
    waits = True

    async def handler(_: Number) -> None:
        tasks.append(current_task())
        if waits:
            await trio.sleep(1)

    async with serving(world, handler) as (pair, client):
        for waits in (False, True, False, True):
            for _ in range(2):
                await ask(client, *range(40))
            assert pair.server.statistics().handlers_active == 0
            tasks.clear()
            await ask(client, *range(100))
            assert (len(set(tasks)) > 50) == waits


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_tasks_that_were_needed_once_go_away(world: World) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(silence_seconds=4)) as pair:
        async with pair.client() as client:
            await ask(client, 1)
            before = trio.lowlevel.current_statistics().tasks_living
            await ask(client, *[1] * 400)
            kept = trio.lowlevel.current_statistics().tasks_living - before
            assert 200 <= kept <= 256
            await trio.sleep(20)
            assert trio.lowlevel.current_statistics().tasks_living <= before
            await ask(client, 1, 1, 1)
        assert pair.server.statistics().answers == 404


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_errors_before_and_after_the_first_wait(world: World) -> None:
    async def handler(request: Number) -> None:
        for _ in range(request.value):
            await trio.sleep(1)
        raise KeyError(request.value)

    async with serving(world, handler) as (pair, client):
        for value in (0, 1, 2, 0):
            with pytest.raises(RemoteError, match="KeyError"):
                await Shop(client).slow(Number(value))
            Shop(client).slow_note(Number(value))
        await until(lambda: pair.server.statistics().handlers_failed == 8)
        assert pair.server.statistics().handlers_active == 0


def broken(request: Number, _: rpc.Peer) -> Number:
    raise InvariantViolated("a promise", f"broken by {request.value}")


def broken_note(request: Number, peer: rpc.Peer) -> None:
    broken(request, peer)


async def broken_later(request: Number, peer: rpc.Peer) -> Number:
    for _ in range(request.value):
        await trio.sleep(1)
    return broken(request, peer)


async def broken_note_later(request: Number, peer: rpc.Peer) -> None:
    await broken_later(request, peer)


async def broken_in_a_nursery(request: Number, peer: rpc.Peer) -> Number:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broken_later, request, peer)
    return request


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_broken_promise_that_a_handler_meets_comes_out_of_the_server(world: World) -> None:
    routes = rpc.Routes()
    routes.add(Shop.double, broken)
    routes.add(Shop.slow, broken_later)
    routes.add(Shop.stubborn, broken_in_a_nursery)
    routes.add_one_way(Shop.note, broken_note)
    routes.add_one_way(Shop.slow_note, broken_note_later)
    ports, host = ports_of(world, "server"), world.machines["server"].address
    desk = ports_of(world, "client")
    reports: list[Exception] = []
    asked: list[tuple[rpc.Method[Number, Number] | rpc.OneWay[Number], int]] = [
        (Shop.double, 0),
        (Shop.slow, 0),
        (Shop.slow, 1),
        (Shop.stubborn, 1),
        (Shop.note, 0),
        (Shop.slow_note, 0),
        (Shop.slow_note, 1),
    ]
    for method, value in asked:
        async with rpc.open_client(host, PORT, ports=desk) as client:
            with pytest.RaisesGroup(
                pytest.RaisesExc(InvariantViolated, match=f"broken by {value}"),
                flatten_subgroups=True,
            ):
                async with rpc.open_server(
                    PORT, routes, host=host, ports=ports, report=reports.append
                ):
                    await client.wait_connected()
                    if isinstance(method, rpc.Method):
                        await client.call(method, Number(value))
                    else:
                        client.tell(method, Number(value))
                    await trio.sleep(5)
                    raise AssertionError("nothing came out")
    assert reports == []


@simulated(seeds=5, profile="calm", hosts=HOSTS)
async def test_a_server_that_is_left_while_the_reader_changes_answers_the_rest(
    world: World,
) -> None:
    begun = trio.Event()

    async def handler(request: Number) -> None:
        begun.set()
        await trio.sleep(request.value)

    burst = b"".join(call(number, 2) for number in range(1, 12))
    async with trio.open_nursery() as nursery:
        async with serving(world, handler) as (pair, _):
            stream = await pair.greeted()
            nursery.start_soon(receive_to_end, stream)
            await stream.send_all(burst)
            await begun.wait()
        assert pair.server.statistics().answers == 11
    await stream.aclose()


async def nothing() -> str:
    return "nothing"


async def test_what_does_not_wait_is_no_checkpoint() -> None:
    waits: list[None] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await run_eagerly(nothing(), copy_context(), lambda: waits.append(None)) == "nothing"
    assert (waits, scope.cancelled_caught) == ([], False)


async def test_what_waits_is_cancelled_and_says_so_once() -> None:
    waits: list[str] = []

    async def work() -> str:
        VAR.set("work")
        try:
            await trio.sleep(1)
            await trio.sleep(1000)
        finally:
            waits.append(VAR.get())
        return "never"

    with trio.move_on_after(5) as scope:
        await run_eagerly(work(), copy_context(), lambda: waits.append("waits"))
    assert scope.cancelled_caught
    assert waits == ["waits", "work"]
    await trio.lowlevel.checkpoint()
    assert VAR.get() == "clean"


async def test_what_waits_may_catch_its_cancellation() -> None:
    async def work() -> str:
        with trio.move_on_after(1):
            await trio.sleep_forever()
        await trio.sleep(1)
        return "late"

    assert await run_eagerly(work(), copy_context(), lambda: None) == "late"
