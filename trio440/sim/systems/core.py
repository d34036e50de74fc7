"""Channels, selects and epoch timers: two machines, each with tasks around a few channels.

There is no level A: a channel without an event loop does not exist.
"""

from typing import Final

from trio440.sim.faults import HostTraits
from trio440.sim.systems.base import SECOND, System
from trio440.sim.systems.core_world import HOSTS, tell

__all__ = ["SYSTEM"]

SYSTEM: Final = System(
    name="core",
    summary="tasks send, receive, select, close and are cancelled, epoch timers beside them",
    hosts=tuple(HostTraits(name, may_crash=True) for name in HOSTS),
    duration=60 * SECOND,
    heal_at=4 * SECOND,
    level_b=tell,
)
