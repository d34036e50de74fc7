"""What a life of an actor is made of, how it ends, and how it waits for the next."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, final

import attrs
import trio

from trio440.actors.handlers import Table
from trio440.actors.limits import MailboxPolicy
from trio440.actors.supervision import Decision, Escalate, Restart, RestartThese, Strategy
from trio440.errors import SimulationError

__all__ = [
    "KILLED",
    "NORMAL",
    "Exit",
    "Hold",
    "Lifelike",
    "Recipe",
    "consequence_of",
    "describe",
    "is_crash",
]

MAX_PROBLEM: Final = 200
MICROSECONDS: Final = 1_000_000


def describe(error: BaseException) -> str:
    """Say in one line what was raised; of a group, what is in it."""
    if isinstance(error, BaseExceptionGroup):
        text = ", ".join(map(describe, error.exceptions))[:MAX_PROBLEM]
    else:
        text = " ".join(str(error).split())[:MAX_PROBLEM]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_crash(error: BaseException) -> bool:
    """Whether it is supervision's business; what a simulated world raises is the world's."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_crash, error.exceptions))
    return isinstance(error, Exception) and not isinstance(error, SimulationError)


class Lifelike(Protocol):
    """What a cell asks of an instance of an actor."""

    @property
    def strategy(self) -> Strategy:
        """Towards its children."""

    async def on_start(self) -> None:
        """Begin the first life."""

    async def on_restart(self, error: Exception | None) -> None:
        """Begin a later life."""

    async def on_stop(self) -> None:
        """End a life that had begun."""


@attrs.frozen
class Recipe:
    """How an actor is made, and how it is to be treated."""

    make: Callable[[Any, Any], tuple[Lifelike, Table]]
    """Given the cell and this recipe."""
    factory: Callable[..., Any]
    args: tuple[Any, ...]
    restart: Restart
    mailbox: MailboxPolicy

    @property
    def kind(self) -> str:
        """The name of the class or function that it is made by."""
        factory: Any = self.factory
        while isinstance(factory, partial):
            factory = factory.func
        name: str = getattr(factory, "__qualname__", type(factory).__qualname__)
        return name


@attrs.frozen
class Exit:
    """How a life ended."""

    error: Exception | None = None
    is_killed: bool = False


NORMAL: Final = Exit()
KILLED: Final = Exit(is_killed=True)


@final
class Hold:
    """A cell waits for a round of its family to start it again."""

    __slots__ = ("decision", "go", "halted", "resumed")

    def __init__(self, *, is_halted: bool = False) -> None:
        self.halted: Final = trio.Event()
        """Its life has ended."""
        self.go = False
        """It is to start."""
        self.resumed: Final = trio.Event()
        """It has started, or failed to, or ended for good."""
        self.decision: RestartThese | None = None
        """What was decided when it failed to."""
        if is_halted:
            self.halted.set()


def consequence_of(decision: Decision, restart: Restart) -> str:
    """Say in words what was decided on a failure."""
    if isinstance(decision, Escalate):
        return "its supervisor fails, too"
    if not isinstance(decision, RestartThese):
        return "it is not restarted"
    return (
        f"restart {decision.restarts} of {restart.intensity} "
        f"within {restart.period_seconds:g} s, after {decision.wait_us / MICROSECONDS:g} s"
    )
