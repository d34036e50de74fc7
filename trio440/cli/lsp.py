"""``trio440 lsp``: an echo server and its client, for trying LSP out."""

from typing import Any

import click

from trio440.cli import echo, running
from trio440.cli.options import ENDPOINT, server_options
from trio440.cli.protocol import protocol_options, take_lsp_options

__all__ = ["command"]

_verbose = click.option("-v", "--verbose", is_flag=True, help="Say more, on standard error.")


@click.group()
def command() -> None:
    """Reliable, ordered messages over UDP: an echo server and its client."""


@command.command("echo-server")
@server_options(default_port=9999)
@protocol_options
@_verbose
def echo_server(grace: float, **values: Any) -> int:
    """Send every message back to where it came from.

    Prints "listening on HOST:PORT" first. SIGTERM stops it once what it wrote is acknowledged.
    """
    options = _options(values)
    return running.run_server(lambda stop: echo.run_server(options, stop), grace_seconds=grace)


@command.command("echo-client")
@click.argument("server", type=ENDPOINT, metavar="HOST:PORT")
@click.option(
    "--lines",
    type=click.IntRange(min=1),
    metavar="N",
    help="Send lines, up to N on their way; without it words, one at a time.",
)
@protocol_options
@_verbose
def echo_client(server: tuple[str, int], lines: int | None, **values: Any) -> int:
    """Send what standard input has and print what comes back."""
    options = _options({"host": server[0], "port": server[1], **values})
    return running.run(lambda: echo.run_client(options, lines))


def _options(values: dict[str, Any]) -> echo.EchoOptions:
    return echo.EchoOptions(lsp=take_lsp_options(values), **values)
