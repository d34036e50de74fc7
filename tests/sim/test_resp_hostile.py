"""Clients that mean no good: they cannot crash a RESP server, grow it, or keep others waiting."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.resp_world import RespClient, RespWorld, open_resp_world, packed
from trio440.core.refusing import REFUSAL_SECONDS, REFUSALS_AT_A_TIME
from trio440.kv.resp import Limits
from trio440.kv.resp.session import GOODBYE_SECONDS
from trio440.kv.resp.transacting import CALLS_AT_ONCE


@pytest.fixture
async def world() -> AsyncIterator[RespWorld]:
    async with open_resp_world() as world:
        yield world


async def test_a_request_that_comes_byte_by_byte_keeps_nobody_waiting(world: RespWorld) -> None:
    async with world.serve(), world.client() as slow, world.client() as other:
        for byte in packed([b"SET", b"a", b"value"]):
            await slow.stream.send_all(bytes([byte]))
            await trio.sleep(1000)
            assert await other.ask("ping") == b"+PONG\r\n"
        assert await slow.answers(1) == [b"+OK\r\n"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"*1000000000\r\n", b"invalid multibulk length"),
        (b"*1\r\n$1000000000\r\n", b"invalid bulk length"),
        (b"*1\r\n" * 100_000, b"expected '$', got '*'"),
        (b"x" * 1_000_000, b"too big inline request"),
        (b"\x16\x03\x01\x02\x01\xfc\x03\x03'\n", b"unbalanced quotes in request"),
    ],
)
async def test_what_is_no_request_is_answered_and_closed(
    world: RespWorld, data: bytes, problem: bytes
) -> None:
    async with world.serve() as server, world.client() as client:
        await client.stream.send_all(packed([b"SET", b"a", b"1"]))
        await client.stream.send_all(data)
        answer = await client.to_the_end()
        assert answer == b"+OK\r\n-ERR Protocol error: " + problem + b"\r\n"
        assert server.statistics().protocol_errors == 1
        assert server.statistics().memory_bytes == 0


async def test_one_that_goes_on_behind_a_protocol_error_is_closed_all_the_same(
    world: RespWorld,
) -> None:
    async with world.serve() as server, world.client() as client:
        began = trio.current_time()
        await client.stream.send_all(b"*x\r\n")
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await client.stream.send_all(b"x" * 1000)
                await trio.sleep(0.1)
        assert trio.current_time() - began < GOODBYE_SECONDS + 1
        assert server.statistics().clients == 0


async def test_one_that_reads_no_answers_is_closed_in_time(world: RespWorld) -> None:
    limits = Limits(stall_seconds=30)
    async with world.serve(limits) as server, world.client() as deaf, world.client() as other:
        await other.stream.send_all(packed([b"SET", b"a", bytes(500_000)]))
        await other.answers(1)
        await deaf.stream.send_all(packed([b"GET", b"a"]) * 1000)
        await wait_all_tasks_blocked()
        held = server.statistics().memory_bytes
        assert 500_000 < held < 130 * 500_000, "of one batch and no more"
        assert await other.ask("ping") == b"+PONG\r\n"
        await trio.sleep(29)
        assert server.statistics().clients == 2
        await trio.sleep(2)
        assert server.statistics().clients_closed_slow == 1
        assert server.statistics().clients == 1
        assert server.statistics().memory_bytes == 0


async def test_one_that_reads_slowly_is_not_closed(world: RespWorld) -> None:
    limits = Limits(stall_seconds=30)
    async with world.serve(limits) as server, world.client() as client:
        await client.stream.send_all(packed([b"SET", b"a", bytes(400_000)]))
        await client.answers(1)
        await client.stream.send_all(packed([b"GET", b"a"]))
        received = 0
        while received < 400_000:
            received += len(await client.stream.receive_some(50_000))
            await trio.sleep(20)
        assert server.statistics().clients_closed_slow == 0


async def test_what_clients_hold_together_is_bounded(world: RespWorld) -> None:
    limits = Limits(memory_bytes=1_000_000)
    async with world.serve(limits) as server:
        small = await begin_request(world, 300_000)
        large = await begin_request(world, 500_000)
        assert server.statistics().memory_bytes > 800_000
        last = await begin_request(world, 400_000)
        assert await large.to_the_end() == b""
        statistics = server.statistics()
        assert (statistics.clients, statistics.clients_closed_memory) == (2, 1)
        assert statistics.memory_bytes < 1_000_000
        for client in (small, last):
            assert await finish_request(client) == [b"+OK\r\n"]
            await client.stream.aclose()
        await large.stream.aclose()
        assert server.statistics().memory_bytes == 0


async def begin_request(world: RespWorld, size: int) -> RespClient:
    client = await world.connect()
    await client.stream.send_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$510000\r\n" + bytes(size))
    client.rest = b""
    await wait_all_tasks_blocked()
    return client


async def finish_request(client: RespClient) -> list[bytes]:
    """Send more than any of the requests lacks; what is too much is empty lines."""
    await client.stream.send_all(b"\r\n" * 110_000)
    return await client.answers(1)


async def test_one_value_asked_for_often_is_no_answer_without_end(world: RespWorld) -> None:
    limits = Limits(answer_bytes=10_000_000)
    too_long = b"-ERR the answer is longer than 10000000 bytes\r\n"
    async with world.serve(limits) as server, world.client() as client:
        await client.stream.send_all(packed([b"SET", b"a", bytes(500_000)]))
        assert await client.answers(1) == [b"+OK\r\n"]
        await client.stream.send_all(packed([b"MGET", *[b"a"] * 10_000]))
        assert await client.answers(1) == [too_long]
        assert server.statistics().memory_bytes == 0
    async with world.serve(Limits(answer_bytes=100_000)), world.client() as client:
        await client.stream.send_all(packed([b"SET", b"a", bytes(30_000)]))
        await client.answers(1)
        await client.stream.send_all(b"multi\r\n" + b"get a\r\n" * 5 + b"set b 1\r\nexec\r\n")
        assert (await client.answers(8))[-1] == b"-ERR the answer is longer than 100000 bytes\r\n"
        assert await client.ask("get b") == b"$1\r\n1\r\n", "it has been done"


async def test_patterns_and_names_are_short(world: RespWorld) -> None:
    async with world.serve(Limits(pattern_bytes=10)), world.client() as client:
        for line in ("keys {}", "scan 0 match {}", "psubscribe {}", "config get {}"):
            assert await client.ask(line.format("*a*b*c*d*e*")) == (
                b"-ERR a pattern is too long, the limit is 10 bytes\r\n"
            )
        too_many = b"-ERR too many parameters for CONFIG GET\r\n"
        assert await client.ask("config get " + "a " * 100) == too_many
        name = b"-ERR a client name is too long, the limit is 256 bytes\r\n"
        assert await client.ask("client setname " + "n" * 300) == name


async def test_one_client_too_many_is_told_so(world: RespWorld) -> None:
    async with world.serve(Limits(clients=2)) as server:
        first, second = await world.connect(), await world.connect()
        assert await first.ask("ping") == b"+PONG\r\n"
        async with world.client() as third:
            await third.stream.send_all(b"ping\r\n")
            assert await third.to_the_end() == b"-ERR max number of clients reached\r\n"
        await second.stream.aclose()
        await wait_all_tasks_blocked()
        async with world.client() as fourth:
            assert await fourth.ask("ping") == b"+PONG\r\n"
        await first.stream.aclose()
        statistics = server.statistics()
        assert (statistics.clients_served, statistics.clients_refused) == (3, 1)


async def test_a_crowd_that_is_refused_and_stays_keeps_nobody_waiting(world: RespWorld) -> None:
    async with world.serve(Limits(clients=1)) as server:
        first = await world.connect()
        crowd = [await world.connect() for _ in range(REFUSALS_AT_A_TIME + 10)]
        assert await first.ask("ping") == b"+PONG\r\n"
        await trio.sleep(REFUSAL_SECONDS + 1)
        assert server.statistics().clients_refused == len(crowd)
        for client in [first, *crowd]:
            await client.stream.aclose()


async def test_idle_clients_are_closed_where_that_is_asked_for(world: RespWorld) -> None:
    async with (
        world.serve(Limits(idle_seconds=60)) as server,
        world.client() as idle,
        world.client() as asking,
        world.client() as listening,
    ):
        await listening.say("subscribe a")
        for _ in range(5):
            assert await asking.ask("ping") == b"+PONG\r\n"
            await trio.sleep(20)
        assert await idle.to_the_end() == b""
        assert server.statistics().clients_closed_idle == 1
        assert await listening.ask("ping") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"


async def test_connections_that_break_leave_nothing(world: RespWorld) -> None:
    async with world.serve() as server:
        for data in (
            b"",
            b"*1\r\n",
            b"get a\r\n" * 1000,
            b"subscribe a\r\n",
            b"multi\r\nset a b\r\n",
        ):
            client = await world.connect()
            await client.stream.send_all(data)
            await client.stream.aclose()
        await wait_all_tasks_blocked()
        statistics = server.statistics()
        assert (statistics.clients, statistics.memory_bytes) == (0, 0)
        assert statistics.clients_served == 5


WORDS = st.sampled_from(
    [
        *(
            b"get set mget mset del incr append expire ttl keys scan multi exec discard watch"
        ).split(),
        *(b"subscribe psubscribe unsubscribe hello client config command info reset ping").split(),
        *(b"a b * 0 1 -1 2 3 NX XX GET EX PX COUNT MATCH DOCS id setname {").split(),
    ]
)
NOISE = st.lists(
    st.one_of(
        st.lists(WORDS, min_size=1, max_size=5).map(packed),
        st.lists(st.binary(max_size=5), min_size=1, max_size=4).map(packed),
        st.binary(max_size=20),
    ),
    max_size=40,
).map(b"".join)


@given(NOISE)
def test_no_bytes_crash_a_server(noise: bytes) -> None:
    async def main() -> None:
        async with (
            open_resp_world() as world,
            world.serve() as server,
            world.client() as hostile,
            world.client() as other,
        ):
            await hostile.stream.send_all(noise)
            await wait_all_tasks_blocked()
            assert (await other.ask("set probe 1")).startswith((b"+OK", b"-ERR"))
            await hostile.stream.aclose()
            await wait_all_tasks_blocked()
            assert server.statistics().clients == 1
            assert server.statistics().memory_bytes == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_what_is_queued_is_charged_for_each_argument(world: RespWorld) -> None:
    async with world.serve() as server, world.client() as client:
        await client.ask("multi")
        assert await client.ask("mget" + " ab" * 10_000) == b"+QUEUED\r\n"
        assert server.statistics().memory_bytes > 10_000 * sys.getsizeof(b"ab")


async def test_a_transaction_of_endless_operations_is_refused_before_they_are_made(
    world: RespWorld,
) -> None:
    too_long = b"-ERR a transaction is too long, the limit is 10000 operations\r\n"
    async with world.serve() as server, world.client() as client:
        for commands in (2, 20):
            await client.ask("multi")
            for _ in range(commands):
                assert await client.ask("mget" + " ab" * 9000) == b"+QUEUED\r\n"
            assert await client.ask("exec") == too_long
        assert server.statistics().batches == 0


@pytest.mark.parametrize("command", ["config get *", "echo x"])
async def test_a_long_transaction_lets_others_have_their_turn(
    world: RespWorld, command: str
) -> None:
    async with world.serve(), world.client() as client:
        await client.stream.send_all(b"multi\r\n" + f"{command}\r\n".encode() * 1000)
        await client.answers(1001)
        with turns_counted() as turns:
            await client.ask("exec")
        assert turns.count >= 1000 // CALLS_AT_ONCE


COSTLY = b"*" + b"[a-z]" * 200 + b"b*"
"""A pattern that is tried at every place of a key, to no avail."""


async def put_long_keys(client: RespClient, number: int) -> list[bytes]:
    keys = [b"%04d" % at + b"a" * 3000 for at in range(number)]
    await client.stream.send_all(b"".join(packed([b"SET", key, b""]) for key in keys))
    await client.answers(number)
    return keys


async def test_a_scan_ends_early_where_it_is_costly_to_match(world: RespWorld) -> None:
    async with world.serve(), world.client() as client:
        await put_long_keys(client, 20)
        await client.ask("set " + "0010" + "a" * 3000 + "b 1")
        cursor, found, scans = b"0", b"", 0
        while scans == 0 or cursor != b"0":
            scan = [b"SCAN", cursor, b"COUNT", b"1000", b"MATCH", COSTLY]
            await client.stream.send_all(packed(scan))
            (answer,) = await client.answers(1)
            _, _, cursor, keys = answer.split(b"\r\n", 3)
            found += keys
            scans += 1
        assert found.count(b"a" * 3000 + b"b\r\n") == 1
        assert scans == 21


async def test_keys_lets_others_have_their_turn_where_it_is_costly_to_match(
    world: RespWorld,
) -> None:
    async with world.serve(), world.client() as client:
        await put_long_keys(client, 20)
        await client.stream.send_all(packed([b"KEYS", COSTLY]))
        with turns_counted() as turns:
            assert await client.answers(1) == [b"*0\r\n"]
        assert turns.count >= 20
        await client.ask("multi")
        await client.stream.send_all(packed([b"KEYS", COSTLY]) + b"exec\r\n")
        _, answer = await client.answers(2)
        assert answer.startswith(b"*1\r\n-ERR too many keys for KEYS within a transaction")


async def test_costly_patterns_of_a_subscriber_keep_nobody_waiting(world: RespWorld) -> None:
    async with world.serve(), world.client() as listener, world.client() as client:
        patterns = [COSTLY + b"%d" % at for at in range(50)]
        await listener.stream.send_all(packed([b"PSUBSCRIBE", *patterns]))
        await listener.answers(len(patterns))
        with turns_counted() as turns:
            await put_long_keys(client, 1)
            await wait_all_tasks_blocked()
        assert turns.count >= 50


class Turns(trio.abc.Instrument):
    """Counts how often all tasks have had their turn."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        del timeout
        self.count += 1


