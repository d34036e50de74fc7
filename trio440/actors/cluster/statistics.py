"""What one member has seen and done so far. Pure."""

import attrs

__all__ = ["Counters", "Statistics"]


@attrs.frozen(kw_only=True)
class Statistics:
    """Counts since the start, and the present."""

    live: int
    """Members that count as live, this one included, now."""
    known: int
    """Members in the table, those lost and left included and this one not, now."""
    health: int
    """The count of own troubles, from 0; Lifeguard's local health multiplier is one more."""
    queued: int
    """Records that are still to be told, now."""
    probes: int
    probes_failed: int
    """Neither the target nor a helper answered."""
    nacks_missed: int
    """Helpers that gave neither an ack nor a nack."""
    relays: int
    """Probes made for others."""
    refutations: int
    """Suspicions of this member, and claims that it is lost, that it has refuted."""
    pauses: int
    """Times that this member found itself late, so that timers were put off."""
    strangers: int
    """Messages whose source is not who sent them."""
    members_refused: int
    """Records of new members at ``max_members``."""
    relays_refused: int
    """At ``max_relays``, or for a target that is no member."""
    replies_refused: int
    """At ``max_replies``."""


@attrs.define
class Counters:
    """The running counts behind :class:`Statistics`, field by field."""

    probes: int = 0
    probes_failed: int = 0
    nacks_missed: int = 0
    relays: int = 0
    refutations: int = 0
    pauses: int = 0
    strangers: int = 0
    members_refused: int = 0
    relays_refused: int = 0
    replies_refused: int = 0
