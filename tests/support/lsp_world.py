"""LSP on the simulated network under virtual time: one server machine, many client machines.

A world watches the wire through the protocol's own decoder and disturbs it: cut what fits a
condition, switch the network off, or change each packet. Every test gives it a seed, which
fixes latencies, payloads and phases, and every wait in it is bounded in virtual time.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import pytest
import trio

from tests.support.sim_network import SimNetwork, open_sim_network
from trio440 import lsp
from trio440.core.host import Address, Host, UdpSocket
from trio440.core.lifetimes import open_service_nursery
from trio440.lsp.message import Ack, CAck, Data, Message, decode_untrusted, encode
from trio440.sim.faults import Weather

__all__ = [
    "LATENCY_STEP",
    "SERVER",
    "LspWorld",
    "Packet",
    "RawPeer",
    "collect",
    "echo_forever",
    "echo_in_turn",
    "echo_pipelined",
    "is_ack",
    "is_anything",
    "is_data",
    "open_pair",
    "open_world",
    "read_to_loss",
    "running",
    "seeds",
    "together",
]

SERVER: Final[Address] = ("10.0.0.1", 9999)
VIRTUAL_SECONDS: Final = 3600.0
"""Far more than any scenario takes: without it a hang would let epochs pass for ever."""

LATENCY_STEP: Final = 250
"""Microseconds. Datagrams arrive at multiples of it: those that meet at one instant are handled
in one batch, as on a busy port, and cost the event loop one turn."""

T = TypeVar("T")


def seeds(count: int) -> pytest.MarkDecorator:
    """Run a test under ``count`` seeds, of which all but a third are left to a campaign.

    Each is visible in the test's id.
    """
    here = (count + 2) // 3
    return pytest.mark.parametrize(
        "seed",
        [
            pytest.param(seed, marks=() if seed < here else pytest.mark.campaign, id=f"seed{seed}")
            for seed in range(count)
        ],
    )


@attrs.frozen
class Packet:
    """One datagram on the wire."""

    time: float
    source: Address
    destination: Address
    message: Message | None

    @property
    def from_server(self) -> bool:
        return self.source == SERVER

    @property
    def client(self) -> Address:
        return self.destination if self.from_server else self.source

    @property
    def number(self) -> int:
        assert self.message is not None
        return self.message.seq_num


class RawPeer:
    """A UDP socket of its own machine that says to the server whatever a test wants."""

    def __init__(self, socket: UdpSocket) -> None:
        self._socket = socket

    @property
    def address(self) -> Address:
        return self._socket.local_address

    def say(self, *messages: Message) -> None:
        """Send messages to the server, in this order."""
        self._socket.send_nowait([(encode(message), SERVER) for message in messages])

    async def ask(self, *messages: Message) -> list[Message | None]:
        """Send messages and return all that has arrived 10 ms later, when answers have come."""
        self.say(*messages)
        await trio.sleep(0.01)
        return [decode_untrusted(datagram) for datagram, _ in self._socket.receive_nowait(1024)]


Condition: TypeAlias = Callable[[Packet], bool]
Disturbance: TypeAlias = Callable[[Packet], Iterable[tuple[float, Message]]]
"""What travels in a packet's place: messages, each with a delay in seconds."""


def is_data(packet: Packet) -> bool:
    return isinstance(packet.message, Data)


def is_ack(packet: Packet) -> bool:
    """Whether it is an Ack or CAck, heartbeats included."""
    return isinstance(packet.message, Ack | CAck)


def is_anything(_packet: Packet) -> bool:
    return True


