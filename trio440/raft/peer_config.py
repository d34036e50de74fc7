"""What one Raft peer is: its name, its place, its cluster, and the numbers of Raft. Pure."""

from collections.abc import Iterable
from typing import Any, Final

import attrs

from trio440.errors import InvalidParameter
from trio440.raft.config import Config
from trio440.raft.membership import MOST_ID_LENGTH, is_id
from trio440.raft.wire import Place

__all__ = ["PeerConfig"]

LEAST_TICK: Final = 0.001


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _places(value: Iterable[Place]) -> tuple[Place, ...]:
    return tuple(value)


def _is_id(_: object, attribute: "attrs.Attribute[str]", value: Any) -> None:
    if not is_id(value):
        raise InvalidParameter(attribute.name, value, f"1 to {MOST_ID_LENGTH} printable characters")


def _positive(_: object, attribute: "attrs.Attribute[float]", value: Any) -> None:
    if not value >= LEAST_TICK:
        raise InvalidParameter(attribute.name, value, f"at least {LEAST_TICK}")


def _not_negative(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    if not isinstance(value, int) or value < 0:
        raise InvalidParameter(attribute.name, value, "0 or more")


@attrs.frozen(kw_only=True)
class PeerConfig:
    """What one peer is; its cluster's members differ in ``id`` and addresses only."""

    id: str = attrs.field(validator=_is_id)
    """Its name among the members: never used again for another peer. One that has lost its
    directory is refused under it."""
    members: tuple[str, ...] = attrs.field(
        default=(), converter=_names, validator=attrs.validators.deep_iterable(_is_id)
    )
    """The voters that the cluster begins with, this one among them: the same at each. Empty: this
    peer joins a cluster, and waits until its leader adds it. Counts at the first start only."""
    places: tuple[Place, ...] = attrs.field(default=(), converter=_places)
    """Where other peers listen. One is enough where that one knows the others."""
    directory: str | None = None
    """Where it keeps its state; None: in memory, and it cannot come back after its end."""
    is_new: bool = False
    """Whoever sets this swears that the cluster never had a peer of this id. The first start then
    waits only until those who say so are a majority together with this peer, see
    :mod:`trio440.raft.acquaintance`; one that says otherwise stops it all the same."""
    cluster: str = "raft"
    """Peers and clients of one cluster say the same name."""
    host: str = "127.0.0.1"
    """To listen on, and where others reach it."""
    port: int = 0
    """To listen on; 0 takes any free one, which the others hear of."""
    tick_seconds: float = attrs.field(default=0.01, validator=_positive)
    """How long the ticks of ``raft`` are."""
    snapshot_entries: int = attrs.field(default=10_000, validator=_not_negative)
    """A snapshot is taken and the log compacted after so many entries; 0: only when asked."""
    raft: Config = attrs.field(factory=Config)
    """The numbers of Raft."""

    def __attrs_post_init__(self) -> None:
        """Check that the members include the peer."""
        if self.members and self.id not in self.members:
            raise InvalidParameter("members", self.members, f"with {self.id} among them")
