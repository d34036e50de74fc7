"""What the mining server promises, kept in books of the watch's own. Pure.

The books are kept from what goes into the scheduler and what comes out of it. They know nothing
of how it decides: what is answered of a job is one integer, a bit for each nonce.
"""

import hashlib
from collections import deque
from functools import lru_cache
from typing import Final

import attrs

from trio440.errors import InvariantViolated
from trio440.mining.hashing import Found
from trio440.mining.jobs import CHUNKS_IN_HAND, LATE_AT_LEAST_MICROS, LATE_FACTOR
from trio440.mining.messages import Request, Result
from trio440.mining.policy import CHUNK_MICROS, COPY_GAIN_MICROS, OLDEST_SHARE, ChunkSizes
from trio440.mining.ranges import MAX_NONCE, NonceRange
from trio440.mining.scheduler import Scheduler

__all__ = ["BASES", "SIZES", "SPAN", "Books", "Calm", "true_hash", "true_least"]

SPAN: Final = 2048
"""Jobs ask for nonces out of so many ..."""
BASES: Final = (0, 9_000, MAX_NONCE - SPAN + 1)
"""... that begin here."""
SIZES: Final = ChunkSizes(first=10, least=4, most=SPAN)
TIMER_MICROS: Final = 10_000
"""More than a server's clock and the world's differ by between two alarms."""
HANDS_MICROS: Final = 4_000_000
"""What miners have in hand, first chunks of unknown size and all ways take together, at most."""
COPY_MICROS: Final = 2 * COPY_GAIN_MICROS + CHUNK_MICROS
"""A copy takes no longer than a chunk."""


@lru_cache(maxsize=1024)
def _hashes(text: str, base: int) -> list[Found]:
    prefix = hashlib.sha256(text.encode() + b" ")
    found = []
    for nonce in range(base, base + SPAN):
        one = prefix.copy()
        one.update(b"%d" % nonce)
        found.append(Found(int.from_bytes(one.digest()[:8], "big"), nonce))
    return found


def _base_of(nonce: int) -> int:
    return max(base for base in BASES if base <= nonce)


def true_hash(text: str, nonce: int) -> int | None:
    """Return the hash of a nonce that some job might ask for, else None."""
    base = _base_of(nonce)
    return _hashes(text, base)[nonce - base].hash if nonce < base + SPAN else None


def true_least(text: str, nonces: NonceRange) -> Found:
    """Return the least hash over nonces between one of :data:`BASES` and :data:`SPAN` later."""
    base = _base_of(nonces.lower)
    return min(_hashes(text, base)[nonces.lower - base : nonces.upper - base + 1])


@attrs.frozen
class Calm:
    """Said of a world without faults in which all miners are honest."""

    speed: float
    """Nonces per second of all miners together."""


@attrs.define(eq=False)
class _Task:
    """A job, as the watch sees it."""

    number: int
    client: int
    text: str
    nonces: NonceRange
    asked_at: int
    ahead: int
    """Unanswered nonces of the jobs that came before, and its own."""
    smaller: "list[_Task]" = attrs.field(factory=list)
    """Jobs that came later and must be answered sooner."""
    covered: int = 0
    """A bit for each nonce that an answer has covered."""
    best: Found | None = None
    over: bool = False

    @property
    def all(self) -> int:
        return (1 << self.nonces.size) - 1

    def mask(self, nonces: NonceRange) -> int:
        return ((1 << nonces.size) - 1) << (nonces.lower - self.nonces.lower)


@attrs.frozen(eq=False)
class _Held:
    """A chunk in a miner's hand."""

    task: _Task
    nonces: NonceRange
    mask: int


@attrs.define(eq=False)
class _Hand:
    held: deque[_Held] = attrs.field(factory=deque)
    since: int = 0
    """When the miner began with the oldest chunk in its hand."""
    slowest: float = 0.0
    """Nonces per second: no estimate of its speed is below this; 0 is for unknown."""

    @property
    def is_of_help(self) -> bool:
        """Whether it is idle and known to end the least chunk within the time of a chunk."""
        least = SIZES.least * 1_000_000 / CHUNK_MICROS
        return not self.held and (not self.slowest or self.slowest >= least)

    def is_punctual(self, now: int) -> bool:
        """Whether it cannot be late."""
        return not self.held or now - self.since < LATE_AT_LEAST_MICROS

    def is_overdue(self, now: int) -> bool:
        """Whether it is so overdue, though not yet late, that another would end its work sooner."""
        expected = 0
        if self.slowest:
            expected = int(self.held[0].nonces.size * 1_000_000 / self.slowest)
        return self.is_punctual(now) and now - self.since > expected + COPY_MICROS

    def is_late(self, now: int) -> bool:
        """Whether it must have been taken for late by now."""
        if not self.held:
            return False
        patience = LATE_AT_LEAST_MICROS
        if self.slowest:
            slow = int(self.held[0].nonces.size * 1_000_000 / self.slowest)
            patience = max(patience, LATE_FACTOR * slow)
        return now - self.since > patience + TIMER_MICROS


