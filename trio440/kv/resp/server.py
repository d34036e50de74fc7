"""A RESP server over one namespace: accepts clients and gives each a session."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from trio440.core.accepting import accept_next
from trio440.core.host import Address, Host, StreamListener
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.core.refusing import Refusals
from trio440.kv.namespace import AtomicNamespace, Namespace
from trio440.kv.resp.batch import Asking
from trio440.kv.resp.calls import Cursors, Facts
from trio440.kv.resp.limits import Counters, Limits, Statistics
from trio440.kv.resp.memory import Memory
from trio440.kv.resp.notifications import Hub
from trio440.kv.resp.reactor import Reactor
from trio440.kv.resp.replies import error
from trio440.kv.resp.session import Session, Shared

__all__ = ["RespServer", "open_resp_server", "serve_resp"]

BACKLOG: Final = 511
"""Connections that may wait to be accepted, as in Redis."""


class RespServer:
    """A running server; :func:`open_resp_server` and :func:`serve_resp` make one."""

    def __init__(self, address: Address, counters: Counters) -> None:
        self._address = address
        self._counters = counters

    @property
    def address(self) -> Address:
        """Where it listens, with the real port."""
        return self._address

    def statistics(self) -> Statistics:
        """Return what the server has seen so far."""
        return self._counters.snapshot()


@asynccontextmanager
async def open_resp_server(
    namespace: Namespace,
    port: int,
    *,
    host: str = "127.0.0.1",
    limits: Limits | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[RespServer]:
    """Serve a namespace to clients of Redis for as long as the body runs.

    Leaving normally takes no more requests, lets the batches under way end, and gives each client
    :attr:`Limits.flush_seconds` to read its answers; leaving by exception or cancellation closes
    every connection at once. No task is left either way.

    Args:
        namespace: what the commands are asked of; it is not closed here.
        port: to listen on; 0 takes any free one.
        host: the address to listen on. There are no passwords: whoever reaches it may do all.
        limits: the bounds; the defaults of :class:`Limits` when None.
        ports: the machine to run on.

    Raises:
        AddressError: it cannot listen there.
        InvalidParameter: the port is out of range.
    """
    limits = limits or Limits()
    counters = Counters()
    listener = await ports.net.listen_tcp(host, port, backlog=BACKLOG)
    began = ports.clock.now()
    facts = Facts(
        limits,
        counters,
        Cursors(limits.cursors),
        namespace.engine,
        atomic=isinstance(namespace, AtomicNamespace),
        port=listener.local_address[1],
        wall_ms=lambda: ports.wall.now_ns() // 1_000_000,
        uptime_seconds=lambda: int(ports.clock.now() - began),
    )
    try:
        async with open_service_nursery() as nursery:
            asking = Asking(namespace, counters)
            reactor = None
            if asking.takes_batches and limits.idle_seconds is None:
                group = ports.net.open_stream_group()
                reactor = Reactor(group, asking, limits, counters, ports.clock)
                nursery.start_soon(reactor.run)
            shared = Shared(
                facts,
                asking,
                Hub(namespace, counters, nursery),
                Memory(limits.memory_bytes, counters),
                ports,
                reactor,
            )
            front = _Front(listener, shared)
            nursery.start_soon(front.run)
            yield RespServer(listener.local_address, counters)
            await front.finish()
    finally:
        await listener.aclose()


async def serve_resp(
    namespace: Namespace,
    port: int,
    *,
    host: str = "127.0.0.1",
    limits: Limits | None = None,
    ports: Host = REAL_HOST,
    task_status: trio.TaskStatus[RespServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve clients until cancelled; for ``nursery.start``, which returns the :class:`RespServer`.

    The arguments and errors are those of :func:`open_resp_server`.
    """
    async with open_resp_server(namespace, port, host=host, limits=limits, ports=ports) as server:
        task_status.started(server)
        await trio.Event().wait()


class _Front:
    """Accepts clients and runs their sessions."""

    def __init__(self, listener: StreamListener, shared: Shared) -> None:
        self._listener = listener
        self._shared = shared
        self._accepting = trio.CancelScope()
        self._sessions: dict[Session, None] = {}
        self._served = trio.Event()
        self._refusals = Refusals(shared.ports.clock)
        self._last_number = 0

    async def finish(self) -> None:
        """Take no more clients and no more requests, and wait for the last answers."""
        self._accepting.cancel()
        await self._listener.aclose()
        for session in list(self._sessions):
            session.finish()
        with self._shared.ports.clock.move_on_after(self._shared.limits.flush_seconds):
            await self._served.wait()

    async def run(self) -> None:
        """Serve until :meth:`finish` is called and the last session is over."""
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await self._accept(nursery)
        self._served.set()

    async def _accept(self, nursery: trio.Nursery) -> None:
        shared = self._shared
        while (stream := await accept_next(self._listener, shared.ports.clock)) is not None:
            if shared.counters.clients >= shared.limits.clients:
                shared.counters.clients_refused += 1
                words = error("ERR max number of clients reached")
                await self._refusals.refuse(stream, words, nursery)
                continue
            self._last_number += 1
            session = Session(stream, self._last_number, shared)
            if self._accepting.cancel_called:
                session.finish()
            self._sessions[session] = None
            shared.counters.clients += 1
            shared.counters.clients_served += 1
            nursery.start_soon(self._serve, session)

    async def _serve(self, session: Session) -> None:
        try:
            await session.run()
        finally:
            del self._sessions[session]
            self._shared.counters.clients -= 1
