"""Redis' patterns of keys and channels: ``*``, ``?``, ``[a-c]``, ``[^a]`` and a backslash. Pure."""

import re
from collections.abc import Callable
from typing import Final

__all__ = ["MATCH_STEPS", "literal_prefix", "match_steps", "matcher"]

MATCH_STEPS: Final = 1 << 20
"""As many of :func:`match_steps` take about a millisecond or two: others are to have their turn."""


def literal_prefix(pattern: bytes) -> bytes:
    """Return what everything that matches begins with."""
    match = re.match(rb"[^*?\[\\]*", pattern)
    return match[0] if match else b""


def match_steps(pattern: bytes, text: bytes) -> int:
    """Return what it takes at most to see whether a text matches."""
    return (len(pattern) + 1) * (len(text) + 1)


def matcher(pattern: bytes) -> Callable[[bytes], bool]:
    """Return what tells whether bytes match a pattern as a whole.

    It takes time in proportion to their length times that of the pattern, whatever they are: each
    part between two stars is taken where it first fits, and this is not gone back on.
    """
    parts = _parts(pattern)
    if len(parts) == 1:
        whole = re.compile(parts[0], re.DOTALL)
        return lambda text: whole.fullmatch(text) is not None
    between = b"".join(b"(?>.*?%b)" % part for part in parts[1:-1] if part)
    begins = re.compile(parts[0] + between, re.DOTALL)
    ends = re.compile(parts[-1], re.DOTALL)
    end_size = _width(pattern)

    def matches(text: bytes) -> bool:
        found = begins.match(text)
        if found is None:
            return False
        tail = len(text) - end_size
        return tail >= found.end() and ends.fullmatch(text, tail) is not None

    return matches


def _parts(pattern: bytes) -> list[bytes]:
    """Return a regular expression for each part between stars."""
    parts = [b""]
    position = 0
    while position < len(pattern):
        piece, position = _piece(pattern, position)
        if piece == b"*":
            parts.append(b"")
        else:
            parts[-1] += piece
    return parts


def _width(pattern: bytes) -> int:
    """Return how many bytes the part behind the last star takes."""
    width = position = 0
    while position < len(pattern):
        piece, position = _piece(pattern, position)
        width = 0 if piece == b"*" else width + 1
    return width


def _piece(pattern: bytes, position: int) -> tuple[bytes, int]:
    """Return the regular expression of one byte of a text, or ``*``, and what comes after it."""
    match pattern[position : position + 1]:
        case b"*":
            return b"*", position + 1
        case b"?":
            return b".", position + 1
        case b"[":
            return _choice(pattern, position + 1)
        case b"\\" if position + 1 < len(pattern):
            return re.escape(pattern[position + 1 : position + 2]), position + 2
        case byte:
            return re.escape(byte), position + 1


def _choice(pattern: bytes, position: int) -> tuple[bytes, int]:
    """Return the expression of a choice of bytes; without its end it goes to the pattern's."""
    negated = pattern[position : position + 1] == b"^"
    position += negated
    chosen: set[int] = set()
    while position < len(pattern) and pattern[position] != ord("]"):
        if pattern[position] == ord("\\") and position + 1 < len(pattern):
            chosen.add(pattern[position + 1])
            position += 2
        elif pattern[position + 1 : position + 2] == b"-" and position + 2 < len(pattern):
            low, high = sorted((pattern[position], pattern[position + 2]))
            chosen.update(range(low, high + 1))
            position += 3
        else:
            chosen.add(pattern[position])
            position += 1
    if not chosen:
        return b"." if negated else b"(?!).", position + 1
    return b"[%b%b]" % (b"^" * negated, _ranges(sorted(chosen))), position + 1


def _ranges(members: list[int]) -> bytes:
    """Return what stands for bytes within the brackets, as few characters as it takes."""
    found: list[tuple[int, int]] = []
    for byte in members:
        low = found.pop()[0] if found and found[-1][1] == byte - 1 else byte
        found.append((low, byte))
    return b"".join(
        rb"\x%02x" % low if low == high else rb"\x%02x-\x%02x" % (low, high) for low, high in found
    )
