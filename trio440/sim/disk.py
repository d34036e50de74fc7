"""The disk of a simulated machine: it may fail, fill up, and lose power at any operation.

:class:`SimDisk` is the machine's whole disk, in memory; :meth:`SimDisk.tree` is what its programs
get. What a power cut leaves is the business of :mod:`trio440.sim.disk_image`, where the rules
are. Whatever is left to chance comes from generators that the caller passes in.
"""

import errno
import random
from pathlib import PurePosixPath
from typing import Final

from trio440.core.host import Disk
from trio440.errors import InvalidParameter
from trio440.sim.disk_device import Device, problem
from trio440.sim.disk_image import Directory, File, Survival, Volume
from trio440.sim.disk_tree import DiskTree, find

__all__ = ["SimDisk", "Survival"]

BITS: Final = 8


class SimDisk(Device):
    """All files of one machine; :class:`~trio440.sim.disk_device.Device` has the switches."""

    def __init__(
        self, rng: random.Random, *, capacity: int | None = None, volume: Volume | None = None
    ) -> None:
        """Make a disk.

        Args:
            rng: decides which operations fail, and how.
            capacity: the most bytes of content, 0 or more; None is no limit.
            volume: what is on it; None is an empty disk.

        Raises:
            InvalidParameter: the capacity is negative.
        """
        super().__init__(rng, Volume(Directory()) if volume is None else volume, capacity)

    def tree(self, root: str) -> Disk:
        """Open the tree below a directory, made when absent; it and its parents are durable.

        Args:
            root: an absolute path of this machine, or one relative to ``/``.

        Raises:
            OSError: a file is in the way.
            InvalidParameter: the path contains ``..`` or NUL.
            PowerCut: the machine is dead.
        """
        self.check_power()
        parts = _parts(root)
        if ".." in parts or "\0" in root:
            raise InvalidParameter("root", root, "a path without .. and NUL")
        directory = self._volume.root
        for part in parts:
            node = directory.names.setdefault(part, Directory())
            if isinstance(node, File):
                raise problem(errno.ENOTDIR, root)
            directory.durable[part] = node
            directory = node
        return DiskTree(self, directory, "".join(f"/{part}" for part in parts))

    def crash(self, rng: random.Random, survival: Survival = "random") -> "SimDisk":
        """Fence this disk and return the one that the machine finds after the power cut.

        Capacity, ``full``, ``error_share`` and ``on_operation`` go over to it, locks and plans
        do not; its operations count from 0. Called again, it gives another image of the same
        moment.

        Args:
            rng: decides what survives.
            survival: ``"random"``; ``"nothing"``: only what is durable; ``"everything"``: all
                that no failed sync has lost.
        """
        self.fence()
        after = self.image(rng, survival)
        after.full, after.error_share = self.full, self.error_share
        after.on_operation = self.on_operation
        return after

    def image(self, rng: random.Random, survival: Survival = "random") -> "SimDisk":
        """Return a disk as a power cut at this moment would leave it; this one goes on.

        It has no faults, and nobody is told of its operations. The arguments are those of
        :meth:`crash`.
        """
        left = self._volume.surviving(rng, survival)
        return SimDisk(self._rng, capacity=self.capacity, volume=left)

    def flip(self, path: str, bit: int) -> None:
        """Flip one bit of a file's durable content, and of what programs read.

        Args:
            path: from the root of the machine, as given to :meth:`tree` with the path behind it.
            bit: its number, from 0 at the lowest bit of the first byte.

        Raises:
            OSError: no file has that name.
            InvalidParameter: the file's durable content does not have that bit.
        """
        node = find(self._volume.root, _parts(path), path)
        if isinstance(node, Directory):
            raise problem(errno.EISDIR, path)
        bits = len(node.durable) * BITS
        if not 0 <= bit < bits:
            raise InvalidParameter("bit", bit, f"a bit of the {bits} that are durable")
        place, mask = bit // BITS, 1 << bit % BITS
        node.durable[place] ^= mask
        if place < len(node.content):
            node.content[place] ^= mask


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath("/", path).parts[1:]
