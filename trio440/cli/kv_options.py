"""What the clients of ``trio440 kv`` share: their options, and how they reach the store."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import click

from trio440 import kv
from trio440.cli.options import ENDPOINT, SECONDS
from trio440.cli.running import run
from trio440.core.host import format_address

__all__ = [
    "FALSE",
    "Addresses",
    "as_bytes",
    "as_text",
    "at_option",
    "client_options",
    "namespace_options",
    "run_client",
]

FALSE: Final = 1
"""The exit status for what is not there, or was not changed."""


class Addresses(click.ParamType[list[str]]):
    """``HOST:PORT``, several with commas between them."""

    name = "HOST:PORT[,...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Read the addresses."""
        if isinstance(value, list):
            return value
        parts = str(value).split(",")
        return [format_address(ENDPOINT.convert(part, param, ctx)) for part in parts]


Function = Callable[..., Any]


def at_option(function: Function) -> Function:
    """Add where the store is."""
    return click.option(
        "--at",
        "addresses",
        type=Addresses(),
        required=True,
        help="Where servers answer clients; those that are down are left out.",
    )(function)


def namespace_options(function: Function) -> Function:
    """Add which namespace of which store it is, and how long to wait for it."""
    for option in (
        click.option(
            "--timeout",
            type=SECONDS,
            default=5.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for an answer.",
        ),
        click.option("--namespace", default="default", show_default=True, help="Its name."),
        at_option,
    ):
        function = option(function)
    return function


def client_options(function: Function) -> Function:
    """Add what every client of one command takes."""
    json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
    return namespace_options(json_option(function))


def run_client(
    ask: Callable[..., Awaitable[int | None]],
    *,
    addresses: list[str],
    namespace: str,
    timeout: float,
    as_json: bool,
) -> int:
    """Let ``ask`` use the namespace, and return the exit status."""

    async def main() -> int | None:
        async with kv.connect(addresses, namespace, timeout_seconds=timeout) as space:
            return await ask(space, as_json=as_json)

    return run(main)


def as_bytes(text: str) -> bytes:
    """Return an argument of the command line as it was given."""
    return text.encode(errors="surrogateescape")


def as_text(data: bytes) -> str:
    """Return bytes for JSON; what is no UTF-8 is escaped."""
    return data.decode(errors="backslashreplace")
