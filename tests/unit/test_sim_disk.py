"""The simulated disk: what programs see, what a power cut leaves, what may fail."""

import errno
import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from tests.support.processes import finished
from trio440.core.host import Disk
from trio440.errors import InvalidParameter
from trio440.sim.disk import SimDisk, Survival
from trio440.sim.disk_image import SECTOR
from trio440.sim.power import PowerCut

SURVIVALS: tuple[Survival, ...] = ("random", "nothing", "everything")
PATHS = ["a", "b", "c", "d/a", "d/b", "d/e/a"]


def new_disk(seed: int = 0, capacity: int | None = None) -> SimDisk:
    return SimDisk(random.Random(seed), capacity=capacity)


def append(disk: Disk, path: str, data: bytes) -> None:
    with closing(disk.open_append(path)) as file:
        file.append(data)


def write_lasting(disk: Disk, path: str, data: bytes) -> None:
    append(disk, path, data)
    disk.sync_file(path)
    disk.sync_directory(path.rpartition("/")[0])


def contents(disk: Disk, directory: str = "") -> dict[str, bytes]:
    """Return every file below a directory, by path."""
    found: dict[str, bytes] = {}
    for name in disk.list_directory(directory):
        path = f"{directory}/{name}" if directory else name
        try:
            found[path] = disk.read(path)
        except IsADirectoryError:
            found |= contents(disk, path)
    return found


def images(disk: SimDisk, count: int = 200) -> Iterator[dict[str, bytes]]:
    """Yield what different power cuts at this moment leave of the tree ``/data``."""
    for survival in SURVIVALS:
        for seed in range(count if survival == "random" else 1):
            yield contents(disk.crash(random.Random(seed), survival).tree("/data"))


def walk(seed: int, steps: int = 40) -> "Walked":
    """Do random things to a disk, and to a dictionary."""
    rng = random.Random(seed)
    walked = Walked(seed)
    for _ in range(steps):
        walked.step(rng)
    return walked


class Walked:
    """A disk, and the dictionary that it should look like."""

    def __init__(self, seed: int) -> None:
        self.disk = new_disk(seed)
        self.tree = self.disk.tree("/data")
        self.model: dict[str, bytes] = {}
        self.tree.make_directory("d/e")
        self.tree.sync_directory("d")
        self.tree.sync_directory("")

    def step(self, rng: random.Random) -> None:
        path, other = rng.choice(PATHS), rng.choice(PATHS)
        present = path in self.model
        match rng.choice(
            ("append", "append", "truncate", "rename", "remove", "sync", "sync names")
        ):
            case "append":
                data = rng.randbytes(rng.choice((0, 1, 100, SECTOR, 2_000)))
                append(self.tree, path, data)
                self.model[path] = self.model.get(path, b"") + data
            case "truncate" if present:
                size = rng.randint(0, len(self.model[path]))
                self.tree.truncate(path, size)
                self.model[path] = self.model[path][:size]
            case "rename" if present:
                self.tree.rename(path, other)
                self.model[other] = self.model.pop(path)
            case "remove" if present:
                self.tree.remove(path)
                del self.model[path]
            case "sync" if present:
                self.tree.sync_file(path)
            case "sync names":
                self.tree.sync_directory(rng.choice(("", "d", "d/e")))
            case _:
                with pytest.raises(FileNotFoundError):
                    self.tree.read("absent")

    def sync_all(self) -> None:
        for path in self.model:
            self.tree.sync_file(path)
        for directory in ("d/e", "d", ""):
            self.tree.sync_directory(directory)


# What programs see


@pytest.mark.parametrize("seed", range(40))
def test_programs_see_what_a_dictionary_would_hold(seed: int) -> None:
    rng = random.Random(seed)
    walked = Walked(seed)
    for _ in range(60):
        walked.step(rng)
        assert contents(walked.tree) == walked.model
    assert contents(walked.disk.crash(rng, "everything").tree("/data")) == walked.model


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synced_survives_every_crash(seed: int) -> None:
    walked = walk(seed)
    walked.sync_all()
    assert all(image == walked.model for image in images(walked.disk, 20))


def test_an_image_of_an_image_is_the_same() -> None:
    first = walk(3).disk.crash(random.Random(3))
    left = contents(first.tree("/data"))
    assert left
    assert all(image == left for image in images(first, 20))


