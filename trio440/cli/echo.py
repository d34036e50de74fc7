"""The LSP echo server and client behind ``trio440 lsp`` and the course's two runners."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import attrs
import trio

from trio440.cli.protocol import LspOptions
from trio440.cli.running import Stop, announce, emit, note, read_stdin
from trio440.errors import (
    ConnectionClosed,
    ConnectionLost,
    FlushFailed,
    InvalidParameter,
    SendBufferFull,
    UnknownConnection,
)
from trio440.lsp import Client, EndpointStatistics, Limits, Server, connect, open_server

__all__ = ["SERVER_LIMITS", "EchoOptions", "echo_forever", "run_client", "run_server"]

MAX_LINE = 65_536
"""Bytes of standard input without the end of a line or word that are kept."""

SERVER_LIMITS: Final = Limits(max_connections=1024, receive_buffer=128 << 10, send_buffer=128 << 10)
"""What strangers may cost the server: 384 KiB for each connection, as early Data may take as much
again as unread Data; 384 MiB for all."""


@attrs.frozen(kw_only=True)
class EchoOptions:
    """What both sides take: where and how."""

    host: str
    port: int
    lsp: LspOptions
    verbose: bool = False


async def run_server(options: EchoOptions, stop: Stop) -> None:
    """Send every message back to where it came from, until the stop is requested.

    A client that does not acknowledge its echoes is not read from while its send buffer is full:
    its own messages are acknowledged no more, once the receive buffer is full, too.

    Clients that leave before they have acknowledged their last echo are no failure.
    """
    say = note if options.verbose else _say_nothing
    async with (
        options.lsp.open_ports() as ports,
        open_server(
            options.port,
            host=options.host,
            params=options.lsp.params,
            limits=SERVER_LIMITS,
            ports=ports,
        ) as server,
    ):
        announce(server.address)
        with stop.cuts_short():
            await echo_forever(server, say)
        try:
            await server.close()
        except FlushFailed as error:
            say(str(error))
        say(_summary(server.statistics()))


async def echo_forever(server: Server, say: Callable[[str], None]) -> None:
    """Send back whatever a server reads; say what happens."""

    async def send_when_there_is_room(conn_id: int, payload: bytes) -> None:
        try:
            await server.send(conn_id, payload)
            server.resume_reading(conn_id)
        except (UnknownConnection, ConnectionLost, ConnectionClosed):
            say(f"connection {conn_id} is over: its message was not sent back")

    async with trio.open_nursery() as nursery:
        while True:
            try:
                conn_id, payload = await server.read()
            except (ConnectionLost, ConnectionClosed) as error:
                say(str(error))
                continue
            say(f"connection {conn_id}: {payload!r}")
            try:
                server.write(conn_id, payload)
            except UnknownConnection as error:
                say(f"{error} any more: its message was not sent back")
            except SendBufferFull as error:
                say(f"connection {conn_id} is not read from: {error}")
                server.pause_reading(conn_id)
                nursery.start_soon(send_when_there_is_room, conn_id, payload)


async def run_client(options: EchoOptions, lines_in_flight: int | None) -> None:
    """Send what standard input has, print what comes back, end with the input.

    Args:
        options: where the server is, and how to talk to it.
        lines_in_flight: send lines and have up to this many on their way; None: send words,
            each after the echo of the one before.
    """
    if lines_in_flight is not None and lines_in_flight < 1:
        raise InvalidParameter("lines", lines_in_flight, "at least 1")
    async with (
        options.lsp.open_ports() as ports,
        connect(options.host, options.port, params=options.lsp.params, ports=ports) as client,
    ):
        if options.verbose:
            note(f"connection {client.conn_id} is open")
        if lines_in_flight is None:
            async with aclosing(_read_lines()) as lines:
                async for line in lines:
                    for word in line.split():
                        await client.send(word)
                        emit(await client.receive())
        else:
            await _send_lines(client, lines_in_flight)
        if options.verbose:
            note(_summary(client.endpoint_statistics()))


async def _send_lines(client: Client, in_flight: int) -> None:
    """Send lines and print echoes at the same time; both keep their order."""
    room = trio.Semaphore(in_flight)
    sent = 0
    all_sent = False
    received = 0

    async def print_echoes() -> None:
        nonlocal received
        while not (all_sent and received == sent):
            emit(await client.receive())
            received += 1
            room.release()

    async with trio.open_nursery() as nursery, aclosing(_read_lines()) as lines:
        nursery.start_soon(print_echoes)
        async for line in lines:
            await room.acquire()
            await client.send(line)
            sent += 1
        all_sent = True
        if received == sent:
            nursery.cancel_scope.cancel()


async def _read_lines() -> AsyncGenerator[bytes, None]:
    """Yield the lines of standard input without their ends; the last one may lack its end."""
    buffered = b""
    while data := await read_stdin():
        *lines, buffered = (buffered + data).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
        if len(buffered) > MAX_LINE:
            raise InvalidParameter("line of input", len(buffered), f"at most {MAX_LINE} bytes")
    if buffered:
        yield buffered


def _say_nothing(_line: str) -> None:
    """Take the place of ``note`` where nobody asked for more."""


def _summary(statistics: EndpointStatistics) -> str:
    dropped = ", ".join(f"{count} {reason}" for reason, count in statistics.dropped.items())
    return (
        f"messages: {statistics.sent} sent, {statistics.resent} resent, "
        f"{statistics.received} received; datagrams: {statistics.datagrams_sent} sent, "
        f"{statistics.datagrams_received} received; dropped: {dropped or 'none'}"
    )
