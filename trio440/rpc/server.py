"""The RPC server: accepts connections and serves each in a nursery of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Never, final

import trio

from trio440.core.accepting import accept_next
from trio440.core.host import Address, ByteStream, Host, StreamListener
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.rpc.hello import ANONYMOUS, Identity, busy, encode_answer
from trio440.rpc.holding import Holdings
from trio440.rpc.limits import ServerCounters, ServerLimits, ServerStatistics
from trio440.rpc.replies import Report
from trio440.rpc.service import Routes
from trio440.rpc.serving import Serving, Shared, linger

__all__ = ["Server", "open_server", "serve"]

REFUSALS_AT_A_TIME: Final = 64
"""How many clients that are too many are told so at a time; more are closed without a word."""


@final
class Server:
    """A running server; :func:`open_server` makes one."""

    def __init__(self, address: Address, counters: ServerCounters) -> None:
        self._address = address
        self._counters = counters

    @property
    def address(self) -> Address:
        """Where it listens, with the real port."""
        return self._address

    def statistics(self) -> ServerStatistics:
        """Return what the server has seen so far; bytes sent count when a connection ends."""
        return self._counters.snapshot()


def _ignore(_: Exception) -> None:
    """Report nothing."""


@asynccontextmanager
async def open_server(
    port: int,
    routes: Routes,
    *,
    host: str = "127.0.0.1",
    identity: Identity = ANONYMOUS,
    limits: ServerLimits | None = None,
    report: Report = _ignore,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Server]:
    """Serve for as long as the body runs.

    Handlers run in the server's own nursery. Leaving normally reads no more requests and gives
    the active handlers, and then their answers, :attr:`ServerLimits.flush_seconds`; leaving by
    exception or cancellation cancels them and closes at once. No task is left either way.

    Args:
        port: to listen on; 0 takes any free one.
        routes: what can be asked, fixed from now on.
        host: the address to listen on.
        identity: who this server says it is.
        limits: the bounds; the defaults of :class:`ServerLimits` when None.
        report: hears each ``HandshakeRefused``, ``HandlerFailed`` and ``BadMessage``.
        ports: the machine to run on.

    Raises:
        AddressError: it cannot listen there.
        InvalidParameter: the port is out of range.
        SimulationError: a handler has raised it, in an exception group.
    """
    limits = limits or ServerLimits()
    counters = ServerCounters()
    holdings = Holdings[Serving](limits.held_bytes)
    shared = Shared(dict(routes.by_name), identity, limits, counters, holdings, ports, report)
    listener = await ports.net.listen_tcp(host, port)
    try:
        async with open_service_nursery() as nursery:
            front = _Front(listener, shared)
            nursery.start_soon(front.run)
            yield Server(listener.local_address, counters)
            await front.finish()
    finally:
        await listener.aclose()


async def serve(
    port: int,
    routes: Routes,
    *,
    host: str = "127.0.0.1",
    identity: Identity = ANONYMOUS,
    limits: ServerLimits | None = None,
    report: Report = _ignore,
    ports: Host = REAL_HOST,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Serve until cancelled; for ``nursery.start``, which returns the address.

    The arguments and errors are those of :func:`open_server`.
    """
    async with open_server(
        port, routes, host=host, identity=identity, limits=limits, report=report, ports=ports
    ) as server:
        task_status.started(server.address)
        await trio.Event().wait()
    raise AssertionError  # pragma: no cover - only a cancellation ends the wait


class _Front:
    """Accepts clients and serves them."""

    def __init__(self, listener: StreamListener, shared: Shared) -> None:
        self._listener = listener
        self._shared = shared
        self._accepting = trio.CancelScope()
        self._serving: dict[Serving, None] = {}
        self._served = trio.Event()
        self._refusals = 0

    async def finish(self) -> None:
        """Take no more clients and no more requests, and wait for the last connection's end."""
        self._accepting.cancel()
        await self._listener.aclose()
        for serving in self._serving:
            serving.finish()
        await self._served.wait()

    async def run(self) -> None:
        """Serve until :meth:`finish` is called and the last connection is over."""
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await self._accept(nursery)
        self._served.set()

    async def _accept(self, nursery: trio.Nursery) -> None:
        shared, counters = self._shared, self._shared.counters
        # It is closed where finish() is faster than its cancellation.
        while (stream := await accept_next(self._listener, shared.ports.clock)) is not None:
            full = counters.connections_active >= shared.limits.connections
            if full and not self._evict_idle():
                counters.busy_refusals += 1
                if self._refusals < REFUSALS_AT_A_TIME:
                    self._refusals += 1
                    nursery.start_soon(self._refuse, stream)
                else:
                    await stream.aclose()
                continue
            serving = Serving(stream, shared)
            if self._accepting.cancel_called:
                serving.finish()
            self._serving[serving] = None
            counters.connections += 1
            counters.connections_active += 1
            nursery.start_soon(self._serve, serving)

    def _evict_idle(self) -> bool:
        """Close the client that has asked for nothing for longest; whether there was one."""
        idle = min(self._serving, key=lambda serving: serving.idle_since)
        now, patience = self._shared.ports.clock.now(), self._shared.limits.handshake_seconds
        if now - idle.idle_since < patience:
            return False
        del self._serving[idle]
        self._shared.counters.connections_active -= 1
        idle.evict()
        return True

    async def _serve(self, serving: Serving) -> None:
        try:
            await serving.run()
        finally:
            if serving in self._serving:
                del self._serving[serving]
                self._shared.counters.connections_active -= 1

    async def _refuse(self, stream: ByteStream) -> None:
        shared = self._shared
        try:
            with shared.ports.clock.move_on_after(shared.limits.handshake_seconds):
                await stream.send_all(
                    encode_answer(busy(shared.identity, shared.limits.connections))
                )
                await linger(stream, shared.ports)
        except trio.BrokenResourceError:
            pass
        finally:
            self._refusals -= 1
            await stream.aclose()
