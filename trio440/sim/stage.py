"""Level A: protocol cores on simulated hosts, without an event loop.

A stage carries datagrams and segments between handlers, runs timers, lets the faults of the
world's plan happen, and checks the invariants after every step. What the cores are, and what a
crash leaves of them, is the system's to say::

    stage = Stage(setup, hosts, duration=20_000_000, heal_at=12_000_000)
    stage.on_datagram("server", lambda data, source: stage.send("server", source, data))
    stage.at(0, lambda: stage.send("client", "server", b"hello"))
    stage.check(lambda: stage.require(count < 10, "few answers", f"{count} answers"))
    stage.run()

All times are microseconds of virtual time.
"""

import random
import zlib
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import attrs

from trio440.errors import InvalidParameter, InvariantViolated, SimulationError
from trio440.sim.chance import stream
from trio440.sim.fabric import Arrival, Fabric
from trio440.sim.faults import CLEAR, ClockSkew, Crash, Fault, FaultPlan, HostTraits, Pause
from trio440.sim.outcome import Setup
from trio440.sim.profiles import describe, draw_plan
from trio440.sim.trace import WORLD, Record, Trace

__all__ = ["DatagramHandler", "SegmentHandler", "Stage", "shown"]

SHOWN_BYTES: Final = 200
"""More of a payload is shown as its beginning, its length and its CRC-32."""
MILLION: Final = 1_000_000

Action: TypeAlias = Callable[[], None]
DatagramHandler: TypeAlias = Callable[[bytes, str], None]
"""``(data, source)``"""
SegmentHandler: TypeAlias = Callable[[bytes, str, Hashable], None]
"""``(data, source, stream)``"""


@attrs.define(eq=False)
class _HostState:
    """What the stage knows of a host."""

    name: str
    life: int = 0
    """Counts crashes and restarts; a timer of another life is dropped."""
    datagram_handler: DatagramHandler | None = None
    segment_handler: SegmentHandler | None = None
    crash_actions: list[Action] = attrs.Factory(list)
    restart_actions: list[Action] = attrs.Factory(list)
    crashes: set[int] = attrs.Factory(set)
    """The positions of the crashes that last; down while there are any."""
    pauses: set[int] = attrs.Factory(set)
    held: list[Arrival] = attrs.Factory(list)
    """What came in a pause."""
    skews: dict[int, ClockSkew] = attrs.Factory(dict)
    skew_since: int = 0
    clock_then: int = 0
    """The host's clock at ``skew_since``."""


class _Hosts(dict[str, _HostState]):
    """All hosts, by name."""

    def __missing__(self, name: str) -> _HostState:
        """Say which names there are."""
        raise InvalidParameter("host", name, f"one of {', '.join(self)}")


class _Timer(NamedTuple):
    action: Action
    host: _HostState | None
    life: int


class _Datagram(NamedTuple):
    number: int
    """Of its ``send`` in the trace."""
    data: bytes


class _Segment(NamedTuple):
    number: int
    data: bytes
    stream: Hashable
    receiver_life: int


