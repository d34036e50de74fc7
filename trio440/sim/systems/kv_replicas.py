"""Servers of a store at level A: the cores of query actors, and what travels between. Pure."""

import random
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import attrs

from trio440.actors.messages import Vocabulary
from trio440.actors.ref import Ref
from trio440.kv.hlc import HybridClock, ms_of, pack
from trio440.kv.operations import Operation, Result
from trio440.kv.questions import SyncTimes
from trio440.kv.replica import Replica
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.sync import Replication
from trio440.kv.sync_messages import ServerInfo, Sync
from trio440.sim.stage import Stage
from trio440.sim.systems.kv_watch import Life, Truth, Version, require

__all__ = ["Actor", "Hub", "Server"]

START_MS: Final = 1_700_000_000_000
SECOND: Final = 1_000_000
LOCAL_US: Final = 500_000
REMOTE_US: Final = 2_000_000
RATE: Final = 10
"""Messages in a second, from one actor to another."""
HEAD_BYTES: Final = 6_000
"""Of one message, for who is there and who wrote, beside what is bounded."""


@attrs.define(eq=False)
class Hub:
    """What all servers share: the stage, the numbers, the truth, and what was sent."""

    stage: Stage
    limits: ReplicaLimits
    times: SyncTimes
    local_loss: float
    """The share of messages between siblings that finds no room."""
    is_prompt: bool
    """Whether all are told in time, since nothing goes wrong."""
    truth: Truth = attrs.Factory(Truth)
    servers: "dict[str, Server]" = attrs.Factory(dict)
    messages: int = 0
    sent_bytes: int = 0
    codec: Any = attrs.Factory(lambda: Vocabulary().learn(Sync).codec)
    _sent: dict[tuple[Ref[Any], Ref[Any]], deque[int]] = attrs.Factory(dict)

    def count(self, source: Ref[Any], to: Ref[Any], data: bytes, now_us: int) -> None:
        """Count a message, and require that it is not too much."""
        self.messages += 1
        self.sent_bytes += len(data)
        most = 2 * self.limits.sync_bytes + self.limits.value_bytes + HEAD_BYTES
        require(len(data) <= most, "a message is bounded", f"{source} to {to}: {len(data)} bytes")
        times = self._sent.setdefault((source, to), deque(maxlen=RATE + 1))
        times.append(now_us)
        fits = len(times) <= RATE or now_us - times[0] >= SECOND
        require(fits, "ten messages a second", f"{source} to {to}: {[*times]}")

    def expect(self, server: "Server", key: bytes, version: Version) -> None:
        """Require that a write is known soon to all who are there, and to siblings still sooner."""
        if self.is_prompt:
            siblings = [actor.life for actor in server.actors]
            expect = partial(self._expect_elsewhere, siblings, self._lives(), key, version)
            self.stage.at(self.stage.now + LOCAL_US, expect)

    def _lives(self) -> list[Life]:
        return [actor.life for each in self.servers.values() for actor in each.actors]

    def _expect_elsewhere(
        self, siblings: Sequence[Life], every: Sequence[Life], key: bytes, version: Version
    ) -> None:
        """Require that siblings know a write by now, and that all others are going to.

        A server that has begun anew meanwhile may have lost the write before it told anybody.
        """
        self._require_told(siblings, key, version)
        there = self._lives()
        if any(life in there for life in siblings):
            after_us = self.stage.now + REMOTE_US - LOCAL_US
            self.stage.at(after_us, partial(self._require_told, every, key, version))

    def _require_told(self, lives: Sequence[Life], key: bytes, version: Version) -> None:
        there = self._lives()
        for life in lives:
            record = life.replica.records.find(key)
            is_told = record is not None and (record.stamp, record.writer) >= version
            shown = f"{life}: {key!r} {version}, at {self.stage.now}"
            require(is_told or life not in there, "all are told in time", shown)


