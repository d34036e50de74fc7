"""Parking: a task waits in several queues at once, and exactly one of them wakes it.

A queue is an ordered dictionary from :class:`Parked` to whatever whoever serves that queue needs
to know (for a select: which case this is, and the value it offers). It keeps the order of
arrival, and a task that is served or cancelled leaves from the middle in constant time.

Nothing here decides who may be served and with what: that is the business of the channels. Here
is only the promise that makes it safe: once :meth:`Parked.wake` has been called, the task is in
no queue and cannot be cancelled any more, and once its wait has been cancelled, it is in no
queue either, so that nobody can hand it a value. Both happen between two schedule points.
"""

from collections import OrderedDict
from typing import Any, Final, TypeAlias, TypeVar, final

import trio
from outcome import Error, Value

__all__ = ["READY_CALLS_PER_TURN", "Parked", "Sleeper", "Turn", "WaitQueue", "current_turn"]

READY_CALLS_PER_TURN: Final = 64
"""How many operations, on whatever channels, may not have to wait before one of them yields."""

EntryT = TypeVar("EntryT")


@final
class Parked:
    """One wait of the current task, in as many queues as it joins."""

    __slots__ = ("_queues", "_task")

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._queues: list[OrderedDict[Parked, Any]] = []

    def join(self, queue: "WaitQueue[EntryT]", entry: EntryT) -> None:
        """Stand at the end of a queue; joining the same queue again changes nothing."""
        queue.setdefault(self, entry)
        self._queues.append(queue)

    async def wait(self) -> Any:
        """Wait to be woken, and return or raise what :meth:`wake` was given.

        Nothing may be awaited between the last look at what is waited for and this call: then no
        wake-up can fall between the two. Cancelled: the task has left all queues, and nobody has
        woken it.
        """
        return await trio.lowlevel.wait_task_rescheduled(self._abort)

    def wake(self, result: Value[Any] | Error) -> None:
        """Leave all queues and go on with ``result``; to be called once at most."""
        self._leave()
        trio.lowlevel.reschedule(self._task, result)

    def _abort(self, _raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._leave()
        return trio.lowlevel.Abort.SUCCEEDED

    def _leave(self) -> None:
        for queue in self._queues:
            queue.pop(self, None)


WaitQueue: TypeAlias = OrderedDict[Parked, EntryT]
"""Parked tasks in the order of their arrival, each with what its server needs to know."""


@final
class Sleeper:
    """Where the one task of something waits until there is more to do."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def sleep(self) -> None:
        """Wait for :meth:`wake`; one task at a time. What was called before does not count."""
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def wake(self) -> None:
        """Let the task go on, if it sleeps."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _abort(self, _raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


@final
class Turn:
    """Counts operations that did not have to wait, so that every 64th lets others run.

    A switch to the scheduler costs many times what a ready channel operation costs. A task that
    never has to wait still must not keep the others from running, be its operations on one
    channel or each on a new one: so all channels of a trio run share one count.
    """

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls = 0

    def is_over(self) -> bool:
        """Count one ready operation; true when it must be followed by a schedule point."""
        self._calls = (self._calls + 1) % READY_CALLS_PER_TURN
        return self._calls == 0


_TURN: Final = trio.lowlevel.RunVar[Turn]("trio440 turn")


def current_turn() -> Turn:
    """Return the count that all channels of the current trio run share."""
    try:
        return _TURN.get()
    except LookupError:
        turn = Turn()
        _TURN.set(turn)
        return turn
