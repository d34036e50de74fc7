"""The course's echo scenarios: plain, with a slow, late or lossy world, and on the wire."""

import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

import pytest
import trio

from tests.support.lsp_world import (
    Packet,
    echo_forever,
    echo_in_turn,
    echo_pipelined,
    is_anything,
    open_world,
    running,
    seeds,
    together,
)
from trio440 import lsp
from trio440.lsp.message import Ack, Connect, Data

Echo: TypeAlias = Callable[[lsp.Client, Sequence[bytes]], Awaitable[None]]


def echo_of(seed: int) -> Echo:
    """Take turns between the two manners of echoing."""
    return (echo_in_turn, echo_pipelined)[seed % 2]


async def check_echo(seed: int, count: int, messages: int, params: lsp.Params) -> float:
    """Let clients echo at once, all out of phase; return the virtual seconds it took."""
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        running(echo_forever, server),
        world.open_clients(count, params, spread_epochs=1.0) as clients,
    ):
        start = world.now()
        await together(echo_of(seed)(client, world.texts(messages)) for client in clients)
        return world.now() - start


@seeds(8)
@pytest.mark.parametrize(("count", "messages"), [pytest.param(1, 3, id="1x3"), (1, 50), (2, 50)])
async def test_echo_in_two_seconds(seed: int, count: int, messages: int) -> None:
    params = lsp.Params(5, 2000, 1, 0, 1)
    assert await check_echo(seed, count, messages, params) < 2.0


@seeds(4)
async def test_echo_of_many_clients(seed: int) -> None:
    await check_echo(seed, 10, 50, lsp.Params(5, 2000, 2, 0, 2))


@seeds(2)
async def test_echo_of_many_messages(seed: int) -> None:
    await check_echo(seed, 2, 500, lsp.Params(5, 2000, 2, 0, 1))


@pytest.mark.campaign
@seeds(2)
async def test_echo_of_many_messages_of_many_clients(seed: int) -> None:
    params = lsp.Params(5, 2000, 20, 0, 10)
    await check_echo(seed, 10, 500, params)


@seeds(4)
@pytest.mark.parametrize(("count", "messages", "window"), [(4, 10, 2), (5, 10, 10), (2, 50, 10)])
async def test_echo_by_a_server_that_takes_its_time(
    seed: int, count: int, messages: int, window: int
) -> None:
    params = lsp.Params(5, 2000, window, 0, window)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        running(echo_forever, server, partial(world.rng.uniform, 0, 0.1)),
        world.open_clients(count, params) as clients,
    ):
        start = world.now()
        await together(echo_of(seed)(client, world.texts(messages)) for client in clients)
        assert world.now() - start < 0.1 * count * messages
        assert server.statistics().lost == 0


@seeds(8)
@pytest.mark.parametrize(
    ("count", "epoch_millis"), [(1, 5000), (4, 5000), (1, 10_000), (4, 10_000)]
)
async def test_without_loss_no_epoch_has_to_pass(seed: int, count: int, epoch_millis: int) -> None:
    params = lsp.Params(3, epoch_millis, 1, 0, 1)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        running(echo_forever, server),
        world.open_clients(count, params) as clients,
    ):
        await together(echo_of(seed)(client, world.texts(6)) for client in clients)
        assert world.now() < 0.1
        sent = [(p.source, p.destination, p.number) for p in world.data()]
        assert len(sent) == len(set(sent)) == 2 * 6 * count


@pytest.mark.slow
@seeds(4)
@pytest.mark.parametrize("window", [1, 2, 5, 10])
@pytest.mark.parametrize(("count", "messages"), [(1, 10), (3, 15), (5, 10)])
async def test_echo_where_every_fifth_datagram_is_lost(
    seed: int, count: int, messages: int, window: int
) -> None:
    params = lsp.Params(20, 50, window, 0, window)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        running(echo_forever, server),
        world.open_clients(count, params, spread_epochs=1.0) as clients,
    ):
        start = world.now()
        world.network.weather(loss=0.2)
        await together(echo_of(seed)(client, world.texts(messages)) for client in clients)
        assert world.now() - start < 15.0
        assert world.network.dropped["loss"] > 0
        # A client that leaves is silent: the server must first hear its last acknowledgements.
        world.network.weather(loss=0.0)
        await trio.sleep(0.15)


