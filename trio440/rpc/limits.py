"""The bounds of clients and servers, and the counts of what they have seen."""

import math
from typing import Any

import attrs

from trio440.errors import InvalidParameter

__all__ = [
    "ClientCounters",
    "ClientLimits",
    "ClientStatistics",
    "ServerCounters",
    "ServerLimits",
    "ServerStatistics",
]

MAX_FRAME_LIMIT = 1 << 30
MIN_FRAME_LIMIT = 64
LEAST_SILENCE_SECONDS = 0.01


def _count(instance: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    del instance
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidParameter(attribute.name, value, "a whole number of at least 1")


def _frame(instance: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    del instance
    if not isinstance(value, int) or not MIN_FRAME_LIMIT <= value <= MAX_FRAME_LIMIT:
        raise InvalidParameter(attribute.name, value, f"{MIN_FRAME_LIMIT} to {MAX_FRAME_LIMIT}")


def _seconds(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    del instance
    if not 0 <= value < math.inf:
        raise InvalidParameter(attribute.name, value, "0 or more")


def _silence(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    del instance
    if not LEAST_SILENCE_SECONDS <= value < math.inf:
        raise InvalidParameter(attribute.name, value, f"at least {LEAST_SILENCE_SECONDS}")


@attrs.frozen(kw_only=True)
class ClientLimits:
    """The bounds of a client, and what happens at each."""

    frame_bytes: int = attrs.field(default=16 << 20, validator=_frame)
    """Of an answer: a server that sends a longer one loses the connection. Requests keep to what
    the server reads; a longer one raises ``MessageTooLarge``."""
    queued_bytes: int = attrs.field(default=8 << 20, validator=_count)
    """What waits to be sent: past this a call waits, and a one-way message is dropped."""
    calls_in_flight: int = attrs.field(default=10_000, validator=_count)
    """One more call waits. The server's ``concurrency`` does not count here for calls that it
    answers at once, and does for the rest: it then stops reading."""
    connect_seconds: float = attrs.field(default=5.0, validator=_seconds)
    """For opening a connection and for the handshake, each: then the next attempt."""
    silence_seconds: float = attrs.field(default=5.0, validator=_silence)
    """A server that says nothing, or takes nothing, for so long is given up, up to a quarter
    later: the next attempt. Of the silences of both sides the shorter one counts."""
    first_wait_seconds: float = attrs.field(default=0.05, validator=_seconds)
    """Before the second attempt to connect; each wait is up to twice the one before."""
    longest_wait_seconds: float = attrs.field(default=5.0, validator=_seconds)
    """Between attempts."""
    flush_seconds: float = attrs.field(default=1.0, validator=_seconds)
    """For what is queued when the client is left normally."""


@attrs.frozen(kw_only=True)
class ServerLimits:
    """The bounds of a server, and what happens at each."""

    connections: int = attrs.field(default=1000, validator=_count)
    """For one more, the client that has asked for nothing for longest is closed, if that is
    ``handshake_seconds`` at least; else the one more is told ``busy`` and closed."""
    concurrency: int = attrs.field(default=1000, validator=_count)
    """Async handlers of one connection: then nothing more is read from it until one ends."""
    frame_bytes: int = attrs.field(default=16 << 20, validator=_frame)
    """Of a request: the connection of a longer one is closed. A longer answer becomes the
    failure ``ResultTooLarge``."""
    queued_bytes: int = attrs.field(default=8 << 20, validator=_count)
    """Answers that wait for a client to read: then nothing more is read from it. What its active
    handlers still answer comes on top."""
    held_bytes: int = attrs.field(default=256 << 20, validator=_count)
    """Requests of all connections, those that have come in part and those whose async handlers
    are active, and the answers that wait for their clients to read: the connection that holds most
    is closed. What is up to 64 KiB of a connection does not count."""
    handshake_seconds: float = attrs.field(default=5.0, validator=_seconds)
    """For a client's hello: then it is closed."""
    silence_seconds: float = attrs.field(default=5.0, validator=_silence)
    """A client that says nothing, or takes nothing, for so long is closed, up to a quarter
    later, and its handlers are cancelled. Of the silences of both sides the shorter one counts."""
    flush_seconds: float = attrs.field(default=5.0, validator=_seconds)
    """For active handlers, and then for their answers, when the server is left normally."""


@attrs.frozen(kw_only=True)
class ClientStatistics:
    """What a client has seen so far."""

    is_connected: bool
    calls_in_flight: int
    queued_bytes: int
    attempts: int
    """To connect."""
    connects: int
    """Handshakes that were done."""
    refusals: int
    """Handshakes that were refused."""
    calls: int
    """Sent."""
    answers: int
    """Results that reached their caller."""
    failures: int
    """Remote errors that reached their caller."""
    timeouts: int
    """Calls without an answer in time."""
    cancelled: int
    """Calls whose caller went away, the timeouts included."""
    lost: int
    """Calls whose connection broke before the answer came."""
    late_answers: int
    """Answers that reached nobody."""
    tells: int
    """One-way messages handed to the connection."""
    tells_dropped: int
    """One-way messages that found no room or no connection."""
    bytes_sent: int
    bytes_received: int


@attrs.define
class ClientCounters:
    """The running counts behind :class:`ClientStatistics`, field by field."""

    attempts: int = 0
    connects: int = 0
    refusals: int = 0
    calls: int = 0
    answers: int = 0
    failures: int = 0
    timeouts: int = 0
    cancelled: int = 0
    lost: int = 0
    late_answers: int = 0
    tells: int = 0
    tells_dropped: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@attrs.frozen(kw_only=True)
class ServerStatistics:
    """What a server has seen so far."""

    connections_active: int
    """Now, those that have not said hello yet included."""
    connections: int
    """So far."""
    busy_refusals: int
    """Turned away at :attr:`ServerLimits.connections`."""
    handshakes_refused: int
    """Clients that do not belong here."""
    handshakes_failed: int
    """Clients that said no hello, not in time, or not in this protocol."""
    bad_messages: int
    """Connections closed because of what their client sent."""
    silences: int
    """Connections closed because their client said nothing."""
    stalls: int
    """Connections closed because their client took nothing."""
    evictions: int
    """Connections closed because they held most at :attr:`ServerLimits.held_bytes`, or were idle
    at :attr:`ServerLimits.connections`."""
    handlers_active: int
    """Async ones, now."""
    calls: int
    tells: int
    answers: int
    """Results sent."""
    failures: int
    """Failures sent, of whatever kind."""
    handlers_failed: int
    """Handlers that raised what its author did not name."""
    cancelled: int
    """Calls cancelled by their client."""
    timeouts: int
    """Calls whose time was over before their result was there."""
    pauses: int
    """Times that reading stopped at a limit."""
    bytes_sent: int
    bytes_received: int


@attrs.define
class ServerCounters:
    """The running counts behind :class:`ServerStatistics`, field by field."""

    connections_active: int = 0
    connections: int = 0
    busy_refusals: int = 0
    handshakes_refused: int = 0
    handshakes_failed: int = 0
    bad_messages: int = 0
    silences: int = 0
    stalls: int = 0
    evictions: int = 0
    handlers_active: int = 0
    calls: int = 0
    tells: int = 0
    answers: int = 0
    failures: int = 0
    handlers_failed: int = 0
    cancelled: int = 0
    timeouts: int = 0
    pauses: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0

    def snapshot(self) -> ServerStatistics:
        """Return the counts as they are now."""
        return ServerStatistics(**attrs.asdict(self))
