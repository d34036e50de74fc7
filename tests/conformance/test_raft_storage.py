"""The contract of :class:`trio440.raft.storage.Storage`."""

import random
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest

from trio440.core.host import Host
from trio440.errors import RaftViolated
from trio440.raft.acquaintance import Acquaintance
from trio440.raft.config import Config
from trio440.raft.disk_storage import open_disk_storage
from trio440.raft.membership import LARGEST_STORE, Configuration
from trio440.raft.messages import (
    Entry,
    EntryKind,
    HardState,
    InstallSnapshot,
    SnapshotMeta,
    SnapshotReply,
)
from trio440.raft.node import Node
from trio440.raft.ready import ChunkWrite, Ready
from trio440.raft.storage import MemoryStorage, Storage, Stored, bootstrap, joining

Open = Callable[[], AbstractAsyncContextManager[Storage]]

MEMBERS = Configuration(voters=("a", "b", "c"), learners=("d",))
START = bootstrap(("a", "b", "c"), ("d",))


@pytest.fixture(params=["memory", "disk"])
def open_storage(request: pytest.FixtureRequest, ports: Host, tmp_path: Path) -> Open:
    """Opens the same storage again and again, one life after the other."""
    if request.param == "disk":
        directory = str(tmp_path / "raft")
        return partial(open_disk_storage, directory, cluster="c1", node="a", ports=ports)
    memory = MemoryStorage()

    @asynccontextmanager
    async def open_memory() -> AsyncIterator[Storage]:
        yield memory

    return open_memory


def ready(
    *entries: Entry,
    state: HardState | None = None,
    chunks: tuple[ChunkWrite, ...] = (),
    must_sync: bool = True,
) -> Ready:
    return Ready(
        hard_state=state,
        entries=entries,
        must_sync=must_sync,
        chunks=chunks,
        snapshot=None,
        messages_now=(),
        messages_after_sync=(),
        committed=(),
        read_states=(),
        chunk_reads=(),
    )


def run(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(i, term, b"%d of %d" % (i, term)) for i in range(first, last + 1))


def describe(index: int, term: int, data: bytes) -> SnapshotMeta:
    return SnapshotMeta(index, term, MEMBERS, len(data), zlib.crc32(data))


def pieces(meta: SnapshotMeta, data: bytes, size: int) -> list[ChunkWrite]:
    return [ChunkWrite(meta, at, data[at : at + size]) for at in range(0, len(data), size)]


def plain(stored: Stored | None) -> Stored | None:
    """The same storage may say where its entries begin in two ways."""
    if stored is None or stored.base_index is None:
        return stored
    if (stored.base_index, stored.base_term) == (stored.snapshot.index, stored.snapshot.term):
        return attrs.evolve(stored, base_index=None, base_term=0)
    return stored


async def load(storage: Storage) -> Stored:
    stored = plain(await storage.load())
    assert stored is not None
    return stored


async def reload(open_storage: Open) -> Stored:
    async with open_storage() as storage:
        return await load(storage)


async def read_all(storage: Storage, meta: SnapshotMeta, step: int = 7) -> bytes:
    parts = []
    for offset in range(0, meta.size, step):
        part = await storage.read_snapshot(meta, offset, step)
        assert part is not None
        parts.append(part)
    return b"".join(parts)


async def test_a_new_storage_holds_nothing_until_it_is_initialized(open_storage: Open) -> None:
    async with open_storage() as storage:
        assert await storage.load() is None
        with pytest.raises(RaftViolated, match="never initialized"):
            await storage.write([ready(*run(1, 1))])
        with pytest.raises(RaftViolated, match="never initialized"):
            await storage.read_snapshot(START.snapshot, 0, 1)
    async with open_storage() as storage:
        assert await storage.load() is None
        await storage.initialize(START)
        assert await load(storage) == START
    assert await reload(open_storage) == START


@pytest.mark.parametrize(
    "beginning",
    [
        START,
        joining(),
        bootstrap(("a", "b"), store=LARGEST_STORE),
        attrs.evolve(joining(7), acquaintances=(Acquaintance("b", 1), Acquaintance("c", 2, True))),
        Stored(
            snapshot=SnapshotMeta(0, 0, MEMBERS),
            hard_state=HardState(3, "b", 1),
            entries=run(1, 2, 3),
        ),
    ],
)
async def test_what_it_begins_with_is_kept(open_storage: Open, beginning: Stored) -> None:
    async with open_storage() as storage:
        await storage.initialize(beginning)
    assert await reload(open_storage) == beginning


