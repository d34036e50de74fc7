"""Ends of actors: stopping, draining, watching, leaving the system."""

from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.support.actor_cast import (
    Add,
    Counter,
    Debtor,
    Fail,
    Get,
    Leave,
    Log,
    Wait,
    Watch,
    Watcher,
)
from trio440.actors import (
    Actor,
    ActorSystem,
    Context,
    Down,
    Limits,
    MailboxPolicy,
    Ref,
    Restart,
    handler,
    open_actor_system,
)
from trio440.errors import ActorStopped, InvalidParameter, SystemStopped

TEMPORARY = Restart("temporary")


async def settle(seconds: float = 0) -> None:
    await trio.sleep(seconds)
    await trio.testing.wait_all_tasks_blocked()


async def watched(system: ActorSystem, ref: Ref[Any]) -> list[Down]:
    """Watch an actor by a new one, and return what that hears."""
    heard: list[Down] = []
    system.tell(await system.spawn(Watcher, heard), Watch(ref))
    await settle()
    return heard


async def test_a_stop_lets_the_present_message_end_and_buries_the_rest() -> None:
    log = Log()
    async with open_actor_system() as system:
        ref = await system.spawn(Counter, log)
        system.tell(ref, Wait(2))
        system.tell(ref, Add(1))
        errors: list[str] = []

        async def ask() -> None:
            with pytest.raises(ActorStopped) as caught:
                await system.ask(ref, Get())
            errors.append(str(caught.value))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await settle()
            began = trio.current_time()
            await system.stop(ref)
            assert trio.current_time() - began == pytest.approx(2)
        assert log.lines == ["+", "-"]
        assert errors == ["local/1 has stopped"]
        assert system.statistics().dead_by_reason == {"stopped": 2}
        await system.stop(ref)


async def test_a_stop_that_takes_too_long_is_cancelled() -> None:
    log = Log()
    async with open_actor_system() as system:
        ref = await system.spawn(Counter, log)
        system.tell(ref, Wait())
        await settle()
        began = trio.current_time()
        await system.stop(ref, timeout_seconds=3)
        assert trio.current_time() - began == pytest.approx(3)
        assert log.lines == ["+"], "who is cancelled does not say goodbye"
        assert system.statistics().dead_by_reason == {"interrupted": 1}


async def test_a_drain_handles_what_is_there_and_takes_nothing_more() -> None:
    async with open_actor_system() as system:
        log = Log()
        ref = await system.spawn(Counter, log)
        system.tell(ref, Wait(1))
        for number in range(3):
            system.tell(ref, Add(number))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: system.stop(ref, drain=True))
            await settle()
            system.tell(ref, Add(9))
            with pytest.raises(ActorStopped, match="is stopping"):
                await system.ask(ref, Get())
        assert log.lines == ["+", "0", "1", "2", "-"]
        assert system.statistics().dead_by_reason == {"stopped": 2}


async def test_an_actor_ends_itself_with_leave_and_cannot_wait_for_its_own_end() -> None:
    async def stop_me(context: Context[Add], message: Add) -> None:
        with pytest.raises(InvalidParameter, match="leave"):
            await context.stop(context.ref)
        context.leave()

    async with open_actor_system() as system:
        ref = await system.spawn(stop_me)
        system.tell(ref, Add(1))
        assert (await system.wait_stopped(ref)).reason == "stopped"


@pytest.mark.parametrize(
    ("last", "reason", "detail"),
    [
        (Leave(), "stopped", ""),
        (Fail("why"), "crashed", "ValueError: why"),
    ],
)
async def test_a_watcher_hears_exactly_once_how_an_actor_ended(
    last: Leave | Fail, reason: str, detail: str
) -> None:
    async with open_actor_system() as system:
        ref = await system.spawn(Counter, restart=TEMPORARY)
        heard = await watched(system, ref)
        system.tell(ref, last)
        await settle(10)
        assert [(down.ref, down.reason, down.detail) for down in heard] == [(ref, reason, detail)]


async def test_a_restart_is_no_end() -> None:
    async with open_actor_system() as system:
        ref = await system.spawn(Counter)
        heard = await watched(system, ref)
        system.tell(ref, Fail())
        await settle(1)
        assert heard == []
        await system.stop(ref)
        await settle()
        assert [down.reason for down in heard] == ["stopped"]


