"""The actors of the simulated systems at level B: they check what they are told, and note it."""

from collections.abc import Callable
from typing import Any, Final

import attrs

from trio440 import actors

__all__ = [
    "KEPT",
    "Double",
    "Echo",
    "Fail",
    "Failing",
    "Keeper",
    "Notes",
    "Numbered",
    "Observe",
    "Observer",
    "Sink",
]

KEPT: Final = actors.Restart("permanent", intensity=3, period_seconds=2.0)
"""How who fails on purpose is restarted."""


@actors.message("sim.Numbered")
@attrs.frozen
class Numbered:
    """One of many messages from one life of a system to one actor."""

    source: int
    """The life."""
    number: int
    """From 1, for each receiver."""


@actors.message("sim.Double")
@attrs.frozen
class Double(actors.Question[int]):
    """Is answered by twice the value."""

    value: int


@actors.message("sim.Fail")
@attrs.frozen
class Fail:
    """Makes its receiver fail."""


@actors.message("sim.Observe")
@attrs.frozen
class Observe:
    """Watch this one."""

    ref: actors.Ref[Any]


RATE_SLACK: Final = 1.02
"""Clocks of machines drift from the world's."""


@attrs.define
class Notes:
    """What the actors of one life have noted."""

    require: Callable[[object, str, str], None]
    got: dict[tuple[int, int], list[int]] = attrs.Factory(dict)
    """By source and the receiver's counter: the numbers, as they came."""
    watches: dict[int, actors.Ref[Any]] = attrs.Factory(dict)
    downs: list[actors.Down] = attrs.Factory(list)
    failing: actors.Ref[Fail] | None = None
    failures: list[float] = attrs.Factory(list)
    """When an actor has failed since its supervisor began, on its machine's clock."""


class Sink(actors.Actor[Numbered]):
    """Notes what comes."""

    def __init__(self, notes: Notes) -> None:
        """Start with the notes of its system."""
        self._notes = notes

    @actors.handler
    async def note(self, message: Numbered) -> None:
        """Note a number."""
        ref, notes = self.context.ref, self._notes
        got = notes.got.setdefault((message.source, ref.counter), [])
        rising = not got or message.number > got[-1]
        shown = f"{message.number} of life {message.source} comes to {ref} after {got[-5:]}"
        notes.require(rising, "in order, and once at most", shown)
        got.append(message.number)


class Echo(actors.Actor[Double]):
    """Answers, after a while."""

    def __init__(self, wait: Any) -> None:
        """Start; ``wait`` is awaited before each answer."""
        self._wait = wait

    @actors.handler
    async def double(self, message: Double) -> int:
        """Answer."""
        await self._wait()
        return 2 * message.value


class Failing(actors.Actor[Fail]):
    """Fails when it is told to."""

    def __init__(self, notes: Notes, now: Any) -> None:
        """Start; ``now`` gives the time of its machine."""
        self._notes = notes
        self._now = now

    async def on_start(self) -> None:
        """Let itself be found."""
        self._notes.failing = self.context.ref
        self._notes.failures = []

    async def on_restart(self, error: Exception | None) -> None:
        """Check that it may be restarted."""
        del error
        notes = self._notes
        late = notes.failures[-1 - KEPT.intensity :]
        too_often = len(late) > KEPT.intensity and (
            late[-1] - late[0] < KEPT.period_seconds / RATE_SLACK
        )
        notes.require(not too_often, "restarts keep their budget", f"{self.context.ref}: {late}")

    @actors.handler
    async def fail(self, message: Fail) -> None:
        """Fail."""
        self._notes.failures.append(self._now())
        raise ValueError(message)


class Keeper(actors.Actor[Fail]):
    """Supervises who fails, and fails with it when it fails too often."""

    def __init__(self, notes: Notes, now: Any) -> None:
        """Start with what its child gets."""
        self._notes = notes
        self._now = now

    async def on_start(self) -> None:
        """Begin with a child."""
        await self.context.spawn(Failing, self._notes, self._now, restart=KEPT)

    @actors.handler
    async def fail(self, message: Fail) -> None:
        """Pass it on."""
        if self._notes.failing is not None:
            self.context.tell(self._notes.failing, message)


class Observer(actors.Actor[Observe | actors.Down]):
    """Watches, and notes each end."""

    def __init__(self, notes: Notes) -> None:
        """Start with the notes of its system."""
        self._notes = notes

    @actors.handler
    async def observe(self, message: Observe) -> None:
        """Begin to watch."""
        self._notes.watches[self.context.watch(message.ref)] = message.ref

    @actors.handler
    async def down(self, message: actors.Down) -> None:
        """Note an end."""
        notes = self._notes
        shown = f"{self.context.ref}: {message}"
        notes.require(message.watch in notes.watches, "each Down is of a watch", shown)
        again = any(message.watch == down.watch for down in notes.downs)
        notes.require(not again, "one Down for each watch", shown)
        fits = notes.watches[message.watch] == message.ref
        notes.require(fits, "each Down is of whom was watched", shown)
        notes.downs.append(message)
