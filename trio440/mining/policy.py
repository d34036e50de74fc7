"""Which work a miner gets next. Pure.

**Chunks.** A miner gets about a second of work by its own measured speed, and a second chunk
while it works on the first, so that it never waits for the network. Near the end of a job a
chunk is half of what the miner could do until all would end together, down to a tenth of a
second of work: so fast and slow miners do come to the end together, though none of them keeps
its speed exactly.

**Jobs.** Of the jobs at the head of their clients' queues, the one with the least work left to
hand out; of equal ones, the first that came. This is shortest remaining time first:

- A small request that comes after a huge one is next, and waits only for what miners have in
  hand, about two seconds; no other order has a smaller mean waiting time.
- Equal requests are served in their order of arrival: what came first has never more left than
  what is behind it.
- Alone, the rule would starve a huge job under an endless stream of small ones. Therefore one
  nonce in :data:`OLDEST_SHARE` is handed out for the oldest job. A job becomes the oldest when
  those before it are over, and each of them was the oldest in its turn; so every job ends.
- A client's own requests are served one after another: answers carry no number, so their order
  is how a client knows which is which, and many requests gain it nothing over one.

**Copies.** When nothing is unassigned, an idle miner gets a copy of the chunk that is expected
last, if it should end it sooner than the miner that has it. The first answer counts. No nonce
is copied twice, unless its holders are late (:mod:`trio440.mining.scheduler`).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from trio440.errors import InvalidParameter
from trio440.mining.jobs import Chunk, Crew, Job, Miner
from trio440.mining.ranges import NonceRange, NonceSet

__all__ = [
    "CHUNK_MICROS",
    "COPY_GAIN_MICROS",
    "DEFAULT_CHUNK_SIZES",
    "OLDEST_SHARE",
    "TAIL_CHUNK_MICROS",
    "ChunkSizes",
    "Copies",
    "Level",
    "Policy",
]

CHUNK_MICROS: Final = 1_000_000
"""A chunk is about this much work for the miner that gets it."""
TAIL_CHUNK_MICROS: Final = 100_000
"""Near the end of a job chunks shrink down to this much work."""
OLDEST_SHARE: Final = 4
"""One nonce in so many is handed out for the oldest job."""
COPY_GAIN_MICROS: Final = 200_000
"""A chunk is copied if the second miner is expected to end it this much sooner."""


def _check_size(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidParameter(attribute.name, value, "a whole number of at least 1")


@attrs.frozen
class ChunkSizes:
    """The bounds of a chunk, in nonces.

    Raises:
        InvalidParameter: a size is no whole number of at least 1, or the least is above the most.
    """

    first: int = attrs.field(default=65_536, validator=_check_size)
    """For a miner whose speed is unknown."""
    least: int = attrs.field(default=1_000, validator=_check_size)
    """The smallest, unless less is left."""
    most: int = attrs.field(default=2**40, validator=_check_size)
    """The largest, whatever speed a miner seems to have."""

    def __attrs_post_init__(self) -> None:
        if self.least > self.most:
            raise InvalidParameter("least", self.least, f"at most the most, {self.most}")


@attrs.define(eq=False)
class Level:
    """How busy all miners are together at one moment, measured when first needed."""

    crew: Crew
    now: int
    """In microseconds."""
    _speed: float = attrs.field(default=0.0, init=False)
    """Nonces per second of all."""
    _backlog: float | None = attrs.field(default=None, init=False)
    """Nonces that all have still to hash of what they have in hand; None: not measured."""

    def micros_for(self, miner: Miner, nonces: int) -> int:
        """Return how long a miner's next chunk should take, when ``nonces`` are unassigned."""
        own = miner.backlog(self.now)
        even = nonces / self.crew.speed * 1_000_000 - own  # at least, whatever is in hand
        if even < 2 * CHUNK_MICROS:
            backlog = self._measured()
            even = (nonces + backlog) / self._speed * 1_000_000 - own
        return min(max(int(even / 2), TAIL_CHUNK_MICROS), CHUNK_MICROS)

    def give(self, chunk: Chunk) -> None:
        """Give a miner a chunk, and count it in."""
        miner = chunk.miner
        before = miner.backlog(self.now)
        miner.take(chunk, self.now)
        self.crew.update(miner)
        if self._backlog is not None:
            after = miner.backlog(self.now)
            self._backlog += miner.speed.nonces_in(after) - miner.speed.nonces_in(before)

    def _measured(self) -> float:
        if self._backlog is None:
            self._backlog = 0.0
            for miner in self.crew:
                self._speed += miner.speed.nonces_per_second
                self._backlog += miner.speed.nonces_in(miner.backlog(self.now))
        return self._backlog


