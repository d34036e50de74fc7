"""The course's scenarios about windows, back-off and acknowledgements, checked on the wire."""

from collections.abc import Iterable, Sequence

import attrs
import pytest
import trio

from tests.support.lsp_world import (
    LspWorld,
    Packet,
    collect,
    echo_forever,
    is_ack,
    is_data,
    open_world,
    running,
    seeds,
    together,
)
from trio440 import lsp
from trio440.lsp.message import Ack, CAck, Data, Message

Texts = dict[int, list[bytes]]
"""What was written or read on each connection, by its id."""


async def write_all(
    world: LspWorld,
    server: lsp.Server,
    clients: Sequence[lsp.Client],
    count: int,
    *,
    to_server: bool,
) -> Texts:
    """Write ``count`` texts on each connection at once."""
    written = {client.conn_id: world.texts(count) for client in clients}
    for client in clients:
        for text in written[client.conn_id]:
            if to_server:
                client.write(text)
            else:
                server.write(client.conn_id, text)
    return written


async def read_for(
    seconds: float, server: lsp.Server, clients: Sequence[lsp.Client], *, to_server: bool
) -> Texts:
    """Read whatever becomes readable within ``seconds``."""
    read: Texts = {client.conn_id: [] for client in clients}
    if to_server:
        for conn_id, text in await collect(server.read, seconds=seconds):
            read[conn_id].append(text)
    else:
        found = await together(collect(client.read, seconds=seconds) for client in clients)
        read.update(zip(read, found, strict=True))
    return read


async def read_exactly(
    count: int, server: lsp.Server, clients: Sequence[lsp.Client], *, to_server: bool
) -> Texts:
    """Read ``count`` messages of each connection."""
    read: Texts = {client.conn_id: [] for client in clients}
    if to_server:
        for _ in range(count * len(clients)):
            conn_id, text = await server.read()
            read[conn_id].append(text)
    else:
        for client in clients:
            read[client.conn_id] = [await client.read() for _ in range(count)]
    return read


def sendings(packets: Iterable[Packet]) -> dict[int, dict[int, list[float]]]:
    """Group Data by connection and number: the times at which each was sent."""
    found: dict[int, dict[int, list[float]]] = {}
    for packet in packets:
        assert isinstance(packet.message, Data)
        found.setdefault(packet.message.conn_id, {}).setdefault(packet.number, []).append(
            packet.time
        )
    return found


either_direction = pytest.mark.parametrize(
    "to_server", [pytest.param(True, id="to_server"), pytest.param(False, id="to_clients")]
)


@pytest.mark.slow
@seeds(3)
@either_direction
@pytest.mark.parametrize(
    ("count", "messages", "window", "unacked"),
    [(1, 10, 5, 50), (5, 25, 10, 50), (10, 25, 10, 50), (10, 25, 50, 5), (10, 25, 50, 10)],
)
async def test_without_acknowledgements_exactly_one_window_arrives(
    seed: int,
    *,
    count: int,
    messages: int,
    window: int,
    unacked: int,
    to_server: bool,
) -> None:
    params = lsp.Params(3, 500, window, 0, unacked)
    capacity = min(window, unacked)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(count, params) as clients,
    ):
        world.cut(lambda packet: is_ack(packet) and packet.from_server is to_server)
        written = await write_all(world, server, clients, messages, to_server=to_server)
        cut_seconds = 0.5 * world.rng.uniform(0.5, 1.7)
        before = await read_for(cut_seconds, server, clients, to_server=to_server)
        assert before == {key: texts[:capacity] for key, texts in written.items()}
        sent = sendings(world.data())
        assert {len(numbers) for numbers in sent.values()} == {capacity}
        assert len(sent) == count

        world.mend()
        rest = await read_exactly(messages - capacity, server, clients, to_server=to_server)
        assert {key: before[key] + rest[key] for key in written} == written
        assert world.now() < 5 * 0.5


@seeds(4)
@either_direction
@pytest.mark.parametrize("count", [1, 5, 10])
async def test_when_the_first_half_is_lost_everything_arrives_in_order(
    seed: int, count: int, to_server: bool
) -> None:
    params = lsp.Params(3, 1000, 20, 0, 20)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(count, params) as clients,
    ):
        isns = first_data_numbers(world, clients)
        world.cut(lambda p: is_data(p) and p.number < isns[connection_of(p)] + 5)
        start = world.now()
        written = await write_all(world, server, clients, 10, to_server=to_server)
        none = await read_for(0.5, server, clients, to_server=to_server)
        assert none == {client.conn_id: [] for client in clients}
        world.mend()
        assert await read_exactly(10, server, clients, to_server=to_server) == written
        assert world.now() - start < 1.1
        for conn_id, numbers in sendings(world.data()).items():
            times = [len(numbers[isns[conn_id] + i]) for i in range(10)]
            assert times == [2] * 5 + [1] * 5


