import math
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from tests.support.sim_network import SimNetwork, open_sim_network
from trio440.core.host import Address, Host, UdpSocket
from trio440.errors import InvalidParameter
from trio440.lsp.faults import MAX_DELAYED, Faults, FaultyNet, open_faulty_ports
from trio440.lsp.message import Ack, CAck, Connect, Data, decode_untrusted, encode

DATA = Data.of(3, 7, bytes(range(50)))
ELSEWHERE: Address = ("10.0.0.2", 5)


def draw(faults: Faults, datagram: bytes, seed: int = 0) -> list[tuple[float, bytes]]:
    return faults.draw(datagram, random.Random(seed), Counter())


def spoil(faults: Faults, seed: int = 0) -> Data:
    [(delay, datagram)] = draw(faults, encode(DATA), seed)
    assert delay == 0
    message = decode_untrusted(datagram)
    assert isinstance(message, Data)
    return message


# What is drawn


@pytest.mark.parametrize(
    "name", ["drop", "duplicate", "delay", "reorder", "corrupt", "shorten", "lengthen"]
)
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_probabilities_are_validated_also_on_assignment(name: str, value: float) -> None:
    with pytest.raises(InvalidParameter, match=f"{name} must be a probability from 0 to 1"):
        Faults(**{name: value})
    faults = Faults()
    with pytest.raises(InvalidParameter):
        setattr(faults, name, value)
    assert faults == Faults()


@pytest.mark.parametrize("name", ["delay_seconds", "reorder_seconds"])
@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_times_are_validated(name: str, value: float) -> None:
    with pytest.raises(InvalidParameter, match=f"{name} must be at least 0 seconds"):
        Faults(**{name: value})


def test_without_faults_a_datagram_passes_as_it_is() -> None:
    assert draw(Faults(), b"any bytes") == [(0.0, b"any bytes")]


def test_what_is_certain_always_happens() -> None:
    for seed in range(50):
        assert draw(Faults(drop=1), b"x", seed) == []
        assert draw(Faults(duplicate=1), b"x", seed) == [(0.0, b"x")] * 2
        assert draw(Faults(delay=1, delay_seconds=0.7), b"x", seed) == [(0.7, b"x")]
        [(held, _)] = draw(Faults(reorder=1, reorder_seconds=0.2), b"x", seed)
        assert 0 < held <= 0.2


def test_corruption_flips_one_bit_of_the_payload_and_nothing_else() -> None:
    flipped = set()
    for seed in range(100):
        message = spoil(Faults(corrupt=1), seed)
        difference = int.from_bytes(message.payload) ^ int.from_bytes(DATA.payload)
        assert difference.bit_count() == 1
        assert len(message.payload) == len(DATA.payload)
        assert (message.size, message.checksum) == (DATA.size, DATA.checksum)
        flipped.add(difference)
    assert len(flipped) > 50


def test_shortening_and_lengthening_keep_the_claims() -> None:
    for seed in range(100):
        short = spoil(Faults(shorten=1), seed)
        assert short.payload == DATA.payload[: len(short.payload)]
        assert len(short.payload) < DATA.size == short.size
        long = spoil(Faults(lengthen=1), seed)
        assert long.payload[: DATA.size] == DATA.payload
        assert len(long.payload) > DATA.size == long.size
        assert long.checksum == short.checksum == DATA.checksum


@pytest.mark.parametrize(
    "datagram",
    [encode(Connect(3)), encode(Ack(1, 2)), encode(CAck(1, 2)), b"no message", b"null", b""],
)
def test_payload_faults_leave_other_datagrams_alone(datagram: bytes) -> None:
    counts: Counter[str] = Counter()
    faults = Faults(corrupt=1, shorten=1, lengthen=1)
    assert faults.draw(datagram, random.Random(0), counts) == [(0.0, datagram)]
    assert counts == Counter()


def test_an_empty_payload_can_only_grow() -> None:
    empty = encode(Data.of(1, 2, b""))
    assert draw(Faults(corrupt=1, shorten=1), empty) == [(0.0, empty)]
    assert draw(Faults(lengthen=1), empty) != [(0.0, empty)]


def test_the_same_seed_draws_the_same_fates_and_counts_them() -> None:
    faults = Faults(drop=0.2, duplicate=0.1, delay=0.3, reorder=0.3, corrupt=0.1, lengthen=0.1)
    counts: list[Counter[str]] = [Counter(), Counter()]
    fates = []
    for mine in counts:
        rng = random.Random(5)
        fates.append([faults.draw(encode(DATA), rng, mine) for _ in range(1000)])
    assert fates[0] == fates[1]
    assert counts[0] == counts[1]
    assert 150 < counts[0]["dropped"] == fates[0].count([]) < 250
    assert counts[0]["duplicated"] == sum(len(fate) == 2 for fate in fates[0]) > 50
    for name in ("delayed", "reordered", "corrupted", "lengthened"):
        assert counts[0][name] > 0


