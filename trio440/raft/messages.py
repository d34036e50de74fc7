"""What Raft's peers say to each other, and what they keep: immutable values.

The list of types in :data:`Message` is the protocol. An entry that is on its way is never
changed: tuples of frozen entries are shared freely between a log and any number of messages.
"""

import enum
from typing import TypeAlias

import attrs
import msgspec

from trio440.raft.membership import Configuration

__all__ = [
    "Append",
    "AppendReply",
    "Entry",
    "EntryKind",
    "HardState",
    "Heartbeat",
    "HeartbeatReply",
    "InstallSnapshot",
    "Message",
    "ReadReply",
    "ReadRequest",
    "RequestVote",
    "SnapshotMeta",
    "SnapshotReply",
    "TimeoutNow",
    "VoteReply",
]


class EntryKind(enum.Enum):
    """What an entry is for; the values are what is stored."""

    COMMAND = 0
    """For the state machine."""
    NO_OP = 1
    """A new leader's first entry."""
    CONFIGURATION = 2
    """See :mod:`trio440.raft.membership`."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One place of the log.

    A Struct, unlike the other messages: a leader makes one for each command, and each of its
    followers another.
    """

    index: int
    """From 1."""
    term: int
    data: bytes = b""
    kind: EntryKind = EntryKind.COMMAND


@attrs.frozen
class HardState:
    """What a peer must not forget."""

    term: int = 0
    vote: str | None = None
    """For whom it has voted in ``term``."""
    commit: int = 0
    """Committed as far as it knew; needs no sync of its own, since it is found out again."""


@attrs.frozen
class SnapshotMeta:
    """What a snapshot is of."""

    index: int
    """The last entry that is in it; 0 for the empty state in which a cluster begins."""
    term: int
    """Of that entry."""
    configuration: Configuration
    """That holds at ``index``."""
    size: int = 0
    """Bytes."""
    checksum: int = 0
    """CRC-32 of all bytes."""


@attrs.frozen
class RequestVote:
    """Paper, 5.2 and 5.4.1; with ``pre`` dissertation, 9.6."""

    sender: str
    to: str
    term: int
    """The term of the election; with ``pre`` the one that would follow."""
    last_index: int
    last_term: int
    pre: bool = False
    transfer: bool = False
    """The leader itself asked for this election: loyalty to it does not count."""


@attrs.frozen
class VoteReply:
    """The answer to :class:`RequestVote`."""

    sender: str
    to: str
    term: int
    """Of the request where it is granted, else the voter's own."""
    granted: bool
    pre: bool = False


@attrs.frozen
class Append:
    """AppendEntries: paper, 5.3."""

    sender: str
    to: str
    term: int
    prev_index: int
    prev_term: int
    entries: tuple[Entry, ...]
    commit: int


@attrs.frozen
class AppendReply:
    """The answer to :class:`Append`, and to a snapshot that has been installed."""

    sender: str
    to: str
    term: int
    index: int
    """The last entry that was sent and is now durable there; where it was rejected, the
    ``prev_index`` of the message."""
    rejected: bool = False
    hint_index: int = 0
    """Where rejected: no index above this one can match."""
    hint_term: int = 0
    """Where rejected: the term of the follower's entry at ``hint_index``."""


@attrs.frozen
class Heartbeat:
    """The leader is there; the reply says that it still is the leader for its sender."""

    sender: str
    to: str
    term: int
    commit: int
    """Never above what the receiver is known to have."""
    round: int
    """Counts the leader's heartbeats in its term."""


@attrs.frozen
class HeartbeatReply:
    """The answer to :class:`Heartbeat`."""

    sender: str
    to: str
    term: int
    round: int
    """Of the heartbeat that is answered."""


@attrs.frozen
class InstallSnapshot:
    """A piece of a snapshot: paper, 7."""

    sender: str
    to: str
    term: int
    meta: SnapshotMeta
    offset: int
    data: bytes
    checksum: int
    """CRC-32 of ``data``."""


@attrs.frozen
class SnapshotReply:
    """How far a snapshot has been received; the next piece is wanted from there."""

    sender: str
    to: str
    term: int
    index: int
    """Of the snapshot."""
    offset: int


@attrs.frozen
class TimeoutNow:
    """Start an election at once: dissertation, 3.10."""

    sender: str
    to: str
    term: int


@attrs.frozen
class ReadRequest:
    """A follower asks for an index that a read may be answered at: dissertation, 6.4."""

    sender: str
    to: str
    term: int
    number: int
    """The follower's own; never used twice, restarts included."""


@attrs.frozen
class ReadReply:
    """The answer to :class:`ReadRequest`."""

    sender: str
    to: str
    term: int
    number: int
    index: int


Message: TypeAlias = (
    RequestVote
    | VoteReply
    | Append
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | InstallSnapshot
    | SnapshotReply
    | TimeoutNow
    | ReadRequest
    | ReadReply
)
"""Every message."""
