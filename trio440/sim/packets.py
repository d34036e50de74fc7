"""What a simulated network carries and how it is written in a trace. Pure values."""

import zlib
from typing import Final, Literal, NamedTuple, TypeAlias

from trio440.core.host import Address, format_address

__all__ = ["HEADER_BYTES", "Packet", "PacketKind", "datagram_text", "payload_text"]

PacketKind: TypeAlias = Literal["syn", "syn-ack", "data", "ack", "fin", "rst", "again"]
"""``again`` is what was lost, sent once more to learn whether the other side still knows."""

HEADER_BYTES: Final = 40
"""What a segment costs beside its data."""
SHOWN_BYTES: Final = 80
"""How much of a payload a trace shows."""


class Packet(NamedTuple):
    """One TCP segment."""

    kind: PacketKind
    connection: str
    """Which connection it belongs to; equal at both ends, and no other has it ever."""
    source: Address
    destination: Address
    data: bytes = b""
    end: int = 0
    """How much its sender has sent with it, in bytes, the end of the stream counting as one."""
    received: int = 0
    """How much its sender has received, counted in the same way."""
    read: int = 0
    """How many bytes of that its sender's program has read."""

    def text(self) -> str:
        """Write the packet for a trace."""
        way = f"tcp {format_address(self.source)} > {format_address(self.destination)}"
        return f"{way} {payload_text(self.data)}" if self.kind == "data" else f"{way} {self.kind}"


def datagram_text(source: Address, destination: Address, data: bytes) -> str:
    """Write a UDP datagram for a trace."""
    way = f"udp {format_address(source)} > {format_address(destination)}"
    return f"{way} {payload_text(data)}"


def payload_text(data: bytes) -> str:
    r"""Write bytes on one line: their number, the first 80, and a checksum if there are more.

    For example ``5B a\nb\xff\\``.
    """
    shown = data[:SHOWN_BYTES].decode("latin-1").encode("unicode_escape").decode("ascii")
    if len(data) <= SHOWN_BYTES:
        return f"{len(data)}B {shown}"
    return f"{len(data)}B {shown}... crc32 {zlib.crc32(data):08x}"
