"""The journal on a simulated disk: cut at every operation, failing at every operation."""

import errno
import random
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Literal

import attrs
import pytest
import trio

from tests.support.journal_world import (
    DIRECTORY,
    SMALL,
    Model,
    machine,
    read_log,
    unpack,
    until_the_end,
)
from trio440.core.host import Host
from trio440.errors import (
    InvalidParameter,
    JournalBusy,
    JournalCorrupt,
    JournalFailed,
    RecordTooLarge,
)
from trio440.journal import Journal, JournalLimits, open_journal
from trio440.journal.files import Entry, JournalFiles
from trio440.journal.format import Kind, segment_name
from trio440.journal.recovery import recover
from trio440.sim.blocking import SimBlocking
from trio440.sim.disk import SimDisk
from trio440.sim.power import PowerCut

named = pytest.mark.parametrize


# Workloads


async def appends(ports: Host, model: Model) -> None:
    """Two lives with a clean end, and records that share a commit."""
    for life in range(2):
        async with open_journal(DIRECTORY, limits=SMALL, ports=ports) as journal:
            async with trio.open_nursery() as nursery:
                for number in range(6):
                    nursery.start_soon(model.append, journal, b"%d-%d" % (life, number))
            await model.append(journal, b"long" * 30, b"", b"three")
            await model.append(journal, bytes(600))


async def compactions(ports: Host, model: Model) -> None:
    """Snapshots while others append; more than one segment each."""
    async with open_journal(DIRECTORY, limits=SMALL, ports=ports) as journal:
        for turn in range(2):
            for number in range(4):
                await model.append(journal, b"%d-%d" % (turn, number) * 20)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(model.snapshot, journal, 4 * turn + 3)
                nursery.start_soon(model.append, journal, b"beside")
    async with open_journal(DIRECTORY, limits=SMALL, ports=ports) as journal:
        kept = len(model.now)
        for number in range(5):
            await model.append(journal, b"again %d" % number * 20)
        await model.snapshot(journal, kept - 1)


async def truncations(ports: Host, model: Model) -> None:
    """Suffixes are dropped, written again, dropped again; then a snapshot, and once more."""
    async with open_journal(DIRECTORY, limits=SMALL, ports=ports) as journal:
        await model.append(journal, *(b"a%d" % number for number in range(8)))
        await model.truncate(journal, 5)
        await model.append(journal, b"b5" * 100, b"b6" * 100, b"b7")
        await model.truncate(journal, 6)
        await model.snapshot(journal, 4)
        await model.append(journal, b"c6" * 100, b"c7" * 100)
        await model.truncate(journal, 4)
        await model.append(journal, b"d4")
    async with open_journal(DIRECTORY, limits=SMALL, ports=ports) as journal:
        await model.truncate(journal, 4)
        await model.append(journal, b"e4", b"e5")


async def installations(ports: Host, model: Model) -> None:
    """Snapshots from elsewhere take the place of the whole log."""
    async with open_journal(DIRECTORY, limits=SMALL, ports=ports) as journal:
        await model.append(journal, b"a0" * 100, b"a1" * 100)
        await model.install(journal, [b"x%d" % number for number in range(5)])
        await model.append(journal, b"x5" * 100, b"x6" * 100)
        await model.install(journal, [b"y%d" % number for number in range(9)])
    async with open_journal(DIRECTORY, limits=SMALL, ports=ports) as journal:
        await model.install(journal, [b"z%d" % number for number in range(11)])
        await model.append(journal, b"z11")


