"""The actor system: opened with ``async with``, it owns every actor that is spawned in it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, Final, final

from trio440.actors.actor import Spawner
from trio440.actors.cell import Cell
from trio440.actors.family import Family
from trio440.actors.limits import ActorStatistics, Limits, SystemStatistics, check_text
from trio440.actors.notices import DeadLetter, Spawned
from trio440.actors.post import Post, Report
from trio440.actors.ref import Ref
from trio440.actors.reporting import log_failure
from trio440.actors.supervision import Strategy, check_strategy
from trio440.core.channels import Chan
from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST

__all__ = ["ActorSystem", "open_actor_system"]

DEFAULT_LIMITS: Final = Limits()
LIFE_BITS: Final = 10


@final
class ActorSystem(Spawner):
    """Actors, and the way to them from outside; :func:`open_actor_system` opens one.

    Any number of tasks of one trio run may share it.
    """

    __slots__ = ("_root",)

    def __init__(self, post: Post, root: Family) -> None:
        super().__init__(post, None)
        self._root = root

    def __repr__(self) -> str:
        return f"<ActorSystem {self.address}, {self._post.actors} actors>"

    @property
    def address(self) -> str:
        """What its references begin with."""
        return self._post.address

    @property
    def incarnation(self) -> int:
        """The life of this system; a later one at the same address has a higher number."""
        return self._post.incarnation

    def register(self, name: str, ref: Ref[Any]) -> None:
        """Give a name to any reference; to an actor of this system, until it ends.

        Raises:
            NameTaken: another reference has it.
            InvalidParameter: the name is empty.
        """
        self._post.register(name, ref)

    def unregister(self, name: str) -> None:
        """Take a name away; one that nobody has is no error."""
        self._post.names.pop(name, None)

    def dead_letters(self, capacity: int = 1000) -> AbstractContextManager[Chan[DeadLetter]]:
        """Hear of dead letters while the body runs; at its end the channel is closed.

        Args:
            capacity: of the channel, 1 or more; what finds it full is counted and not heard of.

        Raises:
            InvalidParameter: the capacity is out of range.
        """
        return self._post.listen(capacity)

    def statistics(self) -> SystemStatistics:
        """Return what the system holds and has counted; goes through all actors."""
        return self._post.statistics(member.rate() for member in self._root.members())

    def actor_statistics(self, ref: Ref[Any]) -> ActorStatistics | None:
        """Return the counts of one actor, None when it has ended."""
        cell = self._post.find(ref)
        return cell.statistics() if isinstance(cell, Cell) else None

    async def _family(self) -> Family:
        return self._root


@asynccontextmanager
async def open_actor_system(
    *,
    name: str = "local",
    strategy: Strategy = "one_for_one",
    limits: Limits = DEFAULT_LIMITS,
    report: Report = log_failure,
    on_spawn: Callable[[Spawned], None] | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[ActorSystem]:
    """Open a system of actors that lives as long as the body.

    Left normally, its actors are stopped from the last spawned to the first, all within
    ``limits.stop_seconds``, and then cancelled; left by an exception or a cancellation, they are
    cancelled at once. Either way none is left, and every ask that waits has its answer.

    Args:
        name: the address in references of this system.
        strategy: which of its own actors are restarted when one of them fails.
        limits: its bounds.
        report: hears an ``ActorFailed`` for each failure, with what follows from it; must not
            raise. By default it is one line at level ERROR of the standard logger
            ``trio440.actors``, whose DEBUG has the traceback.
        on_spawn: hears of each actor that is spawned; must not raise.
        ports: the machine.

    Raises:
        RestartsExhausted: an actor of the system failed once more than its supervision allows;
            the body is cancelled.
        InvalidParameter: the name is empty or the strategy none.
    """
    check_text("name", name)
    check_strategy(strategy)
    microseconds = ports.wall.now_ns() // 1000
    incarnation = microseconds << LIFE_BITS | ports.rng.getrandbits(LIFE_BITS)
    post = Post(name, incarnation, limits=limits, ports=ports, report=report, on_spawn=on_spawn)
    root = Family(post, strategy, None)
    async with open_service_nursery() as nursery:
        nursery.start_soon(post.timers.run)
        nursery.start_soon(post.deadlines.run)
        nursery.start_soon(root.run, None)
        await root.wait_opened()
        try:
            yield ActorSystem(post, root)
            await root.shut(limits.stop_seconds)
        finally:
            post.close()
            await root.abort()
