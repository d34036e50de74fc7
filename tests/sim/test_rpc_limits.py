"""RPC at its limits, each driven to it, and peers that keep no rules."""

import contextlib
from functools import partial

import pytest
import trio

from tests.support.rpc_world import (
    HOSTS,
    Book,
    Number,
    Pair,
    Shop,
    Text,
    idle,
    make_routes,
    mute_server,
    open_pair,
    ports_of,
    receive_to_end,
    until,
)
from trio440 import rpc
from trio440.core.host import ByteStream
from trio440.errors import AnswerLost, CallTimedOut, MessageTooLarge, RemoteError
from trio440.rpc.envelope import (
    NO_DEADLINE,
    encode_answer,
    encode_call,
    encode_cancel,
    encode_name,
    encode_tell,
)
from trio440.rpc.hello import Welcome
from trio440.rpc.hello import encode_answer as encode_welcome
from trio440.rpc.link import READ_BYTES
from trio440.sim import simulated
from trio440.sim.world import World
from trio440.wire.framing import frame

SEEDS = 1


async def works(pair: Pair) -> None:
    """Whatever somebody else does, a client that keeps the rules is served at once."""
    async with pair.client() as client:
        with trio.fail_after(1):
            assert await Shop(client).double(Number(4)) == Number(8)


def call(call_id: int, method: rpc.Method[Number, Number], value: int, pad: int = 0) -> bytes:
    body = method.request.encode(Number(value, bytes(pad)))
    return encode_call(call_id, NO_DEADLINE, encode_name(method.name), body)


# Limits of a server


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_at_the_concurrency_limit_nothing_more_is_read(world: World) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(concurrency=3)) as pair:
        stream = await pair.greeted()
        await stream.send_all(b"".join(call(number, Shop.slow, 5) for number in range(1, 8)))
        await trio.sleep(4)
        assert len(pair.book.started) == 3
        assert pair.server.statistics().pauses == 1
        await works(pair)
        await trio.sleep(14)
        assert len(pair.book.started) == 7
        assert pair.book.most_active == 3
        assert pair.server.statistics().answers == 8
        await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_the_concurrency_limit_is_no_clients_silence(world: World) -> None:
    limits = rpc.ServerLimits(concurrency=1, silence_seconds=2)
    async with open_pair(world, limits=limits) as pair, pair.client() as client:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(Shop(client).slow, Number(8))
        assert len(pair.book.started) == 3
        counts = pair.server.statistics()
        assert (counts.connections, counts.silences) == (1, 0)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_one_way_handlers_count_for_concurrency(world: World) -> None:
    limits = rpc.ServerLimits(concurrency=2)
    async with open_pair(world, limits=limits) as pair, pair.client() as client:
        await client.wait_connected()
        for _ in range(6):
            assert Shop(client).slow_note(Number(1))
        await until(lambda: len(pair.book.noted) == 6)
        assert pair.book.most_active == 2


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_one_connection_too_many_is_told_so_and_the_client_waits(world: World) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(connections=2)) as pair:
        async with pair.client() as first, pair.client() as second:
            await first.wait_connected()
            await second.wait_connected()
            async with pair.client() as third:
                with pytest.raises(CallTimedOut):
                    await Shop(third).double(Number(1), timeout_seconds=1)
                assert third.statistics().refusals >= 1
            counts = pair.server.statistics()
            assert counts.busy_refusals >= 1
            assert (counts.connections, counts.connections_active) == (2, 2)
        async with pair.client() as fourth:
            assert await Shop(fourth).double(Number(1), timeout_seconds=10) == Number(2)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_who_only_keeps_connections_open_keeps_nobody_out(world: World) -> None:
    limits = rpc.ServerLimits(connections=3, handshake_seconds=2)
    async with (
        open_pair(world, limits=limits) as pair,
        pair.client() as busy,
        pair.client() as first,
        pair.client() as second,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Shop(busy).slow, Number(30))
            for client in (busy, first, second):
                await client.wait_connected()
            await trio.sleep(1.5)
            await Shop(first).double(Number(1))
            await trio.sleep(1)
            await works(pair)
            counts = pair.server.statistics()
            assert (counts.evictions, counts.busy_refusals) == (1, 0)
        assert busy.statistics().connects == first.statistics().connects == 1
        assert await Shop(second).double(Number(1)) == Number(2)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_who_holds_most_memory_with_half_requests_is_closed(world: World) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(held_bytes=2 << 20)) as pair:
        streams = [await pair.greeted() for _ in range(4)]
        request = call(1, Shop.double, 1, 1_000_000)
        sizes = (400_000, 900_000, 600_000, 400_000)  # the second one goes when the last one comes
        for stream, size in zip(streams, sizes, strict=True):
            await stream.send_all(request[:size])
            await trio.sleep(0.3)
        counts = pair.server.statistics()
        assert (counts.evictions, counts.connections_active) == (1, 3)
        with trio.fail_after(1):
            await receive_to_end(streams[1])
        await works(pair)
        await streams[0].send_all(request[400_000:])
        await trio.sleep(0.3)
        assert pair.server.statistics().answers == 2
        for stream in streams:
            await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_who_holds_most_memory_in_handlers_that_wait_is_closed(world: World) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(held_bytes=1 << 20)) as pair:
        async with pair.client() as client, trio.open_nursery() as nursery:
            nursery.start_soon(Shop(client).slow, Number(8, bytes(300_000)))
            stream = await pair.greeted()
            for number in range(1, 9):
                await stream.send_all(call(number, Shop.slow, 60, 100_000))
            await receive_to_end(stream)
            counts = pair.server.statistics()
            assert (counts.evictions, counts.handlers_active) == (1, 1)
            await works(pair)
            await stream.aclose()
        assert len(pair.book.cancelled) == pair.book.started.count(60) >= 6
        async with pair.client() as client:  # what was held is free again
            for _ in range(5):
                await Shop(client).slow(Number(1, bytes(900_000)))
        assert pair.server.statistics().evictions == 1


