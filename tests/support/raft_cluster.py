"""Raft nodes in one process: an obedient owner for each, a network of lists, time in ticks."""

import random
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable

from trio440.raft.config import Config
from trio440.raft.messages import Entry, EntryKind, Message, SnapshotMeta
from trio440.raft.node import Node
from trio440.raft.ready import ReadState, Ready
from trio440.raft.storage import MemoryStorage, Stored, bootstrap
from trio440.raft.trace_lines import Recorder
from trio440.raft.tracing import make_node

QUICK = {"heartbeat_ticks": 2, "election_ticks": 10, "election_ticks_spread": 10}
REQUESTS = {"Append", "Heartbeat", "RequestVote", "InstallSnapshot", "TimeoutNow", "ReadRequest"}


def quick(**changes: object) -> Config:
    return Config(**{"lease_margin_ticks": 2, **QUICK, **changes})  # type: ignore[arg-type]


def course(**changes: object) -> Config:
    return Config.course(**{"lease_margin_ticks": 2, **QUICK, **changes})


class Owner:
    """Does for one node what its Readys say, at once or, with ``auto_sync`` off, when told."""

    def __init__(self, cluster: "Cluster", name: str, stored: Stored, seed: int) -> None:
        self.cluster = cluster
        self.name = name
        self.storage = MemoryStorage()
        self.storage._stored = stored
        self.lives = 0
        self.seed = seed
        self.auto_sync = True
        self.is_up = True
        self.start()

    def start(self) -> None:
        stored = self.storage.load_now()
        assert stored is not None
        self.lives += 1
        rng = random.Random(f"{self.seed}/{self.name}/{self.lives}")
        self.node = make_node(self.name, self.cluster.config, stored, rng, self.cluster.recorder)
        self.unsynced: deque[Ready] = deque()
        self.log_applied: list[Entry] = []
        self.base = stored.snapshot.index
        self.reads: list[ReadState] = []
        self.is_up = True

    def crash(self) -> None:
        """Lose power, and everything that was not synced."""
        self.is_up = False

    @property
    def commands(self) -> list[bytes]:
        return [entry.data for entry in self.log_applied if entry.kind is EntryKind.COMMAND]

    def pump(self) -> bool:
        moved = False
        while self.is_up and (ready := self.node.ready()) is not None:
            moved = True
            self.cluster.send(ready.messages_now)
            self.take(ready)
            self.unsynced.append(ready)
            if self.auto_sync or not any(one.must_sync for one in self.unsynced):
                self.sync()
        return moved

    def sync(self) -> None:
        """Make everything durable, and do what waited for that."""
        while self.unsynced:
            ready = self.unsynced.popleft()
            self.storage.write_now(ready)
            if ready.entries:
                self.node.persisted(ready.last_index, ready.last_term)
            if ready.snapshot is not None:
                self.install(ready.snapshot)
            for message in ready.messages_after_sync:
                if message.to == self.name:
                    self.node.step(message)
                else:
                    self.cluster.send((message,))

    def take(self, ready: Ready) -> None:
        for entry in ready.committed:
            assert entry.index == self.base + len(self.log_applied) + 1, "in order, without a gap"
            self.log_applied.append(entry)
            self.node.applied(entry.index)
        self.reads += ready.read_states
        for read in ready.chunk_reads:
            data = self.storage.read_now(read.meta, read.offset, read.length)
            if data is None:
                self.node.report_snapshot(read.to, ok=False)
            else:
                self.node.chunk_read(read, data)

    def install(self, meta: SnapshotMeta) -> None:
        if self.storage.install_now(meta):
            self.base = meta.index
            self.log_applied = []
            self.node.snapshot_persisted(meta)
        else:
            self.node.snapshot_failed(meta)

    def snapshot(self, data: bytes = b"state") -> SnapshotMeta:
        """Take a snapshot at what is applied, and compact."""
        index = self.node.log.applied
        meta = self.node.describe_snapshot(index, len(data), zlib.crc32(data))
        self.storage.save_now(meta, data)
        self.storage.compact_now(self.node.snapshot_persisted(meta))
        return meta


