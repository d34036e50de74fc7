"""LSP on real loopback sockets: a handful of what the simulation checks in full."""

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from tests.support.lsp_world import echo_forever, echo_in_turn, echo_pipelined, running, together
from tests.support.net import free_port, until
from tests.support.processes import PATIENCE_SECONDS
from trio440 import lsp
from trio440.core.real import REAL_HOST
from trio440.lsp.faults import Faults, FaultyNet, open_faulty_ports

pytestmark = pytest.mark.real

TEXTS = [b"%d: %s" % (number, b"x" * (number * 7 % 900)) for number in range(60)]


@asynccontextmanager
async def open_echo(
    params: lsp.Params, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[lsp.Server]:
    """Open a server that echoes; a test that hangs fails after 30 seconds."""
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            lsp.open_server(port, host=host, params=params) as server,
            running(echo_forever, server),
        ):
            yield server


async def use_client(host: str, port: int, params: lsp.Params) -> None:
    async with lsp.connect(host, port, params=params) as client:
        await echo_in_turn(client, TEXTS[:10])


async def test_several_clients_echo_at_once() -> None:
    params = lsp.Params(5, 2000, 5, 0, 5)

    async def use(number: int) -> None:
        async with lsp.connect(host, port, params=params) as client:
            await (echo_in_turn, echo_pipelined)[number % 2](client, TEXTS)

    async with open_echo(params) as server:
        host, port = server.address[:2]
        await together(use(number) for number in range(6))
        assert server.statistics().accepted == 6
        assert server.statistics().received == 6 * len(TEXTS)


async def test_a_burst_of_full_datagrams_arrives() -> None:
    params = lsp.Params(20, 100, 256, 0, 256)
    texts = [random.Random(number).randbytes(1000) for number in range(600)]
    async with (
        open_echo(params) as server,
        lsp.connect(*server.address[:2], params=params) as client,
    ):
        await echo_pipelined(client, texts)


async def test_every_fifth_datagram_lost_on_either_side() -> None:
    params = lsp.Params(100, 20, 5, 0, 5)
    with trio.fail_after(PATIENCE_SECONDS):
        async with open_faulty_ports(
            REAL_HOST, sending=Faults(drop=0.2), receiving=Faults(drop=0.2), rng=random.Random(1)
        ) as ports:
            async with (
                lsp.open_server(0, params=params, ports=ports) as server,
                running(echo_forever, server),
            ):

                async def use() -> None:
                    async with lsp.connect(*server.address[:2], params=params, ports=ports) as one:
                        await echo_pipelined(one, TEXTS[:20])
                        await server_is_idle(server, one.conn_id)

                await together(use() for _ in range(3))
                assert server.statistics().resent > 0
            assert isinstance(ports.net, FaultyNet)
            assert ports.net.counts["dropped"] > 50


async def server_is_idle(server: lsp.Server, conn_id: int) -> None:
    """Wait until the server has heard the last acknowledgement of a client that will leave."""
    await until(lambda: server.connection_statistics(conn_id).outstanding == 0)


async def test_late_doubled_and_spoiled_datagrams() -> None:
    params = lsp.Params(100, 20, 10, 0, 10)
    faults = Faults(duplicate=0.2, delay=0.1, delay_seconds=0.05, reorder=0.3, shorten=0.1)
    # Spoiled on one side only: two flipped bits of one payload can leave its sum what it was.
    spoiling = attrs.evolve(faults, corrupt=0.1)
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            open_faulty_ports(REAL_HOST, sending=spoiling, receiving=faults) as ports,
            lsp.open_server(0, params=params, ports=ports) as server,
            running(echo_forever, server),
            lsp.connect(*server.address[:2], params=params, ports=ports) as client,
        ):
            await echo_pipelined(client, TEXTS)
            await server_is_idle(server, client.conn_id)
            assert server.statistics().dropped["wrong checksum"] > 0


async def test_a_server_may_start_after_its_clients() -> None:
    params = lsp.Params(50, 50, 1, 0, 1)
    port = free_port(socket.SOCK_DGRAM)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(use_client, "127.0.0.1", port, params)
        await trio.sleep(0.15)
        async with open_echo(params, port=port):
            await until(lambda: not nursery.child_tasks)


async def test_refused_datagrams_are_ignored_and_epochs_decide() -> None:
    start = trio.current_time()
    with pytest.raises(lsp.ConnectFailed):
        await use_client("127.0.0.1", free_port(socket.SOCK_DGRAM), lsp.Params(4, 50))
    assert trio.current_time() - start >= 0.2


async def test_a_client_that_vanished_disturbs_nobody() -> None:
    params = lsp.Params(4, 50, 1, 0, 1)
    with trio.fail_after(PATIENCE_SECONDS):
        async with lsp.open_server(0, params=params) as server:
            host, port = server.address[:2]
            with trio.CancelScope() as scope:
                async with lsp.connect(host, port, params=params) as client:
                    gone = client.conn_id
                    server.write(gone, b"refused from now on")
                    scope.cancel()
            async with lsp.connect(host, port, params=params) as client:
                with pytest.raises(lsp.ConnectionLost) as caught:
                    await echo_forever(server)
                assert caught.value.conn_id == gone
                async with running(echo_forever, server):
                    await echo_in_turn(client, TEXTS[:5])


@pytest.mark.parametrize(
    ("listening", "asked"),
    [("127.0.0.1", "localhost"), ("localhost", "localhost"), ("::1", "::1"), ("", "127.0.0.1")],
)
async def test_names_and_literals_of_both_families(listening: str, asked: str) -> None:
    if ":" in listening and not has_ipv6():
        pytest.skip("no IPv6 loopback here")
    params = lsp.Params(5, 500)
    async with open_echo(params, host=listening) as server:
        await use_client(asked, server.address[1], params)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_serve_reports_its_address_and_runs_handlers() -> None:
    async def echo(connection: lsp.Connection) -> None:
        async for text in connection:
            await connection.send(text)

    async with trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE_SECONDS):
            address = await nursery.start(lsp.serve, echo, 0)
            await together(use_client(address[0], address[1], lsp.Params()) for _ in range(3))
        nursery.cancel_scope.cancel()
