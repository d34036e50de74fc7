"""How what a simulated network carries is written in a trace."""

import zlib

import pytest

from trio440.core.host import Address
from trio440.sim.packets import Packet, PacketKind, datagram_text, payload_text

ONE: Address = ("10.0.0.1", 80)
SIX: Address = ("fd00::2", 49_152, 0, 0)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "0B "),
        (b"plain text", "10B plain text"),
        (b"\x00\n\r\t\x7f\x85\xff", "7B \\x00\\n\\r\\t\\x7f\\x85\\xff"),
        (b"'\"\\", "3B '\"\\\\"),
        (b"y" * 80, "80B " + "y" * 80),
        (b"y" * 81, f"81B {'y' * 80}... crc32 {zlib.crc32(b'y' * 81):08x}"),
    ],
)
def test_a_payload_is_one_printable_line(data: bytes, text: str) -> None:
    assert payload_text(data) == text


def test_every_byte_stays_on_its_line() -> None:
    for value in range(256):
        text = payload_text(bytes([value]))
        assert text.isprintable()
        assert text.isascii()
        assert len(text.splitlines()) == 1


def test_payloads_that_differ_behind_what_is_shown_differ_in_text() -> None:
    assert payload_text(bytes(100) + b"a") != payload_text(bytes(100) + b"b")


def test_a_datagram_names_both_addresses() -> None:
    assert datagram_text(ONE, SIX, b"x") == "udp 10.0.0.1:80 > [fd00::2]:49152 1B x"


@pytest.mark.parametrize(
    ("kind", "shown"), [("data", "2B hi"), ("syn", "syn"), ("fin", "fin"), ("rst", "rst")]
)
def test_a_packet_shows_its_data_or_its_kind(kind: PacketKind, shown: str) -> None:
    packet = Packet(kind, "client/1", ONE, SIX, b"hi")
    assert packet.text() == f"tcp 10.0.0.1:80 > [fd00::2]:49152 {shown}"