class Cluster:
    """Some owners, and what is on its way between them."""

    recorder: Recorder | None = None
    """Is told of what their nodes do."""

    def __init__(
        self,
        count: int = 3,
        config: Config | None = None,
        *,
        seed: int = 0,
        learners: Iterable[str] = (),
        names: Iterable[str] | None = None,
    ) -> None:
        self.config = quick() if config is None else config
        self.seed = seed
        self.names = [f"n{i}" for i in range(1, count + 1)] if names is None else list(names)
        self.rng = random.Random(f"network/{seed}")
        self.now = 0
        self.sent: Counter[str] = Counter()
        self.flying: list[tuple[int, int, Message]] = []
        self.number = 0
        self.drop: Callable[[Message], bool] = lambda _message: False
        self.delay: Callable[[Message], int] = lambda _message: 0
        self.cut: set[frozenset[str]] = set()
        self.leaders: dict[int, str] = {}
        stored = bootstrap(self.names, learners)
        self.owners = {name: Owner(self, name, stored, seed) for name in (*self.names, *learners)}

    def __getitem__(self, name: str) -> Node:
        return self.owners[name].node

    def add(self, name: str, stored: Stored) -> Owner:
        self.owners[name] = owner = Owner(self, name, stored, self.seed)
        return owner

    def send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.sent[type(message).__name__] += 1
            if not self.drop(message):
                self.number += 1
                self.flying.append((self.now + self.delay(message), self.number, message))

    @property
    def requests(self) -> int:
        """How many calls there would be in the course's sense, replies not counted."""
        return sum(count for name, count in self.sent.items() if name in REQUESTS)

    def isolate(self, *names: str) -> None:
        for name in names:
            for other in self.owners:
                if other not in names:
                    self.cut.add(frozenset((name, other)))

    def heal(self) -> None:
        self.cut.clear()

    def settle(self) -> None:
        """Deliver everything that is due, and what comes of it."""
        for _ in range(100_000):
            moved = sum(owner.pump() for owner in self.owners.values())
            self._check_leaders()
            due = sorted((one for one in self.flying if one[0] <= self.now), key=lambda m: m[:2])
            if not due and not moved:
                return
            self.flying = [one for one in self.flying if one[0] > self.now]
            for _, _, message in due:
                owner = self.owners.get(message.to)
                if owner is None or not owner.is_up:
                    continue
                if frozenset((message.sender, message.to)) not in self.cut:
                    owner.node.step(message)
        raise AssertionError("the messages never end")

    def _check_leaders(self) -> None:
        for name, owner in self.owners.items():
            if owner.is_up and owner.node.is_leader:
                assert self.leaders.setdefault(owner.node.term, name) == name, "two leaders"

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.now += 1
            for owner in self.owners.values():
                if owner.is_up:
                    owner.node.tick()
            self.settle()

    def tick_until(self, done: Callable[[], object], limit: int = 2_000) -> int:
        """Return after how many ticks ``done`` holds."""
        self.settle()
        for count in range(limit):
            if done():
                return count
            self.tick()
        raise AssertionError(f"not done after {limit} ticks")

    def elect(self, name: str) -> Node:
        """Make one peer the leader, as soon as the others' loyalty to another one is over."""
        for _ in range(2 * self.config.election_ticks):
            self[name].campaign()
            self.settle()
            if self[name].is_leader:
                return self[name]
            self.tick()
        raise AssertionError(f"{name} is not elected")

    def leader(self) -> Node | None:
        """Return the leader of the latest term that is up, None where there is none."""
        nodes = [owner.node for owner in self.owners.values() if owner.is_up]
        term = max((node.term for node in nodes), default=0)
        return next((node for node in nodes if node.is_leader and node.term == term), None)

    def wait_leader(self) -> Node:
        self.tick_until(self.leader)
        leader = self.leader()
        assert leader is not None
        return leader

    def propose(self, name: str, *commands: bytes) -> None:
        for command in commands:
            self[name].propose(command)
        self.settle()

    def commands(self, name: str) -> list[bytes]:
        return self.owners[name].commands
