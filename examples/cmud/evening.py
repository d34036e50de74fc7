"""Three students on one campus, each with a script: what they do to the problem that they share.

    python examples/cmud/evening.py

The world is a namespace in this process; any other namespace of the store would do. A face is all
that a player needs: it gives the game lines, and takes what is told.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import trio

from trio440 import kv
from trio440.cmud import Tone, play

NAMES: Final = ("al", "alice", "bob")


class Student:
    """Types a script, and goes home when all have said that they are done."""

    def __init__(self, name: str, script: Sequence[str]) -> None:
        self.name = name
        self.lines = iter(script)
        self.heard = 0
        self.has_heard_all = trio.Event()

    async def ask(self, prompt: str) -> str | None:
        """Type the next line; None: go home."""
        del prompt
        line = next(self.lines, None)
        if line is None:
            await self.has_heard_all.wait()
            print(f"{self.name} has heard all three")
        return line

    def tell(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Hear something."""
        if tone is Tone.VOICE:
            print(f"{self.name} hears  {text}")
            self.heard += 1
            if self.heard == len(NAMES):
                self.has_heard_all.set()

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[float], None]]:
        """Wait without a clock."""
        del title
        yield lambda _: None


async def spend_evening(world: kv.Namespace, name: str, seed: int) -> None:
    """Mine, buy, go to the kitchen, work on the problem there, and say so."""
    work = ["move 6", "mine 40", "buy gpu", *["solve"] * 4, "resign", f"say {name} is done"]
    await play(world, name, Student(name, work), rng=random.Random(seed), pace=0.01)


async def main() -> None:
    """Let them play, and show what is in the store then."""
    async with kv.open_memory() as world:
        async with trio.open_nursery() as nursery:
            for seed, name in enumerate(NAMES):
                nursery.start_soon(spend_evening, world, name, seed)
        print()
        for prefix in (b"player/", b"balance/", b"comp/", b"problem/"):
            for entry in (await world.list(prefix)).entries:
                print(f"{entry.key.decode():<22}{entry.value.decode()}")


if __name__ == "__main__":
    trio.run(main)
