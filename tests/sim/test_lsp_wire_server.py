"""Our LSP server on the wire: handshakes, identities and endings.

The clients are plain sockets that say what Go programs say.
"""

import pytest
import trio

from tests.support.lsp_wire import (
    ISN,
    PORT,
    ack,
    cack,
    connect,
    data,
    open_server,
    open_site,
    wire,
)
from trio440 import lsp


async def read_now(server: lsp.Server) -> tuple[int, bytes]:
    with trio.fail_after(0.001):
        return await server.read()


# Handshakes


async def test_ids_are_given_in_order_from_1_to_each_address() -> None:
    async with open_site() as site, open_server(site) as server:
        hosts = ["10.1.0.1", "10.1.0.1", "10.1.0.2", "10.1.0.3"]
        peers = [await site.peer(host) for host in hosts]
        for number, peer in enumerate(peers, start=1):
            assert await peer.say(connect(number * 100)) == [ack(number, number * 100)]
        assert server.conn_ids == (1, 2, 3, 4)
        for number, peer in enumerate(peers, start=1):
            sent = data(number, number * 100 + 1, b"mine")
            assert await peer.say(sent) == [ack(number, number * 100 + 1)]
            assert await read_now(server) == (number, b"mine")
            assert server.remote_address(number) == peer.address


@pytest.mark.parametrize("isn", [0, 1, 256, 65_535, 131_071, 2**31 - 1, 2**32 - 1])
async def test_any_32_bits_are_an_initial_number(isn: int) -> None:
    async with open_site() as site, open_server(site) as server:
        peer = await site.peer()
        assert await peer.say(connect(isn)) == [ack(1, isn)]
        assert await peer.say(data(1, isn + 1, b"to")) == [ack(1, isn + 1)]
        assert await read_now(server) == (1, b"to")
        server.write(1, b"fro")
        assert await peer.hear() == [data(1, isn + 1, b"fro")]


@pytest.mark.parametrize("isn", [-1, 2**32, 2**63 - 1])
async def test_more_than_32_bits_are_no_initial_number(isn: int) -> None:
    async with open_site() as site, open_server(site) as server:
        peer = await site.peer()
        assert await peer.say(connect(isn)) == []
        assert server.conn_ids == ()


CONNECTS = {
    "{}": 0,
    '{"Type":0}': 0,
    '{"type":0,"SEQNUM":17}': 17,
    ' {"SeqNum":17,"Extra":{"Type":1}} ': 17,
    '{"Type":null,"ConnID":null,"SeqNum":17,"Size":null,"Checksum":null,"Payload":null}': 17,
    wire(0, 0, 17, 0, 0, '""'): 17,
    wire(0, 0, 17, 0, 65535, '"aGk="'): 17,
}


@pytest.mark.parametrize(("sent", "isn"), CONNECTS.items())
async def test_a_connect_is_taken_in_every_form_that_go_takes(sent: str, isn: int) -> None:
    async with open_site() as site, open_server(site) as server:
        peer = await site.peer()
        assert await peer.say(sent) == [ack(1, isn)]
        assert server.conn_ids == (1,)


async def test_a_second_connect_is_acknowledged_again_with_the_original_number() -> None:
    async with open_site() as site, open_server(site) as server:
        peer = await site.peer()
        assert await peer.say(connect(ISN)) == [ack(1, ISN)]
        assert await peer.say(connect(ISN), connect(99)) == [ack(1, ISN), ack(1, ISN)]
        assert await peer.say(data(1, ISN + 1, b"x")) == [ack(1, ISN + 1)]
        assert await peer.say(connect(99)) == [ack(1, ISN)]
        assert await peer.say(data(1, ISN + 2, b"y")) == [ack(1, ISN + 2)]
        assert server.conn_ids == (1,)
        assert [await read_now(server), await read_now(server)] == [(1, b"x"), (1, b"y")]


NO_CONNECTS = [
    "null",
    "hello",
    "[]",
    data(1, 1, b"x"),
    ack(1, 0),
    ack(1, 1),
    cack(1, 1),
    '{"Type":5}',
]


