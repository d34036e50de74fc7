"""Squarers with one fault each; most would pass a test that sends a number and reads a square.

``CAUGHT_BY`` tells which checks of the suite catch each, the one named for its fault first.
"""

from contextlib import suppress
from typing import Final

import trio

from examples.squarer.squarer import Squarer
from trio440.core import Chan, Received, select

__all__ = ["CAUGHT_BY"]


class _Squarer:
    """What the faulty ones share: one task for ``work``, and the good way to close it."""

    def __init__(self) -> None:
        self._life = trio.CancelScope()
        self._over = trio.Event()
        self._numbers = Chan[int]()
        self._quit = Chan[None]()

    def start(self, numbers: Chan[int], nursery: trio.Nursery) -> Chan[int]:
        squares = Chan[int]()
        self._numbers = numbers
        nursery.start_soon(self._run, numbers, squares)
        return squares

    async def close(self) -> None:
        self._life.cancel()
        await self._over.wait()

    async def work(self, numbers: Chan[int], squares: Chan[int]) -> None:
        async for number in numbers:
            await squares.send(number * number)

    async def _run(self, numbers: Chan[int], squares: Chan[int]) -> None:
        try:
            with self._life, squares:
                await self.work(numbers, squares)
        finally:
            self._over.set()


class LosesWhatIsCancelled(_Squarer):
    """Does not wait for a reader for ever, and forgets what it waited with."""

    async def work(self, numbers: Chan[int], squares: Chan[int]) -> None:
        async for number in numbers:
            with trio.move_on_after(5):
                await squares.send(number * number)


class ReordersUnderLoad(_Squarer):
    """Takes a second number if several are waiting, and serves the newer first."""

    async def work(self, numbers: Chan[int], squares: Chan[int]) -> None:
        async for number in numbers:
            stack = [number]
            if numbers.statistics().current_buffer_used > 1:
                stack.append(numbers.receive_nowait())
            while stack:
                await squares.send(stack.pop() ** 2)


class SwallowsOnClose(_Squarer):
    """Empties its input when it is closed, so that no writer is left waiting."""

    async def close(self) -> None:
        await super().close()
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                self._numbers.receive_nowait()


class LeavesATask(_Squarer):
    """Tells its task to go, and does not look whether it went."""

    async def close(self) -> None:
        self._life.cancel()


class SquaresTwice(_Squarer):
    """Is right for 0 and 1."""

    async def work(self, numbers: Chan[int], squares: Chan[int]) -> None:
        async for number in numbers:
            square = number * number
            await squares.send(square * square)


class SendsTwice(_Squarer):
    """Is not sure that a reader who came late has got it, and sends it again."""

    async def work(self, numbers: Chan[int], squares: Chan[int]) -> None:
        async for number in numbers:
            start = trio.current_time()
            await squares.send(number * number)
            if trio.current_time() - start > 10:
                await squares.send(number * number)


class BlocksClose(_Squarer):
    """Hears that it shall quit only where it waits for a number."""

    async def work(self, numbers: Chan[int], squares: Chan[int]) -> None:
        while True:
            match await select(numbers.receiving(), self._quit.receiving()):
                case 0, Received(number):
                    await squares.send(number * number)
                case _:
                    return

    async def close(self) -> None:
        self._quit.close()
        await self._over.wait()


class NeedsItsInputClosed(_Squarer):
    """Hears that it shall quit only where it waits for a reader."""

    async def work(self, numbers: Chan[int], squares: Chan[int]) -> None:
        async for number in numbers:
            match await select(squares.sending(number * number), self._quit.receiving()):
                case 1, _:
                    return

    async def close(self) -> None:
        self._quit.close()
        await self._over.wait()


class TakesTwo(_Squarer):
    """Gives the channel of squares a buffer, and so has two numbers in flight."""

    def start(self, numbers: Chan[int], nursery: trio.Nursery) -> Chan[int]:
        squares = Chan[int](1)
        nursery.start_soon(self._run, numbers, squares)
        return squares


class Polls(_Squarer):
    """Looks for a number a hundred times a second."""

    async def work(self, numbers: Chan[int], squares: Chan[int]) -> None:
        while True:
            try:
                number = numbers.receive_nowait()
            except trio.WouldBlock:
                await trio.sleep(0.01)
                continue
            except trio.EndOfChannel:
                return
            await squares.send(number * number)


class Spins(_Squarer):
    """Looks for a number all the time, and virtual time stands still while somebody runs."""

    async def work(self, numbers: Chan[int], squares: Chan[int]) -> None:
        while True:
            try:
                number = numbers.receive_nowait()
            except trio.WouldBlock:
                await trio.lowlevel.checkpoint()
                continue
            except trio.EndOfChannel:
                return
            await squares.send(number * number)


CAUGHT_BY: Final[dict[type[Squarer], tuple[str, ...]]] = {
    LosesWhatIsCancelled: (
        "keeps a square until it is read",
        "rests while there is nothing to do",
    ),
    ReordersUnderLoad: (
        "keeps the order under load",
        "has one number in flight",
    ),
    SwallowsOnClose: ("takes nothing when it is closed",),
    LeavesATask: ("leaves no task when it is closed",),
    SquaresTwice: (
        "squares each number once",
        "keeps a square until it is read",
        "gives a square to the next reader when one gives up",
        "ends its squares when the numbers end",
        "rests while there is nothing to do",
    ),
    SendsTwice: ("keeps a square until it is read",),
    BlocksClose: ("closes while nobody reads",),
    NeedsItsInputClosed: ("closes while nobody writes", "closes before it has begun"),
    TakesTwo: ("has one number in flight",),
    Polls: ("rests while there is nothing to do",),
    Spins: (
        "rests while there is nothing to do",
        "keeps the order under load",
        "gives a square to the next reader when one gives up",
        "closes while nobody writes",
    ),
}
