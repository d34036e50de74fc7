"""Our LSP server among hostile peers: floods, spoofed senders, monsters, each limit reached.

Every test has an honest peer as well, which is served on, and checks that what the server keeps
stays within its limits.
"""

import gc
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.lsp_wire import (
    ISN,
    PORT,
    SERVER,
    Peer,
    Site,
    ack,
    cack,
    connect,
    data,
    open_rig,
    open_server,
    open_site,
    wire,
)
from trio440 import lsp
from trio440.core.host import Address


def somebody(number: int) -> Address:
    """An address that no machine here has, always another."""
    return (f"172.16.{number // 250 % 250}.{number % 250 + 1}", 1024 + number // 62_500)


@attrs.define
class Honest:
    """A peer whose connection the server must go on serving."""

    server: lsp.Server
    peer: Peer
    number: int = 0

    async def echo(self) -> None:
        """Send a message, see it acknowledged, read and echoed, byte for byte."""
        self.number += 1
        number = ISN + self.number
        text = b"honest %d" % self.number
        answers = [text for text in await self.peer.say(data(1, number, text)) if text != ack(1, 0)]
        assert answers == [ack(1, number)]
        with trio.fail_after(0.001):
            assert await self.server.read() == (1, text)
        self.server.write(1, text)
        assert await self.peer.hear() == [data(1, number, text)]
        assert await self.peer.say(ack(1, number)) == []


@asynccontextmanager
async def open_attacked(
    params: lsp.Params | None = None, limits: lsp.Limits | None = None
) -> AsyncIterator[tuple[Site, lsp.Server, Honest]]:
    """Open a server with one honest peer, connection 1, that has spoken."""
    async with open_site() as site, open_server(site, params, limits) as server:
        peer = await site.peer()
        assert await peer.say(connect(ISN)) == [ack(1, ISN)]
        honest = Honest(server, peer)
        await honest.echo()
        yield site, server, honest


async def inject(site: Site, text: str | bytes, source: Address) -> None:
    """Let a datagram arrive in anybody's name."""
    raw = text.encode() if isinstance(text, str) else text
    site.network.inject(raw, source, SERVER)


def said_to(site: Site, address: Address) -> list[str]:
    """What the server has sent to an address."""
    return [
        record.data.decode()
        for record in site.network.wire
        if record.source == SERVER and record.destination == address
    ]


# Limits


async def test_half_open_connections_are_bounded_and_the_oldest_makes_room() -> None:
    async with open_attacked(limits=lsp.Limits(max_half_open=3)) as (site, server, honest):
        peers = [await site.peer(f"10.1.0.{number}") for number in range(1, 6)]
        for number, peer in enumerate(peers[:3], start=2):
            assert await peer.say(connect(0)) == [ack(number, 0)]
        assert await peers[0].say(connect(0)) == [ack(2, 0)]  # which keeps it half-open
        assert server.statistics().half_open == 3
        assert await peers[3].say(connect(0)) == [ack(5, 0)]
        expected: tuple[int, ...] = (1, 3, 4, 5)
        assert server.conn_ids == expected
        assert server.statistics().half_open == 3
        assert await peers[0].say(data(2, 1, b"dropped")) == []
        assert await peers[1].say(data(3, 1, b"early enough")) == [ack(3, 1)]
        assert await server.read() == (3, b"early enough")
        assert await peers[4].say(connect(0)) == [ack(6, 0)]  # there was room
        expected = (1, 3, 4, 5, 6)
        assert server.conn_ids == expected
        assert await peers[0].say(connect(0)) == [ack(7, 0)]
        expected = (1, 3, 5, 6, 7)
        assert server.conn_ids == expected
        await honest.echo()


@pytest.mark.parametrize("sign", [ack(2, 0), cack(2, 0), ack(2, 9), data(2, 1, b"x", checksum=1)])
async def test_any_word_beyond_the_connect_establishes_a_connection(sign: str) -> None:
    async with open_attacked(limits=lsp.Limits(max_half_open=1)) as (site, server, honest):
        peer = await site.peer("10.1.0.1")
        assert await peer.say(connect(0)) == [ack(2, 0)]
        assert await peer.say(sign) == []
        for number in range(5):
            await inject(site, connect(0), somebody(number))
        await wait_all_tasks_blocked()
        assert server.conn_ids == (1, 2, 7)
        await honest.echo()


async def test_what_does_not_count_as_life_leaves_a_connection_half_open() -> None:
    async with open_attacked(limits=lsp.Limits(max_half_open=1)) as (site, server, honest):
        peer = await site.peer("10.1.0.1")
        assert await peer.say(connect(0)) == [ack(2, 0)]
        assert await peer.say("garbage", ack(3, 0), data(2, 1, b"x", size=2), "null") == []
        await inject(site, connect(0), somebody(1))
        await wait_all_tasks_blocked()
        assert server.conn_ids == (1, 3)
        await honest.echo()


async def test_connections_are_bounded_and_newcomers_hear_nothing() -> None:
    limits = lsp.Limits(max_connections=3, max_half_open=3)
    async with open_attacked(limits=limits) as (site, server, honest):
        peers = [await site.peer(f"10.1.0.{number}") for number in range(1, 5)]
        for number, peer in enumerate(peers[:2], start=2):
            assert await peer.say(connect(0)) == [ack(number, 0)]
            assert await peer.say(ack(number, 0)) == []
        assert await peers[2].say(connect(0), connect(0)) == []
        assert server.statistics().dropped == {"too many connections": 2}
        assert server.conn_ids == (1, 2, 3)
        await honest.echo()
        server.close_conn(2)
        with pytest.raises(lsp.ConnectionClosed):
            await server.read()
        assert await peers[2].say(connect(0)) == [ack(4, 0)]
        assert await peers[3].say(connect(0)) == []
        await honest.echo()


async def test_losses_that_nobody_reads_count_until_they_are_read() -> None:
    limits = lsp.Limits(max_connections=2, max_half_open=2)
    async with open_attacked(limits=limits) as (site, server, honest):
        await inject(site, connect(0), somebody(1))
        for second in range(1, 12, 2):
            await trio.sleep_until(second)
            await honest.peer.say(ack(1, 0))
        assert server.conn_ids == (1,)
        newcomer = await site.peer("10.1.0.1")
        assert await newcomer.say(connect(0)) == []
        with pytest.raises(lsp.ConnectionLost):
            await server.read()
        assert await newcomer.say(connect(0)) == [ack(3, 0)]
        await honest.echo()


@pytest.mark.slow
async def test_at_the_default_limits_a_flood_of_connects_leaves_room_for_others() -> None:
    async with open_attacked() as (site, server, honest):
        site.network.recording = False
        site.network.udp_queue_limit = 100_000
        for number in range(5_000):
            await inject(site, connect(number), somebody(number))
        await wait_all_tasks_blocked()
        statistics = server.statistics()
        assert statistics.half_open == 1024
        assert statistics.connections == len(server.conn_ids) == 1025
        assert statistics.accepted == 5_001
        await honest.echo()
        newcomer = await site.peer("10.1.0.1")
        conn_id = 5_002
        assert await newcomer.say(connect(0)) == [ack(conn_id, 0)]
        assert await newcomer.say(data(conn_id, 1, b"new")) == [ack(conn_id, 1)]
        assert await server.read() == (conn_id, b"new")


async def test_established_connections_up_to_the_limit_shut_out_half_open_ones_only() -> None:
    limits = lsp.Limits(max_connections=50, max_half_open=10)
    async with open_attacked(limits=limits) as (site, server, honest):
        site.network.udp_queue_limit = 10_000
        for number in range(500):
            await inject(site, connect(0), somebody(number))
            for conn_id in (number + 2, len(server.conn_ids) + 1):
                await inject(site, ack(conn_id, 0), somebody(number))
        await wait_all_tasks_blocked()
        statistics = server.statistics()
        assert statistics.connections <= 50
        assert statistics.half_open <= 10
        await honest.echo()


async def test_a_receive_buffer_that_is_full_stops_its_own_connection_only() -> None:
    params = lsp.Params(window_size=100, max_unacked_messages=100)
    limits = lsp.Limits(receive_buffer=10 * (500 + 64))
    async with open_attacked(params, limits) as (site, server, honest):
        greedy = await site.peer("10.1.0.1")
        await greedy.say(connect(0))
        sent = [data(2, number, bytes(500)) for number in range(1, 101)]
        taken = [*range(1, 11), *range(12, 22)]  # and ten that wait for the eleventh
        assert await greedy.say(*sent) == [ack(2, number) for number in taken]
        assert await greedy.say(sent[10], *sent[21:]) == []
        statistics = server.connection_statistics(2)
        assert statistics.receive_buffered == 2 * limits.receive_buffer
        assert statistics.dropped == {"receive buffer full": 80 + 80}
        for _ in range(10):
            assert await server.read() == (2, bytes(500))
        await honest.echo()
        assert await greedy.say(*sent[10:13]) == [ack(2, number) for number in (11, 12, 13)]


async def test_data_that_waits_for_a_gap_is_bounded_too() -> None:
    params = lsp.Params(window_size=1000, max_unacked_messages=1000)
    limits = lsp.Limits(receive_buffer=10 * (500 + 64))
    async with open_attacked(params, limits) as (site, server, honest):
        greedy = await site.peer("10.1.0.1")
        await greedy.say(connect(0))
        early = [data(2, number, bytes(500)) for number in range(2, 1001)]
        assert await greedy.say(*early) == [ack(2, number) for number in range(2, 12)]
        assert server.connection_statistics(2).receive_buffered <= limits.receive_buffer
        assert await greedy.say(data(2, 1, b"the gap")) == [ack(2, 1)]
        assert await server.read() == (2, b"the gap")
        for _ in range(10):
            assert await server.read() == (2, bytes(500))
        await honest.echo()


async def test_a_handler_that_does_not_read_does_not_stop_the_others() -> None:
    async def handle(connection: lsp.Connection) -> None:
        if connection.conn_id == 1:
            await trio.sleep_forever()
        async for message in connection:
            await connection.send(message.upper())

    params = lsp.Params(window_size=1000, max_unacked_messages=1000)
    limits = lsp.Limits(receive_buffer=10 * (500 + 64))
    async with open_site() as site, trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: lsp.serve(
                handle,
                PORT,
                host=SERVER[0],
                params=params,
                limits=limits,
                ports=site.ports,
                task_status=task_status,
            )
        )
        greedy, honest = await site.peer("10.1.0.1"), await site.peer("10.1.0.2")
        await greedy.say(connect(0))
        await honest.say(connect(0))
        sent = [data(1, number, bytes(500)) for number in range(1, 1000)]
        assert len(await greedy.say(*sent)) == 20
        assert await honest.say(data(2, 1, b"hi")) == [ack(2, 1), data(2, 1, b"HI")]
        nursery.cancel_scope.cancel()


