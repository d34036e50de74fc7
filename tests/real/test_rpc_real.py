"""RPC over real sockets, in one process and between two."""

import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from tests.support.net import until
from tests.support.processes import PATIENCE_SECONDS, started
from trio440 import rpc
from trio440.errors import AnswerLost, CallTimedOut, HandshakeRefused, RemoteError
from trio440.rpc.hello import Expected, encode_hello

pytestmark = pytest.mark.real


@attrs.frozen
class Blob:
    data: bytes = b""


class Echo(rpc.Service):
    now = rpc.method(Blob, Blob)
    task = rpc.method(Blob, Blob)
    stuck = rpc.method(Blob, Blob)
    fail = rpc.method(Blob, Blob)


PROGRAM = """
import sys
import trio
from tests.real.test_rpc_real import make_routes
from trio440 import rpc

async def main():
    async with rpc.open_server(int(sys.argv[1]), make_routes()) as server:
        print(f"listening on 127.0.0.1:{server.address[1]}", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def make_routes(cancelled: list[Blob] | None = None) -> rpc.Routes:
    routes = rpc.Routes()

    @routes.answers(Echo.now)
    def now(request: Blob, _: rpc.Peer) -> Blob:
        return request

    @routes.answers(Echo.task)
    async def task(request: Blob, _: rpc.Peer) -> Blob:
        await trio.lowlevel.checkpoint()
        return request

    @routes.answers(Echo.stuck)
    async def stuck(request: Blob, _: rpc.Peer) -> Blob:
        try:
            await trio.sleep_forever()
        finally:
            if cancelled is not None:
                cancelled.append(request)

    @routes.answers(Echo.fail)
    async def fail(_: Blob, __: rpc.Peer) -> Blob:
        raise LookupError("nothing here")

    return routes


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[rpc.Server, rpc.Client, list[Blob]]]:
    cancelled: list[Blob] = []
    async with rpc.open_server(0, make_routes(cancelled)) as server:
        host, port = server.address[:2]
        async with rpc.open_client(host, port) as client:
            with trio.fail_after(PATIENCE_SECONDS):
                yield server, client, cancelled


@pytest.mark.parametrize("size", [0, 100, 70_000, 5_000_000])
async def test_messages_of_any_size_come_back(size: int) -> None:
    blob = Blob(bytes(range(256)) * (size // 256) + bytes(size % 256))
    async with echo() as (_, client, _):
        assert await Echo(client).now(blob) == blob
        assert await Echo(client).task(blob, timeout_seconds=PATIENCE_SECONDS) == blob


async def test_many_tasks_share_a_connection() -> None:
    async def ask(number: int) -> None:
        for method in (Echo.now, Echo.task) * 20:
            blob = Blob(b"%d" % number * 100)
            assert await client.call(method, blob) == blob

    async with echo() as (server, client, _):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, number)
        assert server.statistics().connections == 1
        assert client.statistics().answers == 4000


async def test_errors_timeouts_and_cancellation() -> None:
    async with echo() as (server, client, cancelled):
        with pytest.raises(RemoteError, match="LookupError: nothing here"):
            await Echo(client).fail(Blob())
        with pytest.raises(CallTimedOut):
            await Echo(client).stuck(Blob(b"late"), timeout_seconds=0.05)
        with trio.move_on_after(0.05):
            await Echo(client).stuck(Blob(b"cancelled"))
        await until(lambda: len(cancelled) == 2)
        assert server.statistics().handlers_active == 0


async def test_a_hostile_crowd_costs_only_itself() -> None:
    async with echo() as (server, client, _):
        host, port = server.address[:2]
        crowd = []
        hello = encode_hello(rpc.ANONYMOUS, Expected(), silence_us=10**9, frame_bytes=1 << 20)
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 10_000, hello + b"\xff" * 99, b"\0"):
            crowd.append(stream := await trio.open_tcp_stream(host, port))
            await stream.send_all(data)
        for _ in range(100):
            assert await Echo(client).now(Blob(b"x")) == Blob(b"x")
        for stream in crowd:
            await stream.aclose()
        await until(lambda: server.statistics().connections_active == 1)


async def test_another_cluster_is_refused() -> None:
    identity = rpc.Identity("blue")
    async with rpc.open_server(0, make_routes(), identity=identity) as server:
        host, port = server.address[:2]
        async with rpc.open_client(host, port, identity=rpc.Identity("red")) as client:
            with pytest.raises(HandshakeRefused, match="cluster"):
                await Echo(client).now(Blob())


async def test_serving_in_a_nursery_and_over_ipv6() -> None:
    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(rpc.serve, 0, make_routes(), host="::1"))
        async with rpc.open_client("::1", address[1]) as client:
            assert (await client.wait_connected()).address[:2] == ("::1", address[1])
            assert await Echo(client).now(Blob(b"6")) == Blob(b"6")
            assert repr(client) == f"<rpc.Client of [::1]:{address[1]}, connected>"
        nursery.cancel_scope.cancel()


async def test_a_server_that_is_killed_and_started_again() -> None:
    command = [sys.executable, "-c", PROGRAM]
    with started([*command, "0"]) as first:
        port = first.port()
        async with rpc.open_client("127.0.0.1", port) as client:
            with trio.fail_after(PATIENCE_SECONDS):
                assert await Echo(client).now(Blob(b"1")) == Blob(b"1")
                async with trio.open_nursery() as nursery:

                    async def ask() -> None:
                        with pytest.raises(AnswerLost):
                            await Echo(client).stuck(Blob())

                    nursery.start_soon(ask)
                    await until(lambda: client.statistics().calls_in_flight == 1)
                    first.signal(signal.SIGKILL)
                first.end()
                with started([*command, str(port)]):
                    assert await Echo(client).now(Blob(b"2")) == Blob(b"2")
                assert client.statistics().connects == 2


async def test_nothing_is_left_open() -> None:
    async with echo() as (server, client, _):
        host, port = server.address[:2]
        await Echo(client).now(Blob())
    with pytest.raises(OSError), socket.create_connection((host, port), timeout=PATIENCE_SECONDS):  # noqa: PT011
        pass
