"""A Raft storage on a simulated disk: cut at every operation, failing at every operation."""

import errno
import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Literal

import pytest
import trio

from tests.support.journal_world import machine, until_the_end
from tests.support.storage_world import (
    DIRECTORY,
    Model,
    describe,
    opening,
    read_all,
    ready,
    run,
)
from trio440.core.host import Host
from trio440.errors import (
    InvalidParameter,
    JournalBusy,
    JournalCorrupt,
    JournalFailed,
    RaftViolated,
    RecordTooLarge,
    WrongStorage,
)
from trio440.journal import JournalLimits, open_journal
from trio440.raft.acquaintance import Acquaintance
from trio440.raft.messages import HardState
from trio440.raft.ready import ChunkWrite
from trio440.raft.storage import Stored
from trio440.sim.disk import SimDisk
from trio440.sim.power import PowerCut

Workload = Callable[[Host, Model], Awaitable[None]]


# Workloads


async def elections(ports: Host, model: Model) -> None:
    """Terms, votes and entries, overwritten ones too, many Readys at a time; two lives."""
    async with opening(ports) as storage:
        await model.initialize(storage)
        await model.acquaint(storage, Acquaintance("b", 5), Acquaintance("c", 6))
        await model.write(storage, ready(state=HardState(1, "a", 0)))
        await model.write(storage, ready(*run(1, 3, 1)), ready(*run(4, 5, 1, 60)))
        await model.write(storage, ready(state=HardState(1, "a", 3), must_sync=False))
        await model.write(storage, ready(*run(4, 6, 2), state=HardState(2, None, 3)))
        await model.write(
            storage,
            ready(*run(7, 9, 2, 50)),
            ready(*run(8, 8, 3), state=HardState(3, "b", 5)),
            ready(*run(9, 9, 3)),
        )
    async with opening(ports) as storage:
        await model.acquaint(storage, Acquaintance("c", 6, met=True))
        await model.write(storage, ready(state=HardState(4, "c", 5)))
        await model.write(storage, ready(*run(6, 7, 4, 80)))


async def own_snapshots(ports: Host, model: Model) -> None:
    """Snapshots of its own while others write, and compaction behind them."""
    async with opening(ports) as storage:
        await model.initialize(storage)
        for turn in range(3):
            first = 5 * turn + 1
            state = HardState(turn + 1, "b", first - 1)
            await model.write(storage, ready(*run(first, first + 4, turn + 1, 20), state=state))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(model.save, storage, first + 2, b"state %d" % turn * 200)
                nursery.start_soon(
                    model.write, storage, ready(*run(first + 4, first + 4, turn + 1, 30))
                )
            await model.acquaint(storage, Acquaintance("bcd"[turn], turn + 1))
            await model.compact(storage, first + 1)
    async with opening(ports) as storage:
        await model.write(storage, ready(*run(16, 17, 3)))
        await model.save(storage, 17, b"the last")
        await model.compact(storage, 17)


async def received_snapshots(ports: Host, model: Model) -> None:
    """Snapshots from elsewhere, one of them in two lives; entries that stay, and that go."""
    first, second = b"first " * 150, b"second " * 150
    async with opening(ports) as storage:
        await model.initialize(storage)
        await model.write(storage, ready(*run(1, 4, 1, 30), state=HardState(2, "b", 0)))
        meta = describe(9, 2, first)
        await model.receive(storage, meta, first)
        await model.install(storage, meta)
        await model.write(storage, ready(*run(10, 14, 2, 30)))
        meta = describe(12, 2, second)
        model.sent[meta] = second
        await storage.write([ready(chunks=[ChunkWrite(meta, 0, second[:500])], must_sync=False)])
    async with opening(ports) as storage:
        await model.write(storage, ready(state=HardState(3, "c", 10)))
        await model.receive(storage, meta, second)
        await model.install(storage, meta)
        await model.write(storage, ready(*run(14, 16, 3)))
        meta = describe(30, 3, b"")
        await model.receive(storage, meta, b"")
        await model.install(storage, meta)