class Books:
    """Who mines, who asks, what is in whose hand, and what has come of it.

    Every method raises :exc:`~trio440.errors.InvariantViolated` when a promise is broken. Times
    are microseconds on the server's clock.
    """

    def __init__(self, calm: Calm | None = None) -> None:
        """Start with nobody; the bounds on waiting are demanded of a calm world only."""
        self._calm = calm
        self._hands: dict[int, _Hand] = {}
        self._queues: dict[int, deque[_Task]] = {}
        self._count = 0
        self._answered = 0

    # What goes in

    def joined(self, conn_id: int) -> None:
        """A miner joins."""
        self._hands.setdefault(conn_id, _Hand())

    def asked(self, conn_id: int, request: Request, now: int) -> None:
        """A client asks; no two jobs at one time have the same text."""
        self._count += 1
        open_tasks = [task for queue in self._queues.values() for task in queue]
        ahead = sum(task.nonces.size - task.covered.bit_count() for task in open_tasks)
        size = request.nonces.size
        task = _Task(self._count, conn_id, request.text, request.nonces, now, ahead + size)
        if self._calm is not None and conn_id not in self._queues and len(open_tasks) == 1:
            self._remember_overtaking(open_tasks[0], task, self._calm)
        self._queues.setdefault(conn_id, deque()).append(task)

    def gone(self, conn_id: int) -> None:
        """A connection was lost."""
        self._hands.pop(conn_id, None)
        for task in self._queues.pop(conn_id, ()):
            task.over = True

    def answered(self, conn_id: int, result: Result, now: int) -> bool:
        """A miner answers; false if what it says is nonsense."""
        hand = self._hands[conn_id]
        found = Found(result.hash, result.nonce)
        for held in hand.held:
            if found.nonce in held.nonces and found.hash == true_hash(held.task.text, found.nonce):
                break
        else:
            return False
        if held is hand.held[0]:
            rate = held.nonces.size * 1_000_000 / max(now - hand.since, 1)
            hand.slowest = max(1.0, min(hand.slowest or rate, rate))
            hand.since = now
        hand.held.remove(held)
        task = held.task
        task.covered |= held.mask
        task.best = found if task.best is None else min(task.best, found)
        return True

    # What comes out

    def handed(self, conn_id: int, request: Request, now: int, *, on_time: bool) -> None:
        """A miner is given work; ``on_time`` as in :meth:`settled`."""
        hand = self._hands.get(conn_id)
        if hand is None:
            raise InvariantViolated("only miners are given work", f"connection {conn_id}")
        task = self._task_of(request)
        mask = task.mask(request.nonces)
        shown = f"{request.nonces} of job {task.number} to connection {conn_id}"
        if mask & task.covered:
            raise InvariantViolated("nothing answered is handed out again", shown)
        if on_time and hand.is_late(now):
            raise InvariantViolated("late miners are given nothing more", shown)
        if self._calm is not None:
            self._check_choice(task, mask, shown)
        self._check_copy(hand, task, mask, now, shown)
        if not hand.held:
            hand.since = now
        hand.held.append(_Held(task, request.nonces, mask))
        if len(hand.held) > CHUNKS_IN_HAND:
            raise InvariantViolated("hands are bounded", f"{len(hand.held)} chunks, {shown}")

    def replied(self, conn_id: int, result: Result, now: int) -> None:
        """A client is sent its answer."""
        queue = self._queues.get(conn_id)
        if not queue:
            raise InvariantViolated("each job is answered once", f"connection {conn_id}: {result}")
        task = queue.popleft()
        shown = f"job {task.number} of connection {conn_id}"
        if task.covered != task.all:
            left = (task.all & ~task.covered).bit_count()
            raise InvariantViolated("an answer covers all nonces", f"{shown}: {left} are missing")
        least = true_least(task.text, task.nonces)
        if (result.hash, result.nonce) != least:
            raise InvariantViolated("the least hash is found", f"{shown}: {result}, not {least}")
        task.over = True
        self._answered += 1
        if self._calm is not None:
            _check_waiting(task, now, self._calm)

    def settled(self, scheduler: Scheduler, now: int, *, on_time: bool, just_handed: bool) -> None:
        """Compare the books when everything that an input led to is done.

        Args:
            scheduler: whose books to compare with.
            now: the time.
            on_time: whether the server has looked for late miners up to now.
            just_handed: whether the scheduler has had its chance to give out work.
        """
        jobs = sum(map(len, self._queues.values()))
        mine = (len(self._hands), jobs, self._answered)
        theirs = (scheduler.miners, scheduler.jobs, scheduler.statistics().jobs_answered)
        if mine != theirs:
            shown = f"miners, jobs, answers: {theirs}, not {mine}"
            raise InvariantViolated("the books are right", shown)
        tasks = {queue[0].number: queue[0] for queue in self._queues.values() if queue}
        for progress in scheduler.progress():
            task = tasks[progress.number]
            if (progress.done, progress.best) != (task.covered.bit_count(), task.best):
                shown = f"{progress}, but {task.covered.bit_count()} are done, best {task.best}"
                raise InvariantViolated("the books are right", shown)
        self._check_nothing_forgotten(list(tasks.values()), now, on_time=on_time)
        if just_handed and any(hand.is_of_help for hand in self._hands.values()):
            self._check_copied(tasks, now)

    def is_used(self, text: str) -> bool:
        """Whether a job that is not over, or a chunk in somebody's hand, has this text."""
        return any(task.text == text for queue in self._queues.values() for task in queue) or any(
            held.task.text == text for hand in self._hands.values() for held in hand.held
        )

    def _task_of(self, request: Request) -> _Task:
        for queue in self._queues.values():
            task = queue[0] if queue else None
            if task is not None and task.text == request.text:
                lower, upper = request.nonces.lower, request.nonces.upper
                if task.nonces.lower <= lower and upper <= task.nonces.upper:
                    return task
        raise InvariantViolated("miners are given what was asked for", f"{request}")

    def _check_nothing_forgotten(self, tasks: list[_Task], now: int, *, on_time: bool) -> None:
        hands = self._hands.values()
        if not any(len(hand.held) < CHUNKS_IN_HAND and hand.is_punctual(now) for hand in hands):
            return
        for task in tasks:
            expected = task.covered
            for hand in hands:
                if on_time and hand.is_late(now):
                    continue
                for held in hand.held:
                    if held.task is task:
                        expected |= held.mask
            if expected != task.all:
                left = (task.all & ~expected).bit_count()
                shown = f"{left} nonces of job {task.number} while a miner has room"
                raise InvariantViolated("no work is forgotten", shown)

    def _check_copy(self, hand: _Hand, task: _Task, mask: int, now: int, shown: str) -> None:
        """Check that at most one other punctual miner has any nonce of a new chunk."""
        once = twice = 0
        for other in self._hands.values():
            mine = 0
            for held in other.held:
                mine |= held.mask if held.task is task else 0
            if mask & mine and other is hand:
                raise InvariantViolated("nobody is given the same nonces twice", shown)
            if other.is_punctual(now):
                twice |= once & mine
                once |= mine
        if mask & twice:
            raise InvariantViolated("nothing is copied twice", shown)

    def _check_choice(self, chosen: _Task, mask: int, shown: str) -> None:
        """Check that what is not a copy is of the job with the least left, or of the oldest."""
        left: dict[int, int] = {}
        for queue in self._queues.values():
            if queue and (unassigned := queue[0].all & ~self._expected(queue[0])):
                left[queue[0].number] = unassigned.bit_count()
        if mask & self._expected(chosen):
            return  # a copy
        shortest = min(left, key=lambda number: (left[number], number))
        if chosen.number not in (shortest, min(left)):
            raise InvariantViolated("the shortest job is next, or the oldest", f"{shown}: {left}")

    def _expected(self, task: _Task) -> int:
        """Return what has been answered of a job or is in somebody's hand."""
        expected = task.covered
        for hand in self._hands.values():
            for held in hand.held:
                expected |= held.mask if held.task is task else 0
        return expected

    def _check_copied(self, tasks: dict[int, _Task], now: int) -> None:
        """Check that with a quick miner idle no overdue chunk is in one hand only."""
        for task in tasks.values():
            once = twice = overdue = 0
            for hand in self._hands.values():
                for held in hand.held:
                    if held.task is task:
                        twice |= once & held.mask
                        once |= held.mask
                        if held is hand.held[0] and hand.is_overdue(now):
                            overdue |= held.mask
            if left := overdue & ~twice & ~task.covered:
                shown = f"{left.bit_count()} nonces of job {task.number} while a miner is idle"
                raise InvariantViolated("stragglers' work is copied", shown)

    def _remember_overtaking(self, big: _Task, small: _Task, calm: Calm) -> None:
        """Say that the small job must end first, if the big one has far more left to hand out."""
        left = big.nonces.size - self._expected(big).bit_count()
        lead = HANDS_MICROS / 1e6 * calm.speed + OLDEST_SHARE * small.nonces.size
        if left > lead and big.client != small.client:
            big.smaller.append(small)


def _check_waiting(task: _Task, now: int, calm: Calm) -> None:
    """Check that nobody starves, and that small jobs pass huge ones.

    While a job waits, it or one that came before it is the oldest, and of what all miners hash,
    one nonce in ``OLDEST_SHARE`` is for the oldest.
    """
    for small in task.smaller:
        if not small.over:
            shown = f"job {task.number} of {task.nonces.size} before job {small.number}"
            shown += f" of {small.nonces.size}"
            raise InvariantViolated("a small job passes a huge one", shown)
    bound = OLDEST_SHARE * task.ahead / calm.speed * 1e6 + HANDS_MICROS
    waited = now - task.asked_at
    if waited > bound:
        shown = f"job {task.number} waited {waited / 1e6:.3f} s, {bound / 1e6:.3f} s at most"
        raise InvariantViolated("nobody starves", shown)
