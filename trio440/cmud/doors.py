"""The ways to the store: when one is shut, the next is tried, and the player is told."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import trio

from trio440.core.host import Host
from trio440.errors import OperationRefused, StoreUnavailable
from trio440.kv import Namespace, Operation, Refused, Result
from trio440.kv.operations import Committed

__all__ = ["Doors"]

ANSWER_SECONDS: Final = 5.0
"""How long one batch of operations is waited for."""
PATIENCE_SECONDS: Final = 60.0
"""How long a task is tried again for while nobody answers."""
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0

T = TypeVar("T")


class Doors:
    """A namespace and the ways to it; any number of tasks share it."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        turn: Callable[[], None] | None,
        ports: Host,
        say: Callable[[str], None],
    ) -> None:
        """Begin at the first door.

        Args:
            namespace: holds the world.
            turn: makes the namespace use the next of its servers; None: it has none, or knows
                itself when.
            ports: give the time.
            say: takes a line about a door that is shut, or open again.
        """
        self.namespace: Final = namespace
        self._turn = turn
        self._ports = ports
        self._say = say
        self._current = 0
        """Counts the doors that were used."""
        self._is_dark = False
        """Whether nobody has answered since a door was found shut."""
        self._shut = trio.Event()

    @property
    def current(self) -> int:
        """The door that is used now; each that follows has a number of its own."""
        return self._current

    async def once(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Carry out operations, trying one door only.

        Raises:
            StoreUnavailable: it is shut, and another is the current one; each of the operations
                has been carried out, or not.
            OperationRefused: one of them was refused; the others were carried out.
        """
        door = self._current
        results: Sequence[Result] | None = None
        with self._ports.clock.move_on_after(ANSWER_SECONDS):
            try:
                results = await self.namespace.execute(operations)
            except StoreUnavailable:
                self.shut(door)
                raise
        if results is None:
            self.shut(door)
            raise StoreUnavailable(f"no answer within {ANSWER_SECONDS:g} s")
        if self._is_dark:
            self._is_dark = False
            self._say("The line hums again: the campus is back.")
        _check_taken(results)
        return results

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Carry out operations that may be carried out twice, at whatever door is open.

        Raises:
            StoreUnavailable: none was for a minute.
            OperationRefused: as for :meth:`once`.
        """
        return await self.insist(lambda: self.once(operations))

    async def insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Make an attempt again while it finds a door shut, and return what it returns.

        Raises:
            StoreUnavailable: all doors were shut for a minute.
        """
        clock = self._ports.clock
        give_up_at = clock.now() + PATIENCE_SECONDS
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await attempt()
            except StoreUnavailable:
                if clock.now() >= give_up_at:
                    raise
            await self.pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def pause(self, seconds: float) -> None:
        """Wait for about so long, so that not all that wait come back at once."""
        await self._ports.clock.sleep(seconds * self._ports.rng.uniform(0.5, 1.0))

    async def wait_shut(self) -> None:
        """Wait until the current door is found shut."""
        await self._shut.wait()

    def shut(self, door: int) -> None:
        """Note that a door is shut; where it is the current one the next takes its place."""
        if door != self._current:
            return
        self._current += 1
        if self._turn is not None:
            self._turn()
        self._shut.set()
        self._shut = trio.Event()
        if not self._is_dark:
            self._is_dark = True
            way = "Trying again" if self._turn is None else "Trying another way in"
            self._say(f"The line crackles and goes dead. {way}...")


def _check_taken(results: Sequence[Result]) -> None:
    for each in results:
        if isinstance(each, Refused):
            raise OperationRefused(each.reason)
        if isinstance(each, Committed):
            _check_taken(each.results)
