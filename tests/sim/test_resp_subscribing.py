"""SUBSCRIBE and PSUBSCRIBE to changes of keys, on a simulated network."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.kv_wrapped import WaitingNamespace
from tests.support.resp_world import RespClient, RespWorld, open_resp_world, packed
from trio440 import kv
from trio440.errors import HistoryCompacted, StoreUnavailable
from trio440.kv import Change
from trio440.kv.resp import Limits
from trio440.kv.resp.limits import Counters
from trio440.kv.resp.notifications import Hub
from trio440.kv.resp.replies import bulk


@pytest.fixture
async def world() -> AsyncIterator[RespWorld]:
    async with open_resp_world() as world:
        yield world


def message(*words: str, mark: bytes = b"*") -> bytes:
    return b"%b%d\r\n" % (mark, len(words)) + b"".join(bulk(word.encode()) for word in words)


async def test_a_key_is_heard_of_by_name_and_by_event(world: RespWorld) -> None:
    async with world.serve() as server, world.client() as client, world.client() as other:
        await client.say("subscribe __keyspace@0__:a __keyevent@0__:del", 2)
        await other.stream.send_all(b"set a 1\r\nset b 1\r\nincr a\r\ndel a\r\ndel b\r\n")
        await other.answers(5)
        assert await client.answers(5) == [
            message("message", "__keyspace@0__:a", "set"),
            message("message", "__keyspace@0__:a", "set"),
            message("message", "__keyspace@0__:a", "del"),
            message("message", "__keyevent@0__:del", "a"),
            message("message", "__keyevent@0__:del", "b"),
        ]
        assert server.statistics().messages == 5


async def test_patterns_are_heard_of(world: RespWorld) -> None:
    async with world.serve(), world.client() as client, world.client() as other:
        await client.say("psubscribe __key*__:* __keyspace@0__:user:?", 2)
        await other.ask("set user:1 x")
        assert await client.answers(3) == [
            message("pmessage", "__key*__:*", "__keyspace@0__:user:1", "set"),
            message("pmessage", "__key*__:*", "__keyevent@0__:set", "user:1"),
            message("pmessage", "__keyspace@0__:user:?", "__keyspace@0__:user:1", "set"),
        ]


async def test_what_ends_by_its_time_is_heard_of(world: RespWorld) -> None:
    async with world.serve(), world.client() as client, world.client() as other:
        await client.say("subscribe __keyevent@0__:del")
        began = trio.current_time()
        await other.ask("set a 1 EX 100")
        assert await client.answers(1) == [message("message", "__keyevent@0__:del", "a")]
        assert trio.current_time() - began == pytest.approx(100, abs=0.1)


async def test_resp3_goes_on_asking_and_is_pushed_to(world: RespWorld) -> None:
    async with world.serve(), world.client() as client:
        await client.ask("hello 3")
        await client.say("subscribe __keyspace@0__:a")
        await client.stream.send_all(b"set a 1\r\nget a\r\n")
        answers = await client.answers(3)
        assert message("message", "__keyspace@0__:a", "set", mark=b">") in answers
        assert [each for each in answers if each[:1] != b">"] == [b"+OK\r\n", b"$1\r\n1\r\n"]


async def test_a_change_behind_the_answer_to_subscribe_is_heard_of(world: RespWorld) -> None:
    async with (
        kv.open_memory(ports=world.server_ports) as memory,
        world.serve(namespace=memory),
        world.client() as client,
    ):
        for at in range(20):
            await client.say(f"subscribe __keyspace@0__:{at}")
            memory.execute_nowait([kv.Put(b"%d" % at, b"")])
            assert await client.answers(1) == [message("message", f"__keyspace@0__:{at}", "set")]
            await client.say(f"unsubscribe __keyspace@0__:{at}")


async def test_the_namespace_is_watched_while_somebody_listens(world: RespWorld) -> None:
    async with kv.open_memory(ports=world.server_ports) as memory:
        namespace = WaitingNamespace(memory)
        async with world.serve(namespace=namespace), world.client() as one:
            async with world.client() as other:
                assert namespace.watches == 0
                await one.say("subscribe a b", 2)
                await other.say("psubscribe *")
                assert namespace.watches == 1
                await one.say("unsubscribe", 2)
                assert namespace.watches == 1
            await wait_all_tasks_blocked()
            assert namespace.watches == 0
            await one.say("subscribe __keyspace@0__:a")
            assert namespace.watches == 1
            memory.execute_nowait([kv.Put(b"a", b"")])
            assert await one.answers(1) == [message("message", "__keyspace@0__:a", "set")]
            await one.ask("reset")
            await wait_all_tasks_blocked()
            assert namespace.watches == 0


@pytest.mark.parametrize(
    "failure", [StoreUnavailable("the thread is lost"), HistoryCompacted(1, 2)], ids=str
)
async def test_subscribers_that_would_miss_changes_are_closed(
    world: RespWorld, failure: Exception
) -> None:
    async with kv.open_memory(ports=world.server_ports) as memory:
        namespace = WaitingNamespace(memory)
        async with (
            world.serve(namespace=namespace) as server,
            world.client() as one,
            world.client() as two,
            world.client() as other,
        ):
            await one.say("subscribe __keyspace@0__:a x y", 3)
            await two.say("psubscribe *")
            namespace.watch_failure = failure
            await other.ask("set a 1")
            await one.to_the_end()
            await two.to_the_end()
            assert await other.ask("get a") == b"$1\r\n1\r\n"
            assert server.statistics().clients_closed_behind == 2
            namespace.watch_failure = None
            await other.say("subscribe __keyspace@0__:a")
            memory.execute_nowait([kv.Put(b"a", b"")])
            assert await other.answers(1) == [message("message", "__keyspace@0__:a", "set")]


@pytest.mark.slow
async def test_many_changes_at_once_are_all_heard_of(world: RespWorld) -> None:
    async with world.serve() as server, world.client() as client, world.client() as other:
        await client.say("psubscribe __keyspace*")
        await other.stream.send_all(packed([b"SET", b"a", b"1"]) * 9000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.answers, 9000)
            answers = await client.answers(9000)
        assert set(answers) == {message("pmessage", "__keyspace*", "__keyspace@0__:a", "set")}
        assert server.statistics().clients_closed_behind == 0


async def test_more_changes_than_an_engine_remembers_close_subscribers(world: RespWorld) -> None:
    limits = kv.TableLimits(history_changes=10)
    async with (
        kv.open_memory(limits, ports=world.server_ports) as memory,
        world.serve(namespace=memory) as server,
        world.client() as client,
        world.client() as other,
    ):
        await client.say("psubscribe *")
        await other.stream.send_all(packed([b"SET", b"a", b"1"]) * 100)
        await other.answers(100)
        await client.to_the_end()
        assert server.statistics().clients_closed_behind == 1
        assert await other.ask("get a") == b"$1\r\n1\r\n"


async def test_a_subscriber_that_does_not_read_is_closed_and_nobody_waits(world: RespWorld) -> None:
    limits = Limits(output_bytes=100_000)
    async with (
        kv.open_memory(ports=world.server_ports) as memory,
        world.serve(limits, memory) as server,
        world.client() as deaf,
        world.client() as listening,
    ):
        name = "k" * 1000
        await deaf.say(f"subscribe __keyspace@0__:{name}")
        await listening.say(f"subscribe __keyspace@0__:{name}")
        heard = 0
        for _ in range(1000):
            memory.execute_nowait([kv.Put(name.encode(), b"")])
            heard += len(await listening.answers(1))
            if server.statistics().clients_closed_slow:
                break
        await wait_all_tasks_blocked()
        statistics = server.statistics()
        assert statistics.clients_closed_slow == 1
        assert statistics.clients == 1
        assert 90 < heard < 1000
        assert await listening.ask("ping") == message("pong", "")
        assert statistics.memory_bytes < 10_000


async def test_a_slow_subscriber_hears_everything_in_order(world: RespWorld) -> None:
    async with (
        kv.open_memory(ports=world.server_ports) as memory,
        world.serve(namespace=memory) as server,
        world.client() as client,
    ):
        await client.say("psubscribe __keyspace@0__:*")
        names = [f"{at:0>4000}" for at in range(200)]
        for name in names:
            memory.execute_nowait([kv.Put(name.encode(), b"")])
            await wait_all_tasks_blocked()
        assert server.statistics().memory_bytes > 100_000
        await read_slowly(client, names)
        assert server.statistics().memory_bytes < 5000


async def read_slowly(client: RespClient, names: list[str]) -> None:
    for name in names:
        wanted = message("pmessage", "__keyspace@0__:*", f"__keyspace@0__:{name}", "set")
        while len(client.rest) < len(wanted):
            client.rest += await client.stream.receive_some(2000)
        assert client.rest[: len(wanted)] == wanted
        client.rest = client.rest[len(wanted) :]


async def test_subscriptions_are_bounded(world: RespWorld) -> None:
    async with world.serve(Limits(subscriptions=3)), world.client() as client:
        await client.say("subscribe a b", 2)
        answers = await client.say("psubscribe c d e", 2)
        assert answers[1] == b"-ERR too many subscriptions, the limit is 3\r\n"
        await client.say("unsubscribe a", 1)
        assert (await client.ask("subscribe f")).endswith(b":3\r\n")


async def test_a_watch_that_fails_as_the_last_subscriber_leaves_is_no_failure() -> None:
    lost = trio.Event()

    class Failing(WaitingNamespace):
        def _changes(self, changes: AsyncIterator[Change]) -> AsyncIterator[Change]:
            del changes
            return Lost()

    class Lost(AsyncIterator[Change]):
        async def __anext__(self) -> Change:
            await lost.wait()
            raise StoreUnavailable("the thread is lost")

    class Listening:
        def tell(self, pattern: bytes | None, channel: bytes, message: bytes) -> None:
            raise AssertionError((pattern, channel, message))

        def fall_behind(self) -> None:
            raise AssertionError("it has left")

    async with kv.open_memory() as memory, trio.open_nursery() as nursery:
        hub, listening = Hub(Failing(memory), Counters(), nursery), Listening()
        await hub.open()
        hub.subscribe(listening, b"a", pattern=False)
        await wait_all_tasks_blocked()
        lost.set()
        hub.unsubscribe(listening, b"a", pattern=False)


@pytest.mark.parametrize("words", ["subscribe", "psubscribe"])
async def test_no_message_overtakes_the_answer_to_subscribe(world: RespWorld, words: str) -> None:
    async with kv.open_memory(ports=world.server_ports) as memory:
        namespace = WaitingNamespace(memory)

        async def change(_: object = None) -> None:
            memory.execute_nowait([kv.Put(b"a", b"1")])
            await wait_all_tasks_blocked()

        namespace.before = change
        async with world.serve(namespace=namespace), world.client() as client:
            await client.ask("hello 3")
            await client.stream.send_all(f"{words} __keyspace@0__:a b c\r\nget a\r\n".encode())
            answers = await client.answers(5)
            assert [b"\r\nmessage" in each or b"\r\npmessage" in each for each in answers] == [
                *(False, False, False),
                *(True, False),
            ]


async def test_no_message_overtakes_when_many_names_are_subscribed_to(world: RespWorld) -> None:
    async with kv.open_memory(ports=world.server_ports) as memory:
        hearing = trio.Event()

        class Told(WaitingNamespace):
            @asynccontextmanager
            async def _watch(
                self, prefix: bytes, after: bytes | None
            ) -> AsyncIterator[AsyncIterator[Change]]:
                async with super()._watch(prefix, after) as changes:
                    hearing.set()
                    yield changes

        async def change_all_the_time() -> None:
            await hearing.wait()
            for _ in range(100):
                memory.execute_nowait([kv.Put(b"a", b"1")])
                await trio.lowlevel.checkpoint()

        async with (
            world.serve(namespace=Told(memory)),
            world.client() as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(change_all_the_time)
            names = " ".join(["__keyspace@0__:a", *map(str, range(40))])
            await client.stream.send_all(f"subscribe {names}\r\n".encode())
            while client.rest.count(b"subscribe") < 41:
                client.rest += await client.stream.receive_some()
            assert client.rest.index(b"subscribe") < client.rest.index(b"message")
