"""RPC between two calm simulated machines: what calls promise."""

from contextlib import suppress

import pytest
import trio

from tests.support.rpc_world import (
    HOSTS,
    PORT,
    Book,
    Number,
    Pair,
    Shop,
    Text,
    idle,
    make_routes,
    open_pair,
    ports_of,
    until,
)
from trio440 import rpc
from trio440.errors import (
    AnswerLost,
    BadMessage,
    CallTimedOut,
    ConnectionRefused,
    HandlerFailed,
    HandshakeRefused,
    InvalidParameter,
    MessageTooLarge,
    RemoteError,
    RpcClosed,
)
from trio440.sim import simulated
from trio440.sim.world import World

SEEDS = 1


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_call_returns_the_answer(world: World) -> None:
    async with open_pair(world) as pair, pair.client() as client:
        shop = Shop(client)
        assert await shop.double(Number(21)) == Number(42)
        assert await shop.slow(Number(3), timeout_seconds=4) == Number(3)
        assert await client.call(Shop.double, Number(1)) == Number(2)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_many_calls_are_in_flight_and_answered_in_any_order(world: World) -> None:
    order: list[int] = []

    async def ask(value: int) -> None:
        assert await Shop(client).slow(Number(value)) == Number(value)
        order.append(value)

    async with open_pair(world) as pair, pair.client() as client:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for value in (5, 1, 4, 2, 3):
                nursery.start_soon(ask, value)
        assert order == [1, 2, 3, 4, 5]
        assert 5 <= trio.current_time() - began < 5.5
        assert pair.server.statistics().calls == 5


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_thousands_of_calls_each_get_their_own_answer(world: World) -> None:
    async def ask(value: int) -> None:
        for number in range(value, 2000, 50):
            assert await Shop(client).double(Number(number)) == Number(2 * number)

    async with open_pair(world) as pair, pair.client() as client:
        async with trio.open_nursery() as nursery:
            for value in range(50):
                nursery.start_soon(ask, value)
        assert sorted(pair.book.doubled) == list(range(2000))
        counts = client.statistics()
        assert (counts.calls, counts.answers, counts.late_answers) == (2000, 2000, 0)