# Floods


def everything_bad(rng: random.Random) -> bytes:
    """A datagram that ranges from noise to nearly right."""
    honest = [
        connect(rng.getrandbits(32)),
        data(rng.randint(0, 5), rng.randint(0, 30), rng.randbytes(rng.randint(0, 40))),
        ack(rng.randint(-1, 5), rng.randint(-1, 2**63)),
        cack(rng.randint(0, 5), rng.getrandbits(64)),
        wire(rng.randint(-3, 9), 1, ISN + 1, rng.randint(-(2**63), 2**63), 0, '"aGk="'),
        "[" * rng.randint(1, 2000),
        '{"Type":' * rng.randint(1, 200),
        "9" * rng.randint(1, 2000),
        '"' + "\\u0000" * rng.randint(1, 300),
    ]
    raw = bytearray(rng.choice(honest).encode())
    for _ in range(rng.choice([0, 0, 1, 3, 20])):
        raw[rng.randrange(len(raw))] = rng.getrandbits(8)
    return bytes(raw[: rng.choice([len(raw), len(raw), rng.randint(0, len(raw))])])


@pytest.mark.parametrize("seed", range(5))
async def test_noise_from_everywhere_raises_nothing_and_stops_nobody(seed: int) -> None:
    rng = random.Random(seed)
    limits = lsp.Limits(max_connections=20, max_half_open=5)
    async with open_attacked(limits=limits) as (site, server, honest):
        site.network.recording = False
        for _ in range(100):
            for _ in range(20):
                await inject(site, everything_bad(rng), somebody(rng.randrange(30)))
            await honest.echo()
        statistics = server.statistics()
        assert statistics.datagrams_received > 2000
        assert statistics.connections <= 20
        assert statistics.half_open <= 5
        assert statistics.dropped["no message"] > 500


