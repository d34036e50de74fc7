"""The commands of ``trio440 kv shell`` that only atomic namespaces carry out."""

import click

from trio440 import kv
from trio440.cli.kv_keys import TTL_SECONDS, to_ms, ttl_option
from trio440.cli.kv_options import as_bytes
from trio440.cli.kv_session import Draft, StoreSession
from trio440.cli.kv_shell_base import (
    VOCABULARY,
    Failed,
    Printer,
    atomic,
    operation_word,
    show_result,
)
from trio440.cli.kv_shell_keys import LEASE
from trio440.cli.kv_shell_words import usage_of
from trio440.cli.running import emit, note
from trio440.wire.codec import INT64_MAX, INT64_MIN

__all__: list[str] = []


@operation_word(
    "increment",
    completes="keys",
    changes=True,
    short_help="Add BY, or 1, to a number; atomic namespaces only.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("key")
@click.argument("by", type=click.IntRange(INT64_MIN, INT64_MAX), default=1)
def increment(key: str, by: int) -> kv.Increment:
    """Add BY, or 1, to a whole number, and print the sum; of an atomic namespace."""
    return kv.Increment(as_bytes(key), by)


@operation_word(
    "append",
    completes="keys",
    changes=True,
    short_help="Add SUFFIX to a value; atomic namespaces only.",
)
@click.argument("key")
@click.argument("suffix")
def append(key: str, suffix: str) -> kv.Append:
    """Add SUFFIX to a value, and print its length; of an atomic namespace."""
    return kv.Append(as_bytes(key), as_bytes(suffix))


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
    space = await atomic(session)
    if not await space.compare_and_set(as_bytes(key), expected, value, ttl_ms=to_ms(ttl)):
        raise Failed(
            f"not changed: {key!r} is there" if absent else f"not changed: {key!r} differs"
        )
    emit("ok")


# Leases


@operation_word("grant", changes=True, short_help="Begin a lease, for put --lease; atomic only.")
@click.argument("seconds", type=TTL_SECONDS)
def grant(seconds: float) -> kv.GrantLease:
    """Begin a lease, and print its number; of an atomic namespace.

    It ends after so long, unless it is renewed, and its keys go with it.
    """
    return kv.GrantLease(round(seconds * 1000))


@operation_word("renew", "keep-alive", changes=True, short_help="Let a lease begin anew.")
@click.argument("lease", type=LEASE)
def renew(lease: int) -> kv.RenewLease:
    """Let LEASE begin anew; of an atomic namespace."""
    return kv.RenewLease(lease)


@operation_word("revoke", changes=True, short_help="End a lease, and remove its keys.")
@click.argument("lease", type=LEASE)
def revoke(lease: int) -> kv.RevokeLease:
    """End LEASE, and remove its keys; of an atomic namespace."""
    return kv.RevokeLease(lease)


# Transactions


@VOCABULARY.add("multi", short_help="Begin a transaction, up to exec; atomic namespaces only.")
async def multi(session: StoreSession, _: Printer) -> None:
    """Begin a transaction: the operations that follow are done at one moment, by exec.

    They may be get, put, delete, expire, list, count, increment and append. if adds a condition;
    else begins what is done where one does not hold. discard forgets all. From a pipe a transaction
    with a wrong line is not carried out.
    """
    await atomic(session)
    session.draft = Draft()
    emit("ok")


@VOCABULARY.add("if", completes="keys", drafts=True, short_help="Add a condition to it.")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--absent", is_flag=True, help="KEY must not be there.")
@click.option("--present", is_flag=True, help="KEY must be there.")
@click.option(
    "--version",
    type=click.IntRange(0, INT64_MAX),
    metavar="NUMBER",
    help="KEY must have this version; 0: it must not be there.",
)
async def if_(
    session: StoreSession,
    _: Printer,
    key: str,
    value: str | None,
    *,
    absent: bool,
    present: bool,
    version: int | None,
) -> None:
    """Do the transaction only where KEY has this VALUE, or as an option says."""
    draft = _written(session)
    if (value is not None) + absent + present + (version is not None) != 1:
        raise Failed(f"it takes either a VALUE or one option. Usage: {usage_of(if_)}")
    exists = present if absent or present else None
    expected = None if value is None else as_bytes(value)
    draft.conditions.append(kv.Condition(as_bytes(key), version, expected, exists))
    emit("queued")


@VOCABULARY.add("else", drafts=True, short_help="Begin what it does where one does not hold.")
async def else_(session: StoreSession, _: Printer) -> None:
    """Begin what is done where a condition of the transaction does not hold."""
    draft = _written(session)
    if draft.otherwise is not None:
        raise Failed("the transaction has an else already")
    draft.otherwise = []
    emit("ok")


@VOCABULARY.add("exec", drafts=True, changes=True, short_help="Carry it out, and print what came.")
async def exec_(session: StoreSession, printer: Printer) -> None:
    """Carry out the transaction, and print what came of each of its operations."""
    draft = _written(session)
    session.draft = None
    if draft.is_spoiled:
        raise Failed("nothing was done: a line of the transaction was wrong")
    committed = await (await atomic(session)).transact(
        draft.conditions, draft.then, draft.otherwise or ()
    )
    operations = draft.then if committed.succeeded else draft.otherwise
    if operations is None:
        raise Failed("nothing was done: a condition does not hold")
    if not committed.succeeded:
        note("a condition does not hold")
    problems = []
    for operation, result in zip(operations, committed.results, strict=True):
        try:
            show_result(printer, operation, result)
        except Failed as failure:
            problems.append(str(failure))
    if problems:
        raise Failed("; ".join(problems))
    if not operations:
        emit("ok")


@VOCABULARY.add("discard", drafts=True, short_help="Forget it.")
async def discard(session: StoreSession, _: Printer) -> None:
    """Forget the transaction that is being written."""
    _written(session)
    session.draft = None
    emit("ok")


def _written(session: StoreSession) -> Draft:
    if session.draft is None:
        raise Failed("there is no transaction: multi begins one")
    return session.draft