WORKLOADS = [elections, own_snapshots, received_snapshots]
workloads = pytest.mark.parametrize("workload", WORKLOADS)


def fresh() -> SimDisk:
    return SimDisk(random.Random(1))


async def count_operations(workload: Workload) -> int:
    disk, model = fresh(), Model()
    await workload(machine(disk), model)
    operations = disk.operations
    await check_what_is_left(disk, model, "a clean end")
    assert operations > 40
    return operations


async def ended_by(
    kind: type[BaseException], disk: SimDisk, op: int, work: Awaitable[None]
) -> bool:
    """Whether it was; otherwise this run had fewer operations, as its tasks took turns."""
    ended = await until_the_end(work)
    if ended is None:
        assert disk.operations <= op
        return False
    assert isinstance(ended, kind), f"operation {op}: {ended!r}"
    return True


async def check_what_is_left(disk: SimDisk, model: Model, what: str) -> None:
    """Recover, go on, and find it again."""
    async with opening(machine(disk, 2)) as storage:
        await model.check(storage, what)
        await model.go_on(storage)
    await check_again(disk, model.copy(), what)


async def check_again(disk: SimDisk, model: Model, what: str) -> None:
    async with opening(machine(disk, 3)) as storage:
        await model.check(storage, f"{what}, again")


# Power cuts


IMAGES = pytest.mark.parametrize(
    "images", [pytest.param(1, id="some"), pytest.param(3, id="all", marks=pytest.mark.campaign)]
)
"""How many images of the disk are looked at after each cut; with 1, after every third only."""

strides = pytest.mark.parametrize("stride", [7, pytest.param(2, marks=pytest.mark.campaign)])
"""Which operations are looked at: one of so many."""


@workloads
@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.campaign)])
@IMAGES
async def test_a_power_cut_at_every_operation(workload: Workload, after: bool, images: int) -> None:
    """After one operation is as before the next one, but that less was acknowledged."""
    for op in range(int(after), await count_operations(workload), 4 - images):
        disk, model = fresh(), Model()
        disk.cut_power_at(op, after=after)
        if not await ended_by(PowerCut, disk, op, workload(machine(disk), model)):
            break
        for image in range(op, op + images):
            survival: Literal["nothing", "everything", "random"] = (
                "nothing" if image % 3 == 0 else "everything" if image % 3 == 1 else "random"
            )
            left = disk.crash(random.Random(image), survival)
            await check_what_is_left(left, model.copy(), f"cut at {op}, {survival} {image}")


@pytest.mark.slow
@workloads
@strides
async def test_a_power_cut_at_every_operation_of_a_slow_disk(
    workload: Workload, stride: int
) -> None:
    for op in count(step=stride):
        disk, model = fresh(), Model()
        disk.cut_power_at(op)
        ports = machine(disk, op, slow=True)
        if not await ended_by(PowerCut, disk, op, workload(ports, model)):
            assert op > 40
            break
        await check_what_is_left(disk.crash(random.Random(op)), model, f"cut at {op}")


@pytest.mark.slow
@workloads
async def test_a_power_cut_at_every_operation_of_the_recovery(workload: Workload) -> None:
    for op in range(3, await count_operations(workload), 23):
        disk, model = fresh(), Model()
        disk.cut_power_at(op)
        if not await ended_by(PowerCut, disk, op, workload(machine(disk), model)):
            break
        for second in range(200):
            again, copy = disk.crash(random.Random(op)), model.copy()
            again.cut_power_at(second)
            ended = await until_the_end(check_again(again, copy, f"cut at {op}"))
            left = again.crash(random.Random(second))
            await check_what_is_left(left, model.copy(), f"cut at {op}, then at {second}")
            if ended is None:
                break
        else:
            pytest.fail("recovery does not end")


# Failing disks


