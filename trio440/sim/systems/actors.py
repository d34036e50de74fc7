"""Actors: systems that find each other, fail and come back, and what their actors say."""

from typing import Final

from trio440.sim.faults import HostTraits
from trio440.sim.systems.actors_stage import HOSTS, play
from trio440.sim.systems.actors_world import tell
from trio440.sim.systems.base import SECOND, System

__all__ = ["SYSTEM"]

SYSTEM: Final = System(
    name="actors",
    summary="members of a cluster find each other, crash, leave and come back",
    hosts=tuple(HostTraits(name, may_crash=True) for name in HOSTS),
    duration=25 * SECOND,
    heal_at=5 * SECOND,
    level_a=play,
    level_b=tell,
)
