"""The options that commands share, and the types that check their values.

A value outside its range ends the command with one line that names the option, the value and
what is allowed, before anything has been opened.
"""

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

__all__ = [
    "ENDPOINT",
    "PORT",
    "REMOTE_PORT",
    "SECONDS",
    "Real",
    "host_option",
    "server_options",
]

Command = TypeVar("Command", bound=Callable[..., Any])

MAX_PORT: Final = 65_535


class _Port(click.ParamType[int]):
    """A port number; ``lowest`` is 0 where "any free one" makes sense."""

    name = "port"

    def __init__(self, lowest: int) -> None:
        self._lowest = lowest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn the text into a number in range."""
        try:
            port = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a port number", param, ctx)
        if not self._lowest <= port <= MAX_PORT:
            self.fail(f"{port} is no port, they go from {self._lowest} to {MAX_PORT}", param, ctx)
        return port


class _Endpoint(click.ParamType[tuple[str, int]]):
    """``HOST:PORT``; an IPv6 literal stands in brackets."""

    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Split the text at its last colon."""
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            self.fail(f"{value!r}: write an IPv6 address as [HOST]:PORT", param, ctx)
        if not colon or not host:
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return host, REMOTE_PORT.convert(port, param, ctx)


PORT: Final = _Port(0)
"""A port to listen on; 0 takes any free one."""
REMOTE_PORT: Final = _Port(1)
"""A port to reach."""


class Real(click.FloatRange):
    """A number in a range, which "nan" is not though it is neither above nor below."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Turn the text into a number in range."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not in the range {self._describe_range()}.", param, ctx)
        return number


ENDPOINT: Final = _Endpoint()
"""``HOST:PORT`` to reach, as a tuple."""
SECONDS: Final = Real(min=0)
"""A duration in seconds, 0 or more."""


def host_option(purpose: str) -> Callable[[Command], Command]:
    """Add ``--host``, this machine's loopback address by default."""
    return click.option("--host", default="127.0.0.1", show_default=True, help=purpose)


def server_options(default_port: int) -> Callable[[Command], Command]:
    """Add what every server takes: ``--host``, ``--port`` and ``--grace``.

    The command's function gets ``host: str``, ``port: int`` and ``grace: float`` (seconds, for
    :func:`trio440.cli.running.run_server`).
    """

    def add(command: Command) -> Command:
        for option in (
            click.option(
                "--grace",
                type=SECONDS,
                default=5.0,
                show_default=True,
                metavar="SECONDS",
                help="How long a SIGTERM leaves for finishing what is under way.",
            ),
            click.option(
                "--port",
                type=PORT,
                default=default_port,
                show_default=True,
                help="Port to listen on; 0 takes any free one.",
            ),
            host_option("Address to listen on."),
        ):
            command = option(command)
        return command

    return add
