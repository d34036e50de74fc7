"""Rows as a table: drawn by rich on a terminal, aligned text elsewhere."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Row", "align", "draw", "is_terminal"]

Row: TypeAlias = Mapping[str, Any]
"""By the titles of the columns: text, a number, a truth, or None for what is not known."""


def is_terminal() -> bool:
    """Whether standard output is a person's."""
    return sys.stdout is not None and sys.stdout.isatty()


def align(titles: Sequence[str], rows: Iterable[Row]) -> list[str]:
    """Return a line of titles and one for each row, in columns."""
    cells = [titles, *([_text(row[title]) for title in titles] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def draw(
    titles: Sequence[str],
    rows: Iterable[Row],
    *,
    numbers: frozenset[str],
    style: Callable[[Row], str],
) -> "Table":
    """Return a table that rich prints.

    Args:
        titles: of the columns, which are keys of the rows.
        rows: in their order.
        numbers: the columns that are aligned at their right.
        style: gives that of a row, in rich's words; empty: none.
    """
    from rich.table import Table  # noqa: PLC0415 - rich takes long to load
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in numbers else "left")
    for row in rows:
        table.add_row(*(Text(_text(row[title])) for title in titles), style=style(row))
    return table


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # What a terminal would obey, and not show, may come from another machine.
    return "".join(each if each.isprintable() else "?" for each in str(value))
