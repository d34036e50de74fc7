"""The contract of :class:`trio440.core.host.Disk`."""

import errno
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from trio440.core.host import Disk, Host
from trio440.errors import InvalidParameter

OUTSIDE = ["/etc/passwd", "../escape", "a/../../escape", "a/..", "..", "nul\0byte", "/"]

EVERY_METHOD: dict[str, Callable[[Disk, str], object]] = {
    "make_directory": lambda disk, path: disk.make_directory(path),
    "list_directory": lambda disk, path: disk.list_directory(path),
    "exists": lambda disk, path: disk.exists(path),
    "size": lambda disk, path: disk.size(path),
    "read": lambda disk, path: disk.read(path),
    "open_append": lambda disk, path: disk.open_append(path),
    "truncate": lambda disk, path: disk.truncate(path, 0),
    "sync_file": lambda disk, path: disk.sync_file(path),
    "rename from": lambda disk, path: disk.rename(path, "inside"),
    "rename to": lambda disk, path: disk.rename("inside", path),
    "remove": lambda disk, path: disk.remove(path),
    "sync_directory": lambda disk, path: disk.sync_directory(path),
    "lock": lambda disk, path: disk.lock(path).__enter__(),
}
NEEDS_A_FILE = ["size", "read", "truncate", "sync_file", "rename from", "remove"]


def write(disk: Disk, path: str, data: bytes) -> None:
    with closing(disk.open_append(path)) as file:
        file.append(data)
        file.sync()


async def test_what_was_appended_is_read(disk: Disk) -> None:
    with closing(disk.open_append("log")) as file:
        assert file.size == 0
        file.append(b"one")
        file.append(b"")
        file.append(b"two")
        assert file.size == 6
        assert disk.read("log") == b"onetwo"
        file.sync()
        assert disk.size("log") == 6


async def test_appending_goes_on_where_the_file_ended(disk: Disk) -> None:
    write(disk, "log", b"old")
    with closing(disk.open_append("log")) as file:
        assert file.size == 3
        file.append(b" new")
        assert file.size == 7
    assert disk.read("log") == b"old new"


async def test_much_data_is_appended_whole(disk: Disk) -> None:
    data = bytes(range(256)) * 40_000
    write(disk, "large", data)
    assert disk.size("large") == len(data)
    assert disk.read("large") == data


async def test_reading_a_part(disk: Disk) -> None:
    write(disk, "file", b"0123456789")
    assert disk.read("file", 3) == b"3456789"
    assert disk.read("file", 3, 4) == b"3456"
    assert disk.read("file", 8, 4) == b"89"
    assert disk.read("file", 3, 0) == b""
    assert disk.read("file", 10) == disk.read("file", 99, 5) == b""


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
async def test_reading_before_the_start_is_the_callers_fault(
    disk: Disk, offset: int, length: int | None
) -> None:
    write(disk, "file", b"0123456789")
    with pytest.raises(InvalidParameter, match="must be at least 0"):
        disk.read("file", offset, length)


