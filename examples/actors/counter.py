"""One actor: it is told, it is asked, it crashes and lives again.

python examples/actors/counter.py
"""

import attrs
import trio

from trio440 import actors


@actors.message("counter.Add")
@attrs.frozen
class Add:
    """A number to add; none is less than nothing."""

    amount: int


@actors.message("counter.Get")
@attrs.frozen
class Get(actors.Question[int]):
    """What the sum is."""


class Counter(actors.Actor[Add | Get]):
    """Adds, from a number that every life of it begins with."""

    def __init__(self, start: int) -> None:
        self.total = start

    @actors.handler
    async def add(self, message: Add) -> None:
        """Add, or crash."""
        if message.amount < 0:
            raise ValueError("cannot add less than nothing")
        self.total += message.amount

    @actors.handler
    async def get(self, _: Get) -> int:
        """Return the sum."""
        return self.total


async def main() -> None:
    """Talk to a counter."""
    async with actors.open_actor_system(report=print) as system:
        counter = await system.spawn(Counter, 10)
        for amount in (5, 7):
            system.tell(counter, Add(amount))
        print("the sum is", await system.ask(counter, Get()))
        system.tell(counter, Add(-1))  # let it crash
        system.tell(counter, Add(3))  # which waits for the next life
        print("the sum is", await system.ask(counter, Get()))
        counts = system.statistics()
        print(f"{counts.crashes} crash, {counts.restarts} restart, {counts.actors} actor")
    print("left, with", system.statistics().actors, "actors")


if __name__ == "__main__":
    trio.run(main)
