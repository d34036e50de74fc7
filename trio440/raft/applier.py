"""Applies committed entries to a peer's state machine, answers from it, and takes its snapshots."""

import heapq
import zlib
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias, final

import trio

from trio440.core.host import Worker
from trio440.errors import InvalidParameter, LeadershipLost
from trio440.raft.machine import StateMachine
from trio440.raft.messages import Entry, EntryKind, SnapshotMeta
from trio440.raft.node import Node
from trio440.raft.storage import Storage
from trio440.raft.waiting import AppliedEntries, Waiter
from trio440.raft.watching import Watchers

__all__ = ["Applier", "read_whole"]

BATCH: Final = 1024
"""Entries that are applied before other tasks have a turn."""
READ_BYTES: Final = 1 << 20

Work: TypeAlias = tuple[Entry, ...] | SnapshotMeta


@final
class Applier:
    """The state machine of a peer, and who waits for it."""

    def __init__(
        self,
        machine: StateMachine,
        node: Node,
        storage: Storage,
        poke: Callable[[], None],
        watchers: Watchers,
    ) -> None:
        """Begin behind the snapshot that the node begins with.

        Args:
            machine: has restored that snapshot.
            node: hears of what was applied.
            storage: keeps snapshots.
            poke: is called when the node may have something to do.
            watchers: wait for the machine to change.
        """
        self.machine: Final = machine
        self.applied = node.snapshot_index
        """The last entry that the machine has carried out."""
        self.waiting: dict[int, Waiter] = {}
        """By index, who waits for a command."""
        self.streams: dict[AppliedEntries, None] = {}
        self._node = node
        self._storage = storage
        self._poke = poke
        self._watchers = watchers
        self._work: deque[Work] = deque()
        self._is_working = False
        self._reads: list[tuple[int, int, Waiter]] = []
        self._read_number = 0
        self._wake = trio.Event()
        self._turn = trio.Lock()

    # Work

    def give(self, work: Work) -> None:
        """Have entries applied, or a snapshot restored, behind all that was given before.

        Entries are applied at once where nothing is before them and they are no more than a batch.
        """
        idle = not (self._is_working or self._work)
        if idle and not isinstance(work, SnapshotMeta) and len(work) <= BATCH:
            self._apply(work)  # by the pump, which looks at the node again before it rests
            return
        self._work.append(work)
        self._wake.set()

    async def run(self) -> None:
        """Apply what is given, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self._is_working = True
            while self._work:
                work = self._work.popleft()
                if isinstance(work, SnapshotMeta):
                    await self._restore(work)
                    self._poke()
                    continue
                for start in range(0, len(work), BATCH):
                    self._apply(work[start : start + BATCH])
                    self._poke()
                    await trio.lowlevel.checkpoint()
            self._is_working = False

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        apply, waiting, command = self.machine.apply, self.waiting, EntryKind.COMMAND
        for entry in entries:
            index = entry.index
            result = apply(index, entry.data) if entry.kind is command else b""
            if waiting and (waiter := waiting.pop(index, None)) is not None:
                if waiter.term == entry.term:
                    waiter.wake(result)
                else:
                    waiter.fail(LeadershipLost(index, waiter.term))
        self._have_applied(entries[-1].index)
        for stream in self.streams:
            stream.give(entries)

    async def _restore(self, meta: SnapshotMeta) -> None:
        data = await read_whole(self._storage, meta)
        if data is None:  # a later one has taken its place, and will come
            return
        self.machine.restore(data)
        for index in [index for index in self.waiting if index <= meta.index]:
            waiter = self.waiting.pop(index)
            waiter.fail(LeadershipLost(index, waiter.term))
        for stream in self.streams:
            stream.skip(self.applied + 1)
        self._have_applied(meta.index)

    def _have_applied(self, index: int) -> None:
        self.applied = index
        self._node.applied(index)
        while self._reads and self._reads[0][0] <= index:
            heapq.heappop(self._reads)[2].wake(True)
        self._watchers.look()

    # Who waits

    def read_at(self, index: int, waiter: Waiter) -> None:
        """Wake a waiter with True when everything up to an index is applied."""
        if index <= self.applied:
            waiter.wake(True)
            return
        self._read_number += 1
        heapq.heappush(self._reads, (index, self._read_number, waiter))

    def lose_leadership(self) -> None:
        """Tell all who wait for a command that nobody here knows any more what becomes of it.

        What is committed will be applied here: a leader that removes itself leads no more as soon
        as others have committed that, maybe before its own disk has it.
        """
        log, waiting = self._node.log, self.waiting
        self.waiting = {}
        for index, waiter in waiting.items():
            if index <= log.commit and log.term(index) == waiter.term:
                self.waiting[index] = waiter
            else:
                waiter.fail(LeadershipLost(index, waiter.term))

    def stop(self, error: Exception) -> None:
        """Let everybody who waits go on with an error."""
        waiting, self.waiting = self.waiting, {}
        reads, self._reads = self._reads, []
        for waiter in [*waiting.values(), *(read[2] for read in reads)]:
            waiter.fail(error)
        self._watchers.fail(error)
        for stream in self.streams:
            stream.end(error)

    # Snapshots

    async def snapshot(self, worker: Worker) -> int:
        """Keep a snapshot of the machine as it is, and return the last index that is in one.

        The machine goes on meanwhile.
        """
        async with self._turn:
            node, index = self._node, self.applied
            if index <= node.snapshot_index or index != node.log.applied:
                return node.snapshot_index
            encode = self.machine.snapshot()
            data, checksum = await worker.run(_encode, encode)
            try:
                meta = node.describe_snapshot(index, len(data), checksum)
            except InvalidParameter:  # a leader's was installed meanwhile
                return node.snapshot_index
            await self._storage.save_snapshot(meta, data)
            await self._storage.compact(node.snapshot_persisted(meta))
            self._poke()
            return node.snapshot_index


def _encode(encode: Callable[[], bytes]) -> tuple[bytes, int]:
    data = encode()
    return data, zlib.crc32(data)


async def read_whole(storage: Storage, meta: SnapshotMeta) -> bytes | None:
    """Read a snapshot; None: it is no longer the latest."""
    data = bytearray()
    while len(data) < meta.size:
        piece = await storage.read_snapshot(meta, len(data), READ_BYTES)
        if piece is None:
            return None
        data += piece
    return bytes(data)
