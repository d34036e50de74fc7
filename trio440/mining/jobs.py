"""The books of the scheduler: jobs, miners, and the chunks between them. Pure.

A nonce of a job is *missing* until some answer has covered it, and *unassigned* while it is
missing and no miner that is expected to answer has it in hand. Answers may come twice and in
any order, so the books are sets: nothing is counted up or down.

The miners that are not late are the crew. It is indexed by what the scheduler asks of it, so
that no message needs a walk over all miners.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from math import ceil
from typing import Final

import attrs

from trio440.mining.hashing import Found
from trio440.mining.ranges import NonceRange, NonceSet
from trio440.mining.speed import Speed

__all__ = [
    "CHUNKS_IN_HAND",
    "LATE_AT_LEAST_MICROS",
    "LATE_FACTOR",
    "MAX_GAPS",
    "Chunk",
    "Crew",
    "Job",
    "Miner",
]

MAX_GAPS: Final = 4096
"""The books of a job may have this many gaps; beyond, the lowest gap is hashed a second time."""
CHUNKS_IN_HAND: Final = 2
"""A miner works on one chunk and has the next one waiting."""
LATE_FACTOR: Final = 4
"""A miner is late when an answer takes so many times as long as expected ..."""
LATE_AT_LEAST_MICROS: Final = 5_000_000
"""... and at least this long, which a datagram lost twice does not reach."""

_SPARE_ALARMS: Final = 64


@attrs.define(eq=False)
class Job:
    """One request of a client, and how far it has come."""

    number: int
    """Jobs are numbered from 1 in their order of arrival."""
    client: int
    text: str
    nonces: NonceRange
    missing: NonceSet
    unassigned: NonceSet
    chunks: "set[Chunk]" = attrs.field(factory=set, repr=False)
    """What miners have in hand for it, late miners included."""
    best: Found | None = None
    over: bool = False
    """Answered or dropped: what miners still have in hand for it is of no use."""

    @classmethod
    def of(cls, number: int, client: int, text: str, nonces: NonceRange) -> "Job":
        """Open the books of a new job."""
        return cls(number, client, text, nonces, NonceSet([nonces]), NonceSet([nonces]))

    def assign(self, chunk: "Chunk") -> None:
        """A miner is now expected to answer a chunk."""
        self.chunks.add(chunk)
        self.unassigned.remove(chunk.nonces)

    def answer(self, chunk: "Chunk", found: Found) -> None:
        """A chunk is done, with this result."""
        self.chunks.discard(chunk)
        self.missing.remove(chunk.nonces)
        self.unassigned.remove(chunk.nonces)
        if self.best is None or found < self.best:
            self.best = found
        if self.missing.gaps > MAX_GAPS:
            low, high = self.missing.lowest(2)
            again = NonceRange(low.upper + 1, high.lower - 1)
            self.missing.add(again)
            self.unassigned.add(again)

    def release(self, chunk: "Chunk") -> None:
        """A chunk's answer is not expected any more: others may have what only it covered."""
        for nonces in self.covered_only_by(chunk):
            self.unassigned.add(nonces)

    def covered_only_by(self, chunk: "Chunk") -> NonceSet:
        """Return what is missing of a chunk and in the hand of no other punctual miner."""
        lower, upper = chunk.nonces.lower, chunk.nonces.upper
        others = (
            other.nonces
            for other in self.chunks
            if other.nonces.lower <= upper
            and other.nonces.upper >= lower
            and other is not chunk
            and not other.miner.late
        )
        return self.missing.within(chunk.nonces).without(others)


