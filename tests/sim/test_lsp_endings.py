"""The course's scenarios about endings and about a network that goes away and comes back."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import pytest
import trio

from tests.support.lsp_world import (
    LspWorld,
    collect,
    echo_forever,
    echo_in_turn,
    open_world,
    read_to_loss,
    running,
    seeds,
    together,
)
from trio440 import lsp

counts = pytest.mark.parametrize("count", [1, 2, 3])
limits = pytest.mark.parametrize("epoch_limit", [5, 2])


async def read_losses(server: lsp.Server, count: int) -> list[int]:
    """Read ``count`` losses and nothing else; then nothing more is reported."""
    lost: list[int] = []
    for _ in range(count):
        with pytest.raises(lsp.ConnectionLost) as caught:
            await server.read()
        lost.append(caught.value.conn_id)
    assert await collect(server.read, seconds=5.0) == []
    return sorted(lost)


async def read_loss_in_time(world: LspWorld, client: lsp.Client, params: lsp.Params) -> None:
    """The other side has just fallen silent: epoch_limit ticks from now, not one more."""
    start, epoch = world.now(), params.epoch_millis / 1000
    assert await read_to_loss(client) == []
    passed = world.now() - start
    assert (params.epoch_limit - 1) * epoch - 0.01 < passed < params.epoch_limit * epoch + 0.01


@seeds(4)
@limits
@counts
async def test_clients_of_a_closed_server_notice_in_time(
    seed: int, count: int, epoch_limit: int
) -> None:
    params = lsp.Params(epoch_limit, 500, 1, 0, 1)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(count, params, spread_epochs=1.0) as clients,
    ):
        async with running(echo_forever, server):
            await together(echo_in_turn(client, world.texts(10)) for client in clients)
        await server.close()
        await together(read_loss_in_time(world, client, params) for client in clients)


@seeds(4)
@limits
@counts
async def test_each_closed_connection_gives_one_error_on_either_side(
    seed: int, count: int, epoch_limit: int
) -> None:
    params = lsp.Params(epoch_limit, 500, 1, 0, 1)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(count, params, spread_epochs=1.0) as clients,
    ):
        async with running(echo_forever, server):
            await together(echo_in_turn(client, world.texts(10)) for client in clients)
        now = world.now()
        for client in clients:
            server.close_conn(client.conn_id)
        closed: list[int] = []
        for _ in clients:
            with pytest.raises(lsp.ConnectionClosed) as caught:
                await server.read()
            closed.append(caught.value.conn_id)
        assert closed == [client.conn_id for client in clients]
        assert world.now() == now
        await together(read_loss_in_time(world, client, params) for client in clients)
        assert await collect(server.read, seconds=5.0) == []


@seeds(4)
@limits
@counts
async def test_a_server_reports_each_closed_client_once(
    seed: int, count: int, epoch_limit: int
) -> None:
    params = lsp.Params(epoch_limit, 500, 1, 0, 1)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(count, params, spread_epochs=1.0) as clients,
    ):
        async with running(echo_forever, server):
            await together(echo_in_turn(client, world.texts(10)) for client in clients)
        start = world.now()
        await together(client.close() for client in clients)
        assert world.now() - start < 0.01
        lost = await read_losses(server, count)
        assert lost == [client.conn_id for client in clients]
        assert world.now() - start < epoch_limit * 0.5 + 5.1
        assert server.conn_ids == ()


class Tides:
    """A network that is off, then on for a while, then off again."""

    def __init__(self, world: LspWorld, params: lsp.Params, on_seconds: float) -> None:
        self._world = world
        self._epoch = params.epoch_millis / 1000
        self._on_seconds = on_seconds
        world.switch_off()

    async def wait_off(self) -> None:
        """Let some time pass, fewer epochs than a connection survives."""
        await trio.sleep(self._epoch * self._world.rng.uniform(0.2, 2.0))

    async def flow(self) -> None:
        """Switch the network on for long enough, and off again."""
        await self.wait_off()
        self._world.mend()
        await trio.sleep(self._on_seconds)
        self._world.switch_off()


Scenario: TypeAlias = Callable[
    [LspWorld, Tides, lsp.Server, Sequence[lsp.Client], dict[int, list[bytes]]], Awaitable[None]
]


async def read_at_once(
    world: LspWorld, server: lsp.Server, count: int, conn_ids: Sequence[int]
) -> dict[int, list[bytes]]:
    """Read what a server has received, with the network off."""
    start = world.now()
    read: dict[int, list[bytes]] = {conn_id: [] for conn_id in conn_ids}
    for _ in range(count):
        conn_id, text = await server.read()
        read[conn_id].append(text)
    assert world.now() == start
    return read


async def clients_read_at_once(
    world: LspWorld, clients: Sequence[lsp.Client], texts: dict[int, list[bytes]]
) -> None:
    """Read what clients have received, with the network off."""
    start = world.now()
    for client in clients:
        expected = texts[client.conn_id]
        assert [await client.read() for _ in expected] == expected
    assert world.now() == start


async def server_to_client(
    world: LspWorld,
    tides: Tides,
    server: lsp.Server,
    clients: Sequence[lsp.Client],
    texts: dict[int, list[bytes]],
) -> None:
    write_from_server(server, texts)
    await tides.flow()
    await clients_read_at_once(world, clients, texts)


async def client_to_server(
    world: LspWorld,
    tides: Tides,
    server: lsp.Server,
    clients: Sequence[lsp.Client],
    texts: dict[int, list[bytes]],
) -> None:
    write_from_clients(clients, texts)
    await tides.flow()
    assert await read_at_once(world, server, size_of(texts), list(texts)) == texts


async def round_trip(
    world: LspWorld,
    tides: Tides,
    server: lsp.Server,
    clients: Sequence[lsp.Client],
    texts: dict[int, list[bytes]],
) -> None:
    await client_to_server(world, tides, server, clients, texts)
    await server_to_client(world, tides, server, clients, texts)


async def server_fast_close(
    world: LspWorld,
    tides: Tides,
    server: lsp.Server,
    clients: Sequence[lsp.Client],
    texts: dict[int, list[bytes]],
) -> None:
    write_from_server(server, texts)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.close)
        await tides.flow()
        assert nursery.child_tasks == frozenset()
    for client in clients:
        assert await read_to_loss(client) == texts[client.conn_id]


async def server_closes_connections_fast(
    world: LspWorld,
    tides: Tides,
    server: lsp.Server,
    clients: Sequence[lsp.Client],
    texts: dict[int, list[bytes]],
) -> None:
    write_from_server(server, texts)
    for client in clients:
        server.close_conn(client.conn_id)
    await tides.flow()
    assert server.statistics().connections == 0
    for client in clients:
        assert await read_to_loss(client) == texts[client.conn_id]
        with pytest.raises(lsp.ConnectionClosed):
            await server.read()
    assert await collect(server.read, seconds=5.0) == []


async def client_fast_close(
    world: LspWorld,
    tides: Tides,
    server: lsp.Server,
    clients: Sequence[lsp.Client],
    texts: dict[int, list[bytes]],
) -> None:
    write_from_clients(clients, texts)
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.close)
        await tides.flow()
        assert nursery.child_tasks == frozenset()
    assert await read_at_once(world, server, size_of(texts), list(texts)) == texts
    assert await read_losses(server, len(clients)) == list(texts)


def write_from_server(server: lsp.Server, texts: dict[int, list[bytes]]) -> None:
    for conn_id, messages in texts.items():
        for message in messages:
            server.write(conn_id, message)


def write_from_clients(clients: Sequence[lsp.Client], texts: dict[int, list[bytes]]) -> None:
    for client in clients:
        for message in texts[client.conn_id]:
            client.write(message)


def size_of(texts: dict[int, list[bytes]]) -> int:
    return sum(len(messages) for messages in texts.values())


async def check_tides(
    seed: int,
    scenario: Scenario,
    *,
    count: int,
    messages: int,
    params: lsp.Params,
    on_seconds: float,
) -> None:
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(count, params, spread_epochs=1.0) as clients,
    ):
        texts = {client.conn_id: world.texts(messages) for client in clients}
        await scenario(world, Tides(world, params, on_seconds), server, clients, texts)
        world.mend()


scenarios = pytest.mark.parametrize(
    "scenario",
    [
        server_to_client,
        client_to_server,
        round_trip,
        server_fast_close,
        server_closes_connections_fast,
        client_fast_close,
    ],
)


@seeds(6)
@scenarios
@pytest.mark.parametrize("count", [1, 3])
async def test_what_was_pending_is_flushed_when_the_network_comes_back(
    seed: int, scenario: Scenario, count: int
) -> None:
    params = lsp.Params(5, 500, 1, 0, 1)
    await check_tides(seed, scenario, count=count, messages=10, params=params, on_seconds=1.0)


@pytest.mark.slow
@seeds(1)
@pytest.mark.parametrize(
    "scenario",
    [
        client_to_server,
        server_fast_close,
        pytest.param(server_to_client, marks=pytest.mark.campaign),
        pytest.param(round_trip, marks=pytest.mark.campaign),
        pytest.param(server_closes_connections_fast, marks=pytest.mark.campaign),
        pytest.param(client_fast_close, marks=pytest.mark.campaign),
    ],
)
async def test_much_that_was_pending_is_flushed_when_the_network_comes_back(
    seed: int, scenario: Scenario
) -> None:
    params = lsp.Params(5, 2000, 1, 0, 1)
    await check_tides(seed, scenario, count=5, messages=500, params=params, on_seconds=6.0)
