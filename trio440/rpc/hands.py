"""The tasks of one connection that take turns at its work.

A task that has had its turn stands by for the next one: to wake it costs half of what a new task
does. There are as many as were needed at a time; of those that stand by the connection dismisses
half now and then.
"""

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Final

import attrs
import trio

from trio440.rpc.answering import Work
from trio440.rpc.envelope import Call, Tell

__all__ = ["Hand", "Hands", "Job"]

MOST_STANDING_BY: Final = 256


@attrs.define(eq=False)
class Job:
    """An async handler and what it is for."""

    message: Call | Tell
    work: Work
    scope: trio.CancelScope
    key: int = 0
    """Of the session, once the handler counts as active; 0 before."""


@attrs.define(eq=False)
class Hand:
    """One of the tasks."""

    job: Job | None = None
    """What to run at its turn; None: to read."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around all it does until it is cancelled, and then another one: to enter one at each turn
    would cost as much as a task. To be cancelled during its turn only."""
    has_turn: bool = True
    is_dismissed: bool = False
    task: trio.lowlevel.Task | None = None
    """Set while it stands by."""


class Hands:
    """All of them."""

    def __init__(self, nursery: trio.Nursery, take_turn: Callable[[Hand], Awaitable[None]]) -> None:
        """Begin without any.

        Args:
            nursery: for the tasks; each turn has a copy of the present context.
            take_turn: what a task does at its turn.
        """
        self._nursery = nursery
        self._context = copy_context()
        self._take_turn = take_turn
        self._standing_by: list[Hand] = []

    def call(self) -> Hand:
        """Give a task its turn, and return it, to be given its job before anything is awaited."""
        if self._standing_by:
            hand = self._standing_by.pop()
            hand.has_turn = True
            self._wake(hand)
        else:
            hand = Hand()
            self._nursery.start_soon(self._work, hand)
        return hand

    def dismiss_half(self) -> None:
        """Let half of those that stand by, the longest first, end."""
        count = (len(self._standing_by) + 1) // 2
        for hand in self._standing_by[:count]:
            hand.is_dismissed = True
            self._wake(hand)
        del self._standing_by[:count]

    def _wake(self, hand: Hand) -> None:
        if hand.task is not None:
            hand.task.context = self._context.copy()
            trio.lowlevel.reschedule(hand.task)
            hand.task = None

    async def _work(self, hand: Hand) -> None:
        while not hand.is_dismissed:
            with hand.scope:
                await self._take_turns(hand)
            hand.scope = trio.CancelScope()

    async def _take_turns(self, hand: Hand) -> None:
        """Take one turn after the other, until dismissed or cancelled."""
        while True:
            if hand.has_turn:
                hand.has_turn = False
                await self._take_turn(hand)
            if hand.scope.cancel_called:
                return
            hand.job = None
            if len(self._standing_by) >= MOST_STANDING_BY:
                hand.is_dismissed = True
                return
            await self._stand_by(hand)
            if hand.is_dismissed:
                return

    async def _stand_by(self, hand: Hand) -> None:
        hand.task = trio.lowlevel.current_task()
        self._standing_by.append(hand)

        def abort(_raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._standing_by.remove(hand)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
