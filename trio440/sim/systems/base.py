"""A system: what a campaign runs, and how its worlds are set up at each level."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from trio440.errors import InvalidParameter
from trio440.sim.faults import HostTraits
from trio440.sim.outcome import Level

if TYPE_CHECKING:
    from trio440.sim.stage import Stage
    from trio440.sim.world import World

__all__ = ["SECOND", "LevelA", "LevelB", "System"]

SECOND: Final = 1_000_000
"""In microseconds of virtual time."""

LevelA: TypeAlias = Callable[["Stage"], None]
"""Plays the history on a stage."""
LevelB: TypeAlias = Callable[["World"], Awaitable[object]]
"""Plays the history in a world."""


def _positive(instance: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    del instance
    if value <= 0:
        raise InvalidParameter(attribute.name, value, "a positive number of microseconds")


@attrs.frozen(kw_only=True)
class System:
    """A system that can be simulated.

    Times are microseconds of virtual time from the start of the world.
    """

    name: str
    summary: str
    """One line."""
    hosts: tuple[HostTraits, ...]
    """The machines, and what a fault plan may do to each."""
    duration: int = attrs.field(default=20 * SECOND, validator=_positive)
    """How long a history is, at most."""
    heal_at: int = attrs.field(default=12 * SECOND, validator=_positive)
    """When the last fault is over; from then on liveness may be demanded."""
    level_a: LevelA | None = None
    level_b: LevelB | None = None
    recorded: str = ""
    """What form its own record has, where it keeps one, see ``World.record``."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that it has."""
        found: list[Level] = []
        if self.level_a is not None:
            found.append("A")
        if self.level_b is not None:
            found.append("B")
        return tuple(found)

    def require_level(self, level: Level) -> None:
        """Return if it has this level.

        Raises:
            InvalidParameter: it has not.
        """
        if level not in self.levels:
            raise InvalidParameter("level", level, f"{' or '.join(self.levels)} for {self.name}")