async def test_readys_are_kept(open_storage: Open) -> None:
    entries = (
        Entry(1, 1, b"", EntryKind.NO_OP),
        Entry(2, 1, b"\0\xff" * 50),
        Entry(3, 2, MEMBERS.encode(), EntryKind.CONFIGURATION),
    )
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(state=HardState(1, "a", 0)), ready(*entries[:2])])
        await storage.write([])
        await storage.write([ready(entries[2], state=HardState(2, None, 1))])
        assert (await load(storage)).entries == entries
    stored = await reload(open_storage)
    assert stored == attrs.evolve(START, hard_state=HardState(2, None, 1), entries=entries)


async def test_acquaintances_are_kept_whatever_becomes_of_the_log(open_storage: Open) -> None:
    b, c = Acquaintance("b", 5), Acquaintance("c", 7, met=True)
    data = b"state"
    async with open_storage() as storage:
        await storage.initialize(bootstrap(("a", "b", "c"), store=3))
        await storage.acquaint([b])
        await storage.write([ready(*run(1, 4), state=HardState(1, None, 4))])
        await storage.acquaint([c, b])
        assert (await load(storage)).acquaintances == (b, c)
    async with open_storage() as storage:
        assert (await load(storage)).acquaintances == (b, c)
        await storage.acquaint([attrs.evolve(b, met=True)])
        await storage.save_snapshot(describe(3, 1, data), data)
        await storage.compact(3)
    async with open_storage() as storage:
        meta = describe(20, 2, data)
        await storage.write([ready(chunks=tuple(pieces(meta, data, 9)))])
        assert await storage.install_snapshot(meta)
    stored = await reload(open_storage)
    assert (stored.store, stored.acquaintances) == (3, (attrs.evolve(b, met=True), c))
    assert stored.snapshot.index == 20


@pytest.mark.parametrize(
    ("stored", "has_promised"),
    [
        (bootstrap(("a", "b"), store=1), False),
        (attrs.evolve(joining(1), acquaintances=(Acquaintance("b", 1),)), False),
        (attrs.evolve(START, hard_state=HardState(1)), True),
        (attrs.evolve(START, entries=run(1, 1)), True),
        (Stored(snapshot=SnapshotMeta(1, 1, MEMBERS)), True),
    ],
)
def test_a_storage_that_holds_a_promise_is_known(stored: Stored, *, has_promised: bool) -> None:
    assert stored.has_promised is has_promised


async def test_a_commit_alone_is_kept_by_the_next_write_or_the_end(open_storage: Open) -> None:
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(*run(1, 3), state=HardState(1, "b", 0))])
        await storage.write([ready(state=HardState(1, "b", 2), must_sync=False)])
        assert (await load(storage)).hard_state == HardState(1, "b", 2)
        await storage.write([ready(*run(4, 4))])
        await storage.write([ready(state=HardState(1, "b", 3), must_sync=False)])
    assert (await reload(open_storage)).hard_state == HardState(1, "b", 3)


async def test_an_entry_replaces_what_is_at_its_index_and_all_after_it(open_storage: Open) -> None:
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(*run(1, 6))])
        await storage.write([ready(*run(4, 5, 2)), ready(*run(5, 7, 3)), ready(*run(8, 8, 3))])
        assert (await load(storage)).entries == run(1, 3) + run(4, 4, 2) + run(5, 8, 3)
    async with open_storage() as storage:
        await storage.write([ready(*run(1, 2, 4))])
    assert (await reload(open_storage)).entries == run(1, 2, 4)


@pytest.mark.parametrize("batch", [[(2, 2)], [(1, 3), (5, 5)], [(0, 1)]])
async def test_a_gap_is_refused(open_storage: Open, batch: list[tuple[int, int]]) -> None:
    async with open_storage() as storage:
        await storage.initialize(START)
        with pytest.raises(RaftViolated, match="follows no other"):
            await storage.write([ready(*run(*span)) for span in batch])


