"""Supervision in the shells: who is restarted with whom, in which order, and what is kept."""

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.support.actor_cast import Add, Counter, Fail, Get, Leave, Log, Wait
from trio440.actors import (
    Actor,
    ActorSystem,
    Context,
    Limits,
    Question,
    Ref,
    Restart,
    Strategy,
    handler,
    message,
    open_actor_system,
)
from trio440.errors import (
    ActorFailed,
    ActorStopped,
    InvalidParameter,
    InvariantViolated,
    RestartsExhausted,
    StartFailed,
    SystemStopped,
)

OFTEN = Restart(intensity=1000, first_wait_seconds=0)


async def start_three(
    system: ActorSystem, log: Log, restart: Callable[[str], Restart] = lambda _: OFTEN
) -> list[Ref[Any]]:
    refs = [await system.spawn(Counter, log, name, restart=restart(name)) for name in "abc"]
    log.lines.clear()
    return refs


async def settle(seconds: float = 0) -> None:
    await trio.sleep(seconds)
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["b-", "b+"]),
        ("one_for_all", ["b-", "c-", "a-", "a+", "b+", "c+"]),
        ("rest_for_one", ["b-", "c-", "b+", "c+"]),
    ],
)
async def test_who_fails_is_restarted_with_those_of_the_strategy(
    strategy: Strategy, expected: list[str]
) -> None:
    log = Log()
    async with open_actor_system(strategy=strategy) as system:
        a, b, c = await start_three(system, log)
        for ref in (a, b, c):
            system.tell(ref, Add(1))
        await settle()
        log.lines.clear()
        system.tell(b, Fail())
        await settle()
        assert log.lines == expected
        kept = [await system.ask(ref, Get()) for ref in (a, b, c)]
        assert kept == [0 if f"{name}+" in expected else 1 for name in "abc"]


async def test_siblings_that_are_temporary_are_stopped_along_and_stay_stopped() -> None:
    log = Log()

    def restart(name: str) -> Restart:
        return Restart("temporary") if name == "b" else OFTEN

    async with open_actor_system(strategy="one_for_all") as system:
        a, b, _ = await start_three(system, log, restart)
        system.tell(a, Fail())
        await settle()
        assert log.lines == ["a-", "c-", "b-", "a+", "c+"]
        assert system.actor_statistics(b) is None
        assert system.statistics().actors == 2


async def test_a_sibling_finishes_its_message_before_it_is_restarted_along() -> None:
    log = Log()
    async with open_actor_system(strategy="one_for_all", limits=Limits(stop_seconds=4)) as system:
        a, b, c = await start_three(system, log)
        system.tell(b, Wait(2))
        system.tell(b, Add(5))
        system.tell(c, Wait())
        await settle()
        system.tell(a, Fail())
        await settle(3.9)
        assert log.lines == ["a-", "b5"], "c is halted first, and has 4 seconds"
        await settle(0.2)
        assert log.lines == ["a-", "b5", "b-", "a+", "b+", "c+"]
        assert system.statistics().dead_by_reason == {"interrupted": 1}


@pytest.mark.parametrize(("kind", "lives"), [("permanent", 2), ("transient", 1), ("temporary", 1)])
async def test_who_leaves_is_restarted_only_if_it_is_permanent(kind: Any, lives: int) -> None:
    log = Log()
    async with open_actor_system() as system:
        ref = await system.spawn(Counter, log, restart=Restart(kind))
        system.tell(ref, Leave())
        await settle()
        assert log.lines == ["+", "-", "+"][: 2 * lives - 1 + (lives == 1)]
        assert (system.actor_statistics(ref) is not None) == (lives == 2)
        assert system.statistics().crashes == 0


async def test_who_is_stopped_is_not_restarted() -> None:
    log = Log()
    async with open_actor_system() as system:
        ref = await system.spawn(Counter, log, restart=Restart("permanent"))
        await system.stop(ref)
        await settle(10)
        assert log.lines == ["+", "-"]