@attrs.define(eq=False)
class Miner:
    """One miner: its speed, and what it has in hand, oldest first."""

    conn_id: int
    speed: Speed = attrs.field(factory=Speed)
    hand: "deque[Chunk]" = attrs.field(factory=deque, repr=False)
    since: int = 0
    """When it began with the oldest chunk in hand, in microseconds."""
    before: "tuple[int, int] | None" = None
    """The nonces of the chunk answered just before the oldest in hand, and when it was begun;
    None if the miner was idle in between."""
    late: bool = False
    """The answer to the oldest chunk is overdue: what it has in hand was released."""

    def take(self, chunk: "Chunk", now: int) -> None:
        """Add a chunk to the hand."""
        if not self.hand:
            self.since = now
        self.hand.append(chunk)
        chunk.job.assign(chunk)

    def release(self) -> int:
        """Release everything in hand, and return how many chunks are still of use."""
        useful = [chunk for chunk in self.hand if not chunk.job.over]
        for chunk in useful:
            chunk.job.release(chunk)
        return len(useful)

    def done(self, chunk: "Chunk", found: Found, now: int) -> None:
        """Take in the answer to a chunk in hand.

        Two answers may arrive together, the first one late, and the second then seems to have
        taken no time. Speed is therefore measured over two chunks, the most that can be held up.
        """
        if chunk is self.hand[0]:
            nonces, began = self.before or (0, self.since)
            self.speed.sample(nonces + chunk.nonces.size, now - began)
            self.before = (chunk.nonces.size, self.since) if len(self.hand) > 1 else None
            self.since = now
        self.hand.remove(chunk)
        chunk.job.answer(chunk, found)
        if self.late:  # what is left in hand is expected again
            self.late = False
            for other in self.hand:
                other.job.assign(other)

    def backlog(self, now: int) -> int:
        """Return the microseconds until everything in hand should be answered."""
        return self.expected_end(self.hand[-1], now) - now if self.hand else 0

    def expected_end(self, chunk: "Chunk", now: int) -> int:
        """Return when a chunk in hand should be answered; in the future, however overdue."""
        end = self.since
        for mine in self.hand:
            end += self.speed.micros_for(mine.nonces.size)
            if mine is self.hand[0] and end < now:
                end = now + (now - end)  # as late again as it is now
            if mine is chunk:
                break
        return end


@attrs.frozen(eq=False)
class Chunk:
    """A part of a job in the hand of a miner."""

    job: Job
    miner: Miner
    nonces: NonceRange


@attrs.define(eq=False)
class Crew:
    """All miners that are not late: who has room, who is due when, how fast all are at most."""

    speed: int = 0
    """Nonces per second of all, each rounded up, so that the sum is exact."""
    with_room: set[Miner] = attrs.field(factory=set)
    """Those with fewer than :data:`CHUNKS_IN_HAND` chunks in hand."""
    _speeds: dict[Miner, int] = attrs.field(factory=dict)
    _due: dict[Miner, int] = attrs.field(factory=dict)
    """When a miner with something in hand becomes late."""
    _alarms: list[tuple[int, int, Miner]] = attrs.field(factory=list)
    """A heap of what was in ``_due`` at some time, the present ones among them."""

    def __iter__(self) -> Iterator[Miner]:
        return iter(self._speeds)

    def update(self, miner: Miner) -> None:
        """Take in what changed about a miner, which may be new or late."""
        if miner.late:
            self.remove(miner)
            return
        speed = ceil(miner.speed.nonces_per_second)
        self.speed += speed - self._speeds.get(miner, 0)
        self._speeds[miner] = speed
        if len(miner.hand) < CHUNKS_IN_HAND:
            self.with_room.add(miner)
        else:
            self.with_room.discard(miner)
        if not miner.hand:
            self._due.pop(miner, None)
        elif (due := _late_at(miner)) != self._due.get(miner):
            self._due[miner] = due
            self._set_alarm(due, miner)

    def remove(self, miner: Miner) -> None:
        """A miner is lost or late. Idempotent."""
        self.speed -= self._speeds.pop(miner, 0)
        self.with_room.discard(miner)
        self._due.pop(miner, None)

    def next_due(self) -> int | None:
        """Return when the next miner becomes late, in microseconds; None for never."""
        while self._alarms:
            due, _, miner = self._alarms[0]
            if self._due.get(miner) == due:
                return due
            heapq.heappop(self._alarms)
        return None

    def take_late(self, now: int) -> list[Miner]:
        """Remove the miners that are late by now, and return them."""
        late = []
        while (due := self.next_due()) is not None and due <= now:
            late.append(heapq.heappop(self._alarms)[2])
            self.remove(late[-1])
        return late

    def _set_alarm(self, due: int, miner: Miner) -> None:
        heapq.heappush(self._alarms, (due, miner.conn_id, miner))
        if len(self._alarms) > 2 * len(self._due) + _SPARE_ALARMS:
            self._alarms = [(due, miner.conn_id, miner) for miner, due in self._due.items()]
            heapq.heapify(self._alarms)


def _late_at(miner: Miner) -> int:
    expected = miner.speed.micros_for(miner.hand[0].nonces.size)
    return miner.since + max(LATE_AT_LEAST_MICROS, LATE_FACTOR * expected)
