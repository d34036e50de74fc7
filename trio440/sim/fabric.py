"""The fabric: what is on its way in a simulated world, and when it arrives.

One heap holds datagrams, segments of streams and timers in the order of their times. What
happens to a datagram is drawn from a stream of chance that belongs to its link and direction, so
that traffic on one link disturbs no other. Time is passed in, as microseconds; the driver asks
:meth:`Fabric.next_due` and takes what is due.

What the faults of a plan make of a link is :mod:`trio440.sim.active_faults`'s; what cut and clogged
links hold is kept here.
"""

from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

import attrs

from trio440.sim.active_faults import ActiveFaults, Toggle
from trio440.sim.chance import Seed, stream
from trio440.sim.faults import CLEAR, Fault, Flap, Weather
from trio440.sim.links import (
    Link,
    SegmentQueue,
    corrupted,
    resend_delay,
    serialisation,
    travel,
    truncated,
)

__all__ = [
    "LOOPBACK_DELAY",
    "Arrival",
    "Fabric",
    "FabricStatistics",
]

LOOPBACK_DELAY: Final = 20
"""Microseconds from a host to itself."""
RELEASE_SPREAD: Final = 1_000
"""Microseconds within which all that a link held arrives."""


class Arrival(NamedTuple):
    """Something whose time has come."""

    due: int
    """Microseconds of virtual time."""
    number: int
    """Decides between equal times; unique, but not without gaps."""
    source: str
    """The sending host; empty for a timer."""
    destination: str
    """The receiving host; empty for a timer."""
    data: bytes
    """What is left of the datagram; empty for a segment or a timer."""
    tag: Any
    """What the sender passed in; every copy of a datagram has the tag of its original."""


@attrs.frozen
class FabricStatistics:
    """What became of the datagrams so far.

    ``sent + duplicated`` is ``arrived + lost + overflowed + cut`` and what is on its way.
    """

    sent: int
    arrived: int
    duplicated: int
    corrupted: int
    """Copies, arrived or not."""
    truncated: int
    """Copies, arrived or not."""
    lost: int
    """By the weather."""
    overflowed: int
    """Dropped because the queue for the bandwidth was full."""
    cut: int
    """Dropped because the link was cut, when they were sent or when they would have arrived."""
    on_the_way: int
    """Copies that travel or are held."""


_LOOPBACK: Final = Weather(delay=LOOPBACK_DELAY, jitter=0)