# On a network


@asynccontextmanager
async def open_faulty(
    sending: Faults | None = None, receiving: Faults | None = None
) -> AsyncIterator[tuple[SimNetwork, Host, UdpSocket, UdpSocket]]:
    """Open a faulty socket at 10.0.0.1 and a plain one at 10.0.0.2."""
    async with open_sim_network(1) as network:
        host = network.host("10.0.0.1", seed=2)
        plain_net = network.at("10.0.0.2")
        async with open_faulty_ports(host, sending=sending, receiving=receiving) as ports:
            assert ports.clock is host.clock
            with (
                closing(await ports.net.bind_udp("10.0.0.1")) as faulty,
                closing(await plain_net.bind_udp("10.0.0.2")) as plain,
            ):
                yield network, ports, faulty, plain
        assert network.open_endpoints == []


def faulty_net(ports: Host) -> FaultyNet:
    assert isinstance(ports.net, FaultyNet)
    return ports.net


async def test_each_direction_has_its_own_faults(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with open_faulty(sending=Faults(drop=1)) as (_, ports, faulty, plain):
        faulty.send_nowait([(b"lost", plain.local_address)])
        plain.send_nowait([(b"arrives", faulty.local_address)])
        assert await faulty.receive() == [(b"arrives", plain.local_address)]
        assert plain.receive_nowait() == []
        assert faulty_net(ports).counts == {"dropped": 1}
    async with open_faulty(receiving=Faults(drop=1)) as (_, _, faulty, plain):
        faulty.send_nowait([(b"arrives", plain.local_address)])
        plain.send_nowait([(b"lost", faulty.local_address)])
        assert await plain.receive() == [(b"arrives", faulty.local_address)]
        assert faulty.receive_nowait() == []


async def test_faults_may_change_while_running(autojump_clock: MockClock) -> None:
    del autojump_clock
    faults = Faults(drop=1)
    async with open_faulty(faults, faults) as (_, _, faulty, plain):
        faulty.send_nowait([(b"lost", plain.local_address)])
        await trio.sleep(1)
        faults.drop = 0
        faulty.send_nowait([(b"arrives", plain.local_address)])
        assert await plain.receive() == [(b"arrives", faulty.local_address)]


async def test_a_late_datagram_wakes_a_waiting_receive(autojump_clock: MockClock) -> None:
    faults = Faults(delay=1, delay_seconds=0.5)
    async with open_faulty(receiving=faults) as (_, _, faulty, plain):
        plain.send_nowait([(b"late", faulty.local_address)])
        assert await faulty.receive() == [(b"late", plain.local_address)]
        assert autojump_clock.current_time() == 0.5


async def test_a_late_sending_arrives_late_and_others_pass_it(autojump_clock: MockClock) -> None:
    faults = Faults(delay=1, delay_seconds=0.5)
    async with open_faulty(sending=faults) as (_, _, faulty, plain):
        faulty.send_nowait([(b"late", plain.local_address)])
        faults.delay = 0
        faulty.send_nowait([(b"in time", plain.local_address)])
        assert await plain.receive() == [(b"in time", faulty.local_address)]
        assert await plain.receive() == [(b"late", faulty.local_address)]
        assert autojump_clock.current_time() == 0.5


async def test_reordering_loses_nothing(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with open_faulty(Faults(reorder=0.5), Faults(reorder=0.5)) as (_, _, faulty, plain):
        sent = [b"%d" % number for number in range(100)]
        for text in sent:
            plain.send_nowait([(text, faulty.local_address)])
            await trio.sleep(0.001)
        received: list[bytes] = []
        while len(received) < 100:
            received += [text for text, _ in await faulty.receive()]
        assert sorted(received) == sorted(sent)
        assert received != sent


async def test_never_more_than_asked_for_and_never_nothing(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with open_faulty(receiving=Faults(duplicate=1)) as (_, _, faulty, plain):
        plain.send_nowait([(b"twice", faulty.local_address)] * 3)
        sizes = [len(await faulty.receive(4)), len(faulty.receive_nowait(1))]
        assert [*sizes, len(await faulty.receive(4))] == [4, 1, 1]
        assert faulty.receive_nowait(4) == []


async def test_a_batch_taken_by_another_meanwhile_is_waited_for_again(
    autojump_clock: MockClock,
) -> None:
    faults = Faults(delay=1, delay_seconds=0.5)
    async with open_faulty(receiving=faults) as (_, _, faulty, plain):
        plain.send_nowait([(b"late", faulty.local_address)])
        with trio.move_on_after(0.1):
            await faulty.receive()
        await trio.sleep(1)
        received = []

        async def receive() -> None:
            received.append(await faulty.receive())

        async def take_at_once() -> None:
            assert faulty.receive_nowait() == [(b"late", plain.local_address)]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            nursery.start_soon(take_at_once)
            await wait_all_tasks_blocked()
            assert received == []
            faults.delay = 0
            plain.send_nowait([(b"in time", faulty.local_address)])
        assert received == [[(b"in time", plain.local_address)]]
        assert autojump_clock.current_time() == 1.1


async def test_a_cancelled_receive_takes_nothing(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with open_faulty(receiving=Faults(delay=1, delay_seconds=0.5)) as (_, _, faulty, plain):
        for _ in range(2):
            plain.send_nowait([(b"late", faulty.local_address)])
        with trio.move_on_after(0.1):
            await faulty.receive()
        await trio.sleep(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await faulty.receive()
        assert scope.cancelled_caught
        with assert_checkpoints():
            assert len(await faulty.receive()) == 2


async def test_the_contract_of_a_socket_is_kept(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with open_faulty(receiving=Faults(duplicate=1)) as (_, ports, faulty, plain):
        assert faulty.local_address[0] == "10.0.0.1"
        for limit in (0, -1):
            with pytest.raises(InvalidParameter):
                await faulty.receive(limit)
            with pytest.raises(InvalidParameter):
                faulty.receive_nowait(limit)
        plain.send_nowait([(b"twice", faulty.local_address)])
        await trio.sleep(1)
        assert len(faulty.receive_nowait(1)) == 1

        faulty.close()
        faulty.close()
        with pytest.raises(trio.ClosedResourceError):
            await faulty.receive()
        with pytest.raises(trio.ClosedResourceError):
            faulty.receive_nowait()
        with pytest.raises(trio.ClosedResourceError):
            faulty.send_nowait([(b"x", ELSEWHERE)])
        assert await ports.net.resolve("10.0.0.9", 7, kind="udp") == [("10.0.0.9", 7)]


async def test_closing_ends_a_waiting_receive_and_what_is_delayed_is_lost(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    late = Faults(delay=1, delay_seconds=0.5)
    async with open_faulty(late, late) as (network, _, faulty, plain):

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await faulty.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            faulty.send_nowait([(b"never sent", plain.local_address)])
            plain.send_nowait([(b"never read", faulty.local_address)])
            await trio.sleep(0.1)
            faulty.close()
        await trio.sleep(1)
        assert [record.data for record in network.wire] == [b"never read"]


async def test_leaving_the_context_drops_what_is_delayed(autojump_clock: MockClock) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    late = Faults(delay=1, delay_seconds=100)
    async with open_faulty(late, late) as (_, _, faulty, plain):
        faulty.send_nowait([(b"never sent", plain.local_address)] * 10)
        await trio.sleep(1)
    assert autojump_clock.current_time() == 1
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_past_the_limit_delayed_datagrams_are_dropped_and_counted(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del autojump_clock
    assert MAX_DELAYED == 10_000
    monkeypatch.setattr("trio440.lsp.faults.MAX_DELAYED", 10)
    late = Faults(delay=1, delay_seconds=0.5)
    async with open_faulty(sending=late) as (_, ports, faulty, plain):
        faulty.send_nowait([(b"late", plain.local_address)] * 13)
        await trio.sleep(1)
        assert len(plain.receive_nowait()) == 10
        assert faulty_net(ports).counts["too many delayed"] == 3
        faulty.send_nowait([(b"late", plain.local_address)])
        await trio.sleep(1)
        assert len(plain.receive_nowait()) == 1


async def test_what_the_wrapped_socket_refuses_is_counted(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with open_faulty() as (network, ports, faulty, plain):
        network.send_limit = 2
        assert faulty.send_nowait([(b"x", plain.local_address)] * 5) == 5
        assert faulty_net(ports).counts == {"send buffer full": 3}


async def test_tcp_is_left_alone(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with open_faulty(Faults(drop=1), Faults(drop=1)) as (_, ports, _, _):
        listener = await ports.net.listen_tcp("10.0.0.1")

        async def say_hello() -> None:
            stream = await ports.net.connect_tcp(*listener.local_address[:2])
            await stream.send_all(b"hello")
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_hello)
            stream = await listener.accept()
            assert await stream.receive_some() == b"hello"
        await stream.aclose()
        await listener.aclose()
