"""Actors under chance: senders, crashes, stops, watchers and asks drawn from a seed.

Whatever happens: messages of one pair are handled in order and at most once; each message that
was told is begun to be handled or is a dead letter; every ask ends by its deadline; every watch
gives exactly one Down; nothing is left at the end.
"""

import random
from collections import Counter as Tally
from typing import Any

import attrs
import pytest
import trio

from tests.support.actor_cast import Watch
from trio440.actors import (
    Actor,
    ActorSystem,
    Down,
    Limits,
    MailboxPolicy,
    Question,
    Ref,
    Restart,
    Strategy,
    handler,
    message,
    open_actor_system,
)
from trio440.errors import ActorError, AskTimedOut, RestartsExhausted

SECONDS = 20.0


@message("test.Note")
@attrs.frozen
class Note:
    sender: str
    number: int
    deed: str = "nothing"


@message("test.Poll")
@attrs.frozen
class Poll(Question[int]):
    number: int


@attrs.define
class World:
    """What has happened."""

    rng: random.Random
    begun: dict[str, list[Note]] = attrs.field(factory=dict)
    told: int = 0
    polled: int = 0
    begun_polls: int = 0
    watches: Tally[int] = attrs.field(factory=Tally)
    downs: Tally[int] = attrs.field(factory=Tally)
    starts: Tally[str] = attrs.field(factory=Tally)


class Worker(Actor[Note | Poll]):
    def __init__(self, world: World, name: str, parent: bool) -> None:
        self.world = world
        self.name = name
        self.parent = parent

    async def on_start(self) -> None:
        self.world.starts[self.name] += 1
        if self.parent:
            kind: Any = self.world.rng.choice(["transient", "temporary"])
            await self.context.spawn(
                Worker,
                self.world,
                f"{self.name}.{self.world.rng.random()}",
                False,
                restart=Restart(kind, intensity=2),
            )

    @handler
    async def note(self, message: Note) -> None:
        self.world.begun.setdefault(self.name, []).append(message)
        match message.deed:
            case "wait":
                await trio.sleep(self.world.rng.random())
            case "fail":
                raise ValueError(message.number)
            case "leave":
                self.context.leave()

    @handler
    async def poll(self, message: Poll) -> int:
        self.world.begun_polls += 1
        if message.number % 5 == 0:
            await trio.sleep(1)
        if message.number % 11 == 0:
            raise ValueError(message.number)
        return message.number


class Guard(Actor[Watch | Down]):
    def __init__(self, world: World) -> None:
        self.world = world

    @handler
    async def watch(self, message: Watch) -> None:
        self.world.watches[self.context.watch(message.ref)] += 1

    @handler
    async def down(self, message: Down) -> None:
        self.world.downs[message.watch] += 1


async def send(world: World, system: ActorSystem, name: str, refs: list[Ref[Any]]) -> None:
    numbers: Tally[Ref[Any]] = Tally()
    deeds = ["nothing"] * 12 + ["wait"] * 6 + ["fail"] * 2 + ["leave"]
    while trio.current_time() < SECONDS:
        ref = world.rng.choice(refs)
        numbers[ref] += 1
        world.told += 1
        system.tell(ref, Note(name, numbers[ref], world.rng.choice(deeds)))
        if world.rng.random() < 0.3:
            await trio.sleep(world.rng.random())


async def ask(world: World, system: ActorSystem, refs: list[Ref[Any]]) -> None:
    while trio.current_time() < SECONDS:
        began, timeout = trio.current_time(), world.rng.random()
        world.polled += 1
        number = world.polled
        try:
            answer = await system.ask(world.rng.choice(refs), Poll(number), timeout_seconds=timeout)
            assert answer == number
        except AskTimedOut:
            assert trio.current_time() == pytest.approx(began + timeout)
        except ActorError:
            pass
        assert trio.current_time() <= began + timeout + 1e-6
        await trio.sleep(world.rng.random() / 2)


async def play(world: World, system: ActorSystem, refs: list[Ref[Any]]) -> None:
    guards = [await system.spawn(Guard, world, mailbox=MailboxPolicy(10_000)) for _ in range(3)]
    for _ in range(20):
        system.tell(world.rng.choice(guards), Watch(world.rng.choice(refs)))
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(send, world, system, f"s{number}", refs)
            nursery.start_soon(ask, world, system, refs)
        for ref in world.rng.sample(refs, 3):
            await trio.sleep(world.rng.random() * 5)
            await system.stop(ref, drain=world.rng.random() < 0.5, timeout_seconds=1)
    for ref in refs:
        await system.stop(ref, timeout_seconds=1)
    for guard in guards:
        await system.stop(guard, drain=True)


class Boss(Actor[Any]):
    """Spawns the workers, with a strategy and policies by chance."""

    def __init__(self, world: World, refs: list[Ref[Any]]) -> None:
        self.world = world
        self.refs = refs
        self.strategies: list[Strategy] = ["one_for_one", "one_for_all", "rest_for_one"]
        self.strategy = world.rng.choice(self.strategies)

    async def on_start(self) -> None:
        rng = self.world.rng
        for number in range(6):
            kind: Any = rng.choice(["permanent", "transient", "temporary"])
            overflow: Any = rng.choice(["fail_ask", "block_ask", "drop_newest", "drop_oldest"])
            restart = Restart(
                kind,
                intensity=10_000,
                first_wait_seconds=rng.choice([0, 0.05]),
                longest_wait_seconds=0.5,
            )
            mailbox = MailboxPolicy(rng.choice([3, 100]), overflow)
            name, parent = f"w{number}", rng.random() < 0.3
            self.refs.append(
                await self.context.spawn(
                    Worker, self.world, name, parent, restart=restart, mailbox=mailbox
                )
            )


@pytest.mark.parametrize(
    "seed",
    [*range(10), *(pytest.param(seed, marks=pytest.mark.campaign) for seed in range(10, 500))],
)
async def test_actors_keep_their_promises_whatever_happens(seed: int) -> None:
    world, refs = World(random.Random(seed)), list[Ref[Any]]()
    async with open_actor_system(limits=Limits(stop_seconds=2)) as system:
        await system.spawn(Boss, world, refs)
        await play(world, system, refs)
        asks_open = system.statistics().open_asks
    counts = system.statistics()
    assert asks_open == counts.open_asks == counts.actors == counts.timers == 0
    assert counts.spawned == counts.ended
    for notes in world.begun.values():
        for sender in {note.sender for note in notes}:
            numbers = [note.number for note in notes if note.sender == sender]
            assert numbers == sorted(set(numbers)), "in order, and at most once"
    begun = sum(map(len, world.begun.values()))
    dead = counts.dead_by_reason
    late = dead.get("already_answered", 0)
    interrupted = dead.get("interrupted", 0)  # begun, and cut short
    unheard = counts.dead_letters - late - interrupted
    cancelled_while_blocked = world.told + world.polled - begun - world.begun_polls - unheard
    assert 0 <= cancelled_while_blocked <= world.polled
    assert world.watches
    assert world.downs == world.watches, "exactly one Down for each watch"
    assert counts.crashes > 0


async def test_an_exhausted_budget_ends_the_world_of_chance_too() -> None:
    world = World(random.Random(1))
    with pytest.raises(RestartsExhausted):
        async with open_actor_system() as system:
            ref = await system.spawn(Worker, world, "w", False, restart=Restart(intensity=3))
            for number in range(10):
                system.tell(ref, Note("s", number, "fail"))
            await trio.sleep_forever()
    assert world.starts["w"] == 4