async def test_who_has_ended_or_never_was_gives_its_down_at_once() -> None:
    async with open_actor_system() as system:
        ref = await system.spawn(Counter)
        await system.stop(ref)
        unknown = attrs.evolve(ref, counter=1000)
        elsewhere = attrs.evolve(ref, address="elsewhere")
        for each, detail in (
            (ref, "has stopped"),
            (unknown, "has never been"),
            (elsewhere, "belongs to a system that is not known here"),
        ):
            heard = await watched(system, each)
            assert [(down.reason, down.detail) for down in heard] == [("unknown", detail)]
            assert (await system.wait_stopped(each)).reason == "unknown"


class Fickle(Actor[Watch | Leave | Down | Wait]):
    """Watches twice, and unwatches one of them when it is told to leave off."""

    def __init__(self, heard: list[Down]) -> None:
        self.heard = heard
        self.watches: list[int] = []

    @handler
    async def watch(self, message: Watch) -> None:
        self.watches.append(self.context.watch(message.ref))

    @handler
    async def leave_off(self, message: Leave) -> None:
        del message
        self.context.unwatch(self.watches[0])
        self.context.unwatch(self.watches[0])

    @handler
    async def wait(self, message: Wait) -> None:
        await trio.sleep(message.seconds)

    @handler
    async def down(self, message: Down) -> None:
        self.heard.append(message)


async def test_each_watch_is_one_of_its_own_and_can_be_ended() -> None:
    async with open_actor_system() as system:
        heard: list[Down] = []
        target = await system.spawn(Counter)
        fickle = await system.spawn(Fickle, heard)
        for _ in range(3):
            system.tell(fickle, Watch(target))
        system.tell(fickle, Leave())
        await settle()
        statistics = system.actor_statistics(target)
        assert statistics is not None
        assert statistics.watchers == 2
        await system.stop(target)
        await settle()
        assert len(heard) == len({down.watch for down in heard}) == 2


async def test_no_down_comes_after_unwatch_though_it_waits_in_the_mailbox() -> None:
    async with open_actor_system() as system:
        heard: list[Down] = []
        target = await system.spawn(Counter)
        fickle = await system.spawn(Fickle, heard)
        system.tell(fickle, Watch(target))
        system.tell(fickle, Wait(2))
        system.tell(fickle, Leave())
        await settle()
        await system.stop(target)
        await settle(3)
        assert heard == []


async def test_watches_end_with_the_life_that_made_them() -> None:
    async with open_actor_system() as system:
        heard: list[Down] = []
        target = await system.spawn(Counter)
        fickle: Ref[Any] = await system.spawn(Fickle, heard, restart=Restart())
        system.tell(fickle, Watch(target))
        system.tell(fickle, Wait(1))
        system.tell(fickle, Wait(float("nan")))  # which fails
        await settle()
        await system.stop(target)
        await settle(5)
        assert heard == []
        assert system.statistics().restarts == 1


async def test_a_down_comes_after_what_the_actor_said_and_through_a_full_mailbox() -> None:
    order: list[Any] = []

    class Narrow(Actor[Watch | Wait | Add | Down]):
        @handler
        async def watch(self, message: Watch) -> None:
            self.context.watch(message.ref)

        @handler
        async def wait(self, message: Wait) -> None:
            await trio.sleep(message.seconds)

        @handler
        async def note(self, message: Add | Down) -> None:
            order.append(message)

    async def speak(context: Context[Add], message: Add) -> None:
        context.tell(narrow, message)
        context.tell(narrow, message)
        context.leave()

    async with open_actor_system() as system:
        narrow: Ref[Any] = await system.spawn(Narrow, mailbox=MailboxPolicy(1))
        speaker = await system.spawn(speak)
        system.tell(narrow, Watch(speaker))
        await settle()
        system.tell(narrow, Wait(1))
        await settle()
        system.tell(speaker, Add(1))
        await settle(2)
        assert [type(item) for item in order] == [Add, Down]
        assert system.statistics().dead_by_reason == {"mailbox_full": 1}


async def test_answers_that_are_owed_fail_when_the_life_ends() -> None:
    async with open_actor_system() as system:
        debtor = await system.spawn(Debtor)

        async def ask() -> None:
            with pytest.raises(ActorStopped, match="ended without an answer"):
                await system.ask(debtor, Get(), timeout_seconds=100)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await settle()
            await system.stop(debtor)


async def test_the_one_who_is_asked_by_a_child_of_it_may_stop_it() -> None:
    async with open_actor_system() as system:

        async def patricide(context: Context[Add], message: Add) -> None:
            await context.stop(parent, timeout_seconds=message.amount)

        class Parent(Actor[Add]):
            @handler
            async def add(self, message: Add) -> None:
                self.context.tell(await self.context.spawn(patricide), message)

        parent = await system.spawn(Parent)
        system.tell(parent, Add(2))
        began = trio.current_time()
        await system.wait_stopped(parent)
        assert trio.current_time() - began == pytest.approx(2)
        assert system.statistics().actors == 0


