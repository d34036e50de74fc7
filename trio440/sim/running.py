"""Run one history: a system, or a story of one's own, under one seed."""

import gc
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import trio
from trio.testing import MockClock

from trio440.core.lifetimes import open_service_nursery
from trio440.errors import InvalidParameter, InvariantViolated, RealWorldTouched
from trio440.sim.faults import EVERYBODY, FaultPlan, HostTraits
from trio440.sim.outcome import Failure, Outcome, Setup
from trio440.sim.power import PowerCut, is_interrupt
from trio440.sim.profiles import describe, draw_plan
from trio440.sim.scheduling import seeded_scheduler, threads_refused
from trio440.sim.stage import Stage
from trio440.sim.systems import System, load_system
from trio440.sim.systems.base import LevelA
from trio440.sim.trace import Record, Trace
from trio440.sim.world import Story, Watch, World, microseconds

__all__ = ["run", "simulate"]

FORBIDDEN: Final = {
    "subprocess.Popen": "a process",
    "os.fork": "a process",
    "os.forkpty": "a process",
    "os.posix_spawn": "a process",
    "os.system": "a process",
    "socket.sendto": "a real datagram",
    "socket.sendmsg": "a real datagram",
    "socket.getaddrinfo": "a real lookup of a name",
    "socket.gethostbyname": "a real lookup of a name",
    "socket.connect": "a real connection",
    "socket.bind": "a real socket",
}
"""Audit events that no simulated program may cause, and what each starts.

Of threads only Python 3.12 and later tell; their start is refused on its own.
"""
TOUCHED: Final = f"unexpected {RealWorldTouched.__name__}"
OBJECT_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
"""Differs from process to process, so no text of a history may hold it."""


def run(
    setup: Setup, *, keep_trace: bool = False, record: Record | None = None
) -> tuple[Outcome, Trace]:
    """Run one history of a system to its end.

    Args:
        setup: which system, and everything that its history depends on.
        keep_trace: hold on to the events, which takes memory.
        record: takes each line of the system's own record, if it has one; changes nothing else.

    Returns:
        What came of it, also when it failed, and its trace.

    Raises:
        InvalidParameter: there is no such system or profile, or the system lacks the level.
        SchedulerUnavailable: trio has changed underneath.
    """
    system = load_system(setup.system)
    system.require_level(setup.level)
    if system.level_a is not None and setup.level == "A":
        return _run_stage(setup, system, system.level_a, keep_trace=keep_trace, record=record)
    assert system.level_b is not None  # noqa: S101 - required above
    return simulate(
        system.level_b,
        setup,
        hosts=system.hosts,
        duration=system.duration,
        heal_at=system.heal_at,
        keep_trace=keep_trace,
        record=record,
    )


def simulate(
    story: Story,
    setup: Setup,
    *,
    hosts: Sequence[HostTraits] = (),
    duration: int = 3_600_000_000,
    heal_at: int | None = None,
    keep_trace: bool = False,
    record: Record | None = None,
) -> tuple[Outcome, Trace]:
    """Run one history of a story at level B; in several threads, one after the other.

    Args:
        story: what happens; an exception that leaves it, or a program, is the failure.
        setup: the seed, the profile, the order of tasks; its system is a name only.
        hosts: whom the profile's faults may hit; each becomes a machine, switched off.
        duration: microseconds of virtual time after which the story has failed.
        heal_at: when the last fault is over; half of ``duration`` when None.
        keep_trace: hold on to the events, which takes memory.
        record: as for :func:`run`.

    Raises:
        InvalidParameter: there is no such profile or order, two hosts have one name or one has
            none, or ``heal_at`` is after the end.
        SchedulerUnavailable: trio has changed underneath.
    """
    healed = duration // 2 if heal_at is None else heal_at
    plan = _draw_plan(setup, hosts, duration, healed)
    trace = Trace(keep=keep_trace)
    failure: Failure | None = None
    clock = MockClock(autojump_threshold=0)

    async def main() -> None:
        nonlocal failure
        try:
            with ExitStack() as watching:
                async with open_service_nursery() as nursery:
                    world = World(setup, plan, duration, trace, nursery, record=record)
                    for host in hosts:
                        world.add_machine(host.name)
                    watch = await _tell(world, story, watching)
        except BaseException as error:
            if is_interrupt(error):
                raise
            failure = _failure(error, microseconds())
        else:
            if watch.failure is not None:  # something did not end
                failure = _failure(watch.failure, microseconds())

    with _ONE_WORLD, seeded_scheduler(setup.seed, setup.order), _only_simulated():
        try:
            trio.run(main, clock=clock)
        except trio.TrioInternalError as error:  # a program has broken trio itself
            failure = _failure(error, round(clock.current_time() * 1e6))
        touched = _GUARD.touched
    at = round(clock.current_time() * 1e6)
    if touched is not None and (failure is None or failure.invariant != TOUCHED):
        failure = Failure(TOUCHED, touched, at)
    return _outcome(setup, trace, plan, failure, at), trace


