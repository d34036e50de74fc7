"""``trio440 kv status``: how the servers of a store are."""

import json
from typing import Any, Final

import attrs
import click

from trio440 import kv
from trio440.cli.kv_options import at_option
from trio440.cli.running import emit, run
from trio440.cli.tables import Row, align, draw, is_terminal

__all__ = ["show_status", "status"]

NUMBERS: Final = frozenset({"keys", "lag"})


@click.command()
@at_option
@click.option("--json", "as_json", is_flag=True, help="Write JSON, with the lag of each pair.")
def status(addresses: list[str], *, as_json: bool) -> int:
    """Show every replica: whose it is, its keys, and how far it is behind the others.

    The lag of a query actor is how much later the last write is that another one has heard of, in
    milliseconds; of a Raft peer, the entries that it has not applied. What is not known is a
    hyphen, or null in JSON. A line follows for each server of --at that does not answer, and why.
    """

    async def main() -> None:
        found = await kv.look(addresses)
        if as_json:
            emit(json.dumps(attrs.asdict(found)))
            return
        show_status(found)

    return run(main)


def show_status(found: kv.StoreStatus) -> None:
    """Print a line for each replica, and for each server that has not answered."""
    _show_replicas(found)
    for server in found.unanswered:
        emit(f"{server.address} does not answer: {server.reason}")


def _show_replicas(found: kv.StoreStatus) -> None:
    rows = [_row(replica) for replica in found.replicas]
    titles = [*_row(found.replicas[0])] if rows else []
    if is_terminal():
        from rich.console import Console  # noqa: PLC0415 - rich takes long to load

        Console(highlight=False).print(draw(titles, rows, numbers=NUMBERS, style=_style))
        return
    for line in align(titles, rows):
        emit(line)


def _row(replica: kv.ReplicaStatus) -> dict[str, Any]:
    lag = None if replica.lag is None else f"{replica.lag} {replica.unit}".rstrip()
    return {
        "namespace": replica.namespace,
        "engine": replica.engine,
        "address": replica.address,
        "server": replica.server,
        "role": replica.role,
        "keys": replica.keys,
        "lag": lag,
    }


def _style(row: Row) -> str:
    if row["role"] is None:
        return "red"
    return "bold green" if row["role"] == "leader" else ""
