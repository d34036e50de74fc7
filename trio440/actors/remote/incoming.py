"""What has come from one life of another system: each parcel counts once, and in order. Pure.

Two connections of one sender may overlap: what an old one still carries comes behind what a new
one has brought. So parcels have numbers, and so have links: one that was given up is followed by
another, whose parcels are counted anew. Of the casual stream a batch counts if it is newer than
all that has come; of the sure one, if it is the next, and of one that has come in part the rest.
"""

from typing import Final, final

__all__ = ["Incoming"]


@final
class Incoming:
    """How far the two streams of one link have come."""

    __slots__ = ("_casual", "link", "sure")

    def __init__(self, link: int) -> None:
        self.link: Final = link
        """Its number."""
        self._casual = 0
        self.sure = 0
        """The number up to which all sure parcels have come."""

    def admit_casual(self, first: int, count: int) -> bool:
        """Take in a batch of the casual stream; False: it is older than what has come."""
        if first <= self._casual:
            return False
        self._casual = first + count - 1
        return True

    def admit_sure(self, first: int, count: int) -> int:
        """Take in a batch of the sure stream, and return how many of its first have come before.

        As many as there are: it is of no use, also since others are to come before it.
        """
        if first > self.sure + 1:
            return count
        known = min(self.sure + 1 - first, count)
        self.sure += count - known
        return known
