"""Actors at level B: whole systems on machines that crash, and all that they promise each other.

Each machine runs :func:`trio440.actors.open_actor_system` as it is, again and again: systems are
left and opened anew, and machines lose power. Whoever runs tells, asks and watches actors
everywhere, those of earlier lives too. Checked are the order of each pair, at most one delivery,
exactly one on acknowledged links between two that both last, answers that fit and come in time,
one Down for each watch that is due, budgets of restarts, bounds of mailboxes, and that all agree
on who is there once the faults are over.
"""

import logging
import random
from functools import partial
from typing import Any, Final

import attrs
import trio

from trio440 import actors
from trio440.actors.limits import MailboxPolicy
from trio440.core.host import Host
from trio440.errors import ActorError, AddressError, SystemSuperseded
from trio440.sim.faults import Pause
from trio440.sim.systems.actors_people import (
    Double,
    Echo,
    Fail,
    Keeper,
    Notes,
    Numbered,
    Observe,
    Observer,
    Sink,
)
from trio440.sim.systems.actors_stage import draw_config
from trio440.sim.systems.base import SECOND
from trio440.sim.world import World

__all__ = ["tell"]

LOGGER: Final = logging.getLogger("trio440.actors")
PORT: Final = 7000
REST_SECONDS: Final = 0.1
END_SECONDS: Final = 18.0
"""After the faults all must agree, and everything must have arrived, within so long."""
SLACK_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 2.0
"""After this no ask may still wait whose time is over, though its machine was paused."""
NARROW: Final = 3
"""The bound of a mailbox that is to be full at times."""
LOOK_EVERY: Final = 8
"""Steps of tasks."""


async def tell(world: World) -> None:
    """Let systems speak while everything goes wrong, and require that it ends well."""
    before, LOGGER.disabled = LOGGER.disabled, True  # that they find each other late is the point
    try:
        await _Game(world).play()
    finally:
        LOGGER.disabled = before


@attrs.define(eq=False)
class _Life:
    """One life of the system on a machine."""

    number: int
    host: str
    system: actors.ActorSystem
    notes: Notes
    sink: actors.Ref[Numbered] = attrs.Factory(lambda: actors.Ref("", 1, 0))
    narrow: actors.Ref[Numbered] = attrs.Factory(lambda: actors.Ref("", 1, 0))
    echo: actors.Ref[Double] = attrs.Factory(lambda: actors.Ref("", 1, 0))
    keeper: actors.Ref[Fail] = attrs.Factory(lambda: actors.Ref("", 1, 0))
    observer: actors.Ref[Observe] = attrs.Factory(lambda: actors.Ref("", 1, 0))
    told: dict[actors.Ref[Any], int] = attrs.Factory(dict)
    """How many messages were told to each."""
    dead: set[tuple[actors.Ref[Any], int]] = attrs.Factory(set)
    """Which of them came to nothing here, as its dead letters say."""
    is_over: bool = False


