"""A task whose selects are always ready: it must be fair to its cases and to other tasks."""

import random
from collections.abc import Callable
from typing import Final

from trio440.core import Chan, select
from trio440.core.host import Host
from trio440.errors import InvariantViolated
from trio440.sim.systems.core_watch import Choices

__all__ = ["choose_fairly"]

ROUNDS: Final = Choices.BOUND + 20


async def choose_fairly(rng: random.Random, ports: Host, steps: Callable[[], int]) -> None:
    """Choose again and again among channels that all have a value.

    Args:
        rng: draws how many there are.
        ports: of the machine.
        steps: says how many steps all tasks have taken so far.

    Raises:
        InvariantViolated: a case was left out for too long, or no other task had its turn.
    """
    ready = [Chan[int](1) for _ in range(rng.randint(2, 4))]
    for ch in ready:
        ch.send_nowait(0)
    choices = Choices(len(ready))
    before = steps()
    for _ in range(ROUNDS):
        chosen, _ = await select(*(ch.receiving() for ch in ready), ports=ports)
        ready[chosen].send_nowait(0)
        choices.chose(chosen)
    if steps() == before:
        shown = f"{ROUNDS} operations without a switch"
        raise InvariantViolated("ready operations let others run", shown)
