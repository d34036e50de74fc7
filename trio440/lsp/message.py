"""The four messages of LSP and their wire form, one JSON object in each datagram.

What is sent is what Go's encoder sends: fixed key order, no white space. What is received is
what Go's decoder takes. A message that arrives is untrusted until :func:`decode_untrusted` has
returned; Data then still carries the size and checksum its sender claimed, for
:func:`check_payload` to judge.
"""

import binascii
import enum
import re
from typing import Final, TypeAlias

import attrs

from trio440.errors import BadMessage
from trio440.wire.gojson import GoType, decode_object_untrusted

__all__ = [
    "MAX_DATAGRAM_RECEIVED",
    "MAX_DATAGRAM_SENT",
    "MAX_ISN",
    "Ack",
    "CAck",
    "Connect",
    "Data",
    "Message",
    "PayloadFault",
    "check_payload",
    "checksum",
    "decode_untrusted",
    "encode",
    "largest_payload",
]

MAX_DATAGRAM_SENT: Final = 1472
"""Bytes: what crosses an Ethernet in one piece (1500 less the IPv4 and UDP headers)."""
MAX_DATAGRAM_RECEIVED: Final = 2000
"""Bytes: longer datagrams are refused unread, as the course's programs do."""
MAX_ISN: Final = 2**32 - 1
"""Initial sequence numbers are 32 bits wide."""


@attrs.frozen
class Connect:
    """A client asks for a connection; its Data will be numbered from ``seq_num`` + 1."""

    seq_num: int


@attrs.frozen
class Data:
    """One message of the application; ``size`` and ``checksum`` as its sender claims them."""

    conn_id: int
    seq_num: int
    size: int
    checksum: int
    payload: bytes

    @classmethod
    def of(cls, conn_id: int, seq_num: int, payload: bytes) -> "Data":
        """Make the Data that carries ``payload`` truthfully."""
        size = len(payload)
        return cls(conn_id, seq_num, size, checksum(conn_id, seq_num, size, payload), payload)


@attrs.frozen
class Ack:
    """Data ``seq_num`` has arrived; 0 is a heartbeat; the client's ISN answers its Connect."""

    conn_id: int
    seq_num: int


@attrs.frozen
class CAck:
    """Every Data up to and including ``seq_num`` has arrived."""

    conn_id: int
    seq_num: int


Message: TypeAlias = Connect | Data | Ack | CAck


class PayloadFault(enum.Enum):
    """Why the payload of a Data cannot be used."""

    SHORT = "shorter than its size"
    CORRUPT = "wrong checksum"


def _i2(value: int) -> int:
    """Add the two halves of the low 32 bits in 16 bits, without carry, as the Go programs do."""
    return (value + (value >> 16)) & 0xFFFF


def checksum(conn_id: int, seq_num: int, size: int, payload: bytes) -> int:
    """Compute the 16-bit checksum of a Data message.

    The one's complement of the sum, folded to 16 bits with carry, of the three header numbers
    and the payload's little-endian 16-bit words, an odd tail padded with a zero byte. Folding
    is reduction modulo 65535 with 65535 in place of 0 for a positive sum, so the whole payload
    can be taken as one number.
    """
    total = _i2(conn_id) + _i2(seq_num) + _i2(size) + int.from_bytes(payload, "little")
    return 0xFFFF - ((total - 1) % 0xFFFF + 1 if total else 0)


def check_payload(data: Data) -> bytes | PayloadFault:
    """Return the payload cut to its claimed size, or what is wrong with it."""
    payload, size = data.payload, data.size
    if len(payload) < size:
        return PayloadFault.SHORT
    if len(payload) > size:
        payload = payload[:size]
    if checksum(data.conn_id, data.seq_num, size, payload) != data.checksum:
        return PayloadFault.CORRUPT
    return payload


def largest_payload(conn_id: int, seq_num: int) -> int:
    """Return the most bytes of payload that fit the datagram of this Data, whatever they are."""
    head = len(_DATA % (conn_id, seq_num, MAX_DATAGRAM_SENT, 0xFFFF, b""))
    return (MAX_DATAGRAM_SENT - head) // 4 * 3


