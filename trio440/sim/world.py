"""A world at level B: machines on one network, a plan of what goes wrong, promises to keep."""

import inspect
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import trio

from trio440.errors import InvalidParameter, InvariantViolated, SimulationError
from trio440.sim.chance import stream
from trio440.sim.fabric import Fabric
from trio440.sim.faults import (
    CLEAR,
    ClockSkew,
    Crash,
    DiskErrors,
    DiskFull,
    Fault,
    FaultPlan,
    Pause,
    SlowDisk,
)
from trio440.sim.machine import Machine, Program
from trio440.sim.net import Network
from trio440.sim.outcome import Setup
from trio440.sim.power import PowerCut
from trio440.sim.profiles import describe
from trio440.sim.scheduling import throw_into
from trio440.sim.trace import WORLD, Record, Trace

__all__ = ["Story", "Watch", "World", "microseconds"]

FIRST_HOST: Final = 1
HOSTS_PER_NET: Final = 250
STEPS_AT_ONE_TIME: Final = 500_000
"""Task steps without time going on, after which a world counts as spinning."""

STEPS_AT_THE_END: Final = 50_000
"""The same when the story is over and everything is cancelled."""
END_SECONDS: Final = 600.0
"""Virtual seconds after the end of a story within which all tasks must have ended."""

Check: TypeAlias = Callable[[], None]


def microseconds() -> int:
    """Return the virtual time of the running world."""
    return round(trio.current_time() * 1e6)


class World:
    """The machines, and what happens to them; made by :func:`trio440.sim.running.simulate`."""

    def __init__(
        self,
        setup: Setup,
        plan: FaultPlan,
        duration: int,
        trace: Trace,
        nursery: trio.Nursery,
        *,
        record: Record | None = None,
    ) -> None:
        """Lay the network; :meth:`run` starts time."""
        self.setup = setup
        self.plan = plan
        self.duration = duration
        """Microseconds after which the world ends; a story that lasts longer has failed."""
        self.trace = trace
        self.record = record
        """Takes what the system says of itself in a form of its own, where somebody asks."""
        self.machines: dict[str, Machine] = {}
        self._nursery = nursery
        self._fabric = Fabric(setup.seed, plan.base)
        self.network = Network(self._fabric, trace, microseconds, seed=setup.seed)
        self._checks: list[Check] = []
        self._downs: dict[str, int] = {}

    def rng(self, *names: str | int) -> random.Random:
        """Return a stream of chance of this world for a purpose."""
        return stream(self.setup.seed, "world", *names)

    def now(self) -> int:
        """Return virtual time in microseconds, 0 at the beginning."""
        return microseconds()

    def add_machine(self, name: str) -> Machine:
        """Add a machine that is switched off; only those named to the plan meet its faults.

        Raises:
            InvalidParameter: there is one of this name, or it is empty.
        """
        if not name or name in self.machines:
            raise InvalidParameter("name", name, "a new name that is not empty")
        number = len(self.machines) + FIRST_HOST
        address = f"10.0.{number // HOSTS_PER_NET}.{number % HOSTS_PER_NET}"
        machine = Machine(
            name,
            address,
            seed=self.setup.seed,
            network=self.network,
            trace=self.trace,
            nursery=self._nursery,
        )
        self.machines[name] = machine
        self.network.names[name] = [address]
        return machine

    def start(self, name: str, program: Program) -> Machine:
        """Start ``program`` on the machine of this name, which is added when it is not there."""
        machine = self.machines.get(name) or self.add_machine(name)
        machine.start(program)
        return machine

    async def sleep_until(self, moment: int) -> None:
        """Sleep until ``moment``, in microseconds of virtual time."""
        await trio.sleep_until(moment / 1e6)

    async def healed(self) -> None:
        """Sleep until the last fault of the plan is over."""
        await self.sleep_until(self.plan.heal_at)

    def note(
        self, text: str, host: str = WORLD, kind: str = "note", cause: int | None = None
    ) -> int:
        """Add an event to the trace and return its number.

        Args:
            text: one line, the same in every run.
            host: the name of a machine.
            kind: see :class:`~trio440.sim.trace.Event`; the timeline draws an ``invoke`` and the
                ``return`` whose cause it is as an operation.
            cause: the number of the event that this one ends.
        """
        return self.trace.add(self.now(), host, kind, text, cause)

    def check(self, invariant: Check) -> None:
        """Call ``invariant`` after every step of every task; it raises what is wrong.

        It must be quick, and must neither wait nor change anything, nor return anything: to say
        False is not to raise.

        Raises:
            InvalidParameter: it is an async function.
        """
        if inspect.iscoroutinefunction(invariant):
            raise InvalidParameter("invariant", invariant.__name__, "a function that is not async")
        self._checks.append(invariant)

    @property
    def checks(self) -> Sequence[Check]:
        """The invariants."""
        return self._checks

    def require(self, condition: object, invariant: str, detail: str = "") -> None:
        """Raise InvariantViolated unless ``condition`` is true."""
        if not condition:
            raise InvariantViolated(invariant, detail)

    # Time and faults

    async def run(self, story: "Story") -> None:
        """Let everything happen.

        Raises:
            InvariantViolated: the story is not over when the world ends.
        """
        self._nursery.start_soon(self.network.carry)
        for place, fault in self.plan.happening:
            self.network.schedule(fault.start, self._begin(place, fault))
            self.network.schedule(fault.end, self._end(place, fault))
        self.network.schedule(self.plan.heal_at, self._heal)
        with trio.move_on_at(self.duration / 1e6) as scope:
            await story(self)
        if scope.cancelled_caught:
            over = f"not over after {self.duration / 1e6:g} virtual seconds"
            raise InvariantViolated("the story ends", over)

    def _begin(self, place: int, fault: Fault) -> Callable[[], None]:
        def begin() -> None:
            self.note(describe(fault), kind="fault")
            host = getattr(fault, "host", None)
            machine = self.machines.get(host) if host is not None else None
            if host is None:
                self._fabric.begin(place, fault)
            elif machine is not None:
                self._begin_at(machine, fault)

        return begin

    def _end(self, place: int, fault: Fault) -> Callable[[], None]:
        def end() -> None:
            self.note(describe(fault), kind="heal")
            host = getattr(fault, "host", None)
            machine = self.machines.get(host) if host is not None else None
            if host is None:
                self._fabric.end(place, fault)
            elif machine is not None:
                self._end_at(machine, fault)

        return end

    def _begin_at(self, machine: Machine, fault: Fault) -> None:
        match fault:
            case Crash():
                self._downs[machine.name] = self._downs.get(machine.name, 0) + 1
                machine.crash()
            case Pause():
                machine.pause(fault.end)
            case SlowDisk():
                machine.slow_disk(fault.extra)
            case DiskErrors():
                machine.break_disk(fault.share)
            case DiskFull():
                machine.fill_disk(full=True)
            case ClockSkew():
                machine.skew_clock(drift=fault.drift, offset=fault.offset)

    def _end_at(self, machine: Machine, fault: Fault) -> None:
        match fault:
            case Crash():
                self._downs[machine.name] -= 1
                if not self._downs[machine.name] and machine.has_crashed:
                    machine.restart()
            case SlowDisk():
                machine.slow_disk(0)
            case DiskErrors():
                machine.break_disk(0.0)
            case DiskFull():
                machine.fill_disk(full=False)
            case ClockSkew():
                machine.skew_clock(drift=0, offset=0)

    def _heal(self) -> None:
        self._fabric.base = CLEAR


