"""The order in which members are probed. Pure.

SWIM, section 4.3: round-robin over a shuffled list, and a newcomer goes to a random place in it;
so between two probes of a member there are at most 2n - 2 others, which bounds the time until its
failure is seen by any one member.
"""

import random
from collections.abc import Sequence

__all__ = ["ProbeRing"]


class ProbeRing:
    """The addresses of the live members other than oneself."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._order: list[str] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._order)

    def add(self, address: str) -> None:
        """Put a newcomer anywhere in the round."""
        place = self._rng.randint(0, len(self._order))
        self._order.insert(place, address)
        if place < self._next:
            self._next += 1

    def remove(self, address: str) -> None:
        """Take a member out of the round."""
        place = self._order.index(address)
        del self._order[place]
        if place < self._next:
            self._next -= 1

    def next(self) -> str | None:
        """Return whose turn it is; None if there is nobody. Each round is shuffled anew."""
        if self._next >= len(self._order):
            self._rng.shuffle(self._order)
            self._next = 0
        if not self._order:
            return None
        self._next += 1
        return self._order[self._next - 1]

    def sample(self, count: int, without: str = "") -> Sequence[str]:
        """Draw up to ``count`` different members, none of them ``without``."""
        drawn = self._rng.sample(self._order, min(count + 1, len(self._order)))
        return [address for address in drawn if address != without][:count]
