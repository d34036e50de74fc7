"""Remembers which actors were spawned, and by whom."""

from typing import Any, final

import trio

from trio440.actors.notices import Spawned
from trio440.actors.ref import Ref

__all__ = ["SpawnRecorder"]


@final
class SpawnRecorder:
    """To be given to a system: ``open_actor_system(on_spawn=recorder)``."""

    def __init__(self) -> None:
        self.spawned: list[Spawned] = []
        """All of them, in their order."""
        self._changed = trio.Event()

    def __call__(self, spawned: Spawned) -> None:
        """Note one more."""
        self.spawned.append(spawned)
        self._changed.set()
        self._changed = trio.Event()

    def children_of(self, parent: Ref[Any] | None) -> list[Spawned]:
        """Return the children of an actor, those that have ended included; of the system: None."""
        return [spawned for spawned in self.spawned if spawned.parent == parent]

    async def wait_for(self, factory: Any, *, count: int = 1) -> list[Spawned]:
        """Wait until ``count`` actors of a factory have been spawned, and return them.

        Waits for ever when they are not; a test sets its own bound.
        """
        while True:
            found = [spawned for spawned in self.spawned if spawned.factory is factory]
            if len(found) >= count:
                await trio.lowlevel.checkpoint()
                return found[:count]
            await self._changed.wait()
