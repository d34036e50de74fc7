"""The flags of the course's runners, written ``-name=value`` or ``-name value``."""

import argparse
from typing import Final, NoReturn

import attrs
import click

from trio440.cli.echo import EchoOptions
from trio440.cli.protocol import LspOptions
from trio440.lsp import Params
from trio440.lsp.faults import Faults

__all__ = ["add_lsp_flags", "lsp_options", "make_parser"]

DIRECTIONS: Final = {"r": "received", "w": "sent"}
FAULTS: Final = {
    "drop": "are dropped",
    "duplicate": "arrive twice",
    "delay": "arrive half a second late",
    "reorder": "are overtaken by others",
    "corrupt": "have a bit of their payload flipped",
    "shorten": "have their payload shortened",
    "lengthen": "have their payload lengthened",
}


class _OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, printed by the common guard."""

    def error(self, message: str) -> NoReturn:
        raise click.UsageError(message)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser that takes flags in full only."""
    return _OneLineParser(description=description, allow_abbrev=False)


def add_lsp_flags(parser: argparse.ArgumentParser, *, host_help: str) -> None:
    """Add the course's flags for LSP, with its names and defaults."""
    parser.add_argument("-host", default="127.0.0.1", help=host_help)
    parser.add_argument("-port", type=int, default=9999, help="UDP port (9999)")
    parser.add_argument("-elim", type=int, default=5, metavar="EPOCHS", help="epoch limit (5)")
    parser.add_argument("-ems", type=int, default=2000, metavar="MS", help="epoch length (2000)")
    parser.add_argument("-wsize", type=int, default=1, metavar="N", help="window size (1)")
    parser.add_argument(
        "-maxUnackMessages", type=int, default=1, metavar="N", help="most unacknowledged (1)"
    )
    parser.add_argument(
        "-maxbackoff", type=int, default=0, metavar="EPOCHS", help="longest back-off (0)"
    )
    for letter, moved in DIRECTIONS.items():
        for name, happens in FAULTS.items():
            parser.add_argument(
                f"-{letter}{name}",
                type=float,
                default=0,
                metavar="PERCENT",
                help=f"how many of the datagrams {moved} {happens} (0)",
            )
    parser.add_argument("-seed", type=int, default=None, help="seed of these faults")
    parser.add_argument("-v", action="store_true", help="say more, on standard error")


def lsp_options(flags: argparse.Namespace) -> EchoOptions:
    """Turn parsed flags into options.

    Raises:
        InvalidParameter: a value is out of range.
    """
    return EchoOptions(
        host=flags.host,
        port=flags.port,
        lsp=LspOptions(
            params=Params(
                flags.elim, flags.ems, flags.wsize, flags.maxbackoff, flags.maxUnackMessages
            ),
            sending=_faults(flags, "w"),
            receiving=_faults(flags, "r"),
            seed=flags.seed,
        ),
        verbose=flags.v,
    )


def _faults(flags: argparse.Namespace, letter: str) -> Faults:
    faults = Faults()
    for name in FAULTS:
        percent: float = getattr(flags, letter + name)
        if not 0 <= percent <= 100:  # noqa: PLR2004 - percent
            raise click.UsageError(f"-{letter}{name} must be from 0 to 100 percent, not {percent}")
        faults = attrs.evolve(faults, **{name: percent / 100})
    return faults
