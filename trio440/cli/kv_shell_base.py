"""What the commands of ``trio440 kv shell`` share: their vocabulary, and how they show things.

Each is called with the session at the store, with what shows keys and values, and with what it was
given. It raises :class:`Failed` where it could not be done, or made no difference, :class:`Left` to
end the shell, and what the store raises.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import click

from trio440 import kv
from trio440.cli.kv_keys import TTL_SECONDS, with_siblings
from trio440.cli.kv_session import StoreSession
from trio440.cli.kv_shell_words import Vocabulary, Word
from trio440.cli.running import emit, note
from trio440.kv.operations import Changed, Counted, Found, Operation, Page, Result

__all__ = [
    "LIFETIME",
    "VOCABULARY",
    "Failed",
    "Left",
    "Printer",
    "absent",
    "atomic",
    "operation_word",
    "show_result",
    "visible",
]

VOCABULARY: Final = Vocabulary()
OF_ATOMIC: Final = (kv.Increment, kv.Append, kv.GrantLease, kv.RenewLease, kv.RevokeLease)


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


LIFETIME: Final = _Lifetime()


def operation_word(
    name: str, *aliases: str, **settings: Any
) -> Callable[[Callable[..., Operation]], Word]:
    """Make a function a command whose work is the operation that it returns.

    Args:
        name: of the command.
        aliases: other names.
        settings: those of :class:`Word`.
    """

    def make(build: Callable[..., Operation]) -> Word:
        @wraps(build)
        async def function(session: StoreSession, printer: Printer, **given: Any) -> None:
            operation = build(**given)
            space = await session.space()
            if isinstance(operation, kv.PutSibling | kv.GetSiblings):
                with_siblings(space)
            elif isinstance(operation, OF_ATOMIC) or (
                isinstance(operation, kv.Put) and operation.lease
            ):
                await atomic(session)
            (result,) = await space.execute([operation])
            show_result(printer, operation, result)

        return VOCABULARY.add(name, *aliases, operation=build, **settings)(function)

    return make


def show_result(printer: Printer, operation: Operation, result: Result) -> None:
    """Show what came of an operation.

    Raises:
        Failed: it has made no difference.
    """
    if (failure := _failure(operation, result)) is not None:
        raise failure
    match operation, result:
        case _, Found(kv.Entry(value=value)):
            printer.show(value, keep="\n\t")
        case _, kv.Siblings(entries, context):
            for entry in entries:
                printer.show(entry.value, keep="\n\t")
            note(f"context {context.hex()}")
        case _, Page(entries, more):
            for entry in entries:
                printer.show(entry.key, entry.value)
            if more:
                note(f"there are more keys than these {len(entries)}")
        case _, Counted(number):
            emit(str(number))
        case kv.Increment() | kv.Append() | kv.GrantLease(), Changed(number=number):
            emit(str(number))
        case _:
            emit("ok")


def _failure(operation: Operation, result: Result) -> Failed | None:
    match operation, result:
        case _, kv.Refused(reason=reason):
            return Failed(reason)
        case kv.RenewLease(lease) | kv.RevokeLease(lease), Changed(existed=False):
            return Failed(f"there is no lease {lease}")
        case kv.Delete(key) | kv.Expire(key), Changed(existed=False):
            return absent(key)
        case kv.Get(key), Found(None):
            return absent(key)
        case kv.GetSiblings(key), kv.Siblings(entries=()):
            return absent(key)
    return None


def absent(key: bytes) -> Failed:
    """Return the failure of what needs a key that is not there."""
    return Failed(f"there is no key {key.decode(errors='surrogateescape')!r}")


async def atomic(session: StoreSession) -> kv.AtomicNamespace:
    """Return the namespace in use, if it can do what is asked of it.

    Raises:
        Failed: it cannot.
    """
    space = await session.space()
    if not isinstance(space, kv.AtomicNamespace):
        raise Failed(f"the namespace {session.name!r} is {space.engine}: it cannot do this")
    return space
