"""What a message from another peer must be before Raft takes it in. Pure.

Raft trusts its peers to follow its rules, and no check can tell who does not. These checks keep
from the node what no peer of any cluster can mean: numbers that run out of their range when one
is added, a snapshot of nothing, addresses that cannot be reached.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final

from trio440.errors import BadMessage
from trio440.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadReply,
    ReadRequest,
    RequestVote,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)

__all__ = ["LARGEST_NUMBER", "check_untrusted", "is_address"]

LARGEST_NUMBER: Final = 1 << 62
"""The largest term or index of a message: a peer may count on from there for ever."""
MOST_HOST_LENGTH: Final = 253
MOST_PORT: Final = 65_535

_NUMBERS: Final[Mapping[type[Any], Callable[[Any], tuple[int, ...]]]] = {
    RequestVote: attrgetter("term", "last_index", "last_term"),
    VoteReply: lambda message: (message.term,),
    Append: attrgetter("term", "prev_index", "prev_term", "commit"),
    AppendReply: attrgetter("term", "index", "hint_index", "hint_term"),
    Heartbeat: attrgetter("term", "commit", "round"),
    HeartbeatReply: attrgetter("term", "round"),
    InstallSnapshot: attrgetter("term", "offset", "meta.index", "meta.term", "meta.size"),
    SnapshotReply: attrgetter("term", "index", "offset"),
    TimeoutNow: lambda message: (message.term,),
    ReadRequest: lambda message: (message.term,),
    ReadReply: attrgetter("term", "index"),
}


def check_untrusted(message: Message) -> None:
    """Return if a message is one that Raft can take in.

    Raises:
        BadMessage: a term or an index is outside 0 to 2**62, or a snapshot has no entry, no voter,
            or a later term than its leader.
    """
    numbers = _NUMBERS[type(message)](message)
    if min(numbers) < 0 or max(numbers) > LARGEST_NUMBER:
        raise BadMessage(f"a number of a {type(message).__name__} is outside 0 to 2**62")
    if isinstance(message, InstallSnapshot):
        meta = message.meta
        if not (meta.index and 0 < meta.term <= message.term and meta.configuration.voters):
            raise BadMessage("a leader sends a snapshot of nothing")


def is_address(host: str, port: int) -> bool:
    """Whether there may be somebody to be reached."""
    is_host = 0 < len(host) <= MOST_HOST_LENGTH and host.isprintable()
    return is_host and 0 < port <= MOST_PORT
