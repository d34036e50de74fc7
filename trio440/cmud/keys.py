"""Where the world is in the store: one key space for each thing, and how values are written. Pure.

==================================  ==========================================================
key                                 value
==================================  ==========================================================
``player/NAME``                     the level
``loc/NAME``                        the place
``balance/NAME``                    coins
``comp/NAME/KIND``                  how many of a kind of hardware
``problem/LEVEL``                   what is left of the problem that all of a level share
``room/PLACE/here/NAME/SESSION``    the level; is renewed while somebody is there, and goes alone
``room/PLACE/said/NAME/SESSION/N``  what was said; goes after a minute
``receipt/NAME/SESSION``            the last change that a session made to the world
==================================  ==========================================================

No name holds a slash, so that no key of one player begins with those of another. Whoever else
writes to the store may write nonsense: a value that is none raises, and is left as it is.
"""

from typing import Final

import attrs

from trio440.cmud.names import checked_name, seen_text
from trio440.cmud.places import PLACES
from trio440.cmud.rules import Kind, Level
from trio440.errors import BadMessage, InvalidParameter

__all__ = [
    "Here",
    "Said",
    "balance",
    "comp",
    "decode_level",
    "decode_number",
    "decode_place",
    "here",
    "loc",
    "number",
    "player",
    "problem",
    "read_room",
    "receipt",
    "room",
    "said",
]

MAX_DIGITS: Final = 30
"""Of a number in the store: more coins than all of time can mine."""


def player(name: str) -> bytes:
    """The key of a player's level."""
    return f"player/{name}".encode()


def loc(name: str) -> bytes:
    """The key of a player's place."""
    return f"loc/{name}".encode()


def balance(name: str) -> bytes:
    """The key of a player's coins."""
    return f"balance/{name}".encode()


def comp(name: str, kind: Kind) -> bytes:
    """The key of how many of a kind a player has."""
    return f"comp/{name}/{kind.title}".encode()


def problem(level: Level) -> bytes:
    """The key of a level's problem."""
    return f"problem/{level.title}".encode()


def receipt(name: str, session: str) -> bytes:
    """The key of the last change that a session made."""
    return f"receipt/{name}/{session}".encode()


def room(place: str) -> bytes:
    """What the keys of a place begin with."""
    return f"room/{place}/".encode()


def here(place: str, name: str, session: str) -> bytes:
    """The key of a player's presence."""
    return f"room/{place}/here/{name}/{session}".encode()


def said(place: str, name: str, session: str, count: int) -> bytes:
    """The key of something that was said; they are in the order in which a session said them."""
    return f"room/{place}/said/{name}/{session}/{count:09}".encode()


# What they hold


def number(value: int) -> bytes:
    """Write a number."""
    return str(value).encode()


def decode_number(key: bytes, value: bytes, *, least: int = 0, most: int | None = None) -> int:
    """Read a number.

    Raises:
        BadMessage: it is none, or out of range.
    """
    if value.isdigit() and len(value) <= MAX_DIGITS:
        found = int(value)
        if found >= least and (most is None or found <= most):
            return found
    raise _nonsense(key, value)


def decode_level(key: bytes, value: bytes) -> Level:
    """Read a level.

    Raises:
        BadMessage: it is none.
    """
    for level in Level:
        if value == level.title.encode():
            return level
    raise _nonsense(key, value)


def decode_place(key: bytes, value: bytes) -> str:
    """Read the name of a place.

    Raises:
        BadMessage: it is none.
    """
    for name in PLACES:
        if value == name.encode():
            return name
    raise _nonsense(key, value)


def _nonsense(key: bytes, value: bytes) -> BadMessage:
    shown = value[:40].decode(errors="backslashreplace")
    return BadMessage(f"{key.decode(errors='backslashreplace')} of the store cannot be {shown!r}")


# Rooms


@attrs.frozen
class Here:
    """Somebody is in a room."""

    name: str
    session: str


@attrs.frozen
class Said:
    """Somebody said something there."""

    name: str
    session: str
    text: str
    """Fit to be shown."""


def read_room(place: str, key: bytes, value: bytes | None) -> Here | Said | None:
    """Read a key of a room, None for what is no business of the game.

    Args:
        place: whose keys begin with :func:`room`.
        key: such a key.
        value: None where the key is gone.
    """
    try:
        kind, name, *rest = key.removeprefix(room(place)).decode().split("/")
        if checked_name(name) != name:
            return None
        text = (value or b"").decode(errors="replace")
    except (ValueError, InvalidParameter):
        return None
    match kind, rest:
        case "here", [session]:
            return Here(name, session)
        case "said", [session, _]:
            return Said(name, session, seen_text(text))
    return None
