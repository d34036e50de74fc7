"""A Raft storage on a simulated disk, with a model of what it must hold after a crash."""

import zlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import attrs

from trio440.core.host import Host
from trio440.journal import JournalLimits
from trio440.raft.acquaintance import Acquaintance
from trio440.raft.disk_storage import DiskStorage, open_disk_storage
from trio440.raft.membership import Configuration
from trio440.raft.messages import Entry, HardState, SnapshotMeta
from trio440.raft.ready import ChunkWrite, Ready
from trio440.raft.storage import Stored, bootstrap

DIRECTORY = "/data/raft"
SMALL = JournalLimits(segment_bytes=400)
MEMBERS = Configuration(voters=("a", "b", "c"))
START = bootstrap(MEMBERS.voters, store=77)


def opening(
    ports: Host, node: str = "a", limits: JournalLimits = SMALL
) -> AbstractAsyncContextManager[DiskStorage]:
    return open_disk_storage(DIRECTORY, cluster="c1", node=node, limits=limits, ports=ports)


def ready(
    *entries: Entry,
    state: HardState | None = None,
    chunks: Sequence[ChunkWrite] = (),
    must_sync: bool = True,
) -> Ready:
    return Ready(
        hard_state=state,
        entries=entries,
        must_sync=must_sync,
        chunks=tuple(chunks),
        snapshot=None,
        messages_now=(),
        messages_after_sync=(),
        committed=(),
        read_states=(),
        chunk_reads=(),
    )


def run(first: int, last: int, term: int, size: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(i, term, b"%d/%d." % (i, term) * size) for i in range(first, last + 1))


def describe(index: int, term: int, data: bytes) -> SnapshotMeta:
    return SnapshotMeta(index, term, MEMBERS, len(data), zlib.crc32(data))


@attrs.frozen
class LogState:
    """All that is kept but snapshots and the commit, which is no promise."""

    term: int = 0
    vote: str | None = None
    base: tuple[int, int] = (0, 0)
    acquaintances: tuple[Acquaintance, ...] = ()
    entries: tuple[Entry, ...] = ()

    @property
    def last(self) -> int:
        return self.base[0] + len(self.entries)

    def term_at(self, index: int) -> int:
        place = index - self.base[0] - 1
        return self.entries[place].term if 0 <= place < len(self.entries) else self.term


@attrs.frozen
class Snap:
    meta: SnapshotMeta
    data: bytes


