"""``lsp.serve``: a handler per connection, its endings, and its place under the limits."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

import pytest
import trio

from tests.support.lsp_world import (
    SERVER,
    LspWorld,
    echo_in_turn,
    open_world,
    read_to_loss,
    seeds,
    together,
)
from trio440 import lsp
from trio440.core.host import Address
from trio440.lsp.message import Ack, Connect, Data

PARAMS = lsp.Params(3, 1000, 5, 0, 5)
SERVER_SOCKET = "udp 10.0.0.1:9999"
Handler: TypeAlias = Callable[[lsp.Connection], Awaitable[object]]


class Boom(Exception):
    """Raised by a test and by nothing else."""


@asynccontextmanager
async def serving(
    world: LspWorld, handler: Handler, limits: lsp.Limits | None = None
) -> AsyncIterator[Address]:
    """Serve during the body and cancel behind it; the handlers' exceptions come out in groups."""
    serve = partial(
        lsp.serve, host=SERVER[0], params=PARAMS, limits=limits, ports=world.server_ports
    )
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve, handler, SERVER[1])
        nursery.cancel_scope.cancel()


async def echo(connection: lsp.Connection) -> None:
    async for text in connection:
        await connection.send(text)


@seeds(4)
async def test_every_connection_has_a_handler_of_its_own(seed: int) -> None:
    seen: list[int] = []

    async def note_and_echo(connection: lsp.Connection) -> None:
        seen.append(connection.conn_id)
        await echo(connection)

    async with (
        open_world(seed) as world,
        serving(world, note_and_echo) as address,
        world.open_clients(5, PARAMS, spread_epochs=1.0) as clients,
    ):
        assert address == SERVER
        await together(echo_in_turn(client, world.texts(10)) for client in clients)
        assert seen == [client.conn_id for client in clients] == [1, 2, 3, 4, 5]


async def test_port_0_is_reported_with_its_real_number() -> None:
    async with open_world(0) as world, trio.open_nursery() as nursery:
        serve = partial(lsp.serve, echo, 0, params=PARAMS, ports=world.server_ports)
        address = await nursery.start(serve)
        assert address[0] == "127.0.0.1"
        assert address[1] > 0
        async with lsp.connect(*address, params=PARAMS, ports=world.server_ports) as client:
            await echo_in_turn(client, [b"through the loopback"])
        nursery.cancel_scope.cancel()


async def test_what_a_handler_wrote_is_delivered_after_its_return() -> None:
    async def greet(connection: lsp.Connection) -> None:
        for text in (b"good", b"bye"):
            connection.write(text)

    async with (
        open_world(0) as world,
        serving(world, greet),
        world.connect(PARAMS) as client,
    ):
        assert await read_to_loss(client) == [b"good", b"bye"]


async def lose_in_receive(connection: lsp.Connection) -> None:
    await connection.receive()


async def lose_in_send(connection: lsp.Connection) -> None:
    while True:
        await connection.send(b"x" * 1000)


async def lose_in_a_group(connection: lsp.Connection) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.receive)
        nursery.start_soon(connection.receive)


async def lose_in_nested_groups(connection: lsp.Connection) -> None:
    async with trio.open_nursery() as outer, trio.open_nursery() as inner:
        inner.start_soon(connection.receive)
        outer.start_soon(connection.receive)


@pytest.mark.parametrize(
    "handler", [lose_in_receive, lose_in_send, lose_in_a_group, lose_in_nested_groups]
)
async def test_the_loss_of_its_own_connection_is_a_normal_end(handler: Handler) -> None:
    ended: list[int] = []

    async def note_the_end(connection: lsp.Connection) -> None:
        try:
            await handler(connection)
        finally:
            ended.append(connection.conn_id)

    async with (
        open_world(0) as world,
        serving(world, note_the_end, lsp.Limits(send_buffer=10_000)),
    ):
        async with world.open_peer() as peer:
            assert (await peer.ask(Connect(5)))[0] == Ack(1, 5)
            await trio.sleep(3.5)
        assert ended == [1]
        async with world.open_peer() as peer:
            assert (await peer.ask(Connect(5)))[0] == Ack(2, 5)


async def fail(connection: lsp.Connection) -> None:
    await connection.receive()
    raise Boom


async def fail_beside_the_loss(connection: lsp.Connection) -> None:
    async def wait_and_fail() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise Boom from None

    await connection.receive()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.receive)
        nursery.start_soon(wait_and_fail)


