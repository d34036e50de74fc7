"""What a RESP server says, as bytes. Pure.

RESP2 and RESP3 differ in what is not there, in maps and sets, and in what nobody has asked for
(pushes); an :class:`Encoding` is one of the two. What nests is given its parts encoded.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

__all__ = [
    "OK",
    "QUEUED",
    "RESP2",
    "RESP3",
    "Encoding",
    "array",
    "bulk",
    "error",
    "integer",
    "simple",
]

OK: Final = b"+OK\r\n"
QUEUED: Final = b"+QUEUED\r\n"

LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")


def bulk(value: bytes) -> bytes:
    """Encode bytes."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def integer(value: int) -> bytes:
    """Encode an int64."""
    return b":%d\r\n" % value


def simple(text: str) -> bytes:
    """Encode a short word of ASCII."""
    return b"+%b\r\n" % text.encode()


def error(text: str) -> bytes:
    """Encode an error: its code, a blank, one line; line ends in it become blanks."""
    line = text.encode("utf-8", "surrogateescape")
    return b"-%b\r\n" % line.translate(LINE_ENDS)


def array(items: Sequence[bytes]) -> bytes:
    """Put encoded values into an array."""
    return b"*%d\r\n%b" % (len(items), b"".join(items))


@attrs.frozen
class Encoding:
    """One version of the protocol."""

    version: int
    null: bytes
    """A value that is not there."""
    null_array: bytes
    """An array that is not there."""
    map_mark: bytes
    set_mark: bytes
    push_mark: bytes

    def optional(self, value: bytes | None) -> bytes:
        """Encode bytes that may not be there."""
        return self.null if value is None else b"$%d\r\n%b\r\n" % (len(value), value)

    def mapping(self, pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Encode a map, in RESP2 an array of keys and values in turn."""
        size = len(pairs) if self.map_mark == b"%" else 2 * len(pairs)
        return self._nested(self.map_mark, size, (part for pair in pairs for part in pair))

    def unordered(self, items: Sequence[bytes]) -> bytes:
        """Encode a set, in RESP2 an array."""
        return self._nested(self.set_mark, len(items), items)

    def push(self, items: Sequence[bytes]) -> bytes:
        """Encode what nobody has asked for, in RESP2 an array."""
        return self._nested(self.push_mark, len(items), items)

    @staticmethod
    def _nested(mark: bytes, size: int, items: Iterable[bytes]) -> bytes:
        return b"%b%d\r\n%b" % (mark, size, b"".join(items))


RESP2: Final = Encoding(2, b"$-1\r\n", b"*-1\r\n", b"*", b"*", b"*")
RESP3: Final = Encoding(3, b"_\r\n", b"_\r\n", b"%", b"~", b">")
