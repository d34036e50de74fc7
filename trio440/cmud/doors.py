"""The ways into the store: when one is shut, the next is tried, and the player is told."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import trio

from trio440.core.host import Host
from trio440.errors import InvalidParameter, OperationRefused, StoreUnavailable
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
    """Namespaces that lead to one store; any number of tasks share them."""

    def __init__(
        self, namespaces: Sequence[Namespace], *, ports: Host, say: Callable[[str], None]
    ) -> None:
        """Begin at the first.

        Args:
            namespaces: at least one, all of one engine.
            ports: give the time.
            say: takes a line about a door that is shut, or open again.

        Raises:
            InvalidParameter: there is none, or their engines differ.
        """
        if not namespaces:
            raise InvalidParameter("namespaces", namespaces, "at least one")
        if len(engines := {each.engine for each in namespaces}) > 1:
            raise InvalidParameter("namespaces", sorted(engines), "of one engine")
        self._namespaces = [*namespaces]
        self._ports = ports
        self._say = say
        self._failures = 0
        """Since the last answer."""
        self._shut = trio.Event()

    @property
    def current(self) -> Namespace:
        """The one to be used now."""
        return self._namespaces[0]

    async def once(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Carry out operations, trying one door only.

        Raises:
            StoreUnavailable: it is shut, and another is the current one; each of the operations
                has been carried out, or not.
            OperationRefused: one of them was refused; the others were carried out.
        """
        door = self.current
        results: Sequence[Result] | None = None
        with self._ports.clock.move_on_after(ANSWER_SECONDS):
            try:
                results = await door.execute(operations)
            except StoreUnavailable:
                self.shut(door)
                raise
        if results is None:
            self.shut(door)
            raise StoreUnavailable(f"no answer within {ANSWER_SECONDS:g} s")
        if self._failures:
            self._failures = 0
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

    def shut(self, door: Namespace) -> None:
        """Note that a door is shut; the next one is the current one."""
        if door is not self.current:
            return
        self._namespaces.append(self._namespaces.pop(0))
        self._shut.set()
        self._shut = trio.Event()
        self._failures += 1
        if self._failures == 1:
            other = len(self._namespaces) > 1
            way = "trying another way in" if other else "trying again"
            self._say(f"The line crackles and goes dead: {way}...")


def _check_taken(results: Sequence[Result]) -> None:
    for each in results:
        if isinstance(each, Refused):
            raise OperationRefused(each.reason)
        if isinstance(each, Committed):
            _check_taken(each.results)