def test_an_image_shares_nothing_with_the_disk_it_came_from() -> None:
    disk = new_disk()
    write_lasting(disk.tree("/data"), "log", b"one")
    first, second = disk.crash(random.Random(1)), disk.crash(random.Random(1))
    write_lasting(first.tree("/data"), "log", b"two")
    assert contents(second.tree("/data")) == {"log": b"one"}


def test_what_happens_after_a_crash_may_be_lost_as_well() -> None:
    disk = new_disk()
    write_lasting(disk.tree("/data"), "log", b"one")
    after = disk.crash(random.Random(1))
    append(after.tree("/data"), "log", b"two")
    append(after.tree("/data"), "other", b"")
    left = list(images(after))
    assert {"log": b"one"} in left
    assert {"log": b"onetwo", "other": b""} in left


# Appends, judged by a second and simpler rule


def is_allowed(image: bytes, synced: bytes, appended: bytes) -> bool:
    """Whether what is left of ``synced + appended`` harms nothing synced and invents nothing."""
    whole = synced + appended
    return (
        len(synced) <= len(image) <= len(whole)
        and image.startswith(synced)
        and all(left in (0, byte) for left, byte in zip(image, whole, strict=False))
    )


def describe(image: bytes, synced: bytes, pieces: list[bytes]) -> str:
    """Say what became of the appended pieces (which hold no zero byte)."""
    whole = synced + b"".join(pieces)
    if image == whole:
        return "all"
    if image == synced:
        return "nothing"
    if whole.startswith(image):
        if len(image) % SECTOR == 0:
            return "up to a sector"
        return "up to a byte"
    return "longer by zeros" if image[-1] == 0 else "out of order"


def test_unsynced_appends_are_kept_lost_or_torn() -> None:
    pieces = [bytes([number + 1]) * size for number, size in enumerate((700, 10, 3_000, 1, 513))]
    disk = new_disk()
    tree = disk.tree("/data")
    write_lasting(tree, "log", b"s" * 300)
    for piece in pieces:
        append(tree, "log", piece)
    seen = set()
    for image in images(disk, 600):
        assert is_allowed(image["log"], b"s" * 300, b"".join(pieces))
        seen.add(describe(image["log"], b"s" * 300, pieces))
    assert seen == {
        "all",
        "nothing",
        "up to a sector",
        "up to a byte",
        "longer by zeros",
        "out of order",
    }


def test_a_sector_is_never_missing_before_it_was_torn() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    write_lasting(tree, "log", b"s" * 100)
    append(tree, "log", b"x" * 4_000)
    whole = b"s" * 100 + b"x" * 4_000
    for image in images(disk):
        log = image["log"]
        for start in range(0, len(log), SECTOR):
            sector = log[start : start + SECTOR]
            done = sum(byte != 0 for byte in sector)
            full = start + len(sector) < len(log)
            assert whole[start : start + done] == sector[:done]
            assert not full or start == 0 or done in (0, len(sector))


def test_an_unsynced_truncation_has_happened_or_not() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    write_lasting(tree, "log", b"0123456789")
    tree.truncate("log", 4)
    assert {image["log"] for image in images(disk)} == {b"0123", b"0123456789"}
    tree = (after := new_disk()).tree("/data")
    write_lasting(tree, "log", b"0123456789")
    tree.truncate("log", 4)
    tree.sync_file("log")
    append(tree, "log", b"x")
    assert {image["log"] for image in images(after)} == {b"0123", b"0123x", b"0123\0"}


# Names


def test_a_synced_file_may_lose_its_unsynced_name() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    append(tree, "log", b"content")
    tree.sync_file("log")
    left = list(images(disk))
    assert {} in left
    assert {"log": b"content"} in left
    assert all(image in ({}, {"log": b"content"}) for image in left)


def test_what_is_in_a_lost_directory_is_lost() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    tree.make_directory("sub")
    write_lasting(tree, "sub/log", b"content")
    assert [image for image in images(disk) if not image]


def test_a_rename_is_atomic() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    write_lasting(tree, "target", b"old")
    append(tree, "temporary", b"new")
    tree.sync_file("temporary")
    tree.rename("temporary", "target")
    possible = [
        {"target": b"old"},
        {"target": b"old", "temporary": b"new"},
        {"target": b"new"},
    ]
    left = list(images(disk))
    assert all(image in possible for image in left)
    assert all(image in left for image in possible)
    tree = (synced := new_disk()).tree("/data")
    write_lasting(tree, "target", b"old")
    write_lasting(tree, "temporary", b"new")
    tree.rename("temporary", "target")
    tree.sync_directory("")
    assert all(image == {"target": b"new"} for image in images(synced))


