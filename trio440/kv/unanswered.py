"""Why a server of a store has not answered, in words for whoever asked. Pure."""

from collections.abc import Iterable
from typing import Final

import attrs

from trio440.errors import AddressError, ConnectionRefused, HandshakeRefused, Trio440Error

__all__ = ["Unanswered", "explain", "join_problems"]

NOBODY: Final = "nobody listens there"
MOST_NAMED: Final = 8
"""Servers whose problems one line tells; of more it gives the number."""
LONGEST_PROBLEM: Final = 200
"""Characters of the problem of one server."""


def _one_line(text: str) -> str:
    """Return a text, which may be a stranger's, without what a terminal would obey."""
    line = " ".join(text.split())[:LONGEST_PROBLEM]
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in line
    )


@attrs.frozen
class Unanswered:
    """A server that was asked, and has not answered."""

    address: str
    """``HOST:PORT``."""
    reason: str = attrs.field(converter=_one_line)
    """In words that stand by themselves behind a colon; one line of bounded length."""

    def __str__(self) -> str:
        if self.reason == NOBODY:
            return f"nobody listens at {self.address}"
        return f"{self.address} did not answer: {self.reason}"


def explain(address: str, failure: Trio440Error | None, seconds: float | None) -> Unanswered:
    """Say why a server did not answer to which there is no connection.

    Args:
        address: of the server, ``HOST:PORT``.
        failure: of the last attempt to connect, if it has ended.
        seconds: how long the server had; None: an attempt has ended before its time was over.
    """
    match failure:
        case ConnectionRefused(nobody_listens=True):
            reason = NOBODY
        case AddressError(problem=problem):
            reason = f"it {problem}"
        case HandshakeRefused(reason="busy"):
            reason = failure.detail
        case None:
            broke = seconds is None
            reason = "the connection broke" if broke else f"nothing came within {seconds:.3g} s"
        case _:
            reason = f"it is no port for clients of a store: {failure}"
    return Unanswered(address, reason)


def join_problems(problems: Iterable[object]) -> str:
    """Return one line, of bounded length, that tells the problems of several servers."""
    said = [_one_line(str(problem)) for problem in problems]
    rest = len(said) - MOST_NAMED
    return "; ".join(said[:MOST_NAMED]) + (f"; and {rest} more" if rest > 0 else "")