def _draw_plan(setup: Setup, hosts: Sequence[HostTraits], duration: int, heal_at: int) -> FaultPlan:
    names = [host.name for host in hosts]
    if len(set(names)) < len(names) or {"", EVERYBODY}.intersection(names):
        raise InvalidParameter("hosts", names, "unique names, not empty and not *")
    plan = draw_plan(setup.profile, setup.seed, hosts, duration, heal_at)
    return plan if setup.keep is None else plan.keep(setup.keep)


async def _tell(world: World, story: Story, watching: ExitStack) -> Watch:
    """Let the story happen; it is watched from now until ``watching`` ends."""
    with trio.CancelScope() as scope:
        watch = Watch(world, scope)
        trio.lowlevel.add_instrument(watch)
        watching.callback(trio.lowlevel.remove_instrument, watch)
        try:
            await world.run(story)
        except PowerCut:
            if watch.failure is None:
                raise
        finally:
            watch.close()
    if watch.failure is not None:
        raise watch.failure
    return watch


def _run_stage(
    setup: Setup, system: System, play: LevelA, *, keep_trace: bool, record: Record | None
) -> tuple[Outcome, Trace]:
    stage = Stage(
        setup,
        system.hosts,
        system.duration,
        system.heal_at,
        keep_trace=keep_trace,
        record=record,
    )
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
    detail = OBJECT_ADDRESS.sub("", f"{error}{place}")
    return Failure(f"unexpected {type(error).__name__}", detail, at)


class _Guard:
    """Refuses what no simulated program may do, while a world runs in this thread."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.touched: str | None = None
        """What was refused first in this world: its program may have swallowed the error."""
        self._installed = False

    def install(self) -> None:
        """Hear of what the interpreter does from now on; it cannot be taken back."""
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._hear)

    def _hear(self, event: str, _arguments: tuple[object, ...]) -> None:
        if event in FORBIDDEN:
            self.refuse(FORBIDDEN[event])

    def refuse(self, what: str) -> None:
        """Raise RealWorldTouched, in the world's own thread."""
        if self.thread == threading.get_ident():
            text = f"a simulated program started {what}"
            self.touched = self.touched or text
            raise RealWorldTouched(text)


_GUARD: Final = _Guard()
_ONE_WORLD: Final = threading.RLock()
"""Held while a world runs: the order of tasks and the guard are the whole process's."""


@contextmanager
def _only_simulated() -> Iterator[None]:
    """Let nothing of the body reach the real world, and no collection disturb its order."""
    _GUARD.install()
    was_enabled = gc.isenabled()
    gc.disable()
    start_thread = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        _GUARD.refuse("a thread")
        start_thread(thread)

    threading.Thread.start = start  # type: ignore[method-assign,assignment]
    before = _GUARD.thread, _GUARD.touched
    _GUARD.thread, _GUARD.touched = threading.get_ident(), None
    try:
        with threads_refused(lambda: _GUARD.refuse("a thread")):
            yield
    finally:
        _GUARD.thread, _GUARD.touched = before
        threading.Thread.start = start_thread  # type: ignore[method-assign]
        if was_enabled:
            gc.enable()