async def pipelines(ports: Host, model: Model) -> None:
    """Commits of several frames and many sectors, and a snapshot of a part in another life."""
    for life in (b"one", b"two"):
        async with open_journal(DIRECTORY, limits=SMALL, ports=ports) as journal:
            states: list[int] = []
            for turn in range(4):
                for letter in (b"a", b"b", b"c"):
                    keep = len(model.now) - 1 if model.now else 0
                    journal.truncate_after_nowait(max(keep, journal.snapshot_index))
                    model.become(model.now[: journal.last_index])
                    journal.append_nowait([(life + letter) * 300, letter])
                    states.append(model.become((*model.now, (life + letter) * 300, letter)))
                if turn % 2:
                    await journal.sync()
                    model.acknowledge(states[-1])
            await model.snapshot(journal, len(model.now) - 5)


async def branches(ports: Host, model: Model) -> None:
    """Snapshots of what took the place of dropped records, begun before that was on disk."""
    async with open_journal(DIRECTORY, limits=SMALL, ports=ports) as journal:
        await model.append(journal, *(b"a%d" % number for number in range(10)))
        journal.truncate_after_nowait(3)
        model.become(model.now[:3])
        journal.append_nowait([b"b3", b"b4", b"b5"])
        model.become((*model.now, b"b3", b"b4", b"b5"))
        await model.snapshot(journal, 5)
        await model.append(journal, *(b"c%d" % number for number in range(6, 10)))
        journal.truncate_after_nowait(6)
        model.become(model.now[:6])
        await model.install(journal, [b"d%d" % number for number in range(8)])


async def lone_writers(ports: Host, model: Model) -> None:
    """One task writes by itself, is cancelled at all times, and meets others."""
    for life in (b"one", b"two"):
        async with open_journal(DIRECTORY, limits=SMALL, ports=ports) as journal:
            for number in range(4):
                await model.append(journal, life + b"%d" % number * 20, alone=True)
                with ports.clock.move_on_after(0.0003 * number):
                    await model.append(journal, b"hasty", alone=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(model.append, journal, b"first", alone=True))
                nursery.start_soon(partial(model.append, journal, b"second", alone=True))
                nursery.start_soon(model.append, journal, b"third")
            await model.truncate(journal, len(model.now) - 1)
            await model.append(journal, b"last", alone=True)


strides = named("stride", [3, pytest.param(1, marks=pytest.mark.campaign)])
"""Which operations are looked at: every one, or every third."""

WORKLOADS = [
    appends,
    compactions,
    truncations,
    installations,
    *(pytest.param(each, marks=pytest.mark.slow) for each in (pipelines, branches, lone_writers)),
]
Workload = Callable[[Host, Model], Awaitable[None]]


async def fresh() -> SimDisk:
    return SimDisk(random.Random(1))


async def count_operations(workload: Workload) -> int:
    disk = SimDisk(random.Random(1))
    model = Model()
    await workload(machine(disk), model)
    assert await read_log(machine(disk)) == model.now
    disk = SimDisk(random.Random(1))
    await workload(machine(disk), Model())
    return disk.operations


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
    async with open_journal(DIRECTORY, limits=SMALL, ports=machine(disk, 2)) as journal:
        log = unpack(journal.take_recovered())
        assert model.admit(log), f"{what}: {log}"
        assert journal.last_index == journal.durable_index == len(log)
        await model.append(journal, b"after")
    assert await read_log(machine(disk, 3)) == model.now, what


# Power cuts


@named("workload", WORKLOADS)
@named("after", [False, pytest.param(True, marks=pytest.mark.campaign)])
async def test_a_power_cut_at_every_operation(workload: Workload, after: bool) -> None:
    """After one operation is as before the next one, but that less was acknowledged."""
    operations = await count_operations(workload)
    assert operations > 20
    for op in range(operations):
        disk, model = await fresh(), Model()
        disk.cut_power_at(op, after=after)
        if not await ended_by(PowerCut, disk, op, workload(machine(disk), model)):
            break
        logs, acknowledged = list(model.logs), model.acknowledged
        for image in (op, op + 1):
            survival: Literal["nothing", "everything", "random"] = (
                "nothing" if image % 4 == 0 else "everything" if image % 4 == 1 else "random"
            )
            left = disk.crash(random.Random(image), survival)
            model = Model(list(logs), acknowledged)
            await check_what_is_left(left, model, f"cut at {op}, {survival} {image}")