class _Game:
    """One world."""

    def __init__(self, world: World) -> None:
        rng = world.rng("params")
        self.world = world
        self.hosts = [*world.machines][: rng.choice([2, 2, 3, 3, 4, 5, 6])]
        self.delivery: actors.Delivery = rng.choice(["at_most_once", "acknowledged"])
        self.lives: list[_Life] = []
        self.answers = 0
        self._asking: dict[tuple[int, int], float] = {}
        """By life and task: until when it asks, in seconds of the world's time."""
        self._after: dict[str, int] = {}
        self._begun = 0
        self._looks = 0
        self._rng = rng
        self._is_calm = False
        seeds = [f"{world.machines[host].address}:{PORT}" for host in self.hosts[:2]]
        self._networking = actors.Networking(
            seeds=seeds,
            delivery=self.delivery,
            membership=draw_config(rng),
            greeting_seconds=0.3,
            limits=actors.LinkLimits(
                messages=rng.choice([20, 10_000]),
                silence_seconds=rng.choice([1.0, 2.0]),
                longest_wait_seconds=0.2,
                resend_seconds=rng.choice([0.2, 1.0]),
                unknown_seconds=2.0,
            ),
        )

    async def play(self) -> None:
        """Play until the faults are over and everything has settled, then judge."""
        world = self.world
        world.note(f"{self.hosts}, {self._networking}")
        world.check(self._look)
        for host in self.hosts:
            world.start(host, partial(self._live, host))
        await world.healed()
        self._is_calm = True
        with trio.move_on_after(END_SECONDS):
            while self._missing():  # noqa: ASYNC110 - what is waited for has no event
                await trio.sleep(REST_SECONDS)
        missing = self._missing()
        world.require(not missing, "everything works in the end", missing)

    # The machines

    async def _live(self, host: str, ports: Host) -> None:
        """Be one system after the other on a machine."""
        rng = self.world.rng(host, self.world.machines[host].lives)
        self._end_lives(host)
        while True:
            try:
                await self._be_system(host, ports, rng)
            except SystemSuperseded as error:
                self._after[host] = error.incarnation
                self.world.note(f"{host}: {error}")
            except AddressError as error:
                self.world.note(f"{host}: {error}")
            finally:
                self._end_lives(host)
            await ports.clock.sleep(rng.random() * REST_SECONDS)

    def _end_lives(self, host: str) -> None:
        for life in self.lives:
            life.is_over = life.is_over or life.host == host

    async def _be_system(self, host: str, ports: Host, rng: random.Random) -> None:
        limits = actors.Limits(stop_seconds=0.5)
        async with actors.open_actor_system(
            self.world.machines[host].address,
            PORT,
            networking=attrs.evolve(self._networking, after=self._after.get(host, 0)),
            limits=limits,
            report=lambda _: None,
            ports=ports,
        ) as system:
            self._begun += 1
            life = _Life(self._begun, host, system, Notes(self.world.require))
            await self._people(life, ports, rng)
            self.lives.append(life)
            lasts = rng.random() * 4 if rng.random() < 0.3 else None  # noqa: PLR2004 - some leave
            with system.dead_letters(10_000) as letters:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._bury, life, letters)
                    nursery.start_soon(self._speak, life, ports, rng)
                    for turn in range(2):
                        nursery.start_soon(self._ask, life, turn, ports, rng)
                    if lasts is None:
                        await trio.Event().wait()
                    await ports.clock.sleep(lasts or 0)
                    if self._is_calm:
                        await trio.Event().wait()
                    nursery.cancel_scope.cancel()
            life.is_over = True

    async def _people(self, life: _Life, ports: Host, rng: random.Random) -> None:
        async def wait() -> None:
            if rng.random() < 0.3:  # noqa: PLR2004 - some are slow
                await ports.clock.sleep(rng.random() * 0.3)

        system, now = life.system, ports.clock.now
        overflow: Any = rng.choice(["fail_ask", "block_ask", "drop_newest", "drop_oldest"])
        life.sink = await system.spawn(Sink, life.notes, mailbox=MailboxPolicy(100_000))
        life.narrow = await system.spawn(Sink, life.notes, mailbox=MailboxPolicy(NARROW, overflow))
        life.echo = await system.spawn(Echo, wait, mailbox=MailboxPolicy(NARROW, overflow))
        often = actors.Restart("permanent", intensity=1000, period_seconds=1.0)
        life.keeper = await system.spawn(Keeper, life.notes, now, restart=often)
        life.observer = await system.spawn(Observer, life.notes)

    async def _bury(self, life: _Life, letters: Any) -> None:
        async for letter in letters:
            if isinstance(letter.message, Numbered) and letter.message.source == life.number:
                life.dead.add((letter.ref, letter.message.number))

    # What they do

    def _other(self, rng: random.Random) -> _Life:
        """Choose whom to speak to: mostly somebody who is there."""
        there = [life for life in self.lives if not life.is_over]
        return rng.choice(there if rng.random() < 0.9 and there else self.lives)  # noqa: PLR2004 - mostly

    async def _speak(self, life: _Life, ports: Host, rng: random.Random) -> None:
        """Tell, watch, and let actors fail."""
        while not self._is_calm:
            await ports.clock.sleep(rng.random() * REST_SECONDS)
            other, kind = self._other(rng), rng.random()
            if kind < 0.6:  # noqa: PLR2004 - mostly
                for _ in range(rng.choice([1, 1, 5])):
                    self._tell(life, other.sink)
            elif kind < 0.75:  # noqa: PLR2004 - sometimes
                for _ in range(5):
                    self._tell(life, other.narrow)
            elif kind < 0.9:  # noqa: PLR2004 - sometimes
                ref: actors.Ref[Any] = rng.choice([other.sink, other.echo])
                life.system.tell(life.observer, Observe(ref))
            else:
                life.system.tell(other.keeper, Fail())

    def _tell(self, life: _Life, ref: actors.Ref[Numbered]) -> None:
        number = life.told[ref] = life.told.get(ref, 0) + 1
        life.system.tell(ref, Numbered(life.number, number))

    async def _ask(self, life: _Life, turn: int, ports: Host, rng: random.Random) -> None:
        """Ask again and again; each ask ends in its time, and with an answer that fits."""
        pauses = any(
            isinstance(fault, Pause) and fault.host == life.host
            for _, fault in self.world.plan.happening
        )
        while True:
            await ports.clock.sleep(rng.random() * (1.0 if self._is_calm else REST_SECONDS))
            value, seconds = rng.randrange(1000), rng.choice([0.1, 0.5, 2.0])
            other, began = self._other(rng), ports.clock.now()
            self._asking[life.number, turn] = self.world.now() / SECOND + seconds
            try:
                answer = await life.system.ask(other.echo, Double(value), timeout_seconds=seconds)
            except ActorError:
                answer = 2 * value
            else:
                self.answers += 1
            finally:
                del self._asking[life.number, turn]
            took = ports.clock.now() - began
            self.world.require(
                pauses or took <= seconds + SLACK_SECONDS,
                "an ask ends by its time",
                f"{life.host} has waited {took:.3f} s, and had {seconds} s",
            )
            self.world.require(
                answer == 2 * value, "answers fit", f"{life.host}: {value}, {answer}"
            )

    # What must hold

    def _look(self) -> None:
        self._looks += 1
        if self._looks % LOOK_EVERY:
            return
        for life in self.lives:
            if not life.is_over:
                for ref in (life.narrow, life.echo):
                    found = life.system.actor_statistics(ref)
                    waits = 0 if found is None else found.waiting
                    self.world.require(
                        waits <= NARROW, "a mailbox keeps its bound", f"{ref}: {waits}"
                    )

    def _missing(self) -> str:
        """Say what has not come true yet."""
        late = self.world.now() / SECOND - PATIENCE_SECONDS
        for (number, _), until in self._asking.items():
            life = next(life for life in self.lives if life.number == number)
            if until < late and not life.is_over:
                return f"{life.host} still asks, and had time until {until:.3f} s"
        up = [life for life in self.lives if not life.is_over]
        if {life.host for life in up} != set(self.hosts):
            return f"only {sorted(life.host for life in up)} are up"
        everybody = {(life.system.address, life.system.incarnation) for life in up}
        for life in up:
            members = {(node.address, node.incarnation) for node in life.system.members}
            if members != everybody:
                return f"{life.host} takes {members} for everybody, who are {everybody}"
        if self.delivery == "acknowledged":
            for life in up:
                for other in up:
                    if missing := self._not_arrived(life, other):
                        return missing
        return self._missing_downs(up)

    def _not_arrived(self, life: _Life, other: _Life) -> str:
        told = range(1, life.told.get(other.sink, 0) + 1)
        due = [number for number in told if (other.sink, number) not in life.dead]
        got = other.notes.got.get((life.number, other.sink.counter), [])
        if got == due:
            return ""
        lacks = sorted(set(due) - set(got))[:5]
        return f"{life.host} has told {other.host} {len(due)}, {len(got)} came; not {lacks}"

    def _missing_downs(self, up: list[_Life]) -> str:
        """Say which watch of an actor that is gone has had no Down."""
        there = {(life.system.address, life.system.incarnation) for life in up}
        for life in up:
            seen = {down.watch for down in life.notes.downs}
            for watch, ref in life.notes.watches.items():
                if watch not in seen and (ref.address, ref.incarnation) not in there:
                    return f"{life.host} has not heard that {ref!r} is gone"
        return ""
