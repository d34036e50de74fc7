"""The network in memory: what tests set on it happens, on time and the same under one seed."""

import random
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager, closing

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.memory_net import (
    MemoryNetwork,
    WireRecord,
    memory_host,
    open_memory_network,
)
from trio440.core.host import Address, Datagram, Host, UdpSocket


@attrs.define
class Pair:
    """Two sockets on two machines."""

    network: MemoryNetwork
    one: UdpSocket
    two: UdpSocket

    def send(self, count: int) -> None:
        self.one.send_nowait([(b"%d" % n, self.two.local_address) for n in range(count)])

    async def arrivals(self, seconds: float) -> list[tuple[float, bytes]]:
        """What reaches the second socket within ``seconds``, with its time."""
        found: list[tuple[float, bytes]] = []
        with trio.move_on_after(seconds):
            while True:
                batch = await self.two.receive(1)
                found += [(trio.current_time(), data) for data, _ in batch]
        return found


@asynccontextmanager
async def open_pair(seed: int = 1) -> AsyncIterator[Pair]:
    async with open_memory_network(random.Random(seed)) as network:
        with ExitStack() as sockets:
            one, two = [
                sockets.enter_context(closing(await network.at(host).bind_udp(host)))
                for host in ("10.0.0.1", "10.0.0.2")
            ]
            yield Pair(network, one, two)
        assert network.open_endpoints == []


