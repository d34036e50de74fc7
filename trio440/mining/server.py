"""The mining server: one task owns the scheduler, everything reaches it over LSP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NoReturn

from trio440 import lsp
from trio440.core.host import Address, Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import BadMessage
from trio440.mining.messages import Message, decode_untrusted, encode
from trio440.mining.policy import DEFAULT_CHUNK_SIZES, ChunkSizes
from trio440.mining.scheduler import JobProgress, Scheduler, SchedulerStatistics, Send

__all__ = ["DEFAULT_LIMITS", "MiningServer", "open_mining_server"]

DEFAULT_LIMITS: Final = lsp.Limits(receive_buffer=256 << 10, send_buffer=128 << 10)
"""What one connection may cost: a miner is sent two messages at a time and a client one for each
request, so whoever has over 128 KiB to acknowledge does not acknowledge and is disconnected."""


class MiningServer:
    """A running server; made by :func:`open_mining_server`."""

    def __init__(self, server: lsp.Server, scheduler: Scheduler, ports: Host) -> None:
        """Give the connections of ``server`` to ``scheduler``; see :meth:`run`."""
        self._server = server
        self._scheduler = scheduler
        self._ports = ports

    @property
    def address(self) -> Address:
        """The address of the server's port, with its real number."""
        return self._server.address

    @property
    def miners(self) -> int:
        """How many miners there are now."""
        return self._scheduler.miners

    @property
    def jobs(self) -> int:
        """How many requests are waiting or being served."""
        return self._scheduler.jobs

    def progress(self) -> list[JobProgress]:
        """Return how far each client's first job is, the oldest job first."""
        return self._scheduler.progress()

    def statistics(self) -> SchedulerStatistics:
        """Return what the scheduler has seen so far."""
        return self._scheduler.statistics()

    def lsp_statistics(self) -> lsp.EndpointStatistics:
        """Return the counts of the server's port."""
        return self._server.statistics()

    async def run(self) -> NoReturn:
        """Serve until cancelled; the scheduler belongs to this task."""
        while True:
            deadline = self._scheduler.next_deadline()
            if deadline is None:
                await self._take_next_input()
            else:
                with self._ports.clock.move_on_at(deadline / 1e6) as waiting:
                    await self._take_next_input()
                if waiting.cancelled_caught:
                    # Rounding may put the moment of the deadline a microsecond before it.
                    self._scheduler.on_deadline(max(self._now(), deadline))
            self._carry_out()

    async def _take_next_input(self) -> None:
        """Feed the scheduler with one message, or one ending, of one connection."""
        try:
            conn_id, payload = await self._server.read()
        except (lsp.ConnectionLost, lsp.ConnectionClosed) as ending:
            self._scheduler.disconnected(ending.conn_id, self._now())
            return
        try:
            message = decode_untrusted(payload)
        except BadMessage as error:
            self._scheduler.reject(conn_id, str(error), self._now())
        else:
            self._scheduler.receive(conn_id, message, self._now())

    def _carry_out(self) -> None:
        """Do what the scheduler wants done; who is gone is told of by ``read``."""
        for action in self._scheduler.actions():
            try:
                if isinstance(action, Send):
                    self._send(action.conn_id, action.message)
                else:
                    self._server.close_conn(action.conn_id)
            except lsp.UnknownConnection:
                continue

    def _send(self, conn_id: int, message: Message) -> None:
        try:
            self._server.write(conn_id, encode(message))
        except lsp.SendBufferFull:
            self._server.close_conn(conn_id)

    def _now(self) -> int:
        return int(self._ports.clock.now() * 1e6)


@asynccontextmanager
async def open_mining_server(
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    params: lsp.Params | None = None,
    limits: lsp.Limits | None = None,
    sizes: ChunkSizes = DEFAULT_CHUNK_SIZES,
    ports: Host = REAL_HOST,
) -> AsyncIterator[MiningServer]:
    """Open a mining server; it serves until the context ends.

    Leaving the context normally waits until what was sent is acknowledged: answers reach their
    clients. Leaving it by an exception or cancellation aborts at once. Unfinished jobs are
    dropped either way, and their clients notice by silence.

    Args:
        port: the UDP port, 0 to 65535; 0 takes any free one.
        host: the local name or literal to bind.
        params: the numbers of LSP, equal on all sides; None: the course's defaults.
        limits: what the server's port spends at most; None: :data:`DEFAULT_LIMITS`.
        sizes: the bounds of a chunk of work, in nonces.
        ports: the machine to run on.

    Raises:
        AddressInUse: another socket is bound there.
        AddressUnavailable: no such local address, or not permitted.
        ResolutionFailed: the host has no address.
        InvalidParameter: the port is out of range.
        FlushFailed: on leaving, miners or clients fell silent.
    """
    async with lsp.open_server(
        port, host=host, params=params, limits=limits or DEFAULT_LIMITS, ports=ports
    ) as lsp_server:
        server = MiningServer(lsp_server, Scheduler(sizes), ports)
        async with open_service_nursery() as nursery:
            nursery.start_soon(server.run)
            yield server
