"""Where ``trio440 actors top`` shows what it sees: a terminal, a pipe, or a script."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import attrs

from trio440.cli.actors_rows import ACTOR_TITLES, NODE_TITLES
from trio440.cli.running import emit
from trio440.cli.tables import Row, align, draw, is_terminal

__all__ = ["Screen", "open_screen"]

NUMBERS: Final = frozenset({"life", "actors", "waiting", "rate", "handled", "restarts"})


class Screen(Protocol):
    """Where looks are shown."""

    def show(self, nodes: list[dict[str, Any]], actors: list[dict[str, Any]]) -> None:
        """Show the rows of one look."""


@contextmanager
def open_screen(*, is_json: bool, is_live: bool) -> Iterator[Screen]:
    """Open the screen that fits standard output; what raises there is ``OutputClosed``.

    Args:
        is_json: a script reads it.
        is_live: on a terminal, each look takes the place of the one before, until the context
            ends; then the screen is as it was.
    """
    if is_json:
        yield _Json()
    elif not is_terminal():
        yield _Text()
    else:
        from rich.console import Console  # noqa: PLC0415 - rich takes long to load

        console = Console(highlight=False)
        if not is_live:
            yield _Drawn(console.print)
            return
        from rich.live import Live  # noqa: PLC0415

        with Live(console=console, screen=True, auto_refresh=False) as live:
            yield _Drawn(lambda tables: live.update(tables, refresh=True))


class _Json:
    def show(self, nodes: list[dict[str, Any]], actors: list[dict[str, Any]]) -> None:
        emit(json.dumps({"nodes": nodes, "actors": actors}))


class _Text:
    def show(self, nodes: list[dict[str, Any]], actors: list[dict[str, Any]]) -> None:
        for line in (*align(NODE_TITLES, nodes), "", *align(ACTOR_TITLES, actors), ""):
            emit(line)


@attrs.frozen
class _Drawn:
    """Tables that rich draws."""

    put: Any
    """Takes what is to be drawn."""

    def show(self, nodes: list[dict[str, Any]], actors: list[dict[str, Any]]) -> None:
        from rich.console import Group  # noqa: PLC0415 - rich takes long to load

        of_nodes = draw(NODE_TITLES, nodes, numbers=NUMBERS, style=_node_style)
        of_actors = draw(ACTOR_TITLES, actors, numbers=NUMBERS, style=_actor_style)
        self.put(Group(of_nodes, "", of_actors))


def _node_style(row: Row) -> str:
    """What is to be seen at a glance: who is gone, and who may be."""
    if row["state"] == "lost":
        return "red"
    if row["state"] == "left":
        return "dim"
    return "yellow" if row["state"] == "suspect" or row["actors"] is None else ""


def _actor_style(row: Row) -> str:
    """Who has something to do, and who does nothing about it."""
    if not row["waiting"]:
        return ""
    return "bold red" if row["rate"] == 0 else "yellow"
