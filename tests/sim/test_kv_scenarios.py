"""The scenarios that an eventually consistent store has to pass, with their deadlines and counts.

Local: one server with 2 and 4 query actors. Remote: 2 and 4 servers with 1 and 4 query actors each,
200 ms apart; the sizes that show least are marked slow. What syncing costs is read from the counts
of the actor systems.
"""

import random
from collections.abc import Sequence
from typing import Any, Final

import pytest
import trio

from tests.support.kv_world import KvWorld, for_all, open_kv_world
from trio440.kv import EventualNamespace, Put
from trio440.kv.client import EventualClient

LOCAL_SECONDS: Final = 0.5
REMOTE_SECONDS: Final = 2.0
MOST_A_SECOND: Final = 10


def deadline_of(counts: Sequence[int]) -> float:
    return LOCAL_SECONDS if len(counts) == 1 else REMOTE_SECONDS


def slow(*counts: int) -> Any:
    return pytest.param(counts, marks=pytest.mark.slow)


SIZES: Final = [slow(2), (4,), slow(1, 1), slow(1, 1, 1, 1), (4, 4), slow(4, 4, 4, 4)]
all_sizes = pytest.mark.parametrize("counts", SIZES)
BUSY: Final = [slow(2), slow(4), (1, 1), slow(1, 1, 1, 1), slow(4, 4), slow(4, 4, 4, 4)]
all_sizes_busy = pytest.mark.parametrize("counts", BUSY)


# One actor


async def test_one_actor_gets_what_is_put() -> None:
    async with open_kv_world((1,)) as world:
        (client,) = world.every_client
        assert isinstance(client, EventualNamespace)
        assert await client.get(b"k") is None
        await client.put(b"k", b"v")
        entry = await client.get(b"k")
        assert entry is not None
        assert entry.value == b"v"
        for number in range(20):
            await client.put(b"k", b"%d" % number)
            entry = await client.get(b"k")
            assert entry is not None
            assert entry.value == b"%d" % number


async def test_one_actor_lists_prefixes() -> None:
    async with open_kv_world((1,)) as world:
        (client,) = world.every_client
        assert (await client.list()).entries == ()
        for key in (b"a/1", b"a/2", b"ab", b"b"):
            await client.put(key, b"v" + key)
        for prefix, keys in {
            b"": [b"a/1", b"a/2", b"ab", b"b"],
            b"a": [b"a/1", b"a/2", b"ab"],
            b"a/": [b"a/1", b"a/2"],
            b"c": [],
        }.items():
            page = await client.list(prefix)
            assert [(entry.key, entry.value) for entry in page.entries] == [
                (key, b"v" + key) for key in keys
            ]


async def test_one_actor_serves_four_clients_at_once() -> None:
    async with open_kv_world((1,)) as world:
        (first,) = world.every_client

        async def use(number: int, client: EventualClient) -> None:
            for count in range(25):
                await client.put(b"%d/%d" % (number, count), b"v")

        await for_all([first] * 4, use)
        assert await first.count() == 100


# Put and get


@all_sizes
async def test_what_is_put_on_one_is_read_on_all(counts: Sequence[int]) -> None:
    async with open_kv_world(counts) as world:
        clients = world.every_client
        for number in range(3):
            await clients[number % len(clients)].put(b"k%d" % number, b"v%d" % number)
        await trio.sleep(deadline_of(counts))
        for client in clients:
            for number in range(3):
                entry = await client.get(b"k%d" % number)
                assert entry is not None
                assert entry.value == b"v%d" % number


@all_sizes
async def test_a_key_of_each_client_is_read_by_all(counts: Sequence[int]) -> None:
    async with open_kv_world(counts) as world:
        clients = world.every_client

        async def put(number: int, client: EventualClient) -> None:
            await client.put(b"k%d" % number, b"v")
            entry = await client.get(b"k%d" % number)
            assert entry is not None, "its own put is visible on it at once"

        await for_all(clients, put)
        await trio.sleep(deadline_of(counts))
        expected = {b"k%d" % number: b"v" for number in range(len(clients))}
        assert await world.everything() == [expected] * len(clients)


# A put every 10 ms for 3 s


async def put_often(world: KvWorld, clients: Sequence[EventualClient], keys: int) -> None:
    async def put(number: int, client: EventualClient) -> None:
        began = trio.current_time()
        for step in range(300):
            await client.put(b"%d/%d" % (number, step % keys), b"%d" % step)
            await trio.sleep_until(began + 0.01 * (step + 1))
            if step in (10, 50, 299):
                assert world.highest_rate() <= MOST_A_SECOND

    await for_all(clients, put)


@pytest.mark.slow
@all_sizes
@pytest.mark.parametrize("keys", [pytest.param(1, marks=pytest.mark.slow), 300])
async def test_many_puts_of_one_client_are_told_in_few_messages(
    counts: Sequence[int], keys: int
) -> None:
    async with open_kv_world(counts) as world:
        await put_often(world, world.every_client[:1], keys)
        await trio.sleep(deadline_of(counts))
        everything = await world.everything()
        assert len(everything[0]) == keys
        assert all(each == everything[0] for each in everything)
        assert world.highest_rate() <= MOST_A_SECOND


@pytest.mark.slow
@all_sizes_busy
async def test_many_puts_of_all_clients_are_told_in_few_messages(counts: Sequence[int]) -> None:
    """With 4 servers of 4 actors these are 4800 puts."""
    async with open_kv_world(counts) as world:
        await put_often(world, world.every_client, 300)
        await trio.sleep(deadline_of(counts))
        everything = await world.everything()
        assert len(everything[0]) == 300 * len(everything)
        assert all(each == everything[0] for each in everything)
        assert world.highest_rate() <= MOST_A_SECOND


