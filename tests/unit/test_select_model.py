"""Small random programs of channel operations: what really happens must be possible in a model.

Tasks act when a driver lets them, one or several operations in one tick of the scheduler, so
that wake-ups, cancellations and closes meet tasks that have been served but have not run yet.
The driver draws from the seed and the order of operations is written down, so a program goes
the same way each time, and the model has to follow the same order.
"""

import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import attrs
import pytest
import trio
from outcome import Value
from trio.testing import wait_all_tasks_blocked

from trio440.core import REAL_HOST, Case, Chan, Ended, Host, Received, Sent, select, select_nowait
from trio440.core import channels as channels_module
from trio440.core import selecting as selecting_module
from trio440.core.host import Scope
from trio440.core.real.clock import TrioClock
from trio440.sim.checking import channel_model as model

SEED_VARIABLE = "TRIO440_SEED"
USUAL_SEEDS = range(2_000)
CAMPAIGN_SEEDS = range(1_000_000, 1_100_000)


class Disagreement(AssertionError):
    """What happened is impossible in the model."""


# Programs


def draw_communication(rng: random.Random, channels: int, value: int) -> model.Send | model.Receive:
    channel = rng.randrange(channels)
    waits = rng.random() < 0.8
    if rng.random() < 0.5:
        return model.Send(channel, value, waits)
    return model.Receive(channel, waits)


def draw_select(rng: random.Random, channels: int, value: int) -> model.Select:
    cases = tuple(
        None if rng.random() < 0.1 else draw_communication(rng, channels, value + number)
        for number in range(rng.choice((0, 1, 2, 2, 2, 3, 3, 4, 6)))
    )
    kind = rng.random()
    return model.Select(cases, waits=kind < 0.8, expires=kind < 0.3)


def draw_program(rng: random.Random) -> model.Program:
    channels, tasks = rng.randint(1, 3), rng.randint(2, 4)
    program: list[tuple[model.Operation, ...]] = []
    for task in range(tasks):
        operations: list[model.Operation] = []
        for place in range(rng.randint(1, 5)):
            kind, value = rng.random(), 1000 * task + 10 * place
            if kind < 0.4:
                operations.append(draw_communication(rng, channels, value))
            elif kind < 0.8:
                operations.append(draw_select(rng, channels, value))
            elif kind < 0.87:
                operations.append(model.Close(rng.randrange(channels)))
            elif kind < 0.94:
                operations.append(model.Cancel(rng.randrange(tasks)))
            else:
                operations.append(model.Expire(rng.randrange(tasks)))
        program.append(tuple(operations))
    capacities = tuple(rng.choice((0, 0, 1, 2)) for _ in range(channels))
    return model.Program(capacities, tuple(program))


# Running them


class Alarms(TrioClock):
    """A clock whose timeouts pass when the program says so."""

    def __init__(self) -> None:
        self.pending: dict[trio.lowlevel.Task, trio.CancelScope] = {}

    def move_on_after(self, seconds: float) -> AbstractContextManager[Scope, bool]:
        assert seconds == 1
        return self._pending_scope()  # type: ignore[return-value]  # the scope inside swallows

    @contextmanager
    def _pending_scope(self) -> Iterator[trio.CancelScope]:
        task = trio.lowlevel.current_task()
        with trio.CancelScope() as scope:
            self.pending[task] = scope
            yield scope
        del self.pending[task]


@attrs.define(eq=False)
class Actor:
    """One task of a program, which acts when it has been granted operations."""

    operations: tuple[model.Operation, ...]
    results: list[model.Result] = attrs.Factory(list)
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    task: trio.lowlevel.Task | None = None
    at_gate: bool = False
    granted: int = 0


