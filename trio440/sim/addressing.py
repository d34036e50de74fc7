"""Numeric addresses in a simulated world: families, wildcards, and what is free. Pure."""

import ipaddress
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from trio440.core.host import Address

__all__ = [
    "LOOPBACK",
    "MAX_PORT",
    "WILDCARDS",
    "address_of",
    "free_ports",
    "is_free",
    "next_free_port",
    "sorted_addresses",
    "source_of",
    "wildcard_of",
]

MAX_PORT: Final = 65_535
FIRST_FREE_PORT: Final = 49_152
LOOPBACK: Final = ("127.0.0.1", "::1")
WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - the words themselves, nothing is bound


def address_of(host: str, port: int) -> Address:
    """Return the address in its family's shape."""
    return (host, port, 0, 0) if ":" in host else (host, port)


def wildcard_of(address: Address) -> str:
    """Return the name of every interface in the family of an address."""
    return WILDCARDS[":" in address[0]]


def sorted_addresses(hosts: Sequence[str], port: int) -> list[Address]:
    """Return these numeric hosts as addresses, IPv4 first.

    Raises:
        ValueError: one of them is not numeric.
    """
    versions = {host: ipaddress.ip_address(host).version for host in hosts}
    return [address_of(host, port) for host in sorted(hosts, key=versions.__getitem__)]


def source_of(own: Sequence[str], local: Address, destination: Address) -> Address:
    """Return the address that something sent from a socket at ``local`` shows."""
    if local[0] not in WILDCARDS:
        return local
    if destination[0] in LOOPBACK:
        return address_of(destination[0], local[1])
    fitting = (host for host in own if (":" in host) == (":" in local[0]))
    return address_of(next(fitting), local[1])


def is_free(address: Address, bound: Iterable[tuple[str, int]]) -> bool:
    """Whether nothing that is bound stands in the way of an address."""
    wildcard = wildcard_of(address)
    taken = [host for host, port in bound if port == address[1]]
    if address[0] == wildcard:
        return all((":" in host) != (":" in wildcard) for host in taken)
    return address[0] not in taken and wildcard not in taken


def free_ports() -> Iterator[int]:
    """Return the ports that are given away, round and round."""
    return itertools.cycle(range(FIRST_FREE_PORT, MAX_PORT + 1))


def next_free_port(ports: Iterator[int], taken: set[int]) -> int | None:
    """Return the next of :func:`free_ports` that nobody has, or None when all are taken."""
    tried = itertools.islice(ports, MAX_PORT + 1 - FIRST_FREE_PORT)
    return next((port for port in tried if port not in taken), None)
