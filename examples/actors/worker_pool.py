"""A supervised pool of workers, and a poison job that crashes each worker it is given to.

    python examples/actors/worker_pool.py

A worker says that it is ready whenever a life of it begins, so a worker that is ready and has not
done its job has crashed at it. The pool gives the job to another life, three times in all.
"""

from collections import Counter, deque
from typing import Final

import attrs
import trio

from trio440 import actors
from trio440.errors import ActorFailed

WORKERS: Final = 2
TRIES: Final = 3


@actors.message("pool.Job")
@attrs.frozen
class Job:
    """Divide 60 by a number."""

    number: int


@actors.message("pool.Ready")
@attrs.frozen
class Ready:
    """A worker has nothing to do."""

    worker: actors.Ref[Job]


@actors.message("pool.Done")
@attrs.frozen
class Done:
    """A job is done."""

    worker: actors.Ref[Job]
    number: int
    result: int


@actors.message("pool.Outcome")
@attrs.frozen
class Outcome:
    """What became of the jobs."""

    results: tuple[tuple[int, int], ...]
    """Each number, with its result."""
    given_up: tuple[int, ...]


@actors.message("pool.Work")
@attrs.frozen
class Work(actors.Question[Outcome]):
    """Jobs to do; answered when none is left."""

    numbers: tuple[int, ...]


class Worker(actors.Actor[Job]):
    """Does one job after the other, and knows nothing of crashes."""

    def __init__(self, pool: actors.Ref[Ready | Done]) -> None:
        self.pool = pool

    async def on_start(self) -> None:
        """Ask for work, in each life."""
        self.context.tell(self.pool, Ready(self.context.ref))

    @actors.handler
    async def work(self, job: Job) -> None:
        """Divide, or crash."""
        result = 60 // job.number
        self.context.tell(self.pool, Done(self.context.ref, job.number, result))
        self.context.tell(self.pool, Ready(self.context.ref))


class Pool(actors.Actor[Work | Ready | Done]):
    """Gives jobs to workers, which are its children."""

    def __init__(self) -> None:
        self.waiting = deque[int]()
        self.idle = deque[actors.Ref[Job]]()
        self.busy: dict[actors.Ref[Job], int] = {}
        self.crashes = Counter[int]()
        self.results: dict[int, int] = {}
        self.given_up: list[int] = []
        self.reply: actors.Reply[Outcome] | None = None

    async def on_start(self) -> None:
        """Start the workers."""
        restart = actors.Restart("permanent", intensity=TRIES)
        for _ in range(WORKERS):
            await self.context.spawn(Worker, self.context.ref, restart=restart)

    @actors.handler
    async def work(self, message: Work) -> actors.Reply[Outcome]:
        """Take jobs, and answer later."""
        self.reply = self.context.hold_reply(message)
        self.waiting.extend(message.numbers)
        self.hand_out()
        return self.reply

    @actors.handler
    async def done(self, message: Done) -> None:
        """Note a result."""
        del self.busy[message.worker]
        self.results[message.number] = message.result

    @actors.handler
    async def ready(self, message: Ready) -> None:
        """Find out what a worker crashed at, if it did, and give it something to do."""
        number = self.busy.pop(message.worker, None)
        if number is not None:
            self.crashes[number] += 1
            jobs = self.waiting if self.crashes[number] < TRIES else self.given_up
            jobs.append(number)
        self.idle.append(message.worker)
        self.hand_out()

    def hand_out(self) -> None:
        """Give what waits to who is idle; answer when all jobs have ended."""
        while self.waiting and self.idle:
            worker, number = self.idle.popleft(), self.waiting.popleft()
            self.busy[worker] = number
            self.context.tell(worker, Job(number))
        if self.reply is not None and not self.busy and not self.waiting:
            results = tuple(sorted(self.results.items()))
            self.reply.answer(Outcome(results, tuple(self.given_up)))
            self.reply = None


def say_crash(failure: ActorFailed) -> None:
    """Report a crash; which worker it was differs from run to run."""
    print("a worker crashed:", failure.problem)


async def main() -> None:
    """Let a pool work on six jobs, one of them poison."""
    async with actors.open_actor_system(report=say_crash) as system:
        pool = await system.spawn(Pool)
        outcome = await system.ask(pool, Work((1, 2, 0, 3, 4, 5)))
        for number, result in outcome.results:
            print(f"60 / {number} = {result}")
        for number in outcome.given_up:
            print(f"60 / {number} was given up after {TRIES} tries")
        counts = system.statistics()
        print(f"{counts.restarts} restarts; the pool and {counts.actors - 1} workers are alive")


if __name__ == "__main__":
    trio.run(main)
