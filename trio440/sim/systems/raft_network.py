"""What carries messages between Raft's peers at level A, beside the stage's own faults.

Around a leader some peers may be cut off from the others on purpose, in one direction or both;
what crosses is lost, or held until that is over. Pieces of snapshots arrive although they are
damaged: against that they have a check of their own, and all else has the frames' below Raft.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import attrs

from trio440.raft.messages import Append, InstallSnapshot
from trio440.sim.stage import Stage
from trio440.sim.systems.raft_losses import host_of
from trio440.sim.systems.raft_meeting import Answer, Ask, Parcel

__all__ = ["Island", "Wire"]

RECONNECT: Final = 1_200_000
"""Connections last so long: one that a loss has slowed down is given up like any other."""

Deliver: TypeAlias = Callable[[str, Parcel, int], None]
"""``(host, parcel, store of the sender)``"""


@attrs.frozen(kw_only=True)
class Island:
    """Peers that are cut off from the others."""

    names: frozenset[str] = frozenset()
    until: int = 0
    is_deaf: bool = True
    """Nothing comes in."""
    is_mute: bool = True
    """Nothing goes out."""
    holds: bool = False
    """What would cross is late, not lost."""

    def parts(self, parcel: Parcel, now: int) -> bool:
        """Whether the sender and the receiver are parted."""
        if now >= self.until:
            return False
        goes_out, comes_in = parcel.sender in self.names, parcel.to in self.names
        return goes_out != comes_in and (self.is_mute if goes_out else self.is_deaf)


class Wire:
    """Carries parcels over a stage's network, by datagrams or by streams."""

    def __init__(self, stage: Stage, deliver: Deliver, *, over_streams: bool) -> None:
        """Start with nothing on its way; ``deliver`` gets what arrives."""
        self.island = Island()
        """Who is cut off now."""
        self._stage = stage
        self._deliver = deliver
        self._over_streams = over_streams
        self._parcels: dict[int, tuple[Parcel, int]] = {}
        """What was sent, and the store of its sender."""

    def listen(self, host: str) -> None:
        """Deliver what arrives at a host from now on."""
        arrive = partial(self._arrive, host)
        self._stage.on_datagram(host, lambda data, _source: arrive(data))
        self._stage.on_segment(host, lambda data, _source, _stream: arrive(data))

    def carry(self, parcel: Parcel, store: int) -> None:
        """Send a parcel from a peer with this store."""
        stage, island = self._stage, self.island
        if island.parts(parcel, stage.now):
            if island.holds:
                stage.at(island.until, partial(self.carry, parcel, store))
            return
        source, destination = host_of(parcel.sender), host_of(parcel.to)
        number = len(self._parcels)
        self._parcels[number] = parcel, store
        data = b"%d %s" % (number, _show(parcel).encode())
        if self._over_streams:
            connection = stage.now // RECONNECT
            stage.segment(source, destination, data, stream=connection)
        else:
            stage.send(source, destination, data)

    def _arrive(self, host: str, data: bytes) -> None:
        number = data.partition(b" ")[0]
        parcel, store = self._parcels.get(int(number) if number.isdigit() else -1, (None, 0))
        if self._stage.altered:
            parcel = _damaged(parcel)
        if parcel is not None and not self.island.parts(parcel, self._stage.now):
            self._deliver(host, parcel, store)


def _damaged(parcel: Parcel | None) -> Parcel | None:
    """Return a piece of a snapshot with another first byte, None in the place of all else."""
    if not isinstance(parcel, InstallSnapshot) or not parcel.data:
        return None
    return attrs.evolve(parcel, data=bytes([parcel.data[0] ^ 1]) + parcel.data[1:])


def _show(parcel: Parcel) -> str:
    """Write a parcel in a few words."""
    name = type(parcel).__name__
    match parcel:
        case Append():
            last = parcel.prev_index + len(parcel.entries)
            place = f"{parcel.prev_index}/{parcel.prev_term} to {last}"
            return f"{name} t{parcel.term} {place} c{parcel.commit}"
        case InstallSnapshot():
            return f"{name} t{parcel.term} {parcel.meta.index} at {parcel.offset}"
        case Ask():
            return name
        case Answer():
            return f"{name} {parcel.opinion.verdict.value}"
        case _:
            return f"{name} t{parcel.term}"
