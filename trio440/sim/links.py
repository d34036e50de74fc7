"""One direction between two hosts: what a link remembers, and what weather does to what it carries.

Times are microseconds; :mod:`trio440.sim.fabric` keeps the heap of what is on its way.
"""

import random
from collections import deque
from collections.abc import Hashable
from typing import Any, Final, TypeAlias

from trio440.sim.faults import CLEAR, EVERYBODY, Clog, Flap, Partition, Weather, WeatherFault

__all__ = [
    "Link",
    "LinkFault",
    "SegmentQueue",
    "corrupted",
    "cuts",
    "resend_delay",
    "serialisation",
    "speaks_of",
    "travel",
    "truncated",
]

FIRST_RETRANSMISSION: Final = 200_000
"""Microseconds until a lost segment is sent again; doubles each time."""
MAX_RETRANSMISSIONS: Final = 6
"""A segment is lost so many times in a row at most: 12.6 seconds."""
MOST_FLIPPED_BITS: Final = 8
STREAMS_BEFORE_PRUNING: Final = 64
MILLION: Final = 1_000_000

LinkFault: TypeAlias = WeatherFault | Partition | Flap | Clog
"""The faults that change links."""


class SegmentQueue:
    """Segments of one stream in one direction.

    The heap holds a slot for each segment; a slot that comes due delivers the oldest segment,
    so that no fault can change their order.
    """

    __slots__ = ("last_due", "tags")

    def __init__(self) -> None:
        self.tags: deque[Any] = deque()
        self.last_due = 0


class Link:
    """One direction between two hosts, with what the active faults make of it."""

    __slots__ = (
        "clogged",
        "cut",
        "destination",
        "free_at",
        "held",
        "plain",
        "rng",
        "source",
        "streams",
        "version",
        "weather",
    )

    def __init__(self, source: str, destination: str, rng: random.Random) -> None:
        self.source = source
        self.destination = destination
        self.rng = rng
        self.version = -1
        self.weather = CLEAR
        self.cut = False
        self.clogged = False
        self.plain = True
        """Nothing but a delay and a jitter happens to a datagram."""
        self.free_at = 0
        """When the bandwidth has nothing more to do."""
        self.held: list[tuple[bytes, Any]] = []
        self.streams: dict[Hashable, SegmentQueue] = {}

    def queue(self, stream: Hashable, now: int) -> SegmentQueue:
        """Return a stream's queue; those with nothing on its way are forgotten in time."""
        queue = self.streams.get(stream)
        if queue is None:
            if len(self.streams) >= STREAMS_BEFORE_PRUNING:
                self.streams = {
                    name: other
                    for name, other in self.streams.items()
                    if other.tags or other.last_due > now
                }
            queue = self.streams[stream] = SegmentQueue()
        return queue

    def waiting(self, now: int, bandwidth: int) -> int:
        """Return the bytes that wait for the bandwidth."""
        return max(0, self.free_at - now) * bandwidth // MILLION


def corrupted(data: bytes, rng: random.Random) -> bytes:
    """Return ``data``, not empty, with 1 to 8 bits flipped or one byte replaced."""
    harmed = bytearray(data)
    if rng.random() < 0.5:  # noqa: PLR2004 - either with the same chance
        harmed[rng.randrange(len(harmed))] ^= rng.randrange(1, 256)
    else:
        for bit in rng.sample(range(len(harmed) * 8), rng.randint(1, MOST_FLIPPED_BITS)):
            harmed[bit // 8] ^= 1 << bit % 8
    return bytes(harmed)


def truncated(data: bytes, rng: random.Random) -> bytes:
    """Return ``data``, not empty, cut to some shorter length."""
    return data[: rng.randrange(len(data))]


def resend_delay(weather: Weather, rng: random.Random) -> int:
    """Draw how much later a segment goes out because it was lost, perhaps several times."""
    delay, wait = 0, FIRST_RETRANSMISSION
    for _ in range(MAX_RETRANSMISSIONS):
        if not weather.loss or rng.random() >= weather.loss:
            break
        delay += wait
        wait *= 2
    return delay


def travel(weather: Weather, rng: random.Random) -> int:
    """Draw how long something travels."""
    delay = weather.delay + int(rng.random() * (weather.jitter + 1))
    if weather.slow and rng.random() < weather.slow:
        delay += int(rng.random() * (weather.slow_delay + 1))
    return delay


def serialisation(size: int, bandwidth: int) -> int:
    """Return how long ``size`` bytes keep the bandwidth busy, at least 1 if any."""
    return -(-size * MILLION // bandwidth)


def speaks_of(fault: WeatherFault | Clog, source: str, destination: str) -> bool:
    """Whether a fault is about this link."""
    return fault.source in (EVERYBODY, source) and fault.destination in (EVERYBODY, destination)


def cuts(fault: LinkFault, source: str, destination: str) -> bool:
    """Whether a fault cuts this link, while it does."""
    if not isinstance(fault, Partition | Flap):
        return False
    leaves, enters = source in fault.side, destination in fault.side
    if isinstance(fault, Partition) and not fault.both_ways:
        return leaves and not enters
    return leaves != enters
