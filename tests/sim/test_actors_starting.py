"""Lives that begin: in which time, with which handlers; and how a failure is seen by default."""

import logging
import sys
from functools import partial
from typing import Any, TypeVar

import attrs
import pytest
import trio
import trio.testing

from tests.support.actor_cast import Add, Counter, Fail, Get, Log
from tests.support.processes import finished
from trio440.actors import (
    Actor,
    Context,
    Limits,
    MailboxPolicy,
    Ref,
    Restart,
    handler,
    open_actor_system,
)
from trio440.errors import ActorStopped, InvalidParameter, RestartsExhausted, StartFailed

LIMITS = Limits(start_seconds=30, stop_seconds=5)
T = TypeVar("T")


async def settle(seconds: float = 0) -> None:
    await trio.sleep(seconds)
    await trio.testing.wait_all_tasks_blocked()


class Sleepy(Counter):
    """Starts in no time at first, and then takes as long as it is given."""

    def __init__(self, log: Log, name: str, *seconds: float) -> None:
        super().__init__(log, name)
        self.seconds = seconds
        self.lives = log.lines.count(f"{name}?")

    async def on_start(self) -> None:
        self.log.note(f"{self.name}?")
        if self.lives < len(self.seconds):
            await trio.sleep(self.seconds[self.lives])
        await super().on_start()


# What is reported by default


async def test_a_failure_is_logged_in_one_line_by_default(caplog: pytest.LogCaptureFixture) -> None:
    async with open_actor_system() as system:
        system.tell(await system.spawn(Counter), Fail())
        system.tell(await system.spawn(Counter, restart=Restart("temporary")), Fail("again"))
        await settle()
    assert caplog.record_tuples == [
        (
            "trio440.actors",
            logging.ERROR,
            "local/1 failed: ValueError: on purpose; restart 1 of 3 within 5 s, after 0 s",
        ),
        (
            "trio440.actors",
            logging.ERROR,
            "local/2 failed: ValueError: again; it is not restarted",
        ),
    ]


async def test_the_log_has_the_traceback_at_its_lowest_level(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "trio440.actors"):
        async with open_actor_system() as system:
            system.tell(await system.spawn(Counter), Fail())
            await settle()
    assert [record.levelname for record in caplog.records] == ["ERROR", "DEBUG"]
    assert "raise ValueError(message.why)" in caplog.text


async def test_a_crash_loop_logs_each_restart_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    class Looping(Counter):
        async def on_restart(self, error: Exception | None) -> None:
            raise ValueError("again") from error

    with pytest.raises(RestartsExhausted):
        async with open_actor_system() as system:
            system.tell(await system.spawn(Looping), Fail())
            await trio.sleep_forever()
    assert [record.getMessage().partition("; ")[2] for record in caplog.records] == [
        "restart 1 of 3 within 5 s, after 0 s",
        "restart 2 of 3 within 5 s, after 0.1 s",
        "restart 3 of 3 within 5 s, after 0.2 s",
        "its supervisor fails, too",
    ]


async def test_a_group_of_failures_is_reported_by_what_is_in_it() -> None:
    async def with_tasks(_: Context[Add], message: Add) -> None:
        async def fail(why: str) -> None:
            raise ValueError(f"{why}\nfor {message.amount}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, "one")
            nursery.start_soon(fail, "one")

    reports: list[Exception] = []
    async with open_actor_system(report=reports.append) as system:
        system.tell(await system.spawn(with_tasks), Add(1))
        await settle()
    assert str(reports[0]).startswith(
        "local/1 failed: ExceptionGroup: ValueError: one for 1, ValueError: one for 1; restart 1"
    )


@attrs.frozen
class Unregistered:
    pass


async def test_a_message_that_is_lost_by_a_mistake_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Adds(Actor[Add]):
        @handler
        async def add(self, message: Add) -> None: ...

    async with open_actor_system() as system:
        ref: Ref[Any] = await system.spawn(Adds, mailbox=MailboxPolicy(2))
        for _ in range(3):
            system.tell(ref, Unregistered())
            system.tell(ref, Get())
            await settle()
        for _ in range(9):
            system.tell(ref, Add(1))
        await system.stop(ref)
        system.tell(ref, Add(1))
        problem = f"message must be of a class registered with @message, not {Unregistered!r}"
        assert sum(system.statistics().dead_by_reason.values()) == 3 + 3 + 7 + 1 + 2
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", text + "; others like it are only counted")
        for text in (
            f"Unregistered to local/1 is lost: unknown_message, {problem}",
            "Get to local/1 is lost: unhandled",
            "Add to local/1 is lost: mailbox_full",
        )
    ]


