"""The contract of :class:`trio440.core.host.UdpSocket` and of binding one."""

from contextlib import closing

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from tests.support.processes import PATIENCE_SECONDS
from trio440.core.host import Datagram, Host, UdpSocket
from trio440.errors import (
    AddressInUse,
    AddressUnavailable,
    InvalidParameter,
    ResolutionFailed,
)

ELSEWHERE = "192.0.2.1"
"""An address for documentation, which no machine has."""


async def receive_all(sock: UdpSocket, count: int) -> list[Datagram]:
    received: list[Datagram] = []
    with trio.fail_after(PATIENCE_SECONDS):
        while len(received) < count:
            received += await sock.receive()
    return received


async def test_a_datagram_arrives_with_the_address_it_came_from(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as one, closing(await ports.net.bind_udp()) as two:
        assert one.send_nowait([(b"there", two.local_address)]) == 1
        assert await receive_all(two, 1) == [(b"there", one.local_address)]
        assert two.send_nowait([(b"back", one.local_address)]) == 1
        assert await receive_all(one, 1) == [(b"back", two.local_address)]


async def test_port_0_gives_a_real_port_of_its_own(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as one, closing(await ports.net.bind_udp()) as two:
        host, port = one.local_address[:2]
        assert host == "127.0.0.1"
        assert 0 < port <= 65_535
        assert port != two.local_address[1]


async def test_a_chosen_port_is_taken_and_given_back(ports: Host) -> None:
    first = await ports.net.bind_udp()
    port = first.local_address[1]
    with pytest.raises(AddressInUse) as caught:
        await ports.net.bind_udp("127.0.0.1", port)
    assert str(caught.value) == f"127.0.0.1:{port} is already in use"
    first.close()
    with closing(await ports.net.bind_udp("127.0.0.1", port)) as second:
        assert second.local_address == ("127.0.0.1", port)


async def test_every_interface_at_once_is_one_address_too(ports: Host) -> None:
    with (
        closing(await ports.net.bind_udp("")) as everywhere,
        closing(await ports.net.bind_udp()) as here,
    ):
        host, port = everywhere.local_address[:2]
        assert host == "0.0.0.0"  # noqa: S104 - the name of every interface is the expectation
        with pytest.raises(AddressInUse):
            await ports.net.bind_udp("127.0.0.1", port)
        here.send_nowait([(b"x", ("127.0.0.1", port))])
        assert await receive_all(everywhere, 1) == [(b"x", here.local_address)]
        everywhere.send_nowait([(b"y", here.local_address)])
        assert await receive_all(here, 1) == [(b"y", ("127.0.0.1", port))]


async def test_ipv6_literals_work(ports: Host) -> None:
    with (
        closing(await ports.net.bind_udp("::1")) as one,
        closing(await ports.net.bind_udp("::1")) as two,
    ):
        assert one.local_address[0] == "::1"
        assert len(one.local_address) == 4
        one.send_nowait([(b"six", two.local_address)])
        assert await receive_all(two, 1) == [(b"six", one.local_address)]


async def test_an_address_of_no_interface_cannot_be_bound(ports: Host) -> None:
    with pytest.raises(AddressUnavailable) as caught:
        await ports.net.bind_udp(ELSEWHERE, 4400)
    assert str(caught.value).startswith(f"{ELSEWHERE}:4400 cannot be used: ")


@pytest.mark.parametrize("port", [-1, 65_536, 1 << 40])
async def test_a_port_out_of_range_is_the_callers_fault(ports: Host, port: int) -> None:
    with pytest.raises(InvalidParameter, match="port must be 0 to 65535"):
        await ports.net.bind_udp("127.0.0.1", port)


async def test_a_name_without_an_address_cannot_be_bound(ports: Host) -> None:
    with pytest.raises(ResolutionFailed, match="no such host:7 is an unknown host"):
        await ports.net.bind_udp("no such host", 7)


async def test_a_batch_is_sent_and_received_in_order(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as one, closing(await ports.net.bind_udp()) as two:
        batch = [(b"%d" % number, two.local_address) for number in range(20)]
        assert one.send_nowait(batch) == 20
        assert [data for data, _ in await receive_all(two, 20)] == [data for data, _ in batch]


async def test_a_batch_may_go_to_many_and_be_empty(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as one, closing(await ports.net.bind_udp()) as two:
        assert one.send_nowait([]) == 0
        assert one.send_nowait([(b"a", one.local_address), (b"b", two.local_address)]) == 2
        assert await receive_all(one, 1) == [(b"a", one.local_address)]
        assert await receive_all(two, 1) == [(b"b", one.local_address)]


async def test_receive_drains_up_to_its_limit_and_keeps_the_rest(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as sock:
        sock.send_nowait([(b"%d" % number, sock.local_address) for number in range(5)])
        await wait_all_tasks_blocked()
        assert [data for data, _ in await sock.receive(2)] == [b"0", b"1"]
        assert [data for data, _ in sock.receive_nowait(1)] == [b"2"]
        assert [data for data, _ in await sock.receive()] == [b"3", b"4"]
        assert sock.receive_nowait() == []


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_below_1_is_the_callers_fault(ports: Host, limit: int) -> None:
    with closing(await ports.net.bind_udp()) as sock:
        with pytest.raises(InvalidParameter, match="limit must be at least 1"):
            await sock.receive(limit)
        with pytest.raises(InvalidParameter, match="limit must be at least 1"):
            sock.receive_nowait(limit)


async def test_an_empty_and_a_large_datagram_arrive_whole(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as one, closing(await ports.net.bind_udp()) as two:
        large = bytes(range(256)) * 255
        one.send_nowait([(b"", two.local_address), (large, two.local_address)])
        assert [data for data, _ in await receive_all(two, 2)] == [b"", large]


async def test_a_datagram_too_large_for_udp_counts_as_sent_and_is_lost(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as one, closing(await ports.net.bind_udp()) as two:
        batch = [(bytes(65_508), two.local_address), (b"fits", two.local_address)]
        assert one.send_nowait(batch) == 2
        assert await receive_all(two, 1) == [(b"fits", one.local_address)]
        assert two.receive_nowait() == []


async def test_sending_to_nobody_disturbs_nothing(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as one, closing(await ports.net.bind_udp()) as two:
        gone = await ports.net.bind_udp()
        gone.close()
        for _ in range(3):
            assert one.send_nowait([(b"lost", gone.local_address)]) == 1
            await wait_all_tasks_blocked()
            assert one.receive_nowait() == []
        two.send_nowait([(b"still here", one.local_address)])
        assert await receive_all(one, 1) == [(b"still here", two.local_address)]


async def test_receive_waits_until_something_comes(ports: Host) -> None:
    received: list[Datagram] = []

    async def receive() -> None:
        received.extend(await sock.receive())

    with closing(await ports.net.bind_udp()) as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            assert received == []
            sock.send_nowait([(b"now", sock.local_address)])
        assert received == [(b"now", sock.local_address)]


async def test_closing_wakes_who_waits_and_is_idempotent(ports: Host) -> None:
    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await sock.receive()

    sock = await ports.net.bind_udp()
    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            sock.close()
            sock.close()


async def test_a_closed_socket_refuses_everything_but_its_address(ports: Host) -> None:
    sock = await ports.net.bind_udp()
    address = sock.local_address
    sock.send_nowait([(b"unread", address)])
    await wait_all_tasks_blocked()
    sock.close()
    with pytest.raises(trio.ClosedResourceError):
        await sock.receive()
    with pytest.raises(trio.ClosedResourceError):
        sock.receive_nowait()
    with pytest.raises(trio.ClosedResourceError):
        sock.send_nowait([(b"x", address)])
    assert sock.local_address == address


async def test_a_second_receiver_is_refused_and_the_first_goes_on(ports: Host) -> None:
    received: list[Datagram] = []

    async def receive() -> None:
        received.extend(await sock.receive())

    with closing(await ports.net.bind_udp()) as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await sock.receive()
            sock.send_nowait([(b"for the first", sock.local_address)])
        assert received == [(b"for the first", sock.local_address)]


async def test_a_cancelled_receive_took_nothing(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as sock:
        with trio.move_on_after(0.01) as scope:
            await sock.receive()
        assert scope.cancelled_caught
        sock.send_nowait([(b"kept", sock.local_address)])
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.receive()
        assert scope.cancelled_caught
        assert await receive_all(sock, 1) == [(b"kept", sock.local_address)]


async def test_a_cancellation_that_arrives_with_a_datagram_loses_none(ports: Host) -> None:
    received: list[Datagram] = []

    async def receive(scope: trio.CancelScope) -> None:
        with scope:
            received.extend(await sock.receive())

    with closing(await ports.net.bind_udp()) as sock:
        for number in range(20):
            scope = trio.CancelScope()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive, scope)
                await wait_all_tasks_blocked()
                sock.send_nowait([(b"%d" % number, sock.local_address)])
                scope.cancel()
            received.extend(sock.receive_nowait() if scope.cancelled_caught else [])
            if len(received) == number:
                received += await receive_all(sock, 1)
        assert [data for data, _ in received] == [b"%d" % number for number in range(20)]


async def test_who_waits_goes_on_when_another_drained_first(ports: Host) -> None:
    received: list[Datagram] = []

    async def receive() -> None:
        received.extend(await sock.receive())

    async def drain() -> list[Datagram]:
        with trio.fail_after(PATIENCE_SECONDS):
            while not (stolen := sock.receive_nowait()):
                await trio.lowlevel.checkpoint()
        return stolen

    with closing(await ports.net.bind_udp()) as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            sock.send_nowait([(b"stolen", sock.local_address)])
            stolen = sock.receive_nowait()
            await wait_all_tasks_blocked()
            sock.send_nowait([(b"next", sock.local_address)])
        both = [data for data, _ in [*stolen, *received]]
        both += [data for data, _ in (await drain() if len(both) < 2 else [])]
        assert both == [b"stolen", b"next"]


async def test_receive_is_a_checkpoint_also_when_something_is_readable(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as sock:
        sock.send_nowait([(b"ready", sock.local_address)])
        await wait_all_tasks_blocked()
        with assert_checkpoints():
            await sock.receive()


async def test_binding_is_a_checkpoint(ports: Host) -> None:
    with assert_checkpoints():
        sock = await ports.net.bind_udp()
    sock.close()


async def test_a_flood_that_nobody_reads_is_dropped_and_never_blocks(ports: Host) -> None:
    with closing(await ports.net.bind_udp()) as one, closing(await ports.net.bind_udp()) as two:
        sent = 0
        for _ in range(300):
            sent += one.send_nowait([(bytes(1000), two.local_address)] * 64)
            await trio.lowlevel.checkpoint()
        kept = 0
        with trio.move_on_after(0.2):
            while True:
                kept += len(await two.receive())
        assert 0 < kept < sent
