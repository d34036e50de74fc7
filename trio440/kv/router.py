"""Routers: which query actor a client asks next. Pure."""

from collections.abc import Sequence
from typing import Protocol, final

from trio440.core.host import parse_address
from trio440.errors import InvalidParameter

__all__ = ["RoundRobin", "Router"]


class Router(Protocol):
    """Knows addresses of query actors; asked before each call, and once more for another try.

    One that names the same address again lets a call that came to nothing there fail.
    """

    def next_address(self) -> str:
        """Return ``HOST:PORT`` of the query actor for the next call."""


@final
class RoundRobin:
    """One address after the other, from the first one on."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """Take the addresses, one or more.

        Raises:
            InvalidParameter: there is none, or one is no ``HOST:PORT``.
        """
        if isinstance(addresses, str) or not addresses:
            raise InvalidParameter("addresses", addresses, "one HOST:PORT or more")
        for address in addresses:
            parse_address(address)
        self._addresses = tuple(addresses)
        self._next = 0

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of them, as they were given."""
        return self._addresses

    def next_address(self) -> str:
        """Return the one whose turn it is."""
        address = self._addresses[self._next]
        self._next = (self._next + 1) % len(self._addresses)
        return address
