"""What is asked of a simulated world and what came of it. Pure values."""

import shlex
from typing import Final, Literal, TypeAlias

import attrs

from trio440.errors import InvariantViolated
from trio440.sim.chance import Seed

__all__ = [
    "LEVELS",
    "ORDERS",
    "Failure",
    "InvariantViolated",
    "Level",
    "Order",
    "Outcome",
    "Setup",
]

Level: TypeAlias = Literal["A", "B"]
"""A: the pure cores on a simulated network. B: the shells, unmodified, on simulated hosts."""
Order: TypeAlias = Literal["random", "pct"]
"""How the next task is chosen at level B: evenly, or by priorities that seldom change."""

LEVELS: Final[tuple[Level, ...]] = ("A", "B")
ORDERS: Final[tuple[Order, ...]] = ("random", "pct")


@attrs.frozen
class Setup:
    """Everything that one history depends on."""

    system: str
    seed: Seed
    level: Level = "B"
    profile: str = "flaky"
    """The name of a fault profile, see :mod:`trio440.sim.profiles`."""
    order: Order = "random"
    keep: tuple[int, ...] | None = None
    """Only these faults of the plan happen; None is all."""

    def replay_command(self) -> str:
        """Return the one command that gives this history again."""
        words = ["trio440", "sim", "replay", self.system, "--level", self.level]
        words += ["--seed", str(self.seed), "--profile", self.profile]
        if self.order != "random":
            words += ["--order", self.order]
        if self.keep is not None:
            words += ["--keep", ",".join(map(str, self.keep)) or "none"]
        return shlex.join(words)


@attrs.frozen
class Failure:
    """Why a history is not as it should be."""

    invariant: str
    """The promise that was broken, in a few words, or the type of an unexpected exception."""
    detail: str
    """What was seen, on one line or several."""
    at: int
    """Virtual time in microseconds."""
    explanation: object = attrs.field(default=None, eq=False, repr=False)
    """A checker's own account of it, see :class:`trio440.sim.checking.Explanation`."""


@attrs.frozen
class Outcome:
    """What came of one history."""

    setup: Setup
    digest: str
    """The hash of its trace."""
    events: int
    """The length of its trace."""
    at: int
    """Virtual time in microseconds when it ended."""
    faults: tuple[str, ...] = ()
    """The faults of its plan, one line each, by position."""
    failure: Failure | None = None
