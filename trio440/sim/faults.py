"""What goes wrong in a world: the weather of links, and a plan of faults with their times.

All times are microseconds of virtual time from the start of the world. A plan is a plain list,
so that a failure can be replayed with only some of its faults; every fault ends by
:attr:`FaultPlan.heal_at`, after which liveness may be demanded.
"""

from collections.abc import Collection
from typing import Final, TypeAlias

import attrs

__all__ = [
    "CLEAR",
    "EVERYBODY",
    "ClockSkew",
    "Clog",
    "Crash",
    "DiskErrors",
    "DiskFull",
    "Fault",
    "FaultPlan",
    "Flap",
    "HostTraits",
    "Partition",
    "Pause",
    "SlowDisk",
    "Weather",
    "WeatherFault",
]

EVERYBODY: Final = "*"
"""In the place of a host's name: all hosts."""


@attrs.frozen(kw_only=True)
class Weather:
    """How a link, in one direction, treats what is sent over it.

    The shares are probabilities, 0 to 1, drawn for each datagram. Streams feel the delays and
    the bandwidth alone, and each loss as a retransmission's delay.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    """One bit or byte of the copy is changed."""
    truncate: float = 0.0
    """The copy is cut short."""
    delay: int = 500
    """Microseconds that everything travels at least."""
    jitter: int = 1_000
    """Up to so many microseconds more, drawn evenly: datagrams overtake each other."""
    slow: float = 0.0
    """The share that is held up much longer."""
    slow_delay: int = 0
    """Up to so many microseconds more for these."""
    bandwidth: int | None = None
    """Bytes a second; None is no limit."""
    queue: int | None = None
    """Bytes that wait for the bandwidth at most; more are dropped. None is no limit."""


CLEAR: Final = Weather()
"""A local network on a good day: half a millisecond to one and a half, nothing lost."""


@attrs.frozen(kw_only=True)
class _Timed:
    start: int
    end: int
    """The first microsecond that is free of the fault again."""


@attrs.frozen(kw_only=True)
class WeatherFault(_Timed):
    """A link, or all links of a host in one direction, has other weather for a while."""

    source: str = EVERYBODY
    destination: str = EVERYBODY
    weather: Weather


@attrs.frozen(kw_only=True)
class Partition(_Timed):
    """Nothing passes from ``side`` to the other hosts, nor back if ``both_ways``."""

    side: tuple[str, ...]
    both_ways: bool = True


@attrs.frozen(kw_only=True)
class Flap(_Timed):
    """A partition that comes and goes: each ``period`` is half cut, half connected."""

    side: tuple[str, ...]
    period: int


@attrs.frozen(kw_only=True)
class Clog(_Timed):
    """What is sent on a link is held, and all of it arrives after the end."""

    source: str
    destination: str


@attrs.frozen(kw_only=True)
class Crash(_Timed):
    """A host loses power at ``start`` and starts again at ``end`` with what its disk kept."""

    host: str


@attrs.frozen(kw_only=True)
class Pause(_Timed):
    """A host stops in its tracks and goes on as if nothing had been."""

    host: str


@attrs.frozen(kw_only=True)
class SlowDisk(_Timed):
    """Every sync of the host's disk takes up to ``extra`` microseconds more."""

    host: str
    extra: int


@attrs.frozen(kw_only=True)
class DiskErrors(_Timed):
    """A ``share`` of the host's writes and syncs fails with EIO."""

    host: str
    share: float


@attrs.frozen(kw_only=True)
class DiskFull(_Timed):
    """The host's disk takes no more bytes: ENOSPC."""

    host: str


@attrs.frozen(kw_only=True)
class ClockSkew(_Timed):
    """The host's clocks are off: wall time by ``offset``, both by ``drift`` parts in a million."""

    host: str
    offset: int = 0
    drift: int = 0


Fault: TypeAlias = (
    WeatherFault
    | Partition
    | Flap
    | Clog
    | Crash
    | Pause
    | SlowDisk
    | DiskErrors
    | DiskFull
    | ClockSkew
)


@attrs.frozen
class HostTraits:
    """A host of a system, and what may be done to it."""

    name: str
    may_crash: bool = False
    may_pause: bool = True
    has_disk: bool = False


@attrs.frozen
class FaultPlan:
    """What will go wrong, and when the last of it is over."""

    faults: tuple[Fault, ...] = ()
    heal_at: int = 0
    base: Weather = CLEAR
    """The weather where no fault says otherwise, until ``heal_at``; :data:`CLEAR` after it."""
    left_out: frozenset[int] = frozenset()
    """Positions in ``faults`` that do not happen; see :meth:`keep`."""

    @property
    def happening(self) -> tuple[tuple[int, Fault], ...]:
        """The faults that do happen, each with its position."""
        return tuple(
            (place, fault) for place, fault in enumerate(self.faults) if place not in self.left_out
        )

    def keep(self, places: Collection[int]) -> "FaultPlan":
        """Return the plan with only the faults at these positions, which stay what they were."""
        return attrs.evolve(self, left_out=frozenset(range(len(self.faults))) - frozenset(places))
