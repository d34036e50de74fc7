"""What systems of actors ask of each other over RPC."""

import attrs

from trio440.actors.remote.parcels import Batch
from trio440.actors.remote.values import Value
from trio440.rpc import Service, method, one_way

__all__ = [
    "ActorReport",
    "Address",
    "Latest",
    "MemberReport",
    "Report",
    "ReportRequest",
    "SpawnAnswer",
    "SpawnRequest",
    "Systems",
]


@attrs.frozen
class Address:
    """Of a system: ``HOST:PORT``."""

    address: str


@attrs.frozen
class Latest:
    """The latest life at an address that is known."""

    incarnation: int
    """0: none."""


@attrs.frozen
class ReportRequest:
    """What a system has to say of itself."""

    limit: int
    """Of actors in the answer; of more than 100 it has 100."""


@attrs.frozen
class MemberReport:
    """A member of the cluster, as the system that reports knows it."""

    address: str
    incarnation: int
    state: str
    """``alive``, ``suspect``, ``lost`` or ``left``."""


@attrs.frozen
class ActorReport:
    """One actor of the system that reports; long texts are cut."""

    counter: int
    name: str | None
    kind: str
    waiting: int
    stashed: int
    handled: int
    restarts: int


@attrs.frozen
class Report:
    """One system at one moment."""

    address: str
    incarnation: int
    now_us: int
    """By a clock that began at no particular time: what was handled between two reports took the
    difference."""
    actors: int
    members: tuple[MemberReport, ...]
    """256 at most; this system is one of them."""
    deepest: tuple[ActorReport, ...]
    """The actors in whose mailboxes most waits; among equal ones, those that have handled most."""


@attrs.frozen
class SpawnRequest:
    """Spawn what is offered under a name."""

    life: int
    """Of the system that is asked; 0 is none."""
    name: str
    args: tuple[Value, ...]


@attrs.frozen
class SpawnAnswer:
    """The actor that was spawned, or why none was."""

    counter: int
    incarnation: int
    problem: str
    """Empty if there was none."""


class Systems(Service, name="actors"):
    """Of each system that can be reached."""

    deliver = one_way(Batch)
    latest = method(Address, Latest)
    report = method(ReportRequest, Report)
    spawn = method(SpawnRequest, SpawnAnswer)