async def test_leaving_the_system_stops_all_within_one_deadline_and_answers_every_ask() -> None:
    errors: list[str] = []

    async def ask(system: ActorSystem, ref: Ref[Get]) -> None:
        with pytest.raises((ActorStopped, SystemStopped)) as caught:
            await system.ask(ref, Get(), timeout_seconds=1000)
        errors.append(type(caught.value).__name__)

    async with trio.open_nursery() as nursery:
        async with open_actor_system(limits=Limits(stop_seconds=4)) as system:
            for _ in range(10):
                busy = await system.spawn(Counter)
                system.tell(busy, Wait())
                nursery.start_soon(ask, system, busy)
                nursery.start_soon(ask, system, await system.spawn(Debtor))
            await settle()
            began = trio.current_time()
        assert trio.current_time() - began == pytest.approx(4)
    assert len(errors) == 20
    counts = system.statistics()
    assert (counts.actors, counts.open_asks, counts.spawned, counts.ended) == (0, 0, 20, 20)


async def test_an_ask_to_the_outside_is_answered_when_the_system_ends() -> None:
    async with trio.open_nursery() as nursery, open_actor_system() as system:

        async def wait() -> None:
            with system.open_reply(Add) as reply, pytest.raises(SystemStopped):
                await reply.wait(timeout_seconds=1000)

        nursery.start_soon(wait)
        await settle()


async def test_a_system_that_is_left_by_an_exception_is_gone_at_once() -> None:
    log = Log()
    began = trio.current_time()
    with pytest.raises(KeyError):
        async with open_actor_system() as system:
            system.tell(await system.spawn(Counter, log), Wait())
            await settle()
            raise KeyError
    assert trio.current_time() == began
    assert log.lines == ["+"]
    assert system.statistics().actors == 0


async def test_a_cancelled_system_is_gone_at_once() -> None:
    with trio.move_on_after(1) as scope:
        async with open_actor_system() as system:
            parent = await system.spawn(Counter)
            system.tell(parent, Wait())
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert system.statistics().actors == 0


async def test_an_on_stop_that_hangs_is_cut_short_and_reported() -> None:
    class Clinging(Counter):
        async def on_stop(self) -> None:
            await trio.sleep_forever()

    class Raising(Counter):
        async def on_stop(self) -> None:
            raise ValueError("at the end")

    reports: list[Exception] = []
    limits = Limits(stop_seconds=2)
    async with open_actor_system(report=reports.append, limits=limits) as system:
        for cls in (Clinging, Raising):
            ref = await system.spawn(cls)
            await system.stop(ref, timeout_seconds=100)
    assert ["on_stop took too long" in str(reports[0]), "at the end" in str(reports[1])] == [
        True,
        True,
    ]


async def test_what_a_handler_raises_while_the_system_is_cancelled_stays_inside() -> None:
    reports: list[Exception] = []

    async def with_tasks(_: Context[Add], message: Add) -> None:
        async def fail_when_cancelled() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail_when_cancelled)

    with pytest.raises(KeyError, match="of the body"):
        async with open_actor_system(report=reports.append) as system:
            system.tell(await system.spawn(with_tasks), Add(1))
            await settle()
            raise KeyError("of the body")
    assert [type(report.__cause__) for report in reports] == [ExceptionGroup]
    assert system.statistics().actors == 0


async def test_who_has_ended_starts_nothing_any_more() -> None:
    contexts: list[Context[Any]] = []

    class Leaky(Counter):
        async def on_start(self) -> None:
            contexts.append(self.context)

    async with open_actor_system() as system:
        other = await system.spawn(Counter)
        await system.stop(await system.spawn(Leaky))
        (context,) = contexts
        with pytest.raises(ActorStopped, match="starts nothing"):
            context.tell_after(other, Add(1), 1)
        with pytest.raises(ActorStopped, match="starts nothing"):
            context.watch(other)
        context.tell(other, Add(1))
        assert await context.ask(other, Get()) == 1
        assert system.statistics().timers == 0
        statistics = system.actor_statistics(other)
        assert statistics is not None
        assert statistics.watchers == 0


async def test_a_one_shot_reference_that_is_closed_is_waited_for_no_more() -> None:
    async with open_actor_system() as system, trio.open_nursery() as nursery:
        with system.open_reply(Add) as reply:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await reply.wait(timeout_seconds=1e6)

            nursery.start_soon(wait)
            await settle()
        with pytest.raises(trio.ClosedResourceError):
            await reply.wait(timeout_seconds=1e6)
        await settle()
        assert trio.current_time() < 1e6
