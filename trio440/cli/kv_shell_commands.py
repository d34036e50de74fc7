"""The commands of ``trio440 kv shell``.

Each is called with the session at the store, with what shows keys and values, and with what it was
given. It raises :class:`Failed` where it could not be done, or made no difference, :class:`Left` to
end the shell, and what the store raises.
"""

from typing import Any, Final

import click

from trio440 import kv
from trio440.cli.kv_keys import (
    TTL_SECONDS,
    after_option,
    fields_of,
    limit_option,
    read_pages,
    read_position,
    to_ms,
    ttl_option,
)
from trio440.cli.kv_options import as_bytes
from trio440.cli.kv_session import StoreSession
from trio440.cli.kv_shell_words import Vocabulary, usage_of
from trio440.cli.kv_status import show_status
from trio440.cli.running import emit, note
from trio440.wire.codec import INT64_MAX, INT64_MIN

__all__ = ["VOCABULARY", "Failed", "Left", "Printer", "visible"]

VOCABULARY: Final = Vocabulary()


class Failed(Exception):
    """A command has not done what it was to do; the text says why."""


class Left(Exception):
    """The shell is to end."""


class Printer:
    """Shows keys and values."""

    def __init__(self, *, for_person: bool) -> None:
        """Begin.

        Args:
            for_person: show what a terminal would obey; otherwise bytes go out as they are.
        """
        self._for_person = for_person

    def show(self, *fields: bytes, keep: str = "") -> None:
        """Write a line of fields, with tabs between.

        Args:
            fields: in their order.
            keep: characters that go to a terminal though they cannot be printed.
        """
        if self._for_person:
            emit("\t".join(visible(field, keep) for field in fields))
        else:
            emit(b"\t".join(fields))


def visible(data: bytes, keep: str = "") -> str:
    """Return bytes as text without anything that a terminal would obey, which may be hostile."""
    text = data.decode(errors="backslashreplace")
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )


class _Lifetime(click.ParamType[float | None]):
    """Seconds, or never."""

    name = "SECONDS|never"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        return None if value == "never" else TTL_SECONDS.convert(value, param, ctx)


@VOCABULARY.add("get", completes="keys")
@click.argument("key")
async def get(session: StoreSession, printer: Printer, key: str) -> None:
    """Print the value of KEY."""
    entry = await (await session.space()).get(as_bytes(key))
    if entry is None:
        raise _absent(key)
    printer.show(entry.value, keep="\n\t")


@VOCABULARY.add("put", completes="keys", changes=True)
@click.argument("key")
@click.argument("value")
@ttl_option
async def put(session: StoreSession, _: Printer, key: str, value: str, ttl: float | None) -> None:
    """Give KEY a VALUE."""
    space = await session.space()
    await space.put(as_bytes(key), as_bytes(value), ttl_ms=to_ms(ttl))
    emit("ok")


@VOCABULARY.add("delete", completes="keys", changes=True)
@click.argument("key")
async def delete(session: StoreSession, _: Printer, key: str) -> None:
    """Remove KEY."""
    if not await (await session.space()).delete(as_bytes(key)):
        raise _absent(key)
    emit("ok")


@VOCABULARY.add("expire", completes="keys", changes=True)
@click.argument("key")
@click.argument("seconds", type=_Lifetime(), metavar="SECONDS|never")
async def expire(session: StoreSession, _: Printer, key: str, seconds: float | None) -> None:
    """Let KEY go after so long, or never."""
    if not await (await session.space()).expire(as_bytes(key), to_ms(seconds)):
        raise _absent(key)
    emit("ok")


@VOCABULARY.add(
    "list", completes="keys", short_help="Print the keys with a prefix, and their values."
)
@click.argument("prefix", default="")
@limit_option
async def list_keys(
    session: StoreSession, printer: Printer, prefix: str, limit: int | None
) -> None:
    """Print the keys that begin with PREFIX, and their values, a tab between them."""

    def show(entry: kv.Entry) -> None:
        printer.show(entry.key, entry.value)

    if await read_pages(await session.space(), as_bytes(prefix), limit, show):
        note(f"there are more keys than these {limit}")


@VOCABULARY.add("count", completes="keys")
@click.argument("prefix", default="")
async def count(session: StoreSession, _: Printer, prefix: str) -> None:
    """Print how many keys begin with PREFIX."""
    emit(str(await (await session.space()).count(as_bytes(prefix))))