async def test_a_snapshot_of_its_own_is_kept_beside_the_entries(open_storage: Open) -> None:
    data = bytes(range(256)) * 3
    meta = describe(4, 1, data)
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(*run(1, 6), state=HardState(1, None, 5))])
        await storage.save_snapshot(meta, data)
        assert await read_all(storage, meta) == data
    async with open_storage() as storage:
        stored = await load(storage)
        assert (stored.snapshot, stored.entries) == (meta, run(1, 6))
        assert (stored.base_index, stored.base_term) == (0, 0)
        assert await read_all(storage, meta, 1000) == data
        assert await storage.read_snapshot(meta, meta.size, 10) == b""
        assert await storage.read_snapshot(meta, meta.size - 2, 10) == data[-2:]
        assert await storage.read_snapshot(START.snapshot, 0, 10) is None


async def test_compaction_forgets_entries_up_to_the_snapshot_at_most(open_storage: Open) -> None:
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(*run(1, 9, 2), state=HardState(2, "c", 7))])
        await storage.compact(5)
        assert (await load(storage)).entries == run(1, 9, 2)
        await storage.save_snapshot(describe(7, 2, b"seven"), b"seven")
        for index, base in ((3, 3), (3, 3), (1, 3)):
            await storage.compact(index)
            stored = await load(storage)
            assert (stored.base_index, stored.base_term) == (base, 2)
            assert stored.entries == run(4, 9, 2)
    stored = await reload(open_storage)
    assert stored.entries == run(4, 9, 2)
    assert (stored.base_index, stored.base_term) == (3, 2)
    assert stored.hard_state == HardState(2, "c", 7)
    async with open_storage() as storage:
        await storage.compact(9)
        await storage.write([ready(*run(10, 11, 2))])
    stored = await reload(open_storage)
    assert stored == Stored(
        snapshot=describe(7, 2, b"seven"), hard_state=HardState(2, "c", 7), entries=run(8, 11, 2)
    )


async def test_compaction_keeps_what_was_overwritten_out(open_storage: Open) -> None:
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(*run(1, 9))])
        await storage.write([ready(*run(4, 6, 2))])
        await storage.save_snapshot(describe(5, 2, b"five"), b"five")
        await storage.compact(4)
    assert (await reload(open_storage)).entries == run(5, 6, 2)
    async with open_storage() as storage:
        await storage.write([ready(*run(6, 7, 3))])
    assert (await reload(open_storage)).entries == run(5, 5, 2) + run(6, 7, 3)


async def test_a_received_snapshot_replaces_the_whole_log(open_storage: Open) -> None:
    data = b"state" * 30
    meta = describe(20, 3, data)
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(*run(1, 5), state=HardState(3, "b", 1))])
        for piece in pieces(meta, data, 40):
            await storage.write([ready(chunks=(piece,), must_sync=False)])
        assert (await load(storage)).entries == run(1, 5)
        assert await storage.install_snapshot(meta) is True
        expected = Stored(snapshot=meta, hard_state=HardState(3, "b", 1))
        assert await load(storage) == expected
        assert await read_all(storage, meta) == data
    async with open_storage() as storage:
        assert await load(storage) == expected
        assert await read_all(storage, meta) == data
        with pytest.raises(RaftViolated, match="follows no other"):
            await storage.write([ready(*run(6, 6))])
        await storage.write([ready(*run(21, 22, 3))])
    assert (await reload(open_storage)).entries == run(21, 22, 3)


@pytest.mark.parametrize(("term", "kept"), [(1, run(5, 8)), (2, ())])
async def test_entries_stay_behind_a_snapshot_that_ends_with_one_of_them(
    open_storage: Open, term: int, kept: tuple[Entry, ...]
) -> None:
    data = b"four"
    meta = describe(4, term, data)
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(*run(1, 8), chunks=tuple(pieces(meta, data, 3)))])
        assert await storage.install_snapshot(meta)
        assert (await load(storage)).entries == kept
    assert await reload(open_storage) == Stored(snapshot=meta, entries=kept)


