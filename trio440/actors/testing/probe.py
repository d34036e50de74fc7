"""Probes: actors that stand in for others in a test, and show what they were told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Generic, TypeVar, final

import attrs
import trio

from trio440.actors.actor import Actor, Context
from trio440.actors.belongings import Reply
from trio440.actors.checks import check_seconds
from trio440.actors.messages import MARK, Question
from trio440.actors.ref import Ref
from trio440.actors.system import ActorSystem
from trio440.core.channels import Chan
from trio440.core.host import Clock
from trio440.core.real import REAL_HOST
from trio440.errors import InvalidParameter

__all__ = ["Probe", "Received", "open_probe"]

M = TypeVar("M")
T = TypeVar("T")

CAPACITY: Final = 1000
WITHIN_SECONDS: Final = 3.0
FOR_SECONDS: Final = 0.5


@attrs.frozen
class Received:
    """A message that a probe got."""

    message: Any
    reply: Reply[Any] | None
    """To answer it with, when it was asked."""


class _ProbeActor(Actor[Any]):
    def __init__(self, box: Chan[Received], contexts: list[Context[Any]]) -> None:
        self._box = box
        self._contexts = contexts

    async def on_start(self) -> None:
        self._contexts.append(self.context)

    async def receive(self, message: Any) -> Any:
        reply: Reply[Any] | None = None
        if isinstance(message, Question):
            with suppress(InvalidParameter):  # it may have been told, not asked
                reply = self.context.hold_reply(message)
        await self._box.send(Received(message, reply))
        return reply


@final
class Probe(Generic[M]):
    """An actor under a test's own hands; :func:`open_probe` opens one.

    Times are those of its clock, hence virtual where that is.
    """

    def __init__(
        self, ref: Ref[M], context: Context[Any], box: Chan[Received], clock: Clock
    ) -> None:
        self.ref: Final = ref
        """To be given to the actors under test."""
        self.context: Final = context
        """To tell, ask, watch and spawn as the probe."""
        self._box = box
        self._clock = clock

    async def receive(self, *, within_seconds: float = WITHIN_SECONDS) -> Received:
        """Return the next message, whatever it is.

        Raises:
            AssertionError: none came in time.
            InvalidParameter: the time is out of range.
        """
        check_seconds("within_seconds", within_seconds)
        with self._clock.move_on_after(within_seconds):
            return await self._box.receive()
        raise AssertionError(f"no message came to {self.ref} within {within_seconds:g} s")

    async def expect(self, kind: type[T], *, within_seconds: float = WITHIN_SECONDS) -> T:
        """Return the next message, which must be of class ``kind``.

        Raises:
            AssertionError: none came in time, or one of another class.
            InvalidParameter: the time is out of range.
        """
        try:
            message = (await self.receive(within_seconds=within_seconds)).message
        except AssertionError as error:
            raise AssertionError(f"{error}, expected: {kind.__name__}") from None
        if not isinstance(message, kind):
            raise AssertionError(f"{self.ref} expected a {kind.__name__} and got {message!r}")  # noqa: TRY004 - a test's failure is an AssertionError
        return message

    async def expect_nothing(self, *, for_seconds: float = FOR_SECONDS) -> None:
        """Wait, and see no message come.

        Raises:
            AssertionError: one came.
            InvalidParameter: the time is out of range.
        """
        check_seconds("for_seconds", for_seconds)
        with self._clock.move_on_after(for_seconds):
            received = await self._box.receive()
            raise AssertionError(f"{self.ref} expected nothing and got {received.message!r}")


@asynccontextmanager
async def open_probe(
    system: ActorSystem,
    kind: type[M] | None = None,
    *,
    name: str | None = None,
    clock: Clock = REAL_HOST.clock,
) -> AsyncIterator[Probe[M]]:
    """Spawn a probe that ends with the body.

    Args:
        system: where.
        kind: the class of messages that it may be told: for the type checker, and for those
            that come from other systems; other classes are known by ``ActorSystem.learn``.
        name: under which ``lookup`` finds it.
        clock: that of the system, when it has another one than this machine's.

    Raises:
        NameTaken: another actor has the name.
        SystemStopped: the system is ending.
    """
    if kind is not None and MARK in vars(kind):
        system.learn(kind)
    box, contexts = Chan[Received](CAPACITY), list[Context[Any]]()
    ref = await system.spawn(_ProbeActor, box, contexts, name=name)
    try:
        yield Probe[M](ref, contexts[0], box, clock)
    finally:
        with trio.CancelScope(shield=True):
            await system.stop(ref, timeout_seconds=0)
