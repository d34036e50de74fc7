"""What goes over an RPC connection once both sides have met, and its bytes. Pure.

=========  ================  ==============================================================
message    from              meaning
=========  ================  ==============================================================
Call       client            answer this, within the time that is left
Cancel     client            nobody waits for this call any more
Tell       client            take this; nothing comes back
Answer     server            the result of a call
Failure    server            why a call has no result
Heartbeat  both              I am alive, and had nothing else to say
=========  ================  ==============================================================

Each is one frame (:mod:`trio440.wire.framing`): a byte that says which it is, the fixed fields,
then names with their length before them, then the body as its method's codec wrote it. The
functions that encode return whole frames, header included, since one ``pack`` for both is what
the hot path can afford; for the same reason the messages are Structs of msgspec, which are made in
a tenth of the time.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from trio440.errors import BadMessage, InvalidParameter

__all__ = [
    "DEADLINE_EXCEEDED",
    "HEARTBEAT_FRAME",
    "HELLO",
    "MAX_DETAIL_BYTES",
    "MAX_NAME_BYTES",
    "NO_DEADLINE",
    "Answer",
    "Call",
    "Cancel",
    "Failure",
    "Heartbeat",
    "Message",
    "Tell",
    "decode_untrusted",
    "encode_answer",
    "encode_call",
    "encode_cancel",
    "encode_failure",
    "encode_name",
    "encode_tell",
]

DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
"""The name of the failure of a call whose time was over at the server."""
NO_DEADLINE: Final = -1
"""The time left of a call that may take as long as it likes."""
MAX_NAME_BYTES: Final = 255
MAX_DETAIL_BYTES: Final = 1000
"""How much of an error's text travels."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request that wants an answer."""

    id: int
    """From 1 on, and greater than that of each call before it on the connection."""
    left_us: int
    """Microseconds that are left, or :data:`NO_DEADLINE`."""
    method: str
    body: bytes


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Whoever made the call has gone."""

    id: int


class Tell(msgspec.Struct, frozen=True, gc=False):
    """A message without an answer."""

    method: str
    body: bytes


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The result of a call."""

    id: int
    body: bytes


class Failure(msgspec.Struct, frozen=True, gc=False):
    """A call that has no result, with the name and the text of what went wrong."""

    id: int
    name: str
    detail: str


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """A sign of life."""


Message: TypeAlias = Call | Cancel | Tell | Answer | Failure | Heartbeat

HELLO: Final = 0
"""The first byte of a frame of the handshake, see :mod:`trio440.rpc.hello`."""
_CALL, _CANCEL, _TELL, _ANSWER, _FAILURE, _HEARTBEAT = range(1, 7)

_LENGTH: Final = 4
_CALL_HEAD: Final = struct.Struct(">IBqq")
_ID_HEAD: Final = struct.Struct(">IBq")
_KIND_HEAD: Final = struct.Struct(">IB")
_CALL_FIELDS: Final = struct.Struct(">qqB")
_ID_FIELD: Final = struct.Struct(">q")
_CALL_SIZE: Final = _CALL_HEAD.size - _LENGTH
_ID_SIZE: Final = _ID_HEAD.size - _LENGTH
_NAME_AT: Final = 1 + _CALL_FIELDS.size
_HEARTBEAT_MESSAGE: Final = Heartbeat()


def encode_name(name: str) -> bytes:
    """Return a method's name as :func:`encode_call` and :func:`encode_tell` want it.

    Raises:
        InvalidParameter: it is empty or longer than 255 bytes of UTF-8.
    """
    data = name.encode()
    if not 1 <= len(data) <= MAX_NAME_BYTES:
        raise InvalidParameter("name", name, f"1 to {MAX_NAME_BYTES} bytes")
    return bytes([len(data)]) + data


def encode_call(call_id: int, left_us: int, name: bytes, body: bytes) -> bytes:
    """Return the frame of a :class:`Call`; ``name`` comes from :func:`encode_name`."""
    size = _CALL_SIZE + len(name) + len(body)
    return _CALL_HEAD.pack(size, _CALL, call_id, left_us) + name + body


def encode_tell(name: bytes, body: bytes) -> bytes:
    """Return the frame of a :class:`Tell`; ``name`` comes from :func:`encode_name`."""
    return _KIND_HEAD.pack(1 + len(name) + len(body), _TELL) + name + body


def encode_cancel(call_id: int) -> bytes:
    """Return the frame of a :class:`Cancel`."""
    return _ID_HEAD.pack(_ID_SIZE, _CANCEL, call_id)


def encode_answer(call_id: int, body: bytes) -> bytes:
    """Return the frame of an :class:`Answer`."""
    return _ID_HEAD.pack(_ID_SIZE + len(body), _ANSWER, call_id) + body


def encode_failure(call_id: int, name: str, detail: str) -> bytes:
    """Return the frame of a :class:`Failure`; long texts are cut."""
    shown = _cut(name or "Error", MAX_NAME_BYTES)
    rest = bytes([len(shown)]) + shown + _cut(detail, MAX_DETAIL_BYTES)
    return _ID_HEAD.pack(_ID_SIZE + len(rest), _FAILURE, call_id) + rest


HEARTBEAT_FRAME: Final = _KIND_HEAD.pack(1, _HEARTBEAT)
"""The frame of a :class:`Heartbeat`."""


def _cut(text: str, limit: int) -> bytes:
    """Encode as much of a text as fits, without half a character."""
    data = text.encode(errors="replace")[:limit]
    return data.decode(errors="ignore").encode()


def decode_untrusted(payload: bytes) -> Message:
    """Read the payload of a frame.

    Raises:
        BadMessage: it is no message of this protocol.
    """
    try:
        message = _READERS[payload[0]](payload)
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        message = None
    if message is None:
        raise BadMessage(f"a frame of {len(payload)} bytes is no message: {payload[:8].hex(' ')}")
    return message


def _read_call(payload: bytes) -> Message | None:
    call_id, left, size = _CALL_FIELDS.unpack_from(payload, 1)
    end = _NAME_AT + size
    if call_id < 1 or left < NO_DEADLINE or not size or end > len(payload):
        return None
    return Call(call_id, left, payload[_NAME_AT:end].decode(), payload[end:])


def _read_answer(payload: bytes) -> Message | None:
    return Answer(_ID_FIELD.unpack_from(payload, 1)[0], payload[_ID_SIZE:])


def _read_tell(payload: bytes) -> Message | None:
    end = 2 + payload[1]
    if not payload[1] or end > len(payload):
        return None
    return Tell(payload[2:end].decode(), payload[end:])


def _read_failure(payload: bytes) -> Message | None:
    begin = _ID_SIZE + 1
    end = begin + payload[_ID_SIZE]
    if end > len(payload):
        return None
    (call_id,) = _ID_FIELD.unpack_from(payload, 1)
    return Failure(call_id, payload[begin:end].decode(), payload[end:].decode())


def _read_cancel(payload: bytes) -> Message | None:
    (call_id,) = _ID_FIELD.unpack_from(payload, 1)
    return Cancel(call_id) if len(payload) == _ID_SIZE else None


def _read_heartbeat(payload: bytes) -> Message | None:
    return _HEARTBEAT_MESSAGE if len(payload) == 1 else None


_READERS: Final[Mapping[int, Callable[[bytes], Message | None]]] = {
    _CALL: _read_call,
    _CANCEL: _read_cancel,
    _TELL: _read_tell,
    _ANSWER: _read_answer,
    _FAILURE: _read_failure,
    _HEARTBEAT: _read_heartbeat,
}
