"""One-shot references: something to wait for one answer, and for one only."""

from typing import Any, Final, Protocol, final

import trio

from trio440.actors.notices import DeadReason
from trio440.actors.ref import Ref
from trio440.errors import AskTimedOut

__all__ = ["Asked", "Bury", "Home", "OneShot", "Shot", "Target"]

CLOSED: Final = "this one-shot reference is closed"


class Target(Protocol):
    """What a reference leads to."""

    @property
    def ref(self) -> Ref[Any]:
        """The reference."""

    def deliver(self, message: Any, sender: Ref[Any] | None) -> None:
        """Take a message that was told; never raises, never waits."""

    def accept(self, asked: "Asked", sender: Ref[Any] | None) -> None:
        """Take a question; never raises, never waits."""


class Shot(Protocol):
    """Waits for the answer to a question, here or elsewhere."""

    line: "dict[Shot, Asked] | None"
    """Where the question waits for room; it leaves when nobody waits for the answer."""

    @property
    def is_open(self) -> bool:
        """Whether an answer would still reach somebody."""

    def deliver(self, message: Any, sender: Ref[Any] | None) -> None:
        """Answer with a message or a plain value."""

    def fail(self, error: Exception) -> None:
        """Answer with an error; nothing happens when there is an answer already."""

    def close(self) -> None:
        """Wait for nothing any more; idempotent."""


class Bury(Protocol):
    """Counts a message that reached nobody, and tells who listens."""

    def __call__(
        self,
        ref: Ref[Any],
        message: Any,
        reason: DeadReason,
        detail: str = "",
        sender: Ref[Any] | None = None,
    ) -> None:
        """Note a dead letter."""


class Home(Protocol):
    """The system of a one-shot reference."""

    @property
    def address(self) -> str:
        """Of the system."""

    @property
    def incarnation(self) -> int:
        """Of the system."""

    @property
    def bury(self) -> Bury:
        """Take a dead letter."""

    def forget_shot(self, counter: int) -> None:
        """Let a one-shot reference lead nowhere."""


@final
class OneShot:
    """Waits for one answer or one error; what comes later, or after its close, is a dead letter.

    Its reference leads nowhere once it is closed. An ask makes one and seldom needs the
    reference, which is therefore made where it is asked for.
    """

    __slots__ = (
        "_asked",
        "_closed",
        "_counter",
        "_error",
        "_home",
        "_seconds",
        "_settled",
        "_task",
        "_value",
        "line",
    )

    def __init__(self, counter: int, home: Home) -> None:
        self._counter: Final = counter
        self._home: Final = home
        self._settled = False
        self._value: Any = None
        self._error: Exception | None = None
        self._task: trio.lowlevel.Task | None = None
        self._closed = False
        self.line: dict[Shot, Asked] | None = None

    @property
    def ref(self) -> Ref[Any]:
        """Its reference."""
        return Ref(self._home.address, self._counter, self._home.incarnation)

    @property
    def is_open(self) -> bool:
        """Whether an answer would still reach somebody."""
        return not (self._settled or self._closed)

    def deliver(self, message: Any, sender: Ref[Any] | None) -> None:
        """Answer with a message."""
        if self._settled or self._closed:
            self._home.bury(self.ref, message, "already_answered", sender=sender)
        else:
            self._value = message
            self._settle()

    def accept(self, asked: "Asked", sender: Ref[Any] | None) -> None:
        """Take the question as an answer; nobody will answer it."""
        self.deliver(asked.message, sender)
        asked.shot.fail(trio.ClosedResourceError("a one-shot reference answers no questions"))

    def fail(self, error: Exception) -> None:
        """Answer with an error; nothing happens when there is an answer already."""
        if self.is_open:
            self._error = error
            self._settle()

    def limit(self, asked: Ref[Any], seconds: float) -> None:
        """Say whom it waits for and how long, for the error when its time is over."""
        self._asked = asked
        self._seconds = seconds

    @property
    def is_running(self) -> bool:
        """Whether the end of its time would be heard of."""
        return not (self._settled or self._closed)

    def fire(self, now: float) -> None:
        """Hear that its time is over."""
        del now
        self.fail(AskTimedOut(self._asked, self._seconds))

    async def wait(self) -> Any:
        """Return the answer or raise the error; always a checkpoint.

        Raises:
            trio.BusyResourceError: another task waits.
            trio.ClosedResourceError: it was closed.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            raise trio.ClosedResourceError(CLOSED)
        if self._task is not None:
            raise trio.BusyResourceError("another task waits for this answer")
        if self._settled:
            await trio.lowlevel.checkpoint()
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._error is not None:
            raise self._error
        return self._value

    def close(self) -> None:
        """Wait for nothing any more; idempotent."""
        if not self._closed:
            self._closed = True
            self._error = None  # whose traceback leads here again
            if self._task is not None:
                self._error = trio.ClosedResourceError(CLOSED)
                self._settle()
            if self.line is not None:
                self.line.pop(self, None)
            self._home.forget_shot(self._counter)

    def _settle(self) -> None:
        self._settled = True
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _abort(self, _raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


@final
class Asked:
    """A question in a mailbox, and who waits for the answer."""

    __slots__ = ("message", "shot")

    def __init__(self, message: Any, shot: Shot) -> None:
        self.message: Final = message
        self.shot: Final = shot
