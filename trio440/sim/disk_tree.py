"""What the programs of a simulated machine see of its disk: the Disk port over a device."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import PurePosixPath

from trio440.core.host import AppendFile, Disk
from trio440.errors import InvalidParameter
from trio440.sim.disk_device import Device, problem
from trio440.sim.disk_image import Directory, File, NameChange, Place

__all__ = ["DiskTree", "find"]


def find(directory: Directory, parts: tuple[str, ...], path: str) -> Directory | File:
    """Return what is at ``parts`` below a directory; ``path`` is for the error.

    Raises:
        FileNotFoundError: there is no such name.
        NotADirectoryError: a file is on the way.
    """
    node: Directory | File = directory
    for part in parts:
        if isinstance(node, File):
            raise problem(errno.ENOTDIR, path)
        if part not in node.names:
            raise problem(errno.ENOENT, path)
        node = node.names[part]
    return node


@lru_cache(maxsize=1024)
def _parts_of(path: str) -> tuple[str, ...]:
    place = PurePosixPath(path)
    if place.is_absolute() or ".." in place.parts or "\0" in path:
        raise InvalidParameter("path", path, "relative to the disk's root and inside it")
    return place.parts


class DiskTree(Disk):
    """What a program sees of the disk below one directory."""

    def __init__(self, device: Device, root: Directory, prefix: str) -> None:
        self._device = device
        self._root = root
        self._prefix = prefix

    def make_directory(self, path: str) -> None:
        """Create a directory and its parents."""
        directory = self._root
        parts = self._parts(path)
        for depth, part in enumerate(parts):
            node = directory.names.get(part)
            if isinstance(node, File):
                last = depth == len(parts) - 1
                raise problem(errno.EEXIST if last else errno.ENOTDIR, path)
            if node is None:
                node = Directory()
                shown = self._shown(parts[: depth + 1])
                change = NameChange(node, made=(directory, part))
                self._device.change_names("mkdir", shown, change)
            directory = node

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        return sorted(self._directory(path).names)

    def exists(self, path: str) -> bool:
        """Whether something has this name."""
        try:
            self._node(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def size(self, path: str) -> int:
        """Return the length of a file."""
        return len(self._file(path).content)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a part of a file."""
        for name, value in (("offset", offset), ("length", length or 0)):
            if value < 0:
                raise InvalidParameter(name, value, "at least 0")
        end = None if length is None else offset + length
        return bytes(memoryview(self._file(path).content)[offset:end])

    def open_append(self, path: str, *, create: bool = True) -> AppendFile:
        """Open a file at its end."""
        file = self._file(path, create=create)
        return _SimAppendFile(self._device, file, self._shown(self._parts(path)))

    def truncate(self, path: str, size: int) -> None:
        """Cut a file."""
        file = self._file(path)
        if not 0 <= size <= len(file.content):
            raise InvalidParameter("size", size, f"0 to {len(file.content)}, the file's size")
        self._device.truncate(file, self._shown(self._parts(path)), size)

    def sync_file(self, path: str) -> None:
        """Sync a file's content and length."""
        self._device.sync(self._file(path), self._shown(self._parts(path)))

    def rename(self, old: str, new: str) -> None:
        """Rename a file, replacing what was there; it may not be a directory."""
        new_parts = self._parts(new)
        file, gone = self._file(old), self._place(old)
        if not new_parts or isinstance(self._place(new)[0].names.get(new_parts[-1]), Directory):
            raise problem(errno.EISDIR, new)
        made = self._place(new)
        if made == gone:
            return
        change = NameChange(file, made=made, gone=gone)
        detail = f" to {self._shown(new_parts)}"
        self._device.change_names("rename", self._shown(self._parts(old)), change, detail)

    def remove(self, path: str) -> None:
        """Remove a file."""
        change = NameChange(self._file(path), gone=self._place(path))
        self._device.change_names("remove", self._shown(self._parts(path)), change)

    def sync_directory(self, path: str) -> None:
        """Sync the names in a directory."""
        self._device.sync_names(self._directory(path), self._shown(self._parts(path)))

    @contextmanager
    def lock(self, path: str) -> Iterator[None]:
        """Hold a file until the context ends or the machine loses power."""
        file = self._file(path, create=True)
        with self._device.lock(file, path):
            yield

    def _parts(self, path: str) -> tuple[str, ...]:
        self._device.check_power()
        return _parts_of(path)

    def _shown(self, parts: tuple[str, ...]) -> str:
        return self._prefix + "".join(f"/{part}" for part in parts) or "/"

    def _node(self, path: str) -> Directory | File:
        return find(self._root, self._parts(path), path)

    def _directory(self, path: str) -> Directory:
        node = self._node(path)
        if isinstance(node, File):
            raise problem(errno.ENOTDIR, path)
        return node

    def _place(self, path: str) -> Place:
        parts = self._parts(path)
        parent = find(self._root, parts[:-1], path)
        if isinstance(parent, File):
            raise problem(errno.ENOTDIR, path)
        return parent, parts[-1]

    def _file(self, path: str, *, create: bool = False) -> File:
        try:
            node = self._node(path)
        except FileNotFoundError:
            if not create:
                raise
            node = File()
            change = NameChange(node, made=self._place(path))
            self._device.change_names("create", self._shown(self._parts(path)), change)
        if isinstance(node, Directory):
            raise problem(errno.EISDIR, path)
        return node


class _SimAppendFile(AppendFile):
    """A file held open, whatever becomes of its name."""

    def __init__(self, device: Device, file: File, path: str) -> None:
        self._device = device
        self._file = file
        self._path = path
        self._closed = False

    @property
    def size(self) -> int:
        self._device.check_power()
        return len(self._file.content)

    def append(self, data: bytes) -> None:
        self._device.append(self._open_file(), self._path, bytes(data))

    def sync(self) -> None:
        self._device.sync(self._open_file(), self._path)

    def close(self) -> None:
        self._device.check_power()
        self._closed = True

    def _open_file(self) -> File:
        self._device.check_power()
        if self._closed:
            raise problem(errno.EBADF)
        return self._file
