"""The bounds of a line-protocol server, and the counts of what it has seen."""

from typing import Any

import attrs

from trio440.errors import InvalidParameter
from trio440.linekv.protocol import DEFAULT_LINE_LIMIT_BYTES

__all__ = ["Counters", "Limits", "Statistics"]


def _at_least_one(instance: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    del instance
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidParameter(attribute.name, value, "a whole number of at least 1")


def _not_negative(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    del instance
    if not value >= 0:
        raise InvalidParameter(attribute.name, value, "0 or more")


@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of a server, and what happens at each."""

    clients: int = attrs.field(default=1000, validator=_at_least_one)
    """Connections at a time; one more is told so in one line and closed."""
    line_bytes: int = attrs.field(default=DEFAULT_LINE_LIMIT_BYTES, validator=_at_least_one)
    """The length of a line; the client of a longer one is told so in one line and closed."""
    queued_messages: int = attrs.field(default=500, validator=_at_least_one)
    """Lines queued for a client that does not read; what comes past them is dropped."""
    client_queued_bytes: int = attrs.field(default=32 << 20, validator=_at_least_one)
    """Bytes queued for one client, as :mod:`trio440.linekv.outbox` counts them, those on their
    way to the network included; what comes past them is dropped like a line too many."""
    queued_bytes: int = attrs.field(default=64 << 20, validator=_at_least_one)
    """Bytes queued for all clients together. Half is divided evenly among the places for
    clients, half is for whoever needs more; a line that finds no room in either is dropped.
    An empty queue takes any line, so that a line for each client may come on top."""
    held_bytes: int = attrs.field(default=256 << 20, validator=_at_least_one)
    """Lists asked for that are longer than a client's queue and wait whole for it to read. Past
    this those that wait longest are cut: what is left of them is dropped. The one asked for last
    may come on top."""
    keys: int = attrs.field(default=1_000_000, validator=_at_least_one)
    """Keys in the store; a request that needs one more is refused in one line."""
    memory_bytes: int = attrs.field(default=256 << 20, validator=_at_least_one)
    """Keys and values, as :mod:`trio440.linekv.store` counts them; refused like a key."""
    log_bytes: int = attrs.field(default=64 << 20, validator=_at_least_one)
    """Changes in the journal of a durable server; when they pass this and the size of the store,
    a snapshot takes their place."""
    flush_seconds: float = attrs.field(default=5.0, validator=_not_negative)
    """How long a client whose requests have ended may take to read its answers."""


@attrs.frozen(kw_only=True)
class Statistics:
    """What a server has seen so far."""

    clients_active: int
    """Connected now."""
    clients_dropped: int
    """Served and gone."""
    clients_refused: int
    """Turned away at :attr:`Limits.clients`."""
    requests: int
    """Lines that were requests and were handed to the store."""
    messages_sent: int
    """Lines handed to the network, refusals included."""
    messages_dropped: int
    """Lines that found a client's queue full, or were cut off."""
    queued_bytes: int
    """Queued for clients now, see :attr:`Limits.queued_bytes`."""
    held_bytes: int
    """In lists that wait to be queued now, see :attr:`Limits.held_bytes`."""
    keys: int
    """In the store."""
    memory_bytes: int
    """In the store, as :mod:`trio440.linekv.store` counts it."""


@attrs.define
class Counters:
    """The running counts behind :class:`Statistics`, field by field."""

    clients_active: int = 0
    clients_dropped: int = 0
    clients_refused: int = 0
    requests: int = 0
    messages_sent: int = 0
    messages_dropped: int = 0
    queued_bytes: int = 0
    held_bytes: int = 0
    keys: int = 0
    memory_bytes: int = 0

    def snapshot(self) -> Statistics:
        """Return the counts as they are now."""
        return Statistics(**attrs.asdict(self))
