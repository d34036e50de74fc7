"""The members of a cluster as a table: drawn on a terminal, aligned text elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from trio440.cli.running import emit

__all__ = ["show_members"]

Row: TypeAlias = Mapping[str, Any]

NUMBERS: Final = frozenset({"term", "commit", "applied", "lag", "snapshot"})


def show_members(rows: Sequence[Row]) -> None:
    """Write one line for each member, with the keys of the rows as titles.

    Args:
        rows: of ``trio440 raft status --json``, at least one.

    Raises:
        OutputClosed: nobody reads it.
    """
    titles = [*rows[0]]
    if sys.stdout is not None and sys.stdout.isatty():
        _draw(titles, rows)
        return
    cells = [titles, *([_text(row[title]) for title in titles] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        emit("  ".join(map(str.ljust, line, widths)).rstrip())


def _draw(titles: Sequence[str], rows: Sequence[Row]) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich takes long to load
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in NUMBERS else "left")
    for row in rows:
        table.add_row(*(Text(_text(row[title])) for title in titles), style=_style(row))
    Console(highlight=False).print(table)


def _style(row: Row) -> str:
    """What is to be seen at a glance: who leads, who is gone, who is behind."""
    if not row["reachable"]:
        return "red"
    if row["role"] == "leader":
        return "bold green"
    return "yellow" if row["lag"] else ""


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
