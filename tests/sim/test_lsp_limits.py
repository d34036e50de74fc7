"""Endpoint limits: each driven to its bound, with everybody else served on."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.lsp_world import (
    SERVER,
    LspWorld,
    collect,
    echo_forever,
    echo_in_turn,
    open_world,
    running,
    seeds,
    together,
)
from trio440 import lsp
from trio440.lsp.message import Ack, Connect, encode
from trio440.lsp.params import MESSAGE_OVERHEAD

PARAMS = lsp.Params(5, 1000, 20, 0, 20)
HUNDRED = 100 + MESSAGE_OVERHEAD
"""What a message of 100 bytes is charged."""


def hundreds(world: LspWorld, count: int) -> list[bytes]:
    return [world.rng.randbytes(100) for _ in range(count)]


# The send buffer


async def test_writing_past_the_send_buffer_is_refused_and_changes_nothing() -> None:
    limits = lsp.Limits(send_buffer=3 * HUNDRED)
    async with (
        open_world(0) as world,
        world.open_server(PARAMS, limits) as server,
        world.connect(PARAMS, limits=limits) as client,
    ):
        texts = hundreds(world, 3)
        for text in texts:
            client.write(text)
            server.write(1, text)
        for _ in range(5):
            with pytest.raises(lsp.SendBufferFull) as caught:
                client.write(b"")
            assert caught.value.limit == 3 * HUNDRED
            with pytest.raises(lsp.SendBufferFull):
                server.write(1, b"")
        await trio.sleep(0.1)
        client.write(b"room again")
        server.write(1, b"room again")
        assert [await client.read() for _ in range(4)] == [*texts, b"room again"]
        assert [(await server.read())[1] for _ in range(4)] == [*texts, b"room again"]


async def test_an_empty_send_buffer_takes_any_message() -> None:
    limits = lsp.Limits(send_buffer=1)
    async with (
        open_world(0) as world,
        world.open_server(PARAMS) as server,
        world.connect(PARAMS, limits=limits) as client,
    ):
        client.write(b"x" * 1000)
        with pytest.raises(lsp.SendBufferFull):
            client.write(b"y")
        assert await server.read() == (1, b"x" * 1000)


@seeds(5)
async def test_send_waits_for_room_and_keeps_the_order(seed: int) -> None:
    limits = lsp.Limits(send_buffer=4 * HUNDRED)
    async with (
        open_world(seed) as world,
        world.open_server(PARAMS, limits) as server,
        world.connect(PARAMS, limits=limits) as client,
    ):
        texts = hundreds(world, 40)
        most = 0

        async def send_all() -> None:
            for text in texts:
                await client.send(text)

        async def send_all_back() -> None:
            nonlocal most
            for text in texts:
                await server.send(1, text)
                most = max(most, server.connection_statistics(1).send_buffered)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            nursery.start_soon(send_all_back)
            assert [await client.read() for _ in texts] == texts
            assert [await server.read() for _ in texts] == [(1, text) for text in texts]
        assert most == 4 * HUNDRED


@seeds(5)
async def test_a_cancelled_send_has_sent_nothing(seed: int) -> None:
    limits = lsp.Limits(send_buffer=2 * HUNDRED)
    async with (
        open_world(seed) as world,
        world.open_server(PARAMS) as server,
        world.connect(PARAMS, limits=limits) as client,
    ):
        sent: list[bytes] = []
        for text in hundreds(world, 40):
            with trio.move_on_after(world.rng.uniform(0, 0.005)):
                await client.send(text)
                sent.append(text)
        assert 0 < len(sent) < 40
        await client.close()
        read = await collect(server.read, seconds=0.1)
        assert [text for _, text in read] == sent


async def test_a_waiting_send_ends_with_the_connection() -> None:
    limits = lsp.Limits(send_buffer=HUNDRED)
    async with (
        open_world(0) as world,
        world.open_server(PARAMS, limits) as server,
        world.connect(PARAMS, limits=limits) as client,
    ):
        world.switch_off()
        client.write(bytes(100))
        server.write(1, bytes(100))

        async def wait_for_the_loss() -> None:
            with pytest.raises(lsp.ConnectionLost):
                await client.send(b"late")

        async def wait_for_the_close() -> None:
            with pytest.raises(lsp.ConnectionClosed):
                await server.send(1, b"late")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_the_loss)
            nursery.start_soon(wait_for_the_close)
            await wait_all_tasks_blocked()
            server.close_conn(1)
        assert 4.0 < world.now() < 5.1


# The receive buffer


@seeds(5)
@pytest.mark.parametrize("loss", [0.0, 0.2])
async def test_a_full_receive_buffer_discards_nothing_that_it_acknowledged(
    seed: int, loss: float
) -> None:
    params = lsp.Params(20, 1000, 20, 0, 20)
    limits = lsp.Limits(receive_buffer=10 * HUNDRED)
    async with (
        open_world(seed) as world,
        world.open_server(params, limits) as server,
        world.connect(params) as client,
        world.connect(params) as other,
    ):
        world.network.weather(loss=loss)
        texts = hundreds(world, 60)
        for text in texts:
            client.write(text)
        start = world.now()
        while world.now() - start < 5.5:
            await trio.sleep(0.01)
            statistics = server.connection_statistics(1)
            assert statistics.unread <= 20
            assert statistics.receive_buffered <= 2 * limits.receive_buffer
        dropped = server.connection_statistics(1).dropped
        assert dropped["receive buffer full"] > 0
        beats = world.packets(lambda p: p.from_server and p.message == Ack(1, 0), since=start)
        assert len(beats) == 5

        other.write(b"is taken in")
        server.write(2, b"is delivered")
        assert await other.read() == b"is delivered"
        world.network.weather(loss=0.0)
        await trio.sleep(2)  # it is sent again at the next epoch, and that takes a while
        assert other.statistics().outstanding == 0

        read: list[bytes] = []
        while len(read) < len(texts):
            conn_id, text = await server.read()
            if conn_id == 1:
                read.append(text)
            await trio.sleep(world.rng.uniform(0, 0.1))
        assert read == texts


@seeds(2)
async def test_a_client_that_does_not_read_loses_nothing_either(seed: int) -> None:
    limits = lsp.Limits(receive_buffer=5 * HUNDRED)
    async with (
        open_world(seed) as world,
        world.open_server(PARAMS) as server,
        world.connect(PARAMS, limits=limits) as client,
    ):
        texts = hundreds(world, 30)
        for text in texts:
            server.write(1, text)
        await trio.sleep(12)
        assert client.statistics().unread <= 10
        assert client.statistics().dropped["receive buffer full"] > 0
        assert [await client.read() for _ in texts] == texts


# Connections and half-open connections


async def test_past_the_limit_of_connections_a_connect_is_dropped_and_counted() -> None:
    async with (
        open_world(0) as world,
        world.open_server(PARAMS, lsp.Limits(max_connections=2)) as server,
        world.connect(PARAMS) as client,
        world.open_peer() as peer,
        world.open_peer() as late,
    ):
        assert await peer.ask(Connect(5)) == [Ack(2, 5)]
        assert await late.ask(Connect(5)) == []
        assert await peer.ask(Connect(5)) == [Ack(2, 5)]
        assert server.statistics().dropped["too many connections"] == 1
        client.write(b"served on")
        assert await server.read() == (1, b"served on")

        await trio.sleep(6)
        assert server.conn_ids == (1,)
        assert await late.ask(Connect(5)) == [], "the loss has not been read yet"
        with pytest.raises(lsp.ConnectionLost):
            await server.read()
        assert await late.ask(Connect(5)) == [Ack(3, 5)]


async def test_a_connection_closed_here_counts_until_its_end_was_read() -> None:
    async with (
        open_world(0) as world,
        world.open_server(PARAMS, lsp.Limits(max_connections=1)) as server,
        world.open_peer() as peer,
        world.open_peer() as late,
    ):
        assert await peer.ask(Connect(5)) == [Ack(1, 5)]
        server.close_conn(1)
        assert await late.ask(Connect(5)) == []
        with pytest.raises(lsp.ConnectionClosed):
            await server.read()
        assert await late.ask(Connect(5)) == [Ack(2, 5)]


@seeds(3)
async def test_a_flood_of_connects_drops_the_oldest_half_open_and_nobody_else(seed: int) -> None:
    limits = lsp.Limits(max_half_open=50, max_connections=100)
    async with (
        open_world(seed) as world,
        world.open_server(PARAMS, limits) as server,
        running(echo_forever, server),
        world.open_clients(3, PARAMS) as clients,
    ):
        await together(echo_in_turn(client, world.texts(3)) for client in clients)

        async def flood() -> None:
            for number in range(1000):
                source = ("10.9.9.9", 1024 + number)
                world.network.inject(encode(Connect(number)), source, SERVER)
                await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            for client in clients:
                nursery.start_soon(echo_in_turn, client, world.texts(100))
            await trio.sleep(0.5)
            async with world.connect(PARAMS) as newcomer:
                await echo_in_turn(newcomer, world.texts(10))
        statistics = server.statistics()
        assert statistics.half_open == 50
        assert statistics.connections == 50 + len(clients) + 1
        assert statistics.accepted == 1000 + len(clients) + 1
        assert statistics.lost == 1000 - 50
        newest = [server.remote_address(conn_id) for conn_id in server.conn_ids[-50:]]
        assert newest == [("10.9.9.9", 1024 + number) for number in range(950, 1000)]
