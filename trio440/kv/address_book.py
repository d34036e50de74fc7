"""Where other servers listen: a short list in a file, which the next life of a server begins with.

What is in it is advice, so a disk that does not read or write it is no error here: whoever relies
on the same disk has a journal there, which will tell.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, final

from trio440.core.host import Disk, Host

__all__ = ["AddressBook"]

MOST: Final = 128
"""Lines; the one that was noted first makes room for one more."""
MOST_NOTED: Final = 10_000
"""In one life; anybody may make up more."""
LONGEST: Final = 1000
NEW: Final = ".new"


@final
class AddressBook:
    """Lines of text, the last ones of those that were noted."""

    def __init__(self, directory: str | None, file: str, ports: Host) -> None:
        """Begin empty; :meth:`load` reads what there is.

        Args:
            directory: where its file is, made when it is absent; None: nothing is kept.
            file: its name.
            ports: the machine to run on.
        """
        self._directory = directory
        self._file = file
        self._ports = ports
        self._lines: dict[str, None] = {}
        self._noted: set[str] = set()

    @property
    def lines(self) -> tuple[str, ...]:
        """What it holds."""
        return tuple(self._lines)

    async def load(self) -> None:
        """Read the file; what is no such file holds nothing."""
        if self._directory is not None:
            async with self._ports.blocking.open_worker("trio440 addresses") as worker:
                lines = await worker.run(_read, self._ports, self._directory, self._file)
            self._lines = dict.fromkeys(lines)

    async def note(self, lines: Iterable[str]) -> None:
        """Add those that are new in this life, at the end. One task at a time does so.

        What had to make room is not new: else many lines would take turns, and the file no rest.
        """
        new = [line for line in lines if line not in self._noted]
        if new and len(self._noted) < MOST_NOTED:
            self._noted.update(new)
            await self.replace([*(line for line in self._lines if line not in new), *new])

    async def replace(self, lines: Iterable[str]) -> None:
        """Hold these in the place of all others, and write the file if that is a change."""
        kept = [*dict.fromkeys(lines)][-MOST:]
        if kept == [*self._lines]:
            return
        self._lines = dict.fromkeys(kept)
        if self._directory is not None:
            async with self._ports.blocking.open_worker("trio440 addresses") as worker:
                await worker.run(_write, self._ports, self._directory, self._file, kept)


def _read(ports: Host, directory: str, name: str) -> list[str]:
    try:
        said: Any = json.loads(ports.disk(directory).read(name))
    except (OSError, ValueError, RecursionError):
        return []
    lines = said if isinstance(said, list) else []
    return [line for line in lines if isinstance(line, str) and len(line) <= LONGEST][-MOST:]


def _write(ports: Host, directory: str, name: str, lines: list[str]) -> None:
    """Put a new file in the place of the old one, at one moment."""
    with suppress(OSError):
        disk, new = ports.disk(directory), name + NEW
        _remove(disk, new)
        file = disk.open_append(new)
        try:
            file.append(json.dumps(lines).encode())
            file.sync()
        finally:
            file.close()
        disk.rename(new, name)
        disk.sync_directory("")


def _remove(disk: Disk, path: str) -> None:
    """Remove what a life that ended in the middle has left."""
    if disk.exists(path):
        disk.remove(path)
