"""Run one history: a system, or a story of one's own, under one seed."""

import gc
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import trio
from trio.testing import MockClock

from trio440.core.lifetimes import open_service_nursery
from trio440.errors import InvariantViolated, RealWorldTouched
from trio440.sim.faults import HostTraits
from trio440.sim.outcome import Failure, Outcome, Setup
from trio440.sim.power import is_interrupt
from trio440.sim.profiles import describe, draw_plan
from trio440.sim.scheduling import seeded_scheduler
from trio440.sim.stage import Stage
from trio440.sim.systems import System, load_system
from trio440.sim.systems.base import LevelA
from trio440.sim.trace import Trace
from trio440.sim.world import Story, Watch, World, microseconds

__all__ = ["run", "simulate"]

FORBIDDEN: Final = {
    "subprocess.Popen": "a process",
    "os.fork": "a process",
    "socket.connect": "a real connection",
    "socket.bind": "a real socket",
}
"""Audit events that no simulated program may cause, and what each starts.

Of threads only Python 3.12 and later tell; their start is refused on its own.
"""


def run(setup: Setup, *, keep_trace: bool = False) -> tuple[Outcome, Trace]:
    """Run one history of a system to its end.

    Args:
        setup: which system, and everything that its history depends on.
        keep_trace: hold on to the events, which takes memory.

    Returns:
        What came of it, also when it failed, and its trace.

    Raises:
        InvalidParameter: there is no such system or profile, or the system lacks the level.
        SchedulerUnavailable: trio has changed underneath.
    """
    system = load_system(setup.system)
    system.require_level(setup.level)
    if system.level_a is not None and setup.level == "A":
        return _run_stage(setup, system, system.level_a, keep_trace=keep_trace)
    assert system.level_b is not None  # noqa: S101 - required above
    return simulate(
        system.level_b,
        setup,
        hosts=system.hosts,
        duration=system.duration,
        heal_at=system.heal_at,
        keep_trace=keep_trace,
    )


def simulate(
    story: Story,
    setup: Setup,
    *,
    hosts: Sequence[HostTraits] = (),
    duration: int = 3_600_000_000,
    heal_at: int | None = None,
    keep_trace: bool = False,
) -> tuple[Outcome, Trace]:
    """Run one history of a story at level B.

    Args:
        story: what happens; an exception that leaves it, or a program, is the failure.
        setup: the seed, the profile, the order of tasks; its system is a name only.
        hosts: whom the profile's faults may hit; each becomes a machine, switched off.
        duration: microseconds of virtual time after which the story has failed.
        heal_at: when the last fault is over; half of ``duration`` when None.
        keep_trace: hold on to the events, which takes memory.

    Raises:
        InvalidParameter: there is no such profile.
        SchedulerUnavailable: trio has changed underneath.
    """
    healed = duration // 2 if heal_at is None else heal_at
    plan = draw_plan(setup.profile, setup.seed, hosts, duration, healed)
    if setup.keep is not None:
        plan = plan.keep(setup.keep)
    trace = Trace(keep=keep_trace)
    failure: Failure | None = None
    clock = MockClock(autojump_threshold=0)

    async def main() -> None:
        nonlocal failure
        try:
            await _tell(story, setup, plan_hosts)
        except BaseException as error:
            if is_interrupt(error):
                raise
            failure = _failure(error, microseconds())

    async def _tell(story: Story, setup: Setup, hosts: Sequence[str]) -> None:
        async with open_service_nursery() as nursery:
            world = World(setup, plan, duration, trace, nursery)
            for host in hosts:
                world.add_machine(host)
            with trio.CancelScope() as scope:
                watch = Watch(world, scope)
                trio.lowlevel.add_instrument(watch)
                try:
                    await world.run(story)
                finally:
                    trio.lowlevel.remove_instrument(watch)
            if watch.failure is not None:
                raise watch.failure

    plan_hosts = [host.name for host in hosts]
    with seeded_scheduler(setup.seed, setup.order), _only_simulated():
        trio.run(main, clock=clock)
    return _outcome(setup, trace, plan, failure, round(clock.current_time() * 1e6)), trace


def _run_stage(
    setup: Setup, system: System, play: LevelA, *, keep_trace: bool
) -> tuple[Outcome, Trace]:
    stage = Stage(setup, system.hosts, system.duration, system.heal_at, keep_trace=keep_trace)
    failure = None
    try:
        play(stage)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
        failure = _failure(error, stage.now)
    return _outcome(setup, stage.trace, stage.plan, failure, stage.now), stage.trace


def _outcome(setup: Setup, trace: Trace, plan: Any, failure: Failure | None, at: int) -> Outcome:
    if failure is not None:
        trace.add(failure.at, "", "note", f"failed: {failure.invariant}: {failure.detail}")
    lines = tuple(describe(fault) for fault in plan.faults)
    return Outcome(setup, trace.digest(), len(trace), at, lines, failure)


def _failure(error: BaseException, at: int) -> Failure:
    """Say what went wrong, in words that are the same in every run."""
    while isinstance(error, BaseExceptionGroup):
        promises = [one for one in error.exceptions if isinstance(one, InvariantViolated)]
        error = (promises or error.exceptions)[0]
    if isinstance(error, InvariantViolated):
        return Failure(error.invariant, error.detail, at, error.explanation)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return Failure(f"unexpected {type(error).__name__}", f"{error}{place}", at)


class _Guard:
    """Refuses what no simulated program may do, while a world runs in this thread."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self._installed = False

    def install(self) -> None:
        """Hear of what the interpreter does from now on; it cannot be taken back."""
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._hear)

    def _hear(self, event: str, _arguments: tuple[object, ...]) -> None:
        if event in FORBIDDEN and self.thread == threading.get_ident():
            raise RealWorldTouched(f"a simulated program started {FORBIDDEN[event]}")


_GUARD: Final = _Guard()


def _refuse_thread(_thread: threading.Thread) -> None:
    raise RealWorldTouched("a simulated program started a thread")


@contextmanager
def _only_simulated() -> Iterator[None]:
    """Let nothing of the body reach the real world, and no collection disturb its order."""
    _GUARD.install()
    was_enabled = gc.isenabled()
    gc.disable()
    start_thread = threading.Thread.start
    threading.Thread.start = _refuse_thread  # type: ignore[method-assign,assignment]
    _GUARD.thread = threading.get_ident()
    try:
        yield
    finally:
        _GUARD.thread = None
        threading.Thread.start = start_thread  # type: ignore[method-assign]
        if was_enabled:
            gc.enable()
