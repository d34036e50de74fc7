"""``trio440 demo``: each system at work, for a person to watch and for a script to check.

A part starts this package's own commands as processes, on loopback sockets, shows what they do
and checks what they answer; the actors, and the servers of the store, are in this process. It means
to take 15 seconds at most, is given up after twice as long and fails with one line when something
was not as it should be.
"""

import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Final, TypeAlias

import click
import trio

from trio440.cli.demo.screen import Screen, open_screen
from trio440.cli.running import run
from trio440.core import REAL_HOST
from trio440.errors import Trio440Error

__all__ = ["PARTS", "command"]

Show: TypeAlias = Callable[[Screen], Awaitable[None]]

PARTS: Final = {
    "linekv": "a key-value server, busy clients, and one that does not read",
    "mining": "a hash search over bad datagrams, with a miner that dies",
    "raft": "a replicated map whose leader is killed, and comes back",
    "actors": "a supervised pool of workers, and jobs that crash each of them",
    "kv": "three servers of a store, a partition that heals, and a game on them",
}
"""The parts in the order of the show; the module of each has its name and a ``show``."""

LIMIT_SECONDS: Final = {"linekv": 30.0, "mining": 30.0, "raft": 20.0, "actors": 20.0, "kv": 40.0}
"""When each part is given up; it means to take a half of that at most."""

HELP: Final = f"""Show the systems at work: all of them, or one PART.

\b
{"".join(f"{name:7} {what}{chr(10)}" for name, what in PARTS.items())}
A part that is not over after 30 seconds is given up, with one line and status 1; raft and actors
after 20 seconds, kv after 40.
"""


class DemoFailed(Trio440Error):
    """A part of the demo did not go as it should."""


@click.command(help=HELP)
@click.argument("part", type=click.Choice([*PARTS]), required=False)
def command(part: str | None) -> int:
    """Show all parts, or one; see ``HELP``."""
    names = [*PARTS] if part is None else [part]
    return run(lambda: _show_all(names))


async def _show_all(names: list[str]) -> None:
    with open_screen(sys.stdout) as screen:
        for name in names:
            show: Show = import_module(f"{__name__}.{name}").show
            screen.title(f"{name}: {PARTS[name]}")
            start = REAL_HOST.clock.now()
            try:
                with REAL_HOST.clock.fail_after(LIMIT_SECONDS[name]):
                    await show(screen)
            except trio.TooSlowError:
                raise DemoFailed(f"{name}: not over after {LIMIT_SECONDS[name]:.0f} s") from None
            screen.say(f"All of that in {REAL_HOST.clock.now() - start:.1f} s.")
