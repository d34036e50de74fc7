"""A directory of this machine as a :class:`~trio440.core.host.Disk`."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath

from trio440.core.host import AppendFile, Disk
from trio440.errors import InvalidParameter

__all__ = ["DirectoryDisk"]


class _OsAppendFile(AppendFile):
    """A file descriptor opened with O_APPEND."""

    def __init__(self, path: Path, *, create: bool) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._fd = os.open(path, flags, 0o644)
        try:
            self._size = os.fstat(self._fd).st_size
        except OSError:
            self.close()
            raise

    @property
    def size(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        rest = memoryview(data)
        fd = self._open_fd()
        while rest:
            written = os.write(fd, rest)
            self._size += written
            rest = rest[written:]

    def sync(self) -> None:
        os.fdatasync(self._open_fd())

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_fd(self) -> int:
        if self._fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._fd


class DirectoryDisk(Disk):
    """The files below one directory, which is made when it is absent."""

    def __init__(self, root: str) -> None:
        """Open ``root``; raises OSError when it cannot be made or is no directory.

        A root that is made here, parents included, outlasts a power cut.
        """
        self._root = Path(root)
        missing = [path for path in (self._root, *self._root.parents) if not path.exists()]
        self._root.mkdir(parents=True, exist_ok=True)
        for path in reversed(missing):
            self._sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)

    def make_directory(self, path: str) -> None:
        """Create a directory and its parents."""
        self._at(path).mkdir(parents=True, exist_ok=True)

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        return sorted(entry.name for entry in self._at(path).iterdir())

    def exists(self, path: str) -> bool:
        """Whether something has this name."""
        return self._at(path).exists()

    def size(self, path: str) -> int:
        """Return the length of a file."""
        return self._at(path).stat().st_size

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a part of a file."""
        for name, value in (("offset", offset), ("length", length or 0)):
            if value < 0:
                raise InvalidParameter(name, value, "at least 0")
        with self._at(path).open("rb") as file:
            file.seek(offset)
            return file.read(-1 if length is None else length)

    def open_append(self, path: str, *, create: bool = True) -> AppendFile:
        """Open a file at its end."""
        return _OsAppendFile(self._at(path), create=create)

    def truncate(self, path: str, size: int) -> None:
        """Cut a file."""
        present = self.size(path)
        if not 0 <= size <= present:
            raise InvalidParameter("size", size, f"0 to {present}, the file's size")
        os.truncate(self._at(path), size)

    def sync_file(self, path: str) -> None:
        """Sync a file's content and length."""
        self._sync(self._at(path), os.O_RDONLY)

    def rename(self, old: str, new: str) -> None:
        """Rename, replacing what was there."""
        self._at(old).replace(self._at(new))

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._at(path).unlink()

    def sync_directory(self, path: str) -> None:
        """Sync the names in a directory."""
        self._sync(self._at(path), os.O_RDONLY | os.O_DIRECTORY)

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Hold a lock file with flock."""
        return self._locked(self._at(path))

    @staticmethod
    @contextmanager
    def _locked(path: Path) -> Iterator[None]:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                yield
            finally:
                # Closing is not enough: a forked child shares the lock.
                fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            os.close(fd)

    @staticmethod
    def _sync(path: Path, flags: int) -> None:
        fd = os.open(path, flags | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _at(self, path: str) -> Path:
        relative = PurePosixPath(path)
        if relative.is_absolute() or ".." in relative.parts or "\0" in path:
            raise InvalidParameter("path", path, "relative to the disk's root and inside it")
        return self._root / relative
