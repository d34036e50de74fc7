"""``trio440 cmud``: the game on the store, on a terminal or from a script."""

import os
import random
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import click

from trio440 import kv
from trio440.cli.cmud_plain import PlainFace, ScriptLines, TypedLines
from trio440.cli.cmud_store import open_world
from trio440.cli.kv_options import Addresses
from trio440.cli.running import run
from trio440.cli.stdin_lines import can_draw, is_person
from trio440.cmud import Face, Tone, checked_name, play
from trio440.errors import InvalidParameter

__all__ = ["command", "play_here"]

ENGINES: Final[tuple[kv.Engine, ...]] = get_args(kv.Engine)
DEFAULT_ENGINE: Final[kv.Engine] = "eventual"
DEFAULT_NAMESPACE: Final = "default"
FAST: Final = 0.04
"""What waits are multiplied by where they are to be short."""


class _Name(click.ParamType[str]):
    """A player's name."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it, and say what is wrong with it."""
        try:
            return checked_name(str(value))
        except InvalidParameter as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option(
    "--at",
    "addresses",
    type=Addresses(),
    default=[],
    help="Where servers of the store answer clients. Without it the store, three servers, is in "
    "this process, and ends with it.",
)
@click.option(
    "--namespace",
    default=DEFAULT_NAMESPACE,
    show_default=True,
    help="The one that holds the campus.",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help=f"Of a store in this process; {DEFAULT_ENGINE} where none is named.",
)
@click.option("--name", type=_Name(), help="Who plays; a terminal is asked for it.")
@click.option(
    "--script",
    type=click.Path(exists=True, dir_okay=False, readable=True),
    metavar="FILE",
    help="Read the commands from a file; what is no terminal is read like that, too.",
)
@click.option("--seed", type=int, help="Let chance decide the same every time.")
@click.option("--fast", is_flag=True, help="Let mining and solving take a moment only.")
def command(
    *,
    addresses: list[str],
    namespace: str,
    engine: kv.Engine | None,
    name: str | None,
    script: str | None,
    seed: int | None,
    fast: bool,
) -> int:
    """Play CMUD: mine coins, buy hardware, solve the problem of your level, be promoted.

    Whoever plays on the same store is on the same campus. Without --at the store is three servers
    in this process, so that one command starts a game; others come to it while it runs. The
    command help lists what one can do; Ctrl-D or quit leaves.
    """
    lines = None if script is None else _read_script(script)
    invites = lines is None and is_person()
    if name is None and not invites:
        raise click.UsageError("a script needs --name", click.get_current_context())
    if addresses and engine is not None:
        message = "--engine is for a store in this process, and --at names one that has its own"
        raise click.UsageError(message, click.get_current_context())
    return run(
        partial(
            play_here,
            addresses=addresses,
            namespace=namespace,
            engine=engine or DEFAULT_ENGINE,
            name=name,
            lines=lines,
            seed=seed,
            pace=FAST if fast else 1.0,
            invites=invites,
        )
    )


async def play_here(
    *,
    addresses: Sequence[str],
    namespace: str,
    engine: kv.Engine,
    name: str | None,
    lines: Sequence[str] | None,
    seed: int | None,
    pace: float,
    invites: bool,
) -> None:
    """Play one game at this process's terminal, or from a script.

    Args:
        addresses: of servers; none: the store is in this process.
        namespace: its name there.
        engine: of a store in this process.
        name: of the player; None: the terminal is asked.
        lines: of the script; None: standard input's.
        seed: of chance; None: any.
        pace: what waits are multiplied by.
        invites: say how others come to a store in this process.
    """
    async with open_world(addresses, namespace, engine) as world, _open_face(lines) as face:
        who = name or await _ask_name(face)
        if who is None:
            return
        if invites and world.doors:
            face.tell(_invitation(world.doors[0], namespace), Tone.QUIET)
        rng = random.Random(seed)
        await play(world.namespace, who, face, rng=rng, pace=pace, turn=world.turn)


def _invitation(door: str, namespace: str) -> str:
    words = ["trio440", "cmud", "--at", door]
    if namespace != DEFAULT_NAMESPACE:
        words += ["--namespace", namespace]
    return f"This campus lasts while you are here. Others come to it by\n  {shlex.join(words)}"


@asynccontextmanager
async def _open_face(lines: Sequence[str] | None) -> AsyncIterator[Face]:
    if lines is not None:
        yield PlainFace(ScriptLines(lines), echo=True)
    elif not is_person():
        yield PlainFace(TypedLines(), echo=True)
    elif not can_draw():
        yield PlainFace(TypedLines(), echo=False)
    else:
        from trio440.cli.cmud_terminal import open_terminal_face  # noqa: PLC0415 - rich is slow

        async with open_terminal_face() as face:
            yield face


async def _ask_name(face: Face) -> str | None:
    """Ask until there is a name; None at the end of input."""
    while (line := await face.ask("Your name> ")) is not None:
        try:
            return checked_name(line.strip())
        except InvalidParameter as error:
            face.tell(f"{error}.")
    return None


def _read_script(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError as error:
        raise click.FileError(path, os.strerror(error.errno or 0).lower()) from None
