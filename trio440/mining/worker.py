"""The miner: joins a server and works for it until the server is lost."""

from collections.abc import Callable
from typing import Final, NoReturn

from trio440 import lsp
from trio440.core import Chan
from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import InvalidParameter, MiningError, ServerLost
from trio440.mining.hashing import Found, HashEngine
from trio440.mining.messages import Join, Request, Result, decode_untrusted, encode
from trio440.mining.ranges import NonceRange

__all__ = ["Throttled", "work"]

CHUNKS_AHEAD: Final = 16
"""Requests taken in while one is worked on; more wait in the connection's receive buffer."""


async def work(
    host: str,
    port: int,
    engine: HashEngine,
    *,
    params: lsp.Params | None = None,
    ports: Host = REAL_HOST,
    on_chunk: Callable[[NonceRange, Found], None] | None = None,
) -> NoReturn:
    """Join the server and search what it asks for, one chunk after another, for ever.

    The next chunks are taken in while one is searched, and the connection is kept alive all the
    time. A lost server and a cancellation both stop a running search.

    Args:
        host: the server's name or literal.
        port: the server's UDP port.
        engine: does the searching; it stays open.
        params: the numbers of LSP, equal on all sides; None: the course's defaults.
        ports: the machine to run on.
        on_chunk: is told of each chunk that was answered.

    Raises:
        ConnectFailed: there is no server.
        ServerLost: the server fell silent.
        BadMessage: the server sent what is no message.
        MiningError: the server sent what miners are not sent.
        ResolutionFailed: the host has no address.
        InvalidParameter: the port is out of range.
        EngineFailed: a process of the engine died.
    """
    try:
        async with lsp.connect(host, port, params=params, ports=ports) as client:
            client.write(encode(Join()))
            chunks = Chan[Request](CHUNKS_AHEAD)
            async with open_service_nursery() as nursery:
                nursery.start_soon(_take_in, client, chunks)
                async for request in chunks:
                    found = await engine.search(request.text, request.nonces)
                    client.write(encode(Result(found.hash, found.nonce)))
                    if on_chunk is not None:
                        on_chunk(request.nonces, found)
    except (lsp.ConnectionLost, ExceptionGroup) as error:
        if not _is_loss(error):
            raise
        raise ServerLost("the mining server fell silent") from None
    raise AssertionError("the channel of chunks is never closed")


def _is_loss(error: Exception) -> bool:
    """Whether the server was lost; a search that ends at that moment notices it, too."""
    if isinstance(error, ExceptionGroup):
        return error.split(lsp.ConnectionLost)[1] is None
    return isinstance(error, lsp.ConnectionLost)


async def _take_in(client: lsp.Client, chunks: Chan[Request]) -> None:
    while True:
        message = decode_untrusted(await client.receive())
        if not isinstance(message, Request):
            raise MiningError(f"the server sent a {type(message).__name__} to a miner")
        await chunks.send(message)


class Throttled:
    """A hash engine slowed down to a given speed, for trying out how work is shared."""

    def __init__(
        self, engine: HashEngine, nonces_per_second: float, *, ports: Host = REAL_HOST
    ) -> None:
        """Wrap ``engine``; raises InvalidParameter unless the speed is positive."""
        if not nonces_per_second > 0:
            raise InvalidParameter("nonces_per_second", nonces_per_second, "positive")
        self._engine = engine
        self._speed = nonces_per_second
        self._ports = ports

    @property
    def name(self) -> str:
        """The name of the engine that does the work."""
        return self._engine.name

    @property
    def lanes(self) -> int:
        """How many threads or processes work at once."""
        return self._engine.lanes

    async def search(self, text: str, nonces: NonceRange) -> Found:
        """Search, and return no sooner than the speed allows."""
        until = self._ports.clock.now() + nonces.size / self._speed
        found = await self._engine.search(text, nonces)
        await self._ports.clock.sleep_until(until)
        return found
