"""What a server says of itself, to later servers and to clients: one opaque string. Pure."""

import json
from typing import Any, Final

import attrs

from trio440.core.host import parse_address
from trio440.errors import BadMessage, InvalidParameter
from trio440.kv.sync_messages import ServerInfo

__all__ = ["Description", "parse_description"]

VERSION: Final = 1
LONGEST: Final = 100_000


@attrs.frozen
class Description:
    """One server of the store."""

    server: ServerInfo
    clients: tuple[str, ...]
    """Where each of its query actors answers clients, as ``HOST:PORT``."""

    def __str__(self) -> str:
        server = self.server
        return json.dumps(
            {
                "store": VERSION,
                "address": server.address,
                "incarnation": server.incarnation,
                "actors": server.counters,
                "clients": self.clients,
            },
            separators=(",", ":"),
        )


def parse_description(text: str) -> Description:
    """Read what a server said of itself.

    Raises:
        InvalidParameter: it is no such string.
    """
    try:
        server, clients = _read(json.loads(text[: LONGEST + 1]))
        for address in (server.address, *clients):
            parse_address(address)
    except (ValueError, TypeError, KeyError, RecursionError, BadMessage):
        allowed = f"what a server of the store, version {VERSION}, has printed"
        raise InvalidParameter("description", text[:200], allowed) from None
    return Description(server, clients)


def _read(said: Any) -> tuple[ServerInfo, tuple[str, ...]]:
    if said["store"] != VERSION:
        raise ValueError(said)
    counters = tuple(map(_number, said["actors"]))
    server = ServerInfo(_text(said["address"]), _number(said["incarnation"]), counters)
    return server, tuple(map(_text, said["clients"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(value)
    return value
