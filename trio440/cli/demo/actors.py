"""The actors part: a pool of supervised workers, and jobs that crash each worker they are given to.

It needs no process of its own: actors live in this one. Workers tell the pool that they are ready
whenever a life of them begins; who is ready and has not done its job has crashed at it. Each
result is checked at the end, and that none is missing or there twice.
"""

from collections import Counter, deque
from typing import Final

import attrs

from trio440 import actors
from trio440.cli.demo.screen import Screen
from trio440.core import REAL_HOST
from trio440.errors import ActorFailed, Trio440Error

__all__ = ["PoolFailed", "show"]

WORKERS: Final = 32
TRIES: Final = 3
POISON: Final = frozenset({50, 150, 250, 350})
"""The numbers of jobs that nobody can do."""
WORK_SECONDS: Final = 4.0
JOB_SECONDS: Final = 0.01
LOOK_SECONDS: Final = 0.02


class PoolFailed(Trio440Error):
    """The pool did not do what it should."""


@actors.message("demo.Job")
@attrs.frozen
class Job:
    """Square a number."""

    number: int


@actors.message("demo.Ready")
@attrs.frozen
class Ready:
    """A worker has nothing to do."""

    worker: actors.Ref[Job]


@actors.message("demo.Done")
@attrs.frozen
class Done:
    """A job is done."""

    worker: actors.Ref[Job]
    number: int
    result: int


@actors.message("demo.HowFar")
@attrs.frozen
class HowFar(actors.Question[int]):
    """How many jobs are done."""


@actors.message("demo.Outcome")
@attrs.frozen
class Outcome:
    """What became of the jobs, by their numbers."""

    given: int
    results: tuple[tuple[int, int], ...]
    given_up: tuple[int, ...]


@actors.message("demo.Finish")
@attrs.frozen
class Finish(actors.Question[Outcome]):
    """Begin no job any more; answered when the last one has ended."""


class Worker(actors.Actor[Job]):
    """Does one job after the other, and takes no care of crashes."""

    def __init__(self, pool: actors.Ref[Ready | Done]) -> None:
        self.pool = pool

    async def on_start(self) -> None:
        self.context.tell(self.pool, Ready(self.context.ref))

    @actors.handler
    async def work(self, job: Job) -> None:
        await REAL_HOST.clock.sleep(JOB_SECONDS)
        if job.number in POISON:
            raise ValueError(f"job {job.number} is poison")
        self.context.tell(self.pool, Done(self.context.ref, job.number, job.number**2))
        self.context.tell(self.pool, Ready(self.context.ref))


class Pool(actors.Actor[Ready | Done | HowFar | Finish]):
    """Gives jobs to workers, which are its children."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.given = 0
        self.again = deque[int]()
        self.busy: dict[actors.Ref[Job], int] = {}
        self.crashes = Counter[int]()
        self.results: list[tuple[int, int]] = []
        self.given_up: list[int] = []
        self.reply: actors.Reply[Outcome] | None = None

    async def on_start(self) -> None:
        restart = actors.Restart("permanent", intensity=len(POISON) * TRIES)
        for _ in range(WORKERS):
            await self.context.spawn(Worker, self.context.ref, restart=restart)

    @actors.handler
    async def done(self, message: Done) -> None:
        del self.busy[message.worker]
        self.results.append((message.number, message.result))

    @actors.handler
    async def ready(self, message: Ready) -> None:
        if (crashed_at := self.busy.pop(message.worker, None)) is not None:
            self.note_crash(crashed_at)
        if (number := self.next_job()) is not None:
            self.busy[message.worker] = number
            self.context.tell(message.worker, Job(number))
        self.answer_at_the_end()

    @actors.handler
    async def how_far(self, _: HowFar) -> int:
        return len(self.results)

    @actors.handler
    async def finish(self, message: Finish) -> actors.Reply[Outcome]:
        self.reply = self.context.hold_reply(message)
        return self.reply

    def note_crash(self, number: int) -> None:
        self.crashes[number] += 1
        if self.crashes[number] < TRIES:
            self.again.append(number)
            return
        self.given_up.append(number)
        self.screen.say(f"Job {number} has crashed {TRIES} lives of workers: it is given up.")

    def next_job(self) -> int | None:
        if self.again:
            return self.again.popleft()
        if self.reply is not None:
            return None
        self.given += 1
        return self.given

    def answer_at_the_end(self) -> None:
        if self.reply is not None and not self.busy:
            outcome = Outcome(self.given, tuple(self.results), tuple(self.given_up))
            self.reply.answer(outcome)
            self.reply = None


async def show(screen: Screen) -> None:
    """Show the part on ``screen``.

    Raises:
        PoolFailed: a job was lost or done twice, a result is wrong, or a worker is missing.
    """
    crashes: list[ActorFailed] = []
    async with actors.open_actor_system(report=crashes.append) as system:
        pool = await system.spawn(Pool, screen)
        screen.say(f"{WORKERS} workers are supervised by a pool; {len(POISON)} jobs are poison.")
        slowest = await _watch(screen, system, pool)
        outcome = await system.ask(pool, Finish(), timeout_seconds=10)
        _check(outcome)
        counts = system.statistics()
        _expect("crashes", len(crashes), len(POISON) * TRIES)
        _expect("restarts", counts.restarts, len(crashes))
        _expect("workers", counts.actors - 1, WORKERS)
        done, given_up = len(outcome.results), len(outcome.given_up)
        screen.say(f"{done:,} jobs are done, each once; {given_up} are given up.")
        screen.say(
            f"{len(crashes)} crashes, {counts.restarts} restarts; all {WORKERS} workers are alive."
        )
        screen.say(f"The pool was asked all along; its slowest answer took {slowest * 1e3:.0f} ms.")
    _expect("actors after the end", system.statistics().actors, 0)
    screen.say("The system is left: no actor outlives it.")


async def _watch(screen: Screen, system: actors.ActorSystem, pool: actors.Ref[HowFar]) -> float:
    """Let the pool work, show how far it is, and return the seconds of its slowest answer."""
    start, slowest, done = REAL_HOST.clock.now(), 0.0, 0
    while (seconds := REAL_HOST.clock.now() - start) < WORK_SECONDS or done < max(POISON):
        asked = REAL_HOST.clock.now()
        done = await system.ask(pool, HowFar())
        slowest = max(slowest, REAL_HOST.clock.now() - asked)
        detail = f"{done / max(seconds, LOOK_SECONDS):,.0f} jobs/s"
        screen.progress("the pool", min(seconds / WORK_SECONDS, 1.0), detail)
        await REAL_HOST.clock.sleep(LOOK_SECONDS)
    screen.progress("the pool", 1.0, f"{done / seconds:,.0f} jobs/s")
    return slowest


def _check(outcome: Outcome) -> None:
    """Look whether each job has ended once, and rightly.

    Raises:
        PoolFailed: it has not.
    """
    numbers = sorted([number for number, _ in outcome.results] + list(outcome.given_up))
    if numbers != list(range(1, outcome.given + 1)):
        raise PoolFailed(f"of {outcome.given} jobs, {len(numbers)} have ended")
    if set(outcome.given_up) != POISON & set(numbers):
        raise PoolFailed(f"the jobs {outcome.given_up} were given up")
    if any(result != number**2 for number, result in outcome.results):
        raise PoolFailed("a result is wrong")


def _expect(what: str, count: int, expected: int) -> None:
    if count != expected:
        raise PoolFailed(f"there are {count} {what}, not {expected}")