@pytest.mark.parametrize("method", [Shop.fail, Shop.fail_now])
@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_a_remote_error_has_the_remotes_name(
    world: World, method: rpc.Method[Text, Text]
) -> None:
    async with open_pair(world) as pair, pair.client() as client:
        with pytest.raises(RemoteError) as caught:
            await client.call(method, Text())
        assert (caught.value.name, caught.value.detail) == ("KeyError", "'a key'")
        (report,) = pair.book.reports
        assert isinstance(report, HandlerFailed)
        assert isinstance(report.__cause__, KeyError)
        with pytest.raises(RemoteError) as caught:
            await client.call(method, Text("NotToday"))
        assert (caught.value.name, caught.value.detail) == ("NotToday", "on purpose")
        assert len(pair.book.reports) == 1, "an error that was named is no failure"
        assert await Shop(client).double(Number(1)) == Number(2)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_what_cannot_be_asked_or_answered(world: World) -> None:
    class Impostor(rpc.Service, name="Shop"):
        double = rpc.method(Text, Number)
        who = rpc.method(Text, Number)
        note = rpc.method(Number, Number)

    async with open_pair(world) as pair, pair.client() as client:
        for method, name in (
            (Shop.missing, "UnknownMethod"),
            (Impostor.note, "UnknownMethod"),
            (Shop.wrong, "BadResult"),
        ):
            with pytest.raises(RemoteError) as caught:
                await client.call(method, Number(1))
            assert caught.value.name == name
        with pytest.raises(RemoteError, match="BadRequest"):
            await client.call(Impostor.double, Text("text"))
        with pytest.raises(BadMessage):
            await client.call(Impostor.who, Text())
        with pytest.raises(InvalidParameter):
            await client.call(Shop.double, Number(1 << 63))
        for seconds in (-1, float("nan"), 1e10):
            with pytest.raises(InvalidParameter):
                await Shop(client).double(Number(1), timeout_seconds=seconds)
        assert await Shop(client).double(Number(1)) == Number(2)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_deadline_is_honoured_on_both_sides(world: World) -> None:
    async with open_pair(world) as pair, pair.client() as client:
        began = trio.current_time()
        with pytest.raises(CallTimedOut) as caught:
            await Shop(client).slow(Number(100), timeout_seconds=2)
        assert trio.current_time() - began == pytest.approx(2, abs=0.1)
        assert (caught.value.method, caught.value.seconds) == ("Shop.slow", 2)
        assert isinstance(caught.value, trio.TooSlowError)
        await until(lambda: pair.book.cancelled == [100])
        assert trio.current_time() - began == pytest.approx(2, abs=0.1)
        assert client.statistics().timeouts == 1


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_the_server_keeps_the_deadline_when_the_client_is_cut_off(world: World) -> None:
    limits = rpc.ServerLimits(silence_seconds=100)
    async with open_pair(world, limits=limits) as pair, pair.client() as client:
        await client.wait_connected()
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises((CallTimedOut, AnswerLost, RpcClosed)):
                    await Shop(client).slow(Number(50), timeout_seconds=3)

            nursery.start_soon(ask)
            await until(lambda: pair.book.started)
            world.machines["client"].pause(world.now() + 60_000_000)
            began = trio.current_time()
            await until(lambda: pair.book.cancelled == [50])
            assert trio.current_time() - began == pytest.approx(3, abs=0.2)
            assert pair.server.statistics().timeouts == 1


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_cancelling_a_call_cancels_its_handler_and_no_other(world: World) -> None:
    async with open_pair(world) as pair, pair.client() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Shop(client).slow, Number(10))
            with trio.move_on_after(1):
                await Shop(client).slow(Number(20))
            await until(lambda: pair.book.cancelled == [20], 1)
        assert pair.book.cancelled == [20]
        assert pair.server.statistics().cancelled == 1
        counts = client.statistics()
        assert (counts.cancelled, counts.answers, counts.timeouts) == (1, 1, 0)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_what_a_cancelled_handler_still_says_is_not_sent(world: World) -> None:
    async with open_pair(world) as pair, pair.client() as client:
        for value in (0, 1):
            with trio.move_on_after(1):
                await Shop(client).stubborn(Number(value))
        await trio.sleep(1)
        assert len(pair.book.started) == 2
        assert pair.server.statistics().handlers_active == 0
        assert client.statistics().late_answers == 0


@simulated(seeds=5, profile="calm", hosts=HOSTS)
async def test_late_answers_reach_nobody(world: World) -> None:
    rng = world.rng("late")

    async def ask(value: int) -> None:
        with trio.move_on_after(rng.uniform(0, 0.004)):
            assert await Shop(client).double(Number(value)) == Number(2 * value)

    async with open_pair(world) as pair, pair.client() as client:
        await client.wait_connected()
        for first in range(0, 100, 10):
            async with trio.open_nursery() as nursery:
                for value in range(first, first + 10):
                    nursery.start_soon(ask, value)
        await trio.sleep(1)
        counts = client.statistics()
        assert counts.answers + counts.cancelled == counts.calls
        assert counts.late_answers <= counts.cancelled
        assert counts.late_answers + counts.answers == pair.server.statistics().answers


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_a_task_that_is_cancelled_already_asks_nothing(world: World) -> None:
    async with open_pair(world) as pair, pair.client() as client:
        await client.wait_connected()
        with trio.CancelScope() as scope:
            scope.cancel()
            await Shop(client).double(Number(1))
        assert scope.cancelled_caught
        with pytest.raises(CallTimedOut):
            await Shop(client).double(Number(1), timeout_seconds=0)
        await trio.sleep(1)
        assert pair.book.doubled == []


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_one_way_messages_arrive_in_order(world: World) -> None:
    async with open_pair(world) as pair, pair.client() as client:
        assert not Shop(client).note(Number(-5)), "there is no connection yet"
        await client.wait_connected()
        for value in range(500):
            assert Shop(client).note(Number(value))
            if value % 100 == 0:
                await trio.sleep(0.01)
        assert Shop(client).slow_note(Number(1))
        assert Shop(client).note(Number(-1))
        await until(lambda: len(pair.book.noted) == 501)
        assert pair.book.noted == [*range(500), 1]
        counts = client.statistics()
        assert (counts.tells, counts.tells_dropped) == (502, 1)
        assert pair.server.statistics().tells == 502
        (report,) = pair.book.reports
        assert isinstance(report.__cause__, ValueError)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_handlers_know_their_peer_and_clients_theirs(world: World) -> None:
    identity = rpc.Identity("c", "n1", 4)
    async with (
        open_pair(world, identity=identity) as pair,
        pair.client(identity=rpc.Identity("c", "n2"), expected=rpc.Expected("n1", 4)) as client,
    ):
        before = client.peer
        assert before is None
        assert (await client.wait_connected()).identity == identity
        assert str(client.peer) == f"n1 at {pair.host}:{PORT}"
        assert await Shop(client).who(Text()) == Text("n2")


