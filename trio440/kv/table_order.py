"""Keys in the order of their bytes, sorted not before somebody asks for the order. Pure.

A table that is written far more often than it is listed pays for the order in bulk: new keys wait
unsorted and are merged, some thousands at a time, into sorted blocks::

    added {c, x}   removed {b}   blocks [a b d] [k m] [p z]   ──▶   [a c d] [k m] [p x z]
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, final

__all__ = ["KeyOrder"]

BLOCK: Final = 512
"""Keys of a block when it is made; it is cut when it has twice as many."""
WAITING: Final = 8192
"""So many changes wait at most, so that sorting them stops nobody for long."""


@final
class KeyOrder:
    """A set of keys, and their order."""

    def __init__(self) -> None:
        """Start empty."""
        self._blocks: list[list[bytes]] = []
        self._lasts: list[bytes] = []
        """The last key of each block."""
        self._added: set[bytes] = set()
        self._removed: set[bytes] = set()

    def add(self, key: bytes) -> None:
        """Add a key that is not there."""
        if key in self._removed:
            self._removed.remove(key)
            return
        self._added.add(key)
        if len(self._added) >= WAITING:
            self._settle()

    def remove(self, key: bytes) -> None:
        """Remove a key that is there."""
        if key in self._added:
            self._added.remove(key)
            return
        self._removed.add(key)
        if len(self._removed) >= WAITING:
            self._settle()

    def between(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        """Iterate over the keys from ``start`` to before ``end``, None: to the last one.

        Nothing is added or removed meanwhile.
        """
        self._settle()
        blocks, place = self._blocks, bisect_left(self._lasts, start)
        first = bisect_left(blocks[place], start) if place < len(blocks) else 0
        for block in islice(blocks, place, None):
            last = len(block) if end is None or block[-1] < end else bisect_left(block, end)
            yield from islice(block, first, last)
            if last < len(block):
                return
            first = 0

    def count(self, start: bytes, end: bytes | None) -> int:
        """Return how many keys there are from ``start`` to before ``end``."""
        if end is not None and end <= start:
            return 0
        self._settle()
        blocks, lasts = self._blocks, self._lasts
        first = bisect_left(lasts, start)
        last = len(lasts) if end is None else bisect_left(lasts, end)
        number = sum(map(len, islice(blocks, first, last)))
        if first < len(blocks):
            number -= bisect_left(blocks[first], start)
        if end is not None and last < len(blocks):
            number += bisect_left(blocks[last], end)
        return number

    def restore(self, keys: Sequence[bytes]) -> None:
        """Replace everything by keys that are in their order, each once."""
        self._added, self._removed = set(), set()
        self._blocks = [list(keys[at : at + BLOCK]) for at in range(0, len(keys), BLOCK)]
        self._lasts = [block[-1] for block in self._blocks]

    # Sorting

    def _settle(self) -> None:
        if self._removed:
            removed, self._removed = sorted(self._removed), set()
            self._take_out(removed)
        if self._added:
            added, self._added = sorted(self._added), set()
            self._merge(added)

    def _take_out(self, removed: list[bytes]) -> None:
        blocks, lasts = self._blocks, self._lasts
        for key in removed:
            block = blocks[bisect_left(lasts, key)]
            del block[bisect_left(block, key)]
        self._blocks = [block for block in blocks if block]
        self._lasts = [block[-1] for block in self._blocks]

    def _merge(self, added: list[bytes]) -> None:
        if not self._blocks:
            self.restore(added)
            return
        blocks, lasts = self._blocks, self._lasts
        done = place = 0
        while done < len(added):
            place = min(bisect_left(lasts, added[done], place), len(blocks) - 1)
            is_last = place == len(blocks) - 1
            until = len(added) if is_last else bisect_right(added, lasts[place], done)
            block = blocks[place]
            block += added[done:until]
            block.sort()  # two runs, which are merged
            lasts[place] = block[-1]
            done = until
        if any(len(block) > 2 * BLOCK for block in blocks):
            self._blocks = [part for block in blocks for part in _cut(block)]
            self._lasts = [block[-1] for block in self._blocks]


def _cut(block: list[bytes]) -> list[list[bytes]]:
    if len(block) <= 2 * BLOCK:
        return [block]
    return [block[at : at + BLOCK] for at in range(0, len(block), BLOCK)]
