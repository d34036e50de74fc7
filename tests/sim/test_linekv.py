"""The line-protocol server under virtual time, on the simulated network."""

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.sim_network import SimNetwork, open_sim_network
from trio440.core.host import ByteStream, Host
from trio440.core.refusing import REFUSAL_SECONDS, REFUSALS_AT_A_TIME
from trio440.errors import AddressInUse, ConnectionBroken, ConnectionRefused, InvalidParameter
from trio440.linekv import Client, Limits, Server, Statistics, connect, open_server, serve
from trio440.linekv.outbox import BURST_BYTES
from trio440.linekv.session import LINGER_SECONDS, STALL_SECONDS

SERVER = "10.0.0.1"
PORT = 9999


@attrs.frozen
class World:
    network: SimNetwork
    server_ports: Host
    client_ports: Host

    @asynccontextmanager
    async def server(self, limits: Limits | None = None) -> AsyncIterator[Server]:
        async with open_server(PORT, host=SERVER, limits=limits, ports=self.server_ports) as server:
            yield server

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with connect(SERVER, PORT, ports=self.client_ports) as client:
            yield client

    async def stream(self) -> ByteStream:
        return await self.client_ports.net.connect_tcp(SERVER, PORT)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_sim_network(1) as network:
        yield World(
            network,
            network.host(SERVER, seed=2),
            network.host("10.0.0.2", seed=3),
        )
        assert network.open_endpoints == []


async def receive_to_the_end(stream: ByteStream) -> bytes:
    received = bytearray()
    while data := await stream.receive_some():
        received += data
    return bytes(received)


async def work(client: Client, prefix: bytes, count: int, rng: random.Random) -> None:
    """Do random requests with keys of its own, and check every answer against a dictionary."""
    model: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for number in range(count):
        key = prefix + b"%d" % rng.randrange(20)
        value = rng.choice([b"", b"\xff\xfe", b"a:b", b"value %d" % number])
        match rng.choices(["put", "update", "delete", "get"], [5, 2, 1, 2])[0]:
            case "put":
                await client.put(key, value)
                model[key].append(value)
            case "update":
                old = rng.choice([b"absent", *(v for v in model[key] if b":" not in v)])
                await client.update(key, old, value)
                if old in model[key]:
                    model[key].remove(old)
                model[key].append(value)
            case "delete":
                await client.delete(key)
                model.pop(key, None)
            case "get":
                assert await client.get(key) == model.get(key, [])
    for key, values in model.items():
        assert await client.get(key) == values


@pytest.mark.parametrize(
    ("clients", "count"),
    [
        *((clients, 50) for clients in (1, 2, 5, 10)),
        (1, 1500),
        pytest.param(10, 200, marks=pytest.mark.slow),
        *(pytest.param(clients, 1500, marks=pytest.mark.campaign) for clients in (2, 5, 10)),
    ],
)
async def test_clients_see_a_dictionary(world: World, clients: int, count: int) -> None:
    world.network.weather(jitter=50_000)

    async def work_as(number: int) -> None:
        async with world.client() as client:
            await work(client, b"%d/" % number, count, random.Random(number))

    async with world.server() as server:
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(work_as, number)
        await trio.sleep(LINGER_SECONDS)
        assert (server.count_active(), server.count_dropped()) == (0, clients)
        assert server.statistics().messages_dropped == 0


async def test_joining_and_leaving_is_counted(world: World) -> None:
    async def stay(leave: trio.Event, task_status: trio.TaskStatus[Client]) -> None:
        async with world.client() as client:
            task_status.started(client)
            await leave.wait()

    async with world.server() as server, trio.open_nursery() as nursery:
        first, second, third = trio.Event(), trio.Event(), trio.Event()

        async def join(leave: trio.Event) -> None:
            for _ in range(20):
                client: Client = await nursery.start(stay, leave)
                await client.get(b"any")

        await join(first)
        assert (server.count_active(), server.count_dropped()) == (20, 0)
        await join(second)
        first.set()
        await join(third)
        await trio.sleep(1)
        assert (server.count_active(), server.count_dropped()) == (40, 20)
        second.set()
        await trio.sleep(1)
        assert (server.count_active(), server.count_dropped()) == (20, 40)
        third.set()
        await trio.sleep(1)
        assert (server.count_active(), server.count_dropped()) == (0, 60)


