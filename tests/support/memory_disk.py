"""A disk in memory: one tree of files that never forgets and never fails."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

import attrs

from trio440.core.host import AppendFile, Disk
from trio440.errors import InvalidParameter

__all__ = ["MemoryDisk"]


@attrs.define
class _Inode:
    """The content of a file; its names come and go."""

    content: bytearray = attrs.Factory(bytearray)


class _MemoryAppendFile(AppendFile):
    def __init__(self, inode: _Inode) -> None:
        self._inode: _Inode | None = inode
        self._size = len(inode.content)

    @property
    def size(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        self._open_inode().content += data
        self._size += len(data)

    def sync(self) -> None:
        self._open_inode()

    def close(self) -> None:
        self._inode = None

    def _open_inode(self) -> _Inode:
        if self._inode is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._inode


class MemoryDisk(Disk):
    """Directories and files by path; everything lasts as soon as it is written."""

    def __init__(self) -> None:
        self._directories = {PurePosixPath()}
        self._files: dict[PurePosixPath, _Inode] = {}
        self._locked: set[PurePosixPath] = set()

    def make_directory(self, path: str) -> None:
        place = _checked(path)
        for part in reversed((place, *place.parents)):
            if part in self._files:
                kind = errno.EEXIST if part == place else errno.ENOTDIR
                raise OSError(kind, os.strerror(kind), path)
            self._directories.add(part)

    def list_directory(self, path: str) -> list[str]:
        place = self._directory(path)
        names = [*self._files, *self._directories]
        return sorted(name.name for name in names if name.parts and name.parent == place)

    def exists(self, path: str) -> bool:
        place = _checked(path)
        return place in self._files or place in self._directories

    def size(self, path: str) -> int:
        return len(self._file(path).content)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        _check_at_least_0("offset", offset)
        _check_at_least_0("length", length or 0)
        end = None if length is None else offset + length
        return bytes(self._file(path).content[offset:end])

    def open_append(self, path: str, *, create: bool = True) -> AppendFile:
        return _MemoryAppendFile(self._file(path, create=create))

    def truncate(self, path: str, size: int) -> None:
        content = self._file(path).content
        if not 0 <= size <= len(content):
            raise InvalidParameter("size", size, f"0 to {len(content)}, the file's size")
        del content[size:]

    def sync_file(self, path: str) -> None:
        self._file(path)

    def rename(self, old: str, new: str) -> None:
        inode, place = self._file(old), _checked(new)
        if place in self._directories:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), new)
        self._check_parent(place)
        del self._files[_checked(old)]
        self._files[place] = inode

    def remove(self, path: str) -> None:
        self._file(path)
        del self._files[_checked(path)]

    def sync_directory(self, path: str) -> None:
        self._directory(path)

    @contextmanager
    def lock(self, path: str) -> Iterator[None]:
        self._file(path, create=True)
        place = _checked(path)
        if place in self._locked:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), path)
        self._locked.add(place)
        try:
            yield
        finally:
            self._locked.remove(place)

    def _directory(self, path: str) -> PurePosixPath:
        place = _checked(path)
        if place in self._files:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if place not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return place

    def _file(self, path: str, *, create: bool = False) -> _Inode:
        place = _checked(path)
        if place in self._directories:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if place not in self._files and create:
            self._check_parent(place)
            self._files[place] = _Inode()
        try:
            return self._files[place]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None

    def _check_parent(self, place: PurePosixPath) -> None:
        self._directory(str(place.parent))


def _checked(path: str) -> PurePosixPath:
    place = PurePosixPath(path)
    if place.is_absolute() or ".." in place.parts or "\0" in path:
        raise InvalidParameter("path", path, "relative to the disk's root and inside it")
    return place


def _check_at_least_0(name: str, value: int) -> None:
    if value < 0:
        raise InvalidParameter(name, value, "at least 0")
