"""What a node hands out: one batch of work for its owner."""

import attrs

from trio440.raft.messages import Entry, HardState, Message, SnapshotMeta

__all__ = ["ChunkRead", "ChunkWrite", "ReadState", "Ready"]


@attrs.frozen
class ReadState:
    """The answer to ``read_index``."""

    context: object
    """What ``read_index`` was given."""
    index: int | None
    """The read may be answered from a state machine that has applied this much; None where the
    leader is gone: ask again."""


@attrs.frozen
class ChunkRead:
    """A piece of this peer's snapshot that another one needs; see ``Node.chunk_read``."""

    to: str
    meta: SnapshotMeta
    offset: int
    length: int
    """At least 1."""


@attrs.frozen
class ChunkWrite:
    """A piece of a snapshot that was received; its CRC has been checked."""

    meta: SnapshotMeta
    offset: int
    """0 starts anew: whatever was received before is discarded."""
    data: bytes


@attrs.frozen
class Ready:
    """What is to be done, and in which order.

    The owner may take the next Ready before this one is done. It must begin the writes of all
    Readys in their order, and those of one in the order ``chunks``, ``snapshot``, ``hard_state``,
    ``entries``.
    """

    hard_state: HardState | None
    """To be kept, where it has changed."""
    entries: tuple[Entry, ...]
    """To be kept: the first one overwrites what is stored at its index, and all after that."""
    must_sync: bool
    """Whether ``hard_state`` and ``entries`` count only when they are durable. Then call
    ``persisted`` with the last entry, if there is one: once for each Ready, in order."""
    chunks: tuple[ChunkWrite, ...]
    """Pieces of a snapshot to be kept beside everything else; need no sync of their own."""
    snapshot: SnapshotMeta | None
    """All of its pieces have been handed out. Check the whole, make it durable, let it replace
    the log up to its index (and all of the log, unless that has an entry of that index and
    term), then call ``snapshot_persisted``, or ``snapshot_failed``. The state machine restores
    it after all ``committed`` of the Readys before, and before those that follow."""
    messages_now: tuple[Message, ...]
    """May leave at once, beside the writes."""
    messages_after_sync: tuple[Message, ...]
    """May leave when this Ready and all before it are durable; where ``must_sync`` is false, as
    soon as those before it are. One that is addressed to this peer itself is given to ``step``
    at that moment."""
    committed: tuple[Entry, ...]
    """To be applied, after those of all Readys before; durable here. Call ``applied`` as it is
    done. Entries that are no commands count, and do nothing."""
    read_states: tuple[ReadState, ...]
    """Reads that have their index, or will never."""
    chunk_reads: tuple[ChunkRead, ...]
    """Pieces of snapshots to be read and given to ``chunk_read``, or ``report_snapshot``."""

    @property
    def last_index(self) -> int:
        """The index of the last of ``entries``, 0 where there is none."""
        return self.entries[-1].index if self.entries else 0

    @property
    def last_term(self) -> int:
        """The term of the last of ``entries``, 0 where there is none."""
        return self.entries[-1].term if self.entries else 0
