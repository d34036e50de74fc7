"""LSP on real sockets against a raw peer that says what Go programs say.

The rules themselves are tested under virtual time (``tests/sim/test_lsp_wire_*.py``); here a few
of them meet the kernel's sockets, with their refusals, both address families and true sizes.
Whether something was ignored shows in the answer to what is said next.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.support.lsp_wire import ISN, ack, cack, connect, data, wire
from tests.support.processes import PATIENCE_SECONDS
from trio440 import lsp

pytestmark = pytest.mark.real

FAST = lsp.Params(epoch_limit=100, epoch_millis=50, window_size=4, max_unacked_messages=4)
ID = 7


class RawPeer:
    """A plain UDP socket; ``remote`` is whom it speaks to, at first nobody."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._sock = sock
        self.remote: Any = None

    @property
    def port(self) -> int:
        port: int = self._sock.getsockname()[1]
        return port

    async def say(self, *datagrams: str | bytes) -> None:
        """Send datagrams, one after the other."""
        for datagram in datagrams:
            raw = datagram.encode() if isinstance(datagram, str) else datagram
            await self._sock.sendto(raw, self.remote)

    async def hear(self, *, but: str = "") -> str:
        """Wait for the next datagram that is not ``but``; whoever sent it is the remote."""
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                raw, self.remote = await self._sock.recvfrom(65_536)
                if (text := raw.decode()) != but:
                    return text

    async def ask(self, *datagrams: str | bytes) -> str:
        """Say something and wait for what comes back that is no heartbeat."""
        await self.say(*datagrams)
        return await self.hear(but=ack(1, 0))


@asynccontextmanager
async def open_peer(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[RawPeer]:
    """Bind a raw peer."""
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind((host, port))
        yield RawPeer(sock)


@asynccontextmanager
async def open_server_and_peer(
    host: str = "127.0.0.1",
) -> AsyncIterator[tuple[lsp.Server, RawPeer]]:
    """Open our server and a raw client; the client leaves by silence, the server by closing."""
    async with lsp.open_server(host=host, params=FAST) as server, open_peer(host) as peer:
        peer.remote = server.address
        yield server, peer


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_conversation_with_our_server(host: str) -> None:
    async with open_server_and_peer(host) as (server, peer):
        assert await peer.ask(connect(ISN)) == ack(1, ISN)
        assert await peer.ask(connect(99)) == ack(1, ISN)
        assert await peer.ask(data(1, ISN + 1, b"hi")) == ack(1, ISN + 1)
        assert await server.read() == (1, b"hi")
        assert await peer.ask(data(1, ISN + 1, b"hi")) == ack(1, ISN + 1)
        lower = data(1, ISN + 2, b"lower").replace("Type", "type").replace("SeqNum", "SEQNUM")
        assert await peer.ask(f" {lower}\n") == ack(1, ISN + 2)
        assert await server.read() == (1, b"lower")
        for number in (1, 2, 3, 4, 5):
            server.write(1, b"%d" % number)
        for number in (1, 2, 3, 4):
            assert await peer.hear(but=ack(1, 0)) == data(1, ISN + number, b"%d" % number)
        fifth = data(1, ISN + 5, b"5")
        answer = await peer.ask(cack(1, ISN + 4))
        assert answer == fifth or answer in [data(1, ISN + n, b"%d" % n) for n in (1, 2, 3, 4)]
        while answer != fifth:  # a tick came first and sent the others again
            answer = await peer.hear(but=ack(1, 0))
        await peer.say(ack(1, ISN + 5))


async def test_what_our_server_ignores_on_real_sockets() -> None:
    async with open_server_and_peer() as (server, peer), open_peer() as stranger:
        stranger.remote = peer.remote
        assert await peer.ask(connect(ISN)) == ack(1, ISN)
        await stranger.say(data(1, ISN + 1, b"evil"), ack(1, 0), "null")
        await peer.say(
            b"",
            b"garbage",
            bytes(60_000),
            data(1, ISN + 1, b"padded").ljust(2001),
            data(2, ISN + 1, b"wrong id"),
            data(1, ISN + 1, b"short", size=9),
            data(1, ISN + 1, b"corrupt", checksum=1),
            data(1, ISN + 5, b"past the window"),
            wire(1, 1, ISN + 1, -1, 0, '"aGk="'),
            "{" * 2000,
        )
        assert await peer.ask(data(1, ISN + 1, b"whole").ljust(2000)) == ack(1, ISN + 1)
        assert await server.read() == (1, b"whole")
        assert await stranger.ask(connect(0)) == ack(2, 0)


async def test_our_server_lives_on_heartbeats_and_falls_silent_for_the_dead() -> None:
    params = lsp.Params(epoch_limit=20, epoch_millis=50)
    async with lsp.open_server(params=params) as server, open_peer() as living, open_peer() as dead:
        living.remote = dead.remote = server.address
        assert await living.ask(connect(ISN)) == ack(1, ISN)
        assert await dead.ask(connect(5)) == ack(2, 5)

        async def live() -> None:
            while True:
                assert await living.hear() == ack(1, 0)
                await living.say(ack(1, 0))

        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(live)
                with pytest.raises(lsp.ConnectionLost) as caught:
                    await server.read()
                assert caught.value.conn_id == 2
                nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_conversation_with_our_client_that_was_there_first(host: str) -> None:
    async with open_peer(host) as taken:
        port = taken.port
    received: list[bytes] = []

    async def use_client() -> None:
        async with lsp.connect(host, port, params=FAST, isn=ISN) as client:
            received.append(await client.read())
            client.write(b"answer")

    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use_client)
            await trio.sleep(0.12)  # some Connects are refused by the kernel meanwhile
            async with open_peer(host, port) as peer:
                assert await peer.hear() == connect(ISN)
                await peer.say(ack(ID, 0))
                assert await peer.hear() == connect(ISN)
                await peer.say(ack(ID, ISN))
                await peer.say(data(ID, ISN + 1, b"question"))
                answer = await peer.hear(but=connect(ISN))
                while answer == ack(ID, 0):
                    answer = await peer.hear()
                assert answer == ack(ID, ISN + 1)
                flushed = data(ID, ISN + 1, b"answer")
                assert await peer.hear(but=ack(ID, 0)) == flushed
                assert await peer.hear(but=ack(ID, 0)) == flushed  # until it is acknowledged
                await peer.say(ack(ID, ISN + 1))
    assert received == [b"question"]


async def test_our_client_hears_its_server_alone() -> None:
    async with open_peer() as peer, open_peer() as stranger, trio.open_nursery() as nursery:
        clients: list[lsp.Client] = []

        async def use_client() -> None:
            async with lsp.connect("127.0.0.1", peer.port, params=FAST, isn=ISN) as client:
                clients.append(client)
                await trio.sleep_forever()

        nursery.start_soon(use_client)
        assert await peer.hear() == connect(ISN)
        stranger.remote = peer.remote
        await stranger.say(ack(ID, ISN))
        assert await peer.hear() == connect(ISN)  # at the next tick
        await peer.say(ack(ID, ISN), data(ID, ISN + 1, b"1"))
        answer = await peer.hear(but=connect(ISN))
        assert answer in {ack(ID, ISN + 1), ack(ID, 0)}
        await stranger.say(data(ID, ISN + 2, b"evil"))
        await peer.say(data(ID, ISN + 2, b"2"))
        with trio.fail_after(PATIENCE_SECONDS):
            assert [await clients[0].read(), await clients[0].read()] == [b"1", b"2"]
        nursery.cancel_scope.cancel()
