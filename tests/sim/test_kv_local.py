"""The eventual engine as its server's own process uses it."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from tests.support.kv_world import PORT, open_kv_world
from tests.support.resp_world import open_resp_world, packed
from trio440 import kv
from trio440.errors import HistoryCompacted, InvalidParameter, StoreUnavailable
from trio440.kv import Count, Delete, Expire, Get, List, Operation, Put, Result, local
from trio440.kv.operations import Changed, Found
from trio440.kv.replica import Replica


async def value_of(space: kv.Namespace, key: bytes) -> bytes | None:
    entry = await space.get(key)
    return None if entry is None else entry.value


def values(results: Sequence[Result]) -> list[bytes | None]:
    return [
        result.entry.value if isinstance(result, Found) and result.entry is not None else None
        for result in results
    ]


# Messages


async def test_calls_that_come_together_are_few_messages_to_the_actor() -> None:
    async with open_kv_world((2,)) as world:
        (server,) = world.servers
        space = server.namespace
        answers: dict[int, list[bytes | None]] = {}

        async def work(number: int) -> None:
            key = b"%d" % number
            answers[number] = values(await space.execute([Put(key, key), Get(key), Get(b"none")]))

        before = server.statistics()
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(work, number)
        after = server.statistics()
        assert answers == {n: [None, b"%d" % n, None] for n in range(100)}
        assert 1 <= space.messages < 20, "how many depends on the order of the tasks"
        assert after.sent_from_outside - before.sent_from_outside == space.messages
        assert (await server.inspect())[0].replica.writes == 100


async def test_what_is_too_much_for_one_message_goes_with_the_next() -> None:
    async with open_kv_world((1,)) as world:
        space = world.servers[0].namespace
        sizes = [1, local.MOST_OPERATIONS - 1, 1, local.MOST_OPERATIONS + 5, 2]
        ended: list[int] = []

        async def work(size: int) -> None:
            results = await space.execute([Put(b"%d" % at, b"v") for at in range(size)])
            assert len(results) == size
            assert all(isinstance(result, Changed) for result in results)
            ended.append(size)

        async with trio.open_nursery() as nursery:
            for size in sizes:
                nursery.start_soon(work, size)
        assert sorted(ended) == sorted(sizes)
        assert 2 <= space.messages <= 4


async def test_each_batch_has_the_limits_of_one() -> None:
    """What many read together passes the limit of one batch."""
    limits = kv.ReplicaLimits(batch_bytes=1000)
    async with open_kv_world((1,), limits=limits) as world:
        space = world.servers[0].namespace
        await space.put(b"k", b"v" * 600)
        found: list[bytes | None] = []

        async def read() -> None:
            found.append(await value_of(space, b"k"))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(read)
        assert found == [b"v" * 600] * 20
        results = await space.execute([Get(b"k")] * 3)
        assert values(results) == [b"v" * 600, b"v" * 600, None]


async def test_what_one_task_has_written_every_other_one_reads_at_once() -> None:
    async with open_kv_world((3,)) as world:
        space = world.servers[0].namespace
        for number in range(10):
            await space.put(b"k", b"%d" % number)

            async def read(wanted: bytes) -> None:
                assert await value_of(space, b"k") == wanted

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(read, b"%d" % number)
        await trio.sleep(1)
        for client in world.every_client:
            assert await value_of(client, b"k") == b"9"


async def test_a_call_that_is_cancelled_early_is_not_carried_out_and_others_are() -> None:
    async with open_kv_world((1,)) as world:
        space = world.servers[0].namespace
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(space.put, b"%d" % number, b"v")
            with trio.move_on_after(0) as scope:
                await space.put(b"cancelled", b"v")
            assert scope.cancelled_caught
        page = await space.list()
        assert [entry.key for entry in page.entries] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_call_may_be_cancelled_at_any_turn() -> None:
    """Whatever has become of it, the namespace goes on."""
    async with open_kv_world((1,)) as world:
        space = world.servers[0].namespace
        happened = set()
        for turns in range(8):
            key = b"%d" % turns
            async with trio.open_nursery() as nursery:
                nursery.start_soon(space.put, key, b"v")
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            happened.add(await value_of(space, key))
        assert happened == {None, b"v"}


# Errors


async def test_an_actor_that_fails_has_perhaps_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_kv_world((1,)) as world:
        space = world.servers[0].namespace
        await space.put(b"k", b"v")

        def fail(*_: object) -> Any:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(Replica, "execute", fail)
            failures: list[tuple[str, bool]] = []

            async def work(*operations: Operation) -> None:
                with pytest.raises(StoreUnavailable) as caught:
                    await space.execute(operations)
                failures.append((caught.value.reason, caught.value.may_have_happened))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(work, Get(b"k"), List(), Count())
                nursery.start_soon(work, Get(b"k"), Put(b"k", b"w"))
        assert sorted(failures) == [
            ("its query actor failed", False),
            ("its query actor failed", True),
        ]
        assert await value_of(space, b"k") == b"v"


@pytest.mark.parametrize(
    "wrong",
    [
        Get("k"),  # type: ignore[arg-type]
        Put(b"k", "v"),  # type: ignore[arg-type]
        Put("k", b"v"),  # type: ignore[arg-type]
        Put(b"k", b"v", ttl_ms="5"),  # type: ignore[arg-type]
        Put(b"k", b"v", ttl_ms=0.5),  # type: ignore[arg-type]
        Delete(None),  # type: ignore[arg-type]
        Expire(b"k", b"5"),  # type: ignore[arg-type]
        List(5),  # type: ignore[arg-type]
        List(b"", after="k"),  # type: ignore[arg-type]
    ],
    ids=str,
)
async def test_what_no_wire_can_carry_does_not_reach_the_actor(wrong: Operation) -> None:
    async with open_kv_world((1,)) as world:
        space = world.servers[0].namespace
        with pytest.raises(InvalidParameter, match=r"must be (bytes|a whole number)"):
            await space.execute([Put(b"other", b"v"), wrong])
        assert await space.count() == 0
        assert world.servers[0].statistics().crashes == 0


async def test_too_many_calls_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MOST_CALLS", 3)
    async with open_kv_world((1,)) as world:
        space = world.servers[0].namespace
        refused: list[StoreUnavailable] = []

        async def work(number: int) -> None:
            try:
                await space.put(b"%d" % number, b"v")
            except StoreUnavailable as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(work, number)
        assert [error.may_have_happened for error in refused] == [False, False]
        assert await space.count() == 3


async def test_it_ends_with_its_server() -> None:
    async with open_kv_world() as world:
        address, ports = world.machine()
        async with kv.open_server(PORT, host=address, ports=ports) as server:
            space = server.namespace
            await space.put(b"k", b"v")
        for operations in ([], [Get(b"k")]):
            with pytest.raises(trio.ClosedResourceError):
                await space.execute(operations)
        with pytest.raises(trio.ClosedResourceError):
            async with space.watch():
                pass


# Watching


async def test_positions_are_those_of_the_actor_whoever_asks_it() -> None:
    async with open_kv_world((2, 1)) as world:
        space, remote = world.servers[0].namespace, world.clients[0][0]
        async with space.watch(b"a") as here, remote.watch(b"a") as there:
            for number in range(3):
                await space.put(b"a%d" % number, b"v")
            seen = [await anext(here) for _ in range(3)]
            assert [await anext(there) for _ in range(3)] == seen
        async with space.watch(after=seen[0].position) as changes:
            assert [await anext(changes) for _ in range(2)] == seen[1:]
        await trio.sleep(1)
        for client in (world.clients[0][1], world.clients[1][0]):
            async with client.watch(b"b") as changes:
                await client.put(b"b", b"v")
                position = (await anext(changes)).position
                await client.put(b"b", b"w")
            if client is world.clients[0][1]:
                async with space.watch(b"b", after=position) as changes:
                    assert (await anext(changes)).value == b"w", "another actor of this server"
            else:
                with pytest.raises(HistoryCompacted):
                    async with space.watch(b"b", after=position):
                        raise AssertionError("not reached")  # pragma: no cover


# Redis' clients


async def test_pipelines_of_many_connections_are_answered_in_their_order() -> None:
    async with open_kv_world((1,)) as eventual, open_resp_world() as world:
        space = eventual.servers[0].namespace

        async def work(number: int) -> None:
            async with world.client() as client:
                for turn in range(3):
                    keys = [b"%d/%d" % (number, at) for at in range(16)]
                    puts = b"".join(packed([b"SET", key, b"%d" % turn]) for key in keys)
                    gets = b"".join(packed([b"GET", key]) for key in [*keys, b"none"])
                    await client.stream.send_all(puts)
                    assert await client.answers(16) == [b"+OK\r\n"] * 16
                    await client.stream.send_all(gets)
                    wanted = [b"$1\r\n%d\r\n" % turn] * 16
                    assert await client.answers(17) == [*wanted, b"$-1\r\n"]
                await client.stream.send_all(packed([b"SET", b"one", b"v"]))
                assert await client.answers(1) == [b"+OK\r\n"]
                await client.stream.send_all(packed([b"GET", b"one"]))
                assert await client.answers(1) == [b"$1\r\nv\r\n"]

        async with world.serve(namespace=space) as server, trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(work, number)
        assert server.statistics().operations == 5 * (3 * 33 + 2)
        assert space.messages <= server.statistics().batches
