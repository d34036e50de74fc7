"""The numbers that govern LSP connections, validated once where they enter."""

from collections.abc import Callable
from typing import Any, Final

import attrs

from trio440.errors import InvalidParameter

__all__ = ["MESSAGE_OVERHEAD", "Limits", "Params"]

MESSAGE_OVERHEAD: Final = 64
"""Bytes that every buffered message is charged beside its payload, so that empty ones count."""


def _at_least(minimum: int) -> Callable[[object, "attrs.Attribute[int]", Any], None]:
    def check(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise InvalidParameter(attribute.name, value, f"a whole number of at least {minimum}")

    return check


@attrs.frozen(kw_only=False)
class Params:
    """The parameters of the protocol, in the course's order and with its defaults.

    ``window_size`` and ``max_unacked_messages`` are two independent limits on what may be on
    its way: numbers past the oldest unacknowledged one, and unacknowledged messages.

    Raises:
        InvalidParameter: a value is not positive (``max_backoff_interval``: negative).
    """

    epoch_limit: int = attrs.field(default=5, validator=_at_least(1))
    """Epochs of silence after which a connection is lost."""
    epoch_millis: int = attrs.field(default=2000, validator=_at_least(1))
    """The length of an epoch in milliseconds."""
    window_size: int = attrs.field(default=1, validator=_at_least(1))
    """How far numbers may run past the oldest unacknowledged one."""
    max_backoff_interval: int = attrs.field(default=0, validator=_at_least(0))
    """The most epochs that a message waits between two resends; 0 resends at every one."""
    max_unacked_messages: int = attrs.field(default=1, validator=_at_least(1))
    """How many messages may be sent and unacknowledged."""


@attrs.frozen(kw_only=True)
class Limits:
    """What one endpoint spends at most; past a limit it refuses, drops or counts as named.

    Raises:
        InvalidParameter: a value is not positive.
    """

    max_connections: int = attrs.field(default=4096, validator=_at_least(1))
    """Connections of a server, those lost and not yet reported included; at the limit a Connect
    from a new address is dropped and counted."""
    max_half_open: int = attrs.field(default=1024, validator=_at_least(1))
    """Connections that have sent nothing but Connects; at the limit the oldest is dropped."""
    receive_buffer: int = attrs.field(default=4 << 20, validator=_at_least(1))
    """Bytes per connection that wait for the application to read them; at the limit Data is
    dropped without an Ack and counted, so that the sender keeps it. Data that waits for a
    missing predecessor may take as much again."""
    send_buffer: int = attrs.field(default=64 << 20, validator=_at_least(1))
    """Bytes per connection that are written and not yet acknowledged; at the limit ``write``
    raises ``SendBufferFull`` and ``send`` waits."""
