"""``trio440 linekv``: the line-protocol server, and a client for a terminal or a pipe."""

import click
import trio

from trio440.cli.options import REMOTE_PORT, host_option, server_options
from trio440.cli.running import Stop, announce, emit, read_stdin, run, run_server
from trio440.linekv import DEFAULT_PORT, Client, Limits, connect, open_server

__all__ = ["command", "serve_lines", "talk"]


@click.group()
def command() -> None:
    """Serve a key-value store that speaks in lines over TCP, or talk to one.

    The requests are Put:key:value, Get:key, Delete:key and Update:key:old:new, one a line; Get
    answers one line key:value for each value. Netcat works as a client, too.
    """


@command.command()
@server_options(DEFAULT_PORT)
@click.option(
    "--max-clients",
    type=click.IntRange(min=1),
    default=Limits().clients,
    show_default=True,
    help="Connections at a time.",
)
@click.option(
    "--max-keys",
    type=click.IntRange(min=1),
    default=Limits().keys,
    show_default=True,
    help="Keys in the store.",
)
@click.option(
    "--max-memory-mib",
    type=click.IntRange(min=1),
    default=Limits().memory_bytes >> 20,
    show_default=True,
    help="Memory for keys and values, in MiB.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Keep the store in a journal in this directory; in memory alone without it.",
)
def serve(
    *,
    host: str,
    port: int,
    grace: float,
    max_clients: int,
    max_keys: int,
    max_memory_mib: int,
    data: str | None,
) -> int:
    """Run the server until it is stopped.

    With --data an answer means that everything before it is on disk.
    """
    limits = Limits(clients=max_clients, keys=max_keys, memory_bytes=max_memory_mib << 20)
    return run_server(lambda stop: serve_lines(stop, host, port, limits, data), grace_seconds=grace)


@command.command(name="connect")
@host_option("Address of the server.")
@click.option(
    "--port", type=REMOTE_PORT, default=DEFAULT_PORT, show_default=True, help="Port of the server."
)
def connect_command(host: str, port: int) -> int:
    """Send the lines of standard input and print what the server answers.

    At the end of the input the last answers are awaited.
    """
    return run(lambda: talk(host, port))


async def serve_lines(
    stop: Stop, host: str, port: int, limits: Limits | None = None, data: str | None = None
) -> None:
    """Serve until the stop is requested; then the answers under way are flushed."""
    async with open_server(port, host=host, data=data, limits=limits) as server:
        announce(server.address)
        await stop.wait()


async def talk(host: str, port: int) -> None:
    """Pass standard input to a server and its answers to standard output, until it closes."""
    async with connect(host, port) as client, trio.open_nursery() as nursery:
        nursery.start_soon(_send_input, client)
        while (line := await client.receive_line()) is not None:
            emit(line)
        nursery.cancel_scope.cancel()


async def _send_input(client: Client) -> None:
    while data := await read_stdin():
        await client.send(data)
    await client.send_eof()
