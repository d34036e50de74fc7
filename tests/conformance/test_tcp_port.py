"""The contracts of :class:`trio440.core.host.ByteStream` and ``StreamListener``."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from tests.support.processes import PATIENCE_SECONDS
from trio440.core.host import ByteStream, Host
from trio440.errors import (
    AddressInUse,
    AddressUnavailable,
    ConnectionRefused,
    InvalidParameter,
    ResolutionFailed,
)

ELSEWHERE = "192.0.2.1"
"""An address for documentation, which no machine has."""
TOO_MUCH = 64 << 20
"""More bytes than any connection holds on its way."""


@asynccontextmanager
async def connected(ports: Host, host: str = "127.0.0.1") -> AsyncIterator[tuple[ByteStream, ...]]:
    """The two ends of one connection: who opened it and who accepted it."""
    async with aclosing(await ports.net.listen_tcp(host)) as listener:
        client = await ports.net.connect_tcp(*listener.local_address[:2])
        server = await listener.accept()
    async with aclosing(client), aclosing(server):
        yield client, server


async def receive_exactly(stream: ByteStream, count: int) -> bytes:
    received = bytearray()
    with trio.fail_after(PATIENCE_SECONDS):
        while len(received) < count:
            part = await stream.receive_some(count - len(received))
            assert part, "the stream ended early"
            received += part
    return bytes(received)


async def receive_to_end(stream: ByteStream) -> bytes:
    received = bytearray()
    with trio.fail_after(PATIENCE_SECONDS):
        while part := await stream.receive_some():
            received += part
    return bytes(received)


async def send_until_broken(stream: ByteStream) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            await stream.send_all(b"anybody there?")


async def fill(stream: ByteStream) -> None:
    """Send until the connection takes no more, and then for a moment, for the kernel may shift."""
    room = True
    while room:
        with trio.move_on_after(0.1) as scope:
            await stream.send_all(bytes(TOO_MUCH))
        assert scope.cancelled_caught
        room = stream.send_nowait(b"x") > 0


async def test_bytes_go_both_ways_in_order(ports: Host) -> None:
    async with connected(ports) as (client, server):
        for number in range(10):
            await client.send_all(b"to %d." % number)
            await server.send_all(b"fro %d." % number)
        expected = b"".join(b"to %d." % number for number in range(10))
        assert await receive_exactly(server, len(expected)) == expected
        expected = b"".join(b"fro %d." % number for number in range(10))
        assert await receive_exactly(client, len(expected)) == expected


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_both_ends_know_both_addresses(ports: Host, host: str) -> None:
    async with connected(ports, host) as (client, server):
        assert client.local_address == server.remote_address
        assert client.remote_address == server.local_address
        assert client.local_address[0] == client.remote_address[0] == host
        assert client.local_address[1] != client.remote_address[1] > 0


async def test_addresses_stay_known_after_closing(ports: Host) -> None:
    async with connected(ports) as (client, server):
        before = client.local_address, client.remote_address
        await client.aclose()
        await server.aclose()
        assert (client.local_address, client.remote_address) == before


async def test_localhost_reaches_a_listener_on_either_family(ports: Host) -> None:
    for address in await ports.net.resolve("localhost", 0, kind="tcp"):
        async with aclosing(await ports.net.listen_tcp(address[0])) as listener:
            client = await ports.net.connect_tcp("localhost", listener.local_address[1])
            assert client.remote_address == listener.local_address
            await client.aclose()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_any_bytes_like_object_may_be_sent(ports: Host, kind: type) -> None:
    async with connected(ports) as (client, server):
        await client.send_all(kind(b"payload"))
        assert await receive_exactly(server, 7) == b"payload"


async def test_receive_some_takes_at_most_what_was_asked(ports: Host) -> None:
    async with connected(ports) as (client, server):
        await client.send_all(b"abcdef")
        assert await server.receive_some(1) == b"a"
        assert await receive_exactly(server, 5) == b"bcdef"
        with pytest.raises(InvalidParameter, match="max_bytes must be at least 1"):
            await server.receive_some(0)


async def test_large_data_arrives_whole_while_the_reader_reads(ports: Host) -> None:
    data = bytes(range(256)) * 4096
    async with connected(ports) as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, data)
        assert await receive_exactly(server, len(data)) == data


async def test_a_sender_waits_for_a_slow_reader(ports: Host) -> None:
    finished = False

    async def send() -> None:
        nonlocal finished
        await client.send_all(bytes(TOO_MUCH))
        await client.send_eof()
        finished = True

    async with connected(ports) as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(0.05)
        assert not finished
        assert len(await receive_to_end(server)) == TOO_MUCH
        with trio.fail_after(PATIENCE_SECONDS):
            while not finished:
                await trio.lowlevel.checkpoint()


async def test_waiting_for_room_ends_when_the_reader_makes_some(ports: Host) -> None:
    async with connected(ports) as (client, server):
        with trio.fail_after(PATIENCE_SECONDS):
            await client.wait_send_all_might_not_block()
        await fill(client)
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.05) as scope:
                await client.wait_send_all_might_not_block()
            assert scope.cancelled_caught
            nursery.start_soon(receive_to_end, server)
            with trio.fail_after(PATIENCE_SECONDS):
                await client.wait_send_all_might_not_block()
            nursery.cancel_scope.cancel()


async def test_half_close_by_the_client_leaves_the_other_way_open(ports: Host) -> None:
    async with connected(ports) as (client, server):
        await client.send_all(b"question")
        await client.send_eof()
        assert await receive_to_end(server) == b"question"
        await server.send_all(b"answer")
        await server.send_eof()
        assert await receive_to_end(client) == b"answer"


async def test_half_close_by_the_server_leaves_the_other_way_open(ports: Host) -> None:
    async with connected(ports) as (client, server):
        await server.send_eof()
        assert await receive_to_end(client) == b""
        await client.send_all(b"still")
        await client.send_eof()
        assert await receive_to_end(server) == b"still"


async def test_the_end_is_received_again_and_again(ports: Host) -> None:
    async with connected(ports) as (client, server):
        await client.send_eof()
        for _ in range(3):
            assert await receive_to_end(server) == b""


async def test_sending_the_end_is_idempotent_and_stops_sending(ports: Host) -> None:
    async with connected(ports) as (client, _):
        await client.send_eof()
        await client.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            await client.send_all(b"too late")


async def test_what_was_sent_before_closing_arrives_and_then_the_end(ports: Host) -> None:
    async with connected(ports) as (client, server):
        await client.send_all(b"last words")
        await client.aclose()
        assert await receive_to_end(server) == b"last words"


async def test_closing_wakes_who_receives_and_is_idempotent(ports: Host) -> None:
    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.receive_some()

    async with connected(ports) as (client, _):
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await wait_all_tasks_blocked()
                await client.aclose()
                await client.aclose()


async def test_closing_wakes_who_sends(ports: Host) -> None:
    async def send() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.send_all(bytes(TOO_MUCH))

    async with connected(ports) as (client, _):
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await trio.sleep(0.05)
                await client.aclose()


async def test_a_closed_stream_refuses_everything(ports: Host) -> None:
    async with connected(ports) as (client, _):
        await client.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await client.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await client.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await client.send_all(b"")
        with pytest.raises(trio.ClosedResourceError):
            await client.wait_send_all_might_not_block()
        with pytest.raises(trio.ClosedResourceError):
            await client.send_eof()


async def test_closing_counts_also_when_it_is_cancelled(ports: Host) -> None:
    async with connected(ports) as (client, server):
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.aclose()
        assert scope.cancelled_caught
        with pytest.raises(trio.ClosedResourceError):
            await client.receive_some()
        assert await receive_to_end(server) == b""


async def test_closing_with_bytes_unread_breaks_the_other_side(ports: Host) -> None:
    async with connected(ports) as (client, server):
        await client.send_all(b"never read")
        await wait_all_tasks_blocked()
        await server.aclose()
        with trio.fail_after(PATIENCE_SECONDS), pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await send_until_broken(client)


async def test_sending_to_a_closed_side_breaks_in_the_end(ports: Host) -> None:
    async with connected(ports) as (client, server):
        await server.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await send_until_broken(client)


async def test_a_blocked_sender_breaks_when_the_reader_closes(ports: Host) -> None:
    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(bytes(TOO_MUCH))

    async with connected(ports) as (client, server):
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await trio.sleep(0.05)
                await server.aclose()


async def test_a_second_receiver_is_refused_and_the_first_goes_on(ports: Host) -> None:
    received: list[bytes] = []

    async def receive() -> None:
        received.append(bytes(await client.receive_some()))

    async with connected(ports) as (client, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await client.receive_some()
            await server.send_all(b"for the first")
        assert received == [b"for the first"]


async def test_a_second_sender_is_refused(ports: Host) -> None:
    async with connected(ports) as (client, _), trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, bytes(TOO_MUCH))
        await trio.sleep(0.05)
        with pytest.raises(trio.BusyResourceError):
            await client.send_all(b"x")
        with pytest.raises(trio.BusyResourceError):
            await client.wait_send_all_might_not_block()
        with pytest.raises(trio.BusyResourceError):
            await client.send_eof()
        nursery.cancel_scope.cancel()


async def test_what_is_sent_without_waiting_arrives_in_order_with_the_rest(ports: Host) -> None:
    async with connected(ports) as (client, server):
        for part in (b"one ", bytearray(b"two "), memoryview(b"three ")):
            assert client.send_nowait(part) == len(part)
        assert client.send_nowait(b"") == 0
        await client.send_all(b"four")
        assert await receive_exactly(server, 18) == b"one two three four"


async def test_without_waiting_only_what_there_is_room_for_is_sent(ports: Host) -> None:
    async with connected(ports) as (client, server):
        sent, data = 0, bytes(range(256)) * (TOO_MUCH // 256)
        with trio.fail_after(PATIENCE_SECONDS):
            while count := client.send_nowait(data[sent : sent + (1 << 20)]):
                sent += count
                await trio.lowlevel.checkpoint()
            assert 0 < sent < len(data)
            assert client.send_nowait(b"x") == 0
        assert await receive_exactly(server, sent) == data[:sent]


async def test_sending_without_waiting_beside_a_sender_is_refused(ports: Host) -> None:
    async with connected(ports) as (client, _), trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, bytes(TOO_MUCH))
        await trio.sleep(0.05)
        with pytest.raises(trio.BusyResourceError):
            client.send_nowait(b"x")
        nursery.cancel_scope.cancel()


async def test_sending_without_waiting_ends_with_the_stream(ports: Host) -> None:
    async with connected(ports) as (client, server):
        await client.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            client.send_nowait(b"x")
        await client.aclose()
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(PATIENCE_SECONDS):
            while True:
                server.send_nowait(b"anybody there?")
                await trio.sleep(0.01)
        await server.aclose()
        with pytest.raises(trio.ClosedResourceError):
            server.send_nowait(b"x")


async def test_one_may_send_and_receive_at_once(ports: Host) -> None:
    async with connected(ports) as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(client.receive_some)
        await wait_all_tasks_blocked()
        await client.send_all(b"out")
        assert await receive_exactly(server, 3) == b"out"
        await server.send_all(b"in")


async def test_a_cancelled_receive_took_nothing(ports: Host) -> None:
    async with connected(ports) as (client, server):
        with trio.move_on_after(0.01) as scope:
            await client.receive_some()
        assert scope.cancelled_caught
        await server.send_all(b"kept")
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.receive_some()
        assert scope.cancelled_caught
        assert await receive_exactly(client, 4) == b"kept"


async def test_every_operation_is_a_checkpoint(ports: Host) -> None:
    with assert_checkpoints():
        listener = await ports.net.listen_tcp()
    with assert_checkpoints():
        client = await ports.net.connect_tcp(*listener.local_address[:2])
    with assert_checkpoints():
        server = await listener.accept()
    with assert_checkpoints():
        await client.send_all(b"x")
    with assert_checkpoints():
        await client.send_all(b"")
    with assert_checkpoints():
        await client.wait_send_all_might_not_block()
    await wait_all_tasks_blocked()
    with assert_checkpoints():
        await server.receive_some()
    with assert_checkpoints():
        await client.send_eof()
    with assert_checkpoints():
        await client.send_eof()
    await wait_all_tasks_blocked()
    with assert_checkpoints():
        assert await server.receive_some() == b""
    for resource in (client, server, listener):
        with assert_checkpoints():
            await resource.aclose()
        with assert_checkpoints():
            await resource.aclose()


# Listening and connecting


async def test_port_0_gives_a_real_port_of_its_own(ports: Host) -> None:
    async with (
        aclosing(await ports.net.listen_tcp()) as one,
        aclosing(await ports.net.listen_tcp()) as two,
    ):
        assert one.local_address[0] == "127.0.0.1"
        assert 0 < one.local_address[1] <= 65_535
        assert one.local_address[1] != two.local_address[1]


async def test_a_chosen_port_is_taken_and_given_back(ports: Host) -> None:
    first = await ports.net.listen_tcp()
    port = first.local_address[1]
    with pytest.raises(AddressInUse) as caught:
        await ports.net.listen_tcp("127.0.0.1", port)
    assert str(caught.value) == f"127.0.0.1:{port} is already in use"
    await first.aclose()
    async with aclosing(await ports.net.listen_tcp("127.0.0.1", port)) as second:
        assert second.local_address == ("127.0.0.1", port)


async def test_a_port_with_old_connections_may_be_listened_on_again(ports: Host) -> None:
    listener = await ports.net.listen_tcp()
    client = await ports.net.connect_tcp(*listener.local_address[:2])
    server = await listener.accept()
    await listener.aclose()
    await server.aclose()
    async with aclosing(await ports.net.listen_tcp(*listener.local_address[:2])):
        await client.aclose()


async def test_every_interface_at_once_is_reached_through_each(ports: Host) -> None:
    async with aclosing(await ports.net.listen_tcp("")) as listener:
        client = await ports.net.connect_tcp("127.0.0.1", listener.local_address[1])
        server = await listener.accept()
        async with aclosing(client), aclosing(server):
            assert server.local_address == ("127.0.0.1", listener.local_address[1])


async def test_addresses_that_cannot_be_listened_on(ports: Host) -> None:
    with pytest.raises(AddressUnavailable, match=f"{ELSEWHERE}:4400 cannot be used: "):
        await ports.net.listen_tcp(ELSEWHERE, 4400)
    with pytest.raises(ResolutionFailed, match="no such host:7 is an unknown host"):
        await ports.net.listen_tcp("no such host", 7)
    with pytest.raises(InvalidParameter, match="port must be 0 to 65535"):
        await ports.net.listen_tcp("127.0.0.1", 65_536)
    with pytest.raises(InvalidParameter, match="backlog must be at least 1"):
        await ports.net.listen_tcp(backlog=0)


async def test_a_port_where_nobody_listens_refuses(ports: Host) -> None:
    listener = await ports.net.listen_tcp()
    await listener.aclose()
    host, port = listener.local_address[:2]
    with pytest.raises(ConnectionRefused) as caught:
        await ports.net.connect_tcp(host, port)
    assert str(caught.value) == f"{host}:{port} cannot be reached: connection refused"
    assert (caught.value.host, caught.value.port) == (host, port)
    assert caught.value.nobody_listens


async def test_a_name_whose_addresses_all_refuse_says_why_once(ports: Host) -> None:
    listener = await ports.net.listen_tcp("::1")
    await listener.aclose()
    port = listener.local_address[1]
    with pytest.raises(ConnectionRefused) as caught:
        await ports.net.connect_tcp("localhost", port)
    assert str(caught.value) == f"localhost:{port} cannot be reached: connection refused"


async def test_addresses_that_cannot_be_connected_to(ports: Host) -> None:
    with pytest.raises(ResolutionFailed, match="no such host:7 is an unknown host"):
        await ports.net.connect_tcp("no such host", 7)
    with pytest.raises(InvalidParameter, match="port must be 0 to 65535"):
        await ports.net.connect_tcp("127.0.0.1", -1)


async def test_a_cancelled_connect_leaves_nothing_open(ports: Host) -> None:
    async with aclosing(await ports.net.listen_tcp()) as listener:
        with trio.CancelScope() as scope:
            scope.cancel()
            await ports.net.connect_tcp(*listener.local_address[:2])
        assert scope.cancelled_caught


async def test_connections_are_accepted_in_the_order_they_came(ports: Host) -> None:
    async with aclosing(await ports.net.listen_tcp()) as listener:
        for _ in range(5):
            clients = [await ports.net.connect_tcp(*listener.local_address[:2]) for _ in range(3)]
            servers = [await listener.accept() for _ in range(3)]
            assert [one.local_address for one in clients] == [one.remote_address for one in servers]
            for stream in (*clients, *servers):
                await stream.aclose()


async def test_accept_waits_for_somebody(ports: Host) -> None:
    accepted: list[ByteStream] = []

    async def accept() -> None:
        accepted.append(await listener.accept())

    async with aclosing(await ports.net.listen_tcp()) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await wait_all_tasks_blocked()
            assert accepted == []
            client = await ports.net.connect_tcp(*listener.local_address[:2])
        assert accepted[0].remote_address == client.local_address
        await client.aclose()
        await accepted[0].aclose()


async def test_a_cancelled_accept_took_no_connection(ports: Host) -> None:
    async with aclosing(await ports.net.listen_tcp()) as listener:
        with trio.move_on_after(0.01) as scope:
            await listener.accept()
        assert scope.cancelled_caught
        async with aclosing(await ports.net.connect_tcp(*listener.local_address[:2])) as client:
            with trio.CancelScope() as scope:
                scope.cancel()
                await listener.accept()
            assert scope.cancelled_caught
            with trio.fail_after(PATIENCE_SECONDS):
                server = await listener.accept()
            assert server.remote_address == client.local_address
            await server.aclose()


async def test_a_second_acceptor_is_refused(ports: Host) -> None:
    async with aclosing(await ports.net.listen_tcp()) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.accept)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await listener.accept()
        nursery.cancel_scope.cancel()


async def test_closing_a_listener_wakes_who_accepts_and_is_idempotent(ports: Host) -> None:
    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    listener = await ports.net.listen_tcp()
    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await wait_all_tasks_blocked()
            await listener.aclose()
            await listener.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()


async def test_closing_a_listener_spares_what_was_accepted_and_breaks_the_rest(
    ports: Host,
) -> None:
    async with aclosing(await ports.net.listen_tcp()) as listener:
        first = await ports.net.connect_tcp(*listener.local_address[:2])
        server = await listener.accept()
        second = await ports.net.connect_tcp(*listener.local_address[:2])
        await listener.aclose()
        await first.send_all(b"alive")
        assert await receive_exactly(server, 5) == b"alive"
        with pytest.raises(trio.BrokenResourceError):
            await send_until_broken(second)
        for stream in (first, second, server):
            await stream.aclose()


async def test_accept_goes_on_after_a_client_that_left_at_once(ports: Host) -> None:
    async with aclosing(await ports.net.listen_tcp()) as listener:
        gone = await ports.net.connect_tcp(*listener.local_address[:2])
        await gone.aclose()
        client = await ports.net.connect_tcp(*listener.local_address[:2])
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                server = await listener.accept()
                if server.remote_address == client.local_address:
                    break
                assert await server.receive_some() == b""
                await server.aclose()
        await client.aclose()
        await server.aclose()
