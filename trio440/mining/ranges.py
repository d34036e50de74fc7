"""Ranges of nonces, both ends included, and sets of them. Pure.

A job may ask for all 2⁶⁴ nonces, so nothing here ever counts them one by one: a set of nonces
is a sorted list of ranges that neither overlap nor touch.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from trio440.errors import InvalidParameter

__all__ = ["MAX_NONCE", "NonceRange", "NonceSet"]

MAX_NONCE: Final = 2**64 - 1
"""The highest nonce, and the highest hash: both are unsigned 64-bit numbers."""


@attrs.frozen(order=True)
class NonceRange:
    """The nonces from ``lower`` to ``upper``, both included; never empty.

    Raises:
        InvalidParameter: an end is below 0 or above :data:`MAX_NONCE`, or they are reversed.
    """

    lower: int
    upper: int

    def __attrs_post_init__(self) -> None:
        for name, value in (("lower nonce", self.lower), ("upper nonce", self.upper)):
            if not 0 <= value <= MAX_NONCE:
                raise InvalidParameter(name, value, f"from 0 to {MAX_NONCE}")
        if self.lower > self.upper:
            raise InvalidParameter("lower nonce", self.lower, f"at most the upper, {self.upper}")

    @property
    def size(self) -> int:
        """How many nonces there are, 1 to 2⁶⁴."""
        return self.upper - self.lower + 1

    def __contains__(self, nonce: int) -> bool:
        return self.lower <= nonce <= self.upper

    def first(self, count: int) -> "NonceRange":
        """Return the ``count`` lowest nonces (at least 1), or all when there are fewer."""
        return NonceRange(self.lower, min(self.upper, self.lower + count - 1))

    def split(self, count: int) -> "tuple[NonceRange, NonceRange | None]":
        """Return the ``count`` lowest nonces (at least 1) and the rest, None if there is none."""
        low = self.first(count)
        return low, NonceRange(low.upper + 1, self.upper) if low.upper < self.upper else None


class NonceSet:
    """A set of nonces; its memory grows with the number of gaps in it, not with its size."""

    __slots__ = ("_lowers", "_uppers")

    def __init__(self, ranges: Iterable[NonceRange] = ()) -> None:
        """Start with the nonces of ``ranges``, which may overlap."""
        self._lowers: list[int] = []
        self._uppers: list[int] = []
        for nonces in ranges:
            self.add(nonces)

    def __iter__(self) -> Iterator[NonceRange]:
        """Yield the ranges from low to high; there is a gap between any two."""
        return map(NonceRange, self._lowers, self._uppers)

    def __bool__(self) -> bool:
        return bool(self._lowers)

    def __repr__(self) -> str:
        return f"NonceSet({list(self)})"

    @property
    def size(self) -> int:
        """How many nonces are in the set."""
        return sum(self._uppers) - sum(self._lowers) + len(self._lowers)

    @property
    def gaps(self) -> int:
        """How many ranges the set is made of, the measure of its memory."""
        return len(self._lowers)

    def add(self, nonces: NonceRange) -> None:
        """Put a range in, joining what it overlaps or touches."""
        start = bisect_left(self._uppers, nonces.lower - 1)
        end = bisect_right(self._lowers, nonces.upper + 1)
        lower, upper = nonces.lower, nonces.upper
        if start < end:
            lower = min(lower, self._lowers[start])
            upper = max(upper, self._uppers[end - 1])
        self._lowers[start:end] = [lower]
        self._uppers[start:end] = [upper]

    def remove(self, nonces: NonceRange) -> None:
        """Take a range out; what of it is not in the set is passed over."""
        start = bisect_left(self._uppers, nonces.lower)
        end = bisect_right(self._lowers, nonces.upper)
        if start >= end:
            return
        lowers: list[int] = []
        uppers: list[int] = []
        if self._lowers[start] < nonces.lower:
            lowers.append(self._lowers[start])
            uppers.append(nonces.lower - 1)
        if self._uppers[end - 1] > nonces.upper:
            lowers.append(nonces.upper + 1)
            uppers.append(self._uppers[end - 1])
        self._lowers[start:end] = lowers
        self._uppers[start:end] = uppers

    def within(self, nonces: NonceRange) -> "NonceSet":
        """Return a new set of the nonces that are also in ``nonces``."""
        start = bisect_left(self._uppers, nonces.lower)
        end = bisect_right(self._lowers, nonces.upper)
        part = NonceSet()
        part._lowers = self._lowers[start:end]
        part._uppers = self._uppers[start:end]
        if start < end:
            part._lowers[0] = max(part._lowers[0], nonces.lower)
            part._uppers[-1] = min(part._uppers[-1], nonces.upper)
        return part

    def without(self, ranges: Iterable[NonceRange]) -> "NonceSet":
        """Return a new set that lacks the nonces of ``ranges``."""
        rest = NonceSet()
        rest._lowers = self._lowers.copy()
        rest._uppers = self._uppers.copy()
        for nonces in ranges:
            rest.remove(nonces)
        return rest

    def lowest(self, count: int) -> list[NonceRange]:
        """Return the ``count`` lowest ranges, or all when there are fewer."""
        return list(map(NonceRange, self._lowers[:count], self._uppers[:count]))