@pytest.mark.slow
@named("workload", WORKLOADS)
@strides
async def test_a_power_cut_at_every_operation_of_a_slow_disk(
    workload: Workload, stride: int
) -> None:
    """Other tasks go on while the disk works, and more gathers for each commit."""
    for op in count(step=stride):
        disk, model = await fresh(), Model()
        disk.cut_power_at(op)
        ports = machine(disk, op, slow=True)
        if not await ended_by(PowerCut, disk, op, workload(ports, model)):
            assert op > 20
            break
        left = disk.crash(random.Random(op))
        await check_what_is_left(left, model, f"cut at {op}")


@pytest.mark.slow
@named("workload", WORKLOADS)
@strides
async def test_an_error_at_every_operation_of_a_slow_disk(workload: Workload, stride: int) -> None:
    for op in count(step=stride):
        disk, model = await fresh(), Model()
        disk.fail_at(op, errno.EIO)
        ports = machine(disk, op, slow=True)
        if not await ended_by(JournalFailed, disk, op, workload(ports, model)):
            assert op > 20
            break
        await check_what_is_left(disk, model, f"failed at {op}")


@pytest.mark.slow
@named("workload", WORKLOADS)
@strides
async def test_a_power_cut_at_every_operation_of_the_recovery(
    workload: Workload, stride: int
) -> None:
    operations = await count_operations(workload)
    for op in range(3, operations, 8 * stride):
        disk, model = await fresh(), Model()
        disk.cut_power_at(op)
        if not await ended_by(PowerCut, disk, op, workload(machine(disk), model)):
            break
        for second in range(100):
            again = disk.crash(random.Random(op))
            again.cut_power_at(second)
            ended = await until_the_end(read_log(machine(again, 2)))
            left = again.crash(random.Random(second))
            copy = Model(list(model.logs), model.acknowledged)
            await check_what_is_left(left, copy, f"cut at {op}, then at {second}")
            if ended is None:
                break
        else:
            pytest.fail("recovery does not end")


async def test_a_commit_of_many_frames_torn_in_many_ways() -> None:
    """What was written together says nothing about what else of it was synced."""
    disk, model = await fresh(), Model()

    async def work() -> None:
        async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
            await model.append(journal, b"kept")
            for number in range(8):
                journal.append_nowait([b"%d" % number * 500, b"dropped"])
                model.become((*model.now, b"%d" % number * 500, b"dropped"))
                journal.truncate_after_nowait(journal.last_index - 1)
                model.become(model.now[:-1])
            disk.cut_power_at(disk.operations + 1)
            await journal.sync()

    assert isinstance(await until_the_end(work()), PowerCut)
    found = set()
    for image in range(100):
        left = disk.crash(random.Random(image))
        log = await read_log(machine(left))
        assert log in model.logs[model.acknowledged :], image
        found.add(log)
    assert len(found) > 5


# Failing disks


@pytest.mark.slow
@named("workload", WORKLOADS)
async def test_an_error_at_every_operation(workload: Workload) -> None:
    """The journal stops; whether reopened or after a power cut, nothing acknowledged is lost."""
    operations = await count_operations(workload)
    for op in range(operations):
        disk, model = await fresh(), Model()
        disk.fail_at(op, (errno.EIO, errno.ENOSPC)[op % 2])
        if not await ended_by(JournalFailed, disk, op, workload(machine(disk), model)):
            break
        before = disk.operations
        left = disk.crash(random.Random(op))
        assert before == disk.operations
        await check_what_is_left(left, model, f"failed at {op}")


