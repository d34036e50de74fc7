"""Answers clients that ask for nothing but GETs, or nothing but SETs: many in one turn of a task.

A task for each client costs two switches of tasks a request, which is more than all the rest. So
a client of which nothing is kept leaves its connection here, and its own task waits until it says
something else::

    connections ──▶ receive ──▶ their batches ──▶ one question to the namespace
                                                          │
    connections ◀── send ◀── their answers ◀──────────────┘

The clients are answered as each would be alone: its batch is carried out by itself, in its order,
and the next is read once that is answered.
"""

from collections.abc import Sequence
from typing import Final

import trio

from trio440.core.host import ByteStream, StreamGroup
from trio440.kv.operations import Get, Operation, Result
from trio440.kv.resp.batch import Asking, answers_alike
from trio440.kv.resp.limits import Counters, Limits
from trio440.kv.resp.outbox import Outbox
from trio440.kv.resp.parser import RequestParser
from trio440.kv.resp.plain import lone_operation, plain_operations
from trio440.kv.resp.replies import Encoding
from trio440.raft.waiting import Waiter

__all__ = ["Member", "Reactor"]

READ_BYTES: Final = 65_536
"""Of one client in one turn; who sends more asks for more than is answered here."""
ASKED_AT_ONCE: Final = 256
"""Operations of one question, unless one client has more."""


class Member:
    """A client while it is here."""

    __slots__ = ("ahead", "encoding", "is_asking", "is_leaving", "outbox", "stream", "waiter")

    def __init__(self, stream: ByteStream, outbox: Outbox, encoding: Encoding) -> None:
        """Begin with a client that is idle; of the task that is going to wait."""
        self.stream = stream
        self.outbox = outbox
        self.encoding = encoding
        self.waiter = Waiter()
        self.is_asking = False
        """Whether the store has a batch of it."""
        self.is_leaving = False
        """Whether it is to be answered, and then to go."""
        self.ahead: bytes | None = None
        """What it has sent before it was answered."""


class Reactor:
    """The clients of one server that can be answered together."""

    def __init__(
        self, group: StreamGroup, asking: Asking, limits: Limits, counters: Counters
    ) -> None:
        self._group = group
        self._asking = asking
        self._limits = limits
        self._counters = counters
        self._parser = RequestParser(limits)
        self._members: dict[ByteStream, Member] = {}

    async def attend(self, member: Member) -> bytes | None:
        """Have a client answered here until it says something else, and return that.

        ``b""``: it is gone. None: it has said nothing, but is to leave, or does not take its
        answers at once. Those may wait in its outbox in any case. Cancelled: what was under way
        is not answered.
        """
        self._group.add(member.stream)
        self._members[member.stream] = member
        try:
            data: bytes | None = await member.waiter.wait()
        finally:
            self._dismiss(member)
            member.outbox.account.keep(0)
        return data

    def _dismiss(self, member: Member) -> None:
        self._group.remove(member.stream)
        self._members.pop(member.stream, None)

    async def run(self) -> None:
        """Answer, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    received = await self._group.receive(READ_BYTES)
                    for turn in self._read(received):
                        if self._asking.now is not None:
                            self._hand_out(turn, self._asking.ask_now(turn.batches))
                        else:
                            nursery.start_soon(self._answer, turn)
        finally:
            self._group.close()

    def _read(self, received: Sequence[tuple[ByteStream, bytes]]) -> Sequence["_Turn"]:
        """Understand what clients have said; those that are not for here go on by themselves."""
        reads, writes = [_Turn()], [_Turn()]
        for stream, data in received:
            member = self._members.get(stream)
            if member is None:
                continue  # its task has been woken, to end
            if member.is_asking:
                member.ahead = data
                member.outbox.account.keep(len(data))
                self._group.remove(stream)
                continue
            operations = self._understand(data) if data else ()
            if not operations:
                self._dismiss(member)  # before its task does, others may receive
                member.waiter.wake(data)
                continue
            member.is_asking = True
            turns = reads if type(operations[0]) is Get else writes
            if turns[-1].add(member, operations) >= ASKED_AT_ONCE:
                turns.append(_Turn())
            self._counters.commands += len(operations)
        return [turn for turn in (*writes, *reads) if turn.batches]

    def _understand(self, data: bytes) -> Sequence[Operation]:
        """Return the operations of nothing but GETs, or nothing but SETs; none for others."""
        if operation := lone_operation(data):
            return (operation,)
        requests = self._parser.feed(data)
        if self._parser.is_unfinished or self._parser.problem is not None:
            self._parser = RequestParser(self._limits)
            return ()
        return plain_operations(requests)

    async def _answer(self, turn: "_Turn") -> None:
        self._hand_out(turn, await self._asking.ask_batches(turn.batches))

    def _hand_out(self, turn: "_Turn", results: Sequence[Sequence[Result]]) -> None:
        """Send the answers to those that are still here."""
        for member, operations, found in zip(turn.members, turn.batches, results, strict=True):
            if member.waiter.is_waiting:
                self._send(member, answers_alike(member.encoding, operations, found))

    def _send(self, member: Member, answers: bytes) -> None:
        member.is_asking = False
        try:
            waits = member.outbox.push(answers)
        except trio.BrokenResourceError:
            waits, member.ahead = False, b""
        if waits or member.is_leaving or member.ahead is not None:
            self._dismiss(member)
            member.waiter.wake(member.ahead)


class _Turn:
    """Batches that are one question, and whose they are."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Operation]] = []
        self.members: list[Member] = []
        self._size = 0

    def add(self, member: Member, operations: Sequence[Operation]) -> int:
        """Add a client's batch, and return how many operations there are."""
        self.batches.append(operations)
        self.members.append(member)
        self._size += len(operations)
        return self._size