# The last writer wins


@all_sizes
@pytest.mark.parametrize(
    "puts",
    [
        [(0, b"first"), (-1, b"second")],
        [(-1, b"first"), (0, b"second")],
        [(0, b"a"), (-1, b"b"), (0, b"a")],
        [(-1, b"same"), (0, b"other"), (0, b"other"), (-1, b"same")],
    ],
)
async def test_the_last_of_writes_10_ms_apart_wins(
    counts: Sequence[int], puts: Sequence[tuple[int, bytes]]
) -> None:
    async with open_kv_world(counts) as world:
        clients = world.every_client
        for place, value in puts:
            await clients[place].put(b"k", value)
            await trio.sleep(0.01)
        await trio.sleep(deadline_of(counts))
        assert await world.everything() == [{b"k": puts[-1][1]}] * len(clients)


# Random operations


@all_sizes_busy
async def test_random_operations_end_in_identical_lists(counts: Sequence[int]) -> None:
    """100 of each client, over 50 keys and 10 values."""
    async with open_kv_world(counts) as world:
        put: set[bytes] = set()

        async def use(number: int, client: EventualClient) -> None:
            rng = random.Random(number)
            for _ in range(100):
                key = b"k%d" % rng.randrange(50)
                match rng.randrange(3):
                    case 0:
                        await client.get(key)
                    case 1:
                        await client.list(key[:2])
                    case _:
                        put.add(key)
                        await client.put(key, b"v%d" % rng.randrange(10))
                await trio.sleep(rng.random() / 50)

        await for_all(world.every_client, use)
        await trio.sleep(deadline_of(counts))
        everything = await world.everything()
        assert set(everything[0]) == put
        assert all(each == everything[0] for each in everything)


# What it costs


@pytest.mark.slow
@all_sizes
async def test_one_key_costs_the_same_after_1000_others(counts: Sequence[int]) -> None:
    async with open_kv_world(counts) as world:
        client = world.every_client[0]

        async def cost(key: bytes) -> int:
            before = world.bytes_sent()
            await client.put(key, b"v")
            await trio.sleep(deadline_of(counts))
            assert all(key in each for each in await world.everything())
            return world.bytes_sent() - before

        first = await cost(b"first")
        for ten in range(100):
            await client.execute([Put(b"filler/%d/%d" % (ten, one), b"v") for one in range(10)])
            await trio.sleep(0.01)
        await trio.sleep(3 * deadline_of(counts))
        assert await cost(b"other") <= 2 * first


@pytest.mark.slow
@pytest.mark.parametrize("servers", [2, pytest.param(4, marks=pytest.mark.slow)])
async def test_a_put_is_not_sent_to_each_actor_of_another_server(servers: int) -> None:
    """A server with 4 actors receives at most twice the bytes of one with a single actor."""
    received = []
    for count in (1, 4):
        async with open_kv_world((count,) * servers) as world:
            before = world.servers[-1].statistics().remote_bytes_received
            for number in range(200):
                await world.clients[0][number % count].put(b"k%d" % number, b"v" * 20)
                await trio.sleep(0.01)
            await trio.sleep(REMOTE_SECONDS)
            assert {len(each) for each in await world.everything()} == {200}
            received.append(world.servers[-1].statistics().remote_bytes_received - before)
    assert received[0] > 200 * 20
    assert received[1] <= 2 * received[0]


# Starting


@pytest.mark.parametrize("count", [1, 4])
async def test_a_new_server_has_what_was_there_before_it(count: int) -> None:
    async with open_kv_world((count,)) as world:
        for number in range(100):
            await world.clients[0][0].put(b"k%d" % number, b"v")
        await world.add_server(count)
        await trio.sleep(REMOTE_SECONDS)
        everything = await world.everything()
        assert len(everything[0]) == 100
        assert all(each == everything[0] for each in everything)


@pytest.mark.parametrize("count", [1, 4])
async def test_what_is_written_on_both_sides_of_a_join_is_kept(count: int) -> None:
    async with trio.open_nursery() as nursery, open_kv_world((count,)) as world:
        stop = trio.Event()

        async def write(name: bytes, client: EventualClient) -> None:
            number = 0
            while not stop.is_set():
                await client.put(b"%s/%d" % (name, number), b"v")
                number += 1
                await trio.sleep(0.05)

        nursery.start_soon(write, b"old", world.clients[0][0])
        await trio.sleep(0.3)
        await world.add_server(count)
        nursery.start_soon(write, b"new", world.clients[1][-1])
        await trio.sleep(2)
        stop.set()
        await trio.sleep(REMOTE_SECONDS)
        everything = await world.everything()
        assert len(everything[0]) > 100
        assert all(each == everything[0] for each in everything)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
async def test_four_servers_join_one_by_one(count: int) -> None:
    async with open_kv_world() as world:
        expected = {}
        for joined in range(4):
            await world.add_server(count)
            for number, clients in enumerate(world.clients):
                await clients[joined % count].put(b"%d/%d" % (joined, number), b"v")
                expected[b"%d/%d" % (joined, number)] = b"v"
            await trio.sleep(REMOTE_SECONDS)
            assert await world.everything() == [expected] * count * (joined + 1)
        assert world.highest_rate() <= MOST_A_SECOND


async def test_the_slowest_network_that_is_promised() -> None:
    async with open_kv_world((4, 4), latency_ms=250) as world:
        for number, client in enumerate(world.every_client):
            await client.put(b"%d" % number, b"v")
        await trio.sleep(REMOTE_SECONDS)
        assert {len(each) for each in await world.everything()} == {8}
