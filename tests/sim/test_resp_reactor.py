"""Clients that ask for nothing but GETs or SETs, and are answered together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.kv_wrapped import BatchesNamespace
from tests.support.resp_world import RespClient, RespWorld, open_resp_world, packed
from trio440 import kv
from trio440.errors import StoreUnavailable
from trio440.kv import Operation, Put
from trio440.kv.resp import Limits
from trio440.kv.resp.reactor import QUESTIONS
from trio440.kv.resp.session import ALIKE_IN_A_ROW

OK = b"+OK\r\n"


@pytest.fixture
async def world() -> AsyncIterator[RespWorld]:
    async with open_resp_world() as world:
        yield world


@asynccontextmanager
async def together(world: RespWorld) -> AsyncIterator[BatchesNamespace]:
    async with kv.open_memory(ports=world.server_ports) as memory:
        yield BatchesNamespace(memory)


@asynccontextmanager
async def crowd(world: RespWorld, count: int) -> AsyncIterator[list[RespClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(world.client()) for _ in range(count)]


def put(number: int, value: bytes = b"v") -> bytes:
    return packed([b"SET", b"k%d" % number, value])


def get(number: int) -> bytes:
    return packed([b"GET", b"k%d" % number])


async def held(namespace: BatchesNamespace) -> trio.Event:
    """Let what is asked wait for an event."""
    gate = trio.Event()

    async def wait(_: Sequence[Operation]) -> None:
        await gate.wait()

    namespace.before = wait
    return gate


async def test_many_clients_are_few_questions(world: RespWorld) -> None:
    async with (
        together(world) as namespace,
        world.serve(namespace=namespace) as server,
        crowd(world, 40) as clients,
    ):
        for number, client in enumerate(clients):
            await client.stream.send_all(put(number, b"%d" % number))
        for client in clients:
            assert await client.answers(1) == [OK]
        for number, client in enumerate(clients):
            await client.stream.send_all(get(number) * 3)
        for number, client in enumerate(clients):
            value = b"%d" % number
            assert await client.answers(3) == [b"$%d\r\n%b\r\n" % (len(value), value)] * 3
        statistics = server.statistics()
        assert (statistics.commands, statistics.batches, statistics.operations) == (160, 80, 160)
        assert sum(namespace.questions) == 80, "each batch is one by itself"
        assert len(namespace.questions) < 60, "what comes at the same time is one question"


async def test_a_question_is_bounded(world: RespWorld) -> None:
    async with (
        together(world) as namespace,
        world.serve(namespace=namespace),
        crowd(world, 8) as clients,
    ):
        gate = await held(namespace)
        for number, client in enumerate(clients):
            await client.stream.send_all(put(number) * 100)
        await wait_all_tasks_blocked()
        gate.set()
        for client in clients:
            assert await client.answers(100) == [OK] * 100
        assert max(namespace.questions) <= 3


async def test_what_comes_while_questions_are_under_way_is_one_question(world: RespWorld) -> None:
    async with (
        together(world) as namespace,
        world.serve(namespace=namespace),
        crowd(world, QUESTIONS + 8) as clients,
    ):
        gate = await held(namespace)
        for client in clients:
            await client.stream.send_all(put(1))
            await trio.sleep(1)
        assert namespace.questions == [1] * QUESTIONS
        gate.set()
        for client in clients:
            assert await client.answers(1) == [OK]
        assert namespace.questions == [1] * QUESTIONS + [8]


async def test_writes_that_wait_hold_up_no_reads_and_no_other_commands(world: RespWorld) -> None:
    async with (
        together(world) as namespace,
        world.serve(namespace=namespace),
        crowd(world, QUESTIONS + 4) as clients,
        world.client() as other,
    ):
        gate = trio.Event()

        async def wait(operations: Sequence[Operation]) -> None:
            if isinstance(operations[0], Put):
                await gate.wait()

        namespace.before = wait
        for client in clients:
            await client.stream.send_all(put(1))
            await trio.sleep(1)
        await other.stream.send_all(get(1))
        assert await other.answers(1) == [b"$-1\r\n"]
        assert await other.ask("ping") == b"+PONG\r\n"
        gate.set()
        for client in clients:
            assert await client.answers(1) == [OK]


async def test_what_is_sent_before_the_answer_is_answered_after_it(world: RespWorld) -> None:
    async with (
        together(world) as namespace,
        world.serve(namespace=namespace) as server,
        world.client() as client,
    ):
        gate = await held(namespace)
        await client.stream.send_all(put(1, b"first"))
        await wait_all_tasks_blocked()
        await client.stream.send_all(put(1, b"second"))
        await client.stream.send_all(packed([b"PING"]))
        await client.stream.send_all(get(1))
        await wait_all_tasks_blocked()
        assert server.statistics().memory_bytes > 0, "what was read meanwhile counts"
        gate.set()
        assert await client.answers(4) == [OK, OK, b"+PONG\r\n", b"$6\r\nsecond\r\n"]
        assert [batch[0] for batch in namespace.batches[:2]] == [
            Put(b"k1", b"first"),
            Put(b"k1", b"second"),
        ]
        assert server.statistics().memory_bytes == 0


async def test_other_commands_come_between_at_any_place(world: RespWorld) -> None:
    async with world.serve() as server, world.client() as client:
        for number in range(3 * ALIKE_IN_A_ROW):
            await client.stream.send_all(put(number, b"%d" % number))
            assert await client.answers(1) == [OK]
            if number % (ALIKE_IN_A_ROW + 2) == 0:
                assert await client.ask("incr n") == b":%d\r\n" % (
                    number // (ALIKE_IN_A_ROW + 2) + 1
                )
        assert await client.ask("multi") == OK
        await client.stream.send_all(get(5))
        assert await client.answers(1) == [b"+QUEUED\r\n"]
        assert await client.ask("exec") == b"*1\r\n$1\r\n5\r\n"
        assert (await client.ask("hello 3")).startswith(b"%7\r\n")
        for _ in range(2 * ALIKE_IN_A_ROW):
            await client.stream.send_all(get(1000))
            assert await client.answers(1) == [b"_\r\n"], "as RESP3 says it"
        assert server.statistics().memory_bytes == 0


async def test_a_request_in_parts_is_one(world: RespWorld) -> None:
    whole = put(1, b"value")
    async with world.serve(), world.client() as client, world.client() as other:
        for cut in range(1, len(whole)):
            await client.stream.send_all(whole[:cut])
            await wait_all_tasks_blocked()
            await other.stream.send_all(get(2))
            assert await other.answers(1) == [b"$-1\r\n"]
            await client.stream.send_all(whole[cut:])
            assert await client.answers(1) == [OK]


async def test_one_that_takes_no_answer_keeps_nobody_waiting(world: RespWorld) -> None:
    limits = Limits(stall_seconds=5)
    async with (
        world.serve(limits) as server,
        world.client() as deaf,
        world.client() as other,
    ):
        await other.stream.send_all(put(1, bytes(500_000)))
        assert await other.answers(1) == [OK]
        await deaf.stream.send_all(get(1))
        await wait_all_tasks_blocked()
        assert server.statistics().memory_bytes > 0
        for _ in range(2 * ALIKE_IN_A_ROW):
            await other.stream.send_all(get(2))
            assert await other.answers(1) == [b"$-1\r\n"]
        await trio.sleep(6)
        assert server.statistics().clients_closed_slow == 1
        assert server.statistics().memory_bytes == 0


async def test_one_that_takes_its_answer_slowly_gets_all_of_it(world: RespWorld) -> None:
    async with world.serve(), world.client() as client:
        await client.stream.send_all(put(1, bytes(500_000)))
        assert await client.answers(1) == [OK]
        await client.stream.send_all(get(1))
        await wait_all_tasks_blocked()
        await client.stream.send_all(get(2))
        long, absent = await client.answers(2)
        assert (len(long), absent) == (500_000 + 11, b"$-1\r\n")


async def test_one_that_goes_before_its_answer_leaves_nothing(world: RespWorld) -> None:
    async with together(world) as namespace, world.serve(namespace=namespace) as server:
        gate = await held(namespace)
        async with world.client() as client, world.client() as broken, world.client() as other:
            for number, each in enumerate((client, broken, other)):
                await each.stream.send_all(put(number))
            await wait_all_tasks_blocked()
            await client.stream.send_eof()
            await broken.stream.aclose()
            await wait_all_tasks_blocked()
            gate.set()
            assert await client.to_the_end() == OK, "it may still read"
            assert await other.answers(1) == [OK]
            await wait_all_tasks_blocked()
            assert server.statistics().clients == 1
        await wait_all_tasks_blocked()
        assert server.statistics().clients == 0
        assert len(namespace.batches) == 3


async def test_a_store_that_fails_is_an_error_of_each(world: RespWorld) -> None:
    async with (
        together(world) as namespace,
        world.serve(namespace=namespace),
        crowd(world, 3) as clients,
    ):
        namespace.failure = StoreUnavailable("nobody answers")
        for client in clients:
            await client.stream.send_all(put(1) * 2)
        for client in clients:
            error = b"-ERR the store cannot be reached: nobody answers\r\n"
            assert await client.answers(2) == [error] * 2
        namespace.failure = None
        for client in clients:
            await client.stream.send_all(put(1))
            assert await client.answers(1) == [OK]


async def test_leaving_lets_what_is_under_way_be_answered(world: RespWorld) -> None:
    async with together(world) as namespace:
        gate = await held(namespace)
        async with world.client_of_left_server(namespace) as (client, leave):
            await client.stream.send_all(put(1))
            await wait_all_tasks_blocked()
            leave.set()
            await wait_all_tasks_blocked()
            await client.stream.send_all(put(2))
            await wait_all_tasks_blocked()
            gate.set()
            assert await client.to_the_end() == OK
        assert namespace.batches == [[Put(b"k1", b"v")]]


async def test_idle_clients_are_gone_at_once_when_a_server_is_left(world: RespWorld) -> None:
    async with (
        together(world) as namespace,
        world.client_of_left_server(namespace) as (client, leave),
    ):
        await client.stream.send_all(put(1))
        assert await client.answers(1) == [OK]
        began = trio.current_time()
        leave.set()
        assert await client.to_the_end() == b""
        assert trio.current_time() - began < 0.1


async def test_idle_clients_are_closed_where_that_is_asked_for(world: RespWorld) -> None:
    async with world.serve(Limits(idle_seconds=10)) as server, world.client() as client:
        await client.stream.send_all(put(1))
        assert await client.answers(1) == [OK]
        await trio.sleep(9)
        await client.stream.send_all(put(1))
        assert await client.answers(1) == [OK]
        assert await client.to_the_end() == b""
        assert server.statistics().clients_closed_idle == 1
