"""How much memory a server's connections take together, and who goes where it is too much. Pure.

Each connection is bounded by itself, but a thousand of them together are not, nor are a thousand
handlers of one: whoever opens many and sends half of a long request on each, calls what waits, or
takes none of the long answers that he asks for, would fill the memory.
"""

from typing import Final, Generic, TypeVar

__all__ = ["SMALL_BYTES", "Holdings"]

SMALL_BYTES: Final = 65_536
"""So much of a connection does not count: it is what one read may bring."""

HolderT = TypeVar("HolderT")


class Holdings(Generic[HolderT]):
    """Who holds how much."""

    def __init__(self, limit: int) -> None:
        """Begin with nobody; all together may hold ``limit`` bytes."""
        self._limit = limit
        self._held: dict[HolderT, int] = {}
        self._total = 0

    def hold(self, holder: HolderT, count: int) -> HolderT | None:
        """Say how much somebody holds; return who is to give all of it up, if it is too much.

        It is who holds most, the later one of two: whoever keeps to little is safe. To be called
        again until it returns None, after :meth:`drop`.
        """
        before = self._held.pop(holder, 0)
        if count > SMALL_BYTES:
            self._held[holder] = count
        self._total += self._held.get(holder, 0) - before
        if self._total <= self._limit:
            return None
        return max(reversed(self._held), key=self._held.__getitem__)

    def of(self, holder: HolderT) -> int:
        """Return what somebody said last, 0 where that does not count."""
        return self._held.get(holder, 0)

    def drop(self, holder: HolderT) -> None:
        """Somebody holds nothing any more; idempotent."""
        self._total -= self._held.pop(holder, 0)
