"""What must hold of channels, selects and epoch timers, said without looking inside them. Pure.

The channel model knows all of Go's rules at once; what is here says the promises one by one, so
that a broken one is reported by its name.
"""

from collections import Counter
from typing import Final

import attrs

from trio440.errors import InvariantViolated

__all__ = ["Choices", "Grid", "Ledger", "Seen", "require_awake"]


@attrs.frozen
class Seen:
    """A channel at one moment, as its statistics show it."""

    buffered: int
    capacity: int
    senders: int
    receivers: int
    closed: bool


class Ledger:
    """Every value that was sent successfully is received exactly once, in its sender's order."""

    def __init__(self) -> None:
        self._offers: dict[int, tuple[int, int]] = {}
        """Who offered each value, and to which channel."""
        self._sent: set[int] = set()
        self._received: set[int] = set()
        self._refused: set[int] = set()
        self._latest: dict[tuple[int, int, int], int] = {}

    def issue(self, sender: int, channel: int) -> int:
        """Return a new value, for a sender who offers it to a channel."""
        value = len(self._offers) + 1
        self._offers[value] = sender, channel
        return value

    def sent(self, value: int) -> None:
        """Take note that a send has happened."""
        self._sent.add(value)

    def refused(self, value: int) -> None:
        """Take note that a send has not happened: it was cancelled, or another case was taken.

        Raises:
            InvariantViolated: it was received already.
        """
        self._refused.add(value)
        if value in self._received:
            raise InvariantViolated("what was not sent is not received", f"value {value}")

    def received(self, receiver: int, channel: int, value: int) -> None:
        """Take note that a value was received.

        Raises:
            InvariantViolated: it may not be, or not now, or not here.
        """
        sender, home = self._offers.get(value, (0, None))
        if home != channel:
            shown = f"value {value} from channel {channel}"
            raise InvariantViolated("a value comes out of its own channel", shown)
        if value in self._received:
            raise InvariantViolated("a value is received once", f"value {value}")
        if value in self._refused:
            raise InvariantViolated("what was not sent is not received", f"value {value}")
        self._received.add(value)
        key = receiver, channel, sender
        if value < self._latest.get(key, 0):
            shown = f"value {value} of task {sender} after {self._latest[key]}"
            raise InvariantViolated("the order of a sender is kept", shown)
        self._latest[key] = value

    def settle(self) -> None:
        """Require, when all channels have been drained, that nothing was lost or made up.

        Raises:
            InvariantViolated: something was.
        """
        lost = sorted(self._sent - self._received)
        if lost:
            raise InvariantViolated("what was sent is received", f"lost: {lost}")
        made_up = sorted(self._received - self._sent)
        if made_up:
            raise InvariantViolated("what is received was sent", f"made up: {made_up}")


def require_awake(seen: Seen, name: str) -> None:
    """Require that nobody waits in a channel for what is there already.

    Raises:
        InvariantViolated: somebody does.
    """
    waits = ""
    if seen.receivers and seen.buffered:
        waits = "a receiver waits beside a value"
    elif seen.senders and seen.buffered < seen.capacity:
        waits = "a sender waits beside room"
    elif seen.closed and (seen.senders or seen.receivers):
        waits = "somebody waits in a closed channel"
    elif seen.senders and seen.receivers and seen.senders + seen.receivers > 2:  # noqa: PLR2004
        # One select that both sends and receives waits for itself in vain, alone.
        waits = "senders and receivers wait for each other"
    if waits:
        raise InvariantViolated("no wake-up is lost", f"{name}: {waits}: {seen}")


class Choices:
    """A case that stays ready is chosen within a bound."""

    BOUND: Final = 120
    """Selects; that a fair draw among 4 leaves one out so often has a chance of 1 in 10**15."""

    def __init__(self, cases: int) -> None:
        self._waited = [0] * cases
        self._chosen = Counter[int]()

    def chose(self, case: int) -> None:
        """Take note of a choice when all cases were ready.

        Raises:
            InvariantViolated: another case has been ready for too long.
        """
        self._chosen[case] += 1
        for other in range(len(self._waited)):
            self._waited[other] = 0 if other == case else self._waited[other] + 1
            if self._waited[other] > self.BOUND:
                shown = f"case {other} of {len(self._waited)}, chosen: {dict(self._chosen)}"
                raise InvariantViolated("a case that stays ready is chosen", shown)


class Grid:
    """What an epoch timer must say, by the machine's own clock."""

    SLACK: Final = 1e-5
    """Seconds by which a wake-up may miss its moment, for rounding."""

    def __init__(self, start: float, period: float) -> None:
        self._start = start
        self._period = period
        self._fetched = 0

    @property
    def next_deadline(self) -> float:
        """When the next tick is due."""
        return self._start + (self._fetched + 1) * self._period

    def reset(self, start: float) -> None:
        """Start a new grid."""
        self._start = start
        self._fetched = 0

    def ticked(self, number: int, count: int, now: float) -> None:
        """Take note of a tick that came at ``now``.

        Raises:
            InvariantViolated: it is not the one that was due.
        """
        shown = f"tick {number} for {count}, after {self._fetched}, at epoch "
        shown += f"{(now - self._start) / self._period:.6f}"
        if number <= self._fetched or self._start + number * self._period > now:
            raise InvariantViolated("a tick is never early", shown)
        if self._start + (number + 1) * self._period <= now:
            raise InvariantViolated("a tick stands for all that are due", shown)
        if count != number - self._fetched:
            raise InvariantViolated("a tick counts all that it stands for", shown)
        self._fetched = number

    def require_due(self, shown: float) -> None:
        """Require that a timer says when its next tick is due.

        Raises:
            InvariantViolated: it is off the grid.
        """
        if shown != self.next_deadline:
            late = f"{shown - self.next_deadline:+.9f} s"
            raise InvariantViolated("a timer keeps its grid", late)

    def require_prompt(self, called: float, due: float, now: float) -> None:
        """Require that a wait which began at ``called`` ended when its tick was ``due``.

        Raises:
            InvariantViolated: it was late.
        """
        late = now - max(called, due)
        if late > self.SLACK:
            raise InvariantViolated("a tick is not late", f"by {late:.6f} s of the machine")
