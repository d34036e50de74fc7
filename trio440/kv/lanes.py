"""Carries the operations of many calls to a cluster in few messages.

Calls that come while messages are under way wait together for the next one. Each message has the
calls in the order in which they came, each call its operations in their own; what of a call is too
much for one message, or was not carried out since the answer had become long, goes with the next.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, final

import trio

from trio440.core.host import Clock
from trio440.errors import StoreUnavailable
from trio440.kv.operations import Result
from trio440.raft.waiting import Waiter

__all__ = ["Lane"]

MOST_OPERATIONS: Final = 512
"""Of one message."""
MOST_BYTES: Final = 256 << 10
"""Of the operations of one message, unless it has only one."""


@final
class _Call:
    """The operations of one call, as far as they are not carried out."""

    __slots__ = ("deadline", "operations", "results", "waiter", "was_sent")

    def __init__(self, operations: Sequence[bytes], deadline: float) -> None:
        self.operations = operations
        self.deadline = deadline
        self.results: list[Result] = []
        self.waiter = Waiter()
        self.was_sent = False


@final
class Lane:
    """One kind of message to a cluster; any number of tasks may share it."""

    def __init__(
        self,
        send: Callable[[list[bytes]], Awaitable[list[Result]]],
        clock: Clock,
        *,
        timeout_seconds: float,
        changes: bool,
    ) -> None:
        """Begin with nothing to carry; :meth:`run` carries it.

        Args:
            send: carries one message; its answer may lack results at the end, but not all.
            clock: measures how long a call waits.
            timeout_seconds: how long a call waits at most.
            changes: whether what is carried may change something.
        """
        self._send = send
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._changes = changes
        self._calls: OrderedDict[_Call, None] = OrderedDict()
        """Those that wait for a message."""
        self._unanswered: dict[_Call, None] = {}
        """All, in the order in which they came, which is that of their deadlines."""
        self._idle = trio.lowlevel.ParkingLot()
        self._begun = trio.lowlevel.ParkingLot()
        self.messages = 0
        """How many were sent."""

    async def carry(self, operations: Sequence[bytes]) -> list[Result]:
        """Have operations carried out, at least one, and return their results.

        Cancelled: each has been carried out, or not, in their order.

        Raises:
            StoreUnavailable: there was no answer in time.
        """
        call = _Call(operations, self._clock.now() + self._timeout_seconds)
        self._calls[call] = self._unanswered[call] = None
        self._idle.unpark()
        self._begun.unpark()
        try:
            results: list[Result] = await call.waiter.wait()
        finally:
            self._calls.pop(call, None)
            self._unanswered.pop(call, None)
        return results

    async def give_up(self) -> None:
        """Let calls fail whose time is over, until cancelled.

        One task does so for all calls: a deadline for each would cost more than the call.
        """
        while True:
            while not self._unanswered:
                await self._begun.park()
            first = next(iter(self._unanswered))
            await self._clock.sleep_until(first.deadline)
            now, problem = self._clock.now(), f"no answer within {self._timeout_seconds:g} s"
            while self._unanswered:
                call = next(iter(self._unanswered))
                if call.deadline > now:
                    break
                del self._unanswered[call]
                self._calls.pop(call, None)
                may_have_happened = self._changes and call.was_sent
                call.waiter.fail(StoreUnavailable(problem, may_have_happened=may_have_happened))

    async def run(self) -> None:
        """Send one message after the other, until cancelled; several tasks may do so at once."""
        while True:
            while not self._calls:
                await self._idle.park()
            parts = self._take()
            message = [data for call, count in parts for data in _next(call, count)]
            self.messages += 1
            try:
                results = await self._send(message)
            except StoreUnavailable as error:
                for call, _ in parts:
                    call.waiter.fail(
                        StoreUnavailable(error.reason, may_have_happened=error.may_have_happened)
                    )
            else:
                self._hand_out(parts, results)

    def _take(self) -> list[tuple[_Call, int]]:
        """Take calls for one message, with how many operations of each it has room for."""
        parts: list[tuple[_Call, int]] = []
        number = size = 0
        while self._calls:
            call, _ = self._calls.popitem(last=False)
            count = 0
            for data in call.operations[len(call.results) :]:
                size += len(data)
                if number and (number >= MOST_OPERATIONS or size > MOST_BYTES):
                    break
                number += 1
                count += 1
            else:
                parts.append((call, count))
                call.was_sent = True
                continue
            if count:
                parts.append((call, count))
                call.was_sent = True
            else:
                self._put_back(call)
            break
        return parts

    def _hand_out(self, parts: list[tuple[_Call, int]], results: list[Result]) -> None:
        at = 0
        unfinished: list[_Call] = []
        for call, count in parts:
            call.results += results[at : at + count]
            at += count
            if len(call.results) == len(call.operations):
                call.waiter.wake(call.results)
            elif call.waiter.is_waiting:
                unfinished.append(call)
        for call in reversed(unfinished):
            self._put_back(call)

    def _put_back(self, call: _Call) -> None:
        self._calls[call] = None
        self._calls.move_to_end(call, last=False)


def _next(call: _Call, count: int) -> Sequence[bytes]:
    done = len(call.results)
    return call.operations[done : done + count]
