"""What LSP's API promises about connecting, reading and writing."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.lsp_world import (
    LATENCY_STEP,
    Packet,
    collect,
    is_anything,
    open_pair,
    open_world,
    read_to_loss,
    seeds,
)
from trio440 import lsp
from trio440.lsp.message import MAX_DATAGRAM_SENT, Ack, Connect, Data

PARAMS = lsp.Params(5, 1000, 10, 0, 10)


# Connecting


async def test_connecting_fails_after_the_epoch_limit() -> None:
    async with open_world(0) as world:
        with pytest.raises(lsp.ConnectFailed) as caught:
            async with world.connect(lsp.Params(4, 500), isn=9):
                pytest.fail("nobody is there to answer")
        assert str(caught.value) == "no answer from 10.0.0.1:9999 within 4 epochs"
        assert world.now() == 2.0
        asked = [(packet.time, packet.message) for packet in world.packets(is_anything)]
        assert asked == [(0.5 * tick, Connect(9)) for tick in range(5)]


async def test_a_heartbeat_is_no_answer_to_a_connect() -> None:
    async with open_world(0) as world, world.open_server(PARAMS):
        world.disturb(
            lambda packet: [(0.0, Ack(7, 0) if packet.from_server else Connect(packet.number))]
        )
        with pytest.raises(lsp.ConnectFailed):
            async with world.connect(PARAMS, isn=9):
                pytest.fail("only heartbeats came")


# Reading and writing


async def test_what_arrived_before_the_loss_is_read_before_it_is_reported() -> None:
    async with open_pair(PARAMS) as (world, server, client):
        for text in (b"one", b"", b"three"):
            server.write(1, text)
        await trio.sleep(0.5)
        world.switch_off()
        await trio.sleep(6)
        assert client.statistics().state == "lost"
        assert await read_to_loss(client) == [b"one", b"", b"three"]
        assert await read_to_loss(client) == []
        with pytest.raises(lsp.ConnectionLost):
            await client.receive()
        with pytest.raises(lsp.ConnectionLost):
            await anext(client)


async def test_messages_behind_a_gap_are_not_read_after_the_loss() -> None:
    async with open_pair(PARAMS) as (world, server, client):
        sent: list[int] = []

        def is_second_data(packet: Packet) -> bool:
            if isinstance(packet.message, Data):
                sent.append(packet.number)
                return packet.number == sent[0] + 1
            return False

        world.cut(is_second_data)
        for text in (b"one", b"two", b"three"):
            server.write(1, text)
        await trio.sleep(0.5)
        world.switch_off()
        await trio.sleep(6)
        assert await read_to_loss(client) == [b"one"]


async def test_a_waiting_read_ends_with_the_loss() -> None:
    async with open_pair(PARAMS) as (world, _server, client):
        world.switch_off()
        start = world.now()
        assert await read_to_loss(client) == []
        assert 4.0 < world.now() - start < 5.01


async def test_writing_after_the_end_is_an_error() -> None:
    async with open_pair(PARAMS) as (world, server, client):
        async with world.connect(PARAMS) as other:
            await other.close()
            with pytest.raises(lsp.ConnectionClosed):
                other.write(b"late")
            with pytest.raises(lsp.ConnectionClosed):
                await other.send(b"late")
            with pytest.raises(lsp.ConnectionClosed):
                await other.read()
            assert other.conn_id == 2
        world.switch_off()
        await trio.sleep(6)
        with pytest.raises(lsp.ConnectionLost):
            client.write(b"late")
        with pytest.raises(lsp.ConnectionLost):
            await client.send(b"late")
        with pytest.raises(lsp.UnknownConnection):
            server.write(1, b"late")
        assert client.conn_id == 1
        assert world.data() == []


async def test_a_payload_that_fits_no_datagram_is_refused() -> None:
    async with open_pair(PARAMS) as (world, server, client):
        with pytest.raises(lsp.PayloadTooLarge) as caught:
            client.write(bytes(1472))
        limit = caught.value.limit
        assert 1000 <= limit < 1100
        with pytest.raises(lsp.PayloadTooLarge):
            await client.send(bytes(limit + 1))
        client.write(b"\xff" * limit)
        assert await server.read() == (1, b"\xff" * limit)
        assert max(len(record.data) for record in world.network.wire) <= MAX_DATAGRAM_SENT
        with pytest.raises(lsp.PayloadTooLarge):
            server.write(1, bytes(limit + 10))


async def test_a_cancelled_read_has_taken_nothing() -> None:
    async with open_pair(PARAMS) as (_world, server, client):
        for _ in range(20):
            with trio.CancelScope() as scope:
                scope.cancel()
                await client.read()
            assert scope.cancelled_caught
        server.write(1, b"first")
        server.write(1, b"second")
        client.write(b"third")
        await trio.sleep(0.1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.receive()
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.read()
        assert [await client.read(), await client.read()] == [b"first", b"second"]
        assert await server.read() == (1, b"third")


@seeds(5)
async def test_a_read_cancelled_as_its_message_arrives_loses_nothing(seed: int) -> None:
    async with open_pair(PARAMS, seed=seed) as (world, server, client):
        texts = world.texts(30)
        by_client: list[bytes] = []
        by_server: list[bytes] = []
        for text in texts:
            server.write(1, text)
            with trio.move_on_after(world.rng.randint(1, 12) * LATENCY_STEP / 1e6):
                by_client.append(await client.read())
            client.write(text)
            with trio.move_on_after(world.rng.randint(1, 12) * LATENCY_STEP / 1e6):
                by_server.append((await server.read())[1])
        assert 0 < len(by_client) < 30
        assert 0 < len(by_server) < 30
        by_client += await collect(client.read, seconds=1)
        by_server += [text for _, text in await collect(server.read, seconds=1)]
        assert by_client == by_server == texts


@seeds(5)
async def test_two_readers_share_the_messages(seed: int) -> None:
    async with open_pair(PARAMS, seed=seed) as (world, server, client):
        texts = world.texts(40)
        read_by_client: list[list[bytes]] = [[], []]
        read_by_server: list[list[bytes]] = [[], []]

        async def read_client(mine: list[bytes]) -> None:
            while True:
                mine.append(await client.read())
                await trio.lowlevel.checkpoint()

        async def read_server(mine: list[bytes]) -> None:
            while True:
                mine.append((await server.read())[1])
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(read_client, read_by_client[number])
                nursery.start_soon(read_server, read_by_server[number])
            await wait_all_tasks_blocked()
            for text in texts:
                server.write(1, text)
                client.write(text)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        for one, other in (read_by_client, read_by_server):
            assert sorted(one + other) == sorted(texts)
            assert one
            assert other
            assert one == [text for text in texts if text in one]


async def test_messages_that_arrive_together_wake_as_many_readers() -> None:
    async with open_pair(PARAMS) as (world, server, client):
        world.network.weather(delay=LATENCY_STEP, jitter=0)
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(client.read)
                    nursery.start_soon(server.read)
                await wait_all_tasks_blocked()
                for text in (b"one", b"two", b"three"):
                    server.write(1, text)
                    client.write(text)


async def test_waiting_readers_all_hear_of_the_end() -> None:
    async with open_pair(PARAMS) as (_world, _server, client):

        async def read() -> None:
            with pytest.raises(lsp.ConnectionClosed):
                await client.read()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)
            await wait_all_tasks_blocked()
            await client.close()