async def test_requests_without_an_answer_and_refusals(world: World) -> None:
    async with world.server(), world.client() as client:
        await client.send(b"Put:a:1\r\nPut:a:2:3\nUpdate:a:1:4\nGet:a\nGet:absent\n")
        assert [await client.receive_line() for _ in range(2)] == [b"a:2:3", b"a:4"]
        await client.send(b"nonsense\nPut:a\nPut:a:5\nGet:a\n")
        lines = [await client.receive_line() for _ in range(5)]
        assert lines[0] == b"Error: unknown command 'nonsense'"
        assert lines[1] == b"Error: a request of this kind is Put:key:value"
        assert lines[2:] == [b"a:2:3", b"a:4", b"a:5"]


async def test_answers_keep_the_order_of_their_requests(world: World) -> None:
    async with world.server(), world.client() as client:
        requests = [b"Put:k:%d\nGet:k\nDelete:k\nbad%d\n" % (n, n) for n in range(100)]
        await client.send(b"".join(requests))
        for number in range(100):
            assert await client.receive_line() == b"k:%d" % number
            assert await client.receive_line() == b"Error: unknown command 'bad%d'" % number


async def test_bytes_that_are_not_utf_8(world: World) -> None:
    async with world.server(), world.client() as client:
        value = bytes(set(range(256)) - {10, 13})
        await client.put(b"\xff\x00", value)
        assert await client.get(b"\xff\x00") == [value]


@pytest.mark.slow
async def test_a_client_that_reads_gets_an_answer_longer_than_the_queue(world: World) -> None:
    world.network.weather(delay=50_000)
    async with world.server() as server, world.client() as client:
        values = [b"%d" % number * 20 for number in range(3000)]
        for value in values:
            await client.put(b"k", value)
        assert await client.get(b"k") == values
        assert server.statistics().messages_dropped == 0


async def test_a_client_that_does_not_read_slows_nobody(world: World) -> None:
    asked, value = 5000, b"v" * 997
    async with world.server() as server, world.client() as slow, world.client() as normal:
        await slow.put(b"k", value)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow.send, b"Get:k\n" * asked)
            slowest = 0.0
            for number in range(100):
                start = trio.current_time()
                await normal.put(b"n", b"%d" % number)
                assert len(await normal.get(b"n")) == number + 1
                slowest = max(slowest, trio.current_time() - start)
                await trio.sleep(0.05)
        assert slowest == pytest.approx(0)
        await trio.sleep(60)
        dropped = server.statistics().messages_dropped
        received = asked - dropped
        line = len(value) + 3
        on_the_way = world.network.stream_capacity // line + BURST_BYTES // line + 2
        assert 500 <= received <= 500 + on_the_way
        for _ in range(received):
            assert await slow.receive_line() == b"k:" + value
        assert await slow.get(b"k") == [value]
        assert server.statistics().messages_dropped == dropped


async def test_what_is_dropped_is_the_newest(world: World) -> None:
    limits = Limits(queued_messages=10)
    async with world.server(limits) as server, world.client() as slow:
        world.network.stream_capacity = 1
        value = b"x" * BURST_BYTES
        for number in range(50):
            await slow.put(b"k%d" % number, value)
            await slow.send_line(b"Get:k%d" % number)
        await trio.sleep(STALL_SECONDS * 2)
        dropped = server.statistics().messages_dropped
        assert dropped >= 50 - limits.queued_messages - 4
        for number in range(50 - dropped):
            assert await slow.receive_line() == b"k%d:" % number + value


async def test_a_client_that_stalls_and_reads_on_again(world: World) -> None:
    limits = Limits(queued_messages=10)
    async with world.server(limits) as server, world.client() as client:
        value = b"x" * BURST_BYTES
        await client.put(b"k", value)
        for _ in range(3):
            await client.send(b"Get:k\n" * 50)
            await trio.sleep(STALL_SECONDS * 2)
            with trio.move_on_after(1):
                while True:
                    assert await client.receive_line() == b"k:" + value
            assert await client.get(b"k") == [value]
        assert 0 < server.statistics().messages_dropped < 150
        dropped = server.statistics().messages_dropped
        for number in range(40):
            await client.put(b"long", b"%d" % number)
        assert len(await client.get(b"long")) == 40
        assert server.statistics().messages_dropped == dropped


