"""LSP: five clients and an echo server."""

from typing import Final

from trio440.sim.faults import HostTraits
from trio440.sim.systems.base import SECOND, System
from trio440.sim.systems.lsp_stage import CLIENTS, SERVER, play
from trio440.sim.systems.lsp_world import tell

__all__ = ["SYSTEM"]

SYSTEM: Final = System(
    name="lsp",
    summary="five clients write to an LSP echo server and read back",
    hosts=(HostTraits(SERVER), *(HostTraits(name, may_crash=True) for name in CLIENTS)),
    duration=20 * SECOND,
    heal_at=12 * SECOND,
    level_a=play,
    level_b=tell,
)
