"""What ``drain`` means for the children of an actor."""

from typing import Any

import attrs
import trio

from trio440 import actors


@actors.message("draining.Job")
@attrs.frozen
class Job:
    number: int


@actors.message("draining.Close")
@attrs.frozen
class Close:
    pass


class Front(actors.Actor[Job | Close]):
    """Hands its jobs on to a child, which takes a second for each."""

    def __init__(self, done: list[Any]) -> None:
        self.done = done

    async def on_start(self) -> None:
        self.worker = await self.context.spawn(work, self.done)

    async def on_stop(self) -> None:
        self.done.append("the front has stopped")

    @actors.handler
    async def job(self, job: Job) -> None:
        self.context.tell(self.worker, job)

    @actors.handler
    async def close(self, _: Close) -> None:
        await self.context.stop(self.worker, drain=True, timeout_seconds=100)
        self.context.leave()


async def work(_: actors.Context[Job], job: Job, done: list[Any]) -> None:
    await trio.sleep(1)
    done.append(job.number)


async def test_a_drain_empties_the_mailbox_of_the_actor_and_of_none_of_its_children() -> None:
    done: list[Any] = []
    async with actors.open_actor_system() as system:
        front = await system.spawn(Front, done)
        for number in range(3):
            system.tell(front, Job(number))
        await trio.sleep(0.5)
        with system.dead_letters() as letters:
            await system.stop(front, drain=True)
            lost = [letters.receive_nowait().message for _ in range(2)]
        assert lost == [Job(1), Job(2)]
        assert done == [0, "the front has stopped"]


async def test_an_actor_that_drains_its_children_itself_loses_nothing() -> None:
    done: list[Any] = []
    async with actors.open_actor_system() as system:
        front = await system.spawn(Front, done)
        for number in range(3):
            system.tell(front, Job(number))
        system.tell(front, Close())
        await system.wait_stopped(front)
        assert done == [0, 1, 2, "the front has stopped"]
        assert system.statistics().dead_letters == 0
