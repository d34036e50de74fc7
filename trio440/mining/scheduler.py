"""The mining server's state: who mines, who asks, and what is in whose hand. Pure.

Inputs are what connections bring, with the time in microseconds; outputs are messages to send
and connections to close, fetched with :meth:`Scheduler.actions` after each input. What a miner
gets next is decided in :mod:`trio440.mining.policy`.

**Lost and late miners.** What a lost miner had in hand is unassigned again, and since the lowest
nonces of a job go out first, it goes out next. With no miner left, jobs wait. A miner that owes
an answer for much longer than expected (:data:`LATE_FACTOR` times as long, and at least
:data:`LATE_AT_LEAST_MICROS`) is late: what it has in hand goes to others and it gets nothing
more, but its answer still counts. So a miner that hangs without being lost holds up no job.

**What a Result proves.** A Result carries no number. It belongs to the oldest chunk in its
miner's hand whose nonces contain the nonce and whose hash is right; one that fits none is
nonsense, and its miner is disconnected. A right hash that is not the least of the chunk cannot
be told from the least without doing the work again: miners are trusted with that.

**Bounds.** A client has at most :data:`MAX_REQUESTS_PER_CLIENT` requests waiting, and all
together at most :data:`MAX_JOBS`; who passes either is disconnected. The length of a request
and the number of connections are limited before they come here. The books of a job grow with
the number of miners, not of nonces (:data:`trio440.mining.jobs.MAX_GAPS`).
"""

from collections import deque
from typing import Final, TypeAlias

import attrs

from trio440.mining.hashing import Found, hash_of
from trio440.mining.jobs import (
    CHUNKS_IN_HAND,
    LATE_AT_LEAST_MICROS,
    LATE_FACTOR,
    Chunk,
    Crew,
    Job,
    Miner,
)
from trio440.mining.messages import Join, Message, Request, Result
from trio440.mining.policy import DEFAULT_CHUNK_SIZES, ChunkSizes, Copies, Level, Policy
from trio440.mining.ranges import NonceRange

__all__ = [
    "LATE_AT_LEAST_MICROS",
    "LATE_FACTOR",
    "MAX_JOBS",
    "MAX_REQUESTS_PER_CLIENT",
    "Action",
    "Disconnect",
    "JobProgress",
    "Scheduler",
    "SchedulerStatistics",
    "Send",
]

MAX_REQUESTS_PER_CLIENT: Final = 16
"""Requests of one client that may wait, the one being served included."""
MAX_JOBS: Final = 4096
"""Requests of all clients that may wait, those being served included."""


@attrs.frozen
class Send:
    """Send a message on a connection."""

    conn_id: int
    message: Message


@attrs.frozen
class Disconnect:
    """Close a connection; the scheduler has forgotten it already."""

    conn_id: int
    reason: str


Action: TypeAlias = Send | Disconnect


@attrs.frozen
class JobProgress:
    """How far a job has come."""

    number: int
    """Jobs are numbered from 1 in their order of arrival."""
    client: int
    """The connection that asked."""
    text: str
    nonces: NonceRange
    done: int
    """Nonces that some answer has covered."""
    miners: int
    """Miners that work on it now."""
    nonces_per_second: float
    """The measured speed of these miners together."""
    best: Found | None
    """The least hash so far."""

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1."""
        return self.done / self.nonces.size

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end at the present speed; None while nobody works on it."""
        if not self.nonces_per_second:
            return None
        return (self.nonces.size - self.done) / self.nonces_per_second


@attrs.define
class SchedulerStatistics:
    """What the scheduler has seen so far; counts only grow."""

    jobs_answered: int = 0
    jobs_dropped: int = 0
    """Their client left or was disconnected."""
    chunks_assigned: int = 0
    """Reassigned ones and copies included."""
    chunks_reassigned: int = 0
    """Chunks taken back from a miner that was lost, disconnected or late."""
    chunks_copied: int = 0
    """Chunks given to a second miner near the end of a job."""
    miners_disconnected: int = 0
    """Miners that answered nonsense."""
    nonces_answered: int = 0
    """Nonces of all answered chunks, copies included."""


