"""Peers that stay alive and acknowledge nothing: what they cost, and how to get rid of them."""

import pytest
import trio

from tests.support.lsp_world import LspWorld, RawPeer, is_ack, open_world, running
from trio440 import lsp
from trio440.cli.echo import echo_forever
from trio440.lsp.message import Ack, Connect, Data
from trio440.lsp.params import MESSAGE_OVERHEAD

PARAMS = lsp.Params(5, 1000, 10, 0, 10)
HUNDRED = 100 + MESSAGE_OVERHEAD
LIMITS = lsp.Limits(send_buffer=5 * HUNDRED, receive_buffer=5 * HUNDRED)


def say_nothing(_line: str) -> None:
    """Take an echo server's words."""


async def beat(peer: RawPeer) -> None:
    while True:
        peer.say(Ack(1, 0))
        await trio.sleep(1)


async def flood(peer: RawPeer, messages: int) -> int:
    """Send Data in order, each until it is acknowledged; return how many were."""
    for number in range(1, messages + 1):
        answers = await peer.ask(Data.of(1, number, b"x" * 100))
        if not any(answer == Ack(1, number) for answer in answers):
            return number - 1
    return messages


async def test_the_echo_server_does_not_read_from_a_peer_that_never_acknowledges() -> None:
    async with open_world(0) as world, world.open_server(PARAMS, LIMITS) as server:
        async with (
            running(echo_forever, server, say_nothing),
            world.open_peer() as peer,
            running(beat, peer),
        ):
            assert await peer.ask(Connect(0)) == [Ack(1, 0)]
            assert await flood(peer, 100) == 5 + 1 + 5  # sent back, waiting to be, unread
            await trio.sleep(100)
            statistics = server.connection_statistics(1)
            assert statistics.send_buffered == 5 * HUNDRED
            assert statistics.receive_buffered == 5 * HUNDRED
            async with world.connect(PARAMS) as other:
                other.write(b"still served")
                assert await other.read() == b"still served"
        server.abort()


async def test_the_echo_server_goes_on_when_echoes_are_acknowledged_again() -> None:
    async with (
        open_world(1) as world,
        world.open_server(PARAMS, LIMITS) as server,
        running(echo_forever, server, say_nothing),
        world.connect(PARAMS) as client,
    ):
        texts = [b"%3d" % number + b"x" * 97 for number in range(60)]
        world.cut(lambda packet: not packet.from_server and is_ack(packet))
        for text in texts:
            client.write(text)
        await trio.sleep(3.5)
        statistics = server.connection_statistics(1)
        assert statistics.send_buffered == 5 * HUNDRED
        assert 5 * HUNDRED <= statistics.receive_buffered <= 10 * HUNDRED
        assert statistics.dropped["receive buffer full"]
        world.mend()
        assert [await client.read() for _ in texts] == texts


async def test_a_paused_connection_is_passed_over_until_it_is_resumed() -> None:
    async with (
        open_world(2) as world,
        world.open_server(PARAMS) as server,
        world.connect(PARAMS) as first,
        world.connect(PARAMS) as second,
    ):
        first.write(b"a")
        await trio.sleep(0.1)
        server.pause_reading(1)
        server.pause_reading(1)
        first.write(b"b")
        await trio.sleep(0.1)
        second.write(b"c")
        assert await server.read() == (2, b"c")
        with trio.move_on_after(1) as scope:
            await server.read()
        assert scope.cancelled_caught
        server.resume_reading(1)
        server.resume_reading(1)
        assert [await server.read() for _ in range(2)] == [(1, b"a"), (1, b"b")]
        with pytest.raises(lsp.UnknownConnection):
            server.pause_reading(3)


async def test_a_paused_connection_that_is_lost_is_read_to_its_end() -> None:
    async with open_world(3) as world, world.open_server(PARAMS) as server:
        for unread in (2, 0):
            async with world.connect(PARAMS) as client:
                conn_id = client.conn_id
                for _ in range(unread):
                    client.write(b"unread")
                await trio.sleep(0.1)
                server.pause_reading(conn_id)
            with trio.fail_after(6):
                for _ in range(unread):
                    assert await server.read() == (conn_id, b"unread")
                with pytest.raises(lsp.ConnectionLost):
                    await server.read()
            with pytest.raises(lsp.UnknownConnection):
                server.resume_reading(conn_id)


async def test_a_paused_connection_that_is_closed_here_says_so() -> None:
    async with (
        open_world(4) as world,
        world.open_server(PARAMS) as server,
        world.connect(PARAMS),
    ):
        server.pause_reading(1)
        server.close_conn(1)
        with trio.fail_after(1), pytest.raises(lsp.ConnectionClosed):
            await server.read()


def never_acknowledge(world: LspWorld) -> None:
    world.cut(lambda packet: is_ack(packet) and bool(packet.number))


async def test_closing_a_server_waits_for_a_living_peer_until_it_is_cancelled() -> None:
    async with open_world(5) as world, world.open_server(PARAMS) as server:
        async with world.open_peer() as peer:
            assert await peer.ask(Connect(0)) == [Ack(1, 0)]
            server.write(1, b"never acknowledged")
            async with running(beat, peer):
                with trio.move_on_after(500) as scope:
                    await server.close()
        assert scope.cancelled_caught
        assert world.network.open_endpoints == []


async def test_closing_a_client_waits_for_a_living_server_until_it_is_cancelled() -> None:
    async with (
        open_world(6) as world,
        world.open_server(PARAMS),
        world.connect(PARAMS) as client,
    ):
        never_acknowledge(world)
        client.write(b"never acknowledged")
        with trio.move_on_after(500) as scope:
            await client.close()
        assert scope.cancelled_caught
        assert client.statistics().state == "closed"
        assert world.network.open_endpoints == ["udp 10.0.0.1:9999"]