@pytest.mark.slow
@workloads
@IMAGES
async def test_an_error_at_every_operation(workload: Workload, images: int) -> None:
    """The storage stops; reopened, or after a power cut, nothing promised is lost."""
    for op in range(0, await count_operations(workload), 4 - images):
        disk, model = fresh(), Model()
        disk.fail_at(op, (errno.EIO, errno.ENOSPC)[op % 2])
        if not await ended_by(JournalFailed, disk, op, workload(machine(disk), model)):
            break
        left = disk.image(random.Random(op))
        await check_what_is_left(left, model.copy(), f"failed at {op}, cut")
        await check_what_is_left(disk, model, f"failed at {op}, reopened")
        for image in range(images - 1):
            left = disk.image(random.Random(image))
            await check_again(left, model.copy(), f"failed at {op}, image {image}")


async def test_after_an_error_nothing_is_written() -> None:
    disk, model = fresh(), Model()
    with pytest.raises(JournalFailed):
        async with opening(machine(disk)) as storage:
            await model.initialize(storage)
            await model.write(storage, ready(*run(1, 3, 1)))
            meta = describe(2, 1, b"two")
            disk.fail_at(disk.operations + 2, errno.ENOSPC)  # the sync of the snapshot's file
            with pytest.raises(JournalFailed, match="No space left"):
                await storage.save_snapshot(meta, b"two")
            operations = disk.operations
            for call in (
                lambda: storage.write([ready(*run(4, 4, 1))]),
                lambda: storage.compact(1),
                lambda: storage.install_snapshot(meta),
                lambda: storage.save_snapshot(meta, b"two"),
                lambda: storage.read_snapshot(meta, 0, 1),
                storage.load,
            ):
                with pytest.raises(JournalFailed, match="No space left"):
                    await call()
            assert disk.operations == operations


# Damage


async def damaged(workload: Workload) -> tuple[SimDisk, Model, dict[str, int]]:
    """What a workload leaves after a clean end, with the sizes of the files."""
    disk, model = fresh(), Model()
    await workload(machine(disk), model)
    left = disk.image(random.Random(1), "everything")
    sizes: dict[str, int] = {}
    for part in ("journal", "snapshots"):
        tree = left.tree(f"{DIRECTORY}/{part}")
        sizes |= {f"{part}/{name}": tree.size(name) for name in tree.list_directory("")}
    return left, model, sizes


@pytest.mark.slow
@workloads
async def test_flipped_bits_are_refused_or_lose_the_last_write_at_most(workload: Workload) -> None:
    """A clean end puts on record that everything was synced, so nothing may be lost."""
    found, model, sizes = await damaged(workload)
    rng = random.Random(1)
    refused = 0
    for name, size in sizes.items():
        bits = 8 * size
        for bit in rng.sample(range(bits), min(bits, 100)):
            disk = found.image(random.Random(1), "everything")
            disk.flip(f"{DIRECTORY}/{name}", bit)
            try:
                await check_again(disk, model.copy(), f"bit {bit} of {name}")
            except* JournalCorrupt:
                refused += 1
    assert refused > 50


async def test_a_flipped_bit_in_a_snapshot_names_its_file() -> None:
    disk, _, sizes = await damaged(own_snapshots)
    (name,) = [name for name in sizes if name.startswith("snapshots/state")]
    disk.flip(f"{DIRECTORY}/{name}", 5)
    with pytest.raises(JournalCorrupt, match="the checksum of the snapshot") as caught:
        async with opening(machine(disk)):
            pass
    assert caught.value.path == f"{DIRECTORY}/{name}"


@pytest.mark.parametrize("cut", [None, 3])
async def test_a_snapshot_that_is_missing_or_short_is_refused(cut: int | None) -> None:
    disk, _, sizes = await damaged(own_snapshots)
    (name,) = [name for name in sizes if name.startswith("snapshots/state")]
    tree = disk.tree(DIRECTORY)
    if cut is None:
        tree.remove(name)
    else:
        tree.truncate(name, cut)
    with pytest.raises(JournalCorrupt, match="missing" if cut is None else "has 3 bytes, not 8"):
        async with opening(machine(disk)):
            pass


async def test_snapshots_without_a_journal_are_refused() -> None:
    disk, _, sizes = await damaged(own_snapshots)
    tree = disk.tree(DIRECTORY)
    for name in sizes:
        if name.startswith("journal/"):
            tree.remove(name)
    with pytest.raises(JournalCorrupt, match="no journal that names them"):
        async with opening(machine(disk)):
            pass