@pytest.mark.slow
@named("workload", WORKLOADS)
@strides
async def test_what_was_acknowledged_after_an_error_and_a_reopening_survives(
    workload: Workload, stride: int
) -> None:
    """A sync that failed has lost pages that still read well: they must be written again."""
    operations = await count_operations(workload)
    for op in range(0, operations, stride):
        disk, model = await fresh(), Model()
        disk.fail_at(op, errno.EIO)
        if not await ended_by(JournalFailed, disk, op, workload(machine(disk), model)):
            break
        await check_what_is_left(disk, model, f"failed at {op}, reopened")
        for image in range(3):
            left = disk.crash(random.Random(image))
            assert await read_log(machine(left, 4)) == model.now, f"failed at {op}, image {image}"


async def test_after_an_error_nothing_is_written() -> None:
    disk = await fresh()
    with pytest.raises(JournalFailed):
        async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
            disk.fail_at(disk.operations + 1, errno.EIO)  # the sync of the first commit
            with pytest.raises(JournalFailed, match="Input/output error"):
                await journal.append([b"lost"])
            operations = disk.operations
            for call in (
                lambda: journal.append([b"more"]),
                lambda: journal.truncate_after(0),
                lambda: journal.snapshot(b"", 1),
                journal.sync,
            ):
                with pytest.raises(JournalFailed):
                    await call()
            with pytest.raises(JournalFailed):
                journal.append_nowait([b"more"])
            assert journal.failure is not None
            assert journal.durable_index == 0
            await trio.sleep(5)
            assert disk.operations == operations
    assert disk.operations == operations


