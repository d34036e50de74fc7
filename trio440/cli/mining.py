"""The mining server, worker and client behind ``trio440 mine`` and the course's three scripts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from trio440.cli.progress import LINE_SECONDS, Display, open_display, rate
from trio440.cli.protocol import LspOptions
from trio440.cli.running import Stop, announce, emit, note
from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import FlushFailed, InvalidParameter, ServerLost
from trio440.mining import (
    Found,
    HashEngine,
    MiningServer,
    NonceRange,
    Throttled,
    find_least_hash,
    open_mining_server,
    work,
)
from trio440.mining.engines import cores, measure_rate, open_engine
from trio440.mining.engines.opening import EngineName

__all__ = ["EngineOptions", "run_alone", "run_client", "run_server", "run_worker"]

MAX_MINERS: Final = 64
"""Miners of ``trio440 mine run``; each has an engine of its own."""


@attrs.frozen(kw_only=True)
class EngineOptions:
    """Which engine, how many lanes, how fast at most."""

    name: EngineName = "auto"
    lanes: int | None = None
    """Threads or processes; None: one for each core."""
    limit: float | None = None
    """Nonces per second at most; None: as fast as it can."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[HashEngine]:
        """Start the engine."""
        async with open_engine(self.name, lanes=self.lanes) as engine:
            yield engine if self.limit is None else Throttled(engine, self.limit)


async def run_server(
    host: str,
    port: int,
    options: LspOptions,
    stop: Stop,
    *,
    report_seconds: float = LINE_SECONDS,
) -> None:
    """Serve miners and clients until the stop is requested; then say what happened."""
    async with options.open_ports() as ports:
        try:
            async with open_mining_server(
                port, host=host, params=options.params, ports=ports
            ) as server:
                announce(server.address)
                with stop.cuts_short(), open_display(report_seconds) as display:
                    await _show_progress(server, display, ports)
                note(_summary(server))
        except FlushFailed as error:
            note(str(error))


async def _show_progress(server: MiningServer, display: Display, ports: Host) -> None:
    """Show for ever how far the jobs are."""
    while True:
        await ports.clock.sleep(display.period_seconds)
        display.show(server.progress())


def _summary(server: MiningServer) -> str:
    seen, messages = server.statistics(), server.lsp_statistics()
    return (
        f"jobs: {seen.jobs_answered} answered, {seen.jobs_dropped} dropped; "
        f"chunks: {seen.chunks_assigned} assigned, {seen.chunks_reassigned} reassigned, "
        f"{seen.chunks_copied} copied; hashes: {seen.nonces_answered}; "
        f"miners disconnected: {seen.miners_disconnected}; "
        f"messages: {messages.sent} sent, {messages.resent} resent, {messages.received} received"
    )


async def run_worker(
    host: str, port: int, engine_options: EngineOptions, options: LspOptions
) -> None:
    """Mine for a server until it is lost.

    Raises:
        ServerLost: the server fell silent.
        Trio440Error: whatever else :func:`trio440.mining.work` ends with.
    """
    async with engine_options.open() as engine:
        await _introduce(engine, engine_options)
        async with options.open_ports() as ports:
            await work(host, port, engine, params=options.params, ports=ports)


async def _introduce(engine: HashEngine, options: EngineOptions) -> None:
    """Say how fast an engine is."""
    measured = rate(options.limit or await measure_rate(engine))
    lanes = f"{engine.lanes} lane{'' if engine.lanes == 1 else 's'}"
    note(f"engine {engine.name}, {lanes}, {'at most ' if options.limit else ''}{measured}")


async def run_client(host: str, port: int, text: str, max_nonce: int, options: LspOptions) -> bool:
    """Ask a server for the least hash over 0 to ``max_nonce``, and print ``Result HASH NONCE``.

    Returns:
        Whether there was an answer; if the server was lost, ``Disconnected`` was printed.
    """
    nonces = NonceRange(0, max_nonce)
    async with options.open_ports() as ports:
        try:
            found = await find_least_hash(
                host, port, text, nonces, params=options.params, ports=ports
            )
        except ServerLost:
            emit("Disconnected")
            return False
    emit(f"Result {found.hash} {found.nonce}")
    return True


async def run_alone(text: str, max_nonce: int, miners: int, engine_options: EngineOptions) -> None:
    """Start a server, miners and a client in this process, and print the answer.

    They talk over real sockets on the loopback interface. Unless told otherwise, the miners
    share the cores evenly.
    """
    if not 1 <= miners <= MAX_MINERS:
        raise InvalidParameter("miners", miners, f"from 1 to {MAX_MINERS}")
    nonces = NonceRange(0, max_nonce)
    lanes = engine_options.lanes or max(1, cores() // miners)
    engine_options = attrs.evolve(engine_options, lanes=lanes)
    found: Found | None = None
    with trio.CancelScope() as everything:
        async with open_mining_server() as server, open_service_nursery() as nursery:
            host, port = server.address[:2]
            for _ in range(miners):
                nursery.start_soon(run_worker, host, port, engine_options, LspOptions())
            with open_display() as display:
                nursery.start_soon(_show_progress, server, display, REAL_HOST)
                found = await find_least_hash(host, port, text, nonces)
            everything.cancel()  # nothing is left to be flushed
            await trio.lowlevel.checkpoint()
    if found is None:
        raise AssertionError("it was cancelled before it was done")
    emit(f"Result {found.hash} {found.nonce}")
