"""Addresses of systems, as they stand in references. Pure."""

from typing import Final

from trio440.errors import InvalidParameter

__all__ = ["split_address"]

LONGEST: Final = 255
MOST_PORT: Final = 65_535
ALLOWED: Final = "HOST:PORT, an IPv6 host in brackets"


def split_address(address: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        InvalidParameter: it is no such address.
    """
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if (
        not colon
        or not host
        or len(address) > LONGEST
        or not address.isprintable()
        or not (port.isascii() and port.isdigit())
        or not 1 <= int(port) <= MOST_PORT
    ):
        raise InvalidParameter("address", address, ALLOWED)
    return host, int(port)
