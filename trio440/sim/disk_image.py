"""What a disk holds: files and names, which of it lasts, and what a power cut makes of the rest.

Every file is what programs read now, what is durable, and the changes between the two that no
sync has reached; directories are the same for names. The rules of survival are POSIX's, which
promises less than any one filesystem keeps:

- A synced file has its content and length, whatever became of its name; a name lasts when its
  directory was synced after it was made. (ext4 keeps the name of a synced new file as well; a
  program that counts on it is found out here.)
- Of each append that was not synced all, nothing or a part is left: a beginning, cut at a sector
  or at any byte, or some sectors without others. What is missing before a byte that is left, or
  before a length that is left, reads as zeros. Synced bytes are never harmed.
- A truncation that was not synced has happened or not.
- Each name is found in a state that it had since its directory was synced last. A rename is
  atomic: both its names change or neither does, also between two directories, where the sync of
  either makes it last.
- A sync that fails decides at once what of the changes before it reached the disk; the rest
  never will. Programs still read them until the power goes, and a later sync that succeeds says
  nothing about them.
"""

import random
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Final, Literal, TypeAlias

import attrs

__all__ = ["SECTOR", "Directory", "File", "NameChange", "Place", "Survival", "Volume"]

SECTOR: Final = 512
"""Bytes that a disk writes at once; counted from the start of the file."""

Survival: TypeAlias = Literal["random", "nothing", "everything"]
"""What of the unsynced changes outlives a power cut."""


@attrs.frozen
class _Append:
    offset: int
    data: bytes


@attrs.frozen
class _Truncate:
    size: int


@attrs.define(eq=False)
class File:
    """The bytes of a file; its names come and go."""

    content: bytearray = attrs.Factory(bytearray)
    """What a program reads."""
    durable: bytearray = attrs.Factory(bytearray)
    """What is left of it when the power goes and no unsynced change survives."""
    named: bool = True
    """Whether a program could still open it."""
    _unsynced: list[_Append | _Truncate] = attrs.Factory(list)

    def append(self, data: bytes) -> None:
        """Write at the end."""
        if data:
            self._unsynced.append(_Append(len(self.content), data))
            self.content += data

    def truncate(self, size: int) -> None:
        """Cut to ``size`` bytes."""
        self._unsynced.append(_Truncate(size))
        del self.content[size:]

    def sync(self) -> None:
        """Make durable what no failed sync has lost."""
        for change in self._unsynced:
            _land(self.durable, change)
        del self.durable[len(self.content) :]
        _extend(self.durable, len(self.content))
        self._unsynced.clear()

    def fail_sync(self, rng: random.Random) -> None:
        """Let some of the unsynced changes become durable, and the others never."""
        self.durable = self.surviving(rng, "random")
        self._unsynced.clear()

    def surviving(self, rng: random.Random, survival: Survival) -> bytearray:
        """Return what a power cut leaves."""
        image = bytearray(self.durable)
        if survival == "random":
            share = rng.random()
            for change in self._unsynced:
                _land_perhaps(image, change, rng, share)
        elif survival == "everything":
            for change in self._unsynced:
                _land(image, change)
        return image


@attrs.define(eq=False)
class Directory:
    """The names in a directory."""

    names: dict[str, "Directory | File"] = attrs.Factory(dict)
    """What a program sees."""
    durable: dict[str, "Directory | File"] = attrs.Factory(dict)
    """What is left when the power goes and no unsynced change survives."""


Place: TypeAlias = tuple[Directory, str]
"""A name in its directory."""


@attrs.frozen(eq=False)
class NameChange:
    """A name is made, removed, or both at once: a rename."""

    node: Directory | File
    made: Place | None = None
    gone: Place | None = None

    @property
    def places(self) -> tuple[Place, ...]:
        """The names that change."""
        return tuple(place for place in (self.gone, self.made) if place is not None)

    def apply(self, names_of: Callable[[Directory], dict[str, Directory | File]]) -> None:
        """Change the names in the dictionaries that ``names_of`` gives."""
        if self.gone is not None:
            names_of(self.gone[0]).pop(self.gone[1], None)
        if self.made is not None:
            names_of(self.made[0])[self.made[1]] = self.node


