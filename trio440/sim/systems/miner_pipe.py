"""Connections in outline, for the miner at level A: what LSP gives, without its details. Pure."""

from typing import Final

import attrs

__all__ = ["EPOCH", "EPOCH_LIMIT", "Link", "Pipe"]

EPOCH: Final = 500_000
"""Microseconds between two heartbeats, and before a message is sent again."""
EPOCH_LIMIT: Final = 4
"""After so many epochs without a word a connection is lost."""
SOON: Final = 100_000
"""A message that was sent so recently may still arrive."""


@attrs.define(eq=False)
class Pipe:
    """One direction of a connection: messages arrive once and in order, as numbered datagrams.

    Both ends use the same object, as if acknowledgements were never lost.
    """

    stream: str
    sent: int = 0
    taken: int = 0
    _on_the_way: dict[int, tuple[int, bytes]] = attrs.field(factory=dict)
    """When each message was sent, and its datagram."""
    _early: dict[int, bytes] = attrs.field(factory=dict)

    def put(self, data: bytes, now: int) -> bytes:
        """Return the datagram of a new message."""
        self.sent += 1
        datagram = b"%s %d %s" % (self.stream.encode(), self.sent, data)
        self._on_the_way[self.sent] = now, datagram
        return datagram

    def overdue(self, now: int) -> list[bytes]:
        """Return the datagrams that are to be sent again."""
        waiting = self._on_the_way.values()
        return [datagram for then, datagram in waiting if now - then > SOON]

    def take(self, numbered: bytes) -> list[bytes]:
        """Return the messages that are next, when what follows the stream's name has arrived."""
        digits, _, data = numbered.partition(b" ")
        number = int(digits)
        self._on_the_way.pop(number, None)
        if number > self.taken:
            self._early[number] = data
        messages = []
        while self.taken + 1 in self._early:
            self.taken += 1
            messages.append(self._early.pop(self.taken))
        return messages


@attrs.define(eq=False)
class Link:
    """The server's side of a connection."""

    conn_id: int
    host: str
    stream: str
    silent: int = 0
    """Epochs since the other side was last heard of."""