@pytest.mark.parametrize("sent", NO_CONNECTS)
async def test_nothing_but_a_connect_begins_a_connection(sent: str) -> None:
    async with open_site() as site, open_server(site) as server:
        peer = await site.peer()
        assert await peer.say(sent) == []
        assert server.conn_ids == ()
        assert await peer.say(connect(ISN)) == [ack(1, ISN)]


async def test_the_first_numbers_on_the_wire_are_isn_and_isn_plus_1_twice() -> None:
    async with open_site() as site, open_server(site) as server:
        for isn in range(1, 257, 5):
            peer = await site.peer()
            [answer] = await peer.say(connect(isn))
            conn_id = server.conn_ids[-1]
            assert answer == ack(conn_id, isn)
            server.write(conn_id, b"x")
            assert await peer.hear() == [data(conn_id, isn + 1, b"x")]
            assert await peer.say(data(conn_id, isn + 1, b"y")) == [ack(conn_id, isn + 1)]


# Identities


async def test_two_sockets_of_one_machine_are_two_connections() -> None:
    async with open_site() as site, open_server(site) as server:
        one, two = await site.peer("10.1.0.1"), await site.peer("10.1.0.1")
        assert await one.say(connect(1)) == [ack(1, 1)]
        assert await two.say(connect(1)) == [ack(2, 1)]
        assert await two.say(data(1, 2, b"in the other's name")) == []
        assert await one.say(data(2, 2, b"in the other's name")) == []
        server.write(2, b"for two")
        assert (await one.hear(), await two.hear()) == ([], [data(2, 2, b"for two")])


async def test_no_address_can_speak_or_acknowledge_for_another() -> None:
    async with open_site() as site, open_server(site) as server:
        victim, attacker = await site.peer("10.1.0.1"), await site.peer("10.1.0.2")
        await victim.say(connect(ISN))
        await attacker.say(connect(ISN))
        server.write(1, b"for the victim")
        assert await victim.hear() == [data(1, ISN + 1, b"for the victim")]
        assert (
            await attacker.say(ack(1, ISN + 1), cack(1, ISN + 1), data(1, ISN + 1, b"evil")) == []
        )
        assert server.connection_statistics(1).outstanding == 1
        assert server.connection_statistics(1).received == 0


async def test_after_a_loss_the_same_address_gets_a_new_id() -> None:
    async with open_site() as site, open_server(site) as server:
        peer = await site.peer()
        assert await peer.say(connect(ISN)) == [ack(1, ISN)]
        with pytest.raises(lsp.ConnectionLost) as caught:
            await server.read()
        assert (caught.value.conn_id, trio.current_time()) == (1, 10.0)
        await peer.hear()
        assert await peer.say(data(1, ISN + 1, b"of the past"), ack(1, 0)) == []
        assert await peer.say(connect(5)) == [ack(2, 5)]
        assert await peer.say(data(1, 6, b"of the past")) == []
        assert await peer.say(data(2, 6, b"new")) == [ack(2, 6)]
        assert await read_now(server) == (2, b"new")


async def test_each_loss_is_reported_once_and_the_others_live_on() -> None:
    async with open_site() as site, open_server(site) as server:
        peers = [await site.peer(f"10.1.0.{number}") for number in (1, 2, 3)]
        for peer in peers:
            await peer.say(connect(0))
        for second in (3, 5, 7, 9):
            await trio.sleep_until(second)
            await peers[1].say(ack(2, 0))
        lost = []
        for _ in range(2):
            with pytest.raises(lsp.ConnectionLost) as caught:
                await server.read()
            lost.append(caught.value.conn_id)
        assert sorted(lost) == [1, 3]
        assert trio.current_time() == 10.0
        assert (await peers[1].say(data(2, 1, b"here")))[-1] == ack(2, 1)
        assert await read_now(server) == (2, b"here")


# Endings


