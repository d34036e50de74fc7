"""What waits to be sent to the clients, and the memory that it may take.

::

    answer of the store ──▶ held, whole ──▶ outbox ──▶ burst ──▶ network
                             (HeldAnswers)   (Outbox, within a Pool)

An outbox is bounded three ways: in lines, in bytes, and by the pool of all outboxes. Half of the
pool is divided evenly among the places for clients and is theirs whatever others do; the other
half goes to whoever needs more. Besides, an empty outbox takes any line, so a client that reads
gets on, if only line by line.

A list that is longer than its outbox waits as the store gave it until the client has made room.
Such lists are bounded for all clients together: past the limit those that wait longest are cut,
for theirs are the slowest readers.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final, Self

import attrs
import trio

from trio440.linekv.limits import Counters, Limits
from trio440.linekv.protocol import value_line
from trio440.linekv.store import OVERHEAD_BYTES, Values

__all__ = ["Burst", "HeldAnswers", "Outbox", "Pool", "UnsentAnswer"]

BURST_BYTES: Final = 16_384
"""How much is handed to the network at once, about."""


class Pool:
    """The bytes that all outboxes of a server may take together."""

    def __init__(self, limits: Limits, counters: Counters) -> None:
        self.share = limits.queued_bytes // 2 // limits.clients
        """What each client may take in any case."""
        self._unclaimed = limits.queued_bytes - self.share * limits.clients
        self._counters = counters

    def most(self, now: int) -> int:
        """Return how large an outbox may grow that takes ``now`` bytes."""
        return max(now, self.share) + max(self._unclaimed, 0)

    def move(self, before: int, after: int) -> None:
        """Let an outbox grow or shrink."""
        self._unclaimed -= max(after, self.share) - max(before, self.share)
        self._counters.queued_bytes += after - before


@attrs.frozen
class Burst:
    """Lines on their way to the network; they count until the network has them."""

    data: bytes
    lines: int
    charge: int


class Outbox:
    """The lines that wait for one client: one task puts them in, another takes them out."""

    def __init__(self, limits: Limits, pool: Pool) -> None:
        self._max_lines = limits.queued_messages
        self._max_charge = limits.client_queued_bytes
        self._pool = pool
        self._lines: deque[bytes] = deque()
        self._charge = 0
        self._ended = False
        self._filled = trio.lowlevel.ParkingLot()
        self._drained = trio.lowlevel.ParkingLot()

    def fill(self, lines: Iterator[bytes]) -> bytes | None:
        """Take lines while there is room; return the one that found none, None if all did."""
        charge = self._charge
        most = min(self._max_charge, self._pool.most(charge))
        queue, room = self._lines, self._max_lines - len(self._lines)
        left_over = None
        for line in lines:
            cost = len(line) + OVERHEAD_BYTES
            if charge and (room <= 0 or charge + cost > most):
                left_over = line
                break
            charge += cost
            room -= 1
            queue.append(line)
        if charge != self._charge:
            self._resize(charge)
            self._filled.unpark()
        return left_over

    def put_nowait(self, line: bytes) -> bool:
        """Take a line if there is room; whether there was."""
        return self.fill(iter((line,))) is None

    async def wait_drained(self) -> None:
        """Wait until the client has taken something. Cancelled: nothing happened."""
        await self._drained.park()

    def end(self) -> None:
        """There will be no more lines."""
        self._ended = True
        self._filled.unpark()

    async def take(self) -> Burst | None:
        """Wait for lines and take some; None when there will be none. Cancelled: none taken."""
        while not self._lines:
            if self._ended:
                return None
            await self._filled.park()
        lines: list[bytes] = []
        size = 0
        while self._lines and size < BURST_BYTES:
            lines.append(line := self._lines.popleft())
            size += len(line)
        self._drained.unpark()
        return Burst(b"".join(lines), len(lines), size + OVERHEAD_BYTES * len(lines))

    def sent(self, burst: Burst) -> None:
        """Free the room of a burst that the network has."""
        self._resize(self._charge - burst.charge)
        self._drained.unpark()

    def discard(self) -> None:
        """Drop everything and free its room."""
        self._lines.clear()
        self._resize(0)

    def _resize(self, charge: int) -> None:
        self._pool.move(self._charge, charge)
        self._charge = charge


class UnsentAnswer(Iterator[bytes]):
    """A list of values that becomes lines, one by one; it may be cut at any time."""

    def __init__(self, values: Values) -> None:
        self._values: Values | None = values
        self.left = len(values.values)
        """Lines still to be taken, those that were cut off included."""

    @property
    def values(self) -> Values | None:
        """The list; None when it was cut."""
        return self._values

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._values is None or not self.left:
            raise StopIteration
        value = self._values.values[-self.left]
        self.left -= 1
        return value_line(self._values.key, value)

    def cut(self) -> None:
        """Let go of the list; what is left of it is never sent."""
        self._values = None


@attrs.define
class _HeldList:
    """A list, and all answers that show it."""

    values: Values
    charge: int
    answers: set[UnsentAnswer] = attrs.field(factory=set)


class HeldAnswers:
    """The lists that wait for room in outboxes; one that several answers show counts once."""

    def __init__(self, limits: Limits, counters: Counters) -> None:
        self._limit = limits.held_bytes
        self._counters = counters
        self._lists: OrderedDict[int, _HeldList] = OrderedDict()

    def hold(self, answer: UnsentAnswer) -> None:
        """Count an answer's list, and cut the lists that nobody has asked for the longest.

        The list that was held last stays, however long it is.
        """
        values = answer.values
        if values is None:
            return
        held = self._lists.get(id(values))
        if held is None:
            charge = sum(map(len, values.values)) + OVERHEAD_BYTES * len(values.values)
            held = self._lists[id(values)] = _HeldList(values, charge)
            self._counters.held_bytes += charge
        held.answers.add(answer)
        self._lists.move_to_end(id(values))
        while self._counters.held_bytes > self._limit and len(self._lists) > 1:
            _, oldest = self._lists.popitem(last=False)
            self._counters.held_bytes -= oldest.charge
            for other in oldest.answers:
                other.cut()

    def release(self, answer: UnsentAnswer) -> None:
        """Count an answer's list no more, if it was held for nobody else; idempotent."""
        held = self._lists.get(id(answer.values))
        if held is not None:
            held.answers.discard(answer)
            if not held.answers:
                del self._lists[id(held.values)]
                self._counters.held_bytes -= held.charge
