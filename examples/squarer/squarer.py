"""The interface of a squarer, and one that keeps it."""

from typing import Protocol

import trio

from trio440.core import Chan

__all__ = ["GoodSquarer", "Squarer"]


class Squarer(Protocol):
    """Gives the square of each number of a channel, in order, each once.

    It has one number in flight: it takes the next when the square of the last has been received.
    It never closes the channel of numbers, and need not see it closed.
    """

    def start(self, numbers: Chan[int], nursery: trio.Nursery) -> Chan[int]:
        """Start in tasks of ``nursery`` and return the channel of squares.

        The squares end when the numbers have ended and the last square has been received.
        """

    async def close(self) -> None:
        """End the squares and return when every task is gone, whoever reads or writes.

        Takes no more numbers; the square in flight, if there is one, is dropped. Idempotent.
        """


class GoodSquarer:
    """One task, which waits in one channel at a time and can be cancelled in either."""

    def __init__(self) -> None:
        self._life = trio.CancelScope()
        self._over = trio.Event()

    def start(self, numbers: Chan[int], nursery: trio.Nursery) -> Chan[int]:
        """Start the task."""
        squares = Chan[int]()
        nursery.start_soon(self._square, numbers, squares)
        return squares

    async def close(self) -> None:
        """Cancel the task and wait for its end."""
        self._life.cancel()
        await self._over.wait()

    async def _square(self, numbers: Chan[int], squares: Chan[int]) -> None:
        try:
            with self._life, squares:
                async for number in numbers:
                    await squares.send(number * number)
        finally:
            self._over.set()
