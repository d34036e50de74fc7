"""What a Raft peer says over RPC, to other peers and to clients: services and messages. Pure.

Peers speak in one-way messages: Raft bears it when they get lost. Each also tells the others now
and then where everybody listens, so that a new member needs to know one of the old ones only.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import attrs

from trio440.errors import BadMessage
from trio440.raft.acquaintance import Opinion
from trio440.raft.batches import decode_entries, encode_entries
from trio440.raft.messages import (
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    ReadReply,
    ReadRequest,
    RequestVote,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)
from trio440.rpc.service import Service, method, one_way
from trio440.wire.codec import Codec

__all__ = [
    "Answered",
    "AppendEntries",
    "Awaited",
    "Book",
    "Clients",
    "Command",
    "Done",
    "Elsewhere",
    "Introduced",
    "Introduction",
    "Members",
    "Nothing",
    "Outcome",
    "Peers",
    "Place",
    "Question",
    "Refusal",
    "Report",
    "Transfer",
    "Unknown",
]


LONGEST_WATCH_SECONDS: Final = 60.0
"""However long a client wants to wait, it may be gone, and asks again."""


# Between peers


@attrs.frozen
class Place:
    """Where a peer listens."""

    id: str
    host: str
    port: int


@attrs.frozen
class Book:
    """Where peers listen, as far as the sender knows; of itself it knows best."""

    places: tuple[Place, ...]


@attrs.frozen
class AppendEntries:
    """An :class:`~trio440.raft.messages.Append` on the wire."""

    sender: str
    to: str
    term: int
    prev_index: int
    prev_term: int
    commit: int
    batch: bytes
    """See :mod:`trio440.raft.batches`; empty where there is no entry."""

    @classmethod
    def of(
        cls, append: Append, encode: Callable[[Sequence[Entry]], bytes] = encode_entries
    ) -> "AppendEntries":
        """Write a message, with what ``encode`` makes of its entries, if it has any."""
        entries = append.entries
        return cls(
            append.sender,
            append.to,
            append.term,
            append.prev_index,
            append.prev_term,
            append.commit,
            encode(entries) if entries else b"",
        )

    def read_untrusted(self) -> Append:
        """Return the message.

        Raises:
            BadMessage: the batch is none, does not follow ``prev_index``, or has an entry of a
                later term than its leader's.
        """
        entries = decode_entries(self.batch, self.term) if self.batch else ()
        if entries and entries[0].index != self.prev_index + 1:
            raise BadMessage(f"entry {entries[0].index} comes after {self.prev_index}")
        return Append(
            self.sender,
            self.to,
            self.term,
            self.prev_index,
            self.prev_term,
            entries,
            self.commit,
        )


@attrs.frozen
class Introduction:
    """A peer asks to be let in; who it is, and by which store, the connection says."""

    place: Place
    """Where it listens."""


@attrs.frozen
class Introduced:
    """The answer to an introduction."""

    opinion: Opinion
    places: tuple[Place, ...]
    """As in a :class:`Book`."""


_MESSAGES: Final = Codec[
    RequestVote
    | VoteReply
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | SnapshotReply
    | TimeoutNow
    | ReadRequest
    | ReadReply
](
    RequestVote,
    VoteReply,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    SnapshotReply,
    TimeoutNow,
    ReadRequest,
    ReadReply,
)


class Peers(Service, name="raft"):
    """What peers say to each other."""

    message = one_way(_MESSAGES)
    append = one_way(AppendEntries)
    piece = one_way(InstallSnapshot)
    book = one_way(Book)
    introduce = method(Introduction, Introduced)


# From clients


@attrs.frozen
class Command:
    """To be proposed."""

    data: bytes


@attrs.frozen
class Question:
    """To be answered from the state machine."""

    data: bytes


@attrs.frozen
class Awaited:
    """To be answered from the state machine as soon as there is something to tell."""

    data: bytes
    milliseconds: int
    """After so long the answer is that there was nothing; see :attr:`seconds`."""

    @property
    def seconds(self) -> float:
        """How long to wait: what was asked for, but 0 to 60 seconds."""
        return min(max(self.milliseconds / 1000, 0.0), LONGEST_WATCH_SECONDS)


@attrs.frozen
class Members:
    """What the members are to be in the end."""

    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()


@attrs.frozen
class Transfer:
    """Who is to lead."""

    to: str


@attrs.frozen
class Nothing:
    """No argument, or no result."""


@attrs.frozen
class Answered:
    """What the state machine answered."""

    data: bytes


@attrs.frozen
class Done:
    """It was done."""

    index: int = 0
    """Of the entry or the snapshot, where there is one."""


@attrs.frozen
class Elsewhere:
    """This peer does not lead; nothing was done."""

    leader: str | None
    place: Place | None
    """Where the leader listens, if that is known."""


@attrs.frozen
class Refusal:
    """Nothing was done, for a reason that is no other leader."""

    problem: str


@attrs.frozen
class Unknown:
    """Nobody knows yet whether it is or will be done."""

    problem: str


Outcome: TypeAlias = Answered | Done | Elsewhere | Refusal | Unknown


@attrs.frozen
class Report:
    """What a peer says of itself."""

    id: str
    role: str
    term: int
    leader: str | None
    last: int
    commit: int
    applied: int
    snapshot: int
    voters: tuple[str, ...]
    learners: tuple[str, ...]
    places: tuple[Place, ...]
    """Where the peers listen that this one knows of."""
    reachable: tuple[str, ...]
    """To whom it has a connection."""


_OUTCOMES: Final = Codec[Outcome](Answered, Done, Elsewhere, Refusal, Unknown)


class Clients(Service, name="raft.client"):
    """What clients ask of a peer."""

    propose = method(Codec(Command), _OUTCOMES)
    read = method(Codec(Question), _OUTCOMES)
    watch = method(Codec(Awaited), _OUTCOMES)
    change = method(Codec(Members), _OUTCOMES)
    transfer = method(Codec(Transfer), _OUTCOMES)
    snapshot = method(Codec(Nothing), _OUTCOMES)
    status = method(Codec(Nothing), Codec(Report))
