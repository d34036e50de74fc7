"""Lost disks in Raft's worlds: whose may be lost, and under which id its machine joins again.

A world never loses more disks than its members bear: what is committed must be on a disk that is
left, and those who are left must be able to remove the others. That goes for the members whom a
change leads to as well, from the moment that a leader has it in its log: a log with that change
is longer than others, and who has it can only win among those members.
"""

import random
from collections.abc import Iterable
from typing import Final

from trio440.raft.membership import LARGEST_STORE, Configuration

__all__ = ["Losses", "host_of", "successor_of"]

OFTEN: Final = 0.4
"""How likely a crash loses the disk, in a world where that may happen."""
SUFFIXES: Final = "bcdefgh"
_HOST_LETTERS: Final = 2


def host_of(name: str) -> str:
    """Return the machine of a peer: that of n2, n2b, n2c, ... is n2."""
    return name[:_HOST_LETTERS]


class Losses:
    """Whose disks were lost."""

    def __init__(self, rng: random.Random, *, may_happen: bool) -> None:
        """Lose none, if nothing may happen."""
        self.names: set[str] = set()
        """The ids of peers that have lost their disks."""
        self.is_sworn = rng.random() < 0.5  # noqa: PLR2004 - a fair coin
        """Whether the first members start on an oath: one loss at a time is borne then."""
        self._rng = rng
        self._may_happen = rng.random() < 0.5 and may_happen  # noqa: PLR2004 - a fair coin

    def draw_store(self) -> int:
        """Return the number of a new store."""
        return self._rng.randint(1, LARGEST_STORE)

    def strikes(self, name: str, configurations: Iterable[Configuration]) -> bool:
        """Whether a crash takes this voter's disk with it; all configurations bear that then."""
        if not self._may_happen or self._rng.random() >= OFTEN:
            return False
        seen = list(configurations)
        members = {peer for configuration in seen for peer in configuration.members}
        if self.is_sworn and self.names & members:
            return False
        lost = self.names | {name}
        groups = [group for seen_one in seen for group in seen_one.majorities]
        if not all(2 * len(lost.intersection(group)) < len(group) for group in groups if group):
            return False
        self.names.add(name)
        return True

    def rest(self, names: Iterable[str]) -> list[str]:
        """Return those whose disks are not lost."""
        return [name for name in names if name not in self.names]


def successor_of(name: str) -> str:
    """Return the next id on the same machine."""
    suffix = name[_HOST_LETTERS:]
    place = SUFFIXES.index(suffix) + 1 if suffix else 0
    return host_of(name) + SUFFIXES[place]
