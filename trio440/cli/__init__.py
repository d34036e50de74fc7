"""The ``trio440`` command.

Each sub-command lives in a module of its own that is imported when it is called for, so that
``--help`` and the start of every other one stay fast. A module gives a ``click`` command (or
group) called ``command``; how its work is run, ended and reported is
:mod:`trio440.cli.running`'s business.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import click

from trio440.cli.running import guard

__all__ = ["main"]

SUMMARIES: Final = {
    "demo": "Show the systems at work over real sockets and processes.",
    "linekv": "The line-protocol key-value server over TCP, and its client.",
    "lsp": "Reliable messages over UDP: an echo server and its client.",
    "mine": "The distributed hash search: server, workers, clients.",
}
"""The sub-commands; the module of each has its name."""


class _LazyGroup(click.Group):
    """A group that imports a sub-command's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for name in SUMMARIES if find_spec(f"{__name__}.{name}") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = import_module(f"{__name__}.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in self.list_commands(ctx)])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trio440", message="%(prog)s %(version)s")
def command() -> None:
    """Distributed systems under structured concurrency, on Trio.

    Every command ends within a second of Ctrl-C; a server finishes what is under way at SIGTERM.
    """


def main() -> None:
    """Run the command line of this process and exit with its status."""
    sys.exit(guard(_dispatch))


def _dispatch() -> int | None:
    # Not ``command()``: click's own main hides every EPIPE, also one that is a bug of ours.
    with command.make_context("trio440", sys.argv[1:]) as context:
        status = command.invoke(context)
    return status if isinstance(status, int) else None