async def test_a_restart_waits_longer_each_time_and_a_stop_ends_the_wait() -> None:
    starts: list[float] = []

    class Frail(Actor[Add]):
        async def on_start(self) -> None:
            starts.append(trio.current_time() - began)

        async def receive(self, message: Add) -> None:
            raise ValueError(message)

    restart = Restart(intensity=9, period_seconds=100, first_wait_seconds=1)
    async with open_actor_system() as system:
        began = trio.current_time()
        frail = await system.spawn(Frail, restart=restart)
        for _ in range(5):
            system.tell(frail, Add(1))
        await settle(6.5)
        assert starts == [pytest.approx(at) for at in (0, 0, 1, 3)]
        await system.stop(frail)
        assert trio.current_time() - began == pytest.approx(6.5)
        await settle(10)
        assert len(starts) == 4


async def test_on_restart_hears_why() -> None:
    causes: list[Exception | None] = []

    class Curious(Counter):
        async def on_restart(self, error: Exception | None) -> None:
            causes.append(error)

    async with open_actor_system(strategy="one_for_all") as system:
        first = await system.spawn(Curious)
        await system.spawn(Curious)
        system.tell(first, Fail("because"))
        await settle()
        assert [str(cause) for cause in causes] == ["because", "None"]


@message("test.Hired")
@attrs.frozen
class Hired:
    ref: Ref[Any]


@message("test.HireOne")
@attrs.frozen
class HireOne(Question[Hired]):
    intensity: int = 1000


class Boss(Actor[HireOne | Fail | Wait]):
    """Spawns counters."""

    def __init__(self, log: Log, name: str = "boss") -> None:
        self.log = log
        self.name = name

    async def on_start(self) -> None:
        self.log.note(f"{self.name}+")

    async def on_stop(self) -> None:
        self.log.note(f"{self.name}-")

    @handler
    async def hire(self, message: HireOne) -> Hired:
        restart = Restart(intensity=message.intensity, first_wait_seconds=0)
        return Hired(await self.context.spawn(Counter, self.log, "child", restart=restart))

    @handler
    async def fail(self, message: Fail) -> None:
        raise ValueError(message.why)

    @handler
    async def wait(self, message: Wait) -> None:
        await trio.sleep(message.seconds)


async def test_children_end_before_their_parent_does_from_the_last_to_the_first() -> None:
    log = Log()

    class Nested(Boss):
        async def on_start(self) -> None:
            await super().on_start()
            for name in ("x", "y"):
                await self.context.spawn(Counter, self.log, name)

    async with open_actor_system() as system:
        boss = await system.spawn(Nested, log)
        await system.stop(boss)
        assert log.lines == ["boss+", "x+", "y+", "y-", "x-", "boss-"]
        assert system.statistics().actors == 0


async def test_a_failed_parent_takes_its_children_along_and_starts_without_them() -> None:
    log = Log()
    async with open_actor_system() as system:
        boss = await system.spawn(Boss, log)
        child = (await system.ask(boss, HireOne())).ref
        system.tell(boss, Fail())
        await settle()
        assert log.lines == ["boss+", "child+", "child-", "boss-", "boss+"]
        assert system.actor_statistics(child) is None
        assert (await system.ask(boss, HireOne())).ref != child


async def test_a_child_that_fails_too_often_makes_its_parent_fail() -> None:
    log, reports = Log(), list[Exception]()
    async with open_actor_system(report=reports.append) as system:
        boss = await system.spawn(Boss, log)
        child = (await system.ask(boss, HireOne(intensity=1))).ref
        other = (await system.ask(boss, HireOne())).ref
        system.tell(child, Fail())
        await settle()
        assert log.lines[-2:] == ["child-", "child+"]
        log.lines.clear()
        system.tell(child, Fail())
        await settle()
        assert log.lines == ["child-", "child-", "boss-", "boss+"]
        assert system.actor_statistics(other) is None
        assert isinstance(reports[-1].__cause__, RestartsExhausted)
        assert "failed again after 1 restarts within 5 s: ValueError: on purpose" in str(
            reports[-1]
        )


