"""Keep-alive of one side of a connection, in ticks. Pure.

The shorter of the two sides' silences counts for both: bytes may be lost in one direction alone,
and then the side that still hears heartbeats would keep a connection that carries nothing. A tick
is a quarter of it. At each, a side that has said nothing since the last one sends a heartbeat; and
a side that has heard nothing for four ticks takes the other for dead. So a peer that falls silent
is noticed between that silence and 1.25 times it.
"""

from typing import Final

import attrs

__all__ = ["Beat", "Pulse", "tick_us"]

TICKS_PER_SILENCE: Final = 4


def tick_us(mine_us: int, theirs_us: int) -> int:
    """Return the microseconds of a tick, where each side would bear so long a silence."""
    return max(min(mine_us, theirs_us) // TICKS_PER_SILENCE, 1)


@attrs.frozen
class Beat:
    """What a tick asks for."""

    send_heartbeat: bool
    is_silent: bool


class Pulse:
    """What was heard and said since the last tick; whoever reads and writes sets the two flags."""

    __slots__ = ("_silent", "heard", "is_deaf", "said")

    def __init__(self) -> None:
        """Start at a moment when the other side has just been heard."""
        self._silent = 0
        self.heard = True
        self.said = True
        self.is_deaf = False
        """Whether this side does not read at present, so that its silence means nothing."""

    def tick(self) -> Beat:
        """Time has gone on by a tick."""
        self._silent = 0 if self.heard or self.is_deaf else self._silent + 1
        beat = Beat(send_heartbeat=not self.said, is_silent=self._silent >= TICKS_PER_SILENCE)
        self.heard = self.said = False
        return beat
