"""The simulated network between machines; what one does alone is in the conformance suites."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, closing

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.processes import finished
from trio440.core.host import Address, ByteStream, Datagram, UdpSocket
from trio440.errors import ConnectionRefused, ResolutionFailed
from trio440.sim.fabric import Fabric
from trio440.sim.faults import CLEAR, Clog, Partition, Weather
from trio440.sim.net import Network, SimNet
from trio440.sim.power import PowerCut
from trio440.sim.scheduling import seeded_scheduler
from trio440.sim.trace import Trace

SERVER, CLIENT = "10.0.0.1", "10.0.0.2"
PORT = 4400
MUCH = 1 << 20


def microseconds() -> int:
    return round(trio.current_time() * 1e6)


@attrs.define
class Bench:
    """Two machines and what lies between them."""

    fabric: Fabric
    trace: Trace
    network: Network
    server: SimNet
    client: SimNet

    def cut(self, *, both_ways: bool = True, side: str = "client") -> Callable[[], None]:
        """Part the machines and return what joins them again."""
        now = microseconds()
        fault = Partition(start=now, end=now, side=(side,), both_ways=both_ways)
        self.fabric.begin(0, fault)

        def mend() -> None:
            self.fabric.end(0, fault)
            self.network.ring()

        return mend

    def restart_server(self) -> SimNet:
        self.server.fence()
        self.server = self.network.attach("server", [SERVER])
        return self.server

    def lines(self, *kinds: str) -> list[str]:
        """The events of these kinds as ``host kind text``."""
        return [f"{e.host} {e.kind} {e.text}" for e in self.trace if e.kind in kinds]


@asynccontextmanager
async def open_bench(
    seed: int = 1, weather: Weather = CLEAR, *, grain: int = 1
) -> AsyncIterator[Bench]:
    fabric, trace = Fabric(seed, weather, grain=grain), Trace(keep=True)
    network = Network(fabric, trace, microseconds, seed=seed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.carry)
        server, client = network.attach("server", [SERVER]), network.attach("client", [CLIENT])
        yield Bench(fabric, trace, network, server, client)
        nursery.cancel_scope.cancel()


async def connect(bench: Bench) -> tuple[ByteStream, ByteStream]:
    """The client's end and the server's of a new connection."""
    async with aclosing(await bench.server.listen_tcp(SERVER, PORT)) as listener:
        client = await bench.client.connect_tcp(SERVER, PORT)
        return client, await listener.accept()


async def receive_exactly(stream: ByteStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        part = await stream.receive_some(count - len(received))
        assert part
        received += part
    return received


# Datagrams


async def test_a_datagram_takes_its_time_and_its_arrival_names_its_send() -> None:
    async with open_bench() as bench:
        with (
            closing(await bench.server.bind_udp(SERVER, PORT)) as there,
            closing(await bench.client.bind_udp("", 0)) as here,
        ):
            here.send_nowait([(b"a\n\xff\\", (SERVER, PORT))])
            assert await there.receive() == [(b"a\n\xff\\", (CLIENT, 49_152))]
            assert 500 <= microseconds() <= 1_500
    text = f"udp {CLIENT}:49152 > {SERVER}:{PORT} 4B a\\n\\xff\\\\"
    assert bench.lines("send", "arrive") == [f"client send {text}", f"server arrive {text}"]
    send, arrive = (event for event in bench.trace if event.kind in {"send", "arrive"})
    assert (send.cause, arrive.cause) == (None, send.number)
    assert bench.lines("open", "close") == [
        f"server open udp {SERVER}:{PORT}",
        "client open udp 0.0.0.0:49152",
        "client close udp 0.0.0.0:49152",
        f"server close udp {SERVER}:{PORT}",
    ]


async def test_a_long_payload_is_cut_and_summed_in_the_trace() -> None:
    async with open_bench() as bench:
        with closing(await bench.client.bind_udp("", 0)) as here:
            here.send_nowait([(b"x" * 81, (SERVER, PORT)), (b"x" * 80, (SERVER, PORT))])
    first, second = bench.lines("send")
    assert first.endswith("81B " + "x" * 80 + "... crc32 222c54c6")
    assert second.endswith("80B " + "x" * 80)


@pytest.mark.parametrize("late", [False, True])
async def test_a_cut_link_drops_datagrams_when_sent_and_on_their_way(late: bool) -> None:
    async with open_bench() as bench:
        with (
            closing(await bench.server.bind_udp(SERVER, PORT)) as there,
            closing(await bench.client.bind_udp("", 0)) as here,
        ):
            if late:
                here.send_nowait([(b"lost", (SERVER, PORT))])
            mend = bench.cut()
            if not late:
                here.send_nowait([(b"lost", (SERVER, PORT))])
            await trio.sleep(1)
            mend()
            here.send_nowait([(b"kept", (SERVER, PORT))])
            assert [data for data, _ in await there.receive()] == [b"kept"]
    (drop,) = (event for event in bench.trace if event.kind == "drop")
    assert drop.text.endswith("4B lost (cut)")
    assert drop.host == "server"
    assert drop.cause == next(event.number for event in bench.trace if event.kind == "send")
    assert bench.network.dropped == {"cut": 1}


async def test_a_spoiled_datagram_shows_what_arrived() -> None:
    async with open_bench(weather=attrs.evolve(CLEAR, truncate=1.0)) as bench:
        bench.network.admit_spoiled = lambda _sent, _arrived: True
        with (
            closing(await bench.server.bind_udp(SERVER, PORT)) as there,
            closing(await bench.client.bind_udp("", 0)) as here,
        ):
            here.send_nowait([(b"abcdef", (SERVER, PORT))])
            [(data, _)] = await there.receive()
    assert len(data) < 6
    assert bench.lines("arrive")[0].endswith(f" {len(data)}B {data.decode()}")


async def test_lost_datagrams_are_counted_by_reason() -> None:
    async with open_bench() as bench:
        bench.network.udp_queue_limit = 2
        there = await bench.server.bind_udp(SERVER, PORT)
        with closing(await bench.client.bind_udp("", 0)) as here:
            here.send_nowait([(b"x", (SERVER, PORT))] * 5)
            here.send_nowait([(b"x", (SERVER, 9)), (b"x", ("10.9.9.9", 9))])
            here.send_nowait([(bytes(65_508), (SERVER, PORT))])
            await trio.sleep(1)
            assert len(there.receive_nowait()) == 2
            bench.server.fence()
            here.send_nowait([(b"x", (SERVER, PORT))])
            await trio.sleep(1)
        assert bench.network.dropped == {
            "queue": 3,
            "no socket": 1,
            "no route": 1,
            "too big": 1,
            "down": 1,
        }
        assert len(bench.lines("drop")) == 7


async def arrivals(socket: UdpSocket, seconds: float) -> list[tuple[int, bytes]]:
    """What reaches a socket within ``seconds``, with its time in microseconds."""
    found: list[tuple[int, bytes]] = []
    with trio.move_on_after(seconds):
        while True:
            found += [(microseconds(), data) for data, _ in await socket.receive(1)]
    return found


@asynccontextmanager
async def open_sockets(bench: Bench) -> AsyncIterator[tuple[UdpSocket, UdpSocket]]:
    """The server's socket and one of the client's."""
    with (
        closing(await bench.server.bind_udp(SERVER, PORT)) as there,
        closing(await bench.client.bind_udp(CLIENT, 0)) as here,
    ):
        yield there, here


async def test_a_filter_drops_delays_doubles_and_changes() -> None:
    def decide(data: bytes, source: Address, destination: Address) -> list[tuple[int, bytes]]:
        assert (source[0], destination) == (CLIENT, (SERVER, PORT))
        return {b"0": [], b"1": [(3_000, data)], b"2": [(0, data), (1_000, b"new")]}[data]

    async with open_bench(weather=Weather(delay=500, jitter=0)) as bench:
        async with open_sockets(bench) as (there, here):
            bench.network.filter = decide
            here.send_nowait([(b"%d" % number, (SERVER, PORT)) for number in range(3)])
            found = await arrivals(there, 1)
        assert found == [(500, b"2"), (1_500, b"new"), (3_500, b"1")]
        assert bench.network.dropped == {"filter": 1}
        way = f"udp {CLIENT}:49152 > {SERVER}:{PORT}"
        assert bench.lines("drop") == [f"server drop {way} 1B 0 (filter)"]
        assert [line.split()[-1] for line in bench.lines("arrive")] == ["2", "new", "1"]


async def test_what_a_filter_changed_is_not_spoiled_but_meets_the_weather() -> None:
    sent: list[bytes] = []
    async with open_bench(weather=Weather(loss=0.5)) as bench, open_sockets(bench) as (there, here):
        bench.network.filter = lambda _data, _source, _destination: [(10, b"other")]
        bench.network.on_send = lambda _source, _destination, data: sent.append(data)
        here.send_nowait([(b"data", (SERVER, PORT))] * 100)
        found = await arrivals(there, 1)
        assert 0 < len(found) < 100
        assert {data for _, data in found} == {b"other"}
        assert bench.network.dropped == {"loss": 100 - len(found)}
        assert sent == [b"data"] * 100


async def test_anybody_can_be_named_as_sender() -> None:
    sent: list[bytes] = []
    stranger = ("172.16.0.9", 5)
    async with open_bench(weather=Weather(loss=1)) as bench, open_sockets(bench) as (there, _):
        bench.network.filter = lambda _data, _source, _destination: []
        bench.network.on_send = lambda _source, _destination, data: sent.append(data)
        bench.network.inject(b"spoofed", stranger, (SERVER, PORT))
        assert await there.receive() == [(b"spoofed", stranger)]
        assert (microseconds(), sent) == (0, [b"spoofed"])
        there.send_nowait([(b"answer", stranger)])
        assert bench.network.dropped == {"no route": 1}
    text = f"udp 172.16.0.9:5 > {SERVER}:{PORT} 7B spoofed"
    assert bench.lines("send", "arrive")[:2] == [f" send {text}", f"server arrive {text}"]


async def test_a_socket_takes_so_many_until_the_wires_have_run() -> None:
    async with open_bench() as bench, open_sockets(bench) as (there, here):
        batch: list[Datagram] = [(b"x", (SERVER, PORT))] * 5
        bench.network.send_limit = 3
        assert [here.send_nowait(batch), here.send_nowait(batch)] == [3, 0]
        assert there.send_nowait([(b"x", here.local_address)] * 5) == 3
        await wait_all_tasks_blocked()
        assert [here.send_nowait(batch[3:]), here.send_nowait(batch)] == [2, 1]
        bench.network.send_limit = None
        assert here.send_nowait(batch) == 5
        assert len(await arrivals(there, 1)) == 3 + 2 + 1 + 5


async def test_a_limit_of_unread_datagrams_holds_at_once_and_drops_the_newest() -> None:
    still = Weather(delay=0, jitter=0)
    async with open_bench(weather=still) as bench, open_sockets(bench) as (there, here):
        bench.network.udp_queue_limit = 3
        here.send_nowait([(b"%d" % number, (SERVER, PORT)) for number in range(5)])
        assert there.receive_nowait() == []
        await wait_all_tasks_blocked()
        assert [data for data, _ in there.receive_nowait()] == [b"0", b"1", b"2"]
        assert bench.network.dropped == {"queue": 2}


@pytest.mark.parametrize("grain", [1, 250])
async def test_equal_times_keep_their_order_and_a_grain_makes_times_equal(grain: int) -> None:
    async with open_bench(grain=grain) as bench, open_sockets(bench) as (there, here):
        await trio.sleep(0.000_1)
        here.send_nowait([(b"%02d" % number, (SERVER, PORT)) for number in range(100)])
        found = await arrivals(there, 1)
        assert len(found) == 100
        assert found == sorted(found)
        assert [data for _, data in found] != sorted(data for _, data in found)
        times = {time for time, _ in found}
        if grain == 250:
            assert times == {750, 1_000, 1_250, 1_500, 1_750}
        else:
            assert len(times) > 50
            assert min(times) >= 600
            assert max(times) <= 1_600


async def test_a_grain_counts_for_streams_too() -> None:
    async with open_bench(grain=10_000) as bench:
        bench.network.split = False
        await trio.sleep(0.000_1)
        here, there = await connect(bench)
        assert microseconds() == 20_000
        await trio.sleep(0.000_1)
        await here.send_all(b"data")
        assert await there.receive_some() == b"data"
        assert microseconds() == 30_000
        await here.aclose()
        await there.aclose()


async def test_loopback_stays_on_its_machine_and_meets_no_weather() -> None:
    async with open_bench(weather=attrs.evolve(CLEAR, loss=1.0)) as bench:
        with (
            closing(await bench.server.bind_udp(port=5)) as there,
            closing(await bench.client.bind_udp(port=5)) as here,
        ):
            here.send_nowait([(b"x", ("127.0.0.1", 5)), (b"y", (CLIENT, 5)), (b"z", (SERVER, 5))])
            assert [data for data, _ in await here.receive()] == [b"x"]
            await trio.sleep(1)
            assert there.receive_nowait() == []
        assert bench.network.dropped == {"no socket": 1, "no route": 1}


# Connecting


async def test_a_machine_without_a_listener_refuses_at_once() -> None:
    async with open_bench() as bench:
        with pytest.raises(ConnectionRefused, match="cannot be reached: connection refused"):
            await bench.client.connect_tcp(SERVER, PORT)
        assert microseconds() < 10_000
        assert bench.network.open_endpoints == []


@pytest.mark.parametrize("trouble", ["down", "cut", "answers cut", "no such machine"])
async def test_nobody_answers_for_10_seconds(trouble: str) -> None:
    async with open_bench() as bench:
        await bench.server.listen_tcp(SERVER, PORT)
        if trouble == "down":
            bench.server.fence()
        elif "cut" in trouble:
            side = "client" if trouble == "cut" else "server"
            bench.cut(both_ways=False, side=side)
        address = "10.9.9.9" if trouble == "no such machine" else SERVER
        with pytest.raises(ConnectionRefused, match="connection timed out"):
            await bench.client.connect_tcp(address, PORT)
        assert trio.current_time() == pytest.approx(10)
        assert sum("client send" in line for line in bench.lines("send")) == 4
        assert not any("tcp" in name and "to" in name for name in bench.client.open_endpoints)


async def test_a_knock_after_the_heal_is_answered() -> None:
    async with open_bench() as bench, aclosing(await bench.server.listen_tcp(SERVER, PORT)):
        mend = bench.cut()
        bench.network.schedule(2_000_000, mend)
        client = await bench.client.connect_tcp(SERVER, PORT)
        assert 3 < trio.current_time() < 3.01
        await client.aclose()


async def test_a_connect_that_was_given_up_while_clogged_breaks_at_the_other_side() -> None:
    async with open_bench() as bench:
        async with aclosing(await bench.server.listen_tcp(SERVER, PORT)) as listener:
            clog = Clog(start=0, end=5_000_000, source="client", destination="server")
            bench.fabric.begin(0, clog)
            bench.network.schedule(5_000_000, lambda: bench.fabric.end(0, clog))
            with trio.move_on_after(2) as scope:
                await bench.client.connect_tcp(SERVER, PORT)
            assert scope.cancelled_caught
            assert bench.client.open_endpoints == []
            await trio.sleep(4)
            with trio.move_on_after(1) as scope:
                await listener.accept()
            assert scope.cancelled_caught
        assert bench.network.open_endpoints == []


async def test_a_full_backlog_lets_a_client_knock_until_it_tires() -> None:
    async with (
        open_bench() as bench,
        aclosing(await bench.server.listen_tcp(SERVER, PORT, backlog=1)) as listener,
    ):
        first = await bench.client.connect_tcp(SERVER, PORT)
        with pytest.raises(ConnectionRefused, match="timed out"):
            await bench.client.connect_tcp(SERVER, PORT)
        assert bench.network.dropped == {"backlog": 4}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.client.connect_tcp, SERVER, PORT)
            await trio.sleep(2)
            one = await listener.accept()
            two = await listener.accept()
        for stream in (first, one, two):
            await stream.aclose()


async def test_ports_go_on_after_a_restart() -> None:
    async with open_bench() as bench:
        before = [(await bench.server.bind_udp(SERVER)).local_address[1] for _ in range(2)]
        after = (await bench.restart_server().bind_udp(SERVER)).local_address[1]
        assert [*before, after] == [49_152, 49_153, 49_154]


# Streams in bad weather


@pytest.mark.parametrize("loss", [0.0, 0.4])
async def test_bytes_arrive_whole_and_in_order_with_no_boundaries_to_rely_on(loss: float) -> None:
    weather = attrs.evolve(CLEAR, loss=loss, slow=0.2, slow_delay=50_000)
    messages = [b"<%d>" % number for number in range(300)]
    parts: list[bytes] = []

    async def send() -> None:
        for message in messages:
            await client.send_all(message)
            await trio.sleep(0.001)
        await client.aclose()

    async with open_bench(weather=weather) as bench:
        client, server = await connect(bench)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while part := bytes(await server.receive_some()):
                parts.append(part)
        await server.aclose()
        await trio.sleep(20)
        assert bench.network.open_endpoints == []
    assert b"".join(parts) == b"".join(messages)
    assert any(not part.endswith(b">") for part in parts), "nothing was split"
    assert any(part.count(b"<") > 1 for part in parts), "nothing was merged"


async def test_streams_that_do_not_split_keep_their_parts() -> None:
    async with open_bench() as bench:
        bench.network.split = False
        client, server = await connect(bench)
        for number in range(50):
            await client.send_all(b"part %d" % number)
            assert await server.receive_some() == b"part %d" % number


async def test_a_short_partition_delays_and_a_long_one_breaks() -> None:
    async with open_bench() as bench:
        client, server = await connect(bench)
        mend = bench.cut()
        await client.send_all(b"late")
        bench.network.schedule(microseconds() + 5_000_000, mend)
        assert await receive_exactly(server, 4) == b"late"
        assert 5 < trio.current_time() < 5.1
        await trio.sleep(1)
        bench.cut()
        began = trio.current_time()
        await client.send_all(b"never")
        with pytest.raises(trio.BrokenResourceError, match="timed out"):
            await client.receive_some()
        assert trio.current_time() - began == pytest.approx(15)


async def test_what_arrives_after_its_sender_gave_up_is_read_and_then_reset() -> None:
    async with open_bench() as bench:
        client, server = await connect(bench)
        mend = bench.cut()
        await client.send_all(b"too late")
        await trio.sleep(20)
        mend()
        assert await receive_exactly(server, 8) == b"too late"
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await server.receive_some()
        assert bench.network.open_endpoints == []


async def test_an_end_that_a_dead_machine_did_not_take_is_answered_after_its_restart() -> None:
    async with open_bench() as bench:
        client, _ = await connect(bench)
        bench.server.fence()
        await client.send_eof()
        await trio.sleep(1)
        bench.restart_server()
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await client.receive_some()


async def test_both_sides_closing_leaves_nothing_and_resets_nobody() -> None:
    async with open_bench() as bench:
        client, server = await connect(bench)
        await client.send_all(b"bye")
        await client.aclose()
        assert await receive_exactly(server, 3) == b"bye"
        assert await server.receive_some() == b""
        await server.send_eof()
        await trio.sleep(20)
        assert await server.receive_some() == b""
        await server.aclose()
        await trio.sleep(1)
        assert bench.network.open_endpoints == []
        assert not any("rst" in line for line in bench.lines("send"))


async def test_a_machine_whose_answers_are_cut_seems_silent() -> None:
    async with open_bench() as bench:
        client, server = await connect(bench)
        bench.cut(both_ways=False, side="server")
        await client.send_all(b"heard")
        assert await receive_exactly(server, 5) == b"heard"
        with pytest.raises(trio.BrokenResourceError, match="timed out"):
            await client.receive_some()


async def test_a_crash_is_silence() -> None:
    async with open_bench() as bench:
        client, _ = await connect(bench)
        bench.server.fence()
        length = len(bench.trace)
        with trio.move_on_after(100) as scope:
            await client.receive_some()
        assert scope.cancelled_caught
        began = trio.current_time()
        await client.send_all(b"anybody?")
        with pytest.raises(trio.BrokenResourceError, match="timed out"):
            await client.receive_some()
        assert trio.current_time() - began == pytest.approx(15)
        with pytest.raises(trio.BrokenResourceError, match="timed out"):
            await client.send_all(b"x")
        later = [event for event in bench.trace if event.number >= length]
        assert {event.kind for event in later if event.host == "server"} == {"drop"}


@pytest.mark.parametrize("sent_while_down", [False, True])
async def test_a_restarted_machine_resets_what_it_does_not_know(sent_while_down: bool) -> None:
    async with open_bench() as bench:
        client, _ = await connect(bench)
        bench.server.fence()
        if sent_while_down:
            await client.send_all(b"lost")
            await trio.sleep(5)
        bench.restart_server()
        if not sent_while_down:
            with trio.move_on_after(100) as scope:
                await client.receive_some()
            assert scope.cancelled_caught
            await client.send_all(b"still there?")
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await client.receive_some()
        assert trio.current_time() - began < 4


async def test_a_restarted_client_is_another_to_its_server() -> None:
    async with open_bench() as bench:
        client, server = await connect(bench)
        bench.client.fence()
        bench.client = bench.network.attach("client", [CLIENT])
        await server.send_all(b"who?")
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await server.receive_some()
        again, accepted = await connect(bench)
        assert again.local_address != client.local_address
        await again.send_all(b"new")
        assert await receive_exactly(accepted, 3) == b"new"


async def test_a_slow_reader_stops_its_sender_and_breaks_nothing() -> None:
    done = False

    async def send() -> None:
        nonlocal done
        await client.send_all(bytes(MUCH))
        done = True

    async with open_bench() as bench:
        client, server = await connect(bench)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.sleep(100)
            assert not done
            assert len(await receive_exactly(server, 65_536)) == 65_536
            with trio.move_on_after(100) as scope:
                assert len(await receive_exactly(server, MUCH - 65_536)) == MUCH - 65_536
            assert not scope.cancelled_caught
        assert done


# Names


async def test_names_lead_to_machines_fail_slowly_or_are_unknown() -> None:
    async with open_bench() as bench:
        bench.network.names["both"] = ["fd00::1", SERVER]
        bench.network.names["broken"] = []
        resolve = bench.client.resolve
        assert await resolve("server", 7, kind="tcp") == [(SERVER, 7)]
        found = await resolve("both", 7, kind="udp")
        assert found == [(SERVER, 7), ("fd00::1", 7, 0, 0)]
        with pytest.raises(ResolutionFailed, match="unknown host"):
            await resolve("nobody", 7, kind="udp")
        assert trio.current_time() == 0
        with pytest.raises(ResolutionFailed, match="no resolver answered"):
            await bench.client.connect_tcp("broken", 7)
        assert trio.current_time() == pytest.approx(5)


async def test_an_address_belongs_to_one_machine_that_is_attached_once() -> None:
    async with open_bench() as bench:
        for address in (SERVER, "127.0.0.1"):
            with pytest.raises(ValueError, match="belongs to a machine already"):
                bench.network.attach("third", [address])
        with pytest.raises(ValueError, match="attached already"):
            bench.network.attach("server", [SERVER])


# Power cuts and pauses


async def test_a_fenced_machine_can_do_nothing_and_leaves_no_trace() -> None:
    async with open_bench() as bench:
        net = bench.server
        client, server = await connect(bench)
        listener, sock = await net.listen_tcp(SERVER, PORT), await net.bind_udp(SERVER, PORT)
        await client.send_all(b"unread")
        await trio.sleep(1)
        net.fence()
        length = len(bench.trace)
        for call in (sock.close, sock.receive_nowait, lambda: sock.send_nowait([])):
            with pytest.raises(PowerCut):
                call()
        for wait in (
            sock.receive,
            listener.accept,
            listener.aclose,
            server.receive_some,
            server.send_eof,
            server.wait_send_all_might_not_block,
            server.aclose,
            lambda: server.send_all(b"x"),
            net.bind_udp,
            net.listen_tcp,
            lambda: net.connect_tcp(CLIENT, 1),
            lambda: net.resolve("client", 1, kind="udp"),
        ):
            with pytest.raises(PowerCut):
                await wait()
            with trio.CancelScope() as scope, pytest.raises(PowerCut):
                scope.cancel()
                await wait()
        await trio.sleep(1)
        assert len(bench.trace) == length
        assert client.local_address


async def test_who_was_woken_as_the_power_went_learns_so_and_who_waits_goes_on_waiting() -> None:
    learned: list[str] = []

    async def watch(name: str, wait: Callable[[], Awaitable[object]]) -> None:
        try:
            await wait()
        except PowerCut:
            learned.append(name)

    async with open_bench() as bench:
        client, server = await connect(bench)
        loud, quiet = await bench.server.bind_udp("", 1), await bench.server.bind_udp("", 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, "loud", loud.receive)
            nursery.start_soon(watch, "quiet", quiet.receive)
            nursery.start_soon(watch, "stream", server.receive_some)
            await wait_all_tasks_blocked()
            loud.send_nowait([(b"x", ("127.0.0.1", 1))])
            bench.network.schedule(microseconds() + 20, bench.server.fence)
            await trio.sleep(0.1)
            length = len(bench.trace)
            await client.send_all(b"x")
            await trio.sleep(20)
            assert learned == ["loud"]
            nursery.cancel_scope.cancel()
        later = [event for event in bench.trace if event.number >= length]
        assert {event.kind for event in later if event.host == "server"} == {"drop"}


async def test_a_cancelled_connect_on_a_dead_machine_says_nothing() -> None:
    async with open_bench() as bench:
        with trio.CancelScope() as scope:
            bench.network.schedule(2_000_000, bench.client.fence)
            bench.network.schedule(20_000_000, scope.cancel)
            with pytest.raises(PowerCut):
                await bench.client.connect_tcp("10.9.9.9", 1)
        assert trio.current_time() == pytest.approx(20)
        assert len(bench.lines("send")) == 2
        assert bench.lines("close") == []


async def test_a_paused_machine_hears_and_says_everything_later() -> None:
    async with open_bench() as bench:
        with (
            closing(await bench.server.bind_udp(SERVER, PORT)) as there,
            closing(await bench.client.bind_udp("", 7)) as here,
        ):
            bench.server.hold()
            here.send_nowait([(b"in %d" % number, (SERVER, PORT)) for number in range(3)])
            there.send_nowait([(b"out", (CLIENT, 7))])
            await trio.sleep(1)
            assert there.receive_nowait() == here.receive_nowait() == []
            assert len(bench.lines("send")) == 3
            bench.server.release()
            assert {data for data, _ in there.receive_nowait()} == {b"in 0", b"in 1", b"in 2"}
            assert [data for data, _ in await here.receive()] == [b"out"]
            assert len(bench.lines("send")) == 4


async def test_a_paused_machine_holds_so_many_datagrams() -> None:
    async with open_bench() as bench:
        bench.network.udp_queue_limit = 3
        with (
            closing(await bench.server.bind_udp(SERVER, PORT)) as there,
            closing(await bench.client.bind_udp("", 7)) as here,
        ):
            bench.server.hold()
            here.send_nowait([(b"x", (SERVER, PORT))] * 5)
            await trio.sleep(1)
            bench.server.release()
            assert len(there.receive_nowait()) == 3
        assert bench.network.dropped == {"queue": 2}


async def test_a_pause_outlasts_a_timeout_and_a_crash_ends_it() -> None:
    async with open_bench() as bench:
        async with trio.open_nursery() as nursery:

            async def connect_in_vain() -> None:
                with pytest.raises(ConnectionRefused, match="timed out"):
                    await bench.client.connect_tcp("10.9.9.9", PORT)

            nursery.start_soon(connect_in_vain)
            await trio.sleep(0.5)
            bench.client.hold()
            await trio.sleep(60)
            assert bench.client.open_endpoints != []
            bench.client.release()
        sock = await bench.client.bind_udp("", 7)
        bench.client.hold()
        sock.send_nowait([(b"x", (SERVER, PORT))])
        (await bench.server.bind_udp(SERVER)).send_nowait([(b"x", (CLIENT, 7))])
        await trio.sleep(1)
        bench.client.fence()
        length = len(bench.trace)
        bench.client.release()
        await trio.sleep(1)
        assert len(bench.trace) == length


@pytest.mark.parametrize("seconds", [10, 20])
async def test_a_pause_longer_than_the_timeout_breaks_a_stream(seconds: int) -> None:
    async with open_bench() as bench:
        client, server = await connect(bench)
        bench.server.hold()
        await client.send_all(b"hello")
        await trio.sleep(seconds)
        bench.server.release()
        assert await receive_exactly(server, 5) == b"hello"
        await trio.sleep(1)
        if seconds < 15:
            await client.send_all(b"more")
            assert await receive_exactly(server, 4) == b"more"
        else:
            with pytest.raises(trio.BrokenResourceError, match="timed out"):
                await client.send_all(b"more")
            with pytest.raises(trio.BrokenResourceError, match="reset"):
                await server.receive_some()


# One seed, one history

STORM = Weather(loss=0.2, duplicate=0.2, corrupt=0.1, truncate=0.1, slow=0.1, slow_delay=400_000)


async def serve(stream: ByteStream) -> None:
    try:
        while data := await stream.receive_some():
            await stream.send_all(data)
        await stream.aclose()
    except trio.BrokenResourceError:
        await stream.aclose()
    except PowerCut:
        pass


async def visit(bench: Bench, number: int) -> None:
    with trio.move_on_after(7):
        stream = await bench.client.connect_tcp("server", PORT)
        async with aclosing(stream):
            await stream.send_all(b"visit %d" % number * 50)
            await stream.receive_some()
            if number % 2:
                await stream.send_eof()
            while number % 3 and await stream.receive_some():
                pass


async def shout(bench: Bench) -> None:
    with closing(await bench.client.bind_udp()) as _, closing(await bench.client.bind_udp("")) as s:
        for number in range(100):
            s.send_nowait([(b"shout %d" % number, (SERVER, PORT))])
            await trio.sleep(0.05)


def history(seed: int) -> str:
    """The trace's hash of many streams and datagrams in a storm, with cancellations."""

    async def main() -> str:
        async with open_bench(seed, STORM) as bench, trio.open_nursery() as nursery:
            ears = await bench.server.bind_udp(SERVER, PORT)
            listener = await bench.server.listen_tcp(SERVER, PORT, backlog=3)

            async def accept() -> None:
                while True:
                    nursery.start_soon(serve, await listener.accept())

            nursery.start_soon(accept)
            nursery.start_soon(shout, bench)
            with trio.move_on_after(8):
                async with trio.open_nursery() as visitors:
                    for number in range(20):
                        visitors.start_soon(visit, bench, number)
            await ears.receive()
            bench.server.fence()
            bench.server = bench.network.attach("server", [SERVER])
            nursery.cancel_scope.cancel()
        return f"{len(bench.trace)} {bench.trace.digest()}"

    with seeded_scheduler(seed):
        return trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.slow
def test_one_seed_gives_one_trace_in_every_process() -> None:
    here = history(7)
    assert int(here.split()[0]) > 500
    assert here == history(7) != history(8)
    code = "from tests.sim.test_sim_net import history; print(history(7))"
    for hash_seed in ("1", "2"):
        found = finished([sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed})
        assert found == (0, f"{here}\n", "")
