"""The server's side: many connections on one UDP port, read together or a handler for each."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

import trio

from trio440.core.host import Address, Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import (
    ConnectionClosed,
    ConnectionLost,
    FlushFailed,
    UnknownConnection,
)
from trio440.lsp.connection import Connection
from trio440.lsp.endpoint import Endpoint, EndpointStatistics
from trio440.lsp.message import Connect
from trio440.lsp.params import Limits, Params
from trio440.lsp.session import Event, Session, State
from trio440.lsp.statistics import ConnectionStatistics

__all__ = ["Server", "open_server", "serve"]


class _Acceptor:
    """Gives new connections their ids and keeps a port within its limits.

    A connection counts until it has ended and its user is done with it, so that neither unread
    losses nor handlers that linger can pile up.
    """

    def __init__(
        self,
        limits: Limits,
        on_accept: Callable[[Connection], None],
        on_event: Callable[[Connection, Event], None],
    ) -> None:
        self.closing = False
        self._limits = limits
        self._on_accept = on_accept
        self._on_event = on_event
        self._held: set[Connection] = set()
        self._in_use: set[Connection] = set()
        self._half_open: dict[Connection, None] = {}
        self._last_id = 0
        self._params: Params
        self.endpoint: Endpoint

    async def open(self, host: str, port: int, params: Params, ports: Host) -> None:
        """Bind the port; ``endpoint`` is there afterwards."""
        socket = await ports.net.bind_udp(host, port)
        self._params = params
        self.endpoint = Endpoint(
            socket, params, ports, accept=self._accept, on_event=self._handle_event
        )

    def begin_use(self, connection: Connection) -> None:
        """Count the connection until :meth:`end_use`, also when it has ended."""
        self._in_use.add(connection)

    def end_use(self, connection: Connection) -> None:
        """Its user is done with the connection."""
        self._in_use.discard(connection)
        if connection.session.over:
            self._held.discard(connection)

    def _accept(self, address: Address, message: Connect) -> Connection | None:
        if self.closing:
            self.endpoint.dropped["closing"] += 1
            return None
        oldest: Connection | None = None
        if len(self._half_open) >= self._limits.max_half_open:
            oldest = next(iter(self._half_open))
        gives_its_place = oldest is not None and oldest not in self._in_use
        if len(self._held) - gives_its_place >= self._limits.max_connections:
            self.endpoint.dropped["too many connections"] += 1
            return None
        if oldest is not None:
            oldest.session.drop()
            self.endpoint.transmit(oldest)
        self._last_id += 1
        session = Session(self._params, self._limits, message.seq_num, conn_id=self._last_id)
        connection = Connection(session, address, self.endpoint.transmit, self.endpoint.turn)
        self._half_open[connection] = None
        self._held.add(connection)
        self._on_accept(connection)
        return connection

    def _handle_event(self, connection: Connection, event: Event) -> None:
        if event is Event.ESTABLISHED or connection.session.over:
            self._half_open.pop(connection, None)
        self._on_event(connection, event)
        if connection.session.over and connection not in self._in_use:
            self._held.discard(connection)


class Server:
    """A port with many connections that are read together; made by :func:`open_server`."""

    def __init__(self, limits: Limits) -> None:
        """Start with no port; use :func:`open_server` instead."""
        self._acceptor = _Acceptor(limits, self._add, self._handle_event)
        self._by_id: dict[int, Connection] = {}
        self._closed_here: set[Connection] = set()
        self._ready: deque[Connection] = deque()
        self._is_ready: set[Connection] = set()
        self._paused: set[Connection] = set()
        self._readers = trio.lowlevel.ParkingLot()
        self._lost_in_flush: list[int] = []

    @property
    def address(self) -> Address:
        """The address of the port, with its real number."""
        return self._acceptor.endpoint.local_address

    @property
    def conn_ids(self) -> tuple[int, ...]:
        """The ids of the open connections, oldest first."""
        return tuple(self._by_id)

    async def read(self) -> tuple[int, bytes]:
        """Wait for the next message of any connection and return ``(conn_id, payload)``.

        Connections that have something to read take turns. Cancelled: nothing was taken.

        Raises:
            ConnectionLost: a connection fell silent, and all that arrived in order is read;
                once for each.
            ConnectionClosed: ``close_conn`` closed a connection; once for each.
            trio.ClosedResourceError: the server is closed, also while waiting.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._acceptor.closing:
                raise trio.ClosedResourceError("this server is closed")
            if self._ready:
                break
            await self._readers.park()
        if len(self._ready) > 1:
            self._readers.unpark()
        connection = self._ready.popleft()
        self._is_ready.remove(connection)
        if connection in self._closed_here:
            self._closed_here.remove(connection)
            self._acceptor.end_use(connection)
            raise ConnectionClosed(connection.conn_id)
        session = connection.session
        payload = session.read()
        if payload is None:
            self._acceptor.end_use(connection)
            raise ConnectionLost(connection.conn_id)
        if session.readable or session.over:
            self._make_ready(connection)
        await connection.yield_now_and_then()
        return connection.conn_id, payload

    def write(self, conn_id: int, payload: bytes | bytearray | memoryview) -> None:
        """Send a message without waiting; it is on its way or queued when this returns.

        Raises:
            TypeError: the payload is not bytes-like.
            UnknownConnection: no open connection has this id.
            PayloadTooLarge: its datagram would pass 1472 bytes.
            SendBufferFull: ``Limits.send_buffer`` bytes are written and not acknowledged.
        """
        self._find(conn_id).write(payload)

    async def send(self, conn_id: int, payload: bytes) -> None:
        """Send a message, waiting while the send buffer is full. Cancelled: it was not sent.

        Raises:
            UnknownConnection: no open connection has this id.
            PayloadTooLarge: its datagram would pass 1472 bytes.
            ConnectionLost: the connection fell silent while waiting.
            ConnectionClosed: ``close_conn`` closed it while waiting.
        """
        await self._find(conn_id).send(payload)

    def close_conn(self, conn_id: int) -> None:
        """Close one connection without waiting; what was written to it is still delivered.

        Its unread messages are discarded, and ``read`` raises ``ConnectionClosed`` once.

        Raises:
            UnknownConnection: no open connection has this id.
        """
        connection = self._find(conn_id)
        del self._by_id[conn_id]
        self._paused.discard(connection)
        self._closed_here.add(connection)
        self._acceptor.begin_use(connection)
        self._make_ready(connection)
        connection.close_nowait()

    def pause_reading(self, conn_id: int) -> None:
        """Let ``read`` pass over a connection until :meth:`resume_reading`; idempotent.

        Its messages wait in its receive buffer, and once that is full they are not acknowledged:
        the other side is slowed down. A lost connection is read to its end all the same.

        Raises:
            UnknownConnection: no open connection has this id.
        """
        connection = self._find(conn_id)
        self._paused.add(connection)
        if connection in self._is_ready:
            self._is_ready.remove(connection)
            self._ready.remove(connection)

    def resume_reading(self, conn_id: int) -> None:
        """Let ``read`` give a connection's messages again; idempotent; errors as pausing."""
        connection = self._find(conn_id)
        self._paused.discard(connection)
        if connection.session.readable:
            self._make_ready(connection)

    async def close(self) -> None:
        """Close all connections and wait until what was written to them is acknowledged.

        Unread messages are discarded; new connections are refused meanwhile. When this returns
        nothing is left running; idempotent. Cancelled: everything was aborted.

        Only silence is a loss: this waits for ever for somebody who sends heartbeats and
        acknowledges nothing. Bound it with ``trio.move_on_after``, or call :meth:`abort`.

        Raises:
            FlushFailed: connections fell silent before they had acknowledged everything.
        """
        self._acceptor.closing = True
        self._readers.unpark_all()
        endpoint = self._acceptor.endpoint
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            for connection in list(self._by_id.values()):
                connection.close_nowait()
            self._by_id.clear()
            for connection in list(endpoint.connections.values()):
                await connection.wait_ended()
        finally:
            self._by_id.clear()
            await endpoint.stop_and_wait()
        if self._lost_in_flush:
            lost, self._lost_in_flush = tuple(self._lost_in_flush), []
            raise FlushFailed(lost)

    def abort(self) -> None:
        """Close at once and fall silent; unacknowledged messages may never arrive."""
        self._acceptor.closing = True
        self._by_id.clear()
        self._readers.unpark_all()
        self._acceptor.endpoint.stop()

    def statistics(self) -> EndpointStatistics:
        """Return the counts of the port."""
        return self._acceptor.endpoint.statistics()

    def connection_statistics(self, conn_id: int) -> ConnectionStatistics:
        """Return the counts of one connection.

        Raises:
            UnknownConnection: no open connection has this id.
        """
        return self._find(conn_id).statistics()

    def remote_address(self, conn_id: int) -> Address:
        """Return the other side's address.

        Raises:
            UnknownConnection: no open connection has this id.
        """
        return self._find(conn_id).remote_address

    def _find(self, conn_id: int) -> Connection:
        try:
            return self._by_id[conn_id]
        except KeyError:
            raise UnknownConnection(conn_id) from None

    def _add(self, connection: Connection) -> None:
        self._by_id[connection.conn_id] = connection

    def _handle_event(self, connection: Connection, event: Event) -> None:
        known = connection.conn_id in self._by_id
        if event is Event.READABLE and known:
            self._make_ready(connection)
        elif event is Event.LOST and known:
            del self._by_id[connection.conn_id]
            self._paused.discard(connection)
            self._acceptor.begin_use(connection)
            self._make_ready(connection)
        elif event is Event.LOST and self._acceptor.closing:
            self._lost_in_flush.append(connection.conn_id)
        elif event is Event.DROPPED:
            self._by_id.pop(connection.conn_id, None)
            self._paused.discard(connection)

    def _make_ready(self, connection: Connection) -> None:
        if connection not in self._is_ready and connection not in self._paused:
            self._is_ready.add(connection)
            self._ready.append(connection)
            self._readers.unpark()