@attrs.define
class Model:
    """What there was, in order, of the log and of snapshots; and what of it was promised.

    A log that begins behind an installed snapshot needs that snapshot, and the other way round.
    """

    logs: list[tuple[LogState | None, int]] = attrs.Factory(lambda: [(None, 0)])
    snaps: list[tuple[Snap, int]] = attrs.Factory(lambda: [(Snap(START.snapshot, b""), 0)])
    log_promised: int = 0
    snap_promised: int = 0
    commits: set[int] = attrs.Factory(lambda: {0})
    sent: dict[SnapshotMeta, bytes] = attrs.Factory(dict)

    def copy(self) -> "Model":
        return attrs.evolve(
            self,
            logs=list(self.logs),
            snaps=list(self.snaps),
            commits=set(self.commits),
            sent=dict(self.sent),
        )

    @property
    def now(self) -> LogState:
        log = self.logs[-1][0]
        assert log is not None
        return log

    @property
    def snap(self) -> Snap:
        return self.snaps[-1][0]

    def _become(self, log: LogState) -> int:
        self.logs.append((log, self.logs[-1][1]))
        return len(self.logs) - 1

    # What is done to a storage and to the model alike

    async def initialize(self, storage: DiskStorage) -> None:
        number = self._become(LogState())
        await storage.initialize(START)
        self.log_promised = number

    async def write(self, storage: DiskStorage, *batch: Ready) -> None:
        log = self.now
        for item in batch:
            if item.hard_state is not None:
                state = item.hard_state
                log = attrs.evolve(log, term=state.term, vote=state.vote)
                self.commits.add(state.commit)
            if item.entries:
                kept = item.entries[0].index - log.base[0] - 1
                log = attrs.evolve(log, entries=log.entries[:kept] + item.entries)
        number = self._become(log)
        await storage.write(batch)
        self.log_promised = max(self.log_promised, number)

    async def acquaint(self, storage: DiskStorage, *batch: Acquaintance) -> None:
        noted = {one.id: one for one in (*self.now.acquaintances, *batch)}
        acquaintances = tuple(noted[name] for name in sorted(noted))
        number = self._become(attrs.evolve(self.now, acquaintances=acquaintances))
        await storage.acquaint(batch)
        self.log_promised = max(self.log_promised, number)

    async def receive(self, storage: DiskStorage, meta: SnapshotMeta, data: bytes) -> None:
        """Send what is not there yet, a piece for each write."""
        self.sent[meta] = data
        stored = await storage.load()
        assert stored is not None
        start = stored.partial[1] if stored.partial and stored.partial[0] == meta else 0
        size = max(1, len(data) // 3)
        for at in range(start, max(1, len(data)), size):
            piece = ChunkWrite(meta, at, data[at : at + size])
            await storage.write([ready(chunks=[piece], must_sync=False)])

    async def install(self, storage: DiskStorage, meta: SnapshotMeta) -> None:
        log = self.now
        place = meta.index - log.base[0] - 1
        follows: tuple[Entry, ...] = ()
        if 0 <= place < len(log.entries) and log.entries[place].term == meta.term:
            follows = log.entries[place + 1 :]
        base = (meta.index, meta.term)
        logs, snaps = len(self.logs), len(self.snaps)
        self.logs.append((attrs.evolve(log, base=base, entries=follows), snaps))
        self.snaps.append((Snap(meta, self.sent[meta]), logs))
        assert await storage.install_snapshot(meta)
        self.log_promised, self.snap_promised = logs, snaps

    async def save(self, storage: DiskStorage, index: int, data: bytes) -> None:
        entry = self.now.entries[index - self.now.base[0] - 1]
        snap = Snap(describe(index, entry.term, data), data)
        self.snaps.append((snap, self.snaps[-1][1]))
        number = len(self.snaps) - 1
        await storage.save_snapshot(snap.meta, data)
        self.snap_promised = max(self.snap_promised, number)

    async def compact(self, storage: DiskStorage, index: int) -> None:
        log = self.now
        gone = min(index, self.snap.meta.index) - log.base[0]
        if gone > 0:
            base = (log.base[0] + gone, log.entries[gone - 1].term)
            log = attrs.evolve(log, base=base, entries=log.entries[gone:])
        number = self._become(log)
        await storage.compact(index)
        self.log_promised = number

    # What a crash may leave

    async def check(self, storage: DiskStorage, what: str) -> None:
        """Look at what was found; from then on it is what there is."""
        stored = await storage.load()
        log = None if stored is None else found_log(stored)
        logs = [n for n, (state, _) in enumerate(self.logs) if state == log]
        logs = [n for n in logs if n >= self.log_promised]
        assert logs, f"{what}: {log}"
        if stored is None:
            self.logs, self.log_promised = [(None, 0)], 0
            return
        snap = Snap(stored.snapshot, await read_all(storage, stored.snapshot))
        snaps = [n for n, (state, _) in enumerate(self.snaps) if state == snap]
        snaps = [n for n in snaps if n >= self.snap_promised]
        assert snaps, f"{what}: {snap}"
        assert any(self.logs[n][1] <= m and self.snaps[m][1] <= n for n in logs for m in snaps), (
            f"{what}: {log} with {snap}"
        )
        assert stored.hard_state.commit in self.commits | {found_log(stored).last}, what
        assert stored.snapshot.index >= found_log(stored).base[0], what
        assert stored.snapshot.index <= found_log(stored).last, what
        if stored.partial is not None:
            meta, size = stored.partial
            assert 0 < size < len(self.sent[meta]), what
        self.logs, self.log_promised = [(log, 0)], 0
        self.snaps, self.snap_promised = [(snap, 0)], 0

    async def go_on(self, storage: DiskStorage) -> None:
        """Do a little of everything."""
        stored = await storage.load()
        if stored is None:
            await self.initialize(storage)
            return
        log = self.now
        state = HardState(log.term + 1, "c", log.last)
        await self.write(storage, ready(*run(log.last + 1, log.last + 1, 99), state=state))
        await self.acquaint(storage, Acquaintance("z", log.last + 1))
        if stored.partial is not None:
            meta = stored.partial[0]
            await self.receive(storage, meta, self.sent[meta])
            await self.install(storage, meta)


def found_log(stored: Stored) -> LogState:
    base = (stored.snapshot.index, stored.snapshot.term)
    if stored.base_index is not None:
        base = (stored.base_index, stored.base_term)
    assert stored.store == START.store
    return LogState(
        stored.hard_state.term, stored.hard_state.vote, base, stored.acquaintances, stored.entries
    )


async def read_all(storage: DiskStorage, meta: SnapshotMeta) -> bytes:
    data = b""
    while len(data) < meta.size:
        part = await storage.read_snapshot(meta, len(data), 100)
        assert part
        data += part
    return data
