"""The RESP server under virtual time, on the simulated network: what is not in Redis' record."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.kv_wrapped import PlainNamespace, WaitingNamespace
from tests.support.resp_world import PORT, SERVER, RespWorld, open_resp_world, packed
from trio440 import kv
from trio440.errors import InvalidParameter, StoreUnavailable
from trio440.kv import Operation, Put
from trio440.kv.resp import Limits, serve_resp
from trio440.kv.resp.replies import array, bulk


@pytest.fixture
async def world() -> AsyncIterator[RespWorld]:
    async with open_resp_world() as world:
        yield world


@asynccontextmanager
async def waiting(world: RespWorld) -> AsyncIterator[WaitingNamespace]:
    async with kv.open_memory(ports=world.server_ports) as memory:
        yield WaitingNamespace(memory)


# Batches


async def test_a_pipeline_is_one_batch(world: RespWorld) -> None:
    async with (
        waiting(world) as namespace,
        world.serve(namespace=namespace) as server,
        world.client() as client,
    ):
        words = [[b"SET", b"k%d" % at, b"v"] for at in range(20)]
        words += [[b"PING"], [b"INCR", b"n"], [b"MGET", b"k1", b"k2"], [b"NOSUCH"]]
        words += [[b"MULTI"], [b"GET", b"k3"], [b"DEL", b"k3"], [b"EXEC"]]
        await client.stream.send_all(b"".join(map(packed, words)))
        answers = await client.answers(len(words))
        assert answers[:20] == [b"+OK\r\n"] * 20
        assert answers[-1] == b"*2\r\n$1\r\nv\r\n:1\r\n"
        assert [len(batch) for batch in namespace.batches] == [24]
        statistics = server.statistics()
        assert (statistics.batches, statistics.operations) == (1, 24)
        assert statistics.commands == len(words)


@pytest.mark.parametrize("number", [1, 2, 127, 128, 129, 1000])
async def test_pipelines_of_any_length(world: RespWorld, number: int) -> None:
    async with world.serve() as server, world.client() as client:
        for word in (b"set", b"GET"):
            words = [
                [word, b"k%d" % at, *([b"v"] if word == b"set" else [])] for at in range(number)
            ]
            await client.stream.send_all(b"".join(map(packed, words)))
            await client.answers(number)
        assert server.statistics().operations == 2 * number


async def test_a_command_may_have_many_keys(world: RespWorld) -> None:
    async with world.serve(), world.client() as client:
        keys = [b"k%d" % at for at in range(1000)]
        pairs = [word for key in keys for word in (key, b"v")]
        for words, answer in (
            ([b"MSET", *pairs], b"+OK\r\n"),
            ([b"EXISTS", *keys], b":1000\r\n"),
            ([b"MGET", *keys], b"*1000\r\n" + b"$1\r\nv\r\n" * 1000),
            ([b"DEL", *keys], b":1000\r\n"),
        ):
            await client.stream.send_all(packed(words))
            assert await client.answers(1) == [answer]


async def test_a_long_answer_arrives_whole(world: RespWorld) -> None:
    value = bytes(range(256)) * 1000
    async with world.serve() as server, world.client() as client:
        await client.stream.send_all(packed([b"SET", b"k", value]))
        assert await client.answers(1) == [b"+OK\r\n"]
        await client.stream.send_all(packed([b"GET", b"k"]) * 50)
        for answer in await client.answers(50):
            assert answer == b"$%d\r\n%b\r\n" % (len(value), value)
        assert server.statistics().memory_bytes == 0


async def test_limits_of_the_namespace_are_errors(world: RespWorld) -> None:
    async with world.serve(), world.client() as client:
        assert await client.ask('set "" a') == b"-ERR a key is empty\r\n"
        assert await client.ask('get ""') == b"-ERR a key is empty\r\n"
        await client.stream.send_all(packed([b"SET", b"k" * 5000, b"v"]) + packed([b"PING"]))
        error, pong = await client.answers(2)
        assert error.startswith(b"-ERR a key of 5000 bytes is too long")
        assert pong == b"+PONG\r\n"


async def test_a_store_that_is_away_is_an_error_of_each(world: RespWorld) -> None:
    async with (
        waiting(world) as namespace,
        world.serve(namespace=namespace),
        world.client() as client,
    ):
        namespace.failure = StoreUnavailable("nobody answers")
        for line in ("get a", "incr a", "mget a b", "keys *", "watch a", "flushall"):
            answer = await client.ask(line)
            assert answer == b"-ERR the store cannot be reached: nobody answers\r\n", line
        answer = await client.ask("subscribe a")
        assert answer == b"-ERR the store cannot be reached: nobody answers\r\n"
        assert await client.ask("ping") == b"+PONG\r\n"
        namespace.failure = None
        assert await client.ask("incr a") == b":1\r\n"


# The eventual engine


async def test_what_an_eventual_engine_can_do_works(world: RespWorld) -> None:
    async with (
        kv.open_memory(ports=world.server_ports) as memory,
        world.serve(namespace=PlainNamespace(memory)),
        world.client() as client,
    ):
        for line, answer in (
            ("set a 1 EX 100", b"+OK\r\n"),
            ("mset b 2 c 3", b"+OK\r\n"),
            ("mget a b c d", b"*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$-1\r\n"),
            ("exists a b a", b":3\r\n"),
            ("ttl a", b":100\r\n"),
            ("persist a", b":1\r\n"),
            ("persist a", b":0\r\n"),
            ("del b c d", b":2\r\n"),
            ("keys *", b"*1\r\n$1\r\na\r\n"),
            ("dbsize", b":1\r\n"),
        ):
            assert await client.ask(line) == answer, line


async def test_a_long_pipeline_over_the_eventual_engine_reads_all_that_is_there(
    world: RespWorld,
) -> None:
    limits = kv.ReplicaLimits(value_bytes=1000, batch_bytes=16_000, operations=100)
    async with (
        kv.open_server(7000, host=SERVER, limits=limits, ports=world.server_ports) as store,
        world.serve(namespace=store.namespace),
        world.client() as client,
    ):
        value = b"v" * 1000
        await client.stream.send_all(packed([b"SET", b"a", value]))
        await client.answers(1)
        await client.stream.send_all(packed([b"GET", b"a"]) * 100)
        assert await client.answers(100) == [bulk(value)] * 100
        await client.stream.send_all((b"get a\r\nset b x\r\n") * 40)
        assert await client.answers(80) == [bulk(value), b"+OK\r\n"] * 40
        await client.stream.send_all(packed([b"MGET", *[b"a"] * 1000]))
        (answer,) = await client.answers(1)
        assert answer == array([bulk(value)] * 1000)


async def test_what_has_to_be_atomic_is_refused_there(world: RespWorld) -> None:
    async with (
        kv.open_memory(ports=world.server_ports) as memory,
        world.serve(namespace=PlainNamespace(memory)),
        world.client() as client,
    ):
        for line, name in (
            ("incr a", "INCR"),
            ("decrby a 2", "DECRBY"),
            ("append a x", "APPEND"),
            ("set a 1 NX", "SET with NX, XX or GET"),
            ("set a 1 GET", "SET with NX, XX or GET"),
            ("setnx a 1", "SETNX"),
            ("getset a 1", "GETSET"),
            ("getdel a", "GETDEL"),
            ("watch a", "WATCH"),
        ):
            assert await client.ask(line) == b"-ERR %b needs a linearizable namespace\r\n" % (
                name.encode()
            )
        assert await client.ask("dbsize") == b":0\r\n"


async def test_a_transaction_that_is_refused_is_not_done_one_by_one(world: RespWorld) -> None:
    async with (
        kv.open_memory(ports=world.server_ports) as memory,
        world.serve(namespace=PlainNamespace(memory)),
        world.client() as client,
    ):
        refusal = b"-ERR MULTI needs a linearizable namespace\r\n"
        await client.stream.send_all(b"multi\r\nset a 1\r\nset b 1\r\nexec\r\nget a\r\n")
        aborted = b"-EXECABORT Transaction discarded because of previous errors.\r\n"
        assert await client.answers(5) == [refusal, refusal, refusal, aborted, b"$-1\r\n"]
        assert await client.ask("multi") == refusal
        assert await client.ask("discard") == b"+OK\r\n"
        assert await client.ask("get a") == b"$-1\r\n"


# Transactions


async def test_a_transaction_that_reads_first_is_tried_again(world: RespWorld) -> None:
    async with (
        waiting(world) as namespace,
        world.serve(namespace=namespace),
        world.client() as client,
    ):
        disturbances = [b"1", b"2", b"3"]

        async def disturb(operations: Sequence[Operation]) -> None:
            if isinstance(operations[0], kv.Transaction) and disturbances:
                namespace.inner.execute_nowait([Put(b"a", disturbances.pop())])

        await client.say("multi", 1)
        await client.ask("set a mine NX GET")
        namespace.before = disturb
        assert await client.ask("exec") == b"*1\r\n$1\r\n1\r\n"
        assert await client.ask("get a") == b"$1\r\n1\r\n"


async def test_a_watch_is_heeded_while_it_is_tried_again(world: RespWorld) -> None:
    async with (
        waiting(world) as namespace,
        world.serve(namespace=namespace),
        world.client() as client,
    ):

        async def disturb(operations: Sequence[Operation]) -> None:
            if isinstance(operations[0], kv.Transaction):
                namespace.inner.execute_nowait([Put(b"watched", b"1")])

        await client.ask("watch watched")
        await client.ask("multi")
        await client.ask("set a mine NX")
        namespace.before = disturb
        assert await client.ask("exec") == b"*-1\r\n"
        assert await client.ask("get a") == b"$-1\r\n"


async def test_a_transaction_gives_up_in_the_end(world: RespWorld) -> None:
    async with (
        waiting(world) as namespace,
        world.serve(namespace=namespace),
        world.client() as client,
    ):

        async def disturb(operations: Sequence[Operation]) -> None:
            namespace.inner.execute_nowait([Put(b"a", b"1")])

        await client.ask("multi")
        await client.ask("set a mine XX")
        namespace.before = disturb
        assert await client.ask("exec") == b"-ERR others changed what EXEC had read, 100 times\r\n"
        assert await client.ask("ping") == b"+PONG\r\n"


async def test_what_a_client_may_queue_and_watch_is_bounded(world: RespWorld) -> None:
    limits = Limits(queued_commands=2, watched_keys=3)
    async with world.serve(limits) as server, world.client() as client:
        assert await client.ask("watch a b") == b"+OK\r\n"
        assert await client.ask("watch b c d") == b"-ERR too many watched keys, the limit is 3\r\n"
        assert await client.ask("watch a b c") == b"+OK\r\n"
        await client.say("multi", 1)
        assert await client.ask("ping") == b"+QUEUED\r\n"
        assert await client.ask("ping") == b"+QUEUED\r\n"
        assert await client.ask("ping") == b"-ERR too many queued commands, the limit is 2\r\n"
        assert server.statistics().memory_bytes > 0
        assert (await client.ask("exec")).startswith(b"-EXECABORT")
        assert server.statistics().memory_bytes == 0


async def test_what_cannot_be_queued(world: RespWorld) -> None:
    async with world.serve(), world.client() as client:
        await client.ask("multi")
        for line in ("subscribe a", "flushall"):
            answer = await client.ask(line)
            assert answer == b"-ERR Command not allowed inside a transaction\r\n"
        assert (await client.ask("exec")).startswith(b"-EXECABORT")
        await client.ask("mset a1 1 a2 2 b 3")
        await client.ask("multi")
        await client.ask("keys a*")
        await client.ask("scan 0 match b*")
        answer = await client.ask("exec")
        assert answer == (b"*2\r\n*2\r\n$2\r\na1\r\n$2\r\na2\r\n*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n")


# Going through keys


async def test_a_scan_meets_each_key_once_from_any_connection(world: RespWorld) -> None:
    async with world.serve(), world.client() as one, world.client() as other:
        wanted = {b"key:%d" % at for at in range(1234)}
        await one.stream.send_all(b"".join(packed([b"SET", key, b"v"]) for key in wanted))
        await one.answers(len(wanted))
        assert await one.ask("dbsize") == b":1234\r\n"
        cursor, found = "0", []
        for client in [one, other] * 100:
            answer = await client.ask(f"scan {cursor} count 100 match key:*")
            parts = answer.split(b"\r\n")
            cursor = parts[2].decode()
            found += parts[5::2]
            if cursor == "0":
                break
        assert sorted(found) == sorted(wanted)
        keys = await one.ask("keys key:*")
        assert keys.startswith(b"*1234\r\n")
        assert await one.ask("flushall") == b"+OK\r\n"
        assert await one.ask("dbsize") == b":0\r\n"


async def test_forgotten_cursors_and_long_lists_are_errors(world: RespWorld) -> None:
    async with world.serve(Limits(cursors=2, answer_bytes=100)), world.client() as client:
        await client.stream.send_all(
            b"".join(packed([b"SET", b"k%d" % i, b"v"]) for i in range(20))
        )
        await client.answers(20)
        cursors = [(await client.ask("scan 0 count 1")).split(b"\r\n")[2] for _ in range(3)]
        first, second, _ = (cursor.decode() for cursor in cursors)
        assert await client.ask(f"scan {first}") == b"-ERR invalid cursor\r\n"
        assert (await client.ask(f"scan {second}")).startswith(b"*2\r\n")
        too_long = b"-ERR the answer is longer than 100 bytes\r\n"
        assert await client.ask("keys *") == too_long
        await client.ask("multi")
        await client.ask("keys *")
        assert await client.ask("exec") == b"*1\r\n" + too_long


# What a server says of itself


async def test_info_and_config_tell_of_this_server(world: RespWorld) -> None:
    async with world.serve(Limits(clients=7)), world.client() as client:
        await client.ask("set a 1")
        text = (await client.ask("info")).decode()
        for line in (
            "# Server",
            "trio440_engine:memory",
            f"tcp_port:{PORT}",
            "connected_clients:1",
            "maxclients:7",
            "db0:keys=1",
        ):
            assert f"{line}\r\n" in text
        assert "# Clients" not in (await client.ask("info keyspace server")).decode()
        assert await client.ask("config get max*clients") == (
            b"*4\r\n$10\r\nmaxclients\r\n$1\r\n7\r\n$17\r\nmaxmemory-clients\r\n$9\r\n268435456\r\n"
        )
        assert await client.ask("client setinfo lib-name x") == b"+OK\r\n"


async def test_command_tells_of_every_command(world: RespWorld) -> None:
    async with world.serve(), world.client() as client:
        count = int((await client.ask("command count"))[1:])
        for line, number in (("command list", 1), ("command", 1), ("command docs", 2)):
            assert (await client.ask(line)).startswith(b"*%d\r\n" % (count * number))
        assert await client.ask("command info get") == (
            b"*1\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
            b"*2\r\n+@read\r\n+@string\r\n*0\r\n*0\r\n*0\r\n"
        )
        assert b"$18\r\nThe value of a key\r\n" in await client.ask("command docs GET")


# Serving


async def test_serve_resp_is_for_a_nursery(world: RespWorld) -> None:
    async with kv.open_memory(ports=world.server_ports) as memory, trio.open_nursery() as nursery:

        async def serve(*, task_status: trio.TaskStatus[object]) -> None:
            await serve_resp(
                memory, PORT, host=SERVER, ports=world.server_ports, task_status=task_status
            )

        await nursery.start(serve)
        async with world.client() as client:
            assert await client.ask("ping") == b"+PONG\r\n"
        nursery.cancel_scope.cancel()


async def test_leaving_lets_what_is_under_way_be_answered(world: RespWorld) -> None:
    async with waiting(world) as namespace:
        gate = trio.Event()

        async def wait(_: Sequence[Operation]) -> None:
            await gate.wait()

        namespace.before = wait
        async with world.client_of_left_server(namespace) as (client, leave):
            await client.stream.send_all(b"set a 1\r\n")
            await wait_all_tasks_blocked()
            leave.set()
            await wait_all_tasks_blocked()
            gate.set()
            assert await client.to_the_end() == b"+OK\r\n"


async def test_leaving_does_not_wait_for_ever(world: RespWorld) -> None:
    async with waiting(world) as namespace:

        async def wait(_: Sequence[Operation]) -> None:
            await trio.sleep_forever()

        namespace.before = wait
        async with world.client_of_left_server(namespace) as (client, leave):
            await client.stream.send_all(b"set a 1\r\n")
            await wait_all_tasks_blocked()
            began = trio.current_time()
            leave.set()
            assert await client.to_the_end() == b""
            assert trio.current_time() - began == pytest.approx(Limits().flush_seconds, abs=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clients": 0},
        {"request_bytes": 1 << 40},
        {"idle_seconds": 0.0},
        {"stall_seconds": -1.0},
        {"memory_bytes": True},
    ],
)
def test_wrong_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter, match=next(iter(wrong))):
        Limits(**wrong)  # type: ignore[arg-type]  # that is the point
