"""The two windows of a connection: what may be sent, and what may be taken in.

Numbers start at ISN + 1 in each direction. With n the oldest unacknowledged number, only
n ... n + window_size - 1 may be outstanding, and no more than max_unacked messages of them.
"""

import enum
from collections import deque

import attrs

from trio440.lsp.params import MESSAGE_OVERHEAD

__all__ = ["Outstanding", "Place", "ReceiveWindow", "SendWindow"]


@attrs.define(eq=False)
class Outstanding:
    """A message that was sent and is not yet acknowledged."""

    seq_num: int
    payload: bytes
    sent_at: int
    """Microseconds: when it was sent for the first time."""
    backoff: int = 0
    """Whole epochs to let pass after a sending; the next tick resends."""
    waited: int = 0
    """Epochs that have passed since the last sending."""
    resends: int = 0


class SendWindow:
    """What was written: waiting for room, then outstanding, then acknowledged and gone."""

    def __init__(self, isn: int, window_size: int, max_unacked: int, max_backoff: int) -> None:
        """Number messages from ``isn`` + 1; the other arguments are those of ``Params``."""
        self._window_size = window_size
        self._max_unacked = max_unacked
        self._max_backoff = max_backoff
        self._waiting: deque[bytes] = deque()
        self._outstanding: dict[int, Outstanding] = {}
        self._base = isn + 1
        self._next = isn + 1
        self._buffered = 0

    @property
    def idle(self) -> bool:
        """Whether everything written has been acknowledged."""
        return not self._outstanding and not self._waiting

    @property
    def buffered(self) -> int:
        """Bytes charged for what is written and not acknowledged."""
        return self._buffered

    @property
    def outstanding(self) -> int:
        """How many messages are sent and unacknowledged."""
        return len(self._outstanding)

    @property
    def span(self) -> int:
        """How many numbers there are from the oldest unacknowledged one to the last sent."""
        return self._next - self._base

    @property
    def unfinished(self) -> int:
        """How many messages are written and not acknowledged."""
        return len(self._outstanding) + len(self._waiting)

    @property
    def next_written(self) -> int:
        """The number that the next message written will get."""
        return self._next + len(self._waiting)

    def write(self, payload: bytes) -> None:
        """Queue a message behind all others."""
        self._waiting.append(payload)
        self._buffered += len(payload) + MESSAGE_OVERHEAD

    def take_sendable(self, now: int) -> list[Outstanding]:
        """Move what there is room for from waiting to outstanding; the caller sends it now."""
        sent: list[Outstanding] = []
        while (
            self._waiting
            and len(self._outstanding) < self._max_unacked
            and self._next < self._base + self._window_size
        ):
            message = Outstanding(self._next, self._waiting.popleft(), now)
            self._outstanding[self._next] = message
            self._next += 1
            sent.append(message)
        return sent

    def acknowledge(self, seq_num: int) -> Outstanding | None:
        """Take one message off; None when it was acknowledged before, or never sent."""
        message = self._outstanding.pop(seq_num, None)
        if message is not None:
            self._buffered -= len(message.payload) + MESSAGE_OVERHEAD
            while self._base < self._next and self._base not in self._outstanding:
                self._base += 1
        return message

    def acknowledge_through(self, seq_num: int) -> list[Outstanding]:
        """Take off everything up to ``seq_num``; a number beyond the last sent takes all."""
        through = [number for number in self._outstanding if number <= seq_num]
        return [message for number in through if (message := self.acknowledge(number))]

    def take_due(self) -> list[Outstanding]:
        """Let one epoch pass and return what is to be resent now, oldest first.

        After a sending a message lets ``backoff`` whole epochs pass and goes out at the tick
        behind them; the back-off then doubles, from 1, up to the maximum.
        """
        due: list[Outstanding] = []
        for message in self._outstanding.values():
            if message.waited < message.backoff:
                message.waited += 1
                continue
            message.waited = 0
            message.backoff = min(max(1, 2 * message.backoff), self._max_backoff)
            message.resends += 1
            due.append(message)
        return due

    def abandon(self) -> None:
        """Forget everything; the connection is over."""
        self._waiting.clear()
        self._outstanding.clear()
        self._base = self._next
        self._buffered = 0


class Place(enum.Enum):
    """Where a number lies for the receiver."""

    OLD = "delivered or buffered before: acknowledge again and drop"
    INSIDE = "new and inside the window"
    BEYOND = "past the window: drop without an acknowledgement"


class ReceiveWindow:
    """What has arrived out of order, until its predecessors are there."""

    def __init__(self, isn: int, window_size: int) -> None:
        """Expect ``isn`` + 1 first."""
        self._window_size = window_size
        self._expected = isn + 1
        self._early: dict[int, bytes] = {}
        self._buffered = 0

    @property
    def expected(self) -> int:
        """The next number to be delivered."""
        return self._expected

    @property
    def buffered(self) -> int:
        """Bytes charged for messages that wait for a predecessor."""
        return self._buffered

    def place(self, seq_num: int) -> Place:
        """Say where a number lies."""
        if seq_num < self._expected or seq_num in self._early:
            return Place.OLD
        if seq_num < self._expected + self._window_size:
            return Place.INSIDE
        return Place.BEYOND

    def accept(self, seq_num: int, payload: bytes) -> list[bytes]:
        """Take in a message that lies inside; return what is now deliverable, in order."""
        if seq_num != self._expected:
            self._early[seq_num] = payload
            self._buffered += len(payload) + MESSAGE_OVERHEAD
            return []
        deliverable = [payload]
        self._expected += 1
        while (early := self._early.pop(self._expected, None)) is not None:
            self._buffered -= len(early) + MESSAGE_OVERHEAD
            deliverable.append(early)
            self._expected += 1
        return deliverable
