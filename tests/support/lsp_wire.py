"""LSP by hand: the bytes a Go peer sends, and one of our endpoints to send them to.

Nothing here uses the package's own encoder, decoder or checksum. A :class:`Rig` is a connection
of ours, of either role, whose other end is a plain UDP socket: the test writes that end's
datagrams as text and reads ours off the wire.
"""

import base64
from collections.abc import AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    closing,
    suppress,
)
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.sim_network import SimNetwork, open_sim_network
from trio440 import lsp
from trio440.core.host import Address, Net, UdpSocket

__all__ = [
    "ISN",
    "PORT",
    "SERVER",
    "THEIRS",
    "Peer",
    "Rig",
    "Role",
    "Site",
    "ack",
    "cack",
    "checksum_by_words",
    "connect",
    "data",
    "open_client",
    "open_rig",
    "open_server",
    "open_site",
    "wire",
]

ISN: Final = 17
OURS: Final = "10.0.0.1"
THEIRS: Final = "10.0.0.2"
STRANGERS: Final = "10.0.0.3"
PORT: Final = 9999
SERVER: Final = (OURS, PORT)
"""Where our server listens."""
CLIENTS_ID: Final = 7
"""The id that a peer gives our client."""

T = TypeVar("T")
Role: TypeAlias = Literal["server", "client"]


def wire(  # noqa: PLR0917 - the six fields of the wire form, in its order
    kind: int, conn_id: int, seq_num: int, size: int, checksum: int, payload: str
) -> str:
    """One datagram as Go's encoder writes it; ``payload`` is JSON: a string in quotes or null."""
    return (
        f'{{"Type":{kind},"ConnID":{conn_id},"SeqNum":{seq_num},"Size":{size},'
        f'"Checksum":{checksum},"Payload":{payload}}}'
    )


def connect(isn: int) -> str:
    """A Connect."""
    return wire(0, 0, isn, 0, 0, "null")


def ack(conn_id: int, seq_num: int) -> str:
    """An Ack; with number 0 a heartbeat."""
    return wire(2, conn_id, seq_num, 0, 0, "null")


def cack(conn_id: int, seq_num: int) -> str:
    """A cumulative Ack."""
    return wire(3, conn_id, seq_num, 0, 0, "null")


def data(
    conn_id: int,
    seq_num: int,
    payload: bytes,
    *,
    size: int | None = None,
    checksum: int | None = None,
) -> str:
    """A Data; what is not given is told truthfully."""
    told = len(payload) if size is None else size
    if checksum is None:
        checksum = checksum_by_words(conn_id, seq_num, told, payload)
    text = base64.b64encode(payload).decode()
    return wire(1, conn_id, seq_num, told, checksum, f'"{text}"')


def checksum_by_words(conn_id: int, seq_num: int, size: int, payload: bytes) -> int:
    """The checksum, one 16-bit word after the other."""
    total = 0
    for number in (conn_id, seq_num, size):
        total += ((number & 0xFFFF) + (number >> 16 & 0xFFFF)) & 0xFFFF
    even = payload + bytes(len(payload) % 2)
    for low, high in zip(even[::2], even[1::2], strict=True):
        total += low | high << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class Peer:
    """A plain UDP socket on a machine of its own that speaks to one address."""

    def __init__(self, network: SimNetwork, socket: UdpSocket, remote: Address) -> None:
        self.network = network
        self.socket = socket
        self.remote = remote

    @property
    def address(self) -> Address:
        return self.socket.local_address

    async def say(self, *datagrams: str | bytes) -> list[str]:
        """Send datagrams one after the other; return what has come back without time passing."""
        for datagram in datagrams:
            raw = datagram.encode() if isinstance(datagram, str) else datagram
            self.socket.send_nowait([(raw, self.remote)])
        return await self.hear()

    async def hear(self) -> list[str]:
        """Return what has arrived by now and was not returned before."""
        await wait_all_tasks_blocked()
        return [raw.decode() for raw, _ in self.socket.receive_nowait(1_000_000)]


class Ours(Protocol):
    """Our end of the connection, of either role."""

    def write(self, payload: bytes) -> None:
        """Write without waiting."""

    async def read(self) -> bytes:
        """Read the next message."""

    def close(self) -> None:
        """Close without waiting."""

    def statistics(self) -> lsp.ConnectionStatistics:
        """Count."""


class _OurServer(Ours):
    def __init__(self, server: lsp.Server, conn_id: int) -> None:
        self._server = server
        self._conn_id = conn_id

    def write(self, payload: bytes) -> None:
        self._server.write(self._conn_id, payload)

    async def read(self) -> bytes:
        conn_id, payload = await self._server.read()
        assert conn_id == self._conn_id
        return payload

    def close(self) -> None:
        self._server.close_conn(self._conn_id)

    def statistics(self) -> lsp.ConnectionStatistics:
        return self._server.connection_statistics(self._conn_id)


class _OurClient(Ours):
    def __init__(self, client: lsp.Client) -> None:
        self._client = client

    def write(self, payload: bytes) -> None:
        self._client.write(payload)

    async def read(self) -> bytes:
        return await self._client.read()

    def close(self) -> None:
        self._client.close_nowait()

    def statistics(self) -> lsp.ConnectionStatistics:
        return self._client.statistics()