@VOCABULARY.add(
    "watch",
    completes="keys",
    endless=True,
    short_help="Print each change of such keys, until Ctrl-C.",
)
@click.argument("prefix", default="")
@after_option
async def watch(session: StoreSession, printer: Printer, prefix: str, after: str | None) -> None:
    """Print each change of the keys that begin with PREFIX, until Ctrl-C.

    A line is POSITION put KEY VALUE or POSITION delete KEY, with tabs between.
    """
    position = None if after is None else read_position(after)
    space = await session.space()
    async with space.watch(as_bytes(prefix), after=position) as changes:
        note("watching")
        async for change in changes:
            printer.show(*fields_of(change))


@VOCABULARY.add(
    "increment",
    completes="keys",
    changes=True,
    short_help="Add BY, or 1, to a number; atomic namespaces only.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("key")
@click.argument("by", type=click.IntRange(INT64_MIN, INT64_MAX), default=1)
async def increment(session: StoreSession, _: Printer, key: str, by: int) -> None:
    """Add BY, or 1, to a whole number, and print the sum; of an atomic namespace."""
    emit(str(await (await _atomic(session)).increment(as_bytes(key), by)))


@VOCABULARY.add(
    "append",
    completes="keys",
    changes=True,
    short_help="Add SUFFIX to a value; atomic namespaces only.",
)
@click.argument("key")
@click.argument("suffix")
async def append(session: StoreSession, _: Printer, key: str, suffix: str) -> None:
    """Add SUFFIX to a value, and print its length; of an atomic namespace."""
    emit(str(await (await _atomic(session)).append(as_bytes(key), as_bytes(suffix))))


@VOCABULARY.add(
    "cas",
    "compare-and-set",
    completes="keys",
    changes=True,
    short_help="Put VALUE in place of EXPECTED; atomic namespaces only.",
)
@click.argument("key")
@click.argument("values", nargs=-1, metavar="EXPECTED VALUE")
@click.option("--absent", is_flag=True, help="KEY must not be there; there is no EXPECTED.")
@click.option("--remove", is_flag=True, help="Remove KEY; there is no VALUE.")
@ttl_option
async def cas(
    session: StoreSession,
    _: Printer,
    key: str,
    values: tuple[str, ...],
    *,
    absent: bool,
    remove: bool,
    ttl: float | None,
) -> None:
    """Give KEY a VALUE if it has the EXPECTED one; of an atomic namespace."""
    rest = [as_bytes(value) for value in values]
    if len(rest) != 2 - absent - remove:
        problem = "with --absent there is no EXPECTED, with --remove no VALUE"
        raise Failed(f"{problem}. Usage: {usage_of(cas)}")
    expected = None if absent else rest.pop(0)
    value = None if remove else rest.pop(0)
    space = await _atomic(session)
    if not await space.compare_and_set(as_bytes(key), expected, value, ttl_ms=to_ms(ttl)):
        raise Failed(
            f"not changed: {key!r} is there" if absent else f"not changed: {key!r} differs"
        )
    emit("ok")


@VOCABULARY.add("status", short_help="Show every replica, and how far it is behind.")
async def status(session: StoreSession, _: Printer) -> None:
    """Show every replica: whose it is, its keys, and how far it is behind the others."""
    show_status(await kv.look(session.addresses, ports=session.ports))


@VOCABULARY.add("use", completes="namespaces")
@click.argument("namespace")
async def use(session: StoreSession, _: Printer, namespace: str) -> None:
    """Go to another namespace."""
    await session.use(namespace)
    emit("ok")


@VOCABULARY.add("namespaces", short_help="Print the namespaces, and their engines.")
async def namespaces(session: StoreSession, printer: Printer) -> None:
    """Print the namespaces, their engines, and where they answer, tabs between them."""
    for offer in (await kv.discover(session.addresses, ports=session.ports)).values():
        printer.show(offer.name.encode(), offer.engine.encode(), ",".join(offer.addresses).encode())


@VOCABULARY.add("help", completes="commands")
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


@VOCABULARY.add("quit", "exit")
async def quit_(_: StoreSession, _printer: Printer) -> None:
    """End the shell, as Ctrl-D does."""
    raise Left


def _absent(key: str) -> Failed:
    return Failed(f"there is no key {key!r}")


async def _atomic(session: StoreSession) -> kv.AtomicNamespace:
    """Return the namespace in use, if it can do what is asked of it.

    Raises:
        Failed: it cannot.
    """
    space = await session.space()
    if not isinstance(space, kv.AtomicNamespace):
        raise Failed(f"the namespace {session.name!r} is {space.engine}: it cannot do this")
    return space
