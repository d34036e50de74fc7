"""What one connection has seen so far."""

import attrs

__all__ = ["ConnectionStatistics"]


@attrs.frozen
class ConnectionStatistics:
    """Counts of one connection since its start, and its present state."""

    state: str
    sent: int
    """Data messages sent for the first time."""
    resent: int
    """Data messages sent again."""
    acknowledged: int
    """Data messages that the other side has acknowledged."""
    received: int
    """Data messages taken in, each once."""
    duplicates: int
    """Data messages that had arrived before; they are acknowledged again."""
    dropped: dict[str, int]
    """Messages dropped, by reason."""
    acks_sent: int
    heartbeats_sent: int
    unread: int
    """Messages that wait for the application."""
    outstanding: int
    """Data messages sent and unacknowledged."""
    window: int
    """Numbers from the oldest unacknowledged one to the last sent, of ``window_size`` at most."""
    send_buffered: int
    """Bytes charged against ``Limits.send_buffer``."""
    receive_buffered: int
    """Bytes charged for unread and early messages."""
    round_trip_seconds: float | None
    """Smoothed (RFC 6298), of messages that were sent once; None before the first."""
