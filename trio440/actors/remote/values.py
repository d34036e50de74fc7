"""Values that cross between systems: messages, and plain values without a class. Pure."""

from typing import Any

import attrs

from trio440.actors.messages import MARK, Vocabulary
from trio440.actors.remote.parcels import PLAIN, decode_plain_untrusted, encode_plain

__all__ = ["Value", "decode_value_untrusted", "encode_value"]


@attrs.frozen
class Value:
    """A value on its way."""

    name: str
    """Of its class; ``PLAIN`` for one without."""
    version: int
    body: bytes


def encode_value(value: Any, vocabulary: Vocabulary) -> Value:
    """Return the wire form of a message or of a plain value.

    Raises:
        InvalidParameter: it has none.
    """
    kind = type(value)
    if MARK not in vars(kind):
        return Value(PLAIN, 1, encode_plain(value))
    entry = vocabulary.learn(kind)
    return Value(entry.name, entry.version, entry.codec.encode(value))


def decode_value_untrusted(value: Value, vocabulary: Vocabulary) -> Any:
    """Read a value that came from anywhere.

    Raises:
        BadMessage: it is none, or of a class that is not known here.
    """
    if value.name == PLAIN:
        return decode_plain_untrusted(value.body)
    return vocabulary.decode_untrusted(value.name, value.version, value.body)