def renamed_between_directories() -> SimDisk:
    disk = new_disk()
    tree = disk.tree("/data")
    tree.make_directory("sub")
    write_lasting(tree, "sub/file", b"content")
    tree.sync_directory("")
    tree.rename("sub/file", "file")
    return disk


def test_a_rename_between_directories_is_atomic() -> None:
    left = list(images(renamed_between_directories()))
    before, after = {"sub/file": b"content"}, {"file": b"content"}
    assert before in left
    assert after in left
    assert all(image in (before, after) for image in left)


@pytest.mark.parametrize("synced", ["", "sub"])
def test_syncing_either_directory_makes_a_rename_last(synced: str) -> None:
    disk = renamed_between_directories()
    disk.tree("/data").sync_directory(synced)
    assert all(image == {"file": b"content"} for image in images(disk, 60))


@pytest.mark.parametrize("seed", range(30))
def test_each_name_is_in_a_state_that_it_had_and_no_file_is_lost_by_renaming(seed: int) -> None:
    rng = random.Random(seed)
    disk = new_disk()
    tree = disk.tree("/data")
    tree.make_directory("d/e")
    model: dict[str, bytes] = {}
    for path in PATHS[:4]:
        model[path] = path.encode()
        write_lasting(tree, path, model[path])
    tree.sync_directory("")
    history = {path: {model.get(path)} for path in PATHS}
    for _ in range(5):
        old, new = rng.choice(sorted(model)), rng.choice(PATHS)
        if new in model or "e" in new:
            continue
        tree.rename(old, new)
        model[new] = model.pop(old)
        for path in PATHS:
            history[path].add(model.get(path))
    for image in images(disk, 60):
        assert sorted(image.values()) == sorted(model.values())
        assert all(image.get(path) in states for path, states in history.items())


def test_syncing_one_directory_says_nothing_about_another() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    tree.make_directory("sub")
    tree.sync_directory("")
    append(tree, "sub/file", b"")
    tree.sync_directory("")
    assert {} in list(images(disk))


# Failures


def test_a_failed_sync_is_not_made_good_by_the_next() -> None:
    left = set()
    for seed in range(60):
        disk = new_disk(seed)
        tree = disk.tree("/data")
        write_lasting(tree, "log", b"s")
        append(tree, "log", b"lost")
        disk.fail_at(disk.operations, errno.EIO)
        with pytest.raises(OSError, match="Input/output error"):
            tree.sync_file("log")
        append(tree, "log", b"kept")
        tree.sync_file("log")
        assert tree.read("log") == b"slostkept"
        logs = {image["log"] for image in images(disk, 5)}
        assert len(logs) == 1
        (log,) = logs
        assert is_allowed(log, b"s", b"lostkept")
        assert log.endswith(b"kept")
        assert len(log) == 9
        left.add(log)
    assert b"s\0\0\0\0kept" in left
    assert b"slostkept" in left


def test_a_sync_makes_the_length_last_whatever_a_failed_one_lost() -> None:
    left = set()
    for seed in range(40):
        disk = new_disk(seed)
        tree = disk.tree("/data")
        write_lasting(tree, "log", b"0123456789")
        tree.truncate("log", 4) if seed % 2 else append(tree, "log", b"x" * 5)
        disk.fail_at(disk.operations, errno.EIO)
        with pytest.raises(OSError, match="Input/output error"):
            tree.sync_file("log")
        tree.sync_file("log")
        size = tree.size("log")
        (image,) = {image["log"] for image in images(disk, 5)}
        assert len(image) == size
        assert b"0123456789".startswith(image[:10])
        left.add(image)
    assert {b"0123", b"0123456789" + bytes(5)} <= left