async def test_a_half_received_snapshot_that_is_damaged_is_received_again_from_there() -> None:
    data = bytes(range(200))
    meta = describe(9, 1, data)
    for cut in range(0, 300, 7):
        disk, model = fresh(), Model()
        async with opening(machine(disk)) as storage:
            await model.initialize(storage)
            parts = [ChunkWrite(meta, at, data[at : at + 50]) for at in (0, 50, 100)]
            await storage.write([ready(chunks=parts, must_sync=False)])
        tree = disk.tree(f"{DIRECTORY}/snapshots")
        (name,) = tree.list_directory("")
        tree.truncate(name, min(cut, tree.size(name)))
        async with opening(machine(disk, 2)) as storage:
            stored = await storage.load()
            assert stored is not None
            assert stored.partial in {None, (meta, 50), (meta, 100), (meta, 150)}
            await model.receive(storage, meta, data)
            await model.install(storage, meta)
            assert await read_all(storage, meta) == data


# Whose it is


async def test_the_directory_of_another_is_refused_and_not_touched() -> None:
    disk, model = fresh(), Model()
    await elections(machine(disk), model)
    with pytest.raises(WrongStorage, match="belongs to node 'a' of cluster 'c1', not to node 'b'"):
        async with opening(machine(disk), node="b"):
            pass
    await check_again(disk, model, "opened by another")


async def test_one_at_a_time() -> None:
    disk = fresh()
    async with opening(machine(disk)):
        with pytest.raises(JournalBusy):
            async with opening(machine(disk, 2)):
                pass


# What it costs


async def test_a_batch_has_one_commit_and_a_commit_index_alone_none() -> None:
    disk, model = fresh(), Model()
    async with opening(machine(disk)) as storage:
        await model.initialize(storage)
        before = storage.journal_statistics.commits
        await model.write(
            storage, *(ready(*run(n, n, 1), state=HardState(1, "a", n - 1)) for n in range(1, 9))
        )
        assert storage.journal_statistics.commits == before + 1
        assert storage.journal_statistics.records == 1 + 8 + 1
        operations = disk.operations
        for commit in range(1, 9):
            await model.write(storage, ready(state=HardState(1, "a", commit), must_sync=False))
        assert disk.operations == operations
        await model.write(storage, ready(state=HardState(2, None, 8)))
        assert storage.journal_statistics.commits == before + 2


async def test_what_is_not_needed_is_given_up() -> None:
    """The journal does not grow with the age of the peer."""
    disk, model = fresh(), Model()
    for turn in range(30):
        async with opening(machine(disk, turn)) as storage:
            if not turn:
                await model.initialize(storage)
            first = 10 * turn + 1
            await model.write(storage, ready(*run(first, first + 9, 1)))
            await model.save(storage, first + 8, b"x" * 50)
            await model.compact(storage, first + 8)
    tree = disk.tree(DIRECTORY)
    names = tree.list_directory("journal")
    assert len(names) <= 4, names
    assert len(tree.list_directory("snapshots")) == 1
    await check_again(disk, model, "in the end")


async def test_elections_without_entries_do_not_fill_the_journal() -> None:
    disk, model = fresh(), Model()
    async with opening(machine(disk)) as storage:
        await model.initialize(storage)
        for term in range(1, 1100):
            await storage.write([ready(state=HardState(term, "a", 0))])
    async with opening(machine(disk)) as storage:
        assert storage.journal_statistics.snapshots == 1
    async with opening(machine(disk)) as storage:
        stored = await storage.load()
        assert stored is not None
        assert stored.hard_state == HardState(1099, "a", 0)
        assert storage.journal_statistics.snapshots == 0


# Cancellation, and what no node asks for


