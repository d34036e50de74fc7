"""The members of a cluster as a table: drawn on a terminal, aligned text elsewhere."""

from collections.abc import Sequence
from typing import Final

from trio440.cli.running import emit
from trio440.cli.tables import Row, align, draw, is_terminal

__all__ = ["show_members"]

NUMBERS: Final = frozenset({"term", "commit", "applied", "lag", "snapshot"})


def show_members(rows: Sequence[Row]) -> None:
    """Write one line for each member, with the keys of the rows as titles.

    Args:
        rows: of ``trio440 raft status --json``, at least one.

    Raises:
        OutputClosed: nobody reads it.
    """
    titles = [*rows[0]]
    if is_terminal():
        from rich.console import Console  # noqa: PLC0415 - rich takes long to load

        Console(highlight=False).print(draw(titles, rows, numbers=NUMBERS, style=_style))
        return
    for line in align(titles, rows):
        emit(line)


def _style(row: Row) -> str:
    """What is to be seen at a glance: who leads, who is gone, who is behind."""
    if not row["reachable"]:
        return "red"
    if row["role"] == "leader":
        return "bold green"
    return "yellow" if row["lag"] else ""
