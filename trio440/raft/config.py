"""The numbers that govern a Raft node, validated together where they enter.

Times are ticks: the owner of a node decides how long one is, and calls ``tick`` that often. The
defaults suit a tick of 10 ms: a heartbeat every 100 ms, elections after 1 to 2 s of silence. The
paper's 150 to 300 ms would be one or two heartbeats only.
"""

from typing import Any, Final

import attrs

from trio440.errors import InvalidParameter

__all__ = ["Config"]

ENTRY_LIMIT: Final = 1 << 20
PHASES: Final = 2
"""Ticks that a lease loses because neither side knows where within a tick something happened."""


def _at_least(minimum: int) -> Any:
    def check(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise InvalidParameter(attribute.name, value, f"a whole number of at least {minimum}")

    return check


def _truth(value: bool) -> bool:
    """Return a bool for what is as good as one: messages and traces carry it."""
    return bool(value)


@attrs.frozen(kw_only=True)
class Config:
    """What every node of a cluster should agree about; nothing breaks if limits differ.

    Raises:
        InvalidParameter: a value is out of its range, or does not fit another one.
    """

    heartbeat_ticks: int = attrs.field(default=10, validator=_at_least(1))
    """A leader is heard from at least this often."""
    election_ticks: int = attrs.field(default=100, validator=_at_least(2))
    """The shortest silence after which a follower may start an election; also how long a leader
    goes on without hearing from a quorum (CheckQuorum), how long a follower is loyal to a leader
    it has heard (stickiness), and how long a leadership transfer may take."""
    election_ticks_spread: int = attrs.field(default=100, validator=_at_least(1))
    """Each silence is drawn from ``election_ticks`` to as much more; a narrow spread splits
    votes, the more peers there are."""
    no_op: bool = attrs.field(default=True, converter=_truth)
    """A new leader appends an empty entry, which commits what earlier leaders left (paper, 8).
    Without it reads and membership changes wait for the first command of the term."""
    pre_vote: bool = attrs.field(default=True, converter=_truth)
    """Ask whether an election could be won before the term is raised (dissertation, 9.6)."""
    check_quorum: bool = attrs.field(default=True, converter=_truth)
    """A leader that hears from no quorum steps down, and those who hear a leader ignore
    candidates (dissertation, 4.2.3 and 6.2)."""
    eager_commit: bool = attrs.field(default=True, converter=_truth)
    """Tell followers within a tick that entries are committed, with the next append if that comes
    before, and at once those who read; else with the next append or heartbeat alone, which saves
    messages and costs followers up to a heartbeat."""
    lease_reads: bool = attrs.field(default=False, converter=_truth)
    """Answer reads from a lease (dissertation, 6.4.1): needs ``check_quorum`` and clocks whose
    rates differ by less than ``lease_margin_ticks`` in ``election_ticks``, and an owner that
    calls ``tick`` for all the time that has passed before it asks for a read."""
    lease_margin_ticks: int = attrs.field(default=10, validator=_at_least(0))
    """How much earlier than its followers' loyalty a lease ends."""
    max_append_bytes: int = attrs.field(default=1 << 20, validator=_at_least(1))
    """Entries of one append message; a larger single entry goes alone."""
    max_inflight_messages: int = attrs.field(default=64, validator=_at_least(1))
    """Append messages on their way to one follower; at the limit the rest waits."""
    max_inflight_bytes: int = attrs.field(default=8 << 20, validator=_at_least(1))
    """Entries on their way to one follower; at the limit the rest waits."""
    max_entry_bytes: int = attrs.field(default=ENTRY_LIMIT, validator=_at_least(1))
    """The largest command; more is refused."""
    max_uncommitted_bytes: int = attrs.field(default=64 << 20, validator=_at_least(1))
    """Commands that a leader has and that are not committed; more are refused."""
    max_apply_entries: int = attrs.field(default=4096, validator=_at_least(1))
    """Committed entries handed out and not yet applied; at the limit the rest waits."""
    max_pending_reads: int = attrs.field(default=16384, validator=_at_least(1))
    """Reads that wait for their index; more are refused."""
    snapshot_chunk_bytes: int = attrs.field(default=256 << 10, validator=_at_least(1))
    """The data of one message of a snapshot."""
    keep_entries: int = attrs.field(default=1024, validator=_at_least(0))
    """Entries before a snapshot that are kept for followers who are a little behind."""

    def __attrs_post_init__(self) -> None:
        """Check what must fit together."""
        if self.election_ticks < 2 * self.heartbeat_ticks:
            least = f"at least twice heartbeat_ticks, {self.heartbeat_ticks}"
            raise InvalidParameter("election_ticks", self.election_ticks, least)
        if self.lease_reads and not self.check_quorum:
            raise InvalidParameter("lease_reads", self.lease_reads, "False without check_quorum")
        if self.lease_reads and self.lease_ticks < 1:
            most = f"less than election_ticks - {PHASES}"
            raise InvalidParameter("lease_margin_ticks", self.lease_margin_ticks, most)

    @property
    def lease_ticks(self) -> int:
        """How long after its sending a confirmed heartbeat lets a leader answer reads."""
        return self.election_ticks - self.lease_margin_ticks - PHASES

    def after(self, elapsed: int, count: int, timeout: int) -> int:
        """Return how much of a timeout has passed after so many ticks at once, see ``Node.tick``.

        Args:
            elapsed: before.
            count: ticks that pass.
            timeout: where the time is over.
        """
        room = timeout - self.heartbeat_ticks
        if count <= self.heartbeat_ticks or elapsed >= room:  # it is left once
            return elapsed + count
        return min(elapsed + count, room)

    @classmethod
    def course(cls, **changes: Any) -> "Config":
        """Return CMU 15-440's Raft, for a tick of 10 ms.

        The first command has index 1, and a leader that is cut off goes on believing: there is
        no no-op entry, no CheckQuorum and no PreVote; commits travel with the next message.

        Args:
            **changes: other fields, by name.
        """
        floor: dict[str, Any] = {
            "no_op": False,
            "check_quorum": False,
            "pre_vote": False,
            "eager_commit": False,
        }
        return cls(**(floor | changes))