@pytest.mark.parametrize("method", [Shop.double, Shop.slow], ids=["double", "slow"])
@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_who_takes_none_of_its_answers_is_closed(
    world: World, method: rpc.Method[Number, Number]
) -> None:
    limits = rpc.ServerLimits(held_bytes=1 << 20, silence_seconds=60)
    async with open_pair(world, limits=limits) as pair:
        reader = await pair.greeted()
        deaf = await pair.greeted()
        for number in range(1, 5):
            await reader.send_all(call(number, method, 1, 50_000))
        with contextlib.suppress(trio.BrokenResourceError):
            for number in range(1, 11):
                await deaf.send_all(call(number, method, 1, 150_000))
                await trio.sleep(1)
        counts = pair.server.statistics()
        assert (counts.evictions, counts.connections_active) == (1, 1)
        received = b""
        with trio.fail_after(10):
            while len(received) < 200_000:
                received += await reader.receive_some()
        for number in range(5, 9):
            await reader.send_all(call(number, method, 1, 50_000))
        await works(pair)
        assert pair.server.statistics().evictions == 1
        await reader.aclose()
        await deaf.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_frame_at_the_limit_is_read_and_one_byte_more_closes(world: World) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(frame_bytes=200)) as pair:
        base = len(call(1, Shop.double, 1)) - 4
        stream = await pair.greeted()
        for number, pad in ((1, 200 - base), (2, 200 - base + 1)):
            await stream.send_all(call(number, Shop.double, 1, pad))
            await trio.sleep(1)
        await receive_to_end(stream)
        counts = pair.server.statistics()
        assert (counts.calls, counts.bad_messages, counts.connections_active) == (1, 1, 0)
        await works(pair)
        await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_an_answer_that_is_too_large_is_a_failure(world: World) -> None:
    limits = rpc.ClientLimits(frame_bytes=1000)
    async with open_pair(world) as pair, pair.client(limits=limits) as client:
        assert len((await Shop(client).grow(Number(900))).pad) == 900
        with pytest.raises(RemoteError, match="ResultTooLarge"):
            await Shop(client).grow(Number(1000))
        assert (client.statistics().connects, client.statistics().lost) == (1, 0)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_answers_that_nobody_takes_stop_the_reading_and_then_the_connection(
    world: World,
) -> None:
    limits = rpc.ServerLimits(queued_bytes=100_000, silence_seconds=4)
    async with open_pair(world, limits=limits) as pair:
        stream = await pair.greeted()
        asked = [call(number, Shop.grow, 50_000) for number in range(1, 201)]
        await stream.send_all(b"".join(asked))
        await trio.sleep(2)
        counts = pair.server.statistics()
        assert 1 <= counts.pauses < 5
        assert counts.answers < 50, "reading has stopped"
        await works(pair)
        await until(lambda: pair.server.statistics().connections_active == 0, 10)
        assert pair.server.statistics().stalls == 1
        await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_client_that_says_nothing_is_closed_within_the_bound(world: World) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(silence_seconds=4)) as pair:
        stream = await pair.greeted()
        await stream.send_all(call(1, Shop.slow, 100))
        began = trio.current_time()
        await until(lambda: pair.book.cancelled == [100])
        assert 4 <= trio.current_time() - began <= 5.1
        assert pair.server.statistics().silences == 1
        await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_client_whose_bytes_are_lost_is_closed_within_its_own_bound(world: World) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(silence_seconds=60)) as pair:
        stream = await pair.greeted(silence_seconds=2)
        began = trio.current_time()
        await receive_to_end(stream)
        assert 2 <= trio.current_time() - began <= 2.6, "it hears heartbeats, and is not heard"
        assert pair.server.statistics().silences == 1
        await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_server_whose_bytes_are_lost_is_left_within_its_own_bound(world: World) -> None:
    took: list[float] = []

    async def greet(stream: ByteStream) -> None:
        await stream.receive_some(READ_BYTES)
        await stream.send_all(encode_welcome(Welcome(1, rpc.ANONYMOUS, 2_000_000, 10, 1000)))
        began = trio.current_time()
        await receive_to_end(stream)
        took.append(trio.current_time() - began)

    async with mute_server(world, greet, silence_seconds=60):
        await until(lambda: took)
        assert 2 <= took[0] <= 2.6


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_server_that_leaves_sends_no_heartbeat_behind_its_end(world: World) -> None:
    async with open_pair(world) as pair:
        stream = await pair.greeted(silence_seconds=1)
        left = trio.current_time()
    assert trio.current_time() - left >= 0.25, "it waited for this side's end, and a beat was due"
    assert await receive_to_end(stream) == b""
    await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_idle_sides_keep_each_other_alive(world: World) -> None:
    server_limits = rpc.ServerLimits(silence_seconds=1)
    client_limits = rpc.ClientLimits(silence_seconds=8)
    async with (
        open_pair(world, limits=server_limits) as pair,
        pair.client(limits=client_limits) as client,
    ):
        await client.wait_connected()
        await trio.sleep(60)
        assert client.statistics().connects == 1
        assert await Shop(client).double(Number(1)) == Number(2)


