"""Values that cross between systems: messages, plain values without a class, references. Pure."""

from typing import Any

import attrs

from trio440.actors.messages import MARK, Vocabulary
from trio440.actors.ref import Ref
from trio440.actors.remote.parcels import PLAIN, decode_plain_untrusted, encode_plain
from trio440.rpc.hello import MAX_ID_LENGTH
from trio440.wire.codec import INT64_MAX

__all__ = ["Value", "can_be_sent", "decode_value_untrusted", "encode_value"]


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


def can_be_sent(ref: Ref[Any]) -> bool:
    """Whether a system may have made a reference; one that was made up may hold anything."""
    return (
        type(ref.counter) is type(ref.incarnation) is int
        and 1 <= ref.counter <= INT64_MAX
        and 0 <= ref.incarnation <= INT64_MAX
        and 1 <= len(ref.address) <= MAX_ID_LENGTH
    )