Story: TypeAlias = Callable[[World], Awaitable[object]]
"""What happens in a world: starts programs on machines, uses them, and requires what must hold."""


class Watch(trio.abc.Instrument):
    """Calls the invariants after every step, and ends what does not end by itself.

    Made by the task in whose nurseries the world is.
    """

    def __init__(self, world: World, scope: trio.CancelScope) -> None:
        self.failure: BaseException | None = None
        self._world = world
        self._scope = scope
        self._root = trio.lowlevel.current_task()
        self._is_over = False
        self._end = world.duration / 1e6
        self._moment = -math.inf
        self._steps = 0

    def close(self) -> None:
        """The story is over: no more invariants, and all tasks must end."""
        self._is_over = True
        self._end = trio.current_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Look whether everything holds."""
        try:
            self._count()
            if self.failure is None and not self._is_over:
                self._check()
        except BaseException as error:  # noqa: BLE001 - trio would only log it; raised by the world
            is_cancelled = self._is_over or self.failure is not None
            self.failure = self.failure or error
            self._scope.cancel()
            if is_cancelled:  # and spins on
                self._abandon_machines()
                throw_into(task, PowerCut())

    def before_io_wait(self, timeout: float) -> None:
        """End what is shielded from its cancellation, where nothing else will end it."""
        del timeout
        late = trio.current_time() - self._end
        if late < 0:
            return
        now = trio.lowlevel.current_statistics()
        is_stuck = not now.tasks_runnable and now.seconds_to_next_deadline == math.inf
        if is_stuck or late > END_SECONDS:
            self._end_all()

    def _check(self) -> None:
        for check in self._world.checks:
            if check() is not None:
                raise SimulationError("an invariant has returned something; it is to raise")

    def _count(self) -> None:
        now = trio.current_time()
        if now != self._moment:
            self._moment, self._steps = now, 0
        self._steps += 1
        if self._steps > (STEPS_AT_THE_END if self._is_over else STEPS_AT_ONE_TIME):
            steps, self._steps = self._steps, 0
            raise InvariantViolated("time goes on", f"{steps} steps in one moment")

    def _end_all(self) -> None:
        if self.failure is None:
            machines = self._world.machines.values()
            names = [machine.name for machine in machines if not machine.is_ended]
            who = f"programs of {', '.join(names)}" if names else "tasks of the story"
            self.failure = InvariantViolated("what is cancelled ends", f"{who} go on")
        self._abandon_machines()
        if not self._is_over:
            throw_into(self._root, PowerCut())
        for task in _below(self._root):
            throw_into(task, PowerCut())

    def _abandon_machines(self) -> None:
        for machine in self._world.machines.values():
            machine.abandon()


def _below(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    """List the tasks in the nurseries of a task, and in theirs."""
    found = []
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            found += [child, *_below(child)]
    return found
