"""Operations and results as bytes, many in little room; for logs and the wire. Pure.

::

    message    [code, field, field, ...]        MessagePack; the fields in the order of the class
    batch      [time in ms, [message, message, ...]]
    answer     [message, message, ...]

The codes are the tags of the classes. A message that is part of another one, as in a transaction,
has the same form.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias, get_args

import msgspec

from trio440.errors import BadMessage, InvalidParameter
from trio440.kv.operations import Operation, Refused, Result

__all__ = [
    "decode_answer",
    "decode_batch",
    "encode_answer",
    "encode_batch",
    "pack",
    "unpack_operation",
    "unpack_result",
]

Message: TypeAlias = Operation | Result

MESSAGES: Final = frozenset(get_args(Message))

_ENCODER: Final = msgspec.msgpack.Encoder()
_OPERATION: "Final[msgspec.msgpack.Decoder[Operation]]" = msgspec.msgpack.Decoder(Operation)
_RESULT: "Final[msgspec.msgpack.Decoder[Result]]" = msgspec.msgpack.Decoder(Result)
_RESULTS: Final = msgspec.msgpack.Decoder(list[Result])
_BATCH: Final = msgspec.msgpack.Decoder(tuple[int, list[msgspec.Raw]])


def pack(message: Message) -> bytes:
    """Return the bytes of one message.

    Raises:
        InvalidParameter: it is none, or a field has no wire form.
    """
    if type(message) in MESSAGES:
        try:
            return _ENCODER.encode(message)
        except (TypeError, OverflowError, ValueError):
            pass
    raise InvalidParameter("message", message, "an operation or a result")


def unpack_operation(data: bytes | msgspec.Raw) -> Operation | Refused:
    """Return the operation that was packed; a refusal where it is none."""
    try:
        return _OPERATION.decode(data)
    except msgspec.MsgspecError as error:
        return Refused(f"this is no operation: {error}", "malformed")


def unpack_result(data: bytes) -> Result:
    """Return the result that was packed.

    Raises:
        BadMessage: it is none.
    """
    try:
        return _RESULT.decode(data)
    except msgspec.MsgspecError as error:
        raise BadMessage(f"this is no result: {error}") from None


def encode_batch(now_ms: int, operations: Iterable[bytes]) -> bytes:
    """Return the bytes of operations that were packed, with the time at which they are asked."""
    return _ENCODER.encode((now_ms, list(map(msgspec.Raw, operations))))


def decode_batch(data: bytes) -> tuple[int, list[Operation | Refused]]:
    """Read a batch: its time, and its operations, with a refusal in the place of what is none.

    Raises:
        BadMessage: it is none.
    """
    try:
        now_ms, raws = _BATCH.decode(data)
    except msgspec.MsgspecError as error:
        raise BadMessage(f"this is no batch of operations: {error}") from None
    return now_ms, [unpack_operation(raw) for raw in raws]


def encode_answer(results: Iterable[bytes]) -> bytes:
    """Return the bytes of results that were packed."""
    return _ENCODER.encode(list(map(msgspec.Raw, results)))


def decode_answer(data: bytes) -> list[Result]:
    """Read results.

    Raises:
        BadMessage: it is no answer.
    """
    try:
        return _RESULTS.decode(data)
    except msgspec.MsgspecError as error:
        raise BadMessage(f"this is no answer to operations: {error}") from None
