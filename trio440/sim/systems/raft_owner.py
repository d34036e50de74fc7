"""The owner of a Raft node at level A, and the map that it keeps."""

import json
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from trio440.raft.config import Config
from trio440.raft.messages import Entry, EntryKind, Message, SnapshotMeta
from trio440.raft.ready import ChunkRead, Ready
from trio440.raft.storage import Stored
from trio440.raft.trace_lines import Recorder
from trio440.raft.tracing import make_node
from trio440.sim.faults import SlowDisk
from trio440.sim.stage import Stage
from trio440.sim.systems.raft_disk import Disk, Note, Save, Write
from trio440.sim.systems.raft_meeting import Answer, Ask, Meeting, Parcel
from trio440.sim.systems.raft_watch import Watch

__all__ = ["TICK", "Machine", "Network", "Owner"]

TICK: Final = 40_000
"""Microseconds."""
SYNC: Final = 3_000
"""A sync takes up to so many microseconds."""
MISREAD: Final = 0.2
"""The share of pieces that a disk which misreads reads wrong."""
APPLY: Final = 2_000
"""A batch is applied within so many microseconds."""


class Network(Protocol):
    """What carries messages between owners."""

    def carry(self, parcel: Parcel, store: int) -> None:
        """Send something to its ``to``, from a peer with this store."""

    def peers(self) -> tuple[str, ...]:
        """Return the ids of all peers that there are, or were."""

    def refused(self, owner: "Owner") -> None:
        """Hear that a peer is refused."""


class Machine:
    """An ordered map with sessions: a command that comes again is answered, and not applied."""

    def __init__(self, data: bytes = b"") -> None:
        """Start empty, or from a snapshot."""
        state: dict[str, Any] = json.loads(data) if data else {"values": {}, "sessions": {}}
        self.values: dict[str, str] = state["values"]
        self._sessions: dict[str, list[Any]] = state["sessions"]

    def snapshot(self) -> bytes:
        """Return everything."""
        return json.dumps({"values": self.values, "sessions": self._sessions}).encode()

    def apply(self, data: bytes) -> Any:
        """Carry out a command and return its result."""
        client, number, name, key, args = json.loads(data)
        last = self._sessions.get(client)
        if last is not None and last[0] >= number:
            return last[1] if last[0] == number else None
        result = self._carry_out(name, key, args)
        self._sessions[client] = [number, result]
        return result

    def _carry_out(self, name: str, key: str, args: list[str]) -> Any:
        before = self.values.get(key)
        if name == "put":
            self.values[key] = args[0]
        elif name == "append":
            self.values[key] = (before or "") + args[0]
        elif name == "cas":
            if before != args[0]:
                return False
            self.values[key] = args[1]
            return True
        return None


