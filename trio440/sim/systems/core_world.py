"""Channels, selects and epoch timers at level B: tasks of a few machines that use them at random.

A machine is one set of channels and the tasks around it. Every operation is told to the channel
model when it is called and when it has ended, and after every step the channels must show what
the model holds. Cancellations come from other tasks, in the same moment or later, from timeouts
and from the crash of the machine.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Final, TypeAlias

import attrs
import trio

from trio440.core import Chan, Ended, Received, Sent, select, select_nowait
from trio440.core.channels import Case
from trio440.core.host import Clock, Host, Scope
from trio440.errors import InvariantViolated
from trio440.sim.checking import channel_model as model
from trio440.sim.checking.channel_follower import Follower
from trio440.sim.systems.core_draws import describe, draw_capacities, draw_operation, draw_traffic
from trio440.sim.systems.core_fairness import choose_fairly
from trio440.sim.systems.core_timers import start_timer
from trio440.sim.systems.core_watch import Ledger, Seen, require_awake
from trio440.sim.world import World

__all__ = ["HOSTS", "tell"]

HOSTS: Final = ("machine1", "machine2")
TASKS: Final = (3, 6)
"""How many tasks a machine has, from and to."""
OPERATIONS: Final = 30
"""What each task does in one life of its machine."""
RESTS: Final = (0.0, 0.0, 0.001, 0.01, 0.1, 0.3)
TIMEOUTS: Final = (0.0, 0.001, 0.01, 0.1, 0.5)
STEERING_SECONDS: Final = 0.3
"""The longest time between two interventions from outside."""
RESCUES: Final = 2_000

RAISED: Final[dict[type[BaseException], model.Result]] = {
    trio.WouldBlock: model.WOULD_BLOCK,
    trio.EndOfChannel: model.Ended(),
    trio.ClosedResourceError: model.CLOSED,
}

Outcome: TypeAlias = Received[int] | Ended | Sent


async def tell(world: World) -> None:
    """Let the tasks of all machines do what they do, then look what has become of it."""
    game = _Game(world)
    world.check(game.look)
    for name in HOSTS:
        world.start(name, partial(game.live, name))
    await game.finished.wait()
    await world.healed()
    for house in game.houses:
        house.judge()


class _Game:
    """All houses of a world."""

    def __init__(self, world: World) -> None:
        self.finished = trio.Event()
        self.houses: list[_House] = []
        self._steps = 0
        self._is_broken = False
        self._world = world
        self._unfinished = set(HOSTS)

    def look(self) -> None:
        """Require that everything is as it should be."""
        self._steps += 1
        for house in self.houses:
            if house.stirred:
                try:
                    house.look()
                except InvariantViolated:
                    self._is_broken = True
                    raise

    def steps(self) -> int:
        """Return how many steps all tasks have taken.

        They are not counted any more once a promise is broken: then it is another number each
        time, so that no second promise seems broken.
        """
        self._steps += self._is_broken
        return self._steps

    async def live(self, name: str, ports: Host) -> None:
        """Run one life of a machine; the first that comes to its end is the last."""
        if name not in self._unfinished:
            return
        house = _House(self._world, name, ports, self.steps)
        self.houses.append(house)
        try:
            await house.live()
        except Exception:
            for one in self.houses:  # whatever it is, it cancels everybody
                one.give_up()
            raise
        self._unfinished.discard(name)
        if not self._unfinished:
            self.finished.set()


@attrs.define(eq=False)
class _Actor:
    """One task."""

    number: int
    rng: random.Random
    ports: Host
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    """Of its operation, or of its next one."""
    timeout: Any = None
    """The scope of the timeout in which it is."""
    is_done: bool = False


class _Alarm(Clock):
    """A machine's clock that tells which timeout a task is in."""

    def __init__(self, house: "_House", number: int, clock: Clock) -> None:
        self._house = house
        self._number = number
        self._clock = clock

    def now(self) -> float:
        return self._clock.now()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    async def sleep_until(self, deadline: float) -> None:
        await self._clock.sleep_until(deadline)

    def fail_after(self, seconds: float) -> AbstractContextManager[Scope]:
        return self._clock.fail_after(seconds)

    def move_on_at(self, deadline: float) -> AbstractContextManager[Scope, bool]:
        return self._clock.move_on_at(deadline)

    def move_on_after(self, seconds: float) -> AbstractContextManager[Scope, bool]:
        return self._told(seconds)  # type: ignore[return-value]  # the scope inside swallows

    @contextmanager
    def _told(self, seconds: float) -> Iterator[Scope]:
        actor = self._house.actors[self._number]
        try:
            with self._clock.move_on_after(seconds) as scope:
                actor.timeout = scope
                yield scope
        finally:
            self._house.settle()
            actor.timeout = None