async def test_a_snapshot_that_is_not_whole_is_not_installed(open_storage: Open) -> None:
    data = b"0123456789"
    meta = describe(9, 1, data)
    wrong = attrs.evolve(meta, checksum=meta.checksum ^ 1)
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(*run(1, 2))])
        before = await load(storage)
        assert not await storage.install_snapshot(meta)
        for asked, sent in (
            (meta, pieces(meta, data, 4)[:2]),
            (wrong, pieces(wrong, data, 4)),
            (meta, pieces(wrong, data, 4)),
        ):
            await storage.write([ready(chunks=tuple(sent))])
            assert await storage.install_snapshot(asked) is False
            assert await load(storage) == before
    assert await reload(open_storage) == before


async def test_a_half_received_snapshot_is_kept_over_a_restart(open_storage: Open) -> None:
    data = b"abcdefghij" * 4
    meta, later = describe(9, 1, data), describe(10, 2, b"other")
    parts = pieces(meta, data, 15)
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(chunks=(parts[0],)), ready(chunks=(parts[1],))])
    async with open_storage() as storage:
        assert (await load(storage)).partial == (meta, 30)
        with pytest.raises(RaftViolated, match="piece of a snapshot at 15"):
            await storage.write([ready(chunks=(parts[1],))])
    async with open_storage() as storage:
        await storage.write([ready(chunks=(parts[2],))])
        assert await storage.install_snapshot(meta)
        assert await read_all(storage, meta) == data
        await storage.write([ready(chunks=tuple(pieces(later, b"other", 3)[:1]))])
    stored = await reload(open_storage)
    assert (stored.snapshot, stored.partial) == (meta, (later, 3))


@pytest.mark.parametrize("size", [0, 10, 40])
async def test_a_snapshot_that_arrived_before_a_crash_asks_for_its_end_again(
    open_storage: Open, size: int
) -> None:
    data = b"abcdefghij" * (size // 10)
    meta = describe(9, 1, data)
    parts = pieces(meta, data, 15) or [ChunkWrite(meta, 0, b"")]
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(chunks=tuple(parts))])
    async with open_storage() as storage:
        node = Node("d", Config(), await load(storage), random.Random(1))
        offset, asked = 0, list[Ready]()
        while not any(r.snapshot for r in asked):
            piece = data[offset : offset + 15]
            node.step(InstallSnapshot("a", "d", 1, meta, offset, piece, zlib.crc32(piece)))
            asked = list(iter(node.ready, None))
            await storage.write(asked)
            replies = [m for r in asked for m in r.messages_after_sync]
            [offset] = [m.offset for m in replies if isinstance(m, SnapshotReply)]
            assert offset < size or any(r.snapshot for r in asked)
        assert await storage.install_snapshot(meta)
        assert await read_all(storage, meta) == data
    assert (await reload(open_storage)).snapshot == meta


async def test_the_first_piece_begins_anew(open_storage: Open) -> None:
    one, two = describe(9, 1, b"first!"), describe(9, 2, b"second")
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(chunks=(pieces(one, b"first!", 4)[0],))])
        with pytest.raises(RaftViolated, match="follows no other"):
            await storage.write([ready(chunks=(pieces(two, b"second", 4)[1],))])
        await storage.write([ready(chunks=tuple(pieces(two, b"second", 4)))])
        assert await storage.install_snapshot(two)
        assert await read_all(storage, two) == b"second"


async def test_an_empty_snapshot_is_a_snapshot(open_storage: Open) -> None:
    meta = describe(5, 1, b"")
    async with open_storage() as storage:
        await storage.initialize(START)
        await storage.write([ready(chunks=(ChunkWrite(meta, 0, b""),))])
        assert await storage.install_snapshot(meta)
        assert await storage.read_snapshot(meta, 0, 5) == b""
    assert (await reload(open_storage)).snapshot == meta


async def test_snapshots_follow_each_other(open_storage: Open) -> None:
    states = [b"%d" % turn * 100 for turn in range(1, 5)]
    metas = [describe(3 * turn, 1, data) for turn, data in enumerate(states, 1)]
    async with open_storage() as storage:
        await storage.initialize(START)
        for meta, data in zip(metas, states, strict=True):
            await storage.write([ready(*run(meta.index - 2, meta.index))])
            await storage.save_snapshot(meta, data)
            await storage.compact(meta.index - 1)
            assert await read_all(storage, meta) == data
    async with open_storage() as storage:
        stored = await load(storage)
        assert (stored.snapshot, stored.entries) == (metas[-1], run(12, 12))
        assert await read_all(storage, metas[-1]) == states[-1]
