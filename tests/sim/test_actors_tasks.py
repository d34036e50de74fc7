"""Tasks that an actor runs beside its handlers, and failures while it is being stopped."""

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support.actor_cast import Add, Counter, Fail, Get, Log, Wait, Watch, Watcher
from trio440.actors import Context, Down, Limits, Restart, open_actor_system
from trio440.errors import RestartsExhausted, SystemStopped


async def settle(seconds: float = 0) -> None:
    await trio.sleep(seconds)
    await trio.testing.wait_all_tasks_blocked()


class Ticker(Counter):
    """Adds something each second, by a task of its own."""

    def __init__(self, log: Log, *, fails_after: float = 1e9, last_words: str = "") -> None:
        super().__init__(log)
        self.fails_after = fails_after
        self.last_words = last_words

    async def on_start(self) -> None:
        await super().on_start()
        self.context.start_soon(self.tick, 1)

    async def tick(self, seconds: float) -> None:
        try:
            while True:
                await trio.sleep(seconds)
                self.context.tell(self.context.ref, Add(1))
                self.fails_after -= seconds
                if self.fails_after <= 0:
                    raise OSError("no more ticks")
        finally:
            self.log.note("task ends")
            if self.last_words:
                raise OSError(self.last_words)


async def test_a_task_runs_beside_the_handlers_and_ends_with_the_life() -> None:
    log = Log()
    async with open_actor_system() as system:
        ref = await system.spawn(Ticker, log)
        system.tell(ref, Wait(2.5))
        await settle(5.5)
        assert await system.ask(ref, Get()) == 5
        await system.stop(ref)
        assert log.lines == ["+", "1", "1", "1", "1", "1", "task ends", "-"]
        await settle(10)
        assert system.statistics().dead_letters == 0


async def test_a_task_ends_when_its_actor_fails_and_begins_again_with_the_next_life() -> None:
    log = Log()
    async with open_actor_system() as system:
        ref = await system.spawn(Ticker, log)
        await settle(1.5)
        system.tell(ref, Fail())
        await settle(1.2)
        assert log.lines == ["+", "1", "task ends", "-", "+", "1"]
    assert log.lines[6:] == ["task ends", "-"]


async def test_what_a_task_raises_is_a_failure_of_its_actor() -> None:
    reports: list[Exception] = []
    restart = Restart(intensity=1, period_seconds=100)
    with pytest.raises(RestartsExhausted, match="no more ticks"):
        async with open_actor_system(report=reports.append) as system:
            await system.spawn(partial(Ticker, Log(), fails_after=2), restart=restart)
            began = trio.current_time()
            await trio.sleep_forever()
    assert trio.current_time() - began == pytest.approx(4)
    assert [str(report).partition("failed: ")[2] for report in reports] == [
        "OSError: no more ticks; restart 1 of 1 within 100 s, after 0 s",
        "OSError: no more ticks; its supervisor fails, too",
    ]


async def test_a_handler_has_some_time_when_a_task_fails() -> None:
    class Patient(Counter):
        async def on_start(self) -> None:
            self.context.start_soon(self.fail_later)

        async def fail_later(self) -> None:
            await trio.sleep(1)
            if self.context.ref.counter == 1 and not seen:
                seen.append(trio.current_time())
                raise OSError("gone")

    seen: list[float] = []
    for seconds, interrupted in ((3, 0), (9, 1)):
        seen.clear()
        async with open_actor_system(limits=Limits(stop_seconds=4)) as system:
            ref = await system.spawn(Patient)
            system.tell(ref, Wait(seconds))
            await settle(20)
            counts = system.statistics()
            assert (counts.crashes, counts.restarts) == (1, 1)
            assert counts.dead_by_reason.get("interrupted", 0) == interrupted


async def test_a_task_that_fails_when_it_is_cancelled_is_reported() -> None:
    reports: list[Exception] = []
    heard: list[Down] = []
    async with open_actor_system(report=reports.append) as system:
        ref = await system.spawn(LastWords, Log())
        watcher = await system.spawn(Watcher, heard)
        system.tell(watcher, Watch(ref))
        await settle(1.5)
        await system.stop(ref)
        await settle()
        assert [down.reason for down in heard] == ["crashed"]
        assert system.statistics().actors == 1
    assert [str(report) for report in reports] == [
        "local/1 failed: OSError: in pieces; it was being stopped"
    ]


class LastWords(Ticker):
    def __init__(self, log: Log) -> None:
        super().__init__(log, last_words="in pieces")


async def test_tasks_end_when_the_system_is_cancelled() -> None:
    log = Log()
    with trio.move_on_after(1.5):
        async with open_actor_system() as system:
            await system.spawn(Ticker, log)
            await trio.sleep_forever()
    assert log.lines == ["+", "1", "task ends"]


async def test_no_task_begins_in_a_life_that_is_over() -> None:
    contexts: list[Context[Any]] = []

    class Leaky(Counter):
        async def on_start(self) -> None:
            contexts.append(self.context)

        async def on_stop(self) -> None:
            with pytest.raises(SystemStopped):
                await self.context.spawn(Counter)
            self.log.note("refused")

    log = Log()
    async with open_actor_system() as system:
        ref = await system.spawn(Leaky, log)
        contexts[0].start_soon(trio.sleep_forever)
        await system.stop(ref)
        assert log.lines == ["refused"]
        with pytest.raises(SystemStopped):
            contexts[0].start_soon(trio.sleep_forever)


async def test_a_failure_at_the_last_message_is_reported() -> None:
    async def fail_late(_: Context[Wait], message: Wait) -> None:
        await trio.sleep(message.seconds)
        raise OSError("at the end")

    reports: list[Exception] = []
    async with open_actor_system(report=reports.append) as system:
        ref = await system.spawn(fail_late)
        system.tell(ref, Wait(1))
        await settle()
        await system.stop(ref)
        assert [str(report) for report in reports] == [
            "local/1 failed: OSError: at the end; it was being stopped"
        ]
        assert system.statistics().crashes == 1
