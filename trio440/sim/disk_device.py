"""What is done to a simulated disk, operation by operation, and what may happen in its stead."""

import errno
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from trio440.errors import InvalidParameter
from trio440.sim.disk_image import Directory, File, NameChange, Volume
from trio440.sim.power import PowerCut

__all__ = ["Device", "problem"]

_MEANINGS: Final = {
    errno.EAGAIN: "Resource temporarily unavailable",
    errno.EBADF: "Bad file descriptor",
    errno.EEXIST: "File exists",
    errno.EIO: "Input/output error",
    errno.EISDIR: "Is a directory",
    errno.ENOENT: "No such file or directory",
    errno.ENOSPC: "No space left on device",
    errno.ENOTDIR: "Not a directory",
}


def problem(code: int, path: str | None = None) -> OSError:
    """Return the OSError of the fitting kind for an error code, about ``path``."""
    meaning = _MEANINGS.get(code) or errno.errorcode.get(code, "error")
    return OSError(code, meaning) if path is None else OSError(code, meaning, path)


class Device:
    """The operations on the files and names of a disk, with switches for what may go wrong.

    An *operation* is whatever changes the disk or makes a change last: an append, a truncation,
    a file's sync, a name that is made, renamed or removed, a directory's sync. Operations are
    numbered from 0, so that a test can fail or end the world at each of them in turn. Reading
    and closing are none.

    Attributes:
        full: while True, appends and new names fail with ENOSPC.
        capacity: bytes that all named files may have together; an append that passes it writes
            what has room and fails with ENOSPC. None is no limit.
        error_share: the probability, 0 to 1, that an append or a sync fails with EIO, drawn from
            the disk's generator. A beginning of the append, of any length, was then written; of
            the changes that a failed sync should have made last some did, and the rest never
            will, though a later sync succeeds.
        operations: how many operations there were: the number of the next.
        syncs: how many of them were syncs, of files and of directories.
        on_operation: called with the kind of each operation and one line of text before it takes
            effect; an error that it will end with is named in the text. Kinds: ``append``,
            ``truncate``, ``sync``, ``create``, ``mkdir``, ``rename``, ``remove``, ``sync names``.
        on_power_cut: called once when :meth:`cut_power_at` has fenced the disk, before the
            operation raises.
    """

    def __init__(self, rng: random.Random, volume: Volume, capacity: int | None) -> None:
        """Start with what is on ``volume``; see :class:`trio440.sim.disk.SimDisk`."""
        if capacity is not None and capacity < 0:
            raise InvalidParameter("capacity", capacity, "at least 0")
        self.full = False
        self.capacity = capacity
        self.error_share = 0.0
        self.operations = 0
        self.syncs = 0
        self.on_operation: Callable[[str, str], None] | None = None
        self.on_power_cut: Callable[[], None] | None = None
        self._rng = rng
        self._volume = volume
        self._used = sum(len(file.content) for file in volume.files())
        self._powered = True
        self._failures: dict[int, int] = {}
        self._cut_before: int | None = None
        self._cut_after: int | None = None
        self._locked: set[File] = set()

    def fence(self) -> None:
        """End it: from now on every tree and file of this disk raises ``PowerCut``.

        Leaving a lock's context does not raise, and touches nothing.
        """
        self._powered = False

    def fail_at(self, op: int, code: int) -> None:
        """Let operation number ``op`` fail with this error (:mod:`errno`), as ``error_share`` does.

        Raises:
            InvalidParameter: there was an operation of that number already.
        """
        self._check_planned(op)
        self._failures[op] = code

    def cut_power_at(self, op: int, *, after: bool = False) -> None:
        """Let the power go at operation number ``op``: it raises ``PowerCut``.

        The disk is then fenced. An earlier plan is forgotten.

        Args:
            op: the number, at least :attr:`operations`.
            after: the operation takes effect (in the cache, unless it is a sync) and its caller
                never learns; otherwise it does nothing.

        Raises:
            InvalidParameter: there was an operation of that number already.
        """
        self._check_planned(op)
        self._cut_before, self._cut_after = (None, op) if after else (op, None)

    # What the trees and open files do; ``path`` is for errors and the trace.

    def check_power(self) -> None:
        """Raise PowerCut when the machine is dead."""
        if not self._powered:
            raise PowerCut

    def append(self, file: File, path: str, data: bytes) -> None:
        """Write at the end of a file."""
        room = len(data)
        if self.full:
            room = 0
        elif self.capacity is not None and file.named:
            room = min(room, max(0, self.capacity - self._used))

        def write(size: int) -> None:
            file.append(data[:size])
            self._used += size if file.named else 0

        def write_a_part(code: int) -> None:
            write(room if code == errno.ENOSPC else self._rng.randint(0, room))

        self._operate(
            "append",
            path,
            lambda: write(len(data)),
            detail=f" {len(data)} bytes at {len(file.content)}",
            code=errno.ENOSPC if room < len(data) else 0,
            failing=write_a_part,
            may_err=True,
        )

    def truncate(self, file: File, path: str, size: int) -> None:
        """Cut a file to a size that it has."""

        def cut() -> None:
            self._used -= len(file.content) - size if file.named else 0
            file.truncate(size)

        self._operate("truncate", path, cut, detail=f" to {size} bytes")

    def sync(self, file: File, path: str) -> None:
        """Make a file's content last."""

        def lose_some(_: int) -> None:
            file.fail_sync(self._rng)

        self.check_power()
        self.syncs += 1
        self._operate("sync", path, file.sync, failing=lose_some, may_err=True)

    def sync_names(self, directory: Directory, path: str) -> None:
        """Make a directory's names last."""

        def keep_all() -> None:
            self._volume.sync_names(directory)

        def lose_some(_: int) -> None:
            self._volume.fail_sync_names(directory, self._rng)

        self.check_power()
        self.syncs += 1
        self._operate("sync names", path, keep_all, failing=lose_some, may_err=True)

    def change_names(self, kind: str, path: str, change: NameChange, detail: str = "") -> None:
        """Make, remove or rename a name."""

        def effect() -> None:
            self._used -= _freed(change)
            self._volume.change(change)

        makes_only = change.gone is None
        code = errno.ENOSPC if self.full and makes_only else 0
        self._operate(kind, path, effect, detail=detail, code=code)

    @contextmanager
    def lock(self, file: File, path: str) -> Iterator[None]:
        """Hold a file, while the machine lives."""
        if file in self._locked:
            raise problem(errno.EAGAIN, path)
        self._locked.add(file)
        try:
            yield
        finally:
            self._locked.discard(file)

    def _check_planned(self, op: int) -> None:
        if op < self.operations:
            raise InvalidParameter("op", op, f"at least {self.operations}, the next operation")

    def _operate(
        self,
        kind: str,
        path: str,
        effect: Callable[[], None],
        *,
        detail: str = "",
        code: int = 0,
        failing: Callable[[int], None] | None = None,
        may_err: bool = False,
    ) -> None:
        """Do one operation, or what is planned or drawn in its stead.

        ``code`` is an error it ends with in any case, ``failing`` what it does when it fails.
        """
        self.check_power()
        number = self.operations
        self.operations = number + 1
        if number == self._cut_before:
            self._lose_power()
        code = self._failures.pop(number, code)
        if may_err and self.error_share and self._rng.random() < self.error_share:
            code = code or errno.EIO
        if self.on_operation is not None:
            outcome = f": {errno.errorcode.get(code, code)}" if code else ""
            self.on_operation(kind, f"{path}{detail}{outcome}")
        if not code:
            effect()
        elif failing is not None:
            failing(code)
        if number == self._cut_after:
            self._lose_power()
        if code:
            raise problem(code, path)

    def _lose_power(self) -> None:
        self.fence()
        if self.on_power_cut is not None:
            self.on_power_cut()
        raise PowerCut


def _freed(change: NameChange) -> int:
    """Return the bytes of the file that loses its last name."""
    lost = change.node
    if change.made is not None:
        replaced = change.made[0].names.get(change.made[1])
        if replaced is None:
            return 0
        lost = replaced
    return len(lost.content) if isinstance(lost, File) else 0
