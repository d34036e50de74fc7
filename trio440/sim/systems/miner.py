"""The miner: a mining server, five miners of all kinds, and four clients."""

from typing import Final

from trio440.sim.faults import HostTraits
from trio440.sim.systems.base import SECOND, System
from trio440.sim.systems.miner_cast import CLIENTS, MINERS, SERVER
from trio440.sim.systems.miner_stage import play
from trio440.sim.systems.miner_world import tell

__all__ = ["SYSTEM"]

SYSTEM: Final = System(
    name="miner",
    summary="four clients ask for least hashes; miners hang, lie, crash and come late",
    hosts=(
        HostTraits(SERVER),
        *(HostTraits(name, may_crash=True) for name in (*MINERS, *CLIENTS)),
    ),
    duration=20 * SECOND,
    heal_at=12 * SECOND,
    level_a=play,
    level_b=tell,
)