_CONNECT: Final = b'{"Type":0,"ConnID":0,"SeqNum":%d,"Size":0,"Checksum":0,"Payload":null}'
_DATA: Final = b'{"Type":1,"ConnID":%d,"SeqNum":%d,"Size":%d,"Checksum":%d,"Payload":"%b"}'
_ACK: Final = b'{"Type":2,"ConnID":%d,"SeqNum":%d,"Size":0,"Checksum":0,"Payload":null}'
_CACK: Final = b'{"Type":3,"ConnID":%d,"SeqNum":%d,"Size":0,"Checksum":0,"Payload":null}'


def encode(message: Message) -> bytes:
    """Return the datagram of a message."""
    match message:
        case Data(conn_id, seq_num, size, claimed, payload):
            text = binascii.b2a_base64(payload, newline=False)
            return _DATA % (conn_id, seq_num, size, claimed, text)
        case Ack(conn_id, seq_num):
            return _ACK % (conn_id, seq_num)
        case CAck(conn_id, seq_num):
            return _CACK % (conn_id, seq_num)
        case Connect(seq_num):
            return _CONNECT % seq_num


_NUMBER: Final = rb"(0|[1-9][0-9]{0,17})"
_EXACT: Final = re.compile(
    rb'\{"Type":([0-3]),"ConnID":%b,"SeqNum":%b,"Size":%b,"Checksum":(0|[1-9][0-9]{0,4}),'
    rb'"Payload":(?:null|"([^"\\]*)")\}[ ]*' % (_NUMBER, _NUMBER, _NUMBER)
)
"""A datagram as our own and Go's encoders write it, padding included; anything else that is
legal takes the slow way."""

_FIELDS: Final = {
    "Type": GoType.INT64,
    "ConnID": GoType.INT64,
    "SeqNum": GoType.INT64,
    "Size": GoType.INT64,
    "Checksum": GoType.UINT16,
    "Payload": GoType.BYTES,
}


def decode_untrusted(datagram: bytes) -> Message | None:
    """Decode a datagram as Go's programs would.

    Returns:
        The message; None for a JSON ``null``, which means nothing here.

    Raises:
        BadMessage: it is no message, or one that no honest peer sends.
    """
    if len(datagram) > MAX_DATAGRAM_RECEIVED:
        raise BadMessage(f"a datagram of {len(datagram)} bytes, the limit is 2000")
    exact = _EXACT.fullmatch(datagram)
    if exact is None:
        return _decode_slowly_untrusted(datagram)
    kind, conn_id, seq_num, size, claimed, text = exact.groups()
    if kind == b"2" and not text:
        return _checked(2, int(conn_id), int(seq_num), 0, int(claimed), b"")
    payload = b""
    if text:
        try:
            payload = binascii.a2b_base64(text, strict_mode=True)
        except ValueError:
            return _decode_slowly_untrusted(datagram)
    return _checked(int(kind), int(conn_id), int(seq_num), int(size), int(claimed), payload)


def _decode_slowly_untrusted(datagram: bytes) -> Message | None:
    fields = decode_object_untrusted(datagram, _FIELDS)
    if fields is None:
        return None
    return _checked(
        fields["Type"],
        fields["ConnID"],
        fields["SeqNum"],
        fields["Size"],
        fields["Checksum"],
        fields["Payload"] or b"",
    )


def _checked(  # noqa: PLR0917 - the six fields of the wire form, in its order
    kind: int, conn_id: int, seq_num: int, size: int, claimed: int, payload: bytes
) -> Message:
    """Build a message from fields of the right types, refusing values without a meaning."""
    if size < 0:
        raise BadMessage(f"Size {size} is negative")
    if seq_num < 0:
        raise BadMessage(f"SeqNum {seq_num} is negative")
    if claimed > 0xFFFF:  # noqa: PLR2004 - the exact form's five digits reach beyond 16 bits
        raise BadMessage(f"Checksum {claimed} has more than 16 bits")
    match kind:
        case 0:
            if seq_num > MAX_ISN:
                raise BadMessage(f"a Connect with SeqNum {seq_num}, the limit is {MAX_ISN}")
            return Connect(seq_num)
        case 1:
            return Data(conn_id, seq_num, size, claimed, payload)
        case 2:
            return Ack(conn_id, seq_num)
        case 3:
            return CAck(conn_id, seq_num)
        case _:
            raise BadMessage(f"Type {kind} is unknown")
