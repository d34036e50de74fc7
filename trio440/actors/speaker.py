"""Telling and asking: what an actor's context and the system itself have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar, final

import attrs
import trio

from trio440.actors.checks import check_seconds
from trio440.actors.inbox import Inbox
from trio440.actors.messages import MARK, Asks
from trio440.actors.oneshot import OneShot
from trio440.actors.post import Post
from trio440.actors.ref import Ref, check_ref
from trio440.actors.timers import Timer
from trio440.errors import AskTimedOut, InvalidParameter, NameUnknown

__all__ = ["OpenReply", "Speaker"]

M = TypeVar("M")
Q = TypeVar("Q")
R = TypeVar("R")

DEFAULT_TIMEOUT_SECONDS: Final = 5.0


@final
@attrs.frozen(eq=False)
class OpenReply(Generic[R]):
    """A one-shot reference and the wait for what is told to it."""

    ref: Ref[R]
    """To be sent inside a message; the first message told to it is the answer."""
    _shot: OneShot
    _post: Post

    async def wait(self, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> R:
        """Return the answer; always a checkpoint. Cancelled: it can be waited for again.

        Raises:
            AskTimedOut: it did not come in time; it can be waited for again.
            SystemStopped: the system has stopped.
            trio.BusyResourceError: another task waits.
            trio.ClosedResourceError: the body of ``open_reply`` has ended.
        """
        check_seconds("timeout_seconds", timeout_seconds)
        with self._post.clock.move_on_after(timeout_seconds):
            answer: R = await self._shot.wait()
            return answer
        raise AskTimedOut(self.ref, timeout_seconds)


class Speaker:
    """Sends messages, in the name of an actor or in nobody's."""

    __slots__ = ("_inbox", "_post")

    def __init__(self, post: Post, inbox: Inbox | None) -> None:
        self._post: Final = post
        self._inbox: Final = inbox

    def _sender(self, ref: Ref[Any]) -> Ref[Any] | None:
        """Count a message to ``ref``, and say who sends it: None for nobody."""
        check_ref(ref)
        inbox = self._inbox
        if inbox is None:
            self._post.counters.sent_from_outside += 1
            return None
        inbox.note_sent(ref)
        return inbox.ref

    def _owners(self) -> set[Timer] | None:
        """Return the timers of the present life, None for those of a system."""
        return None

    def tell(self, ref: Ref[M], message: M) -> None:
        """Send a message; neither waits nor raises, whatever becomes of the receiver.

        It is delivered at most once, after everything that the same sender told the same
        reference before. What cannot be delivered becomes a dead letter, with its reason.

        Raises:
            InvalidParameter: ``ref`` is no reference at all.
        """
        inbox = self._inbox
        try:
            if inbox is None:
                self._post.counters.sent_from_outside += 1
                self._post.tell(ref, message, None)
            else:
                inbox.note_sent(ref)
                self._post.tell(ref, message, inbox.ref)
        except AttributeError:  # looked at only then: this is the path of every message
            check_ref(ref)
            raise

    async def ask(
        self,
        ref: Ref[Q],
        question: Asks[Q, R],
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> R:
        """Send a question and return the answer; always a checkpoint.

        It ends by its time at the latest, room in the mailbox included, and an answer that comes
        later reaches nobody: it is a dead letter. Cancelled or timed out, the question may have
        been handled, or still be.

        Raises:
            AskTimedOut: there was no answer in time.
            ActorStopped: the actor has ended, ends, or cannot answer this.
            ActorFailed: its handler raised; the cause is what it raised.
            MailboxFull: the question found no room.
            SystemStopped: the system has stopped.
            LimitReached: as many ask as may.
            InvalidParameter: the question is no registered message, cannot be encoded, or is for
                the asking actor itself; the time is negative or infinite; ``ref`` is none.
            BadMessage: the question's class refuses what it was encoded to.
        """
        sender = self._sender(ref)
        if sender is not None and sender == ref:
            raise InvalidParameter("ref", ref, "another actor: who asks itself waits for itself")
        answer: R = await self._post.ask(ref, question, timeout_seconds, sender)
        return answer

    def tell_after(self, ref: Ref[M], message: M, delay_seconds: float) -> Timer:
        """Send a message later; what is sent is the message as it is when this is called.

        Args:
            ref: where to.
            message: copied at once.
            delay_seconds: 0 or more.

        Raises:
            LimitReached: as many timers run as may.
            InvalidParameter: the delay is out of range, or the message is none.
            BadMessage: the message's class refuses what it was encoded to.
        """
        check_seconds("delay_seconds", delay_seconds)
        return self._start_timer(ref, message, delay_seconds, None)

    def tell_every(
        self, ref: Ref[M], message: M, period_seconds: float, *, first_seconds: float | None = None
    ) -> Timer:
        """Send a message again and again, on a fixed grid of time.

        When messages are late, the grid stays: those that have been missed entirely are left
        out. Errors as :meth:`tell_after`.

        Args:
            ref: where to.
            message: copied at once.
            period_seconds: between two messages, more than 0.
            first_seconds: until the first one, 0 or more; the period when None.
        """
        check_seconds("period_seconds", period_seconds)
        if not period_seconds:
            raise InvalidParameter("period_seconds", period_seconds, "more than 0")
        first = period_seconds if first_seconds is None else first_seconds
        check_seconds("first_seconds", first)
        return self._start_timer(ref, message, first, period_seconds)

    @contextmanager
    def open_reply(self, kind: type[R]) -> Iterator[OpenReply[R]]:
        """Open a one-shot reference: the first message told to it is the answer.

        Any later message, or one after the end of the body, is a dead letter.

        Args:
            kind: the class of the answer, for the type checker and for an answer that comes from
                another system.

        Raises:
            LimitReached: as many wait as may.
            SystemStopped: the system has stopped.
        """
        if MARK in vars(kind):
            self._post.vocabulary.learn(kind)
        shot = self._post.open_shot()
        try:
            yield OpenReply[R](shot.ref, shot, self._post)
        finally:
            shot.close()

    def lookup(self, name: str) -> Ref[Any] | None:
        """Return the reference with this name, in this system or else in the cluster; or None."""
        return self._post.lookup(name)

    async def wait_registered(
        self, name: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> Ref[Any]:
        """Return the reference with this name as soon as there is one; always a checkpoint.

        Raises:
            NameUnknown: nobody had the name in time.
            InvalidParameter: the time is negative or infinite.
        """
        check_seconds("timeout_seconds", timeout_seconds)
        await trio.lowlevel.checkpoint()
        with self._post.clock.move_on_after(timeout_seconds):
            while (ref := self._post.lookup(name)) is None:
                await self._post.names_changed.park()
            return ref
        raise NameUnknown(name, timeout_seconds)

    def _start_timer(
        self, ref: Ref[Any], message: Any, first_seconds: float, period_seconds: float | None
    ) -> Timer:
        check_ref(ref)
        vocabulary = self._post.vocabulary
        copied = vocabulary.copy(vocabulary.learn(type(message)), message)[0]

        def fire(_: Timer) -> None:
            self._post.tell(ref, copied, self._sender(ref))

        owners = self._owners()
        timer = self._post.timers.start(first_seconds, period_seconds, fire)
        if owners is not None:
            timer.belong(owners)
        return timer
