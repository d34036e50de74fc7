"""The keys of ``trio440 kv``: what is put, read and watched."""

import json
from collections.abc import Callable
from typing import Any, Final

import click

from trio440 import kv
from trio440.cli.kv_options import FALSE, as_bytes, as_text, client_options, run_client
from trio440.cli.options import Real
from trio440.cli.running import emit, note
from trio440.errors import InvalidParameter, OperationRefused

__all__ = [
    "TTL_SECONDS",
    "after_option",
    "check_sibling",
    "delete",
    "fields_of",
    "get",
    "limit_option",
    "list_keys",
    "put",
    "read_pages",
    "read_position",
    "replacing_option",
    "sibling_option",
    "siblings_option",
    "to_ms",
    "ttl_option",
    "watch",
    "with_siblings",
]

PAGE: Final = 1000
TTL_SECONDS: Final = Real(min=0.001, max=1e9)

ttl_option: Final = click.option(
    "--ttl", type=TTL_SECONDS, metavar="SECONDS", help="The key goes after so long."
)
limit_option: Final = click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Print no more; where there are more, a line on stderr says so.",
)
after_option: Final = click.option(
    "--after",
    metavar="POSITION",
    help="Begin behind the change of this position; otherwise with what is changed from now on.",
)


class _Context(click.ParamType[bytes]):
    """A context of siblings, in hexadecimal."""

    name = "CONTEXT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """Read what ``get --siblings --json`` has printed."""
        if isinstance(value, bytes):
            return value
        try:
            return bytes.fromhex(value)
        except ValueError:
            self.fail(f"{value!r} is no context of get --siblings --json", param, ctx)


siblings_option: Final = click.option(
    "--siblings",
    "wants_siblings",
    is_flag=True,
    help="All values that were written without knowing of each other, newest first, one a line, "
    "and their context: with --json; a shell writes it to stderr.",
)
sibling_option: Final = click.option(
    "--sibling", "beside", is_flag=True, help="Leave the values that are there beside it."
)
replacing_option: Final = click.option(
    "--replacing",
    type=_Context(),
    metavar="CONTEXT",
    help="Replace what get --siblings has shown with this context, and nothing else.",
)


@click.command()
@client_options
@click.argument("key")
@siblings_option
def get(key: str, *, wants_siblings: bool, **options: Any) -> int:
    """Print the value of KEY alone; the exit status is 1 where it is not there."""

    async def ask(space: kv.Namespace, *, as_json: bool) -> int:
        if wants_siblings:
            found = await with_siblings(space).siblings(as_bytes(key))
            _show_siblings(key, found, as_json=as_json)
            return 0 if found.entries else FALSE
        entry = await space.get(as_bytes(key))
        if entry is None:
            return FALSE
        emit(json.dumps(_row(entry)) if as_json else entry.value)
        return 0

    return run_client(ask, **options)


@click.command()
@client_options
@click.argument("key")
@click.argument("value")
@ttl_option
@sibling_option
@replacing_option
def put(
    key: str,
    value: str,
    ttl: float | None,
    *,
    beside: bool,
    replacing: bytes | None,
    **options: Any,
) -> int:
    """Give KEY a VALUE."""
    check_sibling(beside=beside, replacing=replacing)

    async def ask(space: kv.Namespace, *, as_json: bool) -> None:
        what = as_bytes(key), as_bytes(value)
        ttl_ms = to_ms(ttl)
        if beside or replacing is not None:
            shared = with_siblings(space)
            version = await shared.put_sibling(*what, replacing or b"", ttl_ms=ttl_ms)
        else:
            version = await space.put(*what, ttl_ms=ttl_ms)
        if as_json:
            emit(json.dumps({"version": version}))

    return run_client(ask, **options)


@click.command()
@client_options
@click.argument("key")
def delete(key: str, **options: Any) -> int:
    """Remove KEY; the exit status is 1 where it is not there."""

    async def ask(space: kv.Namespace, *, as_json: bool) -> int:
        existed = await space.delete(as_bytes(key))
        if as_json:
            emit(json.dumps({"existed": existed}))
        return 0 if existed else FALSE

    return run_client(ask, **options)


@click.command(name="list")
@client_options
@click.argument("prefix", default="")
@limit_option
def list_keys(prefix: str, limit: int | None, **options: Any) -> int:
    """Print the keys that begin with PREFIX, and their values, a tab between them."""

    async def ask(space: kv.Namespace, *, as_json: bool) -> None:
        def show(entry: kv.Entry) -> None:
            emit(json.dumps(_row(entry)) if as_json else entry.key + b"\t" + entry.value)

        if await read_pages(space, as_bytes(prefix), limit, show):
            note(f"there are more keys than these {limit}")

    return run_client(ask, **options)


@click.command()
@client_options
@click.argument("prefix", default="")
@after_option
def watch(prefix: str, after: str | None, **options: Any) -> int:
    """Print each change of the keys that begin with PREFIX, until Ctrl-C.

    A line is POSITION put KEY VALUE or POSITION delete KEY, with tabs between.
    """

    async def ask(space: kv.Namespace, *, as_json: bool) -> None:
        position = None if after is None else read_position(after)
        async with space.watch(as_bytes(prefix), after=position) as changes:
            note("watching")
            async for change in changes:
                emit(json.dumps(_event(change)) if as_json else b"\t".join(fields_of(change)))

    return run_client(ask, **options)


async def read_pages(
    space: kv.Namespace, prefix: bytes, limit: int | None, use: Callable[[kv.Entry], None]
) -> bool:
    """Hand out the entries with a prefix, page by page; return whether there are more.

    Args:
        space: is asked for them.
        prefix: of their keys.
        limit: the most entries; None: all.
        use: is called with each, in the order of their keys.
    """
    left, after, more = limit, None, True
    while more and left != 0:
        page = await space.list(
            prefix, after=after, limit=PAGE if left is None else min(PAGE, left)
        )
        for entry in page.entries:
            use(entry)
        more = page.more and bool(page.entries)
        after = page.entries[-1].key if page.entries else None
        left = None if left is None else left - len(page.entries)
    return more


def read_position(text: str) -> bytes:
    """Return the position of a change as it is printed.

    Raises:
        InvalidParameter: it is none.
    """
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidParameter("--after", text, "the position of a change") from None


def to_ms(seconds: float | None) -> int | None:
    """Return a time to live as the store has it."""
    return None if seconds is None else round(seconds * 1000)


def check_sibling(*, beside: bool, replacing: bytes | None) -> None:
    """Refuse options of put that exclude each other.

    Raises:
        UsageError: both are given.
    """
    if beside and replacing is not None:
        raise click.UsageError("--sibling and --replacing exclude each other")


def with_siblings(space: kv.Namespace) -> kv.EventualNamespace:
    """Return a namespace that has siblings.

    Raises:
        OperationRefused: it has none.
    """
    if not isinstance(space, kv.EventualNamespace):
        reason = f"a {space.engine} namespace has no siblings, only an eventual one has"
        raise OperationRefused(reason)
    return space


def _show_siblings(key: str, found: kv.Siblings, *, as_json: bool) -> None:
    if as_json:
        row = {
            "key": as_text(as_bytes(key)),
            "entries": [_row(entry) for entry in found.entries],
            "context": found.context.hex(),
        }
        emit(json.dumps(row))
        return
    for entry in found.entries:
        emit(entry.value)


def _row(entry: kv.Entry) -> dict[str, Any]:
    return {
        "key": as_text(entry.key),
        "value": as_text(entry.value),
        "version": entry.version,
        "ttl_ms": entry.ttl_ms,
    }


def _event(change: kv.Change) -> dict[str, Any]:
    return {
        "position": change.position.hex(),
        "key": as_text(change.key),
        "value": None if change.value is None else as_text(change.value),
        "version": change.version,
    }


def fields_of(change: kv.Change) -> tuple[bytes, ...]:
    """Return the fields of the line of a change."""
    place = change.position.hex().encode()
    if change.value is None:
        return place, b"delete", change.key
    return place, b"put", change.key, change.value
