"""A simulated machine: it starts, stops, crashes, pauses, and keeps its disk.

::

            start            crash, stop
    DOWN ──────────▶ UP ─────────────────▶ DOWN ── restart ──▶ UP (next life, same disk)
                     │ ▲
              pause  ▼ │ after a while
                   PAUSED

A machine has one life after the other; each has ports of its own. A crash happens between two
steps of the event loop: first the ports are fenced, so that every later call raises
:class:`~trio440.sim.power.PowerCut` and nothing reaches network, disk or trace; then it is
settled what of the disk survives; and only then the program's tasks are cancelled. No
``finally`` can save what a power cut would not.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import attrs
import trio

from trio440.core.host import Host
from trio440.errors import SimulationError
from trio440.sim.blocking import SimBlocking
from trio440.sim.chance import Seed, stream
from trio440.sim.clock import SimClock, SimWallClock
from trio440.sim.disk import SimDisk
from trio440.sim.net import Network, SimNet
from trio440.sim.power import PowerCut, is_interrupt
from trio440.sim.trace import Trace

__all__ = ["Machine", "Program"]

Program: TypeAlias = Callable[[Host], Awaitable[object]]
"""What a machine runs: an async function of its ports."""

DEATH_SECONDS: Final = 600.0
"""Virtual seconds after which a crashed program must have ended."""
MAX_CLOCK_OFFSET: Final = 1_000_000.0
DISK_SECONDS: Final = (0.00005, 0.0005)
"""The bounds of the virtual time that blocking work takes."""


@attrs.define(eq=False)
class _Life:
    """What ends with a crash."""

    number: int
    net: SimNet
    clock: SimClock
    wall: SimWallClock
    blocking: SimBlocking
    ports: Host
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    dead: bool = False

    def check(self) -> None:
        """Raise PowerCut once the machine has crashed."""
        if self.dead:
            raise PowerCut


class Machine:
    """One host of a :class:`~trio440.sim.world.World`, which makes it."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        seed: Seed,
        network: Network,
        trace: Trace,
        nursery: trio.Nursery,
    ) -> None:
        """Set a machine up, switched off; see :meth:`World.add_machine`."""
        self.name = name
        self.address = address
        """Its IPv4 address on the world's network."""
        self.disk = SimDisk(stream(seed, "machine", name, "disk"))
        """What is on its disk now; another object after each crash."""
        self.lives = 0
        """How often it has been started."""
        self._seed = seed
        self._network = network
        self._trace = trace
        self._nursery = nursery
        self._life: _Life | None = None
        self._before: _Life | None = None
        self._program: Program | None = None
        self._paused_until = 0
        self._has_crashed = False
        self._slow_disk = 0
        self._disk_full = False
        self._disk_error_share = 0.0
        self._drift = 0
        self._wall_error = 0

    @property
    def is_up(self) -> bool:
        """Whether it has power."""
        return self._life is not None

    @property
    def is_paused(self) -> bool:
        """Whether it stands still; one that is down does not."""
        return self.is_up and self._paused_until > self._now()

    @property
    def has_crashed(self) -> bool:
        """Whether it is down by a crash; not after :meth:`stop`, nor before its first start."""
        return self._life is None and self._has_crashed

    @property
    def is_ended(self) -> bool:
        """Whether all programs of its lives have ended."""
        return all(life is None or life.ended.is_set() for life in (self._life, self._before))

    @property
    def ports(self) -> Host:
        """The ports of its present life.

        Raises:
            SimulationError: it is down.
        """
        return self._living().ports

    # Power

    def start(self, program: Program) -> None:
        """Switch it on and run ``program``, now and again after each :meth:`restart`.

        An exception that the program raises while the machine is up ends the world. Its normal
        end leaves the machine up with nothing running.

        Raises:
            SimulationError: it is up already.
        """
        self._program = program
        self.restart()

    def restart(self) -> None:
        """Switch it on with the disk that survived; its program starts from its beginning.

        Raises:
            SimulationError: it is up already, or was never started.
        """
        if self._life is not None:
            raise SimulationError(f"{self.name} is up already")
        if self._program is None:
            raise SimulationError(f"{self.name} has no program")
        life, before = self._new_life(), self._before
        self._life = life
        self._note("start", f"life {life.number}")
        self._nursery.start_soon(self._live, life, before, self._program)

    def crash(self) -> None:
        """Cut its power, now. A machine that is down stays down."""
        life = self._life
        if life is None:
            return
        self._note("crash", f"in life {life.number}")
        self._has_crashed = True
        self._fence(life)
        chance = stream(self._seed, "machine", self.name, "crash", life.number)
        self.disk = self.disk.crash(chance)
        self._life, self._before = None, life
        life.scope.cancel()

    async def stop(self) -> None:
        """Cancel its program, wait for its end, and switch it off; its disk keeps everything.

        This is an orderly end: the program's ``finally`` blocks run with working ports.
        """
        life = self._living()
        life.scope.cancel()
        await life.ended.wait()
        if self._life is life:
            self._has_crashed = False
            self._fence(life)
            self.disk = self.disk.crash(stream(self._seed, "unused"), survival="everything")
            self._life, self._before = None, life
            self._note("stop", f"life {life.number}")

    def abandon(self) -> None:
        """Cut it off at the end of the world: its ports raise PowerCut, the trace says nothing."""
        if self._life is not None:
            self._fence(self._life)

    def pause(self, until: int) -> None:
        """Let it stand still until a moment in microseconds; one that is down is left alone.

        Its deadlines, arrivals and departures wait. Tasks that run already go on to their next
        wait. At the end what has arrived becomes readable and the first late deadlines pass in one
        moment, as after a process was stopped.
        """
        if self._life is None or until <= max(self._now(), self._paused_until):
            return
        self._note("pause", "")
        self._paused_until = until
        self._life.clock.pause(until / 1e6)
        self._life.net.hold()
        life = self._life

        def resume() -> None:
            if self._life is life and not self.is_paused:
                life.net.release()
                self._note("resume", "")

        self._network.schedule(until, resume)

    # Weather of a machine

    def slow_disk(self, extra: int) -> None:
        """Let blocking work take up to ``extra`` microseconds more from now on."""
        self._slow_disk = extra

    def fill_disk(self, *, full: bool) -> None:
        """Let the disk take no more bytes, or again."""
        self._disk_full = full
        self._apply_disk_faults()

    def break_disk(self, share: float) -> None:
        """Let a ``share`` of the disk's writes and syncs fail."""
        self._disk_error_share = share
        self._apply_disk_faults()

    def skew_clock(self, *, drift: int, offset: int) -> None:
        """Let its clocks run off: ``drift`` in parts in a million, wall time by ``offset`` µs."""
        self._drift, self._wall_error = drift, offset
        if self._life is not None:
            self._life.clock.set_drift(drift)
            self._life.wall.error = offset / 1e6

    # Inside

    def _fence(self, life: _Life) -> None:
        life.dead = True
        life.net.fence()
        life.blocking.fence()
        self.disk.fence()

    def _living(self) -> _Life:
        if self._life is None:
            raise SimulationError(f"{self.name} is down")
        return self._life

    def _new_life(self) -> _Life:
        self.lives += 1
        self._paused_until = 0
        self._apply_disk_faults()
        disk = self.disk

        def check() -> None:
            life.check()

        disk.on_power_cut = self.crash
        disk.on_operation = lambda kind, text: self._note("disk", f"{kind} {text}")
        chance = stream(self._seed, "machine", self.name, "life", self.lives)
        clock = SimClock(check, offset=chance.uniform(0, MAX_CLOCK_OFFSET))
        wall = SimWallClock(clock)
        latency = stream(self._seed, "machine", self.name, "latency", self.lives)
        blocking = SimBlocking(lambda: self._draw_latency(latency), clock)
        net = self._network.attach(self.name, [self.address])
        ports = Host(
            clock=clock,
            wall=wall,
            net=net,
            disk=disk.tree,
            blocking=blocking,
            rng=random.Random(chance.getrandbits(64)),
        )
        life = _Life(self.lives, net, clock, wall, blocking, ports)
        if self._drift or self._wall_error:
            self._life = life
            self.skew_clock(drift=self._drift, offset=self._wall_error)
        return life

    async def _live(self, life: _Life, before: _Life | None, program: Program) -> None:
        if before is not None:
            with trio.move_on_after(DEATH_SECONDS):
                await before.ended.wait()
            if not before.ended.is_set():
                raise SimulationError(f"a crashed program of {self.name} does not end")
        try:
            with life.scope:
                if not life.dead:  # it may have crashed while the life before was ending
                    await program(life.ports)
                if not life.dead:
                    self._note("stop", f"the program of life {life.number} has ended")
        except BaseException as error:
            if not life.dead or is_interrupt(error):
                raise
        finally:
            life.ended.set()

    def _apply_disk_faults(self) -> None:
        self.disk.full = self._disk_full
        self.disk.error_share = self._disk_error_share

    def _draw_latency(self, rng: random.Random) -> float:
        seconds = rng.uniform(*DISK_SECONDS)
        return seconds + rng.uniform(0, self._slow_disk / 1e6) if self._slow_disk else seconds

    def _note(self, kind: str, text: str) -> None:
        self._trace.add(self._now(), self.name, kind, text)

    @staticmethod
    def _now() -> int:
        return round(trio.current_time() * 1e6)
