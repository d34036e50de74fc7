"""The bounds of a RESP server, and the counts of what it has seen. Pure."""

from typing import Any, Final

import attrs

from trio440.errors import InvalidParameter

__all__ = ["LINE_BYTES", "MAX_REQUEST_BYTES", "Counters", "Limits", "Statistics"]

LINE_BYTES: Final = 64 << 10
"""An inline command, or the line before an argument, as in Redis."""
MAX_REQUEST_BYTES: Final = 512 << 20
"""The most that a server may be told to take, as much as a value of Redis can have."""


def _count(instance: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    del instance
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidParameter(attribute.name, value, "a whole number of at least 1")


def _request(instance: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    _count(instance, attribute, value)
    if value > MAX_REQUEST_BYTES:
        raise InvalidParameter(attribute.name, value, f"1 to {MAX_REQUEST_BYTES}")


def _seconds(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    del instance
    if not value >= 0:
        raise InvalidParameter(attribute.name, value, "0 or more")


def _seconds_or_none(
    instance: object, attribute: "attrs.Attribute[float | None]", value: float | None
) -> None:
    del instance
    if value is not None and not value > 0:
        raise InvalidParameter(attribute.name, value, "more than 0, or None")


@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of a server, and what happens at each."""

    clients: int = attrs.field(default=10_000, validator=_count)
    """Connections at a time; one more is told ``max number of clients reached`` and closed."""
    request_bytes: int = attrs.field(default=16 << 20, validator=_request)
    """The arguments of one request together; a longer one is a protocol error, which closes."""
    arguments: int = attrs.field(default=1 << 14, validator=_count)
    """Of one request; more are a protocol error."""
    pattern_bytes: int = attrs.field(default=1024, validator=_count)
    """Of a pattern; a longer one is an error."""
    queued_commands: int = attrs.field(default=10_000, validator=_count)
    """In a MULTI; one more is refused, and EXEC aborts. They may come to as many operations: an
    EXEC of more is an error."""
    watched_keys: int = attrs.field(default=10_000, validator=_count)
    """By WATCH; one more is refused."""
    subscriptions: int = attrs.field(default=1000, validator=_count)
    """Channels and patterns of one connection; one more is refused."""
    cursors: int = attrs.field(default=10_000, validator=_count)
    """Of SCANs that have not come to their end; the oldest is forgotten: ``invalid cursor``."""
    answer_bytes: int = attrs.field(default=64 << 20, validator=_count)
    """Of one KEYS, MGET or EXEC; a longer one is an error."""
    output_bytes: int = attrs.field(default=32 << 20, validator=_count)
    """Messages that wait for a subscriber to read; one with more is closed."""
    memory_bytes: int = attrs.field(default=256 << 20, validator=_count)
    """Requests that have arrived in part, queued commands, watches and subscriptions, and answers
    that wait to be read, of all clients together; past it the client with the most is closed."""
    stall_seconds: float = attrs.field(default=60.0, validator=_seconds)
    """How long a client may read nothing of an answer that waits for it; then it is closed."""
    idle_seconds: float | None = attrs.field(default=None, validator=_seconds_or_none)
    """A client without subscriptions that asks nothing for so long is closed; None: none is."""
    flush_seconds: float = attrs.field(default=1.0, validator=_seconds)
    """How long clients may take to read their last answers when the server is left."""


@attrs.frozen(kw_only=True)
class Statistics:
    """What a server has seen so far."""

    clients: int
    """Connected now."""
    clients_served: int
    """All that were let in."""
    clients_refused: int
    """Turned away at :attr:`Limits.clients`."""
    clients_closed_slow: int
    """That did not read: :attr:`Limits.output_bytes` and :attr:`Limits.stall_seconds`."""
    clients_closed_memory: int
    """With the most at :attr:`Limits.memory_bytes`."""
    clients_closed_idle: int
    """At :attr:`Limits.idle_seconds`."""
    clients_closed_behind: int
    """Subscribers from whom changes would have been kept, see ``docs/resp.md``."""
    protocol_errors: int
    """Each has closed a connection."""
    commands: int
    """Requests that were read."""
    batches: int
    """Calls of ``Namespace.execute``."""
    operations: int
    """In these batches."""
    messages: int
    """Of changes, handed to subscribers."""
    memory_bytes: int
    """What counts against :attr:`Limits.memory_bytes` now."""


@attrs.define
class Counters:
    """The running counts behind :class:`Statistics`, field by field."""

    clients: int = 0
    clients_served: int = 0
    clients_refused: int = 0
    clients_closed_slow: int = 0
    clients_closed_memory: int = 0
    clients_closed_idle: int = 0
    clients_closed_behind: int = 0
    protocol_errors: int = 0
    commands: int = 0
    batches: int = 0
    operations: int = 0
    messages: int = 0
    memory_bytes: int = 0

    def snapshot(self) -> Statistics:
        """Return the counts as they are now."""
        return Statistics(**attrs.asdict(self))
