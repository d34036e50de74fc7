"""One-shot references: something to wait for one answer, and for one only."""

from collections.abc import Callable
from typing import Any, Final, Protocol, final

import trio
from outcome import Error, Value

from trio440.actors.notices import DeadReason
from trio440.actors.ref import Ref

__all__ = ["Asked", "Bury", "OneShot", "Target"]


class Target(Protocol):
    """What a reference leads to."""

    @property
    def ref(self) -> Ref[Any]:
        """The reference."""

    def deliver(self, message: Any, sender: Ref[Any] | None) -> None:
        """Take a message that was told; never raises, never waits."""

    def accept(self, asked: "Asked", sender: Ref[Any] | None) -> None:
        """Take a question; never raises, never waits."""


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


@final
class OneShot:
    """Waits for one answer or one error; what comes later, or after its close, is a dead letter.

    ``forget`` is called when it is closed: its reference leads nowhere from then on.
    """

    __slots__ = ("_bury", "_closed", "_forget", "_result", "_task", "line", "ref")

    def __init__(self, ref: Ref[Any], bury: Bury, forget: Callable[[Ref[Any]], None]) -> None:
        self.ref: Final = ref
        self._bury = bury
        self._forget = forget
        self._result: Value[Any] | Error | None = None
        self._task: trio.lowlevel.Task | None = None
        self._closed = False
        self.line: dict[OneShot, Asked] | None = None
        """Where the question waits for room; it leaves when nobody waits for the answer."""

    @property
    def is_open(self) -> bool:
        """Whether an answer would still reach somebody."""
        return self._result is None and not self._closed

    def deliver(self, message: Any, sender: Ref[Any] | None) -> None:
        """Answer with a message."""
        if self.is_open:
            self._settle(Value(message))
        else:
            self._bury(self.ref, message, "already_answered", sender=sender)

    def accept(self, asked: "Asked", sender: Ref[Any] | None) -> None:
        """Take the question as an answer; nobody will answer it."""
        self.deliver(asked.message, sender)
        asked.shot.fail(trio.ClosedResourceError("a one-shot reference answers no questions"))

    def fail(self, error: Exception) -> None:
        """Answer with an error; nothing happens when there is an answer already."""
        if self.is_open:
            self._settle(Error(error))

    async def wait(self) -> Any:
        """Return the answer or raise the error; always a checkpoint.

        Raises:
            trio.BusyResourceError: another task waits.
        """
        if self._task is not None:
            raise trio.BusyResourceError("another task waits for this answer")
        if self._result is None:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        else:
            await trio.lowlevel.checkpoint()
        if self._result is None:  # pragma: no cover - only a settled wait is rescheduled
            raise AssertionError("woken without an answer")
        return self._result.unwrap() if type(self._result) is Error else self._result.value

    def close(self) -> None:
        """Wait for nothing any more; idempotent."""
        if not self._closed:
            self._closed = True
            if self.line is not None:
                self.line.pop(self, None)
            self._forget(self.ref)

    def _settle(self, result: Value[Any] | Error) -> None:
        self._result = result
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

    def __init__(self, message: Any, shot: OneShot) -> None:
        self.message: Final = message
        self.shot: Final = shot