class Volume:
    """All directories and files of a disk."""

    def __init__(self, root: Directory) -> None:
        """Start with a tree in which everything is durable."""
        self.root = root
        self._unsynced: list[NameChange] = []

    def change(self, change: NameChange) -> None:
        """Change names as programs see them."""
        if change.made is not None:
            replaced = change.made[0].names.get(change.made[1])
            if isinstance(replaced, File):
                replaced.named = False
        elif isinstance(change.node, File):
            change.node.named = False
        change.apply(_seen)
        self._unsynced.append(change)

    def sync_names(self, directory: Directory) -> None:
        """Make the names in a directory durable, and what came before on the same names."""
        for change in self._take_changes(directory):
            change.apply(_durable)

    def fail_sync_names(self, directory: Directory, rng: random.Random) -> None:
        """Let some of the changes that a sync would take become durable, and the others never."""
        for change in _some_of(self._take_changes(directory), rng):
            change.apply(_durable)

    def files(self) -> Iterator[File]:
        """Iterate over the files that programs see."""
        waiting: list[Directory | File] = [self.root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, File):
                yield node
            else:
                waiting += node.names.values()

    def surviving(self, rng: random.Random, survival: Survival) -> "Volume":
        """Return what a power cut leaves, all of it durable; this volume stays as it is."""
        left: dict[Directory, dict[str, Directory | File]] = {}

        def names_of(directory: Directory) -> dict[str, Directory | File]:
            if directory not in left:
                left[directory] = dict(directory.durable)
            return left[directory]

        changes: list[NameChange] = []
        if survival == "random":
            changes = list(_some_of(self._unsynced, rng))
        elif survival == "everything":
            changes = self._unsynced
        for change in changes:
            change.apply(names_of)

        copies: dict[File, File] = {}

        def copied(file: File) -> File:
            if file not in copies:
                image = file.surviving(rng, survival)
                copies[file] = File(image, bytearray(image))
            return copies[file]

        def copied_directory(directory: Directory) -> Directory:
            names = {
                name: copied(node) if isinstance(node, File) else copied_directory(node)
                for name, node in sorted(names_of(directory).items(), key=itemgetter(0))
            }
            return Directory(names, dict(names))

        return Volume(copied_directory(self.root))

    def _take_changes(self, directory: Directory) -> list[NameChange]:
        """Take the unsynced changes in a directory, with earlier ones of the same names."""
        places: set[Place] = set()
        taken: list[NameChange] = []
        rest: list[NameChange] = []
        for change in reversed(self._unsynced):
            touched = change.places
            if any(place[0] is directory or place in places for place in touched):
                places.update(touched)
                taken.append(change)
            else:
                rest.append(change)
        self._unsynced = rest[::-1]
        return taken[::-1]


def _some_of(changes: list[NameChange], rng: random.Random) -> Iterator[NameChange]:
    """Choose changes so that each one comes with all earlier changes of its names."""
    share = rng.random()
    lost: set[Place] = set()
    for change in changes:
        if rng.random() < share and lost.isdisjoint(change.places):
            yield change
        else:
            lost.update(change.places)


def _seen(directory: Directory) -> dict[str, Directory | File]:
    return directory.names


def _durable(directory: Directory) -> dict[str, Directory | File]:
    return directory.durable


def _land(image: bytearray, change: _Append | _Truncate) -> None:
    if isinstance(change, _Truncate):
        del image[change.size :]
    else:
        _write(image, change.offset, change.data)


def _land_perhaps(
    image: bytearray, change: _Append | _Truncate, rng: random.Random, share: float
) -> None:
    """Let a change reach the disk with the probability ``share``; otherwise a part of it."""
    if rng.random() < share:
        _land(image, change)
    elif isinstance(change, _Append):
        fate = rng.choice(("lost", "lost", "byte", "sector", "sectors", "zeros"))
        end = change.offset + len(change.data)
        if fate == "byte":
            _write(image, change.offset, change.data[: rng.randrange(len(change.data))])
        elif fate == "sector":
            cut = rng.randrange(change.offset, end) // SECTOR * SECTOR
            _write(image, change.offset, change.data[: max(0, cut - change.offset)])
        elif fate == "sectors":
            _write_some_sectors(image, change, rng)
            if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
                _extend(image, end)
        elif fate == "zeros":
            _extend(image, end)


def _write_some_sectors(image: bytearray, change: _Append, rng: random.Random) -> None:
    start, end = change.offset, change.offset + len(change.data)
    for sector in range(start // SECTOR * SECTOR, end, SECTOR):
        if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
            first, last = max(start, sector), min(end, sector + SECTOR)
            _write(image, first, change.data[first - start : last - start])


def _write(image: bytearray, offset: int, data: bytes) -> None:
    if data:
        _extend(image, offset)
        image[offset : offset + len(data)] = data


def _extend(image: bytearray, size: int) -> None:
    image.extend(bytes(max(0, size - len(image))))
