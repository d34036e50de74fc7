"""What the clients of ``trio440 raft`` share: their options, and how they reach the cluster."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import click

from trio440 import raft
from trio440.cli.options import ENDPOINT, PORT, SECONDS
from trio440.cli.running import run

__all__ = ["FALSE", "Endpoint", "Endpoints", "Listen", "Members", "client_options", "run_client"]

Endpoint = tuple[str, int]
FALSE: Final = 1
"""The exit status for what is not there, or was not changed."""


class Members(click.ParamType[raft.Place]):
    """``ID=HOST:PORT``."""

    name = "ID=HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> raft.Place:
        """Read one peer."""
        if isinstance(value, raft.Place):
            return value
        name, equals, address = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not ID=HOST:PORT", param, ctx)
        return raft.Place(name, *ENDPOINT.convert(address, param, ctx))


class Endpoints(click.ParamType[list[Endpoint]]):
    """``HOST:PORT``, several with commas between them."""

    name = "HOST:PORT[,...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[Endpoint]:
        """Read the addresses."""
        if isinstance(value, list):
            return value
        return [ENDPOINT.convert(part, param, ctx) for part in str(value).split(",")]


class Listen(click.ParamType[Endpoint]):
    """``HOST:PORT`` to listen on; port 0 takes any free one."""

    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint:
        """Read the address."""
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host:
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return host, PORT.convert(port, param, ctx)


Function = Callable[..., Any]


def client_options(function: Function) -> Function:
    """Add what every client takes."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Write JSON."),
        click.option(
            "--timeout",
            type=SECONDS,
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for the cluster.",
        ),
        click.option("--cluster", default="raft", show_default=True, help="Its name."),
        click.option(
            "--at",
            "addresses",
            type=Endpoints(),
            required=True,
            help="Where peers listen; one that is up is enough.",
        ),
    ):
        function = option(function)
    return function


def run_client(
    ask: Callable[..., Awaitable[int | None]],
    *,
    addresses: list[Endpoint],
    cluster: str,
    timeout: float,
    as_json: bool,
) -> int:
    """Let ``ask`` talk to the cluster, and return the exit status."""

    async def main() -> int | None:
        async with raft.open_client(addresses, cluster=cluster) as client:
            return await ask(client, timeout_seconds=timeout, as_json=as_json)

    return run(main)