@pytest.mark.parametrize(
    ("mine", "expected", "reason"),
    [
        (rpc.Identity("other", "n2"), rpc.Expected(), "cluster"),
        (rpc.Identity("c", "n2"), rpc.Expected("n3"), "node"),
        (rpc.Identity("c", "n2"), rpc.Expected("n1", 5), "incarnation"),
    ],
)
@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_a_mismatch_is_one_clear_error_on_both_sides(
    world: World, mine: rpc.Identity, expected: rpc.Expected, reason: str
) -> None:
    async with (
        open_pair(world, identity=rpc.Identity("c", "n1", 4)) as pair,
        pair.client(identity=mine, expected=expected) as client,
    ):
        with pytest.raises(HandshakeRefused):
            await client.wait_connected()
        with pytest.raises(HandshakeRefused) as caught:
            await Shop(client).double(Number(1))
        assert caught.value.reason == reason
        assert not Shop(client).note(Number(1))
        report = pair.book.reports[0]
        assert isinstance(report, HandshakeRefused)
        assert (report.reason, report.detail) == (reason, caught.value.detail)
        assert pair.server.statistics().handshakes_refused == len(pair.book.reports)
        assert client.statistics().refusals >= 1


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_leaving_a_server_normally_lets_handlers_answer(world: World) -> None:
    answers: list[Number] = []

    async def ask() -> None:
        answers.append(await Shop(client).slow(Number(2)))

    async with trio.open_nursery() as nursery:
        async with open_pair(world) as pair:
            client = await nursery.start(_live, pair)
            nursery.start_soon(ask)
            await until(lambda: pair.book.started == [2])
        await until(lambda: answers == [Number(2)], 1)
        nursery.cancel_scope.cancel()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_leaving_a_server_waits_no_longer_than_its_limit(world: World) -> None:
    async def ask() -> None:
        with pytest.raises(AnswerLost):
            await Shop(client).slow(Number(1000))
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        async with open_pair(world, limits=rpc.ServerLimits(flush_seconds=3)) as pair:
            client = await nursery.start(_live, pair)
            nursery.start_soon(ask)
            await until(lambda: pair.book.started)
            began = trio.current_time()
        assert trio.current_time() - began == pytest.approx(3, abs=0.5)
        assert pair.book.cancelled == [1000]


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_leaving_a_server_by_an_error_ends_all_at_once(world: World) -> None:
    began = trio.current_time()
    with pytest.raises(ZeroDivisionError):
        async with open_pair(world) as pair, pair.client() as client:
            with trio.move_on_after(1):
                await Shop(client).slow(Number(1000))
            raise ZeroDivisionError
    assert trio.current_time() - began < 1.1


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_leaving_a_client_flushes_and_wakes_who_still_waits(world: World) -> None:
    woken: list[str] = []

    async def ask(client: rpc.Client, method: str) -> None:
        with pytest.raises(RpcClosed):
            await getattr(Shop(client), method)(Number(1000))
        woken.append(method)

    async with open_pair(world) as pair, trio.open_nursery() as nursery:
        async with pair.client() as client:
            await client.wait_connected()
            nursery.start_soon(ask, client, "slow")
            await until(lambda: pair.book.started)
            for value in range(1000):
                assert Shop(client).note(Number(value, bytes(1000)))
        await until(lambda: pair.book.noted == list(range(1000)), 1)
        await until(lambda: pair.book.cancelled == [1000], 1)
        assert woken == ["slow"]
        for method in ("double", "slow"):
            await ask(client, method)
        with pytest.raises(RpcClosed):
            Shop(client).note(Number(1))
        assert repr(client).endswith("closed>")


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_client_waits_for_a_server_that_comes_later(world: World) -> None:
    machine = world.start("server", idle)
    ports = ports_of(world, "client")
    async with rpc.open_client("server", PORT, ports=ports) as client:
        with pytest.raises(CallTimedOut):
            await Shop(client).double(Number(1), timeout_seconds=2)
        assert client.statistics().attempts > 2
        routes = make_routes(Book(), machine.ports)
        async with rpc.open_server(PORT, routes, host=machine.address, ports=machine.ports):
            assert await Shop(client).double(Number(4)) == Number(8)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_who_may_ask_somebody_else_hears_at_once_that_nobody_listens(world: World) -> None:
    machine = world.start("server", idle)
    ports = ports_of(world, "client")
    async with rpc.open_client("server", PORT, ports=ports) as client:
        began = trio.current_time()
        for _ in range(3):  # while it tries, and while it waits before it does so again
            assert await client.wait_attempt() is None
        assert trio.current_time() - began < 0.5
        failure = client.failure
        assert isinstance(failure, ConnectionRefused)
        assert failure.nobody_listens
        routes = make_routes(Book(), machine.ports)
        async with rpc.open_server(PORT, routes, host=machine.address, ports=machine.ports):
            await client.wait_connected()
            assert await client.wait_attempt() == client.peer
            assert client.failure is None
        await client.wait_disconnected()
        assert await client.wait_attempt() is None
    with pytest.raises(RpcClosed):
        await client.wait_attempt()


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_a_message_that_is_too_large_is_refused_where_it_is_made(world: World) -> None:
    limits = rpc.ServerLimits(frame_bytes=1000)
    async with open_pair(world, limits=limits) as pair, pair.client() as client:
        await client.wait_connected()
        largest = 0
        for size in range(900, 1000):
            with suppress(MessageTooLarge):
                await Shop(client).double(Number(1, bytes(size)))
                largest = size
        assert 900 < largest < 999
        with pytest.raises(MessageTooLarge) as caught:
            await Shop(client).double(Number(1, bytes(largest + 1)))
        assert caught.value.size == caught.value.limit + 1
        with pytest.raises(MessageTooLarge):
            Shop(client).note(Number(1, bytes(1000)))
        assert await Shop(client).double(Number(1)) == Number(2)
        assert pair.server.statistics().bad_messages == 0


async def _live(
    pair: Pair, *, task_status: trio.TaskStatus[rpc.Client] = trio.TASK_STATUS_IGNORED
) -> None:
    async with pair.client() as client:
        await client.wait_connected()
        task_status.started(client)
        await trio.sleep_forever()


@simulated(seeds=5, profile="calm", hosts=HOSTS)
async def test_what_was_told_last_arrives_though_answers_are_unread(world: World) -> None:
    async with open_pair(world) as pair:
        async with pair.client() as client, trio.open_nursery() as nursery:
            await client.wait_connected()
            for _ in range(20):
                nursery.start_soon(Shop(client).grow, Number(100_000))
            await trio.sleep(world.rng("leaving").uniform(0, 0.005))
            for value in range(300):
                assert Shop(client).note(Number(value, bytes(1000)))
            nursery.cancel_scope.cancel()
        await until(lambda: pair.server.statistics().connections_active == 0, 1)
        assert pair.book.noted == list(range(300))
