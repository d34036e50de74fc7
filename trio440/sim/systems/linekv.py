"""linekv: a durable server of lists on a disk that fails, and four clients."""

from typing import Final

from trio440.sim.faults import HostTraits
from trio440.sim.systems.base import SECOND, System
from trio440.sim.systems.linekv_stage import CLIENTS, SERVER, play
from trio440.sim.systems.linekv_world import tell

__all__ = ["SYSTEM"]

SYSTEM: Final = System(
    name="linekv",
    summary="four clients change and read lists on a durable linekv server",
    hosts=(
        HostTraits(SERVER, may_crash=True, has_disk=True),
        *(HostTraits(name, may_crash=True) for name in CLIENTS),
    ),
    duration=20 * SECOND,
    heal_at=12 * SECOND,
    level_a=play,
    level_b=tell,
)