# Limits of a client


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_calls_past_the_limit_wait_in_turn(world: World) -> None:
    order: list[int] = []

    async def ask(number: int) -> None:
        await Shop(client).slow(Number(1))
        order.append(number)

    limits = rpc.ClientLimits(calls_in_flight=2)
    async with open_pair(world) as pair, pair.client(limits=limits) as client:
        await client.wait_connected()
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(ask, number)
                await trio.sleep(0.01)
            assert client.statistics().calls_in_flight == 2
            assert client.statistics().calls == 2
        assert order == list(range(8))
        assert pair.book.most_active == 2


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_calls_that_wait_for_room_may_be_cancelled(world: World) -> None:
    async def ask(seconds: float) -> None:
        with trio.move_on_after(seconds):
            await Shop(client).slow(Number(1))

    limits = rpc.ClientLimits(calls_in_flight=1)
    async with open_pair(world) as pair, pair.client(limits=limits) as client:
        rng = world.rng("waits")
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(ask, rng.uniform(0.1, 5))
        assert client.statistics().calls_in_flight == 0
        assert await Shop(client).double(Number(1), timeout_seconds=1) == Number(2)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_one_way_messages_past_the_queue_are_dropped_and_counted(world: World) -> None:
    limits = rpc.ClientLimits(queued_bytes=100_000)
    async with open_pair(world) as pair, pair.client(limits=limits) as client:
        await client.wait_connected()
        sent = [Shop(client).note(Number(value, bytes(10_000))) for value in range(1000)]
        taken = sent.count(True)
        assert 10 <= taken < 1000
        counts = client.statistics()
        assert (counts.tells, counts.tells_dropped) == (taken, 1000 - taken)
        assert counts.queued_bytes < 120_000
        await until(lambda: len(pair.book.noted) == taken)
        assert Shop(client).note(Number(1))


