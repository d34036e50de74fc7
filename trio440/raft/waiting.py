"""How tasks wait for what a peer does: for one result, for any change, for applied entries."""

from collections import deque
from typing import Any, Final, Self, final

import trio
from outcome import Error

from trio440.errors import FellBehind
from trio440.raft.messages import Entry

__all__ = ["AppliedEntries", "Waiter"]


@final
class Waiter:
    """One wait of the current task for one result; await :meth:`wait` at once."""

    __slots__ = ("_task", "_value", "term")

    def __init__(self, term: int = 0) -> None:
        self._task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        self._value: object = None
        self.term = term
        """Of the entry that is waited for, for a command."""

    @property
    def is_waiting(self) -> bool:
        """Whether nobody has woken the task, and its wait was not cancelled."""
        return self._task is not None

    async def wait(self) -> Any:
        """Return or raise what :meth:`wake` is given. Cancelled: later calls of it do nothing."""
        await trio.lowlevel.wait_task_rescheduled(self._abort)
        return self._value

    def wake(self, value: object) -> None:
        """Let the task go on with a value, if it still waits."""
        task = self._task
        if task is not None:
            self._task, self._value = None, value
            trio.lowlevel.reschedule(task)

    def fail(self, error: Exception) -> None:
        """Let the task go on with an error, if it still waits."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task, Error(error))

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


@final
class AppliedEntries:
    """Entries as they are applied, each once and in order; :meth:`Peer.applied_entries` opens one.

    Entries that are no commands are among them. One task iterates.
    """

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._entries: deque[Entry] = deque()
        self._missed = 0
        self._ended: Exception | None = None
        self._parked = trio.lowlevel.ParkingLot()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Entry:
        """Wait for the next entry. Cancelled: none was taken.

        Raises:
            FellBehind: more than the limit were applied, or a snapshot stood in for some.
            PeerStopped: the peer has stopped.
        """
        await trio.lowlevel.checkpoint()
        while not self._entries:
            if self._missed:
                raise FellBehind(self._missed)
            if self._ended is not None:
                raise self._ended
            await self._parked.park()
        return self._entries.popleft()

    def give(self, entries: tuple[Entry, ...]) -> None:
        """Add what was applied, as far as there is room; for the peer."""
        if self._missed or self._ended is not None:
            return
        room = self._limit - len(self._entries)
        self._entries += entries[:room]
        if room < len(entries):
            self._missed = entries[room].index
        self._parked.unpark_all()

    def skip(self, index: int) -> None:
        """Say that entries from ``index`` on are in a snapshot; for the peer."""
        self._missed = self._missed or index
        self._parked.unpark_all()

    def end(self, error: Exception) -> None:
        """Raise this behind the last entry; for the peer."""
        self._ended = self._ended or error
        self._parked.unpark_all()
