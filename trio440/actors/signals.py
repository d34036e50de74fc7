"""What a cell is told to do: stop, leave, fail, halt and start again.

Signals are no messages. They need no room in the mailbox, and the task looks at them before it
takes the next message.
"""

import trio
from outcome import Error, Value

from trio440.actors.inbox import PARKED_FOR_SIGNALS, Inbox
from trio440.actors.limits import MailboxPolicy
from trio440.actors.lives import Hold
from trio440.actors.post import Post
from trio440.actors.supervision import RestartThese
from trio440.errors import ActorError

__all__ = ["Signalled"]


class Signalled(Inbox):
    """An inbox whose task hears signals."""

    __slots__ = (
        "_end",
        "_failure",
        "_hold",
        "_leaving",
        "_scope",
        "_signalled",
        "_starter",
        "_stopping",
    )

    def __init__(self, post: Post, policy: MailboxPolicy, name: str | None) -> None:
        super().__init__(post, policy, name)
        self._scope: trio.CancelScope | None = None
        self._starter: trio.lowlevel.Task | None = None
        self._end: trio.Event | None = None
        self._hold: Hold | None = None
        self._failure: Exception | None = None
        self._signalled = False
        self._stopping = False
        self._leaving = False

    @property
    def is_held(self) -> bool:
        """Whether it waits for a round to start it again."""
        return self._hold is not None and self._hold.halted.is_set()

    def request_stop(self, *, drain: bool = False) -> None:
        """Let it end for good: after the present message, or when its mailbox is empty."""
        if drain:
            self._draining = True
        else:
            self._stopping = True
        self._signal()

    def leave(self) -> None:
        """Let the present life end normally after the present message."""
        self._leaving = True
        self._signal()

    def kill(self) -> None:
        """Let it end for good, now."""
        self.request_stop()
        if self._scope is not None:
            self._scope.cancel()

    def fail(self, error: Exception) -> None:
        """Let the present life end with an error, after the present message."""
        self._failure = error
        self._signal()

    def interrupt(self) -> None:
        """Let the present life end now if it was to fail and has not."""
        if self._failure is not None and self._scope is not None:
            self._scope.cancel()

    async def halt(self) -> None:
        """End the present life, to be started again; a handler has some time to finish."""
        if self._is_ended:
            return
        if self._hold is None:
            self._hold = Hold()
            self._signal()
        halted = self._hold.halted
        with self._post.clock.move_on_after(self._post.limits.stop_seconds) as scope:
            await halted.wait()
        if scope.cancelled_caught:
            if self._scope is not None:
                self._scope.cancel()
            await halted.wait()

    async def resume(self) -> RestartThese | None:
        """Start again; returns what was decided if it failed to start."""
        hold = self._hold
        if hold is None:
            return None
        hold.go = True
        self._signal()
        await hold.resumed.wait()
        return hold.decision

    async def wait_started(self) -> None:
        """Wait for the first start; to be called once, right after the task was begun."""
        self._starter = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort_start)

    async def wait_ended(self) -> None:
        """Wait until it has ended for good."""
        if self._is_ended:
            await trio.lowlevel.checkpoint()
            return
        if self._end is None:
            self._end = trio.Event()
        await self._end.wait()

    def _signal(self) -> None:
        self._signalled = True
        if self._parked:
            self._wake()

    def _abort_start(self, _raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._starter = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _is_over(self) -> bool:
        """Whether somebody wants it to end for good."""
        return self._stopping

    def _must_end(self) -> bool:
        """Look at the signals: whether this life ends here."""
        if self._failure is not None:
            return True
        self._signalled = self._stopping or self._leaving or self._hold is not None
        return self._signalled

    async def _wait_signal(self) -> None:
        self._parked = PARKED_FOR_SIGNALS
        await trio.lowlevel.wait_task_rescheduled(self._abort_park)

    def _wake_starter(self, error: ActorError | None = None) -> None:
        starter, self._starter = self._starter, None
        if starter is not None:
            trio.lowlevel.reschedule(starter, Value(None) if error is None else Error(error))
