"""The mining server, workers and clients as they are, on the simulated network."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
import trio.testing

from tests.support.sim_network import SimNetwork, open_sim_network
from trio440 import lsp
from trio440.core.host import Host
from trio440.errors import BadMessage, MiningError, ServerLost
from trio440.mining import (
    ChunkSizes,
    Found,
    MiningServer,
    NonceRange,
    Throttled,
    find_least_hash,
    hash_of,
    least_hash,
    open_mining_server,
    work,
)
from trio440.mining.messages import Join, Request, Result, encode
from trio440.mining.scheduler import Scheduler

SERVER = "10.0.0.1"
PORT = 9999
SIZES = ChunkSizes(first=50, least=10)


@attrs.define(eq=False)
class VirtualEngine:
    """Takes as long as it should at its speed; exact, or right without being the least."""

    speed: float
    exact: bool = True
    searched: list[NonceRange] = attrs.field(factory=list)
    cancelled: int = 0
    name: str = "virtual"
    lanes: int = 1

    async def search(self, text: str, nonces: NonceRange) -> Found:
        self.searched.append(nonces)
        try:
            await trio.sleep(nonces.size / self.speed)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        if self.exact:
            return least_hash(text, nonces.lower, nonces.upper)
        return Found(hash_of(text, nonces.lower), nonces.lower)


@attrs.define(eq=False)
class World:
    network: SimNetwork
    server: MiningServer
    nursery: trio.Nursery
    params: lsp.Params
    seed: int
    hosts: int = 1
    finished: list[str] = attrs.field(factory=list)

    def host(self) -> Host:
        self.hosts += 1
        address = f"10.1.{self.hosts // 256}.{self.hosts % 256}"
        return self.network.host(address, seed=self.seed * 1000 + self.hosts)

    def start_miner(
        self, speed: float, *, exact: bool = True
    ) -> tuple[VirtualEngine, trio.CancelScope]:
        engine = VirtualEngine(speed, exact)
        scope = trio.CancelScope()

        async def mine() -> None:
            with scope:
                await work(SERVER, PORT, engine, params=self.params, ports=self.host())

        self.nursery.start_soon(mine)
        return engine, scope

    async def ask(self, text: str, upper: int, lower: int = 0) -> Found:
        nonces = NonceRange(lower, upper)
        ports = self.host()
        return await find_least_hash(SERVER, PORT, text, nonces, params=self.params, ports=ports)

    def start_request(self, text: str, upper: int) -> None:
        async def ask() -> None:
            await self.ask(text, upper)
            self.finished.append(text)

        self.nursery.start_soon(ask)

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(100_000):
            if condition():
                return
            await trio.sleep(0.1)
        raise AssertionError("it never came true")


@asynccontextmanager
async def open_world(seed: int, *, loss: float = 0.0, epoch_limit: int = 5) -> AsyncIterator[World]:
    """A mining server that is left by cancellation, as a killed process leaves it.

    With loss the epoch limit must be so high that bad luck alone never looks like silence.
    """
    params = lsp.Params(epoch_limit, 500, window_size=8, max_unacked_messages=8)
    async with open_sim_network(seed) as network:
        network.weather(delay=100, jitter=2_900, loss=loss)
        ports = network.host(SERVER, seed=seed + 1)
        async with (
            trio.open_nursery() as nursery,
            open_mining_server(
                PORT, host=SERVER, params=params, sizes=SIZES, ports=ports
            ) as server,
        ):
            yield World(network, server, nursery, params, seed)
            nursery.cancel_scope.cancel()
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("seed", range(5))
async def test_three_miners_of_different_speed_find_the_least_hash(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(seed) as world:
        engines = [world.start_miner(speed)[0] for speed in (100.0, 200.0, 400.0)]
        assert await world.ask("bradfitz", 3000) == least_hash("bradfitz", 0, 3000)
        assert all(engine.searched for engine in engines)
        assert world.server.statistics().jobs_answered == 1
        assert world.server.jobs == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
async def test_killed_miners_and_lost_datagrams_change_no_answer(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(seed, loss=0.1, epoch_limit=20) as world:
        scopes = [world.start_miner(300.0)[1] for _ in range(4)]
        answers: dict[str, Found] = {}

        async def ask(text: str, upper: int) -> None:
            answers[text] = await world.ask(text, upper)

        async with trio.open_nursery() as clients:
            clients.start_soon(ask, "huge", 6000)
            clients.start_soon(ask, "small", 400)
            for scope in scopes[:3]:
                await trio.sleep(1.5)
                scope.cancel()
        assert answers == {
            "huge": least_hash("huge", 0, 6000),
            "small": least_hash("small", 0, 400),
        }
        assert world.server.statistics().chunks_reassigned > 0


async def test_a_job_waits_for_the_first_miner(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(1) as world:
        world.start_request("early", 100)
        await trio.sleep(60)
        assert world.finished == []
        assert world.server.jobs == 1
        world.start_miner(1000)
        await world.until(lambda: world.finished == ["early"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
async def test_a_small_request_after_a_huge_one_finishes_first(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(seed) as world:
        for speed in (1e6, 2e6, 4e6):
            world.start_miner(speed, exact=False)
        world.start_request("huge", 2**63)
        await trio.sleep(20)
        began = trio.current_time()
        await world.ask("small", 5_000_000)
        assert trio.current_time() - began < 5
        assert world.server.jobs == 1


async def test_equal_requests_finish_in_their_order_of_arrival(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(3) as world:
        for speed in (1e5, 2e5):
            world.start_miner(speed, exact=False)
        texts = [f"job {number}" for number in range(8)]
        for text in texts:
            world.start_request(text, 1_000_000)
            await trio.sleep(0.05)
        await world.until(lambda: len(world.finished) == len(texts))
        places = [abs(world.finished.index(text) - n) for n, text in enumerate(texts)]
        assert max(places) <= 1


@pytest.mark.slow
async def test_a_huge_job_ends_under_an_endless_stream_of_small_ones(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(4) as world:
        world.start_miner(1e6, exact=False)
        world.start_request("huge", 10_000_000)
        for number in range(1000):
            world.start_request(f"small {number}", 500_000)
            await trio.sleep(0.5)
            if "huge" in world.finished:
                break
        assert "huge" in world.finished


async def test_work_is_shared_by_speed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(5) as world:
        engines = [world.start_miner(speed, exact=False)[0] for speed in (1e6, 2e6, 4e6)]
        await world.ask("even", 400_000_000)
        hashed = [sum(nonces.size for nonces in engine.searched) for engine in engines]
        assert hashed[1] / hashed[0] == pytest.approx(2, rel=0.2)
        assert hashed[2] / hashed[0] == pytest.approx(4, rel=0.2)


async def test_a_client_that_leaves_takes_its_job_along(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(6) as world:
        engine, _ = world.start_miner(1e6, exact=False)
        with trio.move_on_after(5):
            await world.ask("abandoned", 2**63)
        await world.until(lambda: world.server.jobs == 0)
        assert world.server.statistics().jobs_dropped == 1
        searched = len(engine.searched)
        await trio.sleep(10)
        assert len(engine.searched) <= searched + 2
        assert await world.ask("next", 100) == Found(hash_of("next", 0), 0)


async def test_a_busy_miner_keeps_its_connection_alive(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A search of 100 s, with a connection that would be lost after 2.5 s of silence."""
    async with open_world(7) as world:
        world.start_miner(0.5)
        assert await world.ask("slow", 49) == least_hash("slow", 0, 49)
        assert world.server.miners == 1
        assert world.server.lsp_statistics().lost == 0