@seeds(8)
@pytest.mark.parametrize("count", [1, 3])
async def test_a_server_may_start_three_epochs_late(seed: int, count: int) -> None:
    params = lsp.Params(5, 500, 1, 0, 1)

    async with open_world(seed) as world:
        late_seconds = 0.5 * world.rng.uniform(2.5, 3.5)

        async def use_a_client() -> None:
            async with world.connect(params) as client:
                assert late_seconds < world.now() < late_seconds + 0.51
                await echo_in_turn(client, world.texts(10))

        async def serve_late() -> None:
            await trio.sleep(late_seconds)
            async with world.open_server(params) as server, running(echo_forever, server):
                await trio.sleep_forever()

        async with running(serve_late):
            await together(use_a_client() for _ in range(count))
        asked = world.packets(lambda packet: isinstance(packet.message, Connect))
        ticks = range(math.ceil(late_seconds / 0.5) + 1)
        assert [packet.time for packet in asked] == [
            0.5 * tick for tick in ticks for _ in range(count)
        ]


@seeds(2)
async def test_the_first_numbers_on_the_wire_follow_the_isn(seed: int) -> None:
    params = lsp.Params(5, 2000, 1, 0, 1)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        running(echo_forever, server),
    ):
        isns = world.rng.sample(range(1, 257), 100)

        async def use_a_client(isn: int) -> None:
            async with world.connect(params, isn=isn) as client:
                await echo_in_turn(client, world.texts(1))

        await together(use_a_client(isn) for isn in isns)
        by_client: dict[object, list[Packet]] = {}
        for packet in world.packets(is_anything):
            by_client.setdefault(packet.client, []).append(packet)
        first = [first_numbers(packets) for packets in by_client.values()]
        assert sorted(first) == [[isn, isn, isn + 1, isn + 1] for isn in sorted(isns)]


def first_numbers(packets: list[Packet]) -> list[int]:
    """Return the first numbers of Connect, its Ack, and Data from the client and the server."""

    def first(kind: type, *, from_server: bool) -> int:
        return next(
            packet.number
            for packet in packets
            if isinstance(packet.message, kind) and packet.from_server is from_server
        )

    return [
        first(Connect, from_server=False),
        first(Ack, from_server=True),
        first(Data, from_server=False),
        first(Data, from_server=True),
    ]


@pytest.mark.parametrize(
    "params",
    [
        lsp.Params(),
        lsp.Params(2, 500, 1, 0, 1),
        lsp.Params(3, 100, 20, 4, 10),
        lsp.Params(5, 2000, 5, 2, 50),
    ],
    ids=str,
)
@seeds(2)
async def test_an_idle_connection_lives_on_heartbeats_alone(seed: int, params: lsp.Params) -> None:
    epoch = params.epoch_millis / 1000
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        running(echo_forever, server),
        world.open_clients(3, params, spread_epochs=1.0) as clients,
    ):
        start = world.now() + 0.01 * epoch
        await trio.sleep(100.5 * epoch)
        packets = world.packets(is_anything, since=start)
        for client in clients:
            address = server.remote_address(client.conn_id)
            for from_server in (False, True):
                said = [
                    (packet.time, packet.message)
                    for packet in packets
                    if packet.client == address and packet.from_server is from_server
                ]
                assert {message for _, message in said} == {Ack(client.conn_id, 0)}
                assert len(said) in {100, 101}
                gaps = [after[0] - before[0] for before, after in itertools.pairwise(said)]
                assert gaps == pytest.approx([epoch] * len(gaps))
        await together(echo_in_turn(client, world.texts(3)) for client in clients)
        assert server.statistics().lost == 0