@pytest.mark.parametrize("role", ["server", "client"])
async def test_noise_in_the_name_of_the_peer_does_not_break_the_connection(role: str) -> None:
    rng = random.Random(1)
    async with open_rig("client" if role == "client" else "server") as rig:
        for number in range(1, 101):
            noise = [everything_bad(rng) for _ in range(10)]
            harmless = [raw for raw in noise if f'"ConnID":{rig.conn_id},'.encode() not in raw]
            await rig.say(*harmless)
            assert await rig.say(rig.data(number, b"%d" % number)) == [rig.ack(number)]
        assert await rig.readable() == [b"%d" % number for number in range(1, 101)]


async def test_a_flood_does_not_stop_the_clock() -> None:
    async with open_attacked() as (site, server, honest):
        site.network.recording = False
        heard: list[tuple[float, str]] = []
        for step in range(1, 121):
            await trio.sleep_until(step / 10)
            for number in range(40):
                await inject(site, "[" * 500, somebody(number))
            if step % 20 == 10:
                await honest.peer.say(ack(1, 0))
            heard += [(trio.current_time(), text) for text in await honest.peer.hear()]
        assert [text for _, text in heard] == [ack(1, 0)] * 5
        assert [round(time) for time, _ in heard] == [4, 6, 8, 10, 12]
        assert server.conn_ids == (1,)


