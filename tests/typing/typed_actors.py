"""The types that users of actors see; mypy reads this file, nothing runs it."""

from functools import partial
from typing import Any, assert_type

import attrs

from trio440 import actors
from trio440.actors.testing import Probe, open_probe
from trio440.errors import ActorFailed


@actors.message("Add")
@attrs.frozen
class Add:
    amount: int


@actors.message("Get")
@attrs.frozen
class Get(actors.Question[int]):
    pass


@actors.message("Text")
@attrs.frozen
class Text:
    reply_to: actors.Ref[Add]


class Counter(actors.Actor[Add | Get]):
    def __init__(self, start: int = 0) -> None:
        self.total = start

    @actors.handler
    async def add(self, message: Add) -> None:
        self.total += message.amount
        assert_type(self.context.ref, actors.Ref[Add | Get])

    @actors.handler
    async def get(self, message: Get) -> actors.Reply[int]:
        assert_type(await self.context.ask(self.context.ref, message), int)
        return self.context.hold_reply(message)


class Printer(actors.Actor[Add | Text]):
    async def receive(self, message: Add | Text) -> None: ...


class Narrow(actors.Actor[Add | Text]):
    async def receive(self, message: Add) -> None: ...  # type: ignore[override]  # takes too little


async def relay(context: actors.Context[Add], message: Add, to: actors.Ref[Add]) -> None:
    context.tell(to, message)
    context.start_soon(count_to, 5, "done")
    context.start_soon(count_to, "five", "done")  # type: ignore[arg-type]  # a number
    context.start_soon(count_to, 5)  # type: ignore[arg-type]  # and a word


async def count_to(number: int, word: str) -> None: ...


def report(failure: ActorFailed) -> None: ...


async def systems_report_failures() -> None:
    async with actors.open_actor_system(report=report), actors.open_actor_system(report=print):
        pass


async def references_know_what_they_take(system: actors.ActorSystem) -> None:
    counter = await system.spawn(Counter)
    assert_type(counter, actors.Ref[Add | Get])
    assert_type(await system.spawn(Counter, 5, name="five"), actors.Ref[Add | Get])
    assert_type(await system.spawn(partial(Counter, start=5)), actors.Ref[Add | Get])
    assert_type(await system.spawn(relay, counter), actors.Ref[Add])
    await system.spawn(Counter, "five")  # type: ignore[arg-type]  # a number
    await system.spawn(relay, 5)  # type: ignore[arg-type]  # a reference
    system.tell(counter, Add(1))
    system.tell(counter, Text(counter))  # type: ignore[misc]  # takes no text
    narrower: actors.Ref[Add] = counter
    wider: actors.Ref[Add | Get | Text] = counter  # type: ignore[assignment]  # takes no text
    del narrower, wider


async def asks_know_their_answers(system: actors.ActorSystem, adder: actors.Ref[Add]) -> None:
    counter = await system.spawn(Counter)
    assert_type(await system.ask(counter, Get()), int)
    assert_type(await system.ask(counter, Get(), timeout_seconds=1), int)
    await system.ask(counter, Add(1))  # type: ignore[arg-type]  # no question
    await system.ask(adder, Get())  # type: ignore[misc]  # takes no such question
    with system.open_reply(Add) as reply:
        system.tell(await system.spawn(Printer), Text(reply.ref))
        assert_type(await reply.wait(), Add)


async def the_rest_is_typed_too(system: actors.ActorSystem, ref: actors.Ref[Any]) -> None:
    assert_type(await system.wait_stopped(ref), actors.Down)
    assert_type(system.lookup("name"), actors.Ref[Any] | None)
    assert_type(system.statistics(), actors.SystemStatistics)
    assert_type(system.tell_after(ref, Add(1), 0.5), actors.Timer)
    system.tell_every(await system.spawn(Counter), Text(ref), 1)  # type: ignore[misc]  # no text
    async with open_probe(system, Add) as probe:
        assert_type(probe, Probe[Add])
        assert_type(probe.ref, actors.Ref[Add])
        assert_type(await probe.expect(Add), Add)
    async with actors.open_actor_system(strategy="one_for_some"):  # type: ignore[arg-type]
        pass
