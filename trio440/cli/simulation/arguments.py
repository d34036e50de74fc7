"""The types that check the arguments of ``trio440 sim``, and the options its commands share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from trio440.cli.options import Real
from trio440.cli.simulation.systems import find_system, profiles
from trio440.errors import InvalidParameter
from trio440.sim.outcome import LEVELS, ORDERS

__all__ = ["FILE", "KEEP", "LIMIT", "SEED", "SEEDS", "SYSTEM", "history_options", "jobs_option"]

Command = TypeVar("Command", bound=Callable[..., Any])

MAX_SEED: Final = (1 << 64) - 1
MAX_JOBS: Final = 256


def _number(text: str) -> int | None:
    """Return the number that plain digits mean, if it may be a seed."""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SEED))
    return int(text) if is_number and int(text) <= MAX_SEED else None


class _Seed(click.ParamType[int]):
    name = "seed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn the text into a number in range."""
        seed = _number(str(value))
        if seed is None:
            self.fail(f"{value!r} is no seed, they go from 0 to {MAX_SEED}", param, ctx)
        return seed


class _Seeds(click.ParamType[range]):
    """``START:END``, without the end, or ``END`` alone for ``0:END``."""

    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> range:
        """Turn the text into a range that is not empty."""
        if isinstance(value, range):
            return value
        first, colon, last = str(value).partition(":")
        start, end = (_number(first), _number(last)) if colon else (0, _number(first))
        if start is None or end is None:
            self.fail(
                f"{value!r} is no range of seeds, write START:END (without END) or a number",
                param,
                ctx,
            )
        if start >= end:
            self.fail(f"{value!r} is empty, its end must be greater than its start", param, ctx)
        return range(start, end)


class _Keep(click.ParamType[tuple[int, ...]]):
    """Positions of faults with commas, or ``none``."""

    name = "keep"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Turn the text into ascending positions."""
        if isinstance(value, tuple):
            return value
        if value == "none":
            return ()
        places = [_number(part.strip()) for part in str(value).split(",")]
        known = [place for place in places if place is not None]
        if len(known) < len(places):
            self.fail(f"{value!r}: write positions of faults as 3,7, or none", param, ctx)
        return tuple(sorted(set(known)))


class _System(click.ParamType[str]):
    """The name of a system that there is."""

    name = "system"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that it can be loaded; one of the user's own is looked for here, too."""
        if ":" in str(value) and os.getcwd() not in sys.path:  # noqa: PTH109 - as sys.path has it
            sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the same
        try:
            find_system(str(value))
        except InvalidParameter as error:
            self.fail(f"{value!r} is not {error.allowed}", param, ctx)
        except ImportError as error:
            self.fail(f"{value!r} cannot be imported: {error}", param, ctx)
        return str(value)


class _Profile(click.ParamType[str]):
    name = "profile"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that there is such a profile."""
        known = profiles()
        if value not in known:
            self.fail(f"{value!r} is not one of {', '.join(known)}", param, ctx)
        return str(value)


class _File(click.ParamType[str]):
    """A file to be written, as an absolute path."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that its folder is there."""
        path = Path(str(value)).absolute()
        if not path.parent.is_dir():
            self.fail(f"{path.parent} is no directory", param, ctx)
        if path.is_dir():
            self.fail(f"{path} is a directory", param, ctx)
        return str(path)


SEED: Final = _Seed()
"""One seed."""
SEEDS: Final = _Seeds()
"""A range of seeds."""
KEEP: Final = _Keep()
"""The faults that happen."""
SYSTEM: Final = _System()
"""The name of a system; it has been loaded once."""
FILE: Final = _File()
"""A file to be written."""
LIMIT: Final = Real(min=0, min_open=True)
"""A duration in seconds, more than 0."""


def history_options(command: Command) -> Command:
    """Add what every history is made of beside its system and seed: level, profile, order."""
    for option in (
        click.option(
            "--limit",
            type=LIMIT,
            default=60.0,
            show_default=True,
            metavar="SECONDS",
            help="Real time after which a seed counts as hanging.",
        ),
        click.option(
            "--order",
            type=click.Choice(ORDERS),
            default="random",
            show_default=True,
            help="How the next task is chosen at level B.",
        ),
        click.option(
            "--profile",
            type=_Profile(),
            default="flaky",
            show_default=True,
            metavar="NAME",
            help="What goes wrong; `trio440 sim list` shows the profiles.",
        ),
        click.option(
            "--level",
            type=click.Choice(LEVELS),
            default="B",
            show_default=True,
            help="A: the protocol cores alone. B: the real programs on simulated hosts.",
        ),
    ):
        command = option(command)
    return command


def jobs_option(command: Command) -> Command:
    """Add ``--jobs``, by default as many as there are cores."""
    return click.option(
        "--jobs",
        type=click.IntRange(1, MAX_JOBS),
        default=lambda: min(len(os.sched_getaffinity(0)), MAX_JOBS),
        show_default="the cores",
        metavar="N",
        help="Processes that run seeds.",
    )(command)