def connection_of(packet: Packet) -> int:
    assert isinstance(packet.message, Data | Ack | CAck)
    return packet.message.conn_id


def first_data_numbers(world: LspWorld, clients: Sequence[lsp.Client]) -> dict[int, int]:
    """Return ISN + 1 of every connection, from the answers to the Connects."""
    answers = world.packets(lambda p: p.from_server and isinstance(p.message, Ack))
    numbers = {connection_of(packet): packet.number + 1 for packet in answers if packet.number}
    assert set(numbers) == {client.conn_id for client in clients}
    return numbers


@pytest.mark.slow
@seeds(4)
@pytest.mark.parametrize(("count", "messages"), [(1, 10), (5, 25), (10, 25)])
async def test_half_of_the_datagrams_come_half_a_second_late(
    seed: int, count: int, messages: int
) -> None:
    params = lsp.Params(3, 5000, 30, 0, 30)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        running(echo_forever, server),
        world.open_clients(count, params) as clients,
    ):

        def delay_half(packet: Packet) -> Iterable[tuple[float, Message]]:
            assert packet.message is not None
            return [(0.5 * world.rng.randrange(2), packet.message)]

        world.disturb(delay_half)

        async def use(client: lsp.Client) -> None:
            texts = world.texts(messages)
            for text in texts:
                client.write(text)
            assert [await client.read() for _ in texts] == texts

        await together(use(client) for client in clients)
        assert world.now() < 1.5
        assert len(world.data(from_server=True)) == count * messages
        assert len(world.data(from_server=False)) == count * messages


@pytest.mark.slow
@seeds(4)
@either_direction
@pytest.mark.parametrize(("count", "messages"), [(1, 10), (10, 15)])
async def test_backed_off_messages_are_sent_five_times_in_fourteen_epochs(
    seed: int, count: int, messages: int, to_server: bool
) -> None:
    params = lsp.Params(100, 2000, 5, 4, 5)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(count, params, spread_epochs=1.0) as clients,
    ):
        world.cut(is_ack)
        start = world.now()
        written = await write_all(world, server, clients, messages, to_server=to_server)
        await trio.sleep(14 * 2.0)
        sent = sendings(world.data(since=start))
        assert len(sent) == count
        for numbers in sent.values():
            assert len(numbers) == 5
            for times in numbers.values():
                assert len(times) == 5
        world.mend()
        assert await read_exactly(messages, server, clients, to_server=to_server) == written


@seeds(2)
@either_direction
@pytest.mark.parametrize(
    ("max_backoff", "ticks"),
    [
        (0, [1, 2, 3, 4, 5]),
        (1, [1, 3, 5, 7, 9]),
        (2, [1, 3, 6, 9, 12]),
        (3, [1, 3, 6, 10, 14, 18]),
        (4, [1, 3, 6, 11, 16, 21]),
        (64, [1, 3, 6, 11, 20, 37]),
    ],
)
async def test_resends_follow_the_back_off_schedule(
    seed: int, max_backoff: int, ticks: list[int], to_server: bool
) -> None:
    epoch = 1.0
    params = lsp.Params(100, 1000, 1, max_backoff, 1)
    async with open_world(seed) as world, world.open_server(params) as server:
        server_grid = world.now()
        await trio.sleep(world.rng.uniform(0.1, 0.9))
        client_grid = world.now()
        async with world.connect(params) as client:
            await trio.sleep(world.rng.uniform(0, 2.0))
            world.cut(is_ack)
            start, grid = world.now(), client_grid if to_server else server_grid
            if to_server:
                client.write(b"x")
            else:
                server.write(client.conn_id, b"x")
            await trio.sleep(ticks[-1] * epoch + 0.001)
            [times] = [n for numbers in sendings(world.data()).values() for n in numbers.values()]
            passed = (start - grid) // epoch
            resent = [(time - grid) / epoch - passed for time in times[1:]]
            assert times[0] == start
            assert resent == pytest.approx(ticks)
            world.mend()
            await (client if to_server else server).close()


