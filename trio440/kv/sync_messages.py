"""What query actors tell each other. Pure.

One class says everything, in columns, so that a message costs little beside what it carries and
all that is due goes out in one: writes, digests, versions, and who is there. It is no frozen class
on purpose: between actors of one system it is encoded, too, and its bytes are counted.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import attrs

from trio440.actors.cluster.messages import MAX_ADDRESS_BYTES
from trio440.actors.messages import message
from trio440.actors.ref import Ref
from trio440.errors import BadMessage
from trio440.kv.digests import FAN_OUT, FIRST_LEAF, NODES

__all__ = ["MOST_SERVERS", "Listing", "ServerInfo", "Sync", "Writer"]

Writer: TypeAlias = tuple[str, int, int]
"""A reference: address, counter, incarnation."""

MOST_SERVERS: Final = 256
"""That a server knows."""
MOST_ACTORS: Final = 256
"""Query actors of one server."""
LATEST_MS: Final = 1 << 47
"""No time to live ends later: it is the year 6429."""
NO_ROOT: Final = -1


def _require(condition: object, what: str) -> None:
    if not condition:
        raise BadMessage(what)


def _differ(nodes: Sequence[int]) -> bool:
    return len(nodes) < 2 or len({*nodes}) == len(nodes)  # noqa: PLR2004 - one alone does


@attrs.frozen
class ServerInfo:
    """A server: one life of one system of actors, and its query actors."""

    address: str
    incarnation: int
    counters: tuple[int, ...]
    """Of its query actors, in their order."""

    def __attrs_post_init__(self) -> None:
        """Refuse what is no server.

        Raises:
            BadMessage: no system has such an address, life or actors, or these are too many.
        """
        counters = self.counters
        _require(1 <= len(counters) <= MOST_ACTORS, f"a server has 1 to {MOST_ACTORS} query actors")
        _require(min(counters) >= 1 and self.incarnation >= 1, "no life of a server")
        _require(1 <= len(self.address.encode()) <= MAX_ADDRESS_BYTES, "no address")

    def ref(self, counter: int) -> Ref[Any]:
        """Return the reference of one of its actors."""
        return Ref(self.address, counter, self.incarnation)


@attrs.frozen
class Listing:
    """The versions of all records that a replica has below a node, between two keys."""

    node: int
    after: bytes | None
    """Behind this key; None: from the first one on."""
    until: bytes | None
    """Up to this key, it included; None: to the last one."""
    keys: tuple[bytes, ...]
    stamps: tuple[int, ...]
    writers: tuple[int, ...]
    """By their place among the actors of the message."""

    def __attrs_post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            BadMessage: so it is.
        """
        _require(0 <= self.node < NODES, "no node")
        _require(len(self.keys) == len(self.stamps) == len(self.writers), "columns of one length")


@message("kv.Sync")
@attrs.define
class Sync:
    """What one query actor has to tell another one."""

    actors: tuple[Writer, ...]
    """The sender, and the writers of what follows."""
    clock: int
    """The greatest stamp that the sender has seen."""
    keys: tuple[bytes, ...] = ()
    """Writes, in five columns."""
    values: tuple[bytes | None, ...] = ()
    stamps: tuple[int, ...] = ()
    writers: tuple[int, ...] = ()
    """By their place in ``actors``."""
    expiries: tuple[int, ...] = ()
    """Empty where nothing expires."""
    fresh: int = 0
    """So many writes, the first ones, are news that the sender passes on; the others fill gaps."""
    wants: tuple[bytes, ...] = ()
    """Keys of which the sender knows that its record is not the last one."""
    root: int = NO_ROOT
    """A question: is this the digest of all that you have, too?"""
    same: bool = False
    """The answer: it is."""
    nodes: tuple[int, ...] = ()
    """Inner nodes, and the digests of their children."""
    digests: tuple[tuple[int, ...], ...] = ()
    listings: tuple[Listing, ...] = ()
    servers: tuple[ServerInfo, ...] = ()
    """That the sender knows; of a question, the sender's own at least."""

    def __attrs_post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            BadMessage: so it is.
        """
        count, actors = len(self.keys), len(self.actors)
        listed = sum(len(each.keys) for each in self.listings)
        _require(1 <= actors <= 1 + count + listed, "a sender, and writers of what follows")
        longest = max(len(address) for address, _, _ in self.actors)
        _require(longest <= MAX_ADDRESS_BYTES, "no address")
        _require(
            len(self.values) == len(self.stamps) == len(self.writers) == count
            and len(self.expiries) in (0, count),
            "columns of one length",
        )
        places = [*self.writers, *(place for each in self.listings for place in each.writers)]
        _require(not places or 0 <= min(places) <= max(places) < actors, "no such writer")
        _require(b"" not in self.keys, "an empty key")
        _require(not count or min(self.stamps) >= 0, "a negative stamp")
        _require(all(0 <= each <= LATEST_MS for each in self.expiries), "no time of an end")
        _require(0 <= self.fresh <= count, "more news than writes")
        _require(len(self.nodes) == len(self.digests), "digests of each node")
        _require(all(0 <= node < FIRST_LEAF for node in self.nodes), "no inner node")
        _require(_differ(self.nodes), "a node twice")
        _require(_differ([each.node for each in self.listings]), "two listings of a node")
        _require(all(len(each) == FAN_OUT for each in self.digests), "digests of all children")
        _require(len(self.servers) <= MOST_SERVERS, "too many servers")

    @property
    def sender(self) -> Ref[Any]:
        """Who tells it."""
        return Ref(*self.actors[0])

    def rows(self) -> list[tuple[bytes, bytes | None, int, Ref[Any], int]]:
        """Return the writes."""
        refs = [Ref[Any](*actor) for actor in self.actors]
        expiries = self.expiries or (0,) * len(self.keys)
        columns = zip(self.keys, self.values, self.stamps, self.writers, expiries, strict=True)
        return [(key, value, s, refs[place], ms) for key, value, s, place, ms in columns]
