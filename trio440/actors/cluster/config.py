"""The numbers that govern a member of a cluster, validated together where they enter. Pure.

Times are microseconds. All members of a cluster should have the same.
"""

from typing import Any

import attrs

from trio440.errors import InvalidParameter

__all__ = ["Config"]

LEAST_DATAGRAM = 1280
"""Room for the longest addresses and one record."""
MOST_DATAGRAM = 65_499
"""UDP's 65507, less what stands before each message in its datagram."""


def _within(least: int, most: int = 1 << 53) -> Any:
    def check(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidParameter(attribute.name, value, f"a whole number from {least} to {most}")

    return check


@attrs.frozen(kw_only=True)
class Config:
    """How a member probes, suspects and tells, and what it keeps at most.

    Raises:
        InvalidParameter: a value is out of its range, or does not fit another one.
    """

    probe_interval_us: int = attrs.field(default=1_000_000, validator=_within(1))
    """One member is probed in each: SWIM's protocol period."""
    probe_timeout_us: int = attrs.field(default=500_000, validator=_within(1))
    """After so long without an ack, helpers are asked; more than a round trip takes."""
    indirect_probes: int = attrs.field(default=3, validator=_within(0, 64))
    """How many helpers are asked: SWIM's k."""
    max_health: int = attrs.field(default=8, validator=_within(0, 64))
    """How far the count of a member's own troubles rises: Lifeguard's S. Interval and timeout of
    its probes are multiplied by the count and one."""
    suspicion_alpha: int = attrs.field(default=5, validator=_within(1, 1000))
    """A suspicion lasts at least this times log10 of the number of members (1 at least), in
    probe intervals: Lifeguard's alpha."""
    suspicion_beta: int = attrs.field(default=6, validator=_within(1, 1000))
    """And at most this many times longer: Lifeguard's beta."""
    suspicion_confirmations: int = attrs.field(default=3, validator=_within(0, 64))
    """After so many accusers beside the first it has come down to its least: Lifeguard's K."""
    gossip_interval_us: int = attrs.field(default=200_000, validator=_within(1))
    """While there is something to tell, it goes out this often, beside what probes carry."""
    gossip_fanout: int = attrs.field(default=3, validator=_within(1, 64))
    """To so many members each time."""
    retransmissions: int = attrs.field(default=3, validator=_within(1, 100))
    """A record is sent this times ln(n + 1) times, rounded up: SWIM's lambda (section 4.1)."""
    push_pull_interval_us: int = attrs.field(default=30_000_000, validator=_within(1))
    """This often all that is known is exchanged with one member."""
    join_interval_us: int = attrs.field(default=1_000_000, validator=_within(1))
    """Before seeds are asked a second time; each wait is twice the one before, up to
    ``reconnect_interval_us``."""
    reconnect_interval_us: int = attrs.field(default=10_000_000, validator=_within(1))
    """Each lost member is tried about this often by all the others together, so that a healed
    partition is found."""
    forget_us: int = attrs.field(default=86_400_000_000, validator=_within(1))
    """After so long a lost member, or one that left, is forgotten."""
    max_datagram_bytes: int = attrs.field(
        default=1400, validator=_within(LEAST_DATAGRAM, MOST_DATAGRAM)
    )
    """No message is longer in its wire form; its datagram has 8 bytes more."""
    max_members: int = attrs.field(default=4096, validator=_within(1, 1 << 20))
    """Known members, those lost and left included, which make room for others; one more is
    refused and counted."""
    max_seeds: int = attrs.field(default=64, validator=_within(0, 4096))
    """More are an error of the caller."""
    max_relays: int = attrs.field(default=256, validator=_within(0, 1 << 16))
    """Probes made for others at once; one more is answered with a nack."""
    max_replies: int = attrs.field(default=32, validator=_within(1, 1 << 16))
    """Full exchanges answered in one probe interval; one more is dropped and counted."""

    def __attrs_post_init__(self) -> None:
        """Check what must fit together."""
        if 2 * self.probe_timeout_us > self.probe_interval_us:
            most = f"at most half of probe_interval_us, {self.probe_interval_us}"
            raise InvalidParameter("probe_timeout_us", self.probe_timeout_us, most)
        if self.reconnect_interval_us < self.join_interval_us:
            least = f"at least join_interval_us, {self.join_interval_us}"
            raise InvalidParameter("reconnect_interval_us", self.reconnect_interval_us, least)