@pytest.mark.slow
@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_calls_past_the_queue_wait(world: World) -> None:
    limits = rpc.ClientLimits(queued_bytes=50_000)
    async with open_pair(world) as pair, pair.client(limits=limits) as client:
        await client.wait_connected()
        most = 0
        async with trio.open_nursery() as nursery:
            for value in range(200):
                nursery.start_soon(Shop(client).double, Number(value, bytes(20_000)))
            while len(pair.book.doubled) < 200:
                most = max(most, client.statistics().queued_bytes)
                await trio.sleep(0.0001)
        assert 50_000 <= most < 75_000
        assert sorted(pair.book.doubled) == list(range(200))


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_server_that_falls_silent_is_noticed_within_the_bound(world: World) -> None:
    async def hear(stream: ByteStream) -> None:
        await stream.send_all(encode_welcome(welcome))
        while await stream.receive_some(READ_BYTES):
            pass

    welcome = Welcome(1, rpc.ANONYMOUS, 1_000_000_000, 10, 1000)
    async with mute_server(world, hear) as client:
        await client.wait_connected()
        began = trio.current_time()
        with pytest.raises(AnswerLost, match="fell silent"):
            await Shop(client).double(Number(1))
        assert 4 <= trio.current_time() - began <= 5.1


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_server_that_never_greets_is_given_up(world: World) -> None:
    async def wait(stream: ByteStream) -> None:
        await receive_to_end(stream)

    async with mute_server(world, wait) as client:
        await trio.sleep(9)
        assert client.statistics().attempts == 3
        assert not client.is_connected


@pytest.mark.parametrize(
    "answer",
    [
        encode_answer(7, b""), b"\xff" * 100, encode_cancel(1), frame(b""),
        encode_tell(b"\x01m", b""), frame(b"\x01garbage"),
    ],
)  # fmt: skip
@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_a_server_that_breaks_the_protocol_loses_its_connection(
    world: World, answer: bytes
) -> None:
    async def lie(stream: ByteStream) -> None:
        await stream.receive_some(READ_BYTES)
        await stream.send_all(encode_welcome(welcome))
        await stream.receive_some(READ_BYTES)
        await stream.send_all(answer)
        await receive_to_end(stream)

    welcome = Welcome(1, rpc.ANONYMOUS, 1_000_000, 10, 1000)
    async with mute_server(world, lie) as client:
        with pytest.raises(AnswerLost, match="broke the protocol"):
            await Shop(client).double(Number(1))


@pytest.mark.parametrize(
    "greeting",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", frame(b"\0no"), frame(b"\x06"), b"\0\0", b"",
     encode_welcome(Welcome(1, rpc.ANONYMOUS, 1_000_000, 1, 1)) + frame(b"\x06")],
)  # fmt: skip
@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_a_server_of_another_kind_is_tried_again_later(world: World, greeting: bytes) -> None:
    async def greet(stream: ByteStream) -> None:
        await stream.receive_some(READ_BYTES)
        if greeting:
            await stream.send_all(greeting)

    async with mute_server(world, greet) as client:
        await trio.sleep(3)
        counts = client.statistics()
        assert 3 <= counts.attempts <= 12
        assert counts.connects == 0