@contextmanager
def turns_counted() -> Iterator[Turns]:
    turns = Turns()
    trio.lowlevel.add_instrument(turns)
    try:
        yield turns
    finally:
        trio.lowlevel.remove_instrument(turns)


async def test_answers_that_need_no_store_are_bounded_in_a_transaction(world: RespWorld) -> None:
    async with world.serve(Limits(answer_bytes=100_000)) as server, world.client() as client:
        await client.ask("multi")
        for line in ("command info" + " get" * 2000, "set a 1"):
            assert await client.ask(line) == b"+QUEUED\r\n"
        assert await client.ask("exec") == b"-ERR the answer is longer than 100000 bytes\r\n"
        assert server.statistics().batches == 0


async def test_what_a_client_says_of_itself_in_a_transaction_that_fails_is_not_said(
    world: RespWorld,
) -> None:
    async with world.serve(), world.client() as client, world.client() as other:
        await client.ask("watch a")
        await other.ask("set a 1")
        await client.stream.send_all(
            b"multi\r\nhello 3\r\nclient setname me\r\nexec\r\nget b\r\nclient getname\r\n"
        )
        assert (await client.answers(6))[3:] == [b"*-1\r\n", b"$-1\r\n", b"$-1\r\n"]
        await client.stream.send_all(
            b"multi\r\nhello 3\r\nclient setname me\r\nget b\r\nexec\r\nget b\r\nclient getname\r\n"
        )
        answers = await client.answers(7)
        assert answers[4].endswith(b"+OK\r\n_\r\n")
        assert answers[5:] == [b"_\r\n", b"$2\r\nme\r\n"]