async def test_a_save_that_is_cancelled_is_there_or_leaves_no_file() -> None:
    cancelled = 0
    data = bytes(3 << 20)
    meta = describe(2, 1, data)
    for tenth in range(1, 100, 4):
        disk, model = fresh(), Model()
        async with opening(machine(disk, 7, slow=True)) as storage:
            await model.initialize(storage)
            await model.write(storage, ready(*run(1, 3, 1)))
            with trio.move_on_after(tenth / 10) as scope:
                await storage.save_snapshot(meta, data)
            cancelled += scope.cancelled_caught
            stored = await storage.load()
            assert stored is not None
            names = disk.tree(f"{DIRECTORY}/snapshots").list_directory("")
            assert len(names) == (1 if stored.snapshot == meta else 0)
            await model.write(storage, ready(*run(4, 4, 1)))
            await model.save(storage, 3, b"three")
        await check_again(disk, model, "cancelled")
    assert cancelled > 2


async def test_an_older_snapshot_of_its_own_is_passed_over() -> None:
    disk, model = fresh(), Model()
    async with opening(machine(disk)) as storage:
        await model.initialize(storage)
        await model.write(storage, ready(*run(1, 5, 1)))
        await model.save(storage, 4, b"four")
        for index in (2, 4):
            await storage.save_snapshot(describe(index, 1, b"other"), b"other")
    await check_again(disk, model, "passed over")


async def test_what_breaks_the_rules_is_refused_and_changes_nothing() -> None:
    disk, model = fresh(), Model()
    async with opening(machine(disk)) as storage:
        await model.initialize(storage)
        await model.write(storage, ready(*run(1, 5, 2), state=HardState(2, "a", 0)))
        await model.save(storage, 3, b"three")
        older = describe(3, 2, b"piece")
        await storage.write([ready(chunks=[ChunkWrite(older, 0, b"piece")], must_sync=False)])
        operations = disk.operations
        for call, problem in (
            (lambda: storage.write([ready(state=HardState(1, "a", 0))]), "would follow"),
            (lambda: storage.write([ready(state=HardState(2, "b", 0))]), "would follow"),
            (lambda: storage.write([ready(state=HardState(2, None, 0))]), "would follow"),
            (lambda: storage.install_snapshot(older), "would replace a later one"),
            (lambda: storage.save_snapshot(describe(4, 1, b""), b""), "which is another"),
            (lambda: storage.save_snapshot(describe(9, 2, b""), b""), "which is another"),
            (lambda: model.initialize(storage), "has been initialized"),
        ):
            with pytest.raises(RaftViolated, match=problem):
                await call()
        assert disk.operations == operations
        with pytest.raises(RaftViolated, match="not what its meta says"):
            await storage.save_snapshot(describe(4, 2, b"this"), b"that")
    model.sent[older] = b"piece"
    model.logs.pop()
    await check_again(disk, model, "refused")


async def test_a_full_queue_is_waited_for() -> None:
    """Writes that were cancelled go on; what comes next finds their records in the queue."""
    disk, model = fresh(), Model()
    limits = JournalLimits(queued_records=1)
    async with opening(machine(disk, 3, slow=True), limits=limits) as storage:
        await model.initialize(storage)
        for index in range(1, 30):
            with trio.move_on_after(0.01):
                await model.write(storage, ready(*run(index, index, 1)))
            stored = await storage.load()
            assert stored is not None
            if len(stored.entries) < index:  # cancelled while it waited for room
                model.logs.pop()
                break
        await model.write(storage, ready(*run(2, 3, 2)))
        model.logs, model.log_promised = [model.logs[-1]], 0
    await check_again(disk, model, "waited")


async def test_compaction_goes_on_after_a_call_that_was_cancelled() -> None:
    disk, model = fresh(), Model()
    async with opening(machine(disk, 5, slow=True)) as storage:
        await model.initialize(storage)
        await model.write(storage, ready(*run(1, 20, 1)))
        await model.save(storage, 20, b"state")
        for index in range(1, 20):
            with trio.move_on_after(0.001):
                await model.compact(storage, index)
        await model.compact(storage, 20)
        model.logs, model.log_promised = [model.logs[-1]], 0
        assert storage.journal_statistics.snapshots < 15
    async with opening(machine(disk, 6)) as storage:
        stored = await storage.load()
        assert stored is not None
        assert stored.snapshot == model.snap.meta
        assert stored.entries == run((stored.base_index or 20) + 1, 20, 1)


