"""What was seen to go wrong in released actor libraries, each by its name."""

from typing import Any

import pytest
import trio
import trio.testing

from tests.support.actor_cast import Add, Counter, Fail, Get, Items, Log, Wait, Watch, Watcher
from trio440.actors import (
    Actor,
    Context,
    Down,
    Limits,
    MailboxPolicy,
    Overflow,
    Ref,
    Restart,
    handler,
    open_actor_system,
)
from trio440.errors import (
    ActorStopped,
    AskTimedOut,
    MailboxFull,
    RestartsExhausted,
    StartFailed,
)


async def settle(seconds: float = 0) -> None:
    await trio.sleep(seconds)
    await trio.testing.wait_all_tasks_blocked()


class Steps(trio.abc.Instrument):
    """Counts how often any task runs."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.count += 1


async def test_a_constructor_that_raises_leaves_no_zombie() -> None:
    class Broken(Actor[Add]):
        def __init__(self) -> None:
            raise OSError("no disk")

    async with open_actor_system() as system:
        with pytest.raises(StartFailed, match="local/1 could not be started: OSError: no disk"):
            await system.spawn(Broken, name="broken")
        assert system.lookup("broken") is None
        counts = system.statistics()
        assert (counts.actors, counts.spawned, counts.ended) == (0, 1, 1)
        gone = Ref[Get]("local", 1, system.incarnation)
        with pytest.raises(ActorStopped):
            await system.ask(gone, Get())


async def test_a_constructor_that_raises_at_a_restart_tells_watchers_and_leaves_no_zombie() -> None:
    class Once(Counter):
        lives = 0

        def __init__(self) -> None:
            super().__init__()
            type(self).lives += 1
            if self.lives > 1:
                raise OSError("no disk")

    heard: list[Down] = []
    with pytest.raises(RestartsExhausted, match="OSError: no disk"):
        async with open_actor_system() as system:
            boss = await system.spawn(Watcher, heard)
            once = await system.spawn(Once, restart=Restart(intensity=2, first_wait_seconds=0))
            system.tell(boss, Watch(once))
            await settle()
            system.tell(once, Fail())
            await trio.sleep_forever()
    assert Once.lives == 3
    assert system.statistics().actors == 0


async def test_a_start_that_fails_tells_who_watches_already() -> None:
    heard: list[Down] = []

    class Hasty(Counter):
        def __init__(self, watcher: Ref[Watch]) -> None:
            super().__init__()
            self.watcher = watcher

        async def on_start(self) -> None:
            self.context.tell(self.watcher, Watch(self.context.ref))
            await trio.sleep(1)
            raise OSError("no disk")

    async with open_actor_system() as system:
        watcher = await system.spawn(Watcher, heard)
        with pytest.raises(StartFailed):
            await system.spawn(Hasty, watcher)
        await settle()
        assert [(down.reason, down.detail) for down in heard] == [("crashed", "OSError: no disk")]


async def test_a_draining_actor_does_not_spin() -> None:
    async with open_actor_system() as system:
        ref = await system.spawn(Counter)
        system.tell(ref, Wait(1000))
        system.tell(ref, Add(1))
        steps = Steps()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: system.stop(ref, drain=True, timeout_seconds=2000))
            await settle()
            trio.lowlevel.add_instrument(steps)
            await trio.sleep(999)
            trio.lowlevel.remove_instrument(steps)
        assert steps.count < 10


async def test_an_actor_in_back_off_does_not_spin_though_it_is_told_much() -> None:
    restart = Restart(intensity=5, first_wait_seconds=1000, longest_wait_seconds=1000)
    async with open_actor_system() as system:
        ref = await system.spawn(Counter, restart=restart)
        system.tell(ref, Fail())
        system.tell(ref, Fail())
        await settle()
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        for number in range(50):
            system.tell(ref, Add(number))
            await trio.sleep(1)
        trio.lowlevel.remove_instrument(steps)
        assert steps.count < 2 * 50 + 10
        await system.stop(ref)


async def test_a_crash_loop_is_reported_each_time_and_ends() -> None:
    reports: list[Exception] = []

    class Looping(Counter):
        async def on_restart(self, error: Exception | None) -> None:
            raise ValueError(f"again, {error}")

    with pytest.raises(RestartsExhausted):
        async with open_actor_system(report=reports.append) as system:
            system.tell(await system.spawn(Looping), Fail())
            await trio.sleep_forever()
    assert len(reports) == 4
    assert "restart 1 of 3 within 5 s, after 0 s" in str(reports[0])
    assert "restart 3 of 3 within 5 s, after 0.2 s" in str(reports[2])
    assert "its supervisor fails, too" in str(reports[3])
    assert system.statistics().crashes == 4


async def test_a_crash_loop_without_waits_lets_others_run() -> None:
    class Looping(Counter):
        async def on_restart(self, error: Exception | None) -> None:
            raise ValueError(error)

    endless = Restart(intensity=10**9, first_wait_seconds=0)
    async with open_actor_system() as system:
        looping = await system.spawn(Looping, restart=endless)
        other = await system.spawn(Counter)
        system.tell(looping, Fail())
        for _ in range(10):
            assert await system.ask(other, Get()) == 0
        await system.stop(looping)
        assert system.statistics().crashes > 5


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_the_restart_budget_is_per_child(strategy: Any) -> None:
    """Ten children that fail once each do not use up a budget of one."""
    restart = Restart(intensity=1, first_wait_seconds=0)
    async with open_actor_system(strategy=strategy) as system:
        refs = [await system.spawn(Counter, restart=restart) for _ in range(10)]
        for ref in refs:
            system.tell(ref, Fail())
            await settle(0.01)
        assert [await system.ask(ref, Get()) for ref in refs] == [0] * 10
        with pytest.raises(RestartsExhausted):
            async with open_actor_system(strategy=strategy) as other:
                frail = await other.spawn(Counter, restart=restart)
                other.tell(frail, Fail())
                other.tell(frail, Fail())
                await trio.sleep_forever()


@pytest.mark.parametrize("overflow", ["fail_ask", "block_ask", "drop_newest", "drop_oldest"])
async def test_a_full_mailbox_never_crashes_the_sender(overflow: Overflow) -> None:
    reports: list[Exception] = []

    async def flood(context: Context[Add], message: Add) -> None:
        for number in range(message.amount):
            context.tell(full, Add(number))

    async with open_actor_system(report=reports.append) as system:
        full = await system.spawn(Counter, mailbox=MailboxPolicy(3, overflow))
        system.tell(full, Wait(1))
        await settle()
        flooder = await system.spawn(flood)
        system.tell(flooder, Add(100))
        system.tell(flooder, Add(100))
        await settle()
        assert system.statistics().dead_by_reason == {"mailbox_full": 197}
        statistics = system.actor_statistics(full)
        assert statistics is not None
        assert statistics.waiting == 3
        began = trio.current_time()
        if overflow == "block_ask":
            assert await system.ask(full, Get()) == 0 + 1 + 2
            assert trio.current_time() - began == pytest.approx(1)
        elif overflow == "drop_oldest":
            assert await system.ask(full, Get()) == 98 + 99
        else:
            error = MailboxFull if overflow == "fail_ask" else AskTimedOut
            with pytest.raises(error):
                await system.ask(full, Get(), timeout_seconds=0.5)
        assert reports == []
        await settle(2)
        assert await system.ask(full, Get()) >= 0


async def test_stop_has_an_overall_deadline() -> None:
    class Stubborn(Actor[Any]):
        async def on_stop(self) -> None:
            await trio.sleep_forever()

        async def on_start(self) -> None:
            if depth:
                depth.pop()
                await self.context.spawn(Stubborn)

    depth = [None] * 5
    async with open_actor_system(limits=Limits(stop_seconds=3)) as system:
        for _ in range(5):
            await system.spawn(Stubborn)
        await settle()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(3)
    assert system.statistics().actors == 0


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("wait_seconds", [0, 0.5])
async def test_no_message_is_lost_or_doubled_by_a_restart_that_keeps_the_mailbox(
    strategy: Any, wait_seconds: float
) -> None:
    handled: list[list[int]] = [[], []]

    class Flaky(Actor[Add]):
        def __init__(self, own: list[int]) -> None:
            self.own = own

        @handler
        async def add(self, message: Add) -> None:
            await trio.sleep(0.1)
            self.own.append(message.amount)
            if message.amount % 7 == 3:
                raise ValueError(message.amount)

    restart = Restart(intensity=10**6, first_wait_seconds=wait_seconds)
    async with open_actor_system(strategy=strategy) as system:
        refs = [await system.spawn(Flaky, own, restart=restart) for own in handled]
        for number in range(60):
            for ref in refs:
                system.tell(ref, Add(number))
            await trio.sleep(0.03)
        await settle(200)
        assert handled == [list(range(60))] * 2
        assert system.statistics().dead_letters == 0
        assert system.statistics().restarts >= 16


async def test_a_restart_that_drops_the_mailbox_says_so() -> None:
    log = Log()
    async with open_actor_system() as system:
        ref = await system.spawn(Counter, log, restart=Restart(keep_mailbox=False))
        system.tell(ref, Fail())
        system.tell(ref, Add(1))
        with pytest.raises(ActorStopped, match="was restarted"):
            await system.ask(ref, Get())
        system.tell(ref, Add(2))
        await settle()
        assert log.lines == ["+", "-", "+", "2"]
        assert system.statistics().dead_by_reason == {"restarted": 2}


async def test_what_was_stashed_is_kept_by_a_restart_and_comes_first() -> None:
    log = Log()

    class Hoarder(Counter):
        lives = 0

        async def on_start(self) -> None:
            type(self).lives += 1

        @handler
        async def take(self, message: Items) -> None:
            if self.lives == 1:
                self.context.stash()
            else:
                log.note(f"items {message.items}")

    async with open_actor_system() as system:
        ref = await system.spawn(Hoarder, log)
        for number in range(3):
            system.tell(ref, Items([number]))
        system.tell(ref, Fail())
        system.tell(ref, Add(5))
        await settle()
        assert log.lines == ["-", "items [0]", "items [1]", "items [2]", "5"]
