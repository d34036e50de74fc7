"""What belongs to one life of an actor, and ends with it: timers, watches, answers it owes."""

from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar, final

from trio440.actors.messages import Vocabulary
from trio440.actors.notices import Down
from trio440.actors.oneshot import Shot
from trio440.actors.ref import Ref
from trio440.actors.timers import Timer
from trio440.errors import ActorFailed, ActorStopped

__all__ = ["Belongings", "Reply", "Watched", "Watcher"]

R = TypeVar("R")


@final
class Reply(Generic[R]):
    """An answer that is given later than the handler's end; ``hold_reply`` returns one.

    The handler returns it in place of the answer. When the actor's life ends before the answer is
    given, the asker gets ``ActorStopped``.
    """

    __slots__ = ("_settled", "_shot", "_vocabulary", "ref")

    def __init__(
        self,
        ref: Ref[Any],
        shot: Shot,
        vocabulary: Vocabulary,
        settled: Callable[[Any], None],
    ) -> None:
        self.ref: Final = ref
        """Who owes the answer."""
        self._shot = shot
        self._vocabulary = vocabulary
        self._settled = settled

    @property
    def is_wanted(self) -> bool:
        """Whether the answer would still reach somebody, as far as one knows here."""
        return self._shot.is_open

    def answer(self, value: R) -> None:
        """Give the answer; one that comes too late, or a second one, is a dead letter.

        Raises:
            InvalidParameter: it is neither plain nor a message.
            BadMessage: its class refuses what it was encoded to.
        """
        copied = self._vocabulary.copy_answer(value)
        self._settled(self)
        self._shot.deliver(copied, self.ref)

    def fail(self, problem: str) -> None:
        """Let the asker get ``ActorFailed`` with this problem, in one line."""
        self._settled(self)
        self._shot.fail(ActorFailed(self.ref, problem))

    def abandon(self) -> None:
        """Let the asker know that there will be no answer."""
        self._shot.fail(ActorStopped(self.ref, "has ended without an answer"))


class Watcher(Protocol):
    """Who watches an actor."""

    def notify(self, down: Down) -> None:
        """Hear of the end; never raises, never waits."""


class Watched(Protocol):
    """An actor that can be watched."""

    def remove_watcher(self, watch: int) -> None:
        """Forget a watch; one that is not there is no error."""


@final
class Belongings:
    """Made when a life gets the first of them."""

    __slots__ = ("replies", "timers", "watching")

    def __init__(self) -> None:
        self.timers: Final = set[Timer]()
        self.watching: Final[dict[int, Watched | None]] = {}
        """The watches whose Down has not been handled, and whom they watch."""
        self.replies: Final[set[Reply[Any]]] = set()

    def drop(self) -> None:
        """End all of it."""
        for timer in list(self.timers):
            timer.cancel()
        for watch in list(self.watching):
            self.unwatch(watch)
        for reply in self.replies:
            reply.abandon()
        self.replies.clear()

    def unwatch(self, watch: int) -> None:
        """End a watch: no Down comes of it, be one in the mailbox already."""
        watched = self.watching.pop(watch, None)
        if watched is not None:
            watched.remove_watcher(watch)