class Actor:
    """One query actor, in all lives that it has in one life of its server."""

    def __init__(self, server: "Server", ref: Ref[Any]) -> None:
        """Begin with nothing."""
        self.ref: Final = ref
        self.server = server
        self._hub = server.hub
        self._clock = HybridClock(self._hub.limits.max_clock_offset_ms)
        self._rng = self._hub.stage.rng(f"{server.name} {ref.counter}")
        self._rings_at: int | None = None
        self.begin()

    def begin(self) -> None:
        """Begin anew, as an actor that has failed."""
        hub, server = self._hub, self.server
        self.replica = Replica(self.ref, self._clock, hub.limits, server.now_ms())
        self.replication = Replication(self.replica, random.Random(self._rng.random()), hub.times)
        self.life = Life(hub.truth, self.replica, pack(server.now_ms()))
        if server.info is not None:
            self.replication.meet(server.info, server.others, server.now_us())

    def execute(self, seen: int, operations: Sequence[Operation]) -> list[Result]:
        """Carry out what a client asks."""
        results, written = self.replica.execute(seen, operations, self.server.now_ms())
        if written:
            self.replication.written(written)
        self.pump()
        return results

    def receive(self, data: bytes) -> None:
        """Learn from another actor."""
        now_us, now_ms = self.server.now_us(), self.server.now_ms()
        before = self._clock.last
        self.replication.receive(self._hub.codec.decode_untrusted(data), now_us, now_ms)
        latest = now_ms + self._hub.limits.max_clock_offset_ms
        fits = self._clock.last == before or ms_of(self._clock.last) <= latest
        require(fits, "no clock follows one that is too far ahead", f"{self.ref!r}")
        self.pump()
        self.life.read()

    def pump(self) -> None:
        """Tell what is due, and wake up for the rest."""
        server, hub = self.server, self._hub
        now_us = server.now_us()
        for to, message in self.replication.messages_to_send(now_us):
            data = hub.codec.encode(message)
            hub.count(self.ref, to, data, now_us)
            server.transmit(self.ref, to, data)
        deadlines = [now_us + SECOND]  # for what is over
        if (due_us := self.replication.next_deadline()) is not None:
            deadlines.append(due_us)
        rings_at = hub.stage.now + max(1, min(deadlines) - now_us)
        if self._rings_at is None or rings_at < self._rings_at:
            self._rings_at = rings_at
            hub.stage.at(rings_at, lambda: self._ring(rings_at), host=server.name)

    def _ring(self, rings_at: int) -> None:
        if rings_at == self._rings_at and self.server.holds(self):
            self._rings_at = None
            self.replica.sweep(self.server.now_ms())
            self.pump()
            self.life.read()


class Server:
    """One host, and the present life of its server."""

    def __init__(self, hub: Hub, name: str, count: int) -> None:
        """Be down; :meth:`start` begins a life."""
        self.hub: Final = hub
        self.name: Final = name
        self.actors: list[Actor] = []
        self.info: ServerInfo | None = None
        """What it says of itself; stays when it goes down."""
        self.others: tuple[ServerInfo, ...] = ()
        self.lives = 0
        self._count = count
        self._rng = hub.stage.rng(f"{name} network")
        hub.servers[name] = self
        hub.stage.on_datagram(name, self._hear)
        hub.stage.on_crash(name, self.stop)

    @property
    def is_up(self) -> bool:
        """Whether it has power, and was started."""
        return bool(self.actors)

    @property
    def answers(self) -> bool:
        """Whether it is up and does not stand still."""
        return self.is_up and not self.hub.stage.is_paused(self.name)

    def now_us(self) -> int:
        """Return its own time."""
        return self.hub.stage.clock(self.name)

    def now_ms(self) -> int:
        """Return the time of day that it believes in."""
        return START_MS + self.hub.stage.wall(self.name) // 1000

    def start(self) -> None:
        """Begin a life with nothing, told of all servers that were ever started."""
        hub = self.hub
        if self.is_up or not hub.stage.is_up(self.name):
            return
        self.lives += 1
        told = (each.info for each in hub.servers.values() if each is not self)
        self.others = tuple(info for info in told if info is not None)
        counters = tuple(range(1, self._count + 1))
        self.info = ServerInfo(self.name, self.lives, counters)
        self.actors = [Actor(self, self.info.ref(counter)) for counter in counters]
        for actor in self.actors:
            actor.pump()

    def stop(self) -> None:
        """Lose everything."""
        self.actors = []

    def holds(self, actor: Actor) -> bool:
        """Whether an actor is of the present life."""
        return actor in self.actors

    # The network

    def transmit(self, source: Ref[Any], to: Ref[Any], data: bytes) -> None:
        """Tell a sibling, or an actor elsewhere."""
        stage = self.hub.stage
        if to.address == self.name:
            if self._rng.random() >= self.hub.local_loss:
                stage.at(stage.now, lambda: self._deliver(to, data), host=self.name)
        elif source.address == self.name:
            stage.send(self.name, to.address, b"%d %d " % (to.counter, to.incarnation) + data)

    def _hear(self, data: bytes, _source: str) -> None:
        if not self.hub.stage.altered:  # a stream would not let it through
            counter, incarnation, body = data.split(b" ", 2)
            self._deliver(Ref(self.name, int(counter), int(incarnation)), body)

    def _deliver(self, to: Ref[Any], data: bytes) -> None:
        for actor in self.actors:
            if actor.ref == to:
                actor.receive(data)
