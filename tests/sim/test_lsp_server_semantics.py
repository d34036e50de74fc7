"""What the server promises about its connections, their ends and its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.lsp_world import (
    SERVER,
    LspWorld,
    collect,
    is_ack,
    open_world,
    read_to_loss,
    seeds,
    together,
)
from trio440 import lsp
from trio440.lsp.message import Ack, Connect, Data, encode
from trio440.sim.net import SimNet

PARAMS = lsp.Params(5, 1000, 10, 0, 10)


class Boom(Exception):
    """Raised by a test and by nothing else."""


@asynccontextmanager
async def open_served(
    count: int = 1, *, seed: int = 0, params: lsp.Params = PARAMS
) -> AsyncIterator[tuple[LspWorld, lsp.Server, list[lsp.Client]]]:
    """Open a world with clients; their connections have the ids 1 to ``count``."""
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(count, params) as clients,
    ):
        yield world, server, clients


# Losses and closed connections


async def test_a_loss_is_reported_once_and_behind_what_arrived() -> None:
    async with open_served(2) as (world, server, clients):
        for text in (b"one", b"two"):
            clients[0].write(text)
        await trio.sleep(0.1)
        gone = server.remote_address(1)
        world.cut(lambda packet: packet.client == gone)
        await trio.sleep(6)
        assert server.conn_ids == (2,)
        assert server.statistics().lost == 1
        assert [await server.read(), await server.read()] == [(1, b"one"), (1, b"two")]
        with pytest.raises(lsp.ConnectionLost) as caught:
            await server.read()
        assert caught.value.conn_id == 1
        assert await collect(server.read, seconds=10) == []
        with pytest.raises(lsp.UnknownConnection):
            server.write(1, b"late")
        with pytest.raises(lsp.UnknownConnection):
            server.close_conn(1)
        server.write(2, b"still here")
        assert await clients[1].read() == b"still here"


async def test_a_waiting_read_hears_of_a_closed_connection_at_once() -> None:
    async with open_served() as (world, server, _clients):

        async def read() -> None:
            with pytest.raises(lsp.ConnectionClosed) as caught:
                await server.read()
            assert caught.value.conn_id == 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            start = world.now()
            server.close_conn(1)
        assert world.now() == start
        with pytest.raises(lsp.UnknownConnection):
            server.close_conn(1)
        with pytest.raises(lsp.UnknownConnection):
            server.write(1, b"late")
        with pytest.raises(lsp.UnknownConnection):
            await server.send(1, b"late")
        assert await collect(server.read, seconds=10) == []


async def test_messages_of_a_connection_closed_here_are_not_handed_out() -> None:
    async with open_served(2) as (world, server, clients):
        clients[0].write(b"unread")
        await trio.sleep(0.1)
        world.cut(lambda packet: is_ack(packet) and not packet.from_server)
        server.write(1, b"keeps the connection flushing")
        server.close_conn(1)
        clients[0].write(b"arrives during the flush")
        clients[1].write(b"of another")
        with pytest.raises(lsp.ConnectionClosed):
            await server.read()
        assert await server.read() == (2, b"of another")
        await trio.sleep(0.1)
        assert clients[0].statistics().outstanding == 0
        world.mend()
        assert await collect(server.read, seconds=10) == []
        assert await read_to_loss(clients[0]) == [b"keeps the connection flushing"]


async def test_what_was_written_before_close_conn_is_delivered() -> None:
    params = lsp.Params(5, 1000, 1, 0, 1)
    async with open_served(params=params) as (world, server, clients):
        texts = world.texts(20)
        for text in texts:
            server.write(1, text)
        server.close_conn(1)
        assert await read_to_loss(clients[0]) == texts


@seeds(3)
async def test_busy_connections_do_not_shut_out_another(seed: int) -> None:
    async with open_served(3, seed=seed) as (world, server, clients):
        for client in clients[:2]:
            for text in world.texts(10):
                client.write(text)
        clients[2].write(b"a single one")
        await trio.sleep(0.5)
        turns = [(await server.read())[0] for _ in range(21)]
        assert turns.index(3) < 3


# Closing the server


async def test_closing_an_idle_server_takes_no_time_and_ends_its_reads() -> None:
    async with open_world(0) as world:
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        async with world.open_server(PARAMS) as server:

            async def read() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await server.read()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                await server.close()
            assert world.now() == 0
            await read()
            await server.close()
            assert world.network.open_endpoints == []
            assert trio.lowlevel.current_statistics().tasks_living == before


async def test_close_flushes_every_connection() -> None:
    params = lsp.Params(5, 1000, 1, 0, 1)
    async with open_served(3, params=params) as (world, server, clients):
        texts = [world.texts(10) for _ in clients]
        for client, mine in zip(clients, texts, strict=True):
            for text in mine:
                server.write(client.conn_id, text)
        await server.close()
        assert server.conn_ids == ()
        with pytest.raises(lsp.UnknownConnection):
            server.write(1, b"late")
        assert await together(read_to_loss(client) for client in clients) == texts


async def test_close_names_the_connections_it_lost_while_flushing() -> None:
    async with open_served(3) as (world, server, clients):
        gone = {server.remote_address(conn_id) for conn_id in (1, 3)}
        world.cut(lambda packet: packet.client in gone)
        for client in clients:
            server.write(client.conn_id, b"last words")
        start = world.now()
        with pytest.raises(lsp.FlushFailed) as caught:
            await server.close()
        assert 4.0 < world.now() - start < 5.1
        assert sorted(caught.value.conn_ids) == [1, 3]
        await server.close()
        assert await clients[1].read() == b"last words"


async def test_leaving_the_context_says_so_too_and_bare() -> None:
    async with open_world(0) as world:

        async def fail_to_flush() -> None:
            async with world.open_server(PARAMS) as server, world.connect(PARAMS):
                server.write(1, b"last words")
                world.switch_off()

        with pytest.raises(lsp.FlushFailed):
            await fail_to_flush()


async def test_a_client_gone_with_nothing_pending_does_not_spoil_the_close() -> None:
    async with open_served(2) as (world, server, clients):
        await clients[0].close()
        start = world.now()
        await server.close()
        assert world.now() == start


@seeds(3)
async def test_a_cancelled_close_aborts_everything_at_once(seed: int) -> None:
    async with open_served(3, seed=seed) as (world, server, clients):
        world.cut(is_ack)
        for client in clients:
            server.write(client.conn_id, b"pending")
        with trio.move_on_after(world.rng.uniform(0, 3)) as scope:
            await server.close()
        assert scope.cancelled_caught
        cut = world.now()
        assert "udp 10.0.0.1:9999" not in world.network.open_endpoints
        await trio.sleep(3)
        assert world.packets(lambda packet: packet.from_server and packet.time > cut) == []


async def test_a_reader_outside_the_context_ends_when_it_is_left_by_an_exception() -> None:
    async def read(server: lsp.Server) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await server.read()
        with pytest.raises(lsp.UnknownConnection):
            server.write(1, b"late")

    async with open_world(0) as world:
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:

                async def fail() -> None:
                    async with world.open_server(PARAMS) as server, world.connect(PARAMS):
                        nursery.start_soon(read, server)
                        await wait_all_tasks_blocked()
                        raise Boom

                with pytest.raises(Boom):
                    await fail()


# Connects, said by hand


async def test_a_second_connect_is_acknowledged_again() -> None:
    async with open_served() as (world, server, _clients), world.open_peer() as peer:
        assert await peer.ask(Connect(40)) == [Ack(2, 40)]
        assert await peer.ask(Connect(40), Connect(77)) == [Ack(2, 40)] * 2
        assert await peer.ask(Data.of(2, 41, b"x")) == [Ack(2, 41)]
        assert await peer.ask(Connect(40)) == [Ack(2, 40)]
        assert await server.read() == (2, b"x")
        assert server.conn_ids == (1, 2)


async def test_after_a_loss_the_same_address_gets_a_new_connection() -> None:
    async with open_served(0) as (world, server, _), world.open_peer() as peer:
        assert await peer.ask(Connect(40)) == [Ack(1, 40)]
        assert await peer.ask(Data.of(1, 41, b"of the first")) == [Ack(1, 41)]
        await trio.sleep(5.5)
        await peer.ask()
        assert await peer.ask(Connect(90)) == [Ack(2, 90)]
        assert await peer.ask(Data.of(2, 91, b"of the second")) == [Ack(2, 91)]
        assert await peer.ask(Data.of(1, 42, b"of the first, late")) == []
        assert server.conn_ids == (2,)
        assert await server.read() == (1, b"of the first")
        assert await server.read() == (2, b"of the second")
        with pytest.raises(lsp.ConnectionLost) as caught:
            await server.read()
        assert caught.value.conn_id == 1


async def test_a_connect_during_a_flush_belongs_to_the_old_connection() -> None:
    async with open_served(0) as (world, server, _), world.open_peer() as peer:
        assert await peer.ask(Connect(40)) == [Ack(1, 40)]
        server.write(1, b"pending")
        server.close_conn(1)
        assert await peer.ask(Connect(40)) == [Data.of(1, 41, b"pending"), Ack(1, 40)]
        assert await peer.ask(Connect(50)) == [Ack(1, 40)]
        assert await peer.ask(Ack(1, 41)) == []
        assert await peer.ask(Connect(50)) == [Ack(2, 50)]
        assert server.conn_ids == (2,)


async def test_no_connection_begins_while_the_server_is_closed() -> None:
    async with (
        open_served(0) as (world, server, _),
        world.open_peer() as peer,
        world.open_peer() as newcomer,
    ):
        assert await peer.ask(Connect(40)) == [Ack(1, 40)]
        server.write(1, b"pending")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.close)
            assert await newcomer.ask(Connect(60)) == []
            assert await peer.ask(Connect(40)) == [Data.of(1, 41, b"pending"), Ack(1, 40)]
            peer.say(Ack(1, 41))
        assert await newcomer.ask(Connect(60)) == []
        assert server.statistics().dropped["closing"] == 1


# A process that stalls


async def stall(seconds: float) -> None:
    """Let time pass without letting any task run, then let them all."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    clock.jump(seconds)
    await wait_all_tasks_blocked()


async def test_what_is_readable_is_handled_before_a_tick() -> None:
    params = lsp.Params(2, 1000)
    async with open_served(0, params=params) as (world, server, _), world.open_peer() as peer:
        assert await peer.ask(Connect(40)) == [Ack(1, 40)]
        net = world.server_ports.net
        assert isinstance(net, SimNet)
        for _ in range(30):
            net.arrive_datagram(encode(Ack(1, 0)), peer.address, SERVER, ("", 0))
            await stall(1.0)
            assert server.conn_ids == (1,)


async def test_ticks_missed_in_a_stall_count_as_one() -> None:
    params = lsp.Params(3, 1000)
    async with open_served(0, params=params) as (world, server, _), world.open_peer() as peer:
        assert await peer.ask(Connect(40)) == [Ack(1, 40)]
        for _ in range(2):
            await stall(100.0)
            assert server.conn_ids == (1,)
        await stall(1.0)
        assert server.conn_ids == ()
