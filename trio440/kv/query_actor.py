"""The query actor: a replica with a mailbox. It answers clients, and keeps up with the others."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias, final

import attrs
import trio

from trio440 import actors
from trio440.core.host import Host
from trio440.kv.hlc import HybridClock
from trio440.kv.keeper import Keeper
from trio440.kv.keeping import collect
from trio440.kv.operations import Operation, Refused, Result
from trio440.kv.questions import SyncTimes
from trio440.kv.records import Records
from trio440.kv.replica import Replica
from trio440.kv.replica_limits import ReplicaLimits, ReplicaStatistics
from trio440.kv.service import Follow, Followed
from trio440.kv.sync import Replication
from trio440.kv.sync_messages import MOST_SERVERS, ServerInfo, Sync

__all__ = [
    "Batch",
    "BatchResults",
    "Batches",
    "Inspect",
    "Inspected",
    "Meet",
    "QueryActor",
    "Role",
    "Roster",
    "Tick",
]

TICK_GAP_US: Final = 110_000
"""At least so long between two ticks: an actor counts what it tells itself, too."""
SWEEP_US: Final = 1_000_000
"""Between looks at what is over, where no client comes by."""
LONGEST_HOLD_MS: Final = 60_000
BUCKETS_AT_ONCE: Final = 512
MOST_MEETING: Final = 16
"""That wait for servers to be met; who has waited longest is told that they were not."""
FOLLOWED_BYTES: Final = 1 << 20


@actors.message("kv.Tick")
@attrs.frozen
class Tick:
    """Look what is due."""


@actors.message("kv.Meet")
@attrs.frozen
class Meet(actors.Question[bool]):
    """Begin to sync: the roster is complete. Answered when all servers on it were heard of."""


@actors.message("kv.Inspected")
@attrs.frozen
class Inspected:
    """One query actor at one moment."""

    replica: ReplicaStatistics
    digest: int
    """Equal replicas have equal ones."""
    servers: int
    """Others that it knows."""
    watches: int
    """Clients that wait for changes."""


@actors.message("kv.Inspect")
@attrs.frozen
class Inspect(actors.Question[Inspected]):
    """Ask a query actor how it is."""


@actors.message("kv.BatchResults", shared=True)
@attrs.frozen
class BatchResults:
    """The results of batches, in their order."""

    clock: int
    """The greatest stamp that the actor has seen."""
    results: tuple[Sequence[Result], ...]


Batch: TypeAlias = tuple[int, Sequence[Operation | Refused]]
"""The greatest stamp that a client has seen, or 0, and its operations, or why something is none."""


@actors.message("kv.Batches", shared=True)
@attrs.frozen
class Batches(actors.Question[BatchResults]):
    """Batches of callers in the actor's own process, which need no wire form.

    Each is carried out by itself.
    """

    batches: tuple[Batch, ...]


@attrs.define
class Roster:
    """The server, once all its actors are there, and those that it knows."""

    me: ServerInfo | None = None
    servers: dict[str, ServerInfo] = attrs.Factory(dict)
    """By address: the last life that was heard of. At first those that it was told of."""
    sought: dict[str, int] = attrs.Factory(dict)
    """By address, the lives of servers that this one has looked for."""

    def note(self, servers: Iterable[ServerInfo]) -> None:
        """Take note of servers that an actor knows; what was noted first makes room."""
        for server in servers:
            known = self.servers.get(server.address)
            if known is None or known.incarnation < server.incarnation:
                self.servers[server.address] = server
            if len(self.servers) > MOST_SERVERS:
                del self.servers[next(iter(self.servers))]


@attrs.define
class Role:
    """What one query actor is given, and hands from one of its lives to the next."""

    clock: HybridClock
    """Its own; no life gives a stamp twice."""
    limits: ReplicaLimits
    times: SyncTimes
    roster: Roster
    """Shared by the actors of a server."""
    ports: Host
    keeper: Keeper | None
    """The server's journal."""
    records: Records | None
    """Of the present life; before it has them, those of the former one, or of the journal. A life
    goes on from the writes, and makes everything else anew: what was wrong in it is gone."""