class Run:
    """One program at work."""

    def __init__(self, program: model.Program, rng: random.Random) -> None:
        self.rng = rng
        self.channels = [Chan[int](capacity) for capacity in program.capacities]
        self.actors = [Actor(operations) for operations in program.tasks]
        self.alarms = Alarms()
        self.ports: Host = attrs.evolve(REAL_HOST, rng=rng, clock=self.alarms)
        self.schedule: list[int] = []

    async def drive(self) -> model.Outcome:
        """Run until nothing more can happen, and return all that can be seen."""
        async with trio.open_nursery() as nursery:
            for number in range(len(self.actors)):
                nursery.start_soon(self._act, number)
            await wait_all_tasks_blocked()
            while ready := [actor for actor in self.actors if actor.at_gate]:
                self._grant(self.rng.choice(ready), self.rng.choice((1, 1, 2, 3, 5)))
                await wait_all_tasks_blocked()
            waiting = [(model.WAITS,) if actor.task else () for actor in self.actors]
            before = [ch.statistics() for ch in self.channels]
            nursery.cancel_scope.cancel()
        for ch in self.channels:
            after = ch.statistics()
            if after.tasks_waiting_send or after.tasks_waiting_receive:
                raise Disagreement(f"somebody still waits in a deserted channel: {after}")
        results = tuple(
            (*actor.results, *rest) for actor, rest in zip(self.actors, waiting, strict=True)
        )
        channels = tuple(
            # Queues are compared by length: the model's tasks become that many zeros.
            model.ChannelState(
                capacity=then.max_buffer_size,
                buffer=self._drain(ch),
                closed=then.closed,
                receivers=(0,) * then.tasks_waiting_receive,
                senders=(0,) * then.tasks_waiting_send,
            )
            for ch, then in zip(self.channels, before, strict=True)
        )
        return model.Outcome(results, channels)

    def _drain(self, ch: Chan[int]) -> tuple[int, ...]:
        values = []
        while True:
            try:
                values.append(ch.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return tuple(values)

    def _grant(self, actor: Actor, operations: int) -> None:
        assert actor.task is not None
        actor.granted = operations
        actor.at_gate = False
        trio.lowlevel.reschedule(actor.task, Value(None))

    async def _act(self, number: int) -> None:
        actor = self.actors[number]
        actor.task = trio.lowlevel.current_task()
        with actor.scope:
            try:
                for operation in actor.operations:
                    if not actor.granted:
                        actor.at_gate = True
                        await trio.lowlevel.wait_task_rescheduled(
                            lambda _: trio.lowlevel.Abort.FAILED
                        )
                    actor.granted -= 1
                    self.schedule.append(number)
                    steps_before = len(self.schedule)
                    actor.results.append(await self._do(operation))
                    if len(self.schedule) != steps_before or isinstance(operation, model.Expire):
                        # It has waited, or has let another's time pass: a cancellation in the
                        # same tick may come out instead, as trio's scopes nest.
                        actor.granted = 0
            except trio.Cancelled:
                if actor.scope.cancel_called:
                    actor.results.append(model.CANCELLED)
                raise
            finally:
                if actor.scope.cancel_called or len(actor.results) == len(actor.operations):
                    actor.task = None

    async def _do(self, operation: model.Operation) -> model.Result:
        try:
            if isinstance(operation, model.Select):
                return await self._select(operation)
            if isinstance(operation, model.Send | model.Receive):
                return await self._communicate(operation)
        except trio.WouldBlock:
            return model.WOULD_BLOCK
        except trio.EndOfChannel:
            return model.Ended()
        except trio.ClosedResourceError:
            return model.CLOSED
        if isinstance(operation, model.Close):
            self.channels[operation.channel].close()
        elif isinstance(operation, model.Cancel):
            self.actors[operation.task].scope.cancel()
        else:
            task = self.actors[operation.task].task
            if task is not None and task in self.alarms.pending:
                self.alarms.pending[task].cancel()
        return model.DONE

    async def _communicate(self, operation: model.Send | model.Receive) -> model.Result:
        ch = self.channels[operation.channel]
        if isinstance(operation, model.Send):
            if operation.waits:
                await ch.send(operation.value)
            else:
                ch.send_nowait(operation.value)
            return model.Sent()
        return model.Got(await ch.receive() if operation.waits else ch.receive_nowait())

    async def _select(self, operation: model.Select) -> model.Result:
        cases = [None if case is None else self._case(case) for case in operation.cases]
        happened: tuple[int, Received[int] | Ended | Sent] | None
        if not operation.waits:
            happened = select_nowait(*cases, ports=self.ports)
        elif operation.expires:
            happened = await select(*cases, timeout_seconds=1, ports=self.ports)
        else:
            happened = await select(*cases, ports=self.ports)
        match happened:
            case None:
                return model.NOTHING
            case index, Sent():
                return model.Sent(index)
            case index, Received(value):
                return model.Got(value, index)
            case index, Ended():
                return model.Ended(index)

    def _case(self, case: model.Send | model.Receive) -> Case[Received[int] | Ended | Sent]:
        ch = self.channels[case.channel]
        return ch.sending(case.value) if isinstance(case, model.Send) else ch.receiving()


def without_names(outcome: model.Outcome) -> model.Outcome:
    """Forget which tasks stand in the queues and keep how many."""
    channels = tuple(
        attrs.evolve(ch, receivers=(0,) * len(ch.receivers), senders=(0,) * len(ch.senders))
        for ch in outcome.channels
    )
    return attrs.evolve(outcome, channels=channels)


async def check(seed: int) -> model.Outcome:
    """Run the program of one seed; raise Disagreement unless the model can do the same."""
    rng = random.Random(seed)
    program = draw_program(rng)
    run = Run(program, rng)
    outcome = await run.drive()
    possible = {without_names(each) for each in model.reachable(program, run.schedule)}
    if outcome not in possible:
        lines = [
            f"program {seed} ended as the model cannot end; to run it alone:",
            f"{SEED_VARIABLE}={seed} {sys.executable} -m pytest {__file__} -k test_random_programs",
            f"capacities: {program.capacities}",
            *(f"task {number}: {task}" for number, task in enumerate(program.tasks)),
            f"order of tasks: {run.schedule}",
            f"what happened: {outcome}",
            *(f"possible: {each}" for each in possible),
        ]
        raise Disagreement("\n".join(lines))
    return outcome


async def check_all(seeds: range) -> Counter[str]:
    """Check the programs of many seeds, and count what was seen in them."""
    seen = Counter[str]()
    for seed in seeds:
        outcome = await check(seed)
        for result in (result for results in outcome.results for result in results):
            seen[result.word if isinstance(result, model.Told) else type(result).__name__] += 1
    return seen


# The tests


async def test_random_programs_end_as_the_model_can() -> None:
    if alone := os.environ.get(SEED_VARIABLE):
        await check(int(alone))
        return
    seen = await check_all(USUAL_SEEDS)
    words = {word.word for word in (model.CLOSED, model.WOULD_BLOCK, model.NOTHING)}
    words |= {word.word for word in (model.CANCELLED, model.DONE, model.WAITS)}
    for kind in words | {"Sent", "Got", "Ended"}:
        assert seen[kind] > len(USUAL_SEEDS) / 20, f"{kind} hardly ever happens: {seen}"


@pytest.mark.campaign
async def test_very_many_random_programs_end_as_the_model_can() -> None:
    await check_all(CAMPAIGN_SEEDS)


async def test_a_program_goes_the_same_way_each_time() -> None:
    first = [await check(seed) for seed in range(100)]
    assert [await check(seed) for seed in range(100)] == first


def overlook_ready_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    look = selecting_module._first_possible
    rng = random.Random(1)

    def overlook(*args: Any) -> Any:
        return None if rng.random() < 0.1 else look(*args)

    monkeypatch.setattr(selecting_module, "_first_possible", overlook)


def serve_the_last_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve_receiver(_: Any, receivers: Any, value: Any) -> None:
        parked, (index, _) = receivers.popitem(last=True)
        parked.wake(Value((index, Received(value))))

    monkeypatch.setattr(Chan, "_serve_receiver", serve_receiver)


def leave_the_buffer_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def receive(ch: Any, senders: Any) -> Any:
        try:
            return ch._memory_receive.receive_nowait()
        except trio.WouldBlock:
            parked, (index, value) = senders.popitem(last=False)
            parked.wake(Value((index, channels_module.SENT)))
            return value

    monkeypatch.setattr(Chan, "_receive_and_serve_sender", receive)


def close_the_memory_channel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def close(ch: Any) -> None:
        ch._closed = True
        ch._memory_send.close()

    monkeypatch.setattr(Chan, "close", close)


@pytest.mark.parametrize(
    "break_it",
    [
        overlook_ready_cases,
        serve_the_last_receiver,
        leave_the_buffer_empty,
        close_the_memory_channel_alone,
    ],
)
async def test_the_model_notices_a_channel_that_is_wrong(
    break_it: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    with pytest.raises(Disagreement):
        await check_all(range(500))


def outcomes(capacities: tuple[int, ...], *tasks: tuple[model.Operation, ...]) -> set[Any]:
    """The results of the tasks in all outcomes of a program, in any order of the tasks."""
    return {outcome.results for outcome in model.reachable(model.Program(capacities, tasks))}


def test_the_model_itself_knows_go() -> None:
    send, receive = model.Send(0, 7), model.Receive(0)
    waits = model.WAITS
    assert outcomes((0,), (send,), (receive,)) == {((model.Sent(),), (model.Got(7),))}
    assert outcomes((0,), (send,)) == {((waits,),)}
    assert outcomes((1,), (send, receive)) == {((model.Sent(), model.Got(7)),)}
    assert outcomes((0,), (model.Close(0), receive, model.Send(0, 1))) == {
        ((model.DONE, model.Ended(), model.CLOSED),)
    }
    assert outcomes((0,), (send,), (model.Close(0),)) == {((model.CLOSED,), (model.DONE,))}
    # A select never meets itself; two of them meet, one way or the other.
    both = model.Select((model.Send(0, 1), receive))
    assert outcomes((0,), (both,)) == {((waits,),)}
    assert outcomes((0,), (both,), (both,)) == {
        ((model.Sent(0),), (model.Got(1, 1),)),
        ((model.Got(1, 1),), (model.Sent(0),)),
    }
    # A default depends on who comes first.
    assert outcomes((0,), (model.Select((receive,), waits=False),), (send,)) == {
        ((model.NOTHING,), (waits,)),
        ((model.Got(7, 0),), (model.Sent(),)),
    }
    # A cancelled receive has the value or the cancellation, and the sender knows which.
    assert outcomes((0,), (receive,), (send,), (model.Cancel(0),)) == {
        ((model.CANCELLED,), (waits,), (model.DONE,)),
        ((model.Got(7),), (model.Sent(),), (model.DONE,)),
    }
    # A timeout that passes while the select waits.
    timed = model.Select((receive,), expires=True)
    assert outcomes((0,), (timed,), (model.Expire(0),)) == {
        ((model.NOTHING,), (model.DONE,)),
        ((waits,), (model.DONE,)),
    }
