"""``trio440 actors``: what goes on in a cluster of actor systems."""

from typing import Final

import click

from trio440.cli.actors_looking import Looker
from trio440.cli.actors_rows import actor_rows, node_rows
from trio440.cli.actors_screen import open_screen
from trio440.cli.options import ENDPOINT, Real
from trio440.cli.running import run
from trio440.core.host import format_address
from trio440.core.real import REAL_HOST
from trio440.errors import HandshakeRefused

__all__ = ["command"]

MOST_ACTORS: Final = 100


@click.group()
def command() -> None:
    """Look at a cluster of actor systems."""


@command.command()
@click.option(
    "--at", "address", type=ENDPOINT, required=True, help="Where one of the systems listens."
)
@click.option("--cluster", default="actors", show_default=True, help="Its name.")
@click.option(
    "--interval",
    type=Real(min=0.1, max=3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="From one look to the next.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, MOST_ACTORS),
    default=20,
    show_default=True,
    help="How many actors to show.",
)
@click.option("--once", is_flag=True, help="End after two looks, and show the second.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, a line for each look.")
@click.option(
    "--timeout",
    type=Real(min=0.1, max=3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for each system's answer.",
)
def top(
    *,
    address: tuple[str, int],
    cluster: str,
    interval: float,
    limit: int,
    once: bool,
    as_json: bool,
    timeout: float,
) -> int:
    """Show the nodes of a cluster, and the actors with the deepest mailboxes.

    On a terminal the tables are drawn again at each look; elsewhere they follow each other. The
    rate is what an actor has handled since the look before, in messages a second; what is not
    known is a hyphen, or null in JSON. Ctrl-C ends it.
    """
    looker = Looker(format_address(address), cluster, timeout, REAL_HOST)

    async def main() -> None:
        try:
            before = await looker.look()
        except HandshakeRefused as error:
            hint = "; see --cluster" if error.reason == "cluster" else ""
            raise click.ClickException(f"{error}{hint}") from None
        with open_screen(is_json=as_json, is_live=not once) as screen:
            if not once:
                screen.show(node_rows(before), actor_rows(before, None, limit))
            while True:
                await REAL_HOST.clock.sleep(interval)
                look = await looker.look()
                screen.show(node_rows(look), actor_rows(look, before, limit))
                if once:
                    return
                before = look

    return run(main)