@attrs.define(eq=False)
class _Held:
    """A client that waits for changes."""

    reply: actors.Reply[Followed]
    prefix: bytes
    number: int
    until_us: int


@final
class QueryActor(actors.Actor[Batches | Follow | Sync | Tick | Meet | Inspect]):
    """One of a server's actors, with a replica of the whole store.

    A life that fails begins anew with the writes of the one before.
    """

    def __init__(self, role: Role) -> None:
        """Take what the server gives."""
        self._role: Final = role
        self._now = role.ports.clock.now
        self._held: list[_Held] = []
        self._meeting: list[actors.Reply[bool]] = []
        self._seen = 0
        """The last change that was looked at for those who wait."""
        self._tick: actors.Timer | None = None
        self._tick_us = 0
        self._ticked_us = -TICK_GAP_US

    async def on_start(self) -> None:
        """Begin with what was kept; in a later life the roster is complete already."""
        role = self._role
        self._replica = Replica(self.context.ref, role.clock, role.limits, self._now_ms())
        if role.records is not None:
            await self._take_over(role.records)
        self._become(self._replica.records)
        sought = role.roster.sought
        self._replication = Replication(self._replica, role.ports.rng, role.times, sought)
        self._life = f"{self.context.ref}/{role.ports.rng.getrandbits(62):x}"
        self._join()
        self._go_on()

    async def _take_over(self, former: Records) -> None:
        """Take the writes of a former life."""
        mine = self._replica.records
        for rows in collect([former], BUCKETS_AT_ONCE):
            for row in rows:
                mine.merge(*row)
                self._role.clock.last = max(self._role.clock.last, row[2])
            await trio.lowlevel.checkpoint()
        mine.horizon, mine.born = former.horizon, former.born
        mine.sweep(self._now_ms())

    def _become(self, records: Records) -> None:
        """Let the role, and the journal's snapshots, know these records in place of the former."""
        role = self._role
        former, role.records = role.records, records
        if role.keeper is not None:
            kept = role.keeper.replicas
            kept[:] = [each for each in kept if each is not former]
            kept.append(records)

    @actors.handler
    async def execute(self, message: Batches) -> BatchResults:
        """Answer batches at once."""
        now_ms = self._now_ms()
        answers: list[list[Result]] = []
        every: list[bytes] = []
        for seen, operations in message.batches:
            results, written = self._replica.execute(seen, operations, now_ms)
            answers.append(results)
            every += written
        if every:
            self._replication.written(every)
            await self._keep(every)
        self._go_on()
        return BatchResults(self._replica.clock.last, tuple(answers))

    @actors.handler
    async def sync(self, message: Sync) -> None:
        """Learn from another actor."""
        news = self._replication.receive(message, self._now_us(), self._now_ms())
        if message.servers:
            self._role.roster.note(self._replication.servers)
        if message.sender.address != self.context.ref.address:
            await self._keep(news)
        self._go_on()

    @actors.handler
    async def follow(self, message: Follow) -> Any:
        """Answer with changes, as soon as there are some."""
        feed = self._replica.feed
        is_known = message.life == self._life and feed.forgotten <= message.number <= feed.last
        if not is_known:
            return Followed(self._life, feed.last, feed.last)
        now_us, wait_ms = self._now_us(), min(max(message.wait_ms, 0), LONGEST_HOLD_MS)
        held = _Held(
            self.context.hold_reply(message),
            message.prefix,
            message.number,
            now_us + wait_ms * 1000,
        )
        if len(self._held) >= self._role.limits.watches:
            self._forget_who_has_gone()
        if len(self._held) >= self._role.limits.watches:
            held.reply.answer(Followed(self._life, held.number, feed.forgotten, is_refused=True))
        elif not self._serve(held, now_us):
            self._held.append(held)
            self._go_on()
        return held.reply

    def _forget_who_has_gone(self) -> None:
        """Make room: of clients whose connections have ended, or who have given up."""
        gone = [held for held in self._held if not held.reply.is_wanted]
        self._held = [held for held in self._held if held.reply.is_wanted]
        for held in gone:
            held.reply.fail("nobody waits for this answer")

    @actors.handler
    async def inspect(self, _: Inspect) -> Inspected:
        """Say how it is."""
        return Inspected(
            self._replica.statistics(),
            self._replica.records.tree.digest(0),
            len(self._replication.servers),
            len(self._held),
        )

    @actors.handler
    async def meet(self, message: Meet) -> Any:
        """Begin to sync."""
        self._join()
        if len(self._meeting) == MOST_MEETING:
            self._meeting.pop(0).answer(value=False)
        self._meeting.append(reply := self.context.hold_reply(message))
        self._go_on()
        return reply

    @actors.handler
    async def tick(self, _: Tick) -> None:
        """Do what is due."""
        if self._tick is not None:
            self._tick.cancel()  # it may be somebody else's tick
            self._tick = None
        self._ticked_us = self._now_us()
        self._replica.sweep(self._now_ms())
        self._go_on()

    def _join(self) -> None:
        roster = self._role.roster
        if roster.me is not None and not self._replication.has_begun:
            self._replication.meet(roster.me, [*roster.servers.values()], self._now_us())

    async def _keep(self, keys: Sequence[bytes]) -> None:
        """Have the records of keys written to the journal."""
        if self._role.keeper is not None:
            records = self._replica.records
            found = [(key, record) for key in keys if (record := records.find(key)) is not None]
            if found:
                await self._role.keeper.keep(
                    [(key, r.value, r.stamp, r.writer, r.expires_ms) for key, r in found]
                )

    # After each message

    def _go_on(self) -> None:
        """Tell others what is due, and wake up for what is due later."""
        now_us = self._now_us()
        for ref, sync in self._replication.messages_to_send(now_us):
            self.context.tell(ref, sync)
        if self._meeting and not self._replication.strangers:
            for reply in self._meeting:
                reply.answer(value=True)
            self._meeting.clear()
        if self._held:
            self._serve_all(now_us)
        self._schedule(now_us)

    def _serve_all(self, now_us: int) -> None:
        last = self._replica.feed.last
        if last != self._seen or any(held.until_us <= now_us for held in self._held):
            self._seen = last
            self._held = [held for held in self._held if not self._serve(held, now_us)]

    def _serve(self, held: _Held, now_us: int) -> bool:
        """Answer one that waits, if there are changes or its time is over."""
        feed = self._replica.feed
        if held.number < feed.forgotten:
            held.reply.answer(Followed(self._life, feed.last, feed.forgotten))
            return True
        found, number = feed.since(held.number, held.prefix, FOLLOWED_BYTES)
        held.number = number
        if not found and now_us < held.until_us:
            return False
        rows = tuple((*seen, place) for place, seen in found)
        held.reply.answer(Followed(self._life, number, feed.forgotten, rows))
        return True

    def _schedule(self, now_us: int) -> None:
        """Let a tick come when it is needed next."""
        deadlines = [held.until_us for held in self._held]
        if (due_us := self._replication.next_deadline()) is not None:
            deadlines.append(due_us)
        if (due_ms := self._replica.records.next_due_ms()) is not None:
            deadlines.append(max(now_us + SWEEP_US, now_us + (due_ms - self._now_ms()) * 1000))
        if not deadlines:
            return
        due_us = max(min(deadlines), self._ticked_us + TICK_GAP_US, now_us)
        if self._tick is not None:
            if self._tick_us <= due_us:
                return
            self._tick.cancel()
        self._tick_us = due_us
        self._tick = self.context.tell_after(self.context.ref, Tick(), (due_us - now_us) / 1e6)

    def _now_us(self) -> int:
        return round(self._now() * 1e6)

    def _now_ms(self) -> int:
        return self._role.ports.wall.now_ns() // 1_000_000