@attrs.define(init=False, eq=False)
class Scheduler:
    """The assignment of jobs to miners; see the module for its rules.

    A connection becomes a miner by a Join or a client by a Request, and stays what it is.

    Args:
        sizes: the bounds of a chunk.
    """

    _miners: dict[int, Miner]
    _crew: Crew
    _clients: dict[int, deque[Job]]
    _policy: Policy
    _actions: list[Action]
    _job_count: int
    _counts: SchedulerStatistics

    def __init__(self, sizes: ChunkSizes = DEFAULT_CHUNK_SIZES) -> None:
        self._miners = {}
        self._crew = Crew()
        self._clients = {}
        self._policy = Policy(sizes)
        self._actions = []
        self._job_count = 0
        self._counts = SchedulerStatistics()

    def receive(self, conn_id: int, message: Message, now: int) -> None:
        """Take in a message from a connection.

        Args:
            conn_id: the connection's number; any that means no other connection.
            message: what it sent.
            now: microseconds on a clock that never goes back.
        """
        match message:
            case Join() if conn_id not in self._clients:
                self._crew.update(self._miners.setdefault(conn_id, Miner(conn_id)))
            case Request(text, nonces) if conn_id not in self._miners:
                self._enqueue(conn_id, text, nonces)
            case Result(found, nonce) if conn_id in self._miners:
                self._take_result(self._miners[conn_id], Found(found, nonce), now)
            case _:
                self._disconnect(conn_id, f"a {type(message).__name__} is not its to send")
        self._hand_out(now)

    def reject(self, conn_id: int, reason: str, now: int) -> None:
        """Disconnect a connection, for instance because it sent what is no message."""
        self._disconnect(conn_id, reason)
        self._hand_out(now)

    def disconnected(self, conn_id: int, now: int) -> None:
        """A connection is gone: drop its jobs, hand its chunks to others. Idempotent."""
        self._forget(conn_id)
        self._hand_out(now)

    def next_deadline(self) -> int | None:
        """Return when :meth:`on_deadline` is next due, in microseconds; None for never."""
        return self._crew.next_due()

    def on_deadline(self, now: int) -> None:
        """Look for late miners; harmless when called early."""
        for miner in self._crew.take_late(now):
            miner.late = True
            self._counts.chunks_reassigned += miner.release()
        self._hand_out(now)

    def actions(self) -> list[Action]:
        """Return what is to be done now, in order; each action once."""
        taken, self._actions = self._actions, []
        return taken

    def progress(self) -> list[JobProgress]:
        """Return how far each client's first job is, the oldest job first."""
        jobs = sorted(self._served_jobs(), key=lambda job: job.number)
        at_work: dict[Job, list[Miner]] = {}
        for miner in self._miners.values():
            if miner.hand:
                at_work.setdefault(miner.hand[0].job, []).append(miner)
        return [_progress_of(job, at_work.get(job, [])) for job in jobs]

    def statistics(self) -> SchedulerStatistics:
        """Return a copy of the counts so far."""
        return attrs.evolve(self._counts)

    @property
    def miners(self) -> int:
        """How many miners there are now."""
        return len(self._miners)

    @property
    def jobs(self) -> int:
        """How many jobs there are now, those that wait for their client's first included."""
        return sum(map(len, self._clients.values()))

    def _served_jobs(self) -> list[Job]:
        return [queue[0] for queue in self._clients.values() if queue]

    # connections

    def _enqueue(self, client: int, text: str, nonces: NonceRange) -> None:
        queue = self._clients.setdefault(client, deque())
        if len(queue) >= MAX_REQUESTS_PER_CLIENT:
            self._disconnect(client, f"it has {MAX_REQUESTS_PER_CLIENT} requests waiting already")
        elif self.jobs >= MAX_JOBS:
            self._disconnect(client, f"{MAX_JOBS} requests are waiting already")
        else:
            self._job_count += 1
            queue.append(Job.of(self._job_count, client, text, nonces))

    def _disconnect(self, conn_id: int, reason: str) -> None:
        self._counts.miners_disconnected += conn_id in self._miners
        self._forget(conn_id)
        self._actions.append(Disconnect(conn_id, reason))

    def _forget(self, conn_id: int) -> None:
        for job in self._clients.pop(conn_id, ()):
            job.over = True
            self._counts.jobs_dropped += 1
        miner = self._miners.pop(conn_id, None)
        if miner is not None:
            self._crew.remove(miner)
            for chunk in miner.hand:
                chunk.job.chunks.discard(chunk)
            if not miner.late:
                self._counts.chunks_reassigned += miner.release()

    # work

    def _take_result(self, miner: Miner, found: Found, now: int) -> None:
        chunk = next((chunk for chunk in miner.hand if _fits(found, chunk)), None)
        if chunk is None:
            self._disconnect(miner.conn_id, "its Result fits nothing that it was asked for")
            return
        miner.done(chunk, found, now)
        self._crew.update(miner)
        self._counts.nonces_answered += chunk.nonces.size
        job = chunk.job
        if not job.over and not job.missing and job.best is not None:
            job.over = True
            self._clients[job.client].popleft()
            self._counts.jobs_answered += 1
            self._actions.append(Send(job.client, Result(job.best.hash, job.best.nonce)))

    def _hand_out(self, now: int) -> None:
        """Give work to every miner that has room for it, the idle and the fast ones first."""
        if not self._crew.with_room:
            return
        served = self._served_jobs()
        if not served:
            return
        with_room = sorted(
            self._crew.with_room,
            key=lambda miner: (-miner.speed.nonces_per_second, miner.conn_id),
        )
        level = Level(self._crew, now)
        self._give_unassigned(with_room, [job for job in served if job.unassigned], level)
        idle = [miner for miner in with_room if not miner.hand]
        if idle:
            self._give_copies(idle, Copies(served, self._policy.sizes, now), level)

    def _give_unassigned(self, with_room: list[Miner], jobs: list[Job], level: Level) -> None:
        for in_hand in range(CHUNKS_IN_HAND):
            for miner in with_room:
                if not jobs:
                    return
                if len(miner.hand) == in_hand:
                    chunk = self._policy.choose_chunk(miner, jobs, level)
                    self._give(chunk, level)
                    if not chunk.job.unassigned:
                        jobs.remove(chunk.job)

    def _give_copies(self, idle: list[Miner], copies: Copies, level: Level) -> None:
        for miner in idle:
            if not copies:
                return
            copy = copies.choose(miner)
            if copy is not None:
                self._counts.chunks_copied += 1
                self._give(copy, level)

    def _give(self, chunk: Chunk, level: Level) -> None:
        level.give(chunk)
        self._counts.chunks_assigned += 1
        request = Request(chunk.job.text, chunk.nonces)
        self._actions.append(Send(chunk.miner.conn_id, request))


def _progress_of(job: Job, at_work: list[Miner]) -> JobProgress:
    return JobProgress(
        number=job.number,
        client=job.client,
        text=job.text,
        nonces=job.nonces,
        done=job.nonces.size - job.missing.size,
        miners=len(at_work),
        nonces_per_second=sum(miner.speed.nonces_per_second for miner in at_work),
        best=job.best,
    )


def _fits(found: Found, chunk: Chunk) -> bool:
    return found.nonce in chunk.nonces and hash_of(chunk.job.text, found.nonce) == found.hash
