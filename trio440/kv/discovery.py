"""What a store offers: its namespaces, as servers tell clients and servers to come. Pure."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from trio440.core.host import parse_address
from trio440.errors import BadMessage, InvalidParameter
from trio440.rpc.hello import Identity
from trio440.rpc.service import Service, method

__all__ = [
    "CLUSTER",
    "DEFAULT",
    "IDENTITY",
    "MOST_NAME",
    "Discovery",
    "Offer",
    "Offered",
    "StoreDescription",
    "WhatIsThere",
    "join_offers",
    "read_store_description",
    "readable_offers",
]

CLUSTER: Final = "kv"
IDENTITY: Final = Identity(CLUSTER)
"""What clients say who they are."""
DEFAULT: Final = "default"
"""The namespace where none is named."""
VERSION: Final = 1
LONGEST: Final = 200_000
MOST_OFFERS: Final = 16
MOST_ADDRESSES: Final = 256
"""Of one namespace at one server."""
MOST_NAME: Final = 100


@attrs.frozen
class WhatIsThere:
    """Ask for the namespaces."""


@attrs.frozen
class Offer:
    """One namespace."""

    name: str
    engine: str
    """A ``kv.Engine``; of a later version it may be another one."""
    addresses: tuple[str, ...]
    """``HOST:PORT`` where clients are answered."""


@attrs.frozen
class Offered:
    """The namespaces of one server."""

    offers: tuple[Offer, ...]
    description: str = ""
    """Of the server, for those that join it."""


def readable_offers(answer: Offered) -> Offered:
    """Return what a server offers, without that which is not there yet.

    Raises:
        BadMessage: no store offers this.
    """
    if len(answer.offers) > MOST_OFFERS:
        raise BadMessage(f"it offers {len(answer.offers)} namespaces, a store has {MOST_OFFERS}")
    for offer in answer.offers:
        for text in (offer.name, offer.engine):
            if not 1 <= len(text) <= MOST_NAME or not text.isprintable():
                raise BadMessage("it offers what has no name")
        if len(offer.addresses) > MOST_ADDRESSES:
            raise BadMessage(f"it offers {len(offer.addresses)} addresses of one namespace")
        try:
            for address in offer.addresses:
                parse_address(address)
        except InvalidParameter:
            raise BadMessage("it offers what has no address") from None
    return attrs.evolve(answer, offers=tuple(each for each in answer.offers if each.addresses))


class Discovery(Service, name="kv.discovery"):
    """Answered on every port where clients are."""

    offers = method(WhatIsThere, Offered)


def join_offers(answers: Iterable[Offered]) -> dict[str, Offer]:
    """Return by name what several servers offer, with the addresses of all.

    A name under which they have different engines is that of the first.
    """
    found: dict[str, Offer] = {}
    for offer in (offer for answer in answers for offer in answer.offers):
        known = found.setdefault(offer.name, attrs.evolve(offer, addresses=()))
        if known.engine == offer.engine:
            addresses = dict.fromkeys((*known.addresses, *offer.addresses))
            found[offer.name] = attrs.evolve(known, addresses=tuple(addresses))
    return found


@attrs.frozen
class StoreDescription:
    """One server, for those that are opened later: one opaque string."""

    eventual: str | None = None
    """What ``kv.open_server`` gave, where there is that engine."""
    peers: tuple[tuple[str, str, int], ...] = ()
    """Name, host and port of peers of the linearizable engine."""

    def __str__(self) -> str:
        return json.dumps(
            {"version": VERSION, "eventual": self.eventual, "peers": self.peers},
            separators=(",", ":"),
        )


def read_store_description(text: str) -> StoreDescription:
    """Read what a server said of itself; one of the eventual engine alone, too.

    Raises:
        InvalidParameter: it is no such string.
    """
    try:
        said: Any = json.loads(text[: LONGEST + 1])
        if isinstance(said, Mapping) and "store" in said:
            return StoreDescription(text)
        return _read(said)
    except (ValueError, TypeError, KeyError, RecursionError, BadMessage):
        allowed = f"what a server of the store, version {VERSION}, has printed"
        raise InvalidParameter("description", text[:200], allowed) from None


def _read(said: Any) -> StoreDescription:
    if said["version"] != VERSION or not isinstance(said["eventual"], str | None):
        raise ValueError(said)
    peers = []
    for name, host, port in said["peers"]:
        if not isinstance(name, str) or not isinstance(host, str) or type(port) is not int:
            raise TypeError(said)
        parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        peers.append((name, host, port))
    return StoreDescription(said["eventual"], tuple(peers))