async def test_kinds_of_losses_that_are_logged_are_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_actor_system() as system:
        ref: Ref[Any] = await system.spawn(Counter)
        for number in range(200):
            system.tell(ref, type(f"Message{number}", (), {})())
    assert len(caplog.records) == 100


PROGRAM = """
import trio
from tests.support.actor_cast import Counter, Fail
from trio440.actors import open_actor_system

async def main():
    async with open_actor_system() as system:
        counter = await system.spawn(Counter)
        system.tell(counter, Fail())
        await system.stop(counter, drain=True)

trio.run(main)
"""


@pytest.mark.slow
def test_a_program_that_configures_nothing_shows_it_on_standard_error() -> None:
    line = "local/1 failed: ValueError: on purpose; restart 1 of 3 within 5 s, after 0 s\n"
    assert finished([sys.executable, "-c", PROGRAM]) == (0, "", line)


# Handlers of what is declared


async def test_a_class_without_a_handler_for_what_it_declares_is_not_spawned() -> None:
    class Forgetful(Actor[Add | Get | Fail]):
        @handler
        async def add(self, message: Add) -> None: ...

    problem = "one with a handler, or a receive, for Get, Fail, which it declares, not 'Forgetful'"
    async with open_actor_system() as system:
        with pytest.raises(StartFailed, match=problem) as caught:
            await system.spawn(Forgetful)
        assert isinstance(caught.value.__cause__, InvalidParameter)
        assert system.statistics().actors == 0


async def test_a_receive_or_an_inherited_handler_is_enough() -> None:
    class Any1(Actor[Add | Get]):
        async def receive(self, message: Add | Get) -> Any: ...

    class Adds(Actor[T]):
        @handler
        async def add(self, message: Add) -> None: ...

    class Both(Adds[Add | Get], Actor[Add | Get]):
        @handler
        async def get(self, _: Get) -> int:
            return 7

    class Quoted(Actor["Nowhere"]):  # type: ignore[name-defined]
        pass

    async with open_actor_system() as system:
        for cls in (Any1, Adds, Both, Quoted):
            await system.spawn(cls)


async def test_what_a_base_declares_is_owed_too() -> None:
    class Base(Actor[Add]):
        pass

    class Derived(Base):
        async def on_start(self) -> None: ...

    class Dutiful(Base):
        @handler
        async def add(self, message: Add) -> None: ...

    async with open_actor_system() as system:
        await system.spawn(Dutiful)
        with pytest.raises(StartFailed, match="for Add, which it declares"):
            await system.spawn(Derived)


async def test_an_instance_is_no_factory() -> None:
    async with open_actor_system() as system:
        spawn: Any = system.spawn
        for factory in (Counter(), int, len):
            with pytest.raises(StartFailed, match="factory must be an async function, or what"):
                await spawn(factory) if factory is not len else await spawn(factory, "x")


async def test_a_function_that_cannot_be_called_so_is_not_spawned() -> None:
    async def handle(context: Context[Add], message: Add, number: int) -> None: ...

    def forgotten(context: Context[Add], message: Add) -> None: ...

    async with open_actor_system() as system:
        spawn: Any = system.spawn
        await spawn(handle, 1)
        await spawn(partial(handle, number=1))
        for args in ((), (1, 2)):
            with pytest.raises(StartFailed, match=r"takes a context.*argument.*not 'handle'"):
                await spawn(handle, *args)
        with pytest.raises(StartFailed, match=r"must be async .*'context'.*not 'forgotten'"):
            await spawn(forgotten)
        assert system.statistics().actors == 2


async def test_an_await_that_is_missing_is_guessed() -> None:
    async with open_actor_system() as system:
        spawning: Any = system.spawn(Counter)
        with pytest.raises(InvalidParameter, match="was it awaited"):
            system.tell(spawning, Add(1))
        await spawning


