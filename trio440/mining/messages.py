"""The miner's messages and their wire form: JSON as Go programs write and read it. Pure.

===========  ==============================  =====================================
message      from, to                        meaning
===========  ==============================  =====================================
Join         miner to server                 I will work
Request      client to server, to a miner    find the least hash of these nonces
Result       miner to server, to the client  the least hash, and the nonce it is of
===========  ==============================  =====================================

None of them carries a number of the job: a Result belongs to whatever its sender was asked for
(see :mod:`trio440.mining.scheduler`).
"""

from typing import Final, TypeAlias

import attrs

from trio440.errors import BadMessage, InvalidParameter
from trio440.mining.ranges import MAX_NONCE, NonceRange
from trio440.wire.gojson import GoType, decode_object_untrusted, encode_string, to_valid_text

__all__ = [
    "MAX_REQUEST_BYTES",
    "Join",
    "Message",
    "Request",
    "Result",
    "check_text",
    "decode_untrusted",
    "encode",
]

MAX_REQUEST_BYTES: Final = 1000
"""The longest a Request may be on the wire, whatever its nonces: what every LSP peer carries."""


@attrs.frozen
class Join:
    """A miner offers its work."""


@attrs.frozen
class Request:
    """Somebody wants the least hash of ``text`` over ``nonces``."""

    text: str
    nonces: NonceRange


@attrs.frozen
class Result:
    """The least hash, and the smallest nonce that has it."""

    hash: int
    nonce: int


Message: TypeAlias = Join | Request | Result

_JOIN, _REQUEST, _RESULT = range(3)
_FIELDS: Final = {
    "Type": GoType.INT64,
    "Data": GoType.STRING,
    "Lower": GoType.UINT64,
    "Upper": GoType.UINT64,
    "Hash": GoType.UINT64,
    "Nonce": GoType.UINT64,
}


def encode(message: Message) -> bytes:
    """Return the bytes that Go's encoder writes for a message."""
    match message:
        case Join():
            return _object(_JOIN)
        case Request(text, nonces):
            return _object(_REQUEST, text, lower=nonces.lower, upper=nonces.upper)
        case Result(found, nonce):
            return _object(_RESULT, found=found, nonce=nonce)


def _object(
    kind: int, text: str = "", *, lower: int = 0, upper: int = 0, found: int = 0, nonce: int = 0
) -> bytes:
    return (
        f'{{"Type":{kind},"Data":{encode_string(text)},"Lower":{lower},"Upper":{upper},'
        f'"Hash":{found},"Nonce":{nonce}}}'
    ).encode()


def decode_untrusted(data: bytes) -> Message:
    """Read a message as Go's decoder does: keys in any case, missing and unknown keys allowed.

    Raises:
        BadMessage: it is no message, its type is unknown, a Request has its nonces reversed or
            would not fit :data:`MAX_REQUEST_BYTES` when it is passed on.
    """
    values = decode_object_untrusted(data, _FIELDS)
    if values is None:
        return Join()  # Go fills nothing in for a null, and what is left is a Join
    match values["Type"]:
        case 0:
            return Join()
        case 1:
            if values["Lower"] > values["Upper"]:
                raise BadMessage("a Request's Lower is above its Upper")
            if _request_bytes(values["Data"]) > MAX_REQUEST_BYTES:
                raise BadMessage(f"a Request is longer than {MAX_REQUEST_BYTES} bytes")
            return Request(values["Data"], NonceRange(values["Lower"], values["Upper"]))
        case 2:
            return Result(values["Hash"], values["Nonce"])
        case unknown:
            raise BadMessage(f"there is no message type {unknown}")


def check_text(text: str) -> str:
    """Return a job's text as miners will see it, with U+FFFD for what has no UTF-8.

    Raises:
        InvalidParameter: it would not fit :data:`MAX_REQUEST_BYTES`.
    """
    size = _request_bytes(text)
    if size > MAX_REQUEST_BYTES:
        spare = MAX_REQUEST_BYTES - _request_bytes("")
        raise InvalidParameter("message", f"{text[:20]}…", f"at most {spare} bytes as JSON")
    return to_valid_text(text)


def _request_bytes(text: str) -> int:
    return len(_object(_REQUEST, text, lower=MAX_NONCE, upper=MAX_NONCE))