class Stage:
    """One world at level A; see the module's text."""

    def __init__(
        self,
        setup: Setup,
        hosts: Sequence[HostTraits],
        duration: int,
        heal_at: int,
        *,
        keep_trace: bool = False,
        plan: FaultPlan | None = None,
        record: Record | None = None,
    ) -> None:
        """Set up hosts that do nothing yet; handlers and timers follow, then :meth:`run`.

        Args:
            setup: its seed, profile and ``keep`` are what counts here.
            hosts: all hosts, by unique names.
            duration: how long :meth:`run` runs.
            heal_at: when the last fault has ended.
            keep_trace: keep the events, not only their hash.
            plan: the faults, where they are not to be drawn from the profile.
            record: takes what the system says of itself in a form of its own.

        Raises:
            InvalidParameter: the profile is unknown, two hosts have one name, or ``heal_at`` is
                after the end.
        """
        names = [host.name for host in hosts]
        if len(set(names)) != len(names) or WORLD in names:
            raise InvalidParameter("hosts", names, "unique names that are not empty")
        self.now = 0
        """The present."""
        self.altered = False
        """Whether the datagram that is being handled was corrupted or cut short on its way. For
        checkers: a weak checksum cannot promise to see it."""
        self.trace = Trace(keep=keep_trace)
        self.record = record
        if plan is None:
            plan = draw_plan(setup.profile, setup.seed, hosts, duration, heal_at)
        self.plan = plan if setup.keep is None else plan.keep(setup.keep)
        self.setup = setup
        self.duration = duration
        self._fabric = Fabric(setup.seed, self.plan.base)
        self._hosts = _Hosts((name, _HostState(name)) for name in names)
        self._rngs: dict[str, random.Random] = {}
        self._checks: list[Action] = []
        for name in names:
            self.trace.add(0, name, "start", "started")
        for place, fault in self.plan.happening:
            self.at(fault.start, partial(self._begin, place, fault))
            self.at(fault.end, partial(self._end, place, fault))
        self.at(self.plan.heal_at, self._heal)

    @property
    def fabric(self) -> Fabric:
        """What carries everything, for its statistics."""
        return self._fabric

    def rng(self, name: str) -> random.Random:
        """Return the stream of chance of that name; the same one each time."""
        rng = self._rngs.get(name)
        if rng is None:
            rng = self._rngs[name] = stream(self.setup.seed, "stage", name)
        return rng

    # What hosts do

    def at(self, when: int, action: Action, *, host: str | None = None) -> None:
        """Call ``action`` at a time, at once when it is past.

        Args:
            when: the time.
            action: called with nothing.
            host: whose timer it is: dropped when the host crashes, late when it is paused. None:
                the world's own, which always comes.
        """
        state = None if host is None else self._hosts[host]
        life = 0 if state is None else state.life
        self._fabric.at(max(when, self.now), _Timer(action, state, life))

    def send(self, source: str, destination: str, data: bytes) -> None:
        """Send a datagram; a host that is down sends nothing."""
        self._hosts[destination]  # raises where there is none
        if self._hosts[source].crashes:
            return
        number = self.trace.add(self.now, source, "send", f"to {destination} {shown(data)}")
        dropped = self._fabric.datagram(
            self.now, source, destination, data, _Datagram(number, data)
        )
        if dropped is not None:
            self._drop(destination, source, dropped, number)

    def segment(self, source: str, destination: str, data: bytes, *, stream: Hashable = 0) -> None:
        """Send a part of a stream: it arrives, in order, unless one of the hosts crashes.

        Args:
            source: the sending host; one that is down sends nothing.
            destination: the receiving host.
            data: what arrives, unharmed.
            stream: which of the streams in this direction.
        """
        receiver, sender = self._hosts[destination], self._hosts[source]
        if sender.crashes:
            return
        text = f"to {destination} stream {stream} {shown(data)}"
        number = self.trace.add(self.now, source, "send", text)
        self._fabric.segment(
            self.now,
            source,
            destination,
            len(data),
            (stream, sender.life, receiver.life),
            _Segment(number, data, stream, receiver.life),
        )

    def on_datagram(self, host: str, handler: DatagramHandler) -> None:
        """Have ``handler(data, source)`` called for each datagram; replaces the one before."""
        self._hosts[host].datagram_handler = handler

    def on_segment(self, host: str, handler: SegmentHandler) -> None:
        """Have ``handler(data, source, stream)`` called for each segment; replaces the last."""
        self._hosts[host].segment_handler = handler

    def on_crash(self, host: str, action: Action) -> None:
        """Have ``action`` called whenever the host loses power; what it sends goes nowhere."""
        self._hosts[host].crash_actions.append(action)

    def on_restart(self, host: str, action: Action) -> None:
        """Have ``action`` called whenever the host starts again."""
        self._hosts[host].restart_actions.append(action)

    def is_up(self, host: str) -> bool:
        """Whether the host has power; a paused one has."""
        return not self._hosts[host].crashes

    def is_paused(self, host: str) -> bool:
        """Whether the host stands still."""
        return bool(self._hosts[host].pauses)

    def clock(self, host: str) -> int:
        """Return the host's own elapsed time, which drifts but never goes back."""
        state = self._hosts[host]
        passed = self.now - state.skew_since
        if state.skews:
            drift = sum(skew.drift for skew in state.skews.values())
            passed = passed * (MILLION + drift) // MILLION
        return state.clock_then + passed

    def wall(self, host: str) -> int:
        """Return the host's wall time from the world's start, which may be off and may jump."""
        return self.clock(host) + sum(skew.offset for skew in self._hosts[host].skews.values())

    # What is promised

    def check(self, invariant: Action) -> None:
        """Have ``invariant`` called after every step; it calls :meth:`require`, returns nothing."""
        self._checks.append(invariant)

    def require(self, condition: object, invariant: str, detail: str) -> None:
        """Raise :exc:`~trio440.errors.InvariantViolated` unless the condition holds."""
        if not condition:
            raise InvariantViolated(invariant, detail)

    def note(self, host: str, text: str, kind: str = "note", cause: int | None = None) -> int:
        """Write an event into the trace and return its number; see ``trace.Event``."""
        return self.trace.add(self.now, host, kind, text, cause)

    def run(self, until: int | None = None) -> None:
        """Let everything happen that is due up to a time, that time included.

        Args:
            until: the end of the world's duration when None.

        Raises:
            InvariantViolated: an invariant did not hold after a step; ``now`` says when.
        """
        end = self.duration if until is None else until
        fabric = self._fabric
        while (due := fabric.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            arrival = fabric.take_next(due)
            for dropped in fabric.dropped:
                tag: _Datagram = dropped.tag
                self._drop(dropped.destination, dropped.source, "cut", tag.number)
            if arrival is not None:
                self._step(arrival)
        self.now = max(self.now, end)

    # Within

    def _step(self, arrival: Arrival) -> None:
        tag = arrival.tag
        if tag.__class__ is _Timer:
            self._fire(arrival, tag)
        else:
            self._deliver(arrival)
        for check in self._checks:
            if check() is not None:
                raise SimulationError("an invariant has returned something; it is to raise")

    def _fire(self, arrival: Arrival, timer: _Timer) -> None:
        action, host, life = timer
        if host is not None:
            if host.life != life or host.crashes:
                return
            if host.pauses:
                host.held.append(arrival)
                return
        action()

    def _deliver(self, arrival: Arrival) -> None:
        """Hand a message to its host, or say why not."""
        host = self._hosts[arrival.destination]
        source, tag = arrival.source, arrival.tag
        if host.crashes:
            self._drop(host.name, source, "down", tag.number)
        elif host.pauses:
            host.held.append(arrival)
        elif tag.__class__ is _Segment:
            if tag.receiver_life != host.life:
                self._drop(host.name, source, "reset", tag.number)
            elif host.segment_handler is None:
                self._drop(host.name, source, "no handler", tag.number)
            else:
                text = f"from {source} stream {tag.stream}"
                self.trace.add(self.now, host.name, "arrive", text, tag.number)
                host.segment_handler(tag.data, source, tag.stream)
        elif host.datagram_handler is None:
            self._drop(host.name, source, "no handler", tag.number)
        else:
            data = arrival.data
            altered = data is not tag.data
            text = f"from {source} altered to {shown(data)}" if altered else f"from {source}"
            self.trace.add(self.now, host.name, "arrive", text, tag.number)
            self.altered = altered
            host.datagram_handler(data, source)

    def _drop(self, destination: str, source: str, reason: str, number: int) -> None:
        self.trace.add(self.now, destination, "drop", f"from {source}: {reason}", number)

    def _begin(self, place: int, fault: Fault) -> None:
        self.trace.add(self.now, WORLD, "fault", f"{place}: {describe(fault)}")
        match fault:
            case Crash():
                self._crash(place, self._hosts[fault.host])
            case Pause():
                self._pause(place, self._hosts[fault.host])
            case ClockSkew():
                self._skew(self._hosts[fault.host], place, fault)
            case _:
                self._fabric.begin(place, fault)

    def _end(self, place: int, fault: Fault) -> None:
        self.trace.add(self.now, WORLD, "heal", f"{place}: {describe(fault)}")
        match fault:
            case Crash():
                self._restart(place, self._hosts[fault.host])
            case Pause():
                self._resume(place, self._hosts[fault.host])
            case ClockSkew():
                self._skew(self._hosts[fault.host], place, None)
            case _:
                self._fabric.end(place, fault)

    def _heal(self) -> None:
        self._fabric.base = CLEAR
        self.trace.add(self.now, WORLD, "heal", "no more faults")

    def _crash(self, place: int, host: _HostState) -> None:
        was_up = not host.crashes
        host.crashes.add(place)
        if not was_up:
            return
        host.life += 1
        host.pauses.clear()
        held, host.held = host.held, []
        self.trace.add(self.now, host.name, "crash", "lost power")
        for arrival in held:
            if arrival.source:
                self._drop(host.name, arrival.source, "down", arrival.tag.number)
        for action in host.crash_actions:
            action()

    def _restart(self, place: int, host: _HostState) -> None:
        host.crashes.discard(place)
        if host.crashes:
            return
        host.life += 1
        self.trace.add(self.now, host.name, "start", "started again")
        for action in host.restart_actions:
            action()

    def _pause(self, place: int, host: _HostState) -> None:
        if host.crashes:
            return
        if not host.pauses:
            self.trace.add(self.now, host.name, "pause", "stands still")
        host.pauses.add(place)

    def _resume(self, place: int, host: _HostState) -> None:
        if place not in host.pauses:
            return
        host.pauses.discard(place)
        if host.pauses:
            return
        self.trace.add(self.now, host.name, "resume", "goes on")
        held, host.held = host.held, []
        for arrival in held:
            self._step(arrival)

    def _skew(self, host: _HostState, place: int, skew: ClockSkew | None) -> None:
        host.clock_then = self.clock(host.name)
        host.skew_since = self.now
        if skew is None:
            host.skews.pop(place, None)
        else:
            host.skews[place] = skew


def shown(data: bytes) -> str:
    """Return a payload as one line; a long one as its beginning, its length and its CRC-32."""
    if len(data) <= SHOWN_BYTES:
        return repr(data)[1:]
    return f"{data[:SHOWN_BYTES]!r}"[1:] + f"... {len(data)} B {zlib.crc32(data):08x}"