MONSTERS: dict[str, Callable[[], bytes]] = {
    "65507 bytes of blanks": lambda: b" " * 65_507,
    "65507 bytes of brackets": lambda: b"[" * 65_507,
    "65507 bytes of digits": lambda: b"9" * 65_507,
    "65507 bytes of zeros": lambda: bytes(65_507),
    "a valid message of 2001 bytes": lambda: connect(0).ljust(2001).encode(),
    "2000 brackets": lambda: b"[" * 2000,
    "2000 braces": lambda: b'{"a":' * 400,
    "nested 990 deep": lambda: b'{"X":' + b"[" * 990 + b"]" * 990 + b"}",
    "a number of 1900 digits": lambda: b'{"Type":0,"SeqNum":' + b"9" * 1900 + b"}",
    "an exponent": lambda: b'{"Type":0,"SeqNum":1e999999999}',
    "three hundred keys": lambda: b'{"Type":9' + b',"k":[]' * 280 + b"}",
    "the same key three hundred times": lambda: b'{"Type":9' + b',"type":9' * 200 + b"}",
    "an unfinished string": lambda: b'"' + b"\\" * 1999,
    "surrogates": lambda: b'{"Type":9,"\\ud800":"\\udfff"}',
    "not UTF-8": lambda: b'{"Type":9,"\xff":"\xfe"}',
    "a size of 2**63-1": lambda: wire(1, 1, ISN + 2, 2**63 - 1, 0, '"aGk="').encode(),
    "a size of -2**63": lambda: wire(1, 1, ISN + 2, -(2**63), 0, '"aGk="').encode(),
    "a million small numbers": lambda: b'{"Type":9,"Payload":[' + b"0," * 950 + b"0]}",
}


