"""The top of the command line: which sub-commands there are, and where they live."""

import sys
from importlib import import_module
from typing import Final

import click

from trio440.cli.running import end_with_stdin, guard

__all__ = ["command", "run_command_line"]

SUMMARIES: Final = {
    "actors": "What goes on in a cluster of actor systems.",
    "cmud": "CMUD, the game on the store.",
    "demo": "Show the systems at work over real sockets and processes.",
    "kv": "The store: eventual, linearizable or in memory; its servers and clients.",
    "linekv": "The line-protocol key-value server over TCP, and its client.",
    "lsp": "Reliable messages over UDP: an echo server and its client.",
    "mine": "The distributed hash search: server, workers, clients.",
    "raft": "A replicated key-value map: a peer of the cluster, and its client.",
    "sim": "Whole systems in a simulated world: campaigns, replays, deliberate bugs.",
}
"""The sub-commands; the module of each has its name."""


class _LazyGroup(click.Group):
    """A group that imports a sub-command's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [*SUMMARIES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in SUMMARIES:
            return None
        command = import_module(f"trio440.cli.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([*SUMMARIES.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trio440", message="%(prog)s %(version)s")
@click.option(
    "--end-with-stdin",
    "on_a_leash",
    is_flag=True,
    hidden=True,
    help="End, as by Ctrl-C, when standard input does; for a program that starts this one.",
)
def command(*, on_a_leash: bool) -> None:
    """Distributed systems under structured concurrency, on Trio.

    Every command ends within a second of Ctrl-C; a server finishes what is under way at SIGTERM.
    """
    if on_a_leash:
        end_with_stdin()


def run_command_line() -> int:
    """Run the command line of this process and return its exit status."""
    return guard(_dispatch)


def _dispatch() -> int | None:
    # Not ``command()``: click's own main hides every EPIPE, also one that is a bug of ours.
    with command.make_context("trio440", sys.argv[1:]) as context:
        status = command.invoke(context)
    return status if isinstance(status, int) else None
