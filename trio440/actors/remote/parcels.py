"""What one system of actors sends to another, and its wire form. Pure.

=========  =====================================================================
parcel     meaning
=========  =====================================================================
Told       a message for an actor, or for a one-shot reference
Asked      a question; its answer goes to a one-shot reference of the sender
Answered   the answer to a question
Failed     a question has no answer, and why
Watch      tell me when this actor has ended
Unwatch    forget that
Ended      an actor that is watched has ended, or is not there
Stop       let this actor end
Shared     names that the sender has registered for the whole cluster
Received   all sure parcels up to this number have come
=========  =====================================================================

A parcel is a MessagePack array that begins with its number, and is written once, where it is
told. Parcels that follow each other travel as one :class:`Batch`. A parcel for an actor names the
life of the system that it is meant for, so that a later one does not take it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeAlias

import attrs
import msgspec

from trio440.errors import BadMessage, InvalidParameter
from trio440.wire.codec import INT64_MAX

__all__ = [
    "BATCH_BYTES",
    "MOST_PARCELS",
    "PLAIN",
    "Answered",
    "Asked",
    "Batch",
    "Ended",
    "Failed",
    "Parcel",
    "Received",
    "Shared",
    "Stop",
    "Told",
    "Unwatch",
    "Watch",
    "decode_plain_untrusted",
    "decode_untrusted",
    "encode",
    "encode_plain",
    "join",
    "shown",
]

LONGEST_DETAIL: Final = 400
MOST_PARCELS: Final = 1000
"""In one batch."""
BATCH_BYTES: Final = 128
"""What a batch takes beside its parcels, at most."""
LONGEST_NAME: Final = 200
PLAIN: Final = ""
"""The name of an answer that is no message but a value of its own."""

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
Counter: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=INT64_MAX)]
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
Detail: TypeAlias = Annotated[str, msgspec.Meta(max_length=LONGEST_DETAIL)]


class Told(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A message for an actor, or for a one-shot reference."""

    to: Counter
    life: Number
    """Of the system that the receiver is in."""
    sender: Number
    """The counter of the actor that sends it; 0 from outside of actors."""
    name: Name
    """Of the message's class."""
    version: Counter
    body: bytes


class Asked(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A question."""

    to: Counter
    life: Number
    sender: Number
    name: Name
    version: Counter
    body: bytes
    shot: Counter
    """Of the one-shot reference that waits for the answer."""
    left_us: Number
    """Microseconds that it still waits."""


class Answered(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The answer to a question."""

    shot: Counter
    life: Number
    name: Name
    """Of its class; ``PLAIN`` when it is a plain value."""
    version: Counter
    body: bytes


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A question has no answer."""

    shot: Counter
    life: Number
    kind: Name
    """``full``, ``stopped`` or ``failed``."""
    to: Number
    """The counter of who was asked."""
    number: Number
    """Of ``full``: the mailbox's capacity."""
    detail: Detail


class Watch(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Tell me when this actor has ended."""

    watch: Counter
    to: Counter
    life: Number


class Unwatch(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Forget a watch."""

    watch: Counter
    life: Number


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """An actor that is watched has ended, or is not there."""

    watch: Counter
    life: Number
    """Of the system that watches."""
    reason: Name
    detail: Detail


class Stop(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Let this actor end."""

    to: Counter
    life: Number
    drain: bool
    left_us: Number
    """Microseconds after which it is cancelled."""


class Shared(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Names that the sender has registered for the whole cluster."""

    life: Number
    update: bytes


class Received(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """All sure parcels up to this number have come."""

    life: Number
    link: Number
    """Of the system that sent them: which of its links it was."""
    number: Number


Parcel: TypeAlias = (
    Told | Asked | Answered | Failed | Watch | Unwatch | Ended | Stop | Shared | Received
)


@attrs.frozen
class Batch:
    """Parcels that follow each other in one of the two streams from one system to another."""

    life: int
    """Of the receiver, as the sender knows it."""
    link: int
    """Which of the sender's links this is: a later one to the same system has a higher number, and
    its parcels are counted anew."""
    first: int
    """The first parcel's number in its stream, from 1."""
    sure: bool
    """Which stream: the one whose parcels are sent until they are received, or the other."""
    parcels: bytes


_ENCODER: Final = msgspec.msgpack.Encoder()
_PARCELS: Final[msgspec.msgpack.Decoder[list[Parcel]]] = msgspec.msgpack.Decoder(list[Parcel])
_ANYTHING: Final = msgspec.msgpack.Decoder()
_ARRAY: Final = b"\xdd"


def encode(parcel: Parcel) -> bytes:
    """Return the wire form of a parcel."""
    return _ENCODER.encode(parcel)


def join(parcels: Sequence[bytes]) -> bytes:
    """Return the parcels of a batch."""
    return b"".join((_ARRAY, len(parcels).to_bytes(4), *parcels))


def shown(text: str) -> str:
    """Return as much of a text as goes into a parcel; what is no Unicode is a question mark."""
    return text[:LONGEST_DETAIL].encode(errors="replace").decode()


def decode_untrusted(parcels: bytes) -> list[Parcel]:
    """Read the parcels of a batch that came from anywhere.

    Raises:
        BadMessage: they are none, or more than ``MOST_PARCELS``; then none is read.
    """
    head = parcels[:5]
    if not head.startswith(_ARRAY) or int.from_bytes(head[1:]) > MOST_PARCELS:
        raise BadMessage(f"no batch of at most {MOST_PARCELS} parcels")
    try:
        return _PARCELS.decode(parcels)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadMessage(f"no parcels: {str(error)[:200]}") from None


def encode_plain(value: Any) -> bytes:
    """Return the wire form of an answer that is no message.

    Raises:
        InvalidParameter: it has none.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidParameter("an answer", value, "what MessagePack can hold") from error


def decode_plain_untrusted(data: bytes) -> bool | int | float | str | bytes | None:
    """Read an answer that came from anywhere.

    Raises:
        BadMessage: it is none.
    """
    try:
        value = _ANYTHING.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadMessage(f"no answer: {str(error)[:200]}") from None
    match value:
        case int() if value > INT64_MAX:
            raise BadMessage(f"no answer: {value} is outside int64")
        case bool() | int() | float() | str() | bytes() | None:
            return value
    raise BadMessage(f"no answer: a {type(value).__name__} is no plain value")