@asynccontextmanager
async def open_server(
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    params: Params | None = None,
    limits: Limits | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Server]:
    """Open an LSP server; it accepts connections at once.

    Leaving the context normally waits until everything written is acknowledged, as
    :meth:`Server.close` does, and perhaps for ever; leaving it by an exception or cancellation
    aborts at once.

    Args:
        port: the UDP port, 0 to 65535; 0 takes any free one, see :attr:`Server.address`.
        host: the local name or literal to bind.
        params: the protocol's numbers, equal on both sides; None: the course's defaults.
        limits: what the server spends at most.
        ports: the machine to run on.

    Raises:
        AddressInUse: another socket is bound there.
        AddressUnavailable: no such local address, or not permitted.
        ResolutionFailed: the host has no address.
        InvalidParameter: the port is out of range.
        FlushFailed: on leaving, see :meth:`Server.close`.
    """
    server = Server(limits or Limits())
    acceptor = server._acceptor  # noqa: SLF001 - the class and its maker are one unit
    await acceptor.open(host, port, params or Params(), ports)
    try:
        async with open_service_nursery() as nursery:
            nursery.start_soon(acceptor.endpoint.run)
            yield server
            await server.close()
    finally:
        server.abort()


async def serve(
    handler: Callable[[Connection], Awaitable[object]],
    port: int,
    *,
    host: str = "127.0.0.1",
    params: Params | None = None,
    limits: Limits | None = None,
    ports: Host = REAL_HOST,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve LSP with a task per connection, in the manner of ``trio.serve_tcp``.

    A handler starts when its connection does. When it returns, the connection is closed and
    what it wrote is delivered in the background. The loss of its own connection is a normal end
    for a handler; any other exception ends the server. Cancelled: everything is aborted.

    Args:
        handler: an async function of one connection.
        port: the UDP port, 0 to 65535; 0 takes any free one.
        host: the local name or literal to bind.
        params: the protocol's numbers, equal on both sides; None: the course's defaults.
        limits: what the server spends at most; a running handler's connection counts.
        ports: the machine to run on.
        task_status: ``started`` is given the real address once clients can connect.

    Raises:
        AddressInUse: another socket is bound there.
        AddressUnavailable: no such local address, or not permitted.
        ResolutionFailed: the host has no address.
        InvalidParameter: the port is out of range.
        ExceptionGroup: what handlers raised.
    """
    nursery: trio.Nursery

    async def handle(connection: Connection) -> None:
        try:
            await _run_handler(handler, connection)
        finally:
            acceptor.end_use(connection)

    def start(connection: Connection) -> None:
        acceptor.begin_use(connection)
        nursery.start_soon(handle, connection)

    acceptor = _Acceptor(limits or Limits(), start, lambda _connection, _event: None)
    await acceptor.open(host, port, params or Params(), ports)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(acceptor.endpoint.run)
            task_status.started(acceptor.endpoint.local_address)
    finally:
        acceptor.endpoint.stop()
    raise AssertionError("the server's port ended by itself")


async def _run_handler(
    handler: Callable[[Connection], Awaitable[object]], connection: Connection
) -> None:
    """Run a handler, forgiving it the loss of its connection, alone or in a group."""

    def own_loss(error: BaseException) -> bool:
        return (
            isinstance(error, ConnectionLost)
            and error.conn_id == connection.conn_id
            and connection.session.state is State.LOST
        )

    try:
        await handler(connection)
    except BaseException as error:
        connection.abort()
        group = error if isinstance(error, BaseExceptionGroup) else None
        if group is not None and (rest := group.split(own_loss)[1]):
            raise rest from group.__cause__
        if group is None and not own_loss(error):
            raise
    connection.close_nowait()