# Hostile clients


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, bytes(5000), b"\0\0\0\5hello", frame(b"\0"),
        frame(b"\0" + b"\x91" * 1000), frame(b"\0" + b"\xdf\xff\xff\xff\xff"), b"\0\0",
    ],
)  # fmt: skip
@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_garbage_instead_of_a_hello(world: World, garbage: bytes) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(handshake_seconds=2)) as pair:
        stream = await pair.stream()
        await stream.send_all(garbage)
        await works(pair)
        assert await receive_to_end(stream) == b""
        await until(lambda: pair.server.statistics().connections_active == 0)
        assert pair.server.statistics().handshakes_failed == 1
        await stream.aclose()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 5000, frame(b""), frame(b"\x63"), frame(b"\0"), encode_answer(1, b""),
        encode_cancel(5), b"\x7f\xff\xff\xff", frame(b"\x01" + bytes(17)),
    ],
)  # fmt: skip
@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_garbage_after_the_hello_costs_the_connection_and_its_handlers(
    world: World, garbage: bytes
) -> None:
    async with open_pair(world) as pair:
        stream = await pair.greeted()
        await stream.send_all(call(1, Shop.slow, 1000))
        await until(lambda: pair.book.started)
        await stream.send_all(garbage)
        await works(pair)
        await receive_to_end(stream)
        await until(lambda: pair.book.cancelled == [1000])
        assert pair.server.statistics().bad_messages == 1
        await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_call_whose_id_comes_again(world: World) -> None:
    async with open_pair(world) as pair:
        stream = await pair.greeted()
        await stream.send_all(call(5, Shop.double, 1) + call(5, Shop.double, 1))
        await receive_to_end(stream)
        assert pair.book.doubled == [1]
        assert pair.server.statistics().bad_messages == 1
        await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_hello_byte_by_byte_is_cut_off(world: World) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(handshake_seconds=3)) as pair:
        stream = await pair.stream()
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            for byte in frame(bytes(1000)):
                await stream.send_all(bytes([byte]))
                await trio.sleep(0.5)
        assert trio.current_time() - began < 5
        assert pair.server.statistics().handshakes_failed == 1
        await works(pair)
        await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_half_a_frame_is_waited_for_no_longer_than_any_silence(world: World) -> None:
    async with open_pair(world, limits=rpc.ServerLimits(silence_seconds=2)) as pair:
        stream = await pair.greeted()
        await stream.send_all(call(1, Shop.double, 1)[:-1])
        await receive_to_end(stream)
        assert pair.server.statistics().silences == 1
        assert pair.book.doubled == []
        await stream.aclose()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_flood_slows_nobody_else(world: World) -> None:
    async def flood() -> None:
        stream = await pair.greeted()
        burst = b"".join(encode_tell(encode_name("Shop.nothing"), bytes(100)) for _ in range(500))
        while True:
            await stream.send_all(burst)

    async with open_pair(world) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        await until(lambda: pair.server.statistics().tells > 5000)
        for _ in range(5):
            await works(pair)
        nursery.cancel_scope.cancel()


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_a_client_that_leaves_at_once_leaves_nothing(world: World) -> None:
    async with open_pair(world) as pair:
        for _ in range(50):
            stream = await pair.stream()
            await stream.aclose()
            stream = await pair.greeted()
            await stream.send_all(call(1, Shop.slow, 1000))
            await stream.aclose()
        await until(lambda: pair.server.statistics().connections_active == 0)
        assert pair.server.statistics().handlers_active == 0


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_serving_reports_its_address(world: World) -> None:
    machine = world.start("server", idle)
    routes = make_routes(Book(), machine.ports)
    async with trio.open_nursery() as nursery:
        start = partial(rpc.serve, 0, routes, host=machine.address, ports=machine.ports)
        host, port = (await nursery.start(start))[:2]
        async with rpc.open_client(host, port, ports=ports_of(world, "client")) as client:
            assert await Shop(client).who(Text()) == Text("")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("alive_seconds", "attempts"), [(6, (16, 18)), (0, (20, 40))])
@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_waits_begin_again_after_a_connection_that_lasted(
    world: World, alive_seconds: float, attempts: tuple[int, int]
) -> None:
    async def greet_and_leave(stream: ByteStream) -> None:
        await stream.receive_some(READ_BYTES)
        await stream.send_all(encode_welcome(welcome))
        with trio.move_on_after(alive_seconds):
            await receive_to_end(stream)

    welcome = Welcome(1, rpc.ANONYMOUS, 1_000_000_000, 10, 1000)
    async with mute_server(world, greet_and_leave, silence_seconds=60) as client:
        await trio.sleep(100)
        assert attempts[0] <= client.statistics().connects <= attempts[1]


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_room_that_a_call_cannot_use_goes_to_the_next(world: World) -> None:
    async def ask_too_much() -> None:
        with pytest.raises(MessageTooLarge):
            await Shop(client).double(Number(1, bytes(2000)))

    limits = rpc.ClientLimits(calls_in_flight=1)
    server_limits = rpc.ServerLimits(frame_bytes=1000)
    async with open_pair(world, limits=server_limits) as pair, pair.client(limits=limits) as client:
        await client.wait_connected()
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for ask in (partial(Shop(client).slow, Number(1)), ask_too_much, ask_too_much):
                    nursery.start_soon(ask)
                    await trio.sleep(0.1)
                assert await Shop(client).double(Number(2)) == Number(4)


@simulated(seeds=10, profile="calm", hosts=HOSTS)
async def test_room_that_comes_with_the_deadline_goes_to_the_next(world: World) -> None:
    async def ask_in_time() -> None:
        with pytest.raises(CallTimedOut):
            await Shop(client).double(Number(1), timeout_seconds=3)

    limits = rpc.ClientLimits(calls_in_flight=1, silence_seconds=100)
    server_limits = rpc.ServerLimits(silence_seconds=100)
    async with open_pair(world, limits=server_limits) as pair, pair.client(limits=limits) as client:
        await client.wait_connected()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for ask in (partial(Shop(client).slow, Number(2)), ask_in_time):
                    nursery.start_soon(ask)
                    await trio.sleep(0.1)
                world.machines["client"].pause(world.now() + 8_000_000)
                assert await Shop(client).double(Number(2)) == Number(4)