@pytest.mark.parametrize("monster", MONSTERS.values(), ids=MONSTERS)
async def test_monsters_are_dropped_unanswered(monster: Callable[[], bytes]) -> None:
    async with open_attacked() as (site, server, honest):
        monsters = await site.peer("10.1.0.1")
        for _ in range(20):
            assert await monsters.say(monster()) == []
        assert await honest.peer.say(monster()) == []
        assert server.conn_ids == (1,)
        await honest.echo()


# Spoofed senders


async def test_words_in_the_name_of_an_honest_peer_need_its_id() -> None:
    async with open_attacked() as (site, server, honest):
        server.write(1, b"outstanding")
        expected = [data(1, ISN + 2, b"outstanding")]
        assert await honest.peer.hear() == expected
        for conn_id in (0, 2, 3, -1, 2**63 - 1):
            for spoofed in (ack(conn_id, ISN + 2), cack(conn_id, 99), data(conn_id, ISN + 2, b"x")):
                await inject(site, spoofed, honest.peer.address)
        await wait_all_tasks_blocked()
        assert server.connection_statistics(1).outstanding == 1
        assert await honest.peer.say(ack(1, ISN + 2)) == []
        assert server.connection_statistics(1).outstanding == 0


async def test_a_connect_in_the_name_of_an_honest_peer_changes_nothing() -> None:
    async with open_attacked() as (site, server, honest):
        for isn in (0, ISN, 99):
            await inject(site, connect(isn), honest.peer.address)
        assert await honest.peer.hear() == [ack(1, ISN)] * 3
        assert server.conn_ids == (1,)
        await honest.echo()


async def test_a_bystander_who_is_named_as_sender_gets_one_answer_and_few_heartbeats() -> None:
    async with open_attacked() as (site, server, honest):
        bystander = somebody(1)
        await inject(site, connect(5), bystander)
        for second in range(1, 40, 2):
            await trio.sleep_until(second)
            await honest.peer.say(ack(1, 0))
        assert said_to(site, bystander) == [ack(2, 5)] + [ack(2, 0)] * 4
        with pytest.raises(lsp.ConnectionLost):
            await server.read()
        await honest.echo()


async def test_the_server_does_not_talk_to_itself() -> None:
    async with open_attacked() as (site, server, honest):
        await inject(site, connect(0), SERVER)
        await wait_all_tasks_blocked()
        assert said_to(site, SERVER) == [connect(0)]
        assert server.conn_ids == (1,)
        assert server.statistics().dropped == {"own address": 1}
        await honest.echo()


# Memory


@pytest.mark.slow
async def test_memory_does_not_grow_with_the_flood() -> None:
    limits = lsp.Limits(max_connections=20, max_half_open=10)

    async def flood(first: int) -> int:
        for number in range(first, first + 300):
            await inject(site, connect(number), somebody(number))
            await inject(site, data(number + 2, number + 1, bytes(100)), somebody(number))
            await inject(site, data(number, 1, bytes(100)), somebody(number + 7))
            await inject(site, "garbage", somebody(number + 11))
            if number % 50 == 0:
                await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    async with open_attacked(limits=limits) as (site, server, honest):
        site.network.recording = False
        tracemalloc.start()
        try:
            full = await flood(0)
            after_more = [await flood(300), await flood(600)]
        finally:
            tracemalloc.stop()
        assert max(after_more) - full < 20_000, (full, after_more)
        assert server.statistics().connections == 20
        await honest.peer.say(ack(1, 0))
        assert 1 in server.conn_ids
