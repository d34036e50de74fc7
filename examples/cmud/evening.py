"""Three students on one campus, each with a script: what they do to the problem that they share.

    python examples/cmud/evening.py

The world is a namespace in this process; any other namespace of the store would do. A face is all
that a player needs: it gives the game lines, and takes what is told.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import trio

from trio440 import kv
from trio440.cmud import Tone, play


class Student:
    """Types a script, and says aloud what others say."""

    def __init__(self, name: str, script: Sequence[str]) -> None:
        self.name = name
        self.lines = iter(script)

    async def ask(self, prompt: str) -> str | None:
        """Type the next line, without haste."""
        del prompt
        await trio.sleep(0.02)
        return next(self.lines, None)

    def tell(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Hear something."""
        if tone is Tone.VOICE:
            print(f"{self.name} hears  {text}")

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[float], None]]:
        """Wait without a clock."""
        del title
        yield lambda _: None


async def main() -> None:
    """Let them mine, buy, meet, and work on the problem."""
    work = ["mine 40", "buy gpu", "move 6", *["solve"] * 4]
    async with kv.open_memory() as world:
        async with trio.open_nursery() as nursery:
            for seed, name in enumerate(("al", "alice", "bob")):
                student = Student(name, [*work, "resign", f"say {name} is done"])
                chance = random.Random(seed)

                async def sit_down(
                    student: Student = student, chance: random.Random = chance
                ) -> None:
                    await play(world, student.name, student, rng=chance, pace=0.0)

                nursery.start_soon(sit_down)
        print()
        for prefix in (b"player/", b"balance/", b"comp/", b"problem/"):
            for entry in (await world.list(prefix)).entries:
                print(f"{entry.key.decode():<22}{entry.value.decode()}")


if __name__ == "__main__":
    trio.run(main)
