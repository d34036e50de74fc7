"""What a member learns about the others. Pure.

Of each node, in this order and by this grammar::

    Joined ( Suspected? ( Cleared | ( Lost | Left ) Back ) )*

Between ``Joined`` or ``Back`` and the next ``Lost`` or ``Left`` a node counts as live; a suspect is
live. A node that is forgotten after it was lost, or left, may join anew.
"""

from typing import TypeAlias

import attrs

from trio440.actors.cluster.messages import Node

__all__ = ["Back", "Cleared", "Event", "Joined", "Left", "Lost", "Superseded", "Suspected"]


@attrs.frozen
class Joined:
    """A node is a member; a later life of a node is another one than the earlier."""

    node: Node


@attrs.frozen
class Suspected:
    """Somebody has had no answer from a member; it has time to refute that."""

    node: Node


@attrs.frozen
class Cleared:
    """A suspected member has refuted that."""

    node: Node


@attrs.frozen
class Lost:
    """A member did not refute a suspicion in time, or a later life has taken its address."""

    node: Node


@attrs.frozen
class Left:
    """A member has said that it leaves."""

    node: Node


@attrs.frozen
class Back:
    """A lost member is there again, the same life of it: it was cut off."""

    node: Node


@attrs.frozen
class Superseded:
    """The others know a later life at this node's own address and will not listen to this one."""

    by: Node


Event: TypeAlias = Joined | Suspected | Cleared | Lost | Left | Back | Superseded