def test_a_failed_sync_of_names_is_not_made_good_by_the_next() -> None:
    left = []
    for seed in range(40):
        disk = new_disk(seed)
        tree = disk.tree("/data")
        append(tree, "file", b"")
        disk.fail_at(disk.operations, errno.EIO)
        with pytest.raises(OSError, match="Input/output error"):
            tree.sync_directory("")
        tree.sync_directory("")
        assert tree.exists("file")
        tree.rename("file", "other") if seed % 2 else None
        tree.sync_directory("")
        left.append(disk.crash(random.Random(1)).tree("/data").list_directory(""))
    assert [] in left
    assert ["file"] in left
    assert left[1::2] == [["other"]] * 20


def test_errors_are_drawn_for_appends_and_syncs_alone() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    disk.error_share = 1.0
    tree.make_directory("sub")
    tree.open_append("log").close()
    tree.rename("log", "sub/log")
    acts: list[Callable[[], object]] = [
        lambda: append(tree, "sub/log", b"0123456789"),
        lambda: tree.sync_file("sub/log"),
        lambda: tree.sync_directory("sub"),
    ]
    for act in acts:
        with pytest.raises(OSError, match="Input/output error") as caught:
            act()
        assert caught.value.errno == errno.EIO
    assert b"0123456789".startswith(tree.read("sub/log"))
    tree.truncate("sub/log", 0)
    tree.remove("sub/log")


def test_a_share_of_the_operations_fails() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    disk.error_share = 0.25
    failed = 0
    for _ in range(400):
        try:
            append(tree, "log", b"x")
        except OSError:
            failed += 1
    assert 70 < failed < 130


def test_a_disk_without_faults_draws_nothing() -> None:
    rng = random.Random(7)
    before = rng.getstate()
    tree = SimDisk(rng).tree("/data")
    write_lasting(tree, "log", b"content")
    assert rng.getstate() == before


def test_a_failed_append_leaves_a_beginning() -> None:
    sizes = set()
    for seed in range(60):
        disk = new_disk(seed)
        tree = disk.tree("/data")
        with closing(tree.open_append("log")) as file:
            disk.fail_at(disk.operations, errno.EIO)
            with pytest.raises(OSError, match="Input/output error"):
                file.append(b"0123")
            assert file.size == tree.size("log")
        assert b"0123".startswith(tree.read("log"))
        sizes.add(tree.size("log"))
    assert sizes == {0, 1, 2, 3, 4}


def test_a_disk_holds_as_much_as_its_capacity() -> None:
    disk = new_disk(capacity=10)
    tree = disk.tree("/data")
    append(tree, "one", b"1234567")
    with pytest.raises(OSError, match="No space left on device") as caught:
        append(tree, "two", b"12345")
    assert caught.value.errno == errno.ENOSPC
    assert tree.read("two") == b"123"
    tree.truncate("one", 5)
    append(tree, "two", b"xy")
    with pytest.raises(OSError, match="No space"):
        append(tree, "two", b"z")
    tree.rename("two", "one")
    append(tree, "one", b"56789")
    tree.remove("one")
    append(tree, "three", bytes(10))
    after = disk.crash(random.Random(1), "everything")
    with pytest.raises(OSError, match="No space"):
        append(after.tree("/data"), "three", b"x")


@pytest.mark.parametrize("lose", ["remove", "replace"])
def test_a_file_without_a_name_counts_no_more(lose: str) -> None:
    disk = new_disk(capacity=10)
    tree = disk.tree("/data")
    append(tree, "other", b"12")
    with closing(tree.open_append("file")) as file:
        file.append(b"12345678")
        if lose == "remove":
            tree.remove("file")
        else:
            tree.rename("other", "file")
            tree.rename("file", "other")
        file.append(b"as much as it likes")
    append(tree, "other", b"345678")
    append(tree, "other", b"90")
    with pytest.raises(OSError, match="No space"):
        append(tree, "other", b"x")


def test_a_file_is_no_directory_of_the_name_that_it_gets() -> None:
    tree = new_disk().tree("/data")
    append(tree, "file", b"x")
    append(tree, "other", b"y")
    for new in ("other/below", "file/below"):
        with pytest.raises(NotADirectoryError):
            tree.rename("file", new)
    with pytest.raises(IsADirectoryError):
        tree.rename("file", "")
    assert contents(tree) == {"file": b"x", "other": b"y"}


