"""Raft: a replicated map on three, five or seven peers, whose members come and go."""

from typing import Final

from trio440.sim.faults import HostTraits
from trio440.sim.systems.base import SECOND, System
from trio440.sim.systems.raft_stage import PEERS, play
from trio440.sim.systems.raft_world import tell

__all__ = ["SYSTEM"]

SYSTEM: Final = System(
    name="raft",
    summary="clients write to and read from a replicated map whose members come and go",
    hosts=tuple(HostTraits(name, may_crash=True, has_disk=True) for name in PEERS),
    duration=9 * SECOND,
    heal_at=5 * SECOND,
    level_a=play,
    level_b=tell,
    recorded="TLA+",
)
