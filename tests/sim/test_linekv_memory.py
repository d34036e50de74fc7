"""What clients that do not read, or read slowly, may cost a line-protocol server."""

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from tests.support.sim_network import SimNetwork, open_sim_network
from trio440.linekv import Client, Limits, Server, connect, open_server
from trio440.linekv.protocol import Get, Put
from trio440.linekv.session import STALL_SECONDS
from trio440.linekv.store import OVERHEAD_BYTES, Store, Values

SERVER = "10.0.0.1"
PORT = 9999
KIB = 1 << 10
VALUE = b"v" * (16 * KIB)
LINE = len(b"k:") + len(VALUE) + len(b"\n") + OVERHEAD_BYTES
"""What one value of the key ``k`` is charged in a queue."""


class World:
    """A network with one server machine and one machine for the clients."""

    def __init__(self, network: SimNetwork) -> None:
        self.network = network
        self._server_ports = network.host(SERVER, seed=1)
        self._client_ports = network.host("10.0.0.2", seed=2)

    @asynccontextmanager
    async def server(self, limits: Limits) -> AsyncIterator[Server]:
        async with open_server(PORT, host=SERVER, limits=limits, ports=self._server_ports) as it:
            yield it

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with connect(SERVER, PORT, ports=self._client_ports) as client:
            yield client


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_sim_network(1) as network:
        network.stream_capacity = 8 * KIB
        yield World(network)


async def count_lines(client: Client) -> int:
    """Read what comes until nothing comes for a second."""
    count = 0
    with trio.CancelScope() as scope:
        while True:
            scope.deadline = trio.current_time() + 1
            assert await client.receive_line() == b"k:" + VALUE
            count += 1
    return count


async def test_one_client_may_queue_only_so_many_bytes(world: World) -> None:
    limits = Limits(client_queued_bytes=10 * LINE)
    async with world.server(limits) as server, world.client() as client:
        await client.put(b"k", VALUE)
        await client.send(b"Get:k\n" * 100)
        await trio.sleep(1)
        assert server.statistics().queued_bytes == 10 * LINE
        assert server.statistics().messages_dropped == 90
        assert await count_lines(client) == 10
        assert server.statistics().queued_bytes == 0
        assert await client.get(b"k") == [VALUE]


async def test_all_clients_together_may_queue_only_so_many_bytes(world: World) -> None:
    limits = Limits(clients=10, queued_bytes=40 * LINE)  # two lines are each client's share
    async with world.server(limits) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(world.client()) for _ in range(10)]
        await clients[0].put(b"k", VALUE)
        for client in clients:
            await client.send(b"Get:k\n" * 50)
            await trio.sleep(1)
        assert server.statistics().queued_bytes == 40 * LINE
        assert server.statistics().messages_dropped == 500 - 40
        assert [await count_lines(client) for client in clients] == [22, *[2] * 9]
        assert server.statistics().queued_bytes == 0


async def test_the_queue_of_a_client_that_leaves_is_free_again(world: World) -> None:
    limits = Limits(clients=2, queued_bytes=40 * LINE)
    async with world.server(limits) as server, world.client() as first:
        await first.put(b"k", VALUE)
        await trio.sleep(1)
        for _ in range(3):
            async with world.client() as slow:
                await slow.send(b"Get:k\n" * 50)
                await trio.sleep(1)
                assert server.statistics().queued_bytes == 30 * LINE
            await trio.sleep(1)
            assert server.statistics().queued_bytes == 0


async def test_a_client_that_reads_loses_nothing_beside_those_that_do_not(world: World) -> None:
    limits = Limits(clients=10, queued_bytes=5 * LINE)  # no share takes a whole line
    async with world.server(limits) as server, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(world.client()) for _ in range(9)]
        for _ in range(20):
            await slow[0].put(b"k", VALUE)
        await trio.sleep(1)
        for client in slow:
            await client.send(b"Get:k\n" * 5)
        await trio.sleep(1)
        dropped = server.statistics().messages_dropped
        assert server.statistics().queued_bytes <= (5 + 9) * LINE
        world.network.stream_capacity = 64 * KIB
        async with world.client() as quick:
            with trio.fail_after(STALL_SECONDS):
                for _ in range(3):
                    assert await quick.get(b"k") == [VALUE] * 20
        assert server.statistics().messages_dropped == dropped


async def test_the_lists_that_slow_readers_wait_for_are_bounded(world: World) -> None:
    size = 20 * (len(VALUE) + OVERHEAD_BYTES)
    limits = Limits(queued_messages=2, held_bytes=3 * size)
    async with world.server(limits) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(world.client()) for _ in range(6)]
        for number, client in enumerate(clients):
            await client.send(b"Delete:k\n" + b"Put:k:%b\n" % VALUE * 20 + b"Get:k\n")
            await trio.sleep(STALL_SECONDS / 10)
            assert server.statistics().held_bytes == size * min(number + 1, 3)
        received = 0
        async with trio.open_nursery() as nursery:

            async def read(client: Client, least: int, most: int) -> None:
                nonlocal received
                count = await count_lines(client)
                assert least <= count <= most
                received += count

            for client in clients[:3]:
                nursery.start_soon(read, client, 1, 5)
            for client in clients[3:]:
                nursery.start_soon(read, client, 20, 20)
        assert server.statistics().messages_dropped == 6 * 20 - received
        assert server.statistics().held_bytes == 0
        for client in clients:
            assert await client.get(b"k") == [VALUE] * 20


async def test_a_list_longer_than_all_that_may_be_held_is_read_to_its_end(world: World) -> None:
    limits = Limits(queued_messages=2, held_bytes=1)
    async with world.server(limits) as server, world.client() as one, world.client() as other:
        for _ in range(50):
            await one.put(b"k", VALUE)
        async with trio.open_nursery() as nursery:
            for client in (one, other):
                await client.send_line(b"Get:k")
                nursery.start_soon(count_lines, client)
        assert server.statistics().messages_dropped == 0


def test_a_list_that_is_cut_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a whole server: no task's frame may keep what the count says is gone."""
    made: list[weakref.ref[Values]] = []
    plain_apply = Store.apply

    def apply(store: Store, request: object) -> object:
        answer = plain_apply(store, request)  # type: ignore[arg-type]  # handed on
        if isinstance(answer, Values):
            made.append(weakref.ref(answer))
        return answer

    monkeypatch.setattr(Store, "apply", apply)

    async def main() -> None:
        limits = Limits(queued_messages=2, held_bytes=1)
        async with open_sim_network(1) as network:
            network.stream_capacity = 8 * KIB
            world = World(network)
            async with world.server(limits), world.client() as one, world.client() as other:
                for client in (one, other):
                    await client.send(b"Delete:k\n" + b"Put:k:%b\n" % VALUE * 20 + b"Get:k\n")
                    await trio.sleep(STALL_SECONDS / 10)
                gc.collect()
                assert [answer() is not None for answer in made] == [False, True]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_an_unchanged_list_is_given_to_all() -> None:
    store = Store(max_keys=10, max_bytes=1000)
    store.apply(Put(b"k", b"1"))
    first = store.apply(Get(b"k"))
    assert store.apply(Get(b"k")) is first
    store.apply(Put(b"k", b"2"))
    assert store.apply(Get(b"k")) == Values(b"k", (b"1", b"2"))
    assert first == Values(b"k", (b"1",))
