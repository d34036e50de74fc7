"""What players call themselves, and what they say: what may be shown to others. Pure."""

import unicodedata
from typing import Final

from trio440.errors import InvalidParameter

__all__ = ["MAX_NAME", "MAX_SPEECH", "checked_name", "seen_text"]

MAX_NAME: Final = 24
"""In characters."""
MAX_SPEECH: Final = 200
"""How many characters of one sentence are heard."""


def checked_name(text: str) -> str:
    """Return a name in the form in which keys carry it (Unicode's NFC).

    Two ways of writing one letter are one name; upper and lower case are two.

    Raises:
        InvalidParameter: it is no name; the message says why.
    """
    name = unicodedata.normalize("NFC", text)
    if reason := _what_is_wrong(name):
        raise InvalidParameter("name", text, reason)
    return name


def _what_is_wrong(name: str) -> str | None:
    if not name:
        return "not empty"
    if len(name) > MAX_NAME:
        return f"at most {MAX_NAME} characters"
    if "/" in name:
        return "without a slash, which divides the keys of the store"
    if any(each.isspace() for each in name):
        return "one word, without spaces"
    if not name.isprintable():
        return "made of characters that can be seen"
    return None


def seen_text(text: str) -> str:
    """Return what a terminal shows and does not obey, on one line, at most a sentence long."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(shown.split())[:MAX_SPEECH].rstrip()