async def test_nothing_arrives_before_the_sender_has_gone_on(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.send(1)
        assert pair.two.receive_nowait() == []
        assert await pair.arrivals(1) == [(0.0, b"0")]


async def test_latency_is_fixed_or_drawn_and_may_change(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.network.default.latency = 0.5
        pair.send(2)
        pair.network.default.latency = lambda rng: rng.uniform(2, 3)
        pair.send(1)
        first, second, third = await pair.arrivals(10)
        assert (first, second) == ((0.5, b"0"), (0.5, b"1"))
        assert 2 <= third[0] <= 3


async def test_one_direction_of_one_pair_can_be_set_apart(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.network.link("10.0.0.1", "10.0.0.2").latency = 1.0
        pair.send(1)
        pair.two.send_nowait([(b"back", pair.one.local_address)])
        assert await pair.one.receive() == [(b"back", pair.two.local_address)]
        assert trio.current_time() == 0.0
        assert await pair.arrivals(5) == [(1.0, b"0")]


async def test_loss_and_duplicates_come_at_their_rate(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.network.queue_limit = 10_000
        pair.network.default.loss = 0.3
        pair.network.default.duplicate = 0.5
        pair.send(2000)
        arrived = len(await pair.arrivals(1))
        lost = pair.network.dropped["loss"]
        assert 500 < lost < 700
        assert 600 < arrived - (2000 - lost) < 800


async def test_drawn_latencies_reorder(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.network.default.latency = lambda rng: rng.uniform(0, 1)
        pair.send(50)
        arrived = await pair.arrivals(2)
        assert len(arrived) == 50
        assert [time for time, _ in arrived] == sorted(time for time, _ in arrived)
        assert [data for _, data in arrived] != [b"%d" % n for n in range(50)]


async def test_equal_times_keep_their_order(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.network.default.latency = 0.25
        pair.send(100)
        assert await pair.arrivals(1) == [(0.25, b"%d" % n) for n in range(100)]


async def test_a_filter_drops_delays_doubles_and_changes(autojump_clock: MockClock) -> None:
    def decide(data: bytes, source: Address, destination: Address) -> list[tuple[float, bytes]]:
        assert (source, destination) == (pair.one.local_address, pair.two.local_address)
        return {b"0": [], b"1": [(3.0, data)], b"2": [(0.0, data), (1.0, b"changed")]}[data]

    async with open_pair() as pair:
        pair.network.filter = decide
        pair.send(3)
        expected = [(0.0, b"2"), (1.0, b"changed"), (3.0, b"1")]
        assert await pair.arrivals(5) == expected
        assert pair.network.dropped == {"filter": 1}


async def test_the_wire_shows_what_was_sent_also_when_it_is_lost(
    autojump_clock: MockClock,
) -> None:
    async with open_pair() as pair:
        pair.network.default.loss = 1.0
        one, two = pair.one.local_address, pair.two.local_address
        pair.send(1)
        await trio.sleep(2)
        pair.network.recording = False
        pair.send(1)
        pair.network.recording = True
        pair.one.send_nowait([(b"last", two)])
        assert pair.network.wire == [
            WireRecord(0.0, one, two, b"0"),
            WireRecord(2.0, one, two, b"last"),
        ]


async def test_a_full_queue_drops_the_newest(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.network.queue_limit = 3
        pair.send(5)
        await wait_all_tasks_blocked()
        assert [data for data, _ in pair.two.receive_nowait()] == [b"0", b"1", b"2"]
        assert pair.network.dropped == {"queue": 2}


async def test_a_send_limit_takes_a_part_until_the_wires_have_run(
    autojump_clock: MockClock,
) -> None:
    async with open_pair() as pair:
        pair.network.send_limit = 3
        batch: list[Datagram] = [(b"x", pair.two.local_address)] * 5
        assert pair.one.send_nowait(batch) == 3
        assert pair.one.send_nowait(batch) == 0
        assert pair.two.send_nowait(batch) == 3
        await wait_all_tasks_blocked()
        assert pair.one.send_nowait(batch[3:]) == 2
        assert pair.one.send_nowait(batch) == 1


async def test_anybody_can_be_named_as_sender(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.network.default.loss = 1.0
        pair.network.inject(b"spoofed", ("172.16.0.9", 5), pair.two.local_address)
        assert await pair.two.receive() == [(b"spoofed", ("172.16.0.9", 5))]
        pair.two.send_nowait([(b"answer", ("172.16.0.9", 5))])
        assert pair.network.dropped == {"no route": 1}


async def test_the_loopback_address_stays_on_its_machine(autojump_clock: MockClock) -> None:
    async with open_memory_network(random.Random(1)) as network:
        one, two = network.at("10.0.0.1"), network.at("10.0.0.2")
        with closing(await one.bind_udp(port=5)) as first, closing(await two.bind_udp(port=5)):
            first.send_nowait([(b"x", ("127.0.0.1", 5)), (b"y", ("10.0.0.2", 5))])
            assert await first.receive() == [(b"x", ("127.0.0.1", 5))]
            assert network.dropped == {"no route": 1}


async def test_names_are_what_the_test_says(autojump_clock: MockClock) -> None:
    async with open_memory_network(random.Random(1)) as network:
        network.names["server"] = ["fd00::1", "10.0.0.1"]
        net = network.at("10.0.0.1", "fd00::1")
        found = await net.resolve("server", 80, kind="tcp")
        assert found == [("10.0.0.1", 80), ("fd00::1", 80, 0, 0)]
        for host in ("10.0.0.1", "fd00::1"):
            async with aclosing(await net.listen_tcp(host)) as listener:
                client = await net.connect_tcp("server", listener.local_address[1])
                assert client.remote_address[0] == host
                await client.aclose()


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1"])
async def test_an_address_belongs_to_one_machine(host: str, autojump_clock: MockClock) -> None:
    async with open_memory_network(random.Random(1)) as network:
        network.at("10.0.0.1")
        with pytest.raises(ValueError, match="belongs to a machine already"):
            network.at(host)


async def test_tcp_takes_the_latency_and_keeps_its_order(autojump_clock: MockClock) -> None:
    async with open_memory_network(random.Random(1)) as network:
        server_net, client_net = network.at("10.0.0.1"), network.at("10.0.0.2")
        network.default.latency = lambda rng: rng.uniform(0.1, 1)
        async with aclosing(await server_net.listen_tcp("10.0.0.1")) as listener:
            client = await client_net.connect_tcp(*listener.local_address[:2])
            assert 0.2 <= trio.current_time() <= 2
            server = await listener.accept()
            sent_at = trio.current_time()
            for number in range(20):
                await client.send_all(b"%d." % number)
            await client.aclose()
            received = b""
            while part := await server.receive_some():
                received += part
            assert received == b"".join(b"%d." % number for number in range(20))
            assert trio.current_time() >= sent_at + 0.1
            await server.aclose()


async def test_a_full_backlog_lets_a_client_knock_again(autojump_clock: MockClock) -> None:
    async with open_memory_network(random.Random(1)) as network:
        net = network.at("10.0.0.1")
        async with (
            aclosing(await net.listen_tcp(backlog=1)) as listener,
            trio.open_nursery() as nursery,
        ):
            first = await net.connect_tcp(*listener.local_address[:2])
            nursery.start_soon(net.connect_tcp, *listener.local_address[:2])
            await trio.sleep(2.5)
            one = await listener.accept()
            two = await listener.accept()
            assert trio.current_time() == 3.0
            nursery.cancel_scope.cancel()
            for stream in (first, one, two):
                await stream.aclose()


def trace(seed: int) -> list[tuple[float, bytes]]:
    """What arrives when everything is left to chance."""

    async def main() -> list[tuple[float, bytes]]:
        async with open_pair(seed) as pair:
            pair.network.default.loss = 0.2
            pair.network.default.duplicate = 0.2
            pair.network.default.latency = lambda rng: rng.uniform(0, 1)
            pair.send(200)
            return await pair.arrivals(5)

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_one_seed_gives_one_history() -> None:
    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


async def test_an_error_leaves_the_network_as_it_was_raised(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_memory_network(random.Random(1)):
            raise ZeroDivisionError


async def test_what_is_under_way_at_the_end_is_dropped(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        pair.network.default.latency = 1e9
        pair.send(1)
    assert trio.current_time() == 0.0


async def test_a_host_keeps_its_disks_and_follows_the_clock(autojump_clock: MockClock) -> None:
    async with open_memory_network(random.Random(1)) as network:
        host: Host = memory_host(net=network.at("10.0.0.1"), rng=random.Random(1))
        with closing(host.disk("data").open_append("file")) as file:
            file.append(b"content")
        assert host.disk("data").read("file") == b"content"
        assert not host.disk("other").exists("file")
        before = host.wall.now_ns()
        await host.clock.sleep(1.5)
        assert host.wall.now_ns() - before == 1_500_000_000