async def test_a_journal_of_something_else_is_refused() -> None:
    disk = fresh()
    async with open_journal(f"{DIRECTORY}/journal", ports=machine(disk)) as journal:
        await journal.append([b"a line of something"])
    with pytest.raises(JournalCorrupt, match="record 1: this is no record of Raft's"):
        async with opening(machine(disk)):
            pass


async def test_a_snapshot_that_shrinks_while_it_is_read_is_reported() -> None:
    disk, model = fresh(), Model()
    async with opening(machine(disk)) as storage:
        await model.initialize(storage)
        await model.write(storage, ready(*run(1, 3, 1)))
        await model.save(storage, 2, bytes(100))
        tree = disk.tree(f"{DIRECTORY}/snapshots")
        (name,) = tree.list_directory("")
        tree.truncate(name, 50)
        with pytest.raises(JournalCorrupt, match="at byte 50: the snapshot is cut short"):
            await storage.read_snapshot(model.snap.meta, 10, 90)


async def test_a_beginning_has_no_data_of_a_snapshot() -> None:
    async with opening(machine(fresh())) as storage:
        with pytest.raises(InvalidParameter, match="without the data"):
            await storage.initialize(Stored(snapshot=describe(3, 1, b"data")))


async def test_an_entry_that_is_too_large_is_refused_before_anything_is_written() -> None:
    disk, model = fresh(), Model()
    limits = JournalLimits(record_bytes=150)
    async with opening(machine(disk), limits=limits) as storage:
        await model.initialize(storage)
        operations = disk.operations
        with pytest.raises(RecordTooLarge, match="limit is 150"):
            await storage.write([ready(*run(1, 2, 1), *run(3, 3, 1, 60))])
        assert disk.operations == operations
        await model.write(storage, ready(*run(1, 2, 1)))
    await check_again(disk, model, "refused")


# Random lives


async def live(ports: Host, model: Model, rng: random.Random) -> None:
    """One life of random calls, such as a node makes."""
    async with opening(ports) as storage:
        await model.check(storage, "at the opening")
        if model.logs[-1][0] is None:
            await model.initialize(storage)
        for _ in range(rng.randrange(4, 12)):
            log, snap = model.now, model.snap.meta
            term = log.term + rng.randrange(2)
            state = HardState(term, log.vote if term == log.term else rng.choice("abc"), 0)
            low = max(log.base[0], snap.index)
            match rng.randrange(6):
                case 0 | 1:
                    first = rng.randint(low + 1, log.last + 1)
                    entries = run(
                        first, first + rng.randrange(4), max(term, 1), rng.choice((1, 40))
                    )
                    await model.write(storage, ready(*entries, state=state), ready())
                case 2:
                    await model.write(storage, ready(state=state))
                case 3 if log.last > low:
                    index = rng.randint(low + 1, log.last)
                    await model.save(storage, index, rng.randbytes(rng.choice((0, 5, 900))))
                case 4:
                    await model.compact(storage, rng.randint(0, low + 1))
                case _:
                    data = rng.randbytes(rng.choice((1, 5, 900)))
                    index = rng.randint(low + 1, log.last + 3)
                    meta = describe(index, rng.choice((log.term_at(index), log.term + 1)), data)
                    await model.receive(storage, meta, data)
                    if rng.randrange(3):
                        await model.install(storage, meta)


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=() if seed < 20 else pytest.mark.campaign) for seed in range(60)],
)
async def test_random_lives_with_power_cuts_and_errors(seed: int) -> None:
    rng = random.Random(seed)
    disk, model = fresh(), Model()
    for number in range(8):
        match rng.randrange(3):
            case 0:
                disk.cut_power_at(rng.randrange(120))
            case 1:
                disk.fail_at(rng.randrange(120), errno.EIO)
            case _:
                pass
        slow = rng.randrange(2) == 0
        await until_the_end(live(machine(disk, number, slow=slow), model, rng))
        disk = disk.crash(rng) if rng.randrange(2) else disk.image(rng, "everything")
    await check_again(disk, model, "in the end")