async def test_every_line_of_a_cut_answer_counts_as_dropped(world: World) -> None:
    limits = Limits(queued_messages=10)
    async with world.server(limits) as server, world.client() as client:
        for _ in range(100):
            await client.put(b"k", b"x" * BURST_BYTES)
        await client.send_line(b"Get:k")
        await trio.sleep(STALL_SECONDS * 2)
        received = 0
        with trio.move_on_after(1):
            while await client.receive_line():
                received += 1
        assert received + server.statistics().messages_dropped == 100
        assert received < 30


async def test_queued_answers_are_flushed_after_a_half_close(world: World) -> None:
    async with world.server() as server:
        stream = await world.stream()
        await stream.send_all(b"Put:a:1\nPut:a:2\n" + b"Get:a\n" * 200 + b"Put:a:half a line")
        await stream.send_eof()
        await trio.sleep(4)
        assert await receive_to_the_end(stream) == b"a:1\na:2\n" * 200
        await stream.aclose()
        await trio.sleep(LINGER_SECONDS)
        assert server.count_active() == 0
        async with world.client() as client:
            assert await client.get(b"a") == [b"1", b"2"]


async def test_flushing_to_a_client_that_does_not_read_is_bounded(world: World) -> None:
    async with world.server() as server:
        stream = await world.stream()
        await stream.send_all(b"Put:a:%b\n" % (b"x" * 60_000) + b"Get:a\n" * 100)
        await stream.send_eof()
        await trio.sleep(4.9)
        assert server.count_active() == 1
        await trio.sleep(0.2)
        assert server.count_active() == 0
        await stream.aclose()


async def test_a_client_that_breaks_off(world: World) -> None:
    async with world.server() as server:
        for request in (b"Put:a:1\nPut:a:half", b"Get:a\n" * 1000, b""):
            stream = await world.stream()
            await stream.send_all(request)
            await trio.sleep(0.1)
            await stream.aclose()
        await trio.sleep(LINGER_SECONDS)
        assert (server.count_active(), server.count_dropped()) == (0, 3)
        async with world.client() as client:
            assert await client.get(b"a") == [b"1"]


async def test_a_line_that_never_ends(world: World) -> None:
    world.network.weather(delay=10_000)
    async with world.server() as server, world.client() as other:
        stream = await world.stream()
        broken = trio.Event()

        async def send_for_ever() -> None:
            await stream.send_all(b"Put:a:1\nGet:a\nPut:a:")
            try:
                while True:
                    await stream.send_all(b"x" * 10_000)
            except trio.BrokenResourceError:
                broken.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_for_ever)
            expected = b"a:1\nError: a line is too long, the limit is 65536 bytes\n"
            assert await receive_to_the_end(stream) == expected
            assert await other.get(b"a") == [b"1"]
            with trio.fail_after(5.1):
                await broken.wait()
        await stream.aclose()
        assert server.count_active() == 1


async def test_a_refused_client_reads_to_the_end_though_more_is_on_its_way(world: World) -> None:
    world.network.stream_capacity = 1 << 20
    async with world.server():
        stream = await world.stream()
        await stream.send_all(b"x" * (1 << 20))
        await trio.sleep(1)
        expected = b"Error: a line is too long, the limit is 65536 bytes\n"
        assert await receive_to_the_end(stream) == expected
        await stream.aclose()


async def test_a_line_of_the_limit_passes(world: World) -> None:
    async with world.server(Limits(line_bytes=100)), world.client() as client:
        value = b"x" * (100 - len(b"Put:k:"))
        await client.put(b"k", value)
        assert await client.get(b"k") == [value]
        await client.put(b"k", value + b"x")
        assert await client.receive_line() == b"Error: a line is too long, the limit is 100 bytes"
        assert await client.receive_line() is None


async def test_one_client_too_many_is_told_so(world: World) -> None:
    async with world.server(Limits(clients=2)) as server, world.client() as first:
        async with world.client() as second:
            assert await first.get(b"a") == await second.get(b"a") == []
            async with world.client() as third:
                refusal = b"Error: too many clients, the limit is 2"
                assert await third.receive_line() == refusal
                assert await third.receive_line() is None
            assert await second.get(b"a") == []
        await trio.sleep(LINGER_SECONDS)
        async with world.client() as fourth:
            assert await fourth.get(b"a") == []
        assert server.statistics().clients_refused == 1


