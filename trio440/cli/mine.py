"""``trio440 mine``: the least hash of a text over a range of nonces, found by many."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from trio440.cli import mining, running
from trio440.cli.options import ENDPOINT, Real, server_options
from trio440.cli.progress import LINE_SECONDS
from trio440.cli.protocol import protocol_options, take_lsp_options
from trio440.mining.engines import ENGINES
from trio440.mining.ranges import MAX_NONCE

__all__ = ["command"]

Command = TypeVar("Command", bound=Callable[..., Any])
MAX_DIGITS: Final = 2 * len(str(MAX_NONCE))


class _Nonce(click.ParamType[int]):
    """A number from 0 to 2⁶⁴-1, in plain digits."""

    name = "nonce"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn the text into a number in range."""
        digits = str(value)
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS
        nonce = int(digits) if is_number else -1
        if not 0 <= nonce <= MAX_NONCE:
            shown = repr(digits) if len(digits) <= MAX_DIGITS else "so long a number"
            self.fail(f"{shown} is no nonce, they go from 0 to {MAX_NONCE}", param, ctx)
        return nonce


NONCE: Final = _Nonce()
"""The highest nonce of a job."""
SPEED: Final = Real(min=0, min_open=True)


def _engine_options(command: Command) -> Command:
    for option in (
        click.option(
            "--lanes",
            type=click.IntRange(min=1),
            metavar="N",
            help="Threads or processes of a miner; by default the cores, shared evenly.",
        ),
        click.option(
            "--engine",
            type=click.Choice(ENGINES),
            default="auto",
            show_default=True,
            help="What hashes; auto takes numba where it is installed.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def command() -> None:
    """Find the least hash of a message over many nonces: server, workers, clients."""


@command.command("run")
@click.argument("message")
@click.argument("max_nonce", type=NONCE, metavar="MAXNONCE")
@click.option(
    "--miners",
    type=click.IntRange(1, mining.MAX_MINERS),
    default=2,
    show_default=True,
    metavar="N",
    help="How many miners share the work.",
)
@_engine_options
def run_alone(message: str, max_nonce: int, miners: int, engine: Any, lanes: int | None) -> int:
    """Find the least hash of MESSAGE and the nonces from 0 to MAXNONCE, on this machine.

    A server, miners and a client run in this process and talk over loopback sockets. The last
    line on standard output is "Result HASH NONCE".
    """
    options = mining.EngineOptions(name=engine, lanes=lanes)
    return running.run(lambda: mining.run_alone(message, max_nonce, miners, options))


@command.command()
@server_options(default_port=9999)
@click.option(
    "--report-seconds",
    type=Real(min=0.1, max=3600),
    default=LINE_SECONDS,
    show_default=True,
    metavar="S",
    help="How often to say how far the jobs are, where standard error is no terminal.",
)
@protocol_options
def server(host: str, port: int, grace: float, report_seconds: float, **values: Any) -> int:
    """Serve miners and clients.

    Prints "listening on HOST:PORT" first, and on standard error how far the jobs are. SIGTERM
    stops it once what it wrote is acknowledged; unfinished jobs are dropped.
    """
    lsp = take_lsp_options(values)
    return running.run_server(
        lambda stop: mining.run_server(host, port, lsp, stop, report_seconds=report_seconds),
        grace_seconds=grace,
    )


@command.command()
@click.argument("server", type=ENDPOINT, metavar="HOST:PORT")
@_engine_options
@click.option(
    "--limit", type=SPEED, metavar="N", help="Hash at most N nonces a second, to leave room."
)
@protocol_options
def worker(
    server: tuple[str, int], engine: Any, lanes: int | None, limit: float | None, **values: Any
) -> int:
    """Mine for the server at HOST:PORT until it is lost.

    Says its engine and speed first, on standard error.
    """
    lsp = take_lsp_options(values)
    options = mining.EngineOptions(name=engine, lanes=lanes, limit=limit)
    return running.run(lambda: mining.run_worker(*server, options, lsp))


@command.command()
@click.argument("server", type=ENDPOINT, metavar="HOST:PORT")
@click.argument("message")
@click.argument("max_nonce", type=NONCE, metavar="MAXNONCE")
@protocol_options
def client(server: tuple[str, int], message: str, max_nonce: int, **values: Any) -> int:
    """Ask the server at HOST:PORT for the least hash of MESSAGE and the nonces 0 to MAXNONCE.

    Prints "Result HASH NONCE", or "Disconnected" when the server is lost (status 1).
    """
    lsp = take_lsp_options(values)

    async def ask() -> int:
        return 0 if await mining.run_client(*server, message, max_nonce, lsp) else 1

    return running.run(ask)