class _House:
    """One life of a machine: its channels, its tasks, and what is known of them."""

    def __init__(self, world: World, host: str, ports: Host, steps: Callable[[], int]) -> None:
        self._steps = steps
        self._machine = world.machines[host]
        self._life = self._machine.lives
        rng = world.rng(host, self._life)
        self._world = world
        self._host = host
        self._ports = ports
        self._rng = rng
        self._traffic = draw_traffic(rng)
        capacities = draw_capacities(rng)
        self._channels = [Chan[int](capacity) for capacity in capacities]
        self.stirred = False
        """Whether something has happened since the last look."""
        self._deeds = 0
        self._over = False
        self._scope = trio.CancelScope()
        """Of all its tasks."""
        self._ledger = Ledger()
        tasks = rng.randint(*TASKS)
        self._follower = Follower(capacities, tasks)
        self.actors = [
            _Actor(
                number,
                world.rng(host, self._life, number),
                attrs.evolve(ports, clock=_Alarm(self, number, ports.clock)),
            )
            for number in range(tasks)
        ]
        self._note(f"{self._traffic}, channels {capacities}, {tasks} tasks")

    async def live(self) -> None:
        """Run to the end."""
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            for actor in self.actors:
                nursery.start_soon(self._act, actor)
            for number in range(2):
                start_timer(nursery, self._world, self._host, self._ports, number)
            nursery.start_soon(choose_fairly, self._rng, self._ports, self._steps)
            await self._steer()
            self._stir()
            self.give_up()
            nursery.cancel_scope.cancel()

    # What must hold

    def settle(self) -> None:
        """Let the model know of timeouts that have passed and of a crash, before anything else."""
        if self._over:
            return
        is_alive = self._machine.is_up and self._machine.lives == self._life
        if not is_alive or self._scope.cancel_called:
            self.give_up()
        for actor in self.actors:
            if actor.timeout is not None and actor.timeout.cancel_called:
                self._follower.expire(actor.number)

    def give_up(self) -> None:
        """Let the model know that all tasks are cancelled."""
        self._over = True
        for actor in self.actors:
            self._follower.cancel(actor.number)

    def look(self) -> None:
        """Require that the channels are as they should be."""
        self.stirred = False
        self.settle()
        shown = []
        for number, ch in enumerate(self._channels):
            now = ch.statistics()
            seen = Seen(
                now.current_buffer_used,
                now.max_buffer_size,
                now.tasks_waiting_send,
                now.tasks_waiting_receive,
                now.closed,
            )
            require_awake(seen, f"{self._host} channel {number}")
            shown.append((seen.buffered, seen.senders, seen.receivers, seen.closed))
        self._follower.require(shown)

    def judge(self) -> None:
        """Require, after the end, that nobody was left behind and nothing was lost."""
        for number, ch in enumerate(self._channels):
            now = ch.statistics()
            if now.tasks_waiting_send or now.tasks_waiting_receive:
                raise InvariantViolated("nobody stays in a deserted channel", f"{now}")
            while True:
                try:
                    self._ledger.received(-1, number, ch.receive_nowait())
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
        self._ledger.settle()

    # Tasks

    async def _act(self, actor: _Actor) -> None:
        rng = actor.rng
        for _ in range(OPERATIONS):
            operation = draw_operation(
                rng,
                self._traffic,
                len(self._channels),
                len(self.actors),
                partial(self._ledger.issue, actor.number),
            )
            await self._perform(actor, operation)
            if rng.random() < self._traffic.rests:
                await self._ports.clock.sleep(rng.choice(RESTS))
        actor.is_done = True

    async def _perform(self, actor: _Actor, operation: model.Operation) -> None:
        """Do one operation under the eyes of the model."""
        self._stir()
        cancelled = self._over or actor.scope.cancel_called
        self._follower.begin(actor.number, operation, cancelled=cancelled)
        with actor.scope:
            try:
                result = await self._do(actor, operation)
            except trio.Cancelled:
                is_close = isinstance(operation, model.Close)
                self._ended(actor, operation, model.DONE if is_close else model.CANCELLED)
                raise
            self._ended(actor, operation, result)

    def _ended(self, actor: _Actor, operation: model.Operation, result: model.Result) -> None:
        actor.scope = trio.CancelScope()
        self._note(f"{actor.number} {describe(operation)}: {describe(result)}")
        self._enter(actor.number, operation, result)
        self._stir()
        self._follower.end(actor.number, result)

    def _stir(self) -> None:
        self.settle()
        self.stirred = True
        self._deeds += 1

    def _enter(self, number: int, operation: model.Operation, result: model.Result) -> None:
        """Enter into the ledger what was sent and what was received."""
        if not isinstance(operation, model.Send | model.Receive | model.Select):
            return
        for place, case in model.cases_of(operation):
            if isinstance(case, model.Send):
                if isinstance(result, model.Sent) and result.case == place:
                    self._ledger.sent(case.value)
                else:
                    self._ledger.refused(case.value)
            elif isinstance(result, model.Got) and result.case == place:
                self._ledger.received(number, case.channel, result.value)

    async def _do(self, actor: _Actor, operation: model.Operation) -> model.Result:
        try:
            match operation:
                case model.Select():
                    return _result(await self._select(actor, operation))
                case model.Send():
                    return await self._send(operation)
                case model.Receive():
                    return await self._receive(actor, operation)
                case _:
                    return await self._disturb(actor, operation)
        except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError) as error:
            return RAISED[type(error)]

    async def _disturb(self, actor: _Actor, operation: model.Operation) -> model.Result:
        """Close a channel or cancel a task."""
        if isinstance(operation, model.Cancel):
            self.actors[operation.task].scope.cancel()
        elif isinstance(operation, model.Close):
            ch = self._channels[operation.channel]
            if actor.rng.random() < 0.5:  # noqa: PLR2004 - one way or the other
                ch.close()
            else:
                await ch.aclose()
        return model.DONE

    async def _send(self, operation: model.Send) -> model.Result:
        ch = self._channels[operation.channel]
        if operation.waits:
            await ch.send(operation.value)
        else:
            ch.send_nowait(operation.value)
        return model.Sent()

    async def _receive(self, actor: _Actor, operation: model.Receive) -> model.Result:
        ch = self._channels[operation.channel]
        if not operation.waits:
            return model.Got(ch.receive_nowait())
        if actor.rng.random() < 0.5:  # noqa: PLR2004 - one way or the other
            return model.Got(await ch.receive())
        async for value in ch:
            return model.Got(value)
        return model.Ended()

    async def _select(self, actor: _Actor, operation: model.Select) -> tuple[int, Outcome] | None:
        cases = [None if case is None else self._case(case) for case in operation.cases]
        if not operation.waits:
            return select_nowait(*cases, ports=actor.ports)
        timeout = actor.rng.choice(TIMEOUTS) if operation.expires else None
        return await select(*cases, timeout_seconds=timeout, ports=actor.ports)

    def _case(self, case: model.Send | model.Receive) -> Case[Outcome]:
        ch = self._channels[case.channel]
        return ch.sending(case.value) if isinstance(case, model.Send) else ch.receiving()

    async def _steer(self) -> None:
        """Cancel an operation now and then, until the faults are over and everybody is done."""
        busy = self.actors
        for _ in range(RESCUES):
            deeds = self._deeds
            await self._ports.clock.sleep(self._rng.random() * STEERING_SECONDS)
            healed = self._world.now() >= self._world.plan.heal_at
            busy = [actor for actor in self.actors if not actor.is_done]
            if healed and not busy:
                return
            if busy and (self._deeds == deeds or self._rng.random() < 0.3):  # noqa: PLR2004
                self._cancel(self._rng.choice(busy))
        raise InvariantViolated("everybody comes to an end", f"{len(busy)} tasks do not")

    def _cancel(self, actor: _Actor) -> None:
        self._stir()
        self._follower.cancel(actor.number)
        actor.scope.cancel()
        self._note(f"cancelled {actor.number}")

    def _note(self, text: str) -> None:
        self._world.note(text, self._host)


def _result(happened: tuple[int, Outcome] | None) -> model.Result:
    match happened:
        case None:
            return model.NOTHING
        case index, Sent():
            return model.Sent(index)
        case index, Received(value):
            return model.Got(value, index)
        case index, Ended():
            return model.Ended(index)
