"""Goes along with tasks at work on channels, and says when they do what the model cannot."""

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from trio440.errors import InvariantViolated
from trio440.sim.checking.channel_model import (
    CANCELLED,
    NOTHING,
    Operation,
    Program,
    Result,
    World,
    cancel,
    expire,
    step,
)

__all__ = ["Follower", "Occupancy"]

Occupancy: TypeAlias = tuple[int, int, int, bool]
"""What a channel shows: values in its buffer, senders and receivers that wait, and if closed."""


class Follower:
    """Goes along with real tasks, in every way that what was seen of them allows.

    Each operation is told when it begins, that is when it is called, and again when it has
    ended. A real channel decides at the call what happens, and tasks learn of it in any order.
    """

    def __init__(self, capacities: Sequence[int], tasks: int) -> None:
        """Start with empty channels, and tasks that have done nothing."""
        self._worlds = [World.start(Program(tuple(capacities), ((),) * tasks))]

    def begin(self, task: int, operation: Operation, *, cancelled: bool = False) -> None:
        """Let a task, which may have been cancelled already, begin an operation."""
        after: list[World] = []
        for world in self._worlds:
            before = world.with_operation(task, operation)
            if cancelled:
                before = attrs.evolve(before, cancelled=before.cancelled | {task})
            after.extend(step(before, task))
        self._worlds = after if len(after) == 1 else list(dict.fromkeys(after))

    def end(self, task: int, result: Result) -> None:
        """Let the operation of a task end with what it returned or raised.

        Raises:
            InvariantViolated: it cannot end so.
        """
        # A timeout that has passed may come out as a cancellation that came in later.
        allowed = (result, NOTHING) if result == CANCELLED else (result,)
        kept = [world for world in self._worlds if world.results[task][-1] in allowed]
        if not kept:
            ways = dict.fromkeys(f"{world.results[task][-1]}" for world in self._worlds)
            did = f"task {task}: {self._worlds[0].program.tasks[task][0]} ended with {result}"
            raise InvariantViolated(
                "every operation ends as the model can", f"{did}; possible: {', '.join(ways)}"
            )
        self._worlds = kept

    def cancel(self, task: int) -> None:
        """Cancel a task that is in an operation."""
        self._worlds = [cancel(world, task) for world in self._worlds]

    def expire(self, task: int) -> None:
        """Let the timeout of a task pass."""
        self._worlds = [expire(world, task) for world in self._worlds]

    def require(self, seen: Sequence[Occupancy]) -> None:
        """Require that the channels show what the model holds.

        Raises:
            InvariantViolated: they show something else.
        """
        kept = [
            world
            for world in self._worlds
            if all(
                (len(one.buffer), len(one.senders), len(one.receivers), one.closed) == shown
                for one, shown in zip(world.channels, seen, strict=True)
            )
        ]
        if not kept:
            ways = "; or ".join(f"{world.channels}" for world in self._worlds)
            raise InvariantViolated(
                "channels hold what the model holds", f"they show {[*seen]}, the model has {ways}"
            )
        self._worlds = kept

    @property
    def ways(self) -> int:
        """In how many states the channels may be, as far as can be seen."""
        return len(self._worlds)