def test_a_full_disk_takes_no_bytes_and_no_names_until_it_has_room_again() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    append(tree, "log", b"one")
    disk.full = True
    acts: list[Callable[[], object]] = [
        lambda: append(tree, "log", b"two"),
        lambda: append(tree, "other", b""),
        lambda: tree.make_directory("sub"),
        lambda: tree.lock("LOCK").__enter__(),
    ]
    for act in acts:
        with pytest.raises(OSError, match="No space left on device"):
            act()
    tree.sync_file("log")
    tree.rename("log", "renamed")
    assert contents(tree) == {"renamed": b"one"}
    disk.full = False
    append(tree, "renamed", b"two")
    assert tree.read("renamed") == b"onetwo"


def test_a_negative_capacity_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="capacity must be at least 0"):
        new_disk(capacity=-1)


# Power


def replace_file(tree: Disk, *, sync: bool = True) -> None:
    """Replace ``target`` as it should be done, or without the first sync."""
    append(tree, "temporary", b"new" * 400)
    if sync:
        tree.sync_file("temporary")
    tree.rename("temporary", "target")
    tree.sync_directory("")


def every_end(*, sync: bool = True) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Cut the power before and after each operation of ``replace_file``."""
    for after in (False, True):
        for op in range(5 if sync else 4):
            disk = new_disk()
            tree = disk.tree("/data")
            write_lasting(tree, "target", b"old")
            disk.cut_power_at(disk.operations + op, after=after)
            with pytest.raises(PowerCut):
                replace_file(tree, sync=sync)
            for image in images(disk, 30):
                yield op + after, image


def test_a_file_is_replaced_as_a_whole_wherever_the_power_goes() -> None:
    seen = set()
    for done, image in every_end():
        assert image["target"] in (b"old", b"new" * 400)
        seen.add((done, image["target"] == b"old"))
    assert {done for done, is_old in seen if is_old} == {0, 1, 2, 3, 4}
    assert {done for done, is_old in seen if not is_old} == {4, 5}


def test_a_forgotten_sync_is_found_out() -> None:
    assert [
        1 for _, image in every_end(sync=False) if image["target"] not in (b"old", b"new" * 400)
    ]


def test_the_hook_hears_of_the_power_cut_once_and_first() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    heard: list[str] = []
    disk.on_power_cut = lambda: heard.append("cut")
    disk.cut_power_at(1)
    tree.make_directory("sub")
    for _ in range(3):
        with pytest.raises(PowerCut):
            tree.make_directory("other")
    assert heard == ["cut"]


@pytest.mark.parametrize(
    "act",
    [
        lambda tree: tree.make_directory("new"),
        lambda tree: tree.list_directory(""),
        lambda tree: tree.exists("log"),
        lambda tree: tree.size("log"),
        lambda tree: tree.read("log"),
        lambda tree: tree.open_append("log"),
        lambda tree: tree.truncate("log", 0),
        lambda tree: tree.sync_file("log"),
        lambda tree: tree.rename("log", "new"),
        lambda tree: tree.remove("log"),
        lambda tree: tree.sync_directory(""),
        lambda tree: tree.lock("log").__enter__(),
    ],
)
def test_a_fenced_tree_raises(act: Callable[[Disk], object]) -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    append(tree, "log", b"x")
    operations = disk.operations
    disk.fence()
    for _ in range(2):
        with pytest.raises(PowerCut):
            act(tree)
    with pytest.raises(PowerCut):
        disk.tree("/data")
    assert disk.operations == operations


def test_a_fenced_file_raises_and_a_crash_fences() -> None:
    disk = new_disk()
    file = disk.tree("/data").open_append("log")
    disk.crash(random.Random(1))
    acts: list[Callable[[], object]] = [
        lambda: file.append(b"x"),
        file.sync,
        file.close,
        lambda: file.size,
    ]
    for act in acts:
        with pytest.raises(PowerCut):
            act()


def test_locks_die_with_the_machine() -> None:
    disk = new_disk()
    with disk.tree("/data").lock("LOCK"):
        with pytest.raises(BlockingIOError), disk.tree("/data").lock("LOCK"):
            pytest.fail("held twice")
        after = disk.crash(random.Random(1), "everything").tree("/data")
        with after.lock("LOCK"):
            assert after.list_directory("") == ["LOCK"]


def test_plans_and_counts_belong_to_one_life() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    append(tree, "log", b"x")
    disk.full, disk.error_share = True, 0.5
    disk.cut_power_at(7)
    disk.fail_at(8, errno.EIO)
    after = disk.crash(random.Random(1))
    assert (after.operations, after.syncs) == (0, 0)
    assert (after.full, after.error_share) == (True, 0.5)
    after.full, after.error_share = False, 0.0
    for _ in range(10):
        append(after.tree("/data"), "log", b"x")


# Counting, tracing, flipping


def test_operations_are_counted_and_told() -> None:
    disk = new_disk()
    told: list[tuple[str, str]] = []
    disk.on_operation = lambda kind, text: told.append((kind, text))
    tree = disk.tree("/data")
    tree.make_directory("sub/deep")
    tree.make_directory("sub")
    with closing(tree.open_append("sub/log")) as file:
        file.append(b"12345")
        disk.fail_at(disk.operations, errno.EIO)
        with suppress(OSError):
            file.sync()
    tree.truncate("sub/log", 2)
    tree.rename("sub/log", "log")
    tree.rename("log", "log")
    tree.remove("log")
    tree.sync_directory("")
    assert told == [
        ("mkdir", "/data/sub"),
        ("mkdir", "/data/sub/deep"),
        ("create", "/data/sub/log"),
        ("append", "/data/sub/log 5 bytes at 0"),
        ("sync", "/data/sub/log: EIO"),
        ("truncate", "/data/sub/log to 2 bytes"),
        ("rename", "/data/sub/log to /data/log"),
        ("remove", "/data/log"),
        ("sync names", "/data"),
    ]
    assert (disk.operations, disk.syncs) == (len(told), 2)


def test_what_has_happened_cannot_be_planned() -> None:
    disk = new_disk()
    append(disk.tree("/data"), "log", b"x")
    with pytest.raises(InvalidParameter, match="op must be at least 2"):
        disk.fail_at(1, errno.EIO)
    with pytest.raises(InvalidParameter, match="op must be at least 2"):
        disk.cut_power_at(0)


def test_a_flipped_bit_stays_flipped() -> None:
    disk = new_disk()
    tree = disk.tree("/data")
    write_lasting(tree, "log", b"\x00\x00")
    append(tree, "log", b"\x00")
    disk.flip("/data/log", 9)
    disk.flip("/data/log", 0)
    assert tree.read("log") == b"\x01\x02\x00"
    for bit in (-1, 16):
        with pytest.raises(InvalidParameter, match="a bit of the 16 that are durable"):
            disk.flip("/data/log", bit)
    with pytest.raises(FileNotFoundError):
        disk.flip("/data/absent", 0)
    with pytest.raises(IsADirectoryError):
        disk.flip("/data", 0)
    tree.truncate("log", 1)
    disk.flip("/data/log", 8)
    assert tree.read("log") == b"\x01"
    assert {image["log"][:2] for image in images(disk, 60)} == {b"\x01", b"\x01\x03"}


def test_trees_are_parts_of_one_disk() -> None:
    disk = new_disk()
    append(disk.tree("/data/one"), "log", b"1")
    append(disk.tree("data/one/two"), "log", b"2")
    assert contents(disk.tree("/")) == {"data/one/log": b"1", "data/one/two/log": b"2"}
    with pytest.raises(NotADirectoryError):
        disk.tree("/data/one/log")
    for root in ("/data/../etc", "/da\0ta"):
        with pytest.raises(InvalidParameter, match="root must be a path"):
            disk.tree(root)
    after = disk.crash(random.Random(1), "nothing")
    assert after.tree("/data").list_directory("one") == ["two"]


# Determinism


def fingerprint() -> str:
    """Return a hash of many images, of disks with faults and without."""
    told = hashlib.sha256()
    for seed in range(20):
        walked = walk(seed, 30)
        walked.disk.on_operation = lambda kind, text: told.update(f"{kind} {text}\n".encode())
        walked.disk.error_share = 0.3
        rng = random.Random(seed)
        for _ in range(30):
            with suppress(OSError):
                walked.step(rng)
        for image in images(walked.disk, 5):
            told.update(repr(image).encode())
    return told.hexdigest()


@pytest.mark.slow
def test_equal_seeds_give_equal_images_in_every_process() -> None:
    program = "from tests.unit.test_sim_disk import fingerprint; print(fingerprint())"
    printed = {
        finished([sys.executable, "-c", program], env={"PYTHONHASHSEED": hash_seed})
        for hash_seed in ("1", "2")
    }
    assert printed == {(0, f"{fingerprint()}\n", "")}
