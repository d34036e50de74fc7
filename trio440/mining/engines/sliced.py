"""An engine made of lanes that work on one short slice after another.

A lane is one thread or one process. Slices are short, so that whatever asks a search to stop
need only wait for the slices under way, and as long as a lane's speed allows, so that handing
them out costs little.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import trio

from trio440.core.host import Clock
from trio440.core.lifetimes import open_service_nursery
from trio440.mining.hashing import Found, prefix_of
from trio440.mining.ranges import NonceRange

__all__ = ["Lane", "SlicedEngine"]

FIRST_SLICE: Final = 4096
"""Nonces of the first slice of a lane; the next ones go by its measured speed."""
MAX_GROWTH: Final = 8
"""A slice is at most so many times as large as the one before."""


class Lane(Protocol):
    """One thread or process."""

    async def search(self, prefix: bytes, nonces: NonceRange) -> Found:
        """Return the least hash of ``prefix`` and a nonce's digits over a slice.

        Cancelled: returns at once; the lane ends the slice by itself, or drops it.
        """


class SlicedEngine:
    """A :class:`~trio440.mining.hashing.HashEngine` of several lanes."""

    def __init__(
        self, name: str, lanes: Sequence[Lane], *, slice_seconds: float, clock: Clock
    ) -> None:
        """Bundle lanes.

        Args:
            name: the engine's name.
            lanes: the threads or processes, at least one.
            slice_seconds: how long a slice is to take.
            clock: measures the lanes.
        """
        self._name = name
        self._lanes = lanes
        self._slice_seconds = slice_seconds
        self._clock = clock
        self._slices = [FIRST_SLICE] * len(lanes)
        self._busy = False

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._name

    @property
    def lanes(self) -> int:
        """How many threads or processes work at once."""
        return len(self._lanes)

    async def search(self, text: str, nonces: NonceRange) -> Found:
        """Return the least hash of ``text`` over ``nonces``; the event loop runs on meanwhile.

        Cancelled: at once; the lanes stop when their slices end.

        Raises:
            trio.BusyResourceError: another search is under way.
            EngineFailed: a process of the engine has died.
        """
        if self._busy:
            raise trio.BusyResourceError("this engine is searching for somebody else")
        self._busy = True
        try:
            return await self._share_out(prefix_of(text), nonces)
        finally:
            self._busy = False

    async def _share_out(self, prefix: bytes, nonces: NonceRange) -> Found:
        rest: NonceRange | None = nonces
        best: Found | None = None
        idle_lanes = 0
        over = trio.Event()

        async def work(number: int) -> None:
            nonlocal rest, best, idle_lanes
            while rest is not None:
                part, rest = rest.split(self._slices[number])
                found = await self._search_slice(number, prefix, part)
                best = found if best is None else min(best, found)
            idle_lanes += 1
            if idle_lanes == len(self._lanes):
                over.set()

        async with open_service_nursery() as nursery:
            for number in range(len(self._lanes)):
                nursery.start_soon(work, number)
            await over.wait()
        if best is None:
            raise AssertionError("a range is never empty")
        return best

    async def _search_slice(self, number: int, prefix: bytes, part: NonceRange) -> Found:
        """Search one slice, and size the lane's next one by the time this one took."""
        began = self._clock.now()
        found = await self._lanes[number].search(prefix, part)
        seconds = max(self._clock.now() - began, 1e-6)
        fitting = int(part.size * self._slice_seconds / seconds)
        if part.size >= self._slices[number] // 2:  # the end of a range says little
            self._slices[number] = max(1, min(fitting, self._slices[number] * MAX_GROWTH))
        return found
