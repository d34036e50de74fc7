"""``trio440 lsp``: an echo server and its client, for trying LSP out."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from trio440.cli import echo, running
from trio440.cli.options import ENDPOINT, server_options
from trio440.lsp import Params
from trio440.lsp.faults import Faults

__all__ = ["command"]

Command = TypeVar("Command", bound=Callable[..., Any])

PERCENT: Final = click.FloatRange(0, 100)


def _protocol_options(command: Command) -> Command:
    """Add the protocol's numbers and the faults."""
    for option in (
        click.option("-v", "--verbose", is_flag=True, help="Say more, on standard error."),
        click.option("--seed", type=int, help="Seed of the lost datagrams."),
        click.option(
            "--drop",
            type=PERCENT,
            default=0,
            show_default=True,
            metavar="PERCENT",
            help="Lose this many datagrams, in each direction.",
        ),
        _number("--max-unacked", 1, "Most messages sent and unacknowledged."),
        _number("--max-backoff", 0, "Longest wait between two resends, in epochs.", lowest=0),
        _number("--window", 1, "Window size, in messages."),
        _number("--epoch-millis", 2000, "Length of an epoch in milliseconds."),
        _number("--epoch-limit", 5, "Silent epochs after which a connection is lost."),
    ):
        command = option(command)
    return command


def _number(
    name: str, default: int, purpose: str, *, lowest: int = 1
) -> Callable[[Command], Command]:
    return click.option(
        name, type=click.IntRange(min=lowest), default=default, show_default=True, help=purpose
    )


@click.group()
def command() -> None:
    """Reliable, ordered messages over UDP: an echo server and its client."""


@command.command("echo-server")
@server_options(default_port=9999)
@_protocol_options
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
@_protocol_options
def echo_client(server: tuple[str, int], lines: int | None, **values: Any) -> int:
    """Send what standard input has and print what comes back."""
    options = _options({"host": server[0], "port": server[1], **values})
    return running.run(lambda: echo.run_client(options, lines))


def _options(values: dict[str, Any]) -> echo.EchoOptions:
    drop = values["drop"] / 100
    return echo.EchoOptions(
        host=values["host"],
        port=values["port"],
        params=Params(
            values["epoch_limit"],
            values["epoch_millis"],
            values["window"],
            values["max_backoff"],
            values["max_unacked"],
        ),
        sending=Faults(drop=drop),
        receiving=Faults(drop=drop),
        seed=values["seed"],
        verbose=values["verbose"],
    )
