"""How a client's connection ends: flushed, lost, cancelled or left by an exception."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.lsp_world import (
    LspWorld,
    Packet,
    is_ack,
    open_pair,
    open_world,
    seeds,
)
from trio440 import lsp
from trio440.lsp.message import Ack, Data

PARAMS = lsp.Params(5, 1000, 10, 0, 10)
ONE_AT_A_TIME = lsp.Params(5, 1000, 1, 0, 1)


class Boom(Exception):
    """Raised by a test and by nothing else."""


def from_clients(world: LspWorld, since: float) -> list[Packet]:
    """Return what clients have sent after ``since``."""
    return world.packets(lambda packet: not packet.from_server and packet.time > since)


async def test_closing_an_idle_connection_takes_no_time_and_leaves_nothing() -> None:
    async with open_world(0) as world, world.open_server(PARAMS):
        await wait_all_tasks_blocked()
        before = tasks_living()
        async with world.connect(PARAMS) as client:
            await trio.sleep(0.5)
            start = world.now()
            await client.close()
            assert world.now() == start
            assert tasks_living() == before
            assert world.network.open_endpoints == ["udp 10.0.0.1:9999"]
            await client.close()
            await client.aclose()
            await trio.sleep(3)
            assert from_clients(world, start) == []
            assert client.conn_id == 1
            assert client.statistics().state == "closed"
        assert tasks_living() == before


def tasks_living() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def test_close_discards_what_is_unread() -> None:
    async with open_pair(PARAMS) as (_world, server, client):
        server.write(1, b"unread")
        await trio.sleep(0.1)
        assert client.statistics().unread == 1
        await client.close()
        with pytest.raises(lsp.ConnectionClosed):
            await client.read()


async def test_leaving_the_context_flushes() -> None:
    async with open_world(0) as world, world.open_server(ONE_AT_A_TIME) as server:
        texts = world.texts(20)
        async with world.connect(ONE_AT_A_TIME) as client:
            for text in texts:
                client.write(text)
        assert [await server.read() for _ in texts] == [(1, text) for text in texts]


async def test_close_waits_until_everything_is_acknowledged() -> None:
    async with open_pair(ONE_AT_A_TIME) as (world, server, client):
        for text in (b"a", b"b", b"c"):
            client.write(text)
        world.cut(lambda packet: packet.from_server and is_ack(packet))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.close)
            await trio.sleep(3.5)
            assert len(nursery.child_tasks) == 1
            world.mend()
        assert 4.0 < world.now() < 4.2
        assert [await server.read() for _ in range(3)] == [(1, b"a"), (1, b"b"), (1, b"c")]


async def test_close_reports_a_loss_once() -> None:
    async with open_pair(PARAMS) as (world, _server, client):
        client.write(b"never acknowledged")
        world.switch_off()
        start = world.now()
        with pytest.raises(lsp.ConnectionLost):
            await client.close()
        assert 4.0 < world.now() - start < 5.01
        await client.close()


async def test_leaving_a_context_with_a_loss_raises_it_bare() -> None:
    async with open_world(0) as world, world.open_server(PARAMS):

        async def use_a_client() -> None:
            async with world.connect(PARAMS) as client:
                client.write(b"never acknowledged")
                world.switch_off()

        with pytest.raises(lsp.ConnectionLost):
            await use_a_client()


async def test_a_loss_with_nothing_pending_is_no_error_of_close() -> None:
    async with open_pair(PARAMS) as (world, _server, client):
        world.switch_off()
        await trio.sleep(6)
        start = world.now()
        await client.close()
        assert world.now() == start


async def test_a_flushing_side_goes_on_acknowledging_resending_and_beating() -> None:
    params = lsp.Params(5, 1000, 10, 2, 10)
    async with open_pair(params) as (world, server, client):
        world.cut(lambda packet: packet.from_server and is_ack(packet))
        client.write(b"pending")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.close)
            await trio.sleep(1.5)
            start = world.now()
            for text in (b"to", b"be", b"acknowledged"):
                server.write(1, text)
                await trio.sleep(1.0)
            said = [packet.message for packet in from_clients(world, start)]
            assert len([m for m in said if isinstance(m, Ack) and m.seq_num]) == 3
            assert len([m for m in said if isinstance(m, Data)]) == 1
            assert len([m for m in said if m == Ack(1, 0)]) == 2
            assert server.connection_statistics(1).outstanding == 0
            world.mend()


@seeds(3)
async def test_a_cancelled_close_aborts_at_once_and_in_silence(seed: int) -> None:
    async with open_pair(PARAMS, seed=seed) as (world, server, client):
        world.cut(is_ack)
        client.write(b"pending")
        with trio.move_on_after(world.rng.uniform(0, 3)) as scope:
            await client.close()
        assert scope.cancelled_caught
        cut = world.now()
        assert world.network.open_endpoints == ["udp 10.0.0.1:9999"]
        assert client.statistics().state == "closed"
        assert client.statistics().outstanding == client.statistics().send_buffered == 0
        await trio.sleep(3)
        assert from_clients(world, cut) == []
        with pytest.raises(lsp.ConnectionClosed):
            client.write(b"late")
        assert await server.read() == (1, b"pending")


async def test_leaving_by_an_exception_aborts_at_once_and_raises_it_bare() -> None:
    async with open_world(0) as world:
        before = tasks_living()

        async def fail() -> None:
            async with world.open_server(PARAMS) as server, world.connect(PARAMS) as client:
                world.switch_off()
                client.write(b"pending")
                server.write(1, b"pending too")
                await trio.sleep_until(2.5)
                raise Boom

        with pytest.raises(Boom):
            await fail()
        assert world.now() == 2.5
        assert tasks_living() == before
        assert world.network.open_endpoints == []
        await trio.sleep(5)
        assert world.packets(lambda packet: packet.time > 2.5) == []


async def test_leaving_by_cancellation_aborts_at_once() -> None:
    async with open_world(0) as world:
        before = tasks_living()
        with trio.move_on_after(2.5) as scope:
            async with world.open_server(PARAMS) as server, world.connect(PARAMS) as client:
                world.switch_off()
                client.write(b"pending")
                server.write(1, b"pending too")
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert world.now() == 2.5
        assert tasks_living() == before
        await trio.sleep(5)
        assert world.packets(lambda packet: packet.time > 2.5) == []


@seeds(2)
async def test_cancelling_the_handshake_leaves_nothing(seed: int) -> None:
    async with open_world(seed) as world:
        before = tasks_living()
        cancel_at = world.rng.uniform(0, 3)
        with trio.move_on_at(cancel_at) as scope:
            async with world.connect(PARAMS):
                pytest.fail("nobody is there to answer")
        assert scope.cancelled_caught
        assert world.now() == cancel_at
        assert tasks_living() == before
        assert world.network.open_endpoints == []
