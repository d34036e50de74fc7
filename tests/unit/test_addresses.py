"""Addresses as text: written and read."""

import pytest

from trio440.core.host import format_address, parse_address
from trio440.errors import InvalidParameter


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1:80", "10.0.0.1", 80),
        ("[::1]:65535", "::1", 65_535),
        ("a.example:1", "a.example", 1),
        ("[name]:1", "name", 1),
    ],
)
def test_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)


def test_what_is_written_is_read() -> None:
    assert parse_address(format_address(("::1", 9, 0, 0))) == ("::1", 9)


@pytest.mark.parametrize(
    "text",
    ["", ":", "a", "a:", ":1", "[]:1", "::1:1", "[::1:1", "a:0", "a:65536", "a:-1", "a:+1", "a: 1"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidParameter, match="HOST:PORT with a port from 1 to 65535"):
        parse_address(text)


@pytest.mark.parametrize("port", ["1 ", "1_0", "\u0661", "9" * 5000, "000080"])
def test_what_is_no_port(port: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_address(f"a:{port}")