async def test_opening_without_creating_needs_the_file(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.open_append("absent", create=False)
    assert not disk.exists("absent")
    write(disk, "there", b"x")
    disk.open_append("there", create=False).close()


async def test_a_closed_file_refuses_and_closing_is_idempotent(disk: Disk) -> None:
    file = disk.open_append("log")
    file.append(b"x")
    file.close()
    file.close()
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor") as caught:
        file.append(b"y")
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        file.sync()
    assert disk.read("log") == b"x"


async def test_an_open_file_outlives_its_name(disk: Disk) -> None:
    with closing(disk.open_append("old")) as file:
        disk.rename("old", "new")
        file.append(b"renamed")
        assert disk.read("new") == b"renamed"
        disk.remove("new")
        file.append(b"removed")
        file.sync()
    assert not disk.exists("new")


async def test_truncating_keeps_the_beginning(disk: Disk) -> None:
    write(disk, "file", b"0123456789")
    disk.truncate("file", 10)
    disk.truncate("file", 4)
    assert disk.read("file") == b"0123"
    write(disk, "file", b"x")
    assert disk.read("file") == b"0123x"
    disk.truncate("file", 0)
    assert disk.size("file") == 0


@pytest.mark.parametrize("size", [-1, 4])
async def test_truncating_never_makes_a_file_longer(disk: Disk, size: int) -> None:
    write(disk, "file", b"abc")
    with pytest.raises(InvalidParameter, match="size must be 0 to 3"):
        disk.truncate("file", size)
    assert disk.read("file") == b"abc"


async def test_directories_are_made_with_their_parents(disk: Disk) -> None:
    disk.make_directory("a/b/c")
    disk.make_directory("a/b/c")
    disk.make_directory("a")
    assert disk.list_directory("a") == ["b"]
    assert disk.list_directory("a/b/c") == []
    assert disk.exists("a/b")


async def test_a_directory_lists_its_own_names_sorted(disk: Disk) -> None:
    assert disk.list_directory("") == []
    for name in ("b", "c", "a"):
        write(disk, name, b"")
    disk.make_directory("d/e")
    write(disk, "d/f", b"")
    assert disk.list_directory("") == disk.list_directory(".") == ["a", "b", "c", "d"]
    assert disk.list_directory("d") == ["e", "f"]


async def test_existence(disk: Disk) -> None:
    assert disk.exists("")
    assert not disk.exists("a/b")
    write(disk, "file", b"")
    assert disk.exists("file")
    assert not disk.exists("file/below")


async def test_renaming_replaces_what_was_there(disk: Disk) -> None:
    write(disk, "old", b"new content")
    write(disk, "target", b"former content")
    disk.rename("old", "target")
    assert disk.read("target") == b"new content"
    assert disk.list_directory("") == ["target"]
    disk.make_directory("sub")
    disk.rename("target", "sub/target")
    assert disk.read("sub/target") == b"new content"


async def test_renaming_a_file_to_itself_changes_nothing(disk: Disk) -> None:
    write(disk, "file", b"content")
    disk.rename("file", "file")
    assert disk.read("file") == b"content"


async def test_removing(disk: Disk) -> None:
    write(disk, "file", b"content")
    disk.remove("file")
    assert not disk.exists("file")
    write(disk, "file", b"again")
    assert disk.read("file") == b"again"


async def test_syncing_is_allowed_on_files_and_directories(disk: Disk) -> None:
    disk.make_directory("a")
    write(disk, "a/file", b"content")
    disk.sync_file("a/file")
    disk.sync_directory("a")
    disk.sync_directory("")
    assert disk.read("a/file") == b"content"


@pytest.mark.parametrize("method", NEEDS_A_FILE)
async def test_an_absent_file_is_an_error(disk: Disk, method: str) -> None:
    with pytest.raises(FileNotFoundError):
        EVERY_METHOD[method](disk, "absent")


async def test_an_absent_directory_is_an_error(disk: Disk) -> None:
    write(disk, "file", b"content")
    with pytest.raises(FileNotFoundError):
        disk.list_directory("absent")
    with pytest.raises(FileNotFoundError):
        disk.sync_directory("absent")
    with pytest.raises(FileNotFoundError):
        disk.open_append("absent/file")
    with pytest.raises(FileNotFoundError):
        disk.rename("file", "absent/file")
    assert disk.read("file") == b"content"


async def test_files_are_no_directories_and_the_other_way_round(disk: Disk) -> None:
    write(disk, "file", b"content")
    disk.make_directory("directory")
    with pytest.raises(NotADirectoryError):
        disk.list_directory("file")
    with pytest.raises(NotADirectoryError):
        disk.sync_directory("file")
    with pytest.raises(NotADirectoryError):
        disk.open_append("file/below")
    with pytest.raises(FileExistsError):
        disk.make_directory("file")
    with pytest.raises(NotADirectoryError):
        disk.make_directory("file/below")
    with pytest.raises(IsADirectoryError):
        disk.open_append("directory")
    with pytest.raises(IsADirectoryError):
        disk.read("directory")
    with pytest.raises(IsADirectoryError):
        disk.rename("file", "directory")


def everything_below(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


@pytest.mark.parametrize("method", EVERY_METHOD)
async def test_no_method_leaves_the_tree(disk: Disk, tmp_path: Path, method: str) -> None:
    write(disk, "inside", b"content")
    before = everything_below(tmp_path)
    for path in OUTSIDE:
        with pytest.raises(InvalidParameter, match="path must be relative"):
            EVERY_METHOD[method](disk, path)
    assert everything_below(tmp_path) == before
    assert disk.list_directory("") == ["inside"]


async def test_two_trees_are_apart_and_a_tree_is_found_again(ports: Host, tmp_path: Path) -> None:
    one, two = ports.disk(str(tmp_path / "deep" / "one")), ports.disk(str(tmp_path / "two"))
    write(one, "file", b"content")
    assert two.list_directory("") == []
    assert ports.disk(str(tmp_path / "deep" / "one")).read("file") == b"content"


async def test_a_lock_is_held_once_and_then_free_again(disk: Disk) -> None:
    for _ in range(2):
        with disk.lock("LOCK"):
            with pytest.raises(BlockingIOError), disk.lock("LOCK"):
                pytest.fail("held twice")
            with disk.lock("OTHER"):
                pass


async def test_a_lock_is_freed_by_an_error(disk: Disk) -> None:
    with pytest.raises(ZeroDivisionError), disk.lock("LOCK"):
        raise ZeroDivisionError
    with disk.lock("LOCK"):
        assert disk.exists("LOCK")


async def test_a_lock_that_nobody_enters_holds_nothing(disk: Disk) -> None:
    never_entered = disk.lock("LOCK")
    with disk.lock("LOCK"):
        del never_entered


async def test_a_lock_needs_its_directory(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError), disk.lock("absent/LOCK"):
        pytest.fail("no such directory")