@seeds(3)
@either_direction
@pytest.mark.parametrize("window", [20, 15])
@pytest.mark.parametrize("count", [1, 5])
async def test_unacknowledged_messages_are_limited_apart_from_the_window(
    seed: int, count: int, window: int, to_server: bool
) -> None:
    params = lsp.Params(100, 1000, window, 10, 10)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(count, params) as clients,
    ):
        isns = first_data_numbers(world, clients)
        world.cut(lambda p: is_data(p) and p.number < isns[connection_of(p)] + 5)
        first = await write_all(world, server, clients, 10, to_server=to_server)
        assert not any((await read_for(0.3, server, clients, to_server=to_server)).values())

        world.cut(is_ack)
        second = await write_all(world, server, clients, 10, to_server=to_server)
        read = await read_for(8.0, server, clients, to_server=to_server)
        assert read == {key: (first[key] + second[key])[:15] for key in first}
        for conn_id, numbers in sendings(world.data()).items():
            assert max(numbers) == isns[conn_id] + 14
            assert [len(numbers[isns[conn_id] + i]) for i in range(5, 10)] == [1] * 5

        world.mend()
        rest = await read_exactly(5, server, clients, to_server=to_server)
        assert rest == {key: second[key][5:] for key in second}


@seeds(2)
@either_direction
@pytest.mark.parametrize(
    ("window", "unacked", "least", "most"),
    [(1, 1, 1, 1), (100, 50, 50, 50), (100, 50, 1, 50), (100, 100, 1, 100)],
)
async def test_one_cumulative_acknowledgement_stands_for_all(
    seed: int,
    *,
    window: int,
    unacked: int,
    least: int,
    most: int,
    to_server: bool,
) -> None:
    params = lsp.Params(5, 1000, window, 0, unacked)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(5, params) as clients,
    ):
        first = first_data_numbers(world, clients)
        counts = {client.conn_id: world.rng.randint(least, most) for client in clients}
        last = {key: first[key] + counts[key] - 1 for key in counts}

        def acknowledge_cumulatively(packet: Packet) -> Iterable[tuple[float, Message]]:
            message = packet.message
            assert message is not None
            if not isinstance(message, Ack) or message.seq_num == 0:
                return [(0.0, message)]
            if message.seq_num < last[message.conn_id]:
                return []
            return [(0.1, CAck(message.conn_id, message.seq_num))]

        world.disturb(acknowledge_cumulatively)
        for client in clients:
            for text in world.texts(counts[client.conn_id]):
                if to_server:
                    client.write(text)
                else:
                    server.write(client.conn_id, text)
        await trio.sleep(0.5)
        sent = sendings(world.data())
        assert {key: len(numbers) for key, numbers in sent.items()} == counts
        quiet_since = world.now()
        await trio.sleep(12 * 1.0)
        assert world.data(since=quiet_since) == []
        for client in clients:
            statistics = (
                client.statistics() if to_server else server.connection_statistics(client.conn_id)
            )
            assert statistics.outstanding == 0
            assert statistics.acknowledged == counts[client.conn_id]


def shortened(payload: bytes) -> bytes:
    return payload[:-3]


def lengthened(payload: bytes) -> bytes:
    return payload + b"tail"


def corrupted(payload: bytes) -> bytes:
    return bytes([payload[0] ^ 4]) + payload[1:]


@seeds(3)
@either_direction
@pytest.mark.parametrize(
    ("change", "arrives"), [(lengthened, True), (shortened, False), (corrupted, False)]
)
async def test_a_payload_changed_in_flight(
    seed: int, change: object, arrives: bool, to_server: bool
) -> None:
    assert callable(change)
    params = lsp.Params(5, 2000, 1, 0, 1)
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.open_clients(1, params) as clients,
    ):

        def spoil(packet: Packet) -> Iterable[tuple[float, Message]]:
            message = packet.message
            assert message is not None
            if isinstance(message, Data):
                message = attrs.evolve(message, payload=change(message.payload))
            return [(0.0, message)]

        world.disturb(spoil)
        written = {clients[0].conn_id: [b"the payload"]}
        if to_server:
            clients[0].write(b"the payload")
        else:
            server.write(clients[0].conn_id, b"the payload")
        read = await read_for(5.0, server, clients, to_server=to_server)
        assert read == (written if arrives else {clients[0].conn_id: []})
        acknowledged = [p for p in world.packets(is_ack) if p.number == world.data()[0].number]
        assert len(acknowledged) == (1 if arrives else 0)
        if not arrives:
            world.mend()
            assert await read_for(2.0, server, clients, to_server=to_server) == written
