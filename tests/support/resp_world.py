"""A RESP server over the engine in memory on a simulated network, and clients that speak bytes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from tests.support.resp_script import answers_in
from tests.support.sim_network import SimNetwork, open_sim_network
from trio440 import kv
from trio440.core.host import ByteStream, Host
from trio440.kv.resp import Limits, RespServer, open_resp_server

SERVER = "10.0.0.1"
PORT = 6379


@attrs.define
class RespClient:
    """One connection; what was received in part is kept."""

    stream: ByteStream
    rest: bytes = b""

    async def answers(self, count: int) -> list[bytes]:
        """Wait for so many answers."""
        found: list[bytes] = []
        while True:
            answers, self.rest = answers_in(self.rest)
            found += answers
            if len(found) >= count:
                assert len(found) == count, found
                return found
            data = await self.stream.receive_some()
            assert data, (found, self.rest)
            self.rest += data

    async def say(self, line: str, count: int = 1) -> list[bytes]:
        """Send an inline command and wait for its answers."""
        await self.stream.send_all(f"{line}\r\n".encode())
        return await self.answers(count)

    async def ask(self, line: str) -> bytes:
        """Send an inline command and wait for its answer."""
        (answer,) = await self.say(line)
        return answer

    async def to_the_end(self) -> bytes:
        """Return everything that comes until the server closes."""
        while data := await self.stream.receive_some():
            self.rest += data
        return self.rest


@attrs.frozen
class RespWorld:
    """A machine for the server, and one for its clients."""

    network: SimNetwork
    server_ports: Host
    client_ports: Host

    @asynccontextmanager
    async def serve(
        self, limits: Limits | None = None, namespace: kv.Namespace | None = None
    ) -> AsyncIterator[RespServer]:
        """Serve a namespace, a new one in memory without one."""
        async with kv.open_memory(ports=self.server_ports) as memory:
            served = memory if namespace is None else namespace
            async with open_resp_server(
                served, PORT, host=SERVER, limits=limits, ports=self.server_ports
            ) as server:
                yield server

    async def connect(self) -> RespClient:
        """Open a connection."""
        return RespClient(await self.client_ports.net.connect_tcp(SERVER, PORT))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[RespClient]:
        """Have a connection for as long as the body runs."""
        client = await self.connect()
        try:
            yield client
        finally:
            await client.stream.aclose()

    @asynccontextmanager
    async def client_of_left_server(
        self, namespace: kv.Namespace
    ) -> AsyncIterator[tuple[RespClient, trio.Event]]:
        """Have a connection to a server that is left when the event is set."""
        leave = trio.Event()
        started = trio.Event()

        async def serve() -> None:
            async with self.serve(namespace=namespace):
                started.set()
                await leave.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await started.wait()
            async with self.client() as client:
                yield client, leave


@asynccontextmanager
async def open_resp_world() -> AsyncIterator[RespWorld]:
    """Make a network with two machines; nothing may be left open on it."""
    async with open_sim_network(1) as network:
        yield RespWorld(network, network.host(SERVER, seed=2), network.host("10.0.0.2", seed=3))
        assert network.open_endpoints == []


def packed(words: Sequence[bytes]) -> bytes:
    """Encode a request as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)]
    return b"".join(parts)
