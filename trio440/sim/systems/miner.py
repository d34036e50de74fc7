"""The miner: a mining server, four miners of all kinds, and three clients.

What the protocol itself does not promise is not demanded here. The server has no memory, so it
is cut off and stands still but does not crash. Nobody can tell a right hash that is not the
least of its chunk from the least, so no miner here lies in that way. A client that lost its
connection asks again, and may then have two jobs for one question until the server has noticed.
Bounds on waiting hold where nothing goes wrong; with faults, everybody is answered after them.
"""

from typing import Final

from trio440.sim.faults import HostTraits
from trio440.sim.systems.base import SECOND, System
from trio440.sim.systems.miner_cast import CLIENTS, MINERS, SERVER
from trio440.sim.systems.miner_stage import play
from trio440.sim.systems.miner_world import tell

__all__ = ["SYSTEM"]

SYSTEM: Final = System(
    name="miner",
    summary="three clients ask for least hashes; miners hang, lie, crash and come late",
    hosts=(
        HostTraits(SERVER),
        *(HostTraits(name, may_crash=True) for name in (*MINERS, *CLIENTS)),
    ),
    duration=40 * SECOND,
    heal_at=12 * SECOND,
    level_a=play,
    level_b=tell,
)
