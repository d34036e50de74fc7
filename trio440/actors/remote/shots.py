"""The answer to a question that another system has asked: it goes back over the link."""

from collections.abc import Callable
from typing import Any, Final, final

from trio440.actors.messages import Vocabulary
from trio440.actors.oneshot import Shot
from trio440.actors.ref import Ref
from trio440.actors.remote.parcels import Answered, Failed, shown
from trio440.actors.remote.values import encode_value
from trio440.errors import ActorFailed, ActorStopped, MailboxFull

__all__ = ["FULL", "STOPPED", "RemoteShot", "read_failure"]

FULL: Final = "full"
STOPPED: Final = "stopped"
FAILED: Final = "failed"


@final
class RemoteShot(Shot):
    """Sends the first answer or error on, as long as there is time for it."""

    line: dict[Shot, Any] | None
    __slots__ = ("_asked", "_is_open", "_send", "_shot", "_vocabulary", "line", "on_close")

    def __init__(
        self,
        asked: int,
        shot: Ref[Any],
        vocabulary: Vocabulary,
        send: Callable[[Ref[Any], Answered | Failed], None],
    ) -> None:
        """Wait for an answer.

        Args:
            asked: the counter of the actor here that is asked.
            shot: the one-shot reference in the other system.
            vocabulary: of this system.
            send: sends a parcel to that system.
        """
        self._is_open = True
        self.line = None
        self.on_close: Callable[[], None] | None = None
        """Called once, when it waits no longer."""
        self._asked = asked
        self._shot = shot
        self._vocabulary = vocabulary
        self._send = send

    @property
    def is_open(self) -> bool:
        """Whether an answer would still be sent."""
        return self._is_open

    def deliver(self, message: Any, sender: Ref[Any] | None) -> None:
        """Answer with a message or a plain value.

        Raises:
            InvalidParameter: it has no wire form; somebody still waits for an answer.
        """
        del sender
        if not self._is_open:
            return
        value = encode_value(message, self._vocabulary)
        self.close()
        shot = self._shot
        answered = Answered(shot.counter, shot.incarnation, value.name, value.version, value.body)
        self._send(shot, answered)

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        if not self._is_open:
            return
        self.close()
        number, kind, detail = 0, FAILED, str(error)
        match error:
            case MailboxFull(capacity=capacity):
                number, kind, detail = capacity, FULL, ""
            case ActorStopped(detail=why):
                kind, detail = STOPPED, why
            case ActorFailed(problem=problem):
                detail = problem
        failed = Failed(
            self._shot.counter,
            self._shot.incarnation,
            kind,
            self._asked,
            number,
            shown(detail),
        )
        self._send(self._shot, failed)

    def close(self) -> None:
        """Wait for nothing any more: the time is over, or there is an answer."""
        self._is_open = False
        if (on_close := self.on_close) is not None:
            self.on_close = None
            on_close()
        if self.line is not None:
            self.line.pop(self, None)
            self.line = None


def read_failure(failed: Failed, ref: Ref[Any]) -> Exception:
    """Return the error that an asker of ``ref`` gets."""
    if failed.kind == FULL:
        return MailboxFull(ref, failed.number)
    if failed.kind == STOPPED:
        return ActorStopped(ref, failed.detail)
    return ActorFailed(ref, failed.detail)
