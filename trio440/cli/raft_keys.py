"""The keys of ``trio440 raft``: what is put, read and watched."""

import json
from typing import Any, Final

import click

from trio440 import raft
from trio440.cli.raft_options import FALSE, client_options, run_client
from trio440.cli.running import emit, note
from trio440.raft import kv
from trio440.wire.codec import INT64_MAX

__all__ = ["cas", "delete", "get", "list_keys", "put", "watch"]

MOST_LISTED: Final = kv.KvLimits().list_items
"""Keys that a peer gives at a time."""


@click.command()
@client_options
@click.argument("key")
@click.argument("value")
def put(key: str, value: str, **options: Any) -> int:
    """Give KEY a VALUE."""
    return _change(kv.Put(_bytes(key), _bytes(value)), **options)


@click.command()
@client_options
@click.argument("key")
def delete(key: str, **options: Any) -> int:
    """Remove KEY; the exit status is 1 where it is not there."""
    return _change(kv.Delete(_bytes(key)), **options)


@click.command()
@client_options
@click.argument("key")
@click.argument("expected")
@click.argument("value")
@click.option("--absent", is_flag=True, help="KEY must not be there; EXPECTED is ignored.")
def cas(key: str, expected: str, value: str, *, absent: bool, **options: Any) -> int:
    """Give KEY a VALUE if it has the EXPECTED one; the exit status is 1 where it has not."""
    before = None if absent else _bytes(expected)
    return _change(kv.CompareAndSet(_bytes(key), before, _bytes(value)), **options)


@click.command()
@client_options
@click.argument("key")
def get(key: str, **options: Any) -> int:
    """Print the value of KEY alone; the exit status is 1 where it is not there."""

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> int:
        found = await _read(client, kv.Get(_bytes(key)), timeout_seconds)
        for item in found.items:
            emit(json.dumps(_item(item)) if as_json else item.value)
        return 0 if found.items else FALSE

    return run_client(ask, **options)


@click.command(name="list")
@client_options
@click.argument("prefix", default="")
@click.option(
    "--limit",
    type=click.IntRange(1, MOST_LISTED),
    default=MOST_LISTED,
    show_default=True,
    help="Print no more; where there are more, a line on stderr says so.",
)
def list_keys(prefix: str, limit: int, **options: Any) -> int:
    """Print the keys that begin with PREFIX, and their values, a tab between them."""

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> None:
        start = _bytes(prefix)
        end = kv.prefix_end(start) if start else None
        found = await _read(client, kv.List(start, end, limit), timeout_seconds)
        if found.more:
            note(f"there are more keys than these {len(found.items)}")
        if as_json:
            emit(json.dumps([_item(item) for item in found.items]))
            return
        for item in found.items:
            emit(item.key + b"\t" + item.value)

    return run_client(ask, **options)


@click.command()
@client_options
@click.argument("prefix", default="")
@click.option(
    "--after",
    type=click.IntRange(0, INT64_MAX),
    metavar="REVISION",
    help="Begin behind this revision; without it, with what is changed from now on.",
)
def watch(prefix: str, after: int | None, **options: Any) -> int:
    """Print each change of the keys that begin with PREFIX, until Ctrl-C.

    A line is REVISION put KEY VALUE or REVISION delete KEY, with tabs between; in the order of
    the revisions, without gap or repetition, whichever peers are lost meanwhile. Changes of one
    transaction have one revision. Where the cluster has forgotten changes that were to come, the
    command ends with an error that says "compacted": watch anew, and list the keys.
    """

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> None:
        async with client.watch(
            _bytes(prefix), after=after, timeout_seconds=timeout_seconds
        ) as changes:
            note(f"watching behind revision {changes.revision if after is None else after}")
            async for change in changes:
                emit(json.dumps(_event(change)) if as_json else _line(change))

    return run_client(ask, **options)


def _bytes(text: str) -> bytes:
    """Return the bytes that an argument was given as, whether they are text or not."""
    return text.encode(errors="surrogateescape")


def _line(change: kv.Change) -> bytes:
    if change.value is None:
        return b"%d\tdelete\t%b" % (change.revision, change.key)
    return b"%d\tput\t%b\t%b" % (change.revision, change.key, change.value)


def _event(change: kv.Change) -> dict[str, Any]:
    event: dict[str, Any] = {
        "revision": change.revision,
        "type": "delete" if change.value is None else "put",
        "key": change.key.decode(errors="backslashreplace"),
    }
    if change.value is not None:
        event |= {
            "value": change.value.decode(errors="backslashreplace"),
            "created": change.created,
            "version": change.version,
        }
    return event


def _change(request: kv.Command, **options: Any) -> int:
    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> int:
        data = await client.propose(kv.encode(request), timeout_seconds=timeout_seconds)
        result = kv.decode_result(data)
        if not isinstance(result, kv.Changed):
            raise click.ClickException(getattr(result, "problem", str(result)))
        if as_json:
            emit(json.dumps({"done": result.done, "revision": result.revision}))
        return 0 if result.done else FALSE

    return run_client(ask, **options)


async def _read(client: raft.Client, query: kv.Command, timeout_seconds: float) -> kv.Found:
    data = await client.read(kv.encode(query), timeout_seconds=timeout_seconds)
    result = kv.decode_result(data)
    if not isinstance(result, kv.Found):
        raise click.ClickException(getattr(result, "problem", str(result)))
    return result


def _item(item: kv.Item) -> dict[str, Any]:
    return {
        "key": item.key.decode(errors="backslashreplace"),
        "value": item.value.decode(errors="backslashreplace"),
        "created": item.created,
        "modified": item.modified,
        "version": item.version,
    }