async def test_a_parent_that_is_busy_for_ever_cannot_hide_an_escalation() -> None:
    log = Log()
    async with open_actor_system(limits=Limits(stop_seconds=3)) as system:
        boss = await system.spawn(Boss, log)
        child = (await system.ask(boss, HireOne(intensity=0))).ref
        system.tell(boss, Wait())
        system.tell(child, Fail())
        await settle(2.9)
        assert "boss-" not in log.lines
        await settle(0.2)
        assert log.lines[-1] == "boss+"
        assert system.statistics().dead_by_reason == {"interrupted": 1}


async def test_past_the_budget_the_system_fails() -> None:
    ended: list[str] = []
    with pytest.raises(RestartsExhausted, match=r"local/1 failed again after 2 restarts"):
        async with open_actor_system() as system:
            ref = await system.spawn(Counter, restart=Restart(intensity=2, first_wait_seconds=0))
            for _ in range(3):
                system.tell(ref, Fail())
            try:
                await trio.sleep_forever()
            finally:
                ended.append("body")
    assert ended == ["body"]
    assert system.statistics().actors == 0


async def test_a_round_begins_again_when_a_sibling_does_not_start() -> None:
    log, failures = Log(), [2]

    class Late(Counter):
        async def on_start(self) -> None:
            if log.lines and failures[0]:
                failures[0] -= 1
                raise OSError("not yet")
            await super().on_start()

    async with open_actor_system(strategy="one_for_all") as system:
        first = await system.spawn(Counter, log, "a", restart=OFTEN)
        log.lines.clear()
        await system.spawn(Late, log, "b", restart=OFTEN)
        log.lines.clear()
        log.note("!")
        system.tell(first, Fail())
        await settle(1)
        assert log.lines == ["!", "a-", "b-", "a+", "a-", "a+", "a-", "a+", "b+"]
        assert system.statistics().actors == 2


async def test_two_that_fail_at_once_are_restarted_in_one_round_or_two_and_none_is_lost() -> None:
    log = Log()
    async with open_actor_system(strategy="rest_for_one") as system:
        refs = await start_three(system, log)
        for ref in reversed(refs):
            system.tell(ref, Fail())
        await settle(1)
        for name in "abc":
            assert log.lines.count(f"{name}+") == log.lines.count(f"{name}-") >= 1
        assert [await system.ask(ref, Get()) for ref in refs] == [0, 0, 0]


async def test_two_that_fail_at_once_are_restarted_once() -> None:
    log = Log()
    async with open_actor_system(strategy="one_for_all") as system:
        for ref in await start_three(system, log):
            system.tell(ref, Fail())
        await settle(1)
        assert sorted(log.lines) == sorted(["a-", "b-", "c-", "a+", "b+", "c+"])


async def test_a_member_of_a_round_may_be_stopped_meanwhile() -> None:
    log = Log()
    async with open_actor_system(strategy="one_for_all") as system:
        a, b, c = await start_three(system, log)
        system.tell(a, Wait(2))
        await settle()
        system.tell(c, Fail())
        await settle()
        await system.stop(b)
        await settle(3)
        assert log.lines == ["c-", "b-", "a-", "a+", "c+"]
        assert [await system.ask(ref, Get()) for ref in (a, c)] == [0, 0]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
async def test_leaving_the_system_while_everything_restarts_leaves_nothing(
    strategy: Strategy,
) -> None:
    log = Log()
    waiting = Restart(intensity=1000, first_wait_seconds=1000, period_seconds=1e6)
    async with open_actor_system(strategy=strategy) as system:
        refs = await start_three(system, log, lambda _: waiting)
        for ref in refs:
            system.tell(ref, Fail())
            system.tell(ref, Fail())
        await settle()
        began = trio.current_time()
    assert trio.current_time() - began < 0.1
    assert system.statistics().actors == 0