class LspWorld:
    """Made by :func:`open_world`."""

    def __init__(self, network: SimNetwork, rng: random.Random) -> None:
        self.network = network
        self.rng = rng
        self.server_ports = network.host(SERVER[0], seed=1)
        self._machines = 0

    def now(self) -> float:
        return trio.current_time()

    def new_machine(self) -> Host:
        """Give a client machine of its own."""
        return self.network.host(self._next_address(), seed=self.rng.getrandbits(32))

    def open_server(
        self, params: lsp.Params, limits: lsp.Limits | None = None
    ) -> AbstractAsyncContextManager[lsp.Server]:
        return lsp.open_server(
            SERVER[1], host=SERVER[0], params=params, limits=limits, ports=self.server_ports
        )

    def connect(
        self,
        params: lsp.Params,
        *,
        isn: int | None = None,
        limits: lsp.Limits | None = None,
        ports: Host | None = None,
    ) -> AbstractAsyncContextManager[lsp.Client]:
        return lsp.connect(
            SERVER[0],
            SERVER[1],
            params=params,
            limits=limits,
            isn=isn,
            ports=ports or self.new_machine(),
        )

    @asynccontextmanager
    async def open_clients(
        self, count: int, params: lsp.Params, *, spread_epochs: float = 0.0
    ) -> AsyncIterator[list[lsp.Client]]:
        """Connect clients one after another, their epochs out of phase by up to the spread."""
        clients: list[lsp.Client] = []
        spread_seconds = spread_epochs * params.epoch_millis / 1000
        async with AsyncExitStack() as stack:
            for _ in range(count):
                await trio.sleep(self.rng.uniform(0, spread_seconds / count))
                clients.append(await stack.enter_async_context(self.connect(params)))
            yield clients

    def texts(self, count: int) -> list[bytes]:
        """Make payloads, all different and of different lengths."""
        return [b"%d:" % i + self.rng.randbytes(self.rng.randrange(30)) for i in range(count)]

    @asynccontextmanager
    async def open_peer(self) -> AsyncIterator[RawPeer]:
        """Open a peer that has not said anything yet; its datagrams keep their order."""
        host = self._next_address()
        weather = Weather(delay=4 * LATENCY_STEP, jitter=0)
        self.network.link(host, SERVER[0], weather)
        self.network.link(SERVER[0], host, weather)
        with closing(await self.network.at(host).bind_udp(host)) as socket:
            yield RawPeer(socket)

    def _next_address(self) -> str:
        self._machines += 1
        return f"10.0.{self._machines // 250 + 1}.{self._machines % 250 + 1}"

    # The wire

    def packets(self, condition: Condition, *, since: float = 0.0) -> list[Packet]:
        """Return what was sent from ``since`` on, lost packets included, in order."""
        records = (record for record in self.network.wire if record.time >= since)
        packets = (Packet(*record[:3], decode_untrusted(record.data)) for record in records)
        return [packet for packet in packets if condition(packet)]

    def data(self, *, since: float = 0.0, from_server: bool | None = None) -> list[Packet]:
        """Return the Data sent from ``since`` on, by one side or by both."""
        return [
            packet
            for packet in self.packets(is_data, since=since)
            if from_server is None or packet.from_server is from_server
        ]

    def disturb(self, disturbance: Disturbance) -> None:
        """Let the disturbance decide about every packet sent from now on."""

        def decide(
            data: bytes, source: Address, destination: Address
        ) -> Iterable[tuple[int, bytes]]:
            packet = Packet(self.now(), source, destination, decode_untrusted(data))
            return [
                (round(seconds * 1e6), encode(message)) for seconds, message in disturbance(packet)
            ]

        self.network.filter = decide

    def cut(self, condition: Condition) -> None:
        """Lose every packet that fits."""

        def lose(packet: Packet) -> Iterable[tuple[float, Message]]:
            assert packet.message is not None
            return [] if condition(packet) else [(0.0, packet.message)]

        self.disturb(lose)

    def switch_off(self) -> None:
        """Lose everything."""
        self.network.filter = lambda _data, _source, _destination: ()

    def mend(self) -> None:
        """Lose and change nothing more."""
        self.network.filter = None


@asynccontextmanager
async def open_world(seed: int) -> AsyncIterator[LspWorld]:
    """Open a world with latencies of 0.25 to 3 ms; at its end nothing may be left open."""
    rng = random.Random(seed)
    with trio.fail_after(VIRTUAL_SECONDS):
        async with open_sim_network(rng.getrandbits(64), grain=LATENCY_STEP) as network:
            network.weather(delay=1, jitter=12 * LATENCY_STEP - 1)
            yield LspWorld(network, rng)
            assert network.open_endpoints == []


@asynccontextmanager
async def running(task: Callable[..., Awaitable[object]], *args: Any) -> AsyncIterator[None]:
    """Run a task beside the body, and cancel it behind."""
    async with open_service_nursery() as nursery:
        nursery.start_soon(task, *args)
        yield


async def together(tasks: Iterable[Awaitable[T]]) -> list[T]:
    """Run all at once and return what they return, in order."""
    results: dict[int, T] = {}

    async def run(index: int, task: Awaitable[T]) -> None:
        results[index] = await task

    async with trio.open_nursery() as nursery:
        for index, task in enumerate(tasks):
            nursery.start_soon(run, index, task)
    return [results[index] for index in sorted(results)]


async def echo_forever(server: lsp.Server, pause: Callable[[], float] = lambda: 0.0) -> None:
    """Write back whatever arrives, one message after another, after a pause in seconds."""
    while True:
        conn_id, payload = await server.read()
        if seconds := pause():
            await trio.sleep(seconds)
        server.write(conn_id, payload)


async def echo_in_turn(client: lsp.Client, texts: Sequence[bytes]) -> None:
    """Write, read back, compare; then the next."""
    for text in texts:
        client.write(text)
        assert await client.read() == text


async def echo_pipelined(client: lsp.Client, texts: Sequence[bytes]) -> None:
    """Write all, then read all back."""
    for text in texts:
        client.write(text)
    for text in texts:
        assert await client.read() == text


async def collect(read: Callable[[], Awaitable[T]], *, seconds: float) -> list[T]:
    """Read all that becomes readable within ``seconds``; a read that raises fails the test."""
    found: list[T] = []
    with trio.move_on_after(seconds):
        while True:
            found.append(await read())
    return found


async def read_to_loss(client: lsp.Client) -> list[bytes]:
    """Read until the loss is reported, and return what came before it."""
    found: list[bytes] = []
    loss: lsp.ConnectionLost | None = None
    while loss is None:
        try:
            found.append(await client.read())
        except lsp.ConnectionLost as error:
            loss = error
    assert loss.conn_id == client.conn_id
    return found


@asynccontextmanager
async def open_pair(
    params: lsp.Params, seed: int = 0
) -> AsyncIterator[tuple[LspWorld, lsp.Server, lsp.Client]]:
    """Open a world with one client; its connection has id 1."""
    async with (
        open_world(seed) as world,
        world.open_server(params) as server,
        world.connect(params) as client,
    ):
        yield world, server, client