async def test_a_lost_server_stops_the_search_of_a_miner_and_the_wait_of_a_client(
    autojump_clock: trio.testing.MockClock,
) -> None:
    engine = VirtualEngine(1.0)
    endings: list[type[Exception]] = []

    async def expect_loss(wait: Callable[[], Awaitable[object]]) -> None:
        try:
            await wait()
        except ServerLost as error:
            endings.append(type(error))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as server_life:
            async with open_world(8) as world:
                world.finished.clear()
                ports = world.host()
                network = world.network
                network.filter = lambda data, _source, _destination: (
                    [] if server_life.cancel_called else [(0, data)]
                )

                async def mine() -> None:
                    await work(SERVER, PORT, engine, params=world.params, ports=ports)

                async def ask() -> None:
                    await world.ask("endless", 2**40)

                world.nursery.start_soon(expect_loss, ask)
                world.nursery.start_soon(expect_loss, mine)
                await world.until(lambda: bool(engine.searched))
                network.filter = lambda _data, _source, _destination: []
                await world.until(lambda: len(endings) == 2)
        nursery.cancel_scope.cancel()
    assert endings == [ServerLost, ServerLost]
    assert engine.cancelled == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        encode(Result(1, 1)),
        encode(Result(hash_of("honest", 999_999), 999_999)),
        b"no JSON",
        encode(Request("a miner asks", NonceRange(0, 1))),
    ],
    ids=["wrong hash", "outside the range", "garbage", "a request"],
)
async def test_a_miner_that_answers_nonsense_is_disconnected_and_its_work_done_by_others(
    nonsense: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(9) as world:
        async with lsp.connect(SERVER, PORT, params=world.params, ports=world.host()) as liar:
            liar.write(encode(Join()))
            await world.until(lambda: world.server.miners == 1)
            world.start_request("honest", 500)
            await liar.receive()
            liar.write(nonsense)
            await world.until(lambda: world.server.miners == 0)
            world.start_miner(1000)
            await world.until(lambda: world.finished == ["honest"])
            with pytest.raises(lsp.ConnectionLost):
                while True:
                    await liar.receive()
        assert world.server.statistics().miners_disconnected == 1


async def test_a_client_that_sends_garbage_is_disconnected_and_others_are_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(10) as world:
        world.start_miner(1000)
        async with lsp.connect(SERVER, PORT, params=world.params, ports=world.host()) as client:
            client.write(b'{"Type":1,"Lower":2,"Upper":1}')
            with pytest.raises(lsp.ConnectionLost):
                await client.receive()
        assert await world.ask("fine", 10) == least_hash("fine", 0, 10)


@pytest.mark.parametrize(
    ("message", "error"),
    [(b"garbage", BadMessage), (encode(Join()), Exception)],
    ids=["garbage", "a join"],
)
async def test_a_server_that_sends_nonsense_ends_miner_and_client(
    message: bytes, error: type[Exception], autojump_clock: trio.testing.MockClock
) -> None:
    async def confuse(connection: lsp.Connection) -> None:
        await connection.receive()
        connection.write(message)
        await connection.receive()

    async with open_sim_network(11) as network, trio.open_nursery() as nursery:
        ports = network.host(SERVER, seed=1)
        other = network.host("10.0.0.2", seed=2)

        async def serve(task_status: trio.TaskStatus[object]) -> None:
            await lsp.serve(confuse, PORT, host=SERVER, ports=ports, task_status=task_status)

        await nursery.start(serve)
        with pytest.raises(error):
            await work(SERVER, PORT, VirtualEngine(1), ports=other)
        with pytest.raises(error):
            await find_least_hash(SERVER, PORT, "text", NonceRange(0, 1), ports=other)
        nursery.cancel_scope.cancel()


async def test_a_wrong_answer_is_not_believed(autojump_clock: trio.testing.MockClock) -> None:
    async def lie(connection: lsp.Connection) -> None:
        await connection.receive()
        connection.write(encode(Result(5, 1)))
        await connection.receive()

    async with open_sim_network(12) as network, trio.open_nursery() as nursery:
        ports = network.host(SERVER, seed=1)
        other = network.host("10.0.0.2", seed=2)

        async def serve(task_status: trio.TaskStatus[object]) -> None:
            await lsp.serve(lie, PORT, host=SERVER, ports=ports, task_status=task_status)

        await nursery.start(serve)
        with pytest.raises(Exception, match="5 is no hash of 1"):
            await find_least_hash(SERVER, PORT, "text", NonceRange(0, 1), ports=other)
        nursery.cancel_scope.cancel()


async def test_an_answer_outside_the_range_is_not_believed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The hash is right, but the nonce was not asked for."""

    async def stray(connection: lsp.Connection) -> None:
        await connection.receive()
        connection.write(encode(Result(hash_of("text", 2), 2)))
        await connection.receive()

    async with open_sim_network(13) as network, trio.open_nursery() as nursery:
        ports = network.host(SERVER, seed=1)
        other = network.host("10.0.0.2", seed=2)

        async def serve(task_status: trio.TaskStatus[object]) -> None:
            await lsp.serve(stray, PORT, host=SERVER, ports=ports, task_status=task_status)

        await nursery.start(serve)
        with pytest.raises(MiningError, match="answer is wrong"):
            await find_least_hash(SERVER, PORT, "text", NonceRange(0, 1), ports=other)
        nursery.cancel_scope.cancel()


async def test_a_throttled_engine_takes_as_long_as_its_speed_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_sim_network(14) as network:
        ports = network.host(SERVER, seed=1)
        engine = VirtualEngine(1000.0)
        for speed, seconds in ((100.0, 2.0), (1e6, 0.2)):
            throttled = Throttled(engine, speed, ports=ports)
            began = trio.current_time()
            assert await throttled.search("t", NonceRange(0, 199)) == least_hash("t", 0, 199)
            assert trio.current_time() - began == pytest.approx(seconds)


async def test_a_miner_that_takes_in_nothing_is_disconnected_when_its_buffer_is_full(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The buffer holds one request of the two that a miner gets at once."""
    text = "x" * 500
    request = encode(Request(text, NonceRange(0, 49)))
    limits = lsp.Limits(send_buffer=len(request) * 3 // 2)
    async with open_sim_network(15) as network, trio.open_nursery() as nursery:
        hosts = [network.host(f"10.0.0.{n}", seed=n) for n in range(1, 4)]
        async with (
            open_mining_server(
                PORT, host=SERVER, limits=limits, sizes=SIZES, ports=hosts[0]
            ) as server,
            lsp.connect(SERVER, PORT, ports=hosts[1]) as miner,
        ):
            miner.write(encode(Join()))
            await trio.sleep(1)
            assert server.miners == 1
            nursery.start_soon(
                partial(find_least_hash, SERVER, PORT, text, NonceRange(0, 999), ports=hosts[2])
            )
            assert await miner.receive() == request
            with trio.fail_after(100), pytest.raises(lsp.ConnectionLost):
                await miner.receive()
            assert (server.miners, server.jobs) == (0, 1)
            assert server.lsp_statistics().lost == 0
            nursery.cancel_scope.cancel()


class DueOnce(Scheduler):
    """Has one deadline, and notes what it is told when it is over."""

    def __init__(self, deadline: int) -> None:
        super().__init__()
        self.deadline = deadline
        self.told: list[int] = []

    def next_deadline(self) -> int | None:
        return None if self.told else self.deadline

    def on_deadline(self, now: int) -> None:
        self.told.append(now)


async def test_a_deadline_is_over_when_the_clock_shows_its_rounded_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Some moments, as seconds and back, are a microsecond early: the server must not spin."""
    early = next(at for at in range(8_000_000, 9_000_000) if int(at / 1e6 * 1e6) < at)
    scheduler = DueOnce(early)
    async with open_sim_network(16) as network, trio.open_nursery() as nursery:
        ports = network.host(SERVER, seed=1)
        async with lsp.open_server(PORT, host=SERVER, ports=ports) as lsp_server:
            nursery.start_soon(MiningServer(lsp_server, scheduler, ports).run)
            await trio.sleep(10)
            assert scheduler.told == [early]
            nursery.cancel_scope.cancel()
