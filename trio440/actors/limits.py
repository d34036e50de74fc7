"""The bounds of actors and systems, what happens at each, and the counts of a system. Pure."""

from typing import Any, Literal, TypeAlias

import attrs

from trio440.actors.checks import check_choice, check_count, check_seconds, checked
from trio440.actors.ref import Ref

__all__ = [
    "ActorStatistics",
    "Limits",
    "MailboxPolicy",
    "Overflow",
    "SystemStatistics",
]

Overflow: TypeAlias = Literal["fail_ask", "block_ask", "drop_newest", "drop_oldest"]
"""What a full mailbox does with one message more. Whatever it is, a ``tell`` neither waits nor
raises, and each message that is dropped becomes a dead letter.

``fail_ask``: what comes is dropped, and an ask among it fails at once with ``MailboxFull``.
``block_ask``: an ask waits for room, in the order of arrival, and a tell is dropped.
``drop_newest``: what comes is dropped as a network would: an ask hears of it at its deadline.
``drop_oldest``: what has waited longest is dropped, and if that was an ask it fails at once.
"""


@attrs.frozen
class MailboxPolicy:
    """The bound of one actor's mailbox, and what happens at it."""

    capacity: int = attrs.field(default=1000, validator=checked(check_count))
    """Messages that wait, the stashed ones included. Notices of watched actors come on top."""
    overflow: Overflow = attrs.field(default="fail_ask", validator=checked(check_choice, Overflow))


@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of a system."""

    actors: int = attrs.field(default=1_000_000, validator=checked(check_count))
    """One more is refused with ``LimitReached``."""
    timers: int = attrs.field(default=1_000_000, validator=checked(check_count))
    """That run; one more is refused with ``LimitReached``."""
    open_asks: int = attrs.field(default=1_000_000, validator=checked(check_count))
    """One-shot references that wait; one more is refused with ``LimitReached``."""
    mailbox: MailboxPolicy = MailboxPolicy()
    """Of actors that are spawned without one."""
    start_seconds: float = attrs.field(default=60.0, validator=checked(check_seconds))
    """For ``on_start`` or ``on_restart`` of one actor, children that it spawns there included.
    Who takes longer is cancelled there and has failed to start."""
    stop_seconds: float = attrs.field(default=5.0, validator=checked(check_seconds))
    """For everything to stop when the system is left normally, all actors together. Also what
    one actor has to finish a message when it is restarted along with a sibling, and to end when
    its supervisor fails. Who has not ended by then is cancelled."""


@attrs.frozen(kw_only=True)
class SystemStatistics:
    """What a system holds, and has counted since it was opened."""

    actors: int
    """That are there."""
    names: int
    timers: int
    open_asks: int
    """One-shot references that wait for their answer, those of asks included."""
    sent_by_actors: int
    sent_from_outside: int
    bytes_sent: int
    """Of messages that were encoded."""
    sent_without_encoding: int
    """Messages that were shared instead, because they are immutable."""
    remote_bytes_received: int
    """Of messages and questions that came from other systems."""
    one_shots_used: int
    """One-shot references that were made, those of asks included."""
    highest_rate: float
    """Of any actor to any one reference, in messages: their count, divided by the actor's age in
    seconds + 1.1, rounded down."""
    spawned: int
    ended: int
    crashes: int
    restarts: int
    dead_letters: int
    dead_by_reason: dict[str, int]
    dead_letters_unheard: int
    """That somebody listened for whose channel was full."""


@attrs.frozen(kw_only=True)
class ActorStatistics:
    """One actor at one moment."""

    ref: Ref[Any]
    kind: str
    """The name of the class or function that it was spawned from."""
    name: str | None
    waiting: int
    """Messages in its mailbox."""
    stashed: int
    handled: int
    restarts: int
    children: int
    watchers: int