async def test_a_refused_client_that_has_sent_something_reads_the_refusal(world: World) -> None:
    async with world.server(Limits(clients=1)), world.client() as first:
        assert await first.get(b"a") == []
        stream = await world.stream()
        for _ in range(2):
            await stream.send_all(b"Put:a:1\nGet:a\n")
            await trio.sleep(REFUSAL_SECONDS / 4)
        assert await receive_to_the_end(stream) == b"Error: too many clients, the limit is 1\n"
        await stream.aclose()


async def test_refused_clients_that_stay_hold_up_nobody_and_are_closed(world: World) -> None:
    async with world.server(Limits(clients=1)) as server, AsyncExitStack() as stack:
        async with world.client() as first:
            assert await first.get(b"a") == []
            refused = [await world.stream() for _ in range(REFUSALS_AT_A_TIME + 10)]
            for stream in refused:
                stack.push_async_callback(stream.aclose)
            with trio.fail_after(0.1):
                await wait_all_tasks_blocked()
        await trio.sleep(LINGER_SECONDS)
        async with world.client() as second:
            with trio.fail_after(REFUSAL_SECONDS / 4):
                assert await second.get(b"a") == []
            assert server.statistics().clients_refused == len(refused)
            lingering = len(world.network.open_endpoints)
            await trio.sleep(REFUSAL_SECONDS)
            assert lingering - len(world.network.open_endpoints) == REFUSALS_AT_A_TIME


async def test_a_full_store_refuses_and_serves_on(world: World) -> None:
    async with world.server(Limits(keys=2)) as server, world.client() as client:
        for key in (b"a", b"b", b"c"):
            await client.put(key, b"1")
        assert await client.receive_line() == b"Error: the store is full, its limit is 2 keys"
        await client.send(b"Put:a:2\nPut:c:2\nnonsense\nPut:d:1\n")
        lines = [await client.receive_line() for _ in range(3)]
        assert lines[0] == lines[2] == b"Error: the store is full, its limit is 2 keys"
        assert lines[1] == b"Error: unknown command 'nonsense'"
        assert await client.get(b"c") == []
        assert await client.get(b"a") == [b"1", b"2"]
        assert server.statistics().keys == 2


async def test_statistics(world: World) -> None:
    async with world.server() as server, world.client() as client:
        await client.put(b"a", b"1")
        assert await client.get(b"a") == [b"1"]
        await trio.sleep(1)
        assert server.statistics() == Statistics(
            clients_active=1,
            clients_dropped=0,
            clients_refused=0,
            requests=2,
            messages_sent=2,
            messages_dropped=0,
            queued_bytes=0,
            held_bytes=0,
            keys=1,
            memory_bytes=130,
        )


async def test_leaving_the_server_flushes(world: World) -> None:
    world.network.weather(delay=100_000)
    value = b"x" * 60_000
    async with trio.open_nursery() as nursery:
        async with world.server():
            busy, idle = await world.stream(), await world.stream()
            await busy.send_all(b"Put:a:%b\n" % value + b"Get:a\n" * 10)
            await trio.sleep(0.5)

            async def read() -> None:
                await trio.sleep(1)
                with pytest.raises(ConnectionRefused):
                    await world.stream()
                await trio.sleep(1)
                assert await receive_to_the_end(busy) == b"a:%b\n" % value * 10
                await busy.aclose()

            nursery.start_soon(read)
        assert await idle.receive_some() == b""
        await idle.aclose()


async def test_a_client_that_comes_as_the_server_leaves_is_let_go(world: World) -> None:
    for _ in range(20):
        async with world.server():
            stream = await world.stream()
            start = trio.current_time()
        assert trio.current_time() - start <= LINGER_SECONDS
        with suppress(trio.BrokenResourceError):
            assert await stream.receive_some() == b""
        await stream.aclose()


async def test_leaving_the_server_waits_only_so_long_for_a_client(world: World) -> None:
    async with world.server():
        stream = await world.stream()
        await stream.send_all(b"Put:a:%b\n" % (b"x" * 60_000) + b"Get:a\n" * 100)
        await trio.sleep(0.1)
        start = trio.current_time()
    assert trio.current_time() - start == pytest.approx(Limits().flush_seconds)
    await stream.aclose()


