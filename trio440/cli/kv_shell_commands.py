"""All commands of ``trio440 kv shell``: here those for the shell itself and for the whole store."""

import click

from trio440 import kv
from trio440.cli import kv_shell_atomic  # noqa: F401 - adds its commands, and those for keys
from trio440.cli.kv_session import StoreSession
from trio440.cli.kv_shell_base import VOCABULARY, Left, Printer
from trio440.cli.kv_shell_words import usage_of
from trio440.cli.kv_status import show_status
from trio440.cli.running import emit

__all__ = ["VOCABULARY"]


@VOCABULARY.add("status", drafts=True, short_help="Show every replica, and how far it is behind.")
async def status(session: StoreSession, _: Printer) -> None:
    """Show every replica: whose it is, its keys, and how far it is behind the others."""
    show_status(await kv.look(session.addresses, ports=session.ports))


@VOCABULARY.add("use", completes="namespaces")
@click.argument("namespace")
async def use(session: StoreSession, _: Printer, namespace: str) -> None:
    """Go to another namespace."""
    await session.use(namespace)
    emit("ok")


@VOCABULARY.add("namespaces", drafts=True, short_help="Print the namespaces, and their engines.")
async def namespaces(session: StoreSession, printer: Printer) -> None:
    """Print the namespaces, their engines, and where they answer, tabs between them."""
    for offer in (await kv.discover(session.addresses, ports=session.ports)).values():
        printer.show(offer.name.encode(), offer.engine.encode(), ",".join(offer.addresses).encode())


@VOCABULARY.add("help", completes="commands", drafts=True)
@click.argument("command", default="")
async def help_(_: StoreSession, _printer: Printer, command: str) -> None:
    """List the commands, or tell of one."""
    if command:
        word = VOCABULARY.find(command)
        emit(word.get_help(click.Context(word, info_name=word.name)))
        return
    usages = {
        usage_of(word).partition(" [--")[0]: word.get_short_help_str(60)
        for name, word in VOCABULARY.words.items()
        if name == word.name
    }
    width = max(map(len, usages))
    for usage, summary in usages.items():
        emit(f"{usage:{width}}  {summary}")


@VOCABULARY.add("quit", "exit", drafts=True)
async def quit_(_: StoreSession, _printer: Printer) -> None:
    """End the shell, as Ctrl-D does."""
    raise Left
