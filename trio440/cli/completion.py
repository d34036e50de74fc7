"""Completes the word that is being typed, in the quoting of a shell. Pure.

What is typed is read as :func:`shlex.split` reads it, but for its last word, which may lack the
end of its quotes.
"""

import os.path
import re
from collections.abc import Sequence
from typing import Final

import attrs

__all__ = ["Completed", "Typed", "complete", "split_typed"]

PIECE: Final = re.compile(
    r"""
    (?P<space>   [ \t\r\n]+ )
    | ' (?P<single> [^']* ) (?: ' | \Z )
    | " (?P<double> (?: [^"\\] | \\. )* ) (?: " | \\? \Z )
    | \\ (?P<escaped> . | \Z )
    | (?P<plain> [^ \t\r\n'"\\]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
ESCAPED_IN_DOUBLE: Final = re.compile(r'\\(["\\])')
TO_ESCAPE: Final = re.compile(r"[^\w@%+=:,./-]")


@attrs.frozen
class Typed:
    """The words before the cursor, without their quoting."""

    words: tuple[str, ...]
    """Those that are complete."""
    word: str
    """The one that is being typed; empty where it has not begun."""
    start: int
    """Where it begins in the text."""


@attrs.frozen
class Completed:
    """What comes of the word that is being typed."""

    text: str | None = None
    """What is to stand in its place, quoted; None: it stays."""
    choices: tuple[str, ...] = ()
    """What it may become, where that is to be shown."""
    more: bool = False
    """Whether there are more than these."""


def split_typed(text: str) -> Typed:
    """Return the words of what stands before the cursor."""
    words: list[str] = []
    word: str | None = None
    start = len(text)
    for match in PIECE.finditer(text):
        kind = match.lastgroup or ""
        if kind == "space":
            words += [] if word is None else [word]
            word, start = None, len(text)
            continue
        piece = match[kind]
        if kind == "double":
            piece = ESCAPED_IN_DOUBLE.sub(r"\1", piece)
        if word is None:
            word, start = "", match.start()
        word += piece
    return Typed(tuple(words), word or "", start)


def complete(word: str, names: Sequence[str], *, more: bool = False) -> Completed:
    """Complete a word as far as there is one way to go on; where there is none, give the choices.

    Args:
        word: without its quoting.
        names: what it may become; those that do not begin with it are left out.
        more: whether there are more names, so that what these have in common says nothing.
    """
    found = tuple(name for name in names if name.startswith(word))
    if len(found) == 1 and not more:
        return Completed(_quoted(found[0]) + " ")
    common = os.path.commonprefix(found)  # noqa: RUF071 - of any text, and no paths
    if len(common) > len(word) and not more:
        return Completed(_quoted(common))
    return Completed(None, found, more)


def _quoted(text: str) -> str:
    """Return how a text is typed, so that more may follow."""
    return TO_ESCAPE.sub(r"\\\g<0>", text)
