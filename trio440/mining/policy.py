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

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from trio440.mining.jobs import Chunk, Job, Miner

__all__ = [
    "CHUNKS_IN_HAND",
    "CHUNK_MICROS",
    "COPY_GAIN_MICROS",
    "DEFAULT_CHUNK_SIZES",
    "OLDEST_SHARE",
    "TAIL_CHUNK_MICROS",
    "ChunkSizes",
    "Level",
    "Policy",
]

CHUNKS_IN_HAND: Final = 2
"""A miner works on one chunk and has the next one waiting."""
CHUNK_MICROS: Final = 1_000_000
"""A chunk is about this much work for the miner that gets it."""
TAIL_CHUNK_MICROS: Final = 100_000
"""Near the end of a job chunks shrink down to this much work."""
OLDEST_SHARE: Final = 4
"""One nonce in so many is handed out for the oldest job."""
COPY_GAIN_MICROS: Final = 200_000
"""A chunk is copied if the second miner is expected to end it this much sooner."""


@attrs.frozen
class ChunkSizes:
    """The bounds of a chunk, in nonces."""

    first: int = 65_536
    """For a miner whose speed is unknown."""
    least: int = 1_000
    """The smallest, unless less is left."""
    most: int = 2**40
    """The largest, whatever speed a miner seems to have."""


@attrs.frozen
class Level:
    """How busy all miners are together."""

    now: int
    speed: float
    """Nonces per second of all."""
    backlog: float
    """Nonces that all have still to hash of what they have in hand."""

    @classmethod
    def of(cls, miners: Iterable[Miner], now: int) -> "Level":
        """Measure miners at a time in microseconds."""
        speed = backlog = 0.0
        for miner in miners:
            speed += miner.speed.nonces_per_second
            backlog += miner.speed.nonces_in(miner.backlog(now))
        return cls(now, speed, backlog)

    def micros_until_even(self, nonces: int) -> float:
        """Return the microseconds until all would end if they shared ``nonces`` more evenly."""
        return (nonces + self.backlog) / self.speed * 1_000_000


DEFAULT_CHUNK_SIZES: Final = ChunkSizes()


@attrs.define
class Policy:
    """The choice of work; remembers how much the oldest job has still to get."""

    sizes: ChunkSizes = DEFAULT_CHUNK_SIZES
    _owed: int = attrs.field(default=0, init=False)
    """Nonces that are due to the oldest job."""

    def choose_chunk(self, miner: Miner, jobs: Sequence[Job], level: Level) -> Chunk | None:
        """Return the next chunk for a miner out of what is unassigned, None if there is nothing.

        Args:
            miner: who asks.
            jobs: the first job of each client.
            level: how busy all miners are together.
        """
        candidates = [job for job in jobs if job.unassigned]
        if not candidates:
            return None
        shortest = min(candidates, key=lambda job: (job.unassigned.size, job.number))
        oldest = min(candidates, key=lambda job: job.number)
        chunk = self._cut(miner, oldest, level)
        if oldest is shortest or self._owed >= chunk.nonces.size:
            self._owed = max(0, self._owed - chunk.nonces.size)
            return chunk
        chunk = self._cut(miner, shortest, level)
        self._owed += chunk.nonces.size // (OLDEST_SHARE - 1)
        return chunk

    def choose_copy(self, miner: Miner, jobs: Sequence[Job], now: int) -> Chunk | None:
        """Return a copy of what is expected last, if an idle miner should end it sooner."""
        held = [chunk for job in jobs for chunk in job.chunks if not chunk.miner.late]
        ends = {chunk: chunk.miner.expected_end(chunk, now) for chunk in held}
        held.sort(key=lambda chunk: (-ends[chunk], chunk.job.number, chunk.nonces))
        count = max(miner.speed.nonces_in(CHUNK_MICROS), self.sizes.least)
        for chunk in held:
            for nonces in chunk.job.covered_only_by(chunk).lowest(1):
                piece = nonces.first(count)
                end = now + miner.speed.micros_for(piece.size)
                if end + COPY_GAIN_MICROS <= ends[chunk]:
                    return Chunk(chunk.job, miner, piece)
        return None

    def _cut(self, miner: Miner, job: Job, level: Level) -> Chunk:
        """Cut a chunk for a miner from the lowest unassigned nonces of a job."""
        count = self.sizes.first
        if miner.speed.known:
            even = level.micros_until_even(job.unassigned.size) - miner.backlog(level.now)
            micros = min(max(int(even / 2), TAIL_CHUNK_MICROS), CHUNK_MICROS)
            count = min(miner.speed.nonces_in(micros), self.sizes.most)
        (lowest,) = job.unassigned.lowest(1)
        return Chunk(job, miner, lowest.first(max(count, self.sizes.least)))