async def test_what_is_no_reference_is_refused_by_all_that_take_one() -> None:
    problem = "ref must be a reference to an actor, not None"
    contexts: list[Any] = []

    class Leaky(Counter):
        async def on_start(self) -> None:
            contexts.append(self.context)

    async with open_actor_system() as system:
        await system.spawn(Leaky)
        nobody: Any = system.lookup("nobody")
        for speaker in (system, contexts[0]):
            for act in (
                partial(speaker.tell, nobody, Add(1)),
                partial(speaker.tell_after, nobody, Add(1), 1),
                partial(speaker.tell_every, nobody, Add(1), 1),
            ):
                with pytest.raises(InvalidParameter, match=problem):
                    act()
            for wait in (
                partial(speaker.ask, nobody, Get()),
                partial(speaker.stop, nobody),
                partial(speaker.wait_stopped, nobody),
            ):
                with pytest.raises(InvalidParameter, match=problem):
                    await wait()
        with pytest.raises(InvalidParameter, match=problem):
            contexts[0].watch(nobody)
        assert system.statistics().open_asks == 0


async def test_two_systems_of_one_name_are_told_apart() -> None:
    async with open_actor_system() as one, open_actor_system() as other:
        ref = await one.spawn(Counter)
        problem = "belongs to another life of this system, or to another one of its name"
        with pytest.raises(ActorStopped, match=problem):
            await other.ask(ref, Get())


# The time to start


async def test_a_first_start_that_never_ends_fails_in_time() -> None:
    log = Log()
    async with open_actor_system(limits=LIMITS) as system:
        began = trio.current_time()
        problem = "local/1 could not be started: TooSlowError: it had not started within 30 s"
        with pytest.raises(StartFailed, match=problem):
            await system.spawn(Sleepy, log, "a", 1e9, name="sleepy")
        assert trio.current_time() - began == pytest.approx(30)
        assert system.statistics().actors == 0
        assert system.lookup("sleepy") is None
        assert log.lines == ["a?"]
        await system.spawn(Sleepy, log, "b", 29.9)


async def test_a_restart_that_never_ends_holds_up_its_siblings_for_a_bounded_time() -> None:
    log = Log()
    async with open_actor_system(strategy="one_for_all", limits=LIMITS) as system:
        frail = await system.spawn(Counter, log, "a")
        await system.spawn(Sleepy, log, "b", 0, 1e9)
        later = await system.spawn(Counter, log, "c")
        assert log.lines == ["a+", "b?", "b+", "c+"]
        system.tell(frail, Fail())
        await settle(29)
        assert log.lines[4:] == ["a-", "c-", "b-", "a+", "b?"]
        await settle(2)
        assert log.lines[9:] == ["a-", "a+", "b?", "b+", "c+"], "the round begins again"
        assert await system.ask(later, Get()) == 0


async def test_a_restart_that_never_ends_is_a_failure_each_time() -> None:
    reports: list[Exception] = []
    restart = Restart(intensity=2, period_seconds=1000)
    with pytest.raises(RestartsExhausted, match="TooSlowError: it had not started within 30 s"):
        async with open_actor_system(limits=LIMITS, report=reports.append) as system:
            sleepy = await system.spawn(Sleepy, Log(), "a", 0, 1e9, 1e9, restart=restart)
            began = trio.current_time()
            system.tell(sleepy, Fail())
            await trio.sleep_forever()
    assert trio.current_time() - began == pytest.approx(30 + 0.1 + 30)
    assert len(reports) == 3


async def test_who_never_starts_can_be_stopped_and_left() -> None:
    log = Log()
    async with open_actor_system(limits=LIMITS) as system:
        sleepy = await system.spawn(Sleepy, log, "a", 0, 1e9)
        system.tell(sleepy, Fail())
        await settle()
        began = trio.current_time()
        await system.stop(sleepy, timeout_seconds=3)
        assert trio.current_time() - began == pytest.approx(3)
        with pytest.raises(ActorStopped):
            await system.ask(sleepy, Get())
        sleepy = await system.spawn(Sleepy, log, "b", 0, 1e9)
        system.tell(sleepy, Fail())
        await settle()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(5)


def test_the_time_to_start_has_a_range() -> None:
    with pytest.raises(InvalidParameter, match="start_seconds must be 0 or more"):
        Limits(start_seconds=-1)