@attrs.define(eq=False, init=False)
class Copies:
    """What may be copied at one moment. Ask for the known miners first, the fastest first.

    A chunk that is no gain to one miner is none to a slower one either, so it is looked at once
    for all miners of known speed and once for all others.

    Args:
        jobs: the first job of each client.
        sizes: the bounds of a chunk.
        now: the moment, in microseconds.
    """

    _least: int
    _now: int
    _held: dict[bool, deque[tuple[int, Chunk]]]
    """For miners of known and of unknown speed: what is held and until when, the last first."""
    _alone: dict[Job, NonceSet]
    """What is in exactly one hand."""

    def __init__(self, jobs: Iterable[Job], sizes: ChunkSizes, now: int) -> None:
        self._least = sizes.least
        self._now = now
        self._alone = {}
        chunks = [chunk for job in jobs for chunk in job.chunks if not chunk.miner.late]
        held = [(chunk.miner.expected_end(chunk, now), chunk) for chunk in chunks]
        held = [(end, chunk) for end, chunk in held if end >= now + COPY_GAIN_MICROS]
        held.sort(key=lambda pair: (-pair[0], pair[1].job.number, pair[1].nonces))
        self._held = {True: deque(held), False: deque(held)}

    def __bool__(self) -> bool:
        return any(self._held.values())

    def choose(self, miner: Miner) -> Chunk | None:
        """Return a copy of what is expected last, if an idle miner should end it sooner."""
        held = self._held[miner.speed.known]
        count = max(miner.speed.nonces_in(CHUNK_MICROS), self._least)
        while held:
            end, chunk = held[0]
            for nonces in self._uncopied(chunk):
                piece = nonces.first(count)
                if self._now + miner.speed.micros_for(piece.size) + COPY_GAIN_MICROS <= end:
                    self._alone[chunk.job].remove(piece)
                    return Chunk(chunk.job, miner, piece)
            held.popleft()
        return None

    def _uncopied(self, chunk: Chunk) -> list[NonceRange]:
        """Return the lowest missing nonces of a chunk that nobody else has, if there are any."""
        job = chunk.job
        if job not in self._alone:
            self._alone[job] = _held_once(job)
        for alone in self._alone[job].within(chunk.nonces):
            if lowest := job.missing.within(alone).lowest(1):
                return lowest
        return []


def _held_once(job: Job) -> NonceSet:
    """Return the nonces that exactly one punctual miner has in hand."""
    edges = []
    for chunk in job.chunks:
        if not chunk.miner.late:
            edges += [(chunk.nonces.lower, 1), (chunk.nonces.upper + 1, -1)]
    edges.sort()
    once, hands, begin = NonceSet(), 0, 0
    for edge, change in edges:
        if hands == 1 and begin < edge:
            once.add(NonceRange(begin, edge - 1))
        hands += change
        begin = edge
    return once


DEFAULT_CHUNK_SIZES: Final = ChunkSizes()


@attrs.define
class Policy:
    """The choice of work; remembers how much the oldest job has still to get."""

    sizes: ChunkSizes = DEFAULT_CHUNK_SIZES
    _owed: int = attrs.field(default=0, init=False)
    """Nonces that are due to the oldest job."""

    def choose_chunk(self, miner: Miner, jobs: Sequence[Job], level: Level) -> Chunk:
        """Return the next chunk for a miner out of what is unassigned.

        Args:
            miner: who asks.
            jobs: the first job of each client that has unassigned nonces; at least one.
            level: how busy all miners are together.
        """
        shortest = min(jobs, key=lambda job: (job.unassigned.size, job.number))
        oldest = min(jobs, key=lambda job: job.number)
        chunk = self._cut(miner, oldest, level)
        if oldest is shortest or self._owed >= chunk.nonces.size:
            self._owed = max(0, self._owed - chunk.nonces.size)
            return chunk
        chunk = self._cut(miner, shortest, level)
        self._owed += chunk.nonces.size // (OLDEST_SHARE - 1)
        return chunk

    def _cut(self, miner: Miner, job: Job, level: Level) -> Chunk:
        """Cut a chunk for a miner from the lowest unassigned nonces of a job."""
        count = self.sizes.first
        if miner.speed.known:
            micros = level.micros_for(miner, job.unassigned.size)
            count = min(miner.speed.nonces_in(micros), self.sizes.most)
        (lowest,) = job.unassigned.lowest(1)
        return Chunk(job, miner, lowest.first(max(count, self.sizes.least)))
