"""What a system tells of itself: ends of actors, dead letters, failures, spawned actors. Pure."""

from typing import Any, Literal, TypeAlias

import attrs

from trio440.actors.messages import message
from trio440.actors.ref import Ref

__all__ = ["DeadLetter", "DeadReason", "Down", "DownReason", "Spawned"]

DownReason: TypeAlias = Literal["stopped", "crashed", "unknown", "lost"]
"""``stopped``: by itself or by somebody; ``crashed``: and was not restarted; ``unknown``: there
was no such actor when the watch began, or none any more; ``lost``: its system is, or cannot be
reached: whether the actor has ended is not known."""


@message("trio440.Down")
@attrs.frozen
class Down:
    """An actor that was watched has ended; comes exactly once for each watch.

    It comes after everything that the actor had told the watcher, in the order of the mailbox,
    and no overflow policy drops it.
    """

    ref: Ref[Any]
    reason: DownReason
    watch: int
    """What ``watch`` returned."""
    detail: str = ""
    """In one line, what the actor failed with."""


DeadReason: TypeAlias = Literal[
    "stopped",
    "unknown_actor",
    "other_life",
    "unreachable",
    "link_full",
    "mailbox_full",
    "unhandled",
    "restarted",
    "interrupted",
    "unknown_message",
    "unencodable",
    "undecodable",
    "already_answered",
]
"""Why a message reached nobody.

``stopped``: the actor has ended, is draining, or ended before its turn came; ``unknown_actor``:
there has never been such an actor; ``other_life``: the reference is of another life of this
system; ``unreachable``: of a system that is lost, or that no link leads to; ``link_full``: too much
waits for that system already, or the message is too long for it; ``mailbox_full``: dropped by the
mailbox's policy; ``unhandled``: the actor has no handler for it; ``restarted``: it waited in a
mailbox that its actor does not keep; ``interrupted``: its handler was cut short;
``unknown_message``: its class is not registered; ``unencodable``: it holds what has no wire form;
``undecodable``: its class refuses what it was encoded to; ``already_answered``: it came to a
one-shot reference that has its answer, or waits for none any more.
"""


@attrs.frozen
class DeadLetter:
    """A message that reached nobody."""

    ref: Ref[Any]
    """Where it should have gone."""
    message: Any
    reason: DeadReason
    detail: str = ""
    sender: Ref[Any] | None = None
    """The actor that sent it; None from outside of actors, or where it is not known any more."""


@attrs.frozen
class Spawned:
    """An actor has been spawned; its first ``on_start`` has not run yet."""

    ref: Ref[Any]
    parent: Ref[Any] | None
    """None for an actor of the system itself."""
    factory: Any
    """What ``spawn`` was given."""
    args: tuple[Any, ...]
    name: str | None
