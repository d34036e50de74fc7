"""JSON objects as Go's ``encoding/json`` reads and writes them. Pure.

LSP and the miner speak to Go programs, so their decoders take exactly what Go's decoder takes
when it fills a struct:

- keys in any case (an exact match first), unknown keys passed over, of doubled keys the last;
- a missing key, and ``null``, leave the zero value;
- white space around the object; a lone ``null`` instead of an object;
- strings with invalid UTF-8 or lone surrogates, each bad byte or half read as U+FFFD;
- byte strings as padded base64 with line breaks anywhere, or as an array of numbers;

and refuse the rest: floats where an integer belongs (``1.0`` and ``1e2`` too), numbers out of
range, values of another type, bad base64, text behind the object. Numbers stay literals until
a field says what they are, so that a literal of any length is harmless.

One limit is ours: values nested deeper than :data:`MAX_DEPTH` are refused (Go: 10 000).
"""

import base64
import binascii
import enum
import json
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final, NoReturn

from trio440.errors import BadMessage

__all__ = ["MAX_DEPTH", "GoType", "decode_object_untrusted", "encode_string", "to_valid_text"]

MAX_DEPTH: Final = 200
"""Objects and arrays may be nested this deep; far below the interpreter's own limit."""

MAX_INTEGER_LITERAL: Final = 20
"""Characters of the longest literal in range: ``-9223372036854775808``."""


class GoType(enum.Enum):
    """The type of a struct's field; what it becomes here, and its zero value."""

    INT64 = "int64"
    """Go's ``int`` and ``int64``: an int, 0."""
    UINT64 = "uint64"
    """An int, 0."""
    UINT32 = "uint32"
    """An int, 0."""
    UINT16 = "uint16"
    """An int, 0."""
    STRING = "string"
    """A str without surrogates, ``""``."""
    BYTES = "[]byte"
    """Bytes, or None, which is its zero value."""


_INTEGER_RANGES: Final = {
    GoType.INT64: (-(2**63), 2**63 - 1),
    GoType.UINT64: (0, 2**64 - 1),
    GoType.UINT32: (0, 2**32 - 1),
    GoType.UINT16: (0, 2**16 - 1),
}
_ZERO: Final[dict[GoType, int | str | None]] = {
    **dict.fromkeys(_INTEGER_RANGES, 0),
    GoType.STRING: "",
    GoType.BYTES: None,
}


class _Number(str):
    """A number's literal, as it stood in the text."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """An object's keys and values in the order they stood, doubled keys included."""

    __slots__ = ()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and the infinities are Python's addition to JSON


_DECODER: Final = json.JSONDecoder(
    parse_int=_Number,
    parse_float=_Number,
    parse_constant=_refuse_constant,
    object_pairs_hook=_Object,
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_STRING_LITERAL: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STEPS: Final = {bracket: 1 if bracket in b"[{" else -1 for bracket in b"[]{}"}
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _STEPS)


def decode_object_untrusted(data: bytes, fields: Mapping[str, GoType]) -> dict[str, Any] | None:
    """Read one JSON object into the values of ``fields``, as Go would fill a struct with them.

    Args:
        data: the text in UTF-8, of any length; the caller limits it.
        fields: names and types of the struct's fields; names are ASCII.

    Returns:
        A value for every field, with the zero value for those that were not given; None when
        the text is a lone ``null``, which Go takes for an empty struct.

    Raises:
        BadMessage: Go would refuse it, or it is nested deeper than :data:`MAX_DEPTH`. Nothing
            else is ever raised.
    """
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise BadMessage("JSON is nested too deep")
    try:
        # An undecodable byte becomes a surrogate here and U+FFFD, one for each byte, below.
        document = _DECODER.decode(data.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        raise BadMessage("not JSON") from None
    if document is None:
        return None
    if not isinstance(document, _Object):
        raise BadMessage("not a JSON object")
    values: dict[str, Any] = {name: _ZERO[kind] for name, kind in fields.items()}
    folded: dict[str, str] = {}
    for key, value in document:
        name: str | None = key
        if key not in fields:
            folded = folded or {_fold(field): field for field in fields}
            name = folded.get(_fold(key))
        if name is not None:
            kind = fields[name]
            if value is not None:
                values[name] = _convert(name, kind, value)
            elif kind is GoType.BYTES:
                values[name] = None
    return values


def _depth(data: bytes) -> int:
    """Return how deep brackets nest outside of strings; more than the truth if not JSON."""
    brackets = _STRING_LITERAL.sub(b"", data).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _fold(key: str) -> str:
    """Return one spelling for all that Go takes for the same ASCII name.

    Beside the ASCII letters, Go's folding knows the long s and the Kelvin sign.
    """
    if key.isascii():
        return key.lower()
    return key.replace("\u017f", "s").replace("\u212a", "k").translate(_ASCII_LOWER)


_ASCII_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _convert(name: str, kind: GoType, value: Any) -> int | str | bytes:
    """Turn one JSON value, not null, into the field's type."""
    if kind is GoType.STRING:
        if isinstance(value, str) and not isinstance(value, _Number):
            return to_valid_text(value)
    elif kind is GoType.BYTES:
        if isinstance(value, str) and not isinstance(value, _Number):
            return _bytes_of_base64(name, value)
        if isinstance(value, list) and not isinstance(value, _Object):
            return bytes(_integer(name, element, 0, 255) for element in value)
    else:
        return _integer(name, value, *_INTEGER_RANGES[kind])
    raise BadMessage(f"{name} is no {kind.value}")


def _integer(name: str, value: Any, lowest: int, highest: int) -> int:
    if value is None:
        return 0
    if not isinstance(value, _Number):
        raise BadMessage(f"{name} is no number")
    number = None
    if len(value) <= MAX_INTEGER_LITERAL and (lowest < 0 or value[0] != "-"):
        try:
            number = int(value)
        except ValueError:  # a fraction or an exponent
            number = None
    if number is None or not lowest <= number <= highest:
        raise BadMessage(f"{name} is no integer from {lowest} to {highest}")
    return number


def _bytes_of_base64(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (ValueError, binascii.Error):
        raise BadMessage(f"{name} is no base64") from None


def to_valid_text(text: str) -> str:
    """Replace every surrogate by U+FFFD, as Go's decoder does: the result encodes to UTF-8.

    Surrogates stand for undecodable bytes in what Python takes from the command line.
    """
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


_ESCAPES: Final = {
    **{code: f"\\u{code:04x}" for code in (*range(0x20), *map(ord, "<>&"), 0x2028, 0x2029)},
    **dict.fromkeys(range(0xD800, 0xE000), "\\ufffd"),
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\b"): "\\b",
    ord("\f"): "\\f",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}


def encode_string(text: str) -> str:
    r"""Return ``text`` as a JSON string in quotes, with the escapes that Go writes.

    Beside quotes, backslashes and control characters, Go escapes ``<``, ``>``, ``&``, U+2028
    and U+2029, and writes ``\ufffd`` for what has no UTF-8.
    """
    return f'"{text.translate(_ESCAPES)}"'
