"""What the tests of RPC have in common: two calm machines, a service, raw streams."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from trio440 import rpc
from trio440.core.host import ByteStream, Host
from trio440.errors import RemoteError
from trio440.rpc.hello import Expected, encode_hello
from trio440.rpc.link import READ_BYTES
from trio440.sim.world import World

PORT = 5000
HOSTS = ["server", "client"]


@attrs.frozen
class Number:
    value: int
    pad: bytes = b""


@attrs.frozen
class Text:
    text: str = ""


class Shop(rpc.Service):
    """What the tests ask for."""

    double = rpc.method(Number, Number)
    slow = rpc.method(Number, Number)
    stubborn = rpc.method(Number, Number)
    fail = rpc.method(Text, Text)
    fail_now = rpc.method(Text, Text)
    grow = rpc.method(Number, Number)
    wrong = rpc.method(Number, Number)
    missing = rpc.method(Number, Number)
    who = rpc.method(Text, Text)
    note = rpc.one_way(Number)
    slow_note = rpc.one_way(Number)


@attrs.define
class Book:
    """What the handlers have seen."""

    doubled: list[int] = attrs.field(factory=list)
    started: list[int] = attrs.field(factory=list)
    cancelled: list[int] = attrs.field(factory=list)
    noted: list[int] = attrs.field(factory=list)
    active: int = 0
    most_active: int = 0
    reports: list[Exception] = attrs.field(factory=list)


def make_routes(book: Book, ports: Host) -> rpc.Routes:  # noqa: C901 - a list of handlers
    """``slow`` takes so many seconds; the rest is what its name says."""
    routes = rpc.Routes()

    @routes.answers(Shop.double)
    def double(request: Number, _: rpc.Peer) -> Number:
        book.doubled.append(request.value)
        return Number(2 * request.value, request.pad)

    async def slow(request: Number, _: rpc.Peer) -> Number:
        book.started.append(request.value)
        book.active += 1
        book.most_active = max(book.most_active, book.active)
        try:
            await ports.clock.sleep(request.value)
        except trio.Cancelled:
            book.cancelled.append(request.value)
            raise
        finally:
            book.active -= 1
        return request

    routes.add(Shop.slow, slow)

    @routes.answers(Shop.stubborn)
    async def stubborn(request: Number, _: rpc.Peer) -> Number:
        book.started.append(request.value)
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if request.value:
                raise KeyError from None
        return request

    @routes.answers(Shop.fail)
    async def fail(request: Text, _: rpc.Peer) -> Text:
        if request.text:
            raise RemoteError(request.text, "on purpose")
        raise KeyError("a key")

    @routes.answers(Shop.fail_now)
    def fail_now(request: Text, _: rpc.Peer) -> Text:
        if request.text:
            raise RemoteError(request.text, "on purpose")
        raise KeyError("a key")

    @routes.answers(Shop.grow)
    def grow(request: Number, _: rpc.Peer) -> Number:
        return Number(1, bytes(request.value))

    @routes.answers(Shop.wrong)
    def wrong(request: Number, _: rpc.Peer) -> Any:
        return "no number"

    @routes.answers(Shop.who)
    async def who(_: Text, peer: rpc.Peer) -> Text:
        return Text(str(peer.identity.node_id))

    @routes.takes(Shop.note)
    def note(message: Number, _: rpc.Peer) -> None:
        if message.value < 0:
            raise ValueError(message.value)
        book.noted.append(message.value)

    @routes.takes(Shop.slow_note)
    async def slow_note(message: Number, peer: rpc.Peer) -> None:
        await slow(message, peer)
        book.noted.append(message.value)

    return routes


async def idle(_: Host) -> None:
    await trio.sleep_forever()


def ports_of(world: World, name: str) -> Host:
    """Switch a machine on, with nothing running, and return its ports."""
    return world.start(name, idle).ports


@attrs.frozen
class Pair:
    """A server and the ports of a client's machine."""

    server: rpc.Server
    book: Book
    ports: Host
    host: str

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[rpc.Client]:
        async with rpc.open_client(self.host, PORT, ports=self.ports, **options) as client:
            yield client

    async def stream(self) -> ByteStream:
        return await self.ports.net.connect_tcp(self.host, PORT)

    async def greeted(self, *, silence_seconds: int = 1000) -> ByteStream:
        """Do a client's handshake, and nothing more."""
        stream = await self.stream()
        hello = encode_hello(
            rpc.ANONYMOUS,
            Expected(),
            silence_us=silence_seconds * 1_000_000,
            frame_bytes=1 << 20,
        )
        await stream.send_all(hello)
        assert await stream.receive_some(READ_BYTES)
        return stream


@asynccontextmanager
async def open_pair(world: World, **options: Any) -> AsyncIterator[Pair]:
    """Open a server on the machine "server", to be used from the machine "client"."""
    ports, book = ports_of(world, "server"), Book()
    options = {"report": book.reports.append, **options}
    host = world.machines["server"].address
    async with rpc.open_server(
        PORT, make_routes(book, ports), host=host, ports=ports, **options
    ) as server:
        yield Pair(server, book, ports_of(world, "client"), host)


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait, in virtual time, until something is so."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await trio.sleep(0.001)


async def receive_to_end(stream: ByteStream) -> bytes:
    """Read until the other side closes or breaks the connection."""
    received = bytearray()
    try:
        while data := await stream.receive_some(READ_BYTES):
            received += data
    except trio.BrokenResourceError:
        pass
    return bytes(received)


@asynccontextmanager
async def mute_server(
    world: World, handle: Callable[[ByteStream], Awaitable[None]], *, silence_seconds: float = 4
) -> AsyncIterator[rpc.Client]:
    """A client of a server that does with each connection what ``handle`` does, and no more."""
    ports: Host = ports_of(world, "server")
    limits = rpc.ClientLimits(silence_seconds=silence_seconds, connect_seconds=4)
    listener = await ports.net.listen_tcp(world.machines["server"].address, PORT)

    async def serve(stream: ByteStream) -> None:
        try:
            await handle(stream)
        except trio.BrokenResourceError:
            pass
        finally:
            await stream.aclose()

    async def accept() -> None:
        while True:
            nursery.start_soon(serve, await listener.accept())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        client_ports = ports_of(world, "client")
        async with rpc.open_client("server", PORT, limits=limits, ports=client_ports) as client:
            yield client
        nursery.cancel_scope.cancel()
    await listener.aclose()
