"""Deliberate bugs in how Raft's snapshots travel and are installed."""

import zlib
from typing import Any, Final

import attrs

from tests.ablations.patching import Bugs, ablations_of, replaced
from trio440.raft.following import Following
from trio440.raft.membership import Configuration, Configurations
from trio440.raft.messages import InstallSnapshot, SnapshotMeta
from trio440.raft.storage import MemoryStorage

__all__ = ["ABLATIONS"]


def pieces_are_not_checked() -> Any:
    """A piece is kept whatever its CRC says."""

    def make(real: Any) -> Any:
        def install(self: Following, message: InstallSnapshot) -> None:
            real(self, attrs.evolve(message, checksum=zlib.crc32(message.data)))

        return install

    return replaced(Following, "install", make)


def pieces_come_in_any_order() -> Any:
    """Whatever piece arrives is taken for the next one."""

    def make(real: Any) -> Any:
        def install(self: Following, message: InstallSnapshot) -> None:
            meta, received = self._partial or (None, 0)
            if meta == message.meta and received + len(message.data) <= message.meta.size:
                message = attrs.evolve(message, offset=received)
            real(self, message)

        return install

    return replaced(Following, "install", make)


def whole_snapshots_are_not_checked() -> Any:
    """All pieces together are installed whatever their CRC says."""

    def make(real: Any) -> Any:
        def install(self: MemoryStorage, meta: SnapshotMeta) -> bool:
            if self._has_all_of(meta):
                own = attrs.evolve(meta, checksum=zlib.crc32(self._pieces))
                self._pieces_of = own
                real(self, own)
                self._stored = attrs.evolve(self._require(), snapshot=meta)
                return True
            return bool(real(self, meta))

        return install

    return replaced(MemoryStorage, "install_now", make)


def snapshots_are_installed_without_their_members() -> Any:
    """Who installs a snapshot goes on with the members that it knew."""

    def make(real: Any) -> Any:
        def restart(self: Configurations, index: int, members: Configuration) -> None:
            real(self, index, self.current if self.current.members else members)

        return restart

    return replaced(Configurations, "restart", make)


BUGS: Final[Bugs] = {
    pieces_are_not_checked: ("keeps damaged pieces of snapshots", "garbled", 60),
    pieces_come_in_any_order: ("takes any piece for the next one", "shuffled", 100, 25),
    whole_snapshots_are_not_checked: ("installs what was misread", "crashes", 100, 20),
    snapshots_are_installed_without_their_members: ("keeps its old members", "shuffled", 60),
}

ABLATIONS: Final = ablations_of("raft", "A", BUGS)
"""Deliberate bugs that the simulator has to find: ``trio440 sim ablations``."""