@pytest.mark.parametrize("handler", [fail, fail_beside_the_loss])
async def test_other_exceptions_end_the_server(handler: Handler) -> None:
    async with open_world(0) as world, world.open_peer() as peer:

        async def run() -> None:
            async with serving(world, handler):
                assert await peer.ask(Connect(5), Data.of(1, 6, b"x")) == [Ack(1, 5), Ack(1, 6)]
                await trio.sleep_forever()

        with pytest.RaisesGroup(Boom, flatten_subgroups=True):
            await run()
        assert world.now() < 4
        assert SERVER_SOCKET not in world.network.open_endpoints


async def fail_with_the_loss_of_another(connection: lsp.Connection) -> None:
    with pytest.raises(lsp.ConnectionLost):
        await connection.receive()
    raise lsp.ConnectionLost(77)


async def fail_with_a_loss_elsewhere_under_the_same_id(connection: lsp.Connection) -> None:
    assert connection.statistics().state == "open"
    raise lsp.ConnectionLost(connection.conn_id)


@pytest.mark.parametrize(
    "handler", [fail_with_the_loss_of_another, fail_with_a_loss_elsewhere_under_the_same_id]
)
async def test_the_loss_of_another_connection_is_no_normal_end(handler: Handler) -> None:
    async with open_world(0) as world, world.open_peer() as peer:

        async def run() -> None:
            async with serving(world, handler):
                peer.say(Connect(5))
                await trio.sleep_forever()

        with trio.fail_after(5), pytest.RaisesGroup(lsp.ConnectionLost, flatten_subgroups=True):
            await run()


async def test_a_cancelled_close_in_a_handler_aborts_its_connection() -> None:
    async def close_impatiently(connection: lsp.Connection) -> None:
        connection.write(b"pending")
        with trio.move_on_after(0.5):
            await connection.close()
        await trio.sleep_forever()

    async with (
        open_world(0) as world,
        world.open_peer() as peer,
        serving(world, close_impatiently),
    ):
        assert await peer.ask(Connect(5)) == [Ack(1, 5), Data.of(1, 6, b"pending")]
        await trio.sleep(2.5)
        assert await peer.ask() == []
        assert await peer.ask(Connect(5)) == [Ack(2, 5), Data.of(2, 6, b"pending")]


async def test_cancelling_aborts_everything_in_silence() -> None:
    async def write_and_wait(connection: lsp.Connection) -> None:
        connection.write(b"pending")
        await trio.sleep_forever()

    async with open_world(0) as world:
        before = trio.lowlevel.current_statistics().tasks_living
        async with world.open_peer() as peer, serving(world, write_and_wait):
            assert await peer.ask(Connect(5)) == [Ack(1, 5), Data.of(1, 6, b"pending")]
            await trio.sleep(1)
            stopped = world.now()
        assert world.now() == stopped
        assert world.network.open_endpoints == []
        assert trio.lowlevel.current_statistics().tasks_living == before
        await trio.sleep(5)
        assert world.packets(lambda packet: packet.time > stopped) == []


async def test_a_running_handler_keeps_its_place_under_the_limit() -> None:
    async def linger(connection: lsp.Connection) -> None:
        try:
            await connection.receive()
        except lsp.ConnectionLost:
            await trio.sleep(10)

    async with (
        open_world(0) as world,
        serving(world, linger, lsp.Limits(max_connections=2)),
        world.open_peer() as one,
        world.open_peer() as other,
        world.open_peer() as third,
    ):
        assert await one.ask(Connect(5)) == [Ack(1, 5)]
        assert await other.ask(Connect(5)) == [Ack(2, 5)]
        assert await third.ask(Connect(5)) == []
        await trio.sleep(4)
        assert await third.ask(Connect(5)) == []
        await trio.sleep(10)
        assert await third.ask(Connect(5)) == [Ack(3, 5)]


async def test_a_connection_that_is_flushed_keeps_its_place_too() -> None:
    async def greet(connection: lsp.Connection) -> None:
        connection.write(b"hello")

    async with (
        open_world(0) as world,
        serving(world, greet, lsp.Limits(max_connections=1)),
        world.open_peer() as one,
        world.open_peer() as other,
    ):
        assert await one.ask(Connect(5)) == [Ack(1, 5), Data.of(1, 6, b"hello")]
        assert await other.ask(Connect(5)) == []
        assert await one.ask(Ack(1, 6)) == []
        assert await other.ask(Connect(5)) == [Ack(2, 5), Data.of(2, 6, b"hello")]
