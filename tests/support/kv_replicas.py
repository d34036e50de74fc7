"""Replicas of the store without actors: a network that is a heap of messages, and one clock.

Servers with their query actors are simulated at level A: everything is pure, and a test says what
is lost and for how long it travels.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from trio440.actors.ref import Ref
from trio440.kv.hlc import HybridClock
from trio440.kv.operations import Delete, Get, List, Operation, Put
from trio440.kv.replica import Replica
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.sync import Replication
from trio440.kv.sync_messages import ServerInfo, Sync
from trio440.wire.codec import Codec

__all__ = ["Actor", "Store"]

CODEC: Final = Codec[Sync](Sync)
START_MS: Final = 1_700_000_000_000


class Actor:
    """One query actor."""

    def __init__(self, ref: Ref[Any], limits: ReplicaLimits, seed: int, now_ms: int) -> None:
        self.ref = ref
        self.limits = limits
        self.seed = seed
        self.clock = HybridClock(limits.max_clock_offset_ms)
        self.restart(now_ms)

    def restart(self, now_ms: int) -> None:
        """Forget everything but the clock."""
        self.replica = Replica(self.ref, self.clock, self.limits, now_ms)
        self.replication = Replication(self.replica, random.Random(self.seed))


class Store:
    """Servers, and what travels between their actors."""

    def __init__(self, *, latency_us: int = 200_000, limits: ReplicaLimits | None = None) -> None:
        self.now_us = 0
        self.limits = limits or ReplicaLimits()
        self.latency_us = latency_us
        self.servers: list[ServerInfo] = []
        self.actors: dict[Ref[Any], Actor] = {}
        self.lost: Callable[[Ref[Any], Ref[Any]], bool] = lambda _sender, _to: False
        self.sent: list[tuple[int, Ref[Any], Ref[Any], int]] = []
        """When, from whom, to whom, and how many bytes."""
        self.offsets: dict[str, int] = {}
        """Of wall clocks by server, in ms."""
        self._travelling: list[tuple[int, int, Ref[Any], bytes]] = []

    def add_server(self, count: int, *, knows: Sequence[ServerInfo] | None = None) -> ServerInfo:
        """Start a server that knows all before it."""
        address = f"10.0.0.{len(self.servers) + 1}:7000"
        server = ServerInfo(address, 1 + len(self.servers), tuple(range(1, count + 1)))
        others = self.servers if knows is None else knows
        for counter in server.counters:
            ref = server.ref(counter)
            actor = Actor(ref, self.limits, len(self.actors), self.now_ms(ref))
            self.actors[actor.ref] = actor
            actor.replication.meet(server, others, self.now_us)
        self.servers.append(server)
        self._pump()
        return server

    def restart(self, ref: Ref[Any]) -> None:
        """Let an actor begin anew, with the servers that its server was told of at first."""
        actor = self.actors[ref]
        actor.restart(self.now_ms(ref))
        place = next(n for n, server in enumerate(self.servers) if server.address == ref.address)
        actor.replication.meet(self.servers[place], self.servers[:place], self.now_us)
        self._pump()

    def now_ms(self, ref: Ref[Any]) -> int:
        """Return the time of day at an actor."""
        return START_MS + self.now_us // 1000 + self.offsets.get(ref.address, 0)

    def do(self, ref: Ref[Any], *operations: Operation) -> list[Any]:
        """Have an actor carry out operations."""
        actor = self.actors[ref]
        results, written = actor.replica.execute(0, operations, self.now_ms(ref))
        actor.replication.written(written)
        self._pump()
        return list(results)

    def put(self, ref: Ref[Any], key: bytes, value: bytes, ttl_ms: int | None = None) -> None:
        """Put at an actor."""
        self.do(ref, Put(key, value, ttl_ms))

    def delete(self, ref: Ref[Any], key: bytes) -> None:
        """Delete at an actor."""
        self.do(ref, Delete(key))

    def get(self, ref: Ref[Any], key: bytes) -> bytes | None:
        """Return the value that an actor has."""
        (found,) = self.do(ref, Get(key))
        return None if found.entry is None else found.entry.value

    def all(self, ref: Ref[Any]) -> dict[bytes, bytes]:
        """Return everything that an actor has."""
        (page,) = self.do(ref, List())
        assert not page.more
        return {entry.key: entry.value for entry in page.entries}

    def is_equal(self) -> bool:
        """Whether all replicas hold the same."""
        return len({each.replica.records.tree.digest(0) for each in self.actors.values()}) == 1

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now_us + round(seconds * 1e6)
        while True:
            due = self._next_us()
            if due is None or due > until:
                break
            self.now_us = max(self.now_us, due)
            while self._travelling and self._travelling[0][0] <= self.now_us:
                _, _, to, data = heapq.heappop(self._travelling)
                message = CODEC.decode_untrusted(data)
                self.actors[to].replication.receive(message, self.now_us, self.now_ms(to))
            self._pump()
        self.now_us = until

    def bytes_since(self, us: int, *, to: str | None = None) -> int:
        """Return how many bytes were sent since a moment, to actors of one server or of all."""
        return sum(
            size for when, _, ref, size in self.sent if when >= us and to in (None, ref.address)
        )

    def most_in_a_second(self) -> int:
        """Return the most messages of one actor to another in any second."""
        most = 0
        times: dict[tuple[Ref[Any], Ref[Any]], list[int]] = {}
        for when, sender, to, _ in self.sent:
            row = times.setdefault((sender, to), [])
            row.append(when)
            most = max(most, sum(when - other <= 1_000_000 for other in row[-20:]))
        return most

    def _next_us(self) -> int | None:
        deadlines = [actor.replication.next_deadline() for actor in self.actors.values()]
        due = [deadline for deadline in deadlines if deadline is not None]
        if self._travelling:
            due.append(self._travelling[0][0])
        return min(due, default=None)

    def _pump(self) -> None:
        for actor in self.actors.values():
            for to, message in actor.replication.messages_to_send(self.now_us):
                data = CODEC.encode(message)
                self.sent.append((self.now_us, actor.ref, to, len(data)))
                if self.lost(actor.ref, to) or to not in self.actors:
                    continue
                latency = 0 if to.address == actor.ref.address else self.latency_us
                place = self.now_us + latency, len(self.sent), to, data
                heapq.heappush(self._travelling, place)
