"""What a system reports of itself to whoever asks: bounded, whatever it holds."""

from functools import partial
from typing import Any

import attrs
import trio

from tests.support.actors_world import HOSTS, SEEDS, system_on
from tests.support.rpc_world import ports_of, until
from trio440 import actors
from trio440.actors.remote.service import Report, ReportRequest
from trio440.actors.remote.visits import open_visit
from trio440.core.host import Host
from trio440.sim import simulated
from trio440.sim.world import World

LONG = "x" * 200


@actors.message("test.report.Work")
@attrs.frozen
class Work:
    pass


async def hang(context: actors.Context[Work], message: Work, *_: Any) -> None:
    del context, message
    await trio.sleep_forever()


class Quick(actors.Actor[Work]):
    @actors.handler
    async def work(self, message: Work) -> None:
        pass


Quick.__qualname__ = LONG


async def report_of(address: str, limit: int, ports: Host) -> Report:
    async with open_visit(address, "actors", ports) as system:
        return await system.report(ReportRequest(limit))


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_it_names_the_members_and_the_actors_in_whose_mailboxes_most_waits(
    world: World,
) -> None:
    ports = ports_of(world, "three")
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        await until(lambda: len(one.members) == len(two.members) == 2)
        refs = [await one.spawn(hang, name=LONG[: place + 1]) for place in range(150)]
        quick = await one.spawn(Quick, name=LONG)
        for place, ref in enumerate(refs):
            for _ in range(place + 1):
                one.tell(ref, Work())
        one.tell(quick, Work())
        await until(lambda: all(waiting(one, ref) == place for place, ref in enumerate(refs)))
        report = await report_of(one.address, 1 << 60, ports)
        assert (report.address, report.incarnation) == (one.address, one.incarnation)
        assert report.actors == 151
        assert sorted(each.address for each in report.members) == sorted([one.address, two.address])
        assert [each.waiting for each in report.deepest] == list(range(149, 49, -1))
        assert [each.counter for each in report.deepest] == [
            ref.counter for ref in reversed(refs[50:])
        ]
        assert {each.kind for each in report.deepest} == {"hang"}
        assert max(len(each.name or "") for each in report.deepest) == 100
        assert (await report_of(one.address, -5, ports)).deepest == ()
        for ref in refs:
            await one.stop(ref, timeout_seconds=0)
        [left] = (await report_of(one.address, 5, ports)).deepest
        assert (left.kind, left.name, left.handled) == (LONG[:100], LONG[:100], 1)


def waiting(system: actors.ActorSystem, ref: actors.Ref[Work]) -> int:
    counts = system.actor_statistics(ref)
    return -1 if counts is None else counts.waiting


async def test_actors_are_listed_with_what_they_were_spawned_from() -> None:
    async with actors.open_actor_system() as system:
        first = await system.spawn(hang, 1)
        second = await system.spawn(lambda: Quick(), name="q")  # noqa: PLW0108 - no class
        third = await system.spawn(partial(Quick))
        found = [(each.ref, each.name, each.kind) for each in system.actors()]
        function = "test_actors_are_listed_with_what_they_were_spawned_from.<locals>.<lambda>"
        assert found == [(first, None, "hang"), (second, "q", function), (third, None, LONG)]