class Fabric:
    """All links of a world; see the module's text for what it holds."""

    def __init__(self, seed: Seed, base: Weather = CLEAR, *, grain: int = 1) -> None:
        """Start with nothing on the way.

        Args:
            seed: of the world.
            base: the weather where no fault says otherwise.
            grain: what travels arrives at the next multiple of so many microseconds, so that
                datagrams meet at one instant, as on a busy port, and are handled in one batch.
        """
        self._seed = seed
        self._grain = grain
        self._heap: list[Arrival] = []
        self._links: dict[tuple[str, str], Link] = {}
        self._holding: dict[Link, None] = {}
        self._faults = ActiveFaults(base, is_coarse=grain > 1)
        self._number = 0
        self._now = 0
        self._sent = self._arrived = self._duplicated = 0
        self._corrupted = self._truncated = 0
        self._lost = self._overflowed = self._cut = 0
        self.dropped: list[Arrival] = []
        """The datagrams that the last call of ``take_due`` or ``take_next`` dropped because
        their link was cut when they would have arrived."""

    @property
    def base(self) -> Weather:
        """The weather where no fault says otherwise."""
        return self._faults.base

    @base.setter
    def base(self, weather: Weather) -> None:
        self._faults.set_base(weather)

    # Sending

    def datagram(
        self, now: int, source: str, destination: str, data: bytes, tag: Any
    ) -> str | None:
        """Send a datagram; each copy of it arrives with ``tag``.

        Returns:
            None when it is on its way, else why nothing of it is: ``"loss"``, ``"queue"`` (for
            the bandwidth, full) or ``"cut"``.
        """
        link = self._links.get((source, destination)) or self._open(source, destination)
        if link.version != self._faults.version:
            self._faults.refresh(link)
        self._sent += 1
        if not link.plain:
            return self._through_weather(link, now, data, tag)
        weather = link.weather
        number = self._number
        self._number = number + 1
        due = now + weather.delay + int(link.rng.random() * (weather.jitter + 1))
        heappush(self._heap, Arrival(due, number, source, destination, data, tag))
        return None

    def segment(  # noqa: PLR0917 - as datagram, which has one less
        self, now: int, source: str, destination: str, size: int, stream: Hashable, tag: Any
    ) -> None:
        """Send a part of a stream: it arrives, once, after all that was sent on it before.

        Args:
            now: the time.
            source: the sending host.
            destination: the receiving host.
            size: its bytes, for the bandwidth.
            stream: which stream it belongs to; the other direction is another stream.
            tag: what the arrival carries.
        """
        link = self._links.get((source, destination)) or self._open(source, destination)
        if link.version != self._faults.version:
            self._faults.refresh(link)
        queue = link.queue(stream, now)
        queue.tags.append(tag)
        if link.cut or link.clogged:
            self._hold(link, b"", queue)
            return
        rng, weather = link.rng, link.weather
        start = now
        if weather.bandwidth is not None:
            size_time = serialisation(size, weather.bandwidth)
            start = link.free_at = max(now, link.free_at) + size_time
        start += resend_delay(weather, rng)
        due = start + travel(weather, rng)
        queue.last_due = max(queue.last_due, due + -due % self._grain)
        self._push(queue.last_due, source, destination, b"", queue)

    def at(self, when: int, tag: Any) -> None:
        """Have an arrival without source, destination and data at ``when``."""
        number = self._number
        self._number = number + 1
        heappush(self._heap, Arrival(when, number, "", "", b"", tag))

    # Arriving

    def next_due(self) -> int | None:
        """Return when to take again, or None while nothing is on its way.

        What a cut or clogged link holds has no time yet. The turns of a flapping partition count
        though nothing arrives with them.
        """
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: int) -> list[Arrival]:
        """Take all that is due by ``now``, in the order of (due, number).

        A driver that goes from one :meth:`next_due` to the next has faults begin and end exactly
        on time.
        """
        taken: list[Arrival] = []
        dropped: list[Arrival] = []
        while (arrival := self.take_next(now)) is not None:
            taken.append(arrival)
            dropped += self.dropped
        self.dropped = dropped + self.dropped
        return taken

    def take_next(self, now: int) -> Arrival | None:
        """Take the first of what is due by ``now``, or None when nothing is.

        For drivers that let each arrival have its effects, a fault's begin for one, before the
        next of the same time is taken.
        """
        heap = self._heap
        if self.dropped:
            self.dropped = []
        while heap and heap[0][0] <= now:
            arrival = heappop(heap)
            due, number, source, destination, data, tag = arrival
            self._now = due
            if tag.__class__ is Toggle:
                self._turn(due, tag)
            elif not source:
                return arrival
            elif self._faults.is_stormy and self._links_state(source, destination).cut:
                if tag.__class__ is SegmentQueue:
                    self._hold(self._links[source, destination], b"", tag)
                else:
                    self._cut += 1
                    self.dropped.append(arrival)
            elif tag.__class__ is SegmentQueue:
                return Arrival(due, number, source, destination, data, tag.tags.popleft())
            else:
                self._arrived += 1
                return arrival
        return None

    # Faults

    def begin(self, place: int, fault: Fault) -> None:
        """Let a fault act, to be called at its start; faults of other things are passed over.

        Args:
            place: its position in the plan, by which :meth:`end` knows it.
            fault: where it speaks of weather, it wins over those that began before.
        """
        self._faults.begin(place, fault)
        if isinstance(fault, Flap):
            self._turn(fault.start, Toggle(place, fault, cut=True))

    def end(self, place: int, fault: Fault) -> None:
        """Let a fault act no longer, to be called at its end; unknown ones are passed over.

        What its links held arrives after the later of the fault's end and the present time, if
        no other fault holds it.
        """
        if self._faults.end(place, fault):
            self._release(max(self._now, fault.end))

    def is_cut(self, source: str, destination: str) -> bool:
        """Whether nothing passes in this direction at present."""
        return self._faults.is_cut(source, destination)

    def statistics(self) -> FabricStatistics:
        """Return what became of the datagrams so far."""
        held = sum(
            tag.__class__ is not SegmentQueue for link in self._holding for _, tag in link.held
        )
        flying = sum(
            bool(entry[2]) and entry[5].__class__ is not SegmentQueue for entry in self._heap
        )
        return FabricStatistics(
            sent=self._sent,
            arrived=self._arrived,
            duplicated=self._duplicated,
            corrupted=self._corrupted,
            truncated=self._truncated,
            lost=self._lost,
            overflowed=self._overflowed,
            cut=self._cut,
            on_the_way=held + flying,
        )

    # Within

    def _open(self, source: str, destination: str) -> Link:
        rng = stream(self._seed, "link", source, destination)
        link = self._links[source, destination] = Link(source, destination, rng)
        if source == destination:
            link.weather = _LOOPBACK
        return link

    def _links_state(self, source: str, destination: str) -> Link:
        link = self._links[source, destination]
        if link.version != self._faults.version:
            self._faults.refresh(link)
        return link

    def _turn(self, now: int, flap: Toggle) -> None:
        """Cut or mend a flapping partition and plan its next turn."""
        if not self._faults.turn(flap):
            return
        place, fault, cut = flap
        first_half = fault.period // 2
        length = max(1, first_half if cut else fault.period - first_half)
        if now + length < fault.end:
            self._push(now + length, "", "", b"", Toggle(place, fault, not cut))
        if not cut:
            self._release(now)

    def _hold(self, link: Link, data: bytes, tag: Any) -> None:
        link.held.append((data, tag))
        self._holding[link] = None

    def _release(self, now: int) -> None:
        """Let go what is held by links that are whole again."""
        for link in list(self._holding):
            self._faults.refresh(link)
            if link.cut or link.clogged:
                continue
            del self._holding[link]
            held, link.held = link.held, []
            for index, (data, tag) in enumerate(held):
                due = now + RELEASE_SPREAD * index // len(held)
                if tag.__class__ is SegmentQueue:
                    tag.last_due = max(tag.last_due, due)
                self._push(due, link.source, link.destination, data, tag)

    def _push(self, due: int, source: str, destination: str, data: bytes, tag: Any) -> None:
        heappush(self._heap, Arrival(due, self._number, source, destination, data, tag))
        self._number += 1

    def _through_weather(self, link: Link, now: int, data: bytes, tag: Any) -> str | None:
        """Send a datagram over a link where more can happen to it than a delay."""
        rng, weather = link.rng, link.weather
        if link.cut:
            self._cut += 1
            return "cut"
        if link.clogged:
            self._hold(link, data, tag)
            return None
        if weather.loss and rng.random() < weather.loss:
            self._lost += 1
            return "loss"
        start = now
        if weather.bandwidth is not None:
            waiting = link.waiting(now, weather.bandwidth)
            if weather.queue is not None and waiting + len(data) > weather.queue:
                self._overflowed += 1
                return "queue"
            start = max(now, link.free_at) + serialisation(len(data), weather.bandwidth)
            link.free_at = start
        self._copy(link, start, data, tag)
        if weather.duplicate and rng.random() < weather.duplicate:
            self._duplicated += 1
            self._copy(link, start, data, tag)
        return None

    def _copy(self, link: Link, start: int, data: bytes, tag: Any) -> None:
        """Send one copy on its way, harmed as the weather will have it."""
        rng, weather = link.rng, link.weather
        due = start + travel(weather, rng)
        due += -due % self._grain
        if weather.corrupt and data and rng.random() < weather.corrupt:
            data = corrupted(data, rng)
            self._corrupted += 1
        if weather.truncate and data and rng.random() < weather.truncate:
            data = truncated(data, rng)
            self._truncated += 1
        self._push(due, link.source, link.destination, data, tag)