async def test_a_connect_while_flushing_is_acknowledged_and_later_begins_anew() -> None:
    async with open_site() as site, open_server(site) as server:
        peer = await site.peer()
        await peer.say(connect(ISN))
        server.write(1, b"1")
        server.close_conn(1)
        assert await peer.hear() == [data(1, ISN + 1, b"1")]
        assert await peer.say(connect(99)) == [ack(1, ISN)]
        assert await peer.say(ack(1, ISN + 1)) == []
        assert await peer.say(connect(99)) == [ack(2, 99)]
        assert server.conn_ids == (2,)


async def test_closing_an_idle_connection_ends_it_at_once() -> None:
    async with open_site() as site, open_server(site) as server:
        peer = await site.peer()
        await peer.say(connect(ISN))
        server.close_conn(1)
        with pytest.raises(lsp.ConnectionClosed):
            await read_now(server)
        assert await peer.say(connect(ISN)) == [ack(2, ISN)]


async def test_closing_the_server_flushes_refuses_newcomers_and_falls_silent() -> None:
    async with open_site() as site:
        ended_at: list[float] = []

        async def serve(task_status: trio.TaskStatus[lsp.Server]) -> None:
            async with lsp.open_server(PORT, host="10.0.0.1", ports=site.ports) as server:
                task_status.started(server)
                await closing.wait()
            ended_at.append(trio.current_time())

        closing = trio.Event()
        peer, newcomer = await site.peer("10.1.0.1"), await site.peer("10.1.0.2")
        async with trio.open_nursery() as nursery:
            server: lsp.Server = await nursery.start(serve)
            await peer.say(connect(ISN))
            for number in (1, 2, 3):
                server.write(1, b"%d" % number)
            assert await peer.hear() == [data(1, ISN + 1, b"1")]
            closing.set()
            assert await newcomer.say(connect(0)) == []
            assert await peer.say(connect(ISN)) == [ack(1, ISN)]
            assert await peer.say(data(1, ISN + 1, b"unread")) == [ack(1, ISN + 1)]
            assert await peer.say(ack(1, ISN + 1)) == [data(1, ISN + 2, b"2")]
            await trio.sleep_until(2.5)
            assert await peer.hear() == [data(1, ISN + 2, b"2")]
            assert await peer.say(cack(1, ISN + 2)) == [data(1, ISN + 3, b"3")]
            assert await peer.say(ack(1, ISN + 3)) == []
        assert ended_at == [2.5]
        assert await peer.say(ack(1, 0), connect(ISN)) == []


async def test_leaving_the_server_by_an_error_sends_nothing_more() -> None:
    async with open_site() as site:
        peer = await site.peer()
        async with open_server(site) as server:
            await peer.say(connect(ISN))
            server.write(1, b"1")
            server.write(1, b"2")
            assert await peer.hear() == [data(1, ISN + 1, b"1")]
        assert await peer.say(ack(1, ISN + 1)) == []
        await trio.sleep(100)
        assert await peer.hear() == []


async def test_serve_gives_each_peer_a_handler_and_flushes_behind_it() -> None:
    async def shout(connection: lsp.Connection) -> None:
        await connection.send((await connection.receive()).upper())

    async with open_site() as site, trio.open_nursery() as nursery:
        one, two = await site.peer("10.1.0.1"), await site.peer("10.1.0.2")
        await nursery.start(
            lambda task_status: lsp.serve(
                shout, PORT, host="10.0.0.1", ports=site.ports, task_status=task_status
            )
        )
        assert await one.say(connect(0)) == [ack(1, 0)]
        assert await two.say(connect(50)) == [ack(2, 50)]
        assert await two.say(data(2, 51, b"two")) == [ack(2, 51), data(2, 51, b"TWO")]
        assert await one.say(data(1, 1, b"one")) == [ack(1, 1), data(1, 1, b"ONE")]
        assert await one.say(connect(0)) == [ack(1, 0)]
        assert await one.say(ack(1, 1)) == []
        assert await one.say(connect(0)) == [ack(3, 0)]
        await trio.sleep(2.5)
        assert await two.hear() == [data(2, 51, b"TWO")]
        nursery.cancel_scope.cancel()
