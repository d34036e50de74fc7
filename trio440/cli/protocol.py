"""The options of every command that speaks LSP: the protocol's numbers, and lost datagrams."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import attrs
import click

from trio440.cli.options import Real
from trio440.core.host import Host
from trio440.core.real import REAL_HOST
from trio440.lsp import Params
from trio440.lsp.faults import Faults, open_faulty_ports

__all__ = ["LspOptions", "protocol_options", "take_lsp_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

PERCENT: Final = Real(0, 100)


@attrs.frozen(kw_only=True)
class LspOptions:
    """How to speak LSP, and on how bad a network."""

    params: Params = attrs.field(factory=Params)
    sending: Faults = attrs.field(factory=Faults)
    receiving: Faults = attrs.field(factory=Faults)
    seed: int | None = None
    """Seeds the faults; None: another seed each time."""

    @asynccontextmanager
    async def open_ports(self) -> AsyncIterator[Host]:
        """Give the real machine, behind the wanted faults if there are any."""
        if self.sending == self.receiving == Faults():
            yield REAL_HOST
            return
        rng = None if self.seed is None else random.Random(self.seed)
        async with open_faulty_ports(
            REAL_HOST, sending=self.sending, receiving=self.receiving, rng=rng
        ) as ports:
            yield ports


def protocol_options(command: Command) -> Command:
    """Add the options; what they give goes to :func:`take_lsp_options`."""
    for option in (
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


def take_lsp_options(values: dict[str, Any]) -> LspOptions:
    """Take what the options gave out of a command's values."""
    drop = values.pop("drop") / 100
    return LspOptions(
        params=Params(
            values.pop("epoch_limit"),
            values.pop("epoch_millis"),
            values.pop("window"),
            values.pop("max_backoff"),
            values.pop("max_unacked"),
        ),
        sending=Faults(drop=drop),
        receiving=Faults(drop=drop),
        seed=values.pop("seed"),
    )