@attrs.define
class Rig:
    """A connection of ours with a peer that is spoken by hand; the handshake is done."""

    ours: Ours
    peer: Peer
    conn_id: int
    stranger: Peer
    """Another address, which has no connection."""
    opened_at: float = attrs.field(factory=trio.current_time)

    async def say(self, *datagrams: str | bytes) -> list[str]:
        """Let the peer send, and return what we answered."""
        return await self.peer.say(*datagrams)

    async def hear(self) -> list[str]:
        """Return what we have sent to the peer by now."""
        return await self.peer.hear()

    async def readable(self) -> list[bytes]:
        """Read everything that is readable now."""
        found: list[bytes] = []

        async def read() -> None:
            while True:
                found.append(await self.ours.read())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        return found

    def data(self, number: int, payload: bytes) -> str:
        """The ``number``-th Data of either direction, counted from 1."""
        return data(self.conn_id, ISN + number, payload)

    def ack(self, number: int) -> str:
        """The Ack of the ``number``-th Data."""
        return ack(self.conn_id, ISN + number)

    @property
    def heartbeat(self) -> str:
        """The heartbeat of either side."""
        return ack(self.conn_id, 0)

    async def until(self, seconds: float) -> list[str]:
        """Let time pass until ``seconds`` after the opening; return what was heard meanwhile."""
        await trio.sleep_until(self.opened_at + seconds)
        return await self.hear()

    async def live_until(self, seconds: float, period: float) -> list[tuple[float, str]]:
        """As :meth:`until`, with a heartbeat of the peer in the middle of every period.

        Returns what was heard with its time in seconds after the opening.
        """
        start = len(self.peer.network.wire)
        middle = self.opened_at + period / 2
        while middle < self.opened_at + seconds:
            if middle >= trio.current_time():
                await trio.sleep_until(middle)
                await self.say(self.heartbeat)
            middle += period
        await self.until(seconds)
        return [
            (round(record.time - self.opened_at, 6), record.data.decode())
            for record in self.peer.network.wire[start:]
            if record.source == self.peer.remote
        ]


class Site:
    """A network with our machine on it; peers get machines of their own."""

    def __init__(self, network: SimNetwork) -> None:
        self.network = network
        self.ports = network.host(OURS, seed=2)
        self._machines: dict[str, Net] = {}
        self._sockets = ExitStack()

    async def peer(self, host: str = THEIRS, port: int = 0, *, remote: Address = SERVER) -> Peer:
        """Bind another plain socket."""
        if host not in self._machines:
            self._machines[host] = self.network.at(host)
        socket = self._sockets.enter_context(
            closing(await self._machines[host].bind_udp(host, port))
        )
        return Peer(self.network, socket, remote)

    def close(self) -> None:
        """Close the peers' sockets."""
        self._sockets.close()


@asynccontextmanager
async def open_site() -> AsyncIterator[Site]:
    """Open a site; at its end only the peers' sockets may be open, and are closed."""
    async with open_sim_network(1) as network:
        site = Site(network)
        try:
            yield site
        finally:
            site.close()
        assert network.open_endpoints == []


class _Done(Exception):
    """Leaves a context by an exception, which aborts instead of flushing."""


@asynccontextmanager
async def _aborted(opening: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    with suppress(_Done):
        async with opening as opened:
            yield opened
            raise _Done


def open_server(
    site: Site, params: lsp.Params | None = None, limits: lsp.Limits | None = None
) -> AbstractAsyncContextManager[lsp.Server]:
    """Open our server, which is aborted at the end."""
    host, port = SERVER
    return _aborted(
        lsp.open_server(port, host=host, params=params, limits=limits, ports=site.ports)
    )


def open_client(
    site: Site,
    params: lsp.Params | None = None,
    limits: lsp.Limits | None = None,
    *,
    isn: int | None = ISN,
) -> AbstractAsyncContextManager[lsp.Client]:
    """Connect our client to the peer's machine; it is aborted at the end."""
    return _aborted(
        lsp.connect(THEIRS, PORT, params=params, limits=limits, isn=isn, ports=site.ports)
    )


@asynccontextmanager
async def open_rig(
    role: Role, params: lsp.Params | None = None, limits: lsp.Limits | None = None
) -> AsyncIterator[Rig]:
    """Open a connection whose this side is of the ``role``; our side is aborted at the end."""
    async with open_site() as site:
        stranger = await site.peer(STRANGERS)
        if role == "server":
            async with open_server(site, params, limits) as server:
                peer = await site.peer()
                assert await peer.say(connect(ISN)) == [ack(1, ISN)]
                yield Rig(_OurServer(server, 1), peer, 1, stranger)
        else:
            peer = await site.peer(port=PORT)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_accept, peer, stranger)
                async with open_client(site, params, limits) as client:
                    yield Rig(_OurClient(client), peer, CLIENTS_ID, stranger)


async def _accept(*peers: Peer) -> None:
    """Answer the one Connect that comes, and let all peers know from where."""
    [(raw, address)] = await peers[0].socket.receive()
    assert raw.decode() == connect(ISN)
    for peer in peers:
        peer.remote = address
    peers[0].socket.send_nowait([(ack(CLIENTS_ID, ISN).encode(), address)])
