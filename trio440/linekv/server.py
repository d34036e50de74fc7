"""The line-protocol server: a session for each client and one task that owns the store.

::

    client ── lines ──▶ session ── Batch ───▶ owner of the store ── changes ──▶ journal
           ◀── queue ──         ◀── answers ──                  (of a durable server)

The store is never shared: sessions send their requests to its owner over one channel and get
the answers over one of their own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from trio440.core.accepting import accept_next
from trio440.core.channels import Chan
from trio440.core.host import Address, Host, StreamListener
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.core.refusing import Refusals
from trio440.journal import Journal, JournalStatistics
from trio440.linekv.limits import Counters, Limits, Statistics
from trio440.linekv.outbox import HeldAnswers, Pool
from trio440.linekv.owner import open_owner
from trio440.linekv.protocol import error_line
from trio440.linekv.session import Batch, Session

__all__ = ["Server", "open_server", "serve"]


class Server:
    """A running server; :func:`open_server` and :func:`serve` make one."""

    def __init__(self, address: Address, counters: Counters, journal: Journal | None) -> None:
        self._address = address
        self._counters = counters
        self._journal = journal

    @property
    def address(self) -> Address:
        """Where it listens, with the real port."""
        return self._address

    def count_active(self) -> int:
        """Return how many clients are connected."""
        return self._counters.clients_active

    def count_dropped(self) -> int:
        """Return how many clients have gone."""
        return self._counters.clients_dropped

    def statistics(self) -> Statistics:
        """Return what the server has seen so far."""
        return self._counters.snapshot()

    def journal_statistics(self) -> JournalStatistics | None:
        """Return what the journal has done; None for a server that keeps its store in memory."""
        return None if self._journal is None else self._journal.statistics()


@asynccontextmanager
async def open_server(
    port: int,
    *,
    host: str = "127.0.0.1",
    data: str | None = None,
    limits: Limits | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Server]:
    """Serve clients for as long as the body runs.

    Leaving normally takes no more requests and gives each client
    :attr:`Limits.flush_seconds` to read its answers; leaving by exception or cancellation
    closes every connection at once. No task is left either way.

    With ``data`` the server is durable: whoever gets an answer can count on it that every line
    that the same connection sent before, and everything that the answer shows, is on disk, and
    that a server started on the same directory will have it. A journal that fails (a full
    disk, an error) stops for good: every request is then answered with one error line, those
    that read, too, because the store in memory is ahead of the disk; leaving then raises
    ``JournalFailed``.

    Args:
        port: to listen on; 0 takes any free one.
        host: the address to listen on.
        data: the directory of the journal, made when absent; None: the store is in memory alone.
        limits: the bounds; the defaults of :class:`Limits` when None.
        ports: the machine to run on.

    Raises:
        AddressError: it cannot listen there.
        InvalidParameter: the port is out of range, or the limits are too small for what the
            journal holds.
        JournalBusy: another server has the journal open.
        JournalCorrupt: the journal is damaged, or another program's.
        JournalFailed: the disk failed.
    """
    limits = limits or Limits()
    counters = Counters()
    async with open_owner(limits, counters, data, ports) as owner:
        requests = Chan[Batch]()
        listener = await ports.net.listen_tcp(host, port)
        try:
            async with open_service_nursery() as nursery:
                nursery.start_soon(owner.run, requests)
                front = _Front(
                    listener,
                    requests=requests,
                    limits=limits,
                    counters=counters,
                    ports=ports,
                    journal=owner.journal,
                )
                nursery.start_soon(front.run)
                yield Server(listener.local_address, counters, owner.journal)
                await front.finish()
        finally:
            await listener.aclose()


async def serve(
    port: int,
    *,
    host: str = "127.0.0.1",
    data: str | None = None,
    limits: Limits | None = None,
    ports: Host = REAL_HOST,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve clients until cancelled; for ``nursery.start``, which returns the :class:`Server`.

    The arguments and errors are those of :func:`open_server`.
    """
    async with open_server(port, host=host, data=data, limits=limits, ports=ports) as server:
        task_status.started(server)
        await trio.Event().wait()


class _Front:
    """Accepts clients and runs their sessions."""

    def __init__(
        self,
        listener: StreamListener,
        *,
        requests: Chan[Batch],
        limits: Limits,
        counters: Counters,
        ports: Host,
        journal: Journal | None,
    ) -> None:
        self._listener = listener
        self._requests = requests
        self._limits = limits
        self._counters = counters
        self._ports = ports
        self._journal = journal
        self._accepting = trio.CancelScope()
        self._sessions: set[Session] = set()
        self._served = trio.Event()
        self._refusals = Refusals(ports.clock)
        self._pool = Pool(limits, counters)
        self._held = HeldAnswers(limits, counters)

    async def finish(self) -> None:
        """Take no more clients and no more requests, and wait for the last session's end."""
        self._accepting.cancel()
        await self._listener.aclose()
        for session in self._sessions:
            session.finish()
        await self._served.wait()

    async def run(self) -> None:
        """Serve until :meth:`finish` is called and the last session is over."""
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await self._accept(nursery)
        self._served.set()

    async def _accept(self, nursery: trio.Nursery) -> None:
        # It is closed where finish() is faster than its cancellation.
        while (stream := await accept_next(self._listener, self._ports.clock)) is not None:
            if self._counters.clients_active >= self._limits.clients:
                self._counters.clients_refused += 1
                line = error_line(f"too many clients, the limit is {self._limits.clients}")
                await self._refusals.refuse(stream, line, nursery)
                continue
            session = Session(
                stream,
                requests=self._requests,
                limits=self._limits,
                counters=self._counters,
                ports=self._ports,
                journal=self._journal,
                pool=self._pool,
                held=self._held,
            )
            if self._accepting.cancel_called:
                session.finish()
            self._sessions.add(session)
            self._counters.clients_active += 1
            nursery.start_soon(self._serve, session)

    async def _serve(self, session: Session) -> None:
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self._counters.clients_active -= 1
            self._counters.clients_dropped += 1