async def test_a_failed_sync_is_never_tried_again() -> None:
    disk = await fresh()
    files = JournalFiles(disk.tree(DIRECTORY), DIRECTORY, segment_bytes=1000)
    files.open(b"saltsalt", b"nonce")
    disk.fail_at(disk.operations + 1, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        files.commit([Entry(Kind.RECORDS, 1, [b"lost"])])
    operations = disk.operations
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            files.mark()
    assert disk.operations == operations
    files.close()
    with pytest.raises(OSError, match="not open"):
        JournalFiles(disk.tree(DIRECTORY), DIRECTORY, segment_bytes=1000).mark()


async def test_an_error_reaches_everybody_who_waits() -> None:
    disk = await fresh()
    failed: list[int] = []

    async def append(journal: Journal) -> None:
        with pytest.raises(JournalFailed):
            await journal.append([b"x" * 10])
        failed.append(1)

    limits = JournalLimits(queued_bytes=20)
    with pytest.raises(JournalFailed):
        async with open_journal(DIRECTORY, limits=limits, ports=machine(disk)) as journal:
            disk.full = True
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(append, journal)
    assert len(failed) == 20


async def test_a_full_disk_with_room_again_is_opened_again() -> None:
    disk, model = SimDisk(random.Random(1), capacity=2000), Model()

    async def fill() -> None:
        async with open_journal(DIRECTORY, limits=SMALL, ports=machine(disk)) as journal:
            while True:
                await model.append(journal, bytes(100))

    assert isinstance(await until_the_end(fill()), JournalFailed)
    with pytest.raises(JournalFailed, match="No space left"):
        disk.capacity = 0
        await read_log(machine(disk))
    disk.capacity = None
    await check_what_is_left(disk, model, "after a full disk")


# Damage


async def journal_with_everything(*, clean: bool) -> tuple[SimDisk, Model]:
    """A snapshot, several segments, a truncation; the last commit in two frames."""
    disk, model = await fresh(), Model()

    async def work() -> None:
        async with open_journal(DIRECTORY, limits=SMALL, ports=machine(disk)) as journal:
            for number in range(6):
                await model.append(journal, b"record %d" % number * 5)
            await model.snapshot(journal, 3)
            await model.append(journal, b"seven", b"eight")
            await model.truncate(journal, 7)
            for number in range(4):
                await model.append(journal, b"again %d" % number * 5)
            if not clean:
                raise PowerCut

    await until_the_end(work())
    return disk.crash(random.Random(0), "nothing"), model


def sizes_of(disk: SimDisk) -> dict[str, int]:
    tree = disk.tree(DIRECTORY)
    return {name: tree.size(name) for name in tree.list_directory("") if name != "LOCK"}


@named("clean", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_every_bit_flipped(clean: bool) -> None:
    disk, model = await journal_with_everything(clean=clean)
    sizes = sizes_of(disk)
    names = list(sizes)
    assert len(names) > 3
    tree = disk.tree(DIRECTORY)
    files = {name: tree.read(name) for name in names}
    outcomes = {"refused": 0, "whole": 0, "last": 0}
    lost: list[tuple[str, int]] = []
    for name in names:
        for bit in range(8 * sizes[name]):
            flipped = bytearray(files[name])
            flipped[bit // 8] ^= 1 << bit % 8
            damaged = {**files, name: bytes(flipped)}
            try:
                found = recover(DIRECTORY, list(damaged), damaged.__getitem__)
            except JournalCorrupt as error:
                outcomes["refused"] += error.path.startswith(f"{DIRECTORY}/")
                continue
            log = (*model.now[:3], *found.records)
            if log == model.now:
                outcomes["whole"] += 1
            else:
                assert log == model.now[:-1], (name, bit)
                lost.append((name, bit))
                outcomes["last"] += 1
    assert outcomes["refused"] > 0
    if clean:
        assert outcomes["last"] == 0
        assert 0 < outcomes["whole"] <= 8 * 64  # the mark at the clean end
    else:
        assert {name for name, _ in lost} == {names[-2]}  # the last segment
        assert outcomes["whole"] == 0
        assert outcomes["last"] <= 8 * (64 + 4 + 35)


async def test_a_second_of_rest_covers_the_last_commit() -> None:
    disk, model = await fresh(), Model()

    async def work() -> None:
        async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
            await model.append(journal, b"precious")
            await trio.sleep(2)
            raise PowerCut

    await until_the_end(work())
    disk = disk.crash(random.Random(0), "nothing")
    [name] = sizes_of(disk)
    at = disk.tree(DIRECTORY).read(name).index(b"precious")
    disk.flip(f"{DIRECTORY}/{name}", 8 * at)
    with pytest.raises(JournalCorrupt, match="had been synced") as caught:
        await read_log(machine(disk))
    assert caught.value.path == f"{DIRECTORY}/{name}"
    assert caught.value.offset == at - 64 - 4


async def test_a_flipped_bit_on_the_disk_is_refused_by_name() -> None:
    disk, _ = await journal_with_everything(clean=True)
    for name in sizes_of(disk):
        damaged = disk.crash(random.Random(0), "nothing")
        damaged.flip(f"{DIRECTORY}/{name}", 8 * 20)
        before = sizes_of(damaged)
        with pytest.raises(JournalCorrupt, match=f"{DIRECTORY}/{name} is damaged at byte 0"):
            await read_log(machine(damaged))
        assert sizes_of(damaged) == before


@pytest.mark.slow
@named("clean", [True, False])
async def test_every_file_missing_or_shortened(clean: bool) -> None:
    disk, model = await journal_with_everything(clean=clean)
    sizes = sizes_of(disk)
    last_segment = list(sizes)[-2]
    for name in sizes:
        damaged = disk.crash(random.Random(0), "nothing")
        damaged.tree(DIRECTORY).remove(name)
        with pytest.raises(JournalCorrupt):
            await read_log(machine(damaged))
        for size in range(int(clean), sizes[name], 2):
            damaged = disk.crash(random.Random(0), "nothing")
            damaged.tree(DIRECTORY).truncate(name, size)
            try:
                log = await read_log(machine(damaged))
            except JournalCorrupt:
                continue
            # Shortening takes the statements away, too; the order is kept.
            assert name == last_segment
            assert log in (model.now[:end] for end in range(len(model.now) + 1))


async def test_an_older_copy_of_a_segment_is_noticed() -> None:
    """Frames of another life of the file, with the right numbers, do not fit."""
    disk, model = await fresh(), Model()
    async with open_journal(DIRECTORY, ports=machine(disk, 1)) as journal:
        await model.append(journal, b"same")
    [(name, base)] = sizes_of(disk).items()
    original, copy = (disk.crash(random.Random(0), "everything") for _ in range(2))
    for image, seed in ((original, 5), (copy, 6)):
        async with open_journal(DIRECTORY, ports=machine(image, seed)) as journal:
            await journal.append([b"a"])
            await journal.append([b"b"])
            await journal.append([b"c"])
    one, two = original.tree(DIRECTORY).read(name), copy.tree(DIRECTORY).read(name)
    assert len(one) == len(two)
    middle = base + (len(one) - base) // 2
    mixed = SimDisk(random.Random(1)).crash(random.Random(1))
    file = mixed.tree(DIRECTORY).open_append(name)
    file.append(one[:middle] + two[middle:])
    with pytest.raises(JournalCorrupt):
        await read_log(machine(mixed))


async def test_records_that_look_like_frames_are_records() -> None:
    """A torn record full of frames of the same journal is cut off, not taken for damage."""
    disk = await fresh()
    async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
        await journal.append([b"first"])
    [name] = sizes_of(disk)
    tree = disk.tree(DIRECTORY)
    older = tree.read(name)
    end = 0

    async def work() -> None:
        nonlocal end
        async with open_journal(DIRECTORY, ports=machine(disk, 2)) as journal:
            end = tree.size(name)
            await journal.append([older * 3])
            raise PowerCut

    await until_the_end(work())
    left = disk.crash(random.Random(0), "everything")
    left.tree(DIRECTORY).truncate(name, left.tree(DIRECTORY).size(name) - 1)
    async with open_journal(DIRECTORY, ports=machine(left)) as journal:
        recovered = journal.take_recovered()
    assert recovered.records == [b"first"]
    assert recovered.torn_bytes > len(older)


# Use


async def test_an_empty_journal() -> None:
    disk = await fresh()
    async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
        recovered = journal.take_recovered()
        assert (recovered.snapshot, recovered.snapshot_index, recovered.records) == (None, 0, [])
        assert journal.last_index == journal.durable_index == journal.snapshot_index == 0
        assert await journal.append([]) == 0
        with pytest.raises(RuntimeError, match="taken before"):
            journal.take_recovered()
    with pytest.raises(trio.ClosedResourceError):
        await journal.append([b"late"])
    with pytest.raises(trio.ClosedResourceError):
        journal.append_nowait([b"late"])


async def test_open_twice_is_refused_and_changes_nothing() -> None:
    disk = await fresh()
    async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
        await journal.append([b"one"])
        operations = disk.operations
        with pytest.raises(JournalBusy, match=f"the journal in {DIRECTORY} is open elsewhere"):
            async with open_journal(DIRECTORY, ports=machine(disk)):
                pytest.fail("open twice")
        assert disk.operations == operations
        await journal.append([b"two"])
    assert await read_log(machine(disk)) == (b"one", b"two")


async def test_many_appends_share_a_commit() -> None:
    disk = await fresh()
    async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
        syncs = disk.syncs

        async def append(number: int) -> None:
            for turn in range(5):
                await journal.append([b"%d-%d" % (number, turn)])

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(append, number)
        assert disk.syncs - syncs <= 2 * 5
        statistics = journal.statistics()
        assert statistics.records == statistics.last_index == statistics.durable_index == 500
        assert statistics.commits == disk.syncs - syncs
        assert statistics.largest_commit >= 90
        assert statistics.queued_records == statistics.queued_bytes == 0


async def test_the_queue_is_bounded_and_fair() -> None:
    disk = await fresh()
    order: list[int] = []

    async def append(number: int) -> None:
        assert await journal.append([b"%03d" % number]) == number + 1
        order.append(number)

    limits = JournalLimits(queued_records=4)
    async with open_journal(DIRECTORY, limits=limits, ports=machine(disk)) as journal:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(append, number)
                await trio.lowlevel.checkpoint()
        assert journal.statistics().largest_commit <= 4
        for _ in range(4):
            journal.append_nowait([b"x"])
        with pytest.raises(trio.WouldBlock):
            journal.append_nowait([b"y"])
        await journal.sync()
        journal.append_nowait([b"z"])
    log = await read_log(machine(disk))
    assert log == (*(b"%03d" % number for number in range(20)), *[b"x"] * 4, b"z")
    assert sorted(order) == list(range(20))


async def test_what_is_refused() -> None:
    disk = await fresh()
    limits = JournalLimits(record_bytes=3)
    async with open_journal(DIRECTORY, limits=limits, ports=machine(disk)) as journal:
        with pytest.raises(
            RecordTooLarge, match="a record of 4 bytes is too large, the limit is 3"
        ):
            await journal.append([b"ok", b"long"])
        assert journal.last_index == 0
        await journal.append([b"1", b"2", b"3"])
        with pytest.raises(InvalidParameter, match="upto must be 0 to 3"):
            await journal.sync(4)
        with pytest.raises(InvalidParameter, match="index must be 0 to 3"):
            await journal.truncate_after(4)
        await journal.snapshot(b"12", 2)
        with pytest.raises(InvalidParameter, match="upto must be greater than 2"):
            await journal.snapshot(b"12", 2)
        with pytest.raises(InvalidParameter, match="index must be 2 to 3"):
            await journal.truncate_after(1)
    for field in ("segment_bytes", "record_bytes", "queued_bytes", "queued_records"):
        for value in (0, -1, 1.5, True, (1 << 30) + 1):
            with pytest.raises(InvalidParameter, match=field):
                JournalLimits(**{field: value})  # type: ignore[arg-type]


async def test_a_cancelled_append_keeps_its_place() -> None:
    disk = await fresh()
    async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal.append, [b"cancelled"])
                await trio.lowlevel.checkpoint()
                scope.cancel()
        await journal.append([b"kept"])
        with trio.CancelScope() as scope:
            scope.cancel()
            await journal.append([b"never"])
    assert await read_log(machine(disk)) in [(b"cancelled", b"kept"), (b"kept",)]


@named("seconds", [0.0, 0.5, 1.0, 1.5])
async def test_what_a_lone_writer_leaves_when_it_is_cancelled_is_written(seconds: float) -> None:
    """A cancelled task may have given its work to the disk or not: it is seen through."""
    disk = await fresh()
    ports = machine(disk)
    ports = attrs.evolve(ports, blocking=SimBlocking(lambda: 1.0, ports.clock))
    async with open_journal(DIRECTORY, ports=ports) as journal:
        with trio.move_on_after(seconds):
            index = journal.append_nowait([b"left"], alone=True)
            await journal.sync(index)
        assert (journal.durable_index == 1) == (seconds > 1)
        await journal.append([b"more"])
        assert journal.durable_index == 2
    assert await read_log(machine(disk)) == (b"left", b"more")


async def test_leaving_normally_writes_what_others_have_appended() -> None:
    disk = await fresh()
    acknowledged = [0, 0, 0]
    refused: list[int] = []

    async def append(journal: Journal, number: int) -> None:
        with pytest.raises(trio.ClosedResourceError):
            for turn in count(1):
                assert await journal.append([b"%d" % number]) > 0
                acknowledged[number] = turn
        refused.append(number)

    limits = JournalLimits(queued_records=1)
    async with (
        trio.open_nursery() as nursery,
        open_journal(DIRECTORY, limits=limits, ports=machine(disk)) as journal,
    ):
        for number in range(3):
            nursery.start_soon(append, journal, number)
        await journal.append([b"x"] * 10)
        for _ in range(50):
            await trio.lowlevel.checkpoint()
    assert sorted(refused) == [0, 1, 2]
    log = await read_log(machine(disk))
    assert [log.count(b"%d" % number) for number in range(3)] == acknowledged
    assert min(acknowledged) > 1


async def test_leaving_by_an_error_writes_no_more_and_acknowledges_nothing() -> None:
    disk = await fresh()
    ends: list[int] = []

    async def wait(journal: Journal) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await journal.append([b"never"])
        ends.append(1)

    async with trio.open_nursery() as nursery:
        with pytest.raises(ZeroDivisionError):
            async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
                nursery.start_soon(wait, journal)
                journal._installing = True
                await trio.testing.wait_all_tasks_blocked()
                raise ZeroDivisionError
    assert ends == [1]
    assert await read_log(machine(disk)) == ()


async def test_old_segments_and_snapshots_are_removed() -> None:
    disk, model = await fresh(), Model()
    async with open_journal(DIRECTORY, limits=SMALL, ports=machine(disk)) as journal:
        for turn in range(1, 5):
            for number in range(10):
                await model.append(journal, b"%d" % number * 100)
            assert journal.statistics().segments > 2
            await model.snapshot(journal, 10 * turn)
            # The frame that tells of the snapshot may have begun one more segment.
            kinds = [name.partition("-")[0] for name in sizes_of(disk)]
            assert kinds in (["segment", "snapshot"], ["segment", "segment", "snapshot"])
            assert journal.statistics().segments <= 2
            assert journal.statistics().snapshots == turn
            assert journal.snapshot_index == 10 * turn


async def test_a_segment_of_an_earlier_life_is_kept_while_it_is_needed() -> None:
    disk, model = await fresh(), Model()

    async def work() -> None:
        async with open_journal(DIRECTORY, limits=SMALL, ports=machine(disk)) as journal:
            await model.append(journal, *[bytes(300)] * 3)
            raise PowerCut

    await until_the_end(work())
    disk = disk.crash(random.Random(1))
    async with open_journal(DIRECTORY, limits=SMALL, ports=machine(disk)) as journal:
        await model.append(journal, b"in a new segment")
        assert journal.statistics().segments == 2
        await model.snapshot(journal, 2)
        assert segment_name(1) in sizes_of(disk)
    assert await read_log(machine(disk)) == model.now
    async with open_journal(DIRECTORY, limits=SMALL, ports=machine(disk)) as journal:
        await model.snapshot(journal, 3)
        assert segment_name(1) not in sizes_of(disk)
    assert await read_log(machine(disk)) == model.now


async def test_one_snapshot_at_a_time_computed_aside() -> None:
    disk = await fresh()
    async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
        await journal.append([b"1", b"2"])
        busy = 0

        async def snapshot(upto: int) -> None:
            nonlocal busy
            try:
                await journal.snapshot(lambda: b"state %d" % upto, upto)
            except trio.BusyResourceError:
                busy += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(snapshot, 1)
            nursery.start_soon(snapshot, 2)
        assert busy == 1
    async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
        recovered = journal.take_recovered()
        assert recovered.snapshot == b"state %d" % recovered.snapshot_index
        assert len(recovered.records) == 2 - recovered.snapshot_index


async def test_nothing_is_appended_while_a_snapshot_past_the_end_is_written() -> None:
    disk = await fresh()
    async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
        await journal.append([b"1"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.snapshot, b"ten", 10)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            if journal.snapshot_index == 0:
                with pytest.raises(trio.WouldBlock):
                    journal.append_nowait([b"no"])
                with pytest.raises(trio.WouldBlock):
                    await journal.truncate_after(1)
            assert await journal.append([b"11"]) == 11
        assert journal.last_index == journal.durable_index == 11
    async with open_journal(DIRECTORY, ports=machine(disk)) as journal:
        recovered = journal.take_recovered()
        assert (recovered.snapshot, recovered.records) == (b"ten", [b"11"])
