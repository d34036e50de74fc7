"""The commands of ``trio440 kv shell`` for keys of every namespace, and for siblings."""

import click

from trio440 import kv
from trio440.cli.kv_keys import (
    after_option,
    check_sibling,
    fields_of,
    limit_option,
    read_pages,
    read_position,
    replacing_option,
    sibling_option,
    siblings_option,
    to_ms,
    ttl_option,
)
from trio440.cli.kv_options import as_bytes
from trio440.cli.kv_session import StoreSession
from trio440.cli.kv_shell_base import LIFETIME, VOCABULARY, Printer, operation_word
from trio440.cli.running import note
from trio440.wire.codec import INT64_MAX

__all__ = ["LEASE"]

LEASE = click.IntRange(1, INT64_MAX)


@operation_word("get", completes="keys")
@click.argument("key")
@siblings_option
def get(key: str, *, wants_siblings: bool) -> kv.Get | kv.GetSiblings:
    """Print the value of KEY."""
    return kv.GetSiblings(as_bytes(key)) if wants_siblings else kv.Get(as_bytes(key))


@operation_word("put", completes="keys", changes=True)
@click.argument("key")
@click.argument("value")
@ttl_option
@sibling_option
@replacing_option
@click.option(
    "--lease", type=LEASE, metavar="LEASE", help="The key goes with this one, which grant began."
)
def put(
    key: str,
    value: str,
    ttl: float | None,
    *,
    beside: bool,
    replacing: bytes | None,
    lease: int | None,
) -> kv.Put | kv.PutSibling:
    """Give KEY a VALUE."""
    check_sibling(beside=beside, replacing=replacing)
    if beside or replacing is not None:
        if lease is not None:
            raise click.UsageError("siblings have no --lease")
        return kv.PutSibling(as_bytes(key), as_bytes(value), replacing or b"", to_ms(ttl))
    return kv.Put(as_bytes(key), as_bytes(value), to_ms(ttl), lease=lease or 0)


@operation_word("delete", completes="keys", changes=True)
@click.argument("key")
def delete(key: str) -> kv.Delete:
    """Remove KEY."""
    return kv.Delete(as_bytes(key))


@operation_word("expire", completes="keys", changes=True)
@click.argument("key")
@click.argument("seconds", type=LIFETIME, metavar="SECONDS|never")
def expire(key: str, seconds: float | None) -> kv.Expire:
    """Let KEY go after so long, or never."""
    return kv.Expire(as_bytes(key), to_ms(seconds))


def _one_page(prefix: str, limit: int | None) -> kv.List:
    return kv.List(as_bytes(prefix), None, *([] if limit is None else [limit]))


@VOCABULARY.add(
    "list",
    completes="keys",
    operation=_one_page,
    short_help="Print the keys with a prefix, and their values.",
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


@operation_word("count", completes="keys")
@click.argument("prefix", default="")
def count(prefix: str) -> kv.Count:
    """Print how many keys begin with PREFIX."""
    return kv.Count(as_bytes(prefix))


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
