"""What the parts of a node share: the peer's state, and what it has to hand out."""

import enum
import random
from collections import Counter
from collections.abc import Iterable

import attrs

from trio440.raft.config import Config
from trio440.raft.log import Log
from trio440.raft.membership import (
    NO_STORE,
    Configuration,
    Configurations,
    decode_configuration,
)
from trio440.raft.messages import Entry, EntryKind, HardState, Message, SnapshotMeta
from trio440.raft.quorum import Majorities
from trio440.raft.ready import ChunkRead, ChunkWrite, ReadState

__all__ = ["Role", "State", "configurations_in"]


class Role(enum.Enum):
    """What a peer is doing."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@attrs.define(eq=False)
class State:
    """Raft's Figure 2, and the outbox."""

    id: str
    config: Config
    rng: random.Random
    log: Log
    configurations: Configurations
    snapshot: SnapshotMeta
    """The latest one that is durable."""
    term: int = 0
    vote: str | None = None
    role: Role = Role.FOLLOWER
    leader: str | None = None
    """The leader of ``term``, where it is known."""
    ticks: int = 0
    store: int = NO_STORE
    """The number of this peer's store; without it nothing tells the peer from another store."""
    installing: SnapshotMeta | None = None
    """Handed out to be installed; until then the log stands still and no election begins."""
    handed_state: HardState = attrs.Factory(HardState)
    """As it was last handed out."""
    messages_now: list[Message] = attrs.Factory(list)
    messages_after_sync: list[Message] = attrs.Factory(list)
    read_states: list[ReadState] = attrs.Factory(list)
    chunk_reads: list[ChunkRead] = attrs.Factory(list)
    chunk_writes: list[ChunkWrite] = attrs.Factory(list)
    snapshot_to_install: SnapshotMeta | None = None
    counts: Counter[str] = attrs.Factory(Counter)

    @property
    def majorities(self) -> Majorities:
        """The groups of which a majority each must agree."""
        return self.configurations.current.majorities

    @property
    def may_campaign(self) -> bool:
        """Whether this peer may become the leader: its log is at rest, and it may be needed.

        One that is removed by an entry which is not committed yet may be the only one that has
        that entry, and then nobody else can win (dissertation, 4.2.2).
        """
        if self.installing is not None or self.is_replaced:
            return False
        return self.configurations.is_voter_since(self.id, self.log.commit)

    @property
    def is_replaced(self) -> bool:
        """Whether a member of this peer's id has another store: this peer has no vote."""
        known = dict(self.configurations.current.stores).get(self.id, NO_STORE)
        return NO_STORE not in {self.store, known} and known != self.store

    @property
    def term_is_handed(self) -> bool:
        """Whether term and vote were handed out to be kept, as they are now."""
        handed = self.handed_state
        return handed.term == self.term and handed.vote == self.vote

    @property
    def has_output(self) -> bool:
        """Whether there is anything in the outbox."""
        return bool(
            self.messages_now
            or self.messages_after_sync
            or self.read_states
            or self.chunk_reads
            or self.chunk_writes
            or self.snapshot_to_install is not None
        )

    def clear_output(self) -> None:
        """Empty the outbox."""
        self.messages_now.clear()
        self.messages_after_sync.clear()
        self.read_states.clear()
        self.chunk_reads.clear()
        self.chunk_writes.clear()
        self.snapshot_to_install = None

    def send(self, message: Message) -> None:
        """Send something that depends on nothing that is not durable yet."""
        self.messages_now.append(message)

    def send_after_sync(self, message: Message) -> None:
        """Send something that promises what must be durable first."""
        self.messages_after_sync.append(message)

    def take_in(self, configurations: list[tuple[int, Configuration]], first_new: int) -> None:
        """Let the configurations among new entries count from now on."""
        self.configurations.truncate(first_new)
        for index, configuration in configurations:
            if index >= first_new:
                self.configurations.append(index, configuration)


def configurations_in(entries: Iterable[Entry]) -> list[tuple[int, Configuration]]:
    """Return the configurations among entries, each with its index.

    Raises:
        BadMessage: an entry holds none, and should.
    """
    kind = EntryKind.CONFIGURATION
    return [
        (entry.index, decode_configuration(entry.data)) for entry in entries if entry.kind is kind
    ]
