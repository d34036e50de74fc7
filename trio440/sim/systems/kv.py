"""The store: replicas that are written to while everything goes wrong, and become equal."""

from typing import Final

from trio440.sim.faults import HostTraits
from trio440.sim.systems.base import SECOND, System
from trio440.sim.systems.kv_stage import HOSTS, play
from trio440.sim.systems.kv_world import CLIENTS, tell

__all__ = ["SYSTEM"]

SYSTEM: Final = System(
    name="kv",
    summary="replicas of a store are written to, crash, lose messages, and become equal",
    hosts=(
        *(HostTraits(name, may_crash=True, has_disk=True) for name in HOSTS),
        *(HostTraits(name) for name in CLIENTS),
    ),
    duration=200 * SECOND,
    heal_at=6 * SECOND,
    level_a=play,
    level_b=tell,
)