@pytest.mark.parametrize("in_a_group", [False, True])
async def test_a_broken_promise_of_a_simulated_world_is_no_crash_to_be_restarted(
    in_a_group: bool,
) -> None:
    broken = InvariantViolated("promise", "broken")

    async def break_it(context: Context[Add], message: Add) -> None:
        if message.amount:
            context.tell(await context.spawn(break_it), Add(message.amount - 1))
        elif in_a_group:
            raise ExceptionGroup("several", [ValueError(message), broken])
        else:
            raise broken

    with pytest.raises(ExceptionGroup if in_a_group else InvariantViolated) as caught:
        async with open_actor_system() as system:
            system.tell(await system.spawn(break_it), Add(2))
            await trio.sleep_forever()
    found: Any = caught.value
    assert broken in (found, *getattr(found, "exceptions", ()))


async def test_a_group_of_errors_out_of_a_handlers_own_nursery_is_a_crash() -> None:
    async def with_tasks(_: Context[Add], message: Add) -> None:
        async def fail() -> None:
            raise ValueError(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail)

    reports: list[Exception] = []
    async with open_actor_system(report=reports.append) as system:
        ref = await system.spawn(with_tasks)
        system.tell(ref, Add(1))
        await settle()
        assert isinstance(reports[0].__cause__, ExceptionGroup)
        assert system.statistics().restarts == 1


async def test_a_cancelled_spawn_leaves_no_actor() -> None:
    class Slow(Counter):
        async def on_start(self) -> None:
            await trio.sleep_forever()

    async with open_actor_system() as system:
        with trio.move_on_after(1):
            await system.spawn(Slow, name="slow")
        await settle()
        assert system.statistics().actors == 0
        assert system.lookup("slow") is None


async def test_nobody_spawns_below_an_actor_that_is_ending() -> None:
    found: list[Exception] = []

    class Late(Counter):
        async def on_start(self) -> None:
            await self.context.spawn(Counter)

        async def on_stop(self) -> None:
            child = await self.context.spawn(Counter)
            found.append(ActorStopped(child, "is there"))

    async with open_actor_system() as system:
        late = await system.spawn(Late)
        await system.stop(late)
        await settle()
        assert system.statistics().actors == 0
        context: list[Context[Any]] = []

        class Leaky(Counter):
            async def on_start(self) -> None:
                context.append(self.context)

        await system.stop(await system.spawn(Leaky))
        with pytest.raises(SystemStopped):
            await context[0].spawn(Counter)


async def test_what_is_no_actor_is_not_spawned() -> None:
    async with open_actor_system() as system:
        with pytest.raises(StartFailed, match="Actor") as caught:
            await system.spawn(partial(int, 5))  # type: ignore[call-arg, arg-type]  # that is what is tried
        assert isinstance(caught.value.__cause__, InvalidParameter)
        with pytest.raises(InvalidParameter, match="on_start"):
            Counter().context  # noqa: B018 - that it can be asked for is what is tried


async def test_reports_say_what_follows() -> None:
    reports: list[Exception] = []
    async with open_actor_system(report=reports.append) as system:
        ref = await system.spawn(Counter, restart=Restart("temporary"))
        system.tell(ref, Fail("two\nlines"))
        await settle()
        assert str(reports[0]) == ("local/1 failed: ValueError: two lines; it is not restarted")
        assert isinstance(reports[0], ActorFailed)
        assert isinstance(reports[0].__cause__, ValueError)


async def test_an_escalation_cuts_a_round_short() -> None:
    class Stuck(Counter):
        async def on_restart(self, error: Exception | None) -> None:
            del error
            await trio.sleep_forever()

    with trio.fail_after(60), pytest.raises(RestartsExhausted, match="local/1"):
        async with open_actor_system(strategy="rest_for_one") as system:
            first = await system.spawn(Counter, restart=Restart(intensity=0))
            stuck = await system.spawn(Stuck, restart=OFTEN)
            await system.spawn(Counter, restart=OFTEN)
            system.tell(stuck, Fail())
            await settle(1)
            system.tell(first, Fail())
            await trio.sleep_forever()