class Owner:
    """Does what a node's Readys say, on a stage: writes, sends, applies, answers."""

    def __init__(  # noqa: PLR0917 - a constructor, called once
        self,
        stage: Stage,
        network: Network,
        watch: Watch,
        name: str,
        config: Config,
        stored: Stored,
        *,
        host: str,
        rate: int,
        misreads: bool,
        is_new: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        """Switch a peer on.

        Args:
            stage: where it lives.
            network: carries its messages.
            watch: looks at it.
            name: its id.
            config: of its node.
            stored: what is on its disk.
            host: its machine.
            rate: how fast its ticks are, in percent.
            misreads: whether its disk sometimes reads pieces of snapshots wrong, until the world
                heals.
            is_new: its operator swears that nobody ever had its id.
            recorder: is told of all that its node does.
        """
        self.name = name
        self.host = host
        self.is_new = is_new
        self.lives = 0
        self._stage = stage
        self._network = network
        self._watch = watch
        self._config = config
        self._rate = rate
        self._may_misread = misreads
        self._recorder = recorder
        self._rng = stage.rng(f"owner/{name}")
        self._slow = [
            fault
            for _, fault in stage.plan.happening
            if isinstance(fault, SlowDisk) and fault.host == host
        ]
        self.disk = Disk(stored, self._begin_sync, self._written)
        self.switch_on()

    def crash(self) -> None:
        """Lose power."""
        self.has_begun = False
        self.disk.crash(self._rng)

    def lose_disk(self, stored: Stored) -> None:
        """Find this and nothing else on the disk from now on."""
        self.is_new = False
        self.disk = Disk(stored, self._begin_sync, self._written)

    def switch_on(self) -> None:
        """Start with what is on the disk."""
        stage = self._stage
        self.lives += 1
        self._snapshots: dict[int, bytes] = {}
        stored = self.disk.load()
        self.machine = Machine(self.disk.read_all())
        rng = stage.rng(f"node/{self.name}")
        self.node = make_node(self.name, self._config, stored, rng, self._recorder)
        self.applied = stored.snapshot.index
        self._to_apply: list[tuple[Entry, ...] | SnapshotMeta] = []
        self._applying = False
        self.waiting: dict[int, list[tuple[int, Callable[[bool, Any], None]]]] = {}
        """By index, who waits for a command of a term: told whether it was that, and its result."""
        self._reads: dict[object, tuple[int, Callable[[bool], None]]] = {}
        self._reads_at: list[tuple[int, Callable[[bool], None]]] = []
        self._ticks = self._clock()
        self.store = stored.store
        self.meeting = Meeting(
            stage,
            self.host,
            self.node,
            stored,
            lambda batch: self.disk.write(Note(batch)),
            lambda parcel: self._network.carry(parcel, self.store),
            self._rng,
            is_new=self.is_new,
        )
        self.has_begun = False
        """Whether it takes part in Raft."""
        if self.meeting.is_admitted:
            self._begin()
        if self.meeting.is_first_start or not self.node.configuration.stores:
            self.meeting.ask(self._network.peers)

    def _begin(self) -> None:
        """Take part from now on."""
        stage = self._stage
        self.has_begun = True
        self._ticks = self._clock()
        self._watch.started(self.node, self.disk, self.applied, self._due)
        stage.at(stage.now + self._rng.randrange(TICK), self._tick, host=self.host)
        self.pump()

    # Time

    def _clock(self) -> int:
        return self._stage.clock(self.host) * self._rate // (100 * TICK)

    def _due(self) -> int | None:
        return self._clock() - self._ticks if self.has_begun else None

    def _tick(self) -> None:
        self._stage.at(self._stage.now + TICK * 100 // self._rate, self._tick, host=self.host)
        self.pump()

    def catch_up(self) -> None:
        """Let all ticks pass whose time has come."""
        now = self._clock()
        if self._ticks < now:
            late, self._ticks = now - self._ticks, now
            self.node.tick(late)
            if self.has_begun:
                self._watch.elections.ticked(self.node, late)

    # Inputs

    def receive(self, parcel: Parcel, store: int) -> None:
        """Take in something from a peer with this store."""
        meeting = self.meeting
        if isinstance(parcel, Ask | Answer):
            if meeting.take(parcel, store):
                self._network.refused(self)
            elif meeting.is_admitted and not self.has_begun:
                self._begin()
        elif meeting.admits(parcel.sender, store):
            self.catch_up()
            if self.has_begun:
                self._watch.elections.arrives(self.node, parcel)
            self.node.step(parcel)
            self._work()

    def read(self, context: object, answer: Callable[[bool], None]) -> None:
        """Begin a read; ``answer(True)`` comes when this peer's machine may be looked at."""
        self.catch_up()
        self.node.read_index(context)
        self._reads[context] = (self._watch.committed, answer)
        self._work()

    def snapshot(self) -> None:
        """Take a snapshot of the machine as it is, and keep it."""
        if self.applied <= self.node.snapshot_index or self.node.log.applied != self.applied:
            return
        data = self.machine.snapshot()
        self._watch.snapshots.state(self.name, self.applied, data)
        meta = self.node.describe_snapshot(self.applied, len(data), zlib.crc32(data))
        self.disk.write(Save(meta, data))

    # What the node wants

    def pump(self) -> None:
        """Let time pass, and do everything that the node hands out."""
        self.catch_up()
        self._work()

    def _work(self) -> None:
        while (ready := self.node.ready()) is not None:
            for message in ready.messages_now:
                self._send(message)
            if ready.committed:
                self._watch.look(self.node)
                self._apply_later(ready.committed)
            for read_state in ready.read_states:
                began, answer = self._reads.pop(read_state.context, (0, None))
                if answer is None:
                    continue
                if read_state.index is None:
                    answer(False)
                else:
                    self._watch.read(self.name, read_state.index, began)
                    self._reads_at.append((read_state.index, answer))
            for chunk in ready.chunk_reads:
                delay = self._rng.randrange(SYNC)
                read = partial(self._read_chunk, chunk)
                self._stage.at(self._stage.now + delay, read, host=self.host)
            self._watch.snapshots.kept(self.name, ready.chunks)
            self.disk.write(ready)
        if self._reads_at:
            self._answer_reads()
        self._watch.look(self.node)

    def _send(self, message: Message) -> None:
        self._watch.sent(message)
        self._network.carry(message, self.store)

    def _begin_sync(self, done: Callable[[], None]) -> None:
        stage = self._stage
        latency = self._rng.randrange(SYNC)
        for fault in self._slow:
            if fault.start <= stage.now < fault.end:
                latency += self._rng.randrange(fault.extra)
        stage.at(stage.now + latency, done, host=self.host)

    def _written(self, write: Write, is_sound: bool) -> None:
        node = self.node
        if isinstance(write, Note):
            self.meeting.recorded(write.batch)
        elif isinstance(write, Save):
            self.disk.compact(node.snapshot_persisted(write.meta))
        else:
            self._ready_written(write, is_sound=is_sound)
        if _needs_pump(write):
            self.pump()

    def _ready_written(self, ready: Ready, *, is_sound: bool) -> None:
        node = self.node
        if ready.entries:
            node.persisted(ready.last_index, ready.last_term)
        if ready.snapshot is not None:
            if is_sound:
                self._snapshots[ready.snapshot.index] = self.disk.read_all()
                self._apply_later(ready.snapshot)
                node.snapshot_persisted(ready.snapshot)
            else:
                node.snapshot_failed(ready.snapshot)
        for message in ready.messages_after_sync:
            if message.to == self.name:
                node.step(message)
            else:
                self._send(message)

    def _read_chunk(self, chunk: ChunkRead) -> None:
        data = self.disk.read(chunk.meta, chunk.offset, chunk.length)
        if data is None:
            self.node.report_snapshot(chunk.to, ok=False)
        else:
            is_ill = self._may_misread and self._stage.now < self._stage.plan.heal_at
            if is_ill and self._rng.random() < MISREAD:
                data = bytes([data[0] ^ 1]) + data[1:]
            self.node.chunk_read(chunk, data)
        self.pump()

    # The state machine

    def _apply_later(self, work: tuple[Entry, ...] | SnapshotMeta) -> None:
        self._to_apply.append(work)
        if not self._applying:
            self._applying = True
            delay = self._rng.randrange(APPLY)
            self._stage.at(self._stage.now + delay, self._apply, host=self.host)

    def _apply(self) -> None:
        self._applying = False
        batches, self._to_apply = self._to_apply, []
        for work in batches:
            if isinstance(work, SnapshotMeta):
                data = self._snapshots.pop(work.index)
                self._watch.snapshots.state(self.name, work.index, data)
                self.machine = Machine(data)
                self._watch.restored(self.name, work.index)
                self.applied = work.index
            else:
                self._watch.applied(self.name, work)
                for entry in work:
                    self._apply_entry(entry)
        self.node.applied(self.applied)
        self.pump()

    def _apply_entry(self, entry: Entry) -> None:
        self.applied = entry.index
        is_command = entry.kind is EntryKind.COMMAND
        result = self.machine.apply(entry.data) if is_command else None
        for term, answer in self.waiting.pop(entry.index, ()):
            answer(term == entry.term, result)

    def _answer_reads(self) -> None:
        due = [answer for index, answer in self._reads_at if index <= self.applied]
        self._reads_at = [one for one in self._reads_at if one[0] > self.applied]
        for answer in due:
            answer(True)


def _needs_pump(write: Write) -> bool:
    """Whether the end of a write may give the node something to do."""
    if isinstance(write, Note):
        return False
    return isinstance(write, Save) or write.must_sync or write.snapshot is not None