async def test_leaving_the_server_with_idle_clients_takes_no_flushing_time(world: World) -> None:
    async with world.server():
        stream = await world.stream()
        await trio.sleep(0.1)
        start = trio.current_time()
    assert trio.current_time() - start <= LINGER_SECONDS
    await stream.aclose()


async def test_an_exception_ends_the_server_at_once_and_as_it_is(world: World) -> None:
    left_at = -1.0

    async def serve_and_fail() -> None:
        nonlocal left_at
        async with world.server(), world.client() as client:
            await client.send(b"Put:a:%b\n" % (b"x" * 60_000) + b"Get:a\n" * 100)
            await trio.sleep(0.1)
            left_at = trio.current_time()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await serve_and_fail()
    assert trio.current_time() == left_at


async def test_serve_reports_its_server_and_runs_until_cancelled(world: World) -> None:
    async with trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[Server]) -> None:
            await serve(0, host=SERVER, ports=world.server_ports, task_status=task_status)

        server: Server = await nursery.start(start)
        port = server.address[1]
        assert port != 0
        async with connect(SERVER, port, ports=world.client_ports) as client:
            assert await client.get(b"a") == []
        nursery.cancel_scope.cancel()


async def test_a_process_out_of_descriptors_accepts_again_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = await world.server_ports.net.listen_tcp(SERVER, PORT)
    failures = [OSError(24, "too many open files")] * 3
    accept = type(listener).accept
    await listener.aclose()

    async def failing_accept(self: object) -> ByteStream:
        if failures:
            await trio.lowlevel.checkpoint()
            raise failures.pop()
        return await accept(self)  # type: ignore[arg-type]  # bound by hand

    monkeypatch.setattr(type(listener), "accept", failing_accept)
    async with world.server(), world.client() as client:
        assert await client.get(b"a") == []
        assert trio.current_time() >= 0.3


async def test_a_busy_address(world: World) -> None:
    async with world.server():
        with pytest.raises(AddressInUse):
            async with world.server():
                pytest.fail("two servers on one port")


@pytest.mark.parametrize("key", [b"a", b"Error"])
async def test_values_that_look_like_refusals_are_values(world: World, key: bytes) -> None:
    values = [f" unknown command 'Fence{number}'".encode() for number in range(5)]
    values += [b"Error:" + value for value in values]
    async with world.server(), world.client() as client:
        for value in values:
            await client.put(key, value)
        for _ in range(3):
            assert await client.get(key) == values


async def test_the_client_tells_a_server_that_has_gone(world: World) -> None:
    async with AsyncExitStack() as stack:
        async with world.server():
            client = await stack.enter_async_context(world.client())
        for _ in range(2):
            with pytest.raises(ConnectionBroken, match=r"10\.0\.0\.1:9999 is broken"):
                await client.get(b"a")


@pytest.mark.parametrize(
    "request_",
    [
        lambda client: client.put(b"a:b", b"1"),
        lambda client: client.put(b"a", b"1\n2"),
        lambda client: client.put(b"a\n", b"1"),
        lambda client: client.put(b"a", b"1\r"),
        lambda client: client.update(b"a", b"1:2", b"3"),
        lambda client: client.delete(b"a:b"),
        lambda client: client.get(b"a:b"),
    ],
)
async def test_the_client_refuses_what_the_protocol_cannot_carry(
    world: World, request_: Callable[[Client], Awaitable[object]]
) -> None:
    async with world.server() as server, world.client() as client:
        with pytest.raises(InvalidParameter, match="must be free of"):
            await request_(client)
        assert await client.get(b"a") == []
        assert server.statistics().requests == 1


@pytest.mark.parametrize(
    "limits",
    [
        {"clients": 0},
        {"clients": 1.5},
        {"clients": True},
        {"keys": "1"},
        {"line_bytes": 100.0},
        {"line_bytes": 0},
        {"queued_messages": 0},
        {"queued_bytes": 0},
        {"client_queued_bytes": 0},
        {"held_bytes": 0},
        {"keys": 0},
        {"memory_bytes": 0},
        {"flush_seconds": -1},
    ],
)
def test_limits_are_checked(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter, match="must be"):
        Limits(**limits)
