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

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

from trio440.core.host import ByteStream, Clock, StreamGroup
from trio440.kv.operations import Get, Operation, Result
from trio440.kv.resp.batch import Asking, answers_alike
from trio440.kv.resp.limits import Counters, Limits
from trio440.kv.resp.outbox import Outbox, SlowReader
from trio440.kv.resp.parser import RequestParser
from trio440.kv.resp.plain import lone_operation, plain_operations
from trio440.kv.resp.replies import Encoding
from trio440.raft.waiting import Waiter

__all__ = ["Member", "Reactor"]

READ_BYTES: Final = 65_536
"""Of one client in one turn; who sends more asks for more than is answered here."""
ASKED_AT_ONCE: Final = 256
"""Operations of one question, about."""
QUESTIONS: Final = 4
"""That are under way, of reads and of writes each; what comes meanwhile is asked together."""
REST_SECONDS: Final = 0.001
"""Before more is read, while what was read has to wait in any case."""


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
        self, group: StreamGroup, asking: Asking, limits: Limits, counters: Counters, clock: Clock
    ) -> None:
        self._group = group
        self._asking = asking
        self._limits = limits
        self._counters = counters
        self._clock = clock
        self._reads, self._writes = _Queue(), _Queue()
        self._parser = RequestParser(limits)
        self._members: dict[ByteStream, Member] = {}

    async def attend(self, member: Member) -> bytes | None:
        """Have a client answered here until it says something else, and return that.

        ``b""``: it is gone. None: it has said nothing, but is to leave, or does not take its
        answers at once. Those may wait in its outbox in any case. Cancelled: what was under way
        is not answered.

        Raises:
            SlowReader, trio.BrokenResourceError: as of :meth:`Outbox.push`.
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
                    self._read(await self._group.receive(READ_BYTES))
                    for queue in (self._writes, self._reads):
                        if self._asking.now is not None:
                            await self._answer_now(queue)
                        else:
                            self._begin_to_ask(queue, nursery)
                    if self._writes.turns or self._reads.turns:
                        await self._clock.sleep(REST_SECONDS)
        finally:
            self._group.close()

    def _read(self, received: Sequence[tuple[ByteStream, bytes]]) -> None:
        """Understand what clients have said; those that are not for here go on by themselves."""
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
            (self._reads if type(operations[0]) is Get else self._writes).add(member, operations)
            self._counters.commands += len(operations)

    def _understand(self, data: bytes) -> Sequence[Operation]:
        """Return the operations of nothing but GETs, or nothing but SETs; none for others."""
        if operation := lone_operation(data):
            return (operation,)
        requests = self._parser.feed(data)
        if self._parser.is_unfinished or self._parser.problem is not None:
            self._parser = RequestParser(self._limits)
            return ()
        return plain_operations(requests)

    async def _answer_now(self, queue: "_Queue") -> None:
        while queue.turns:
            turn = queue.turns.popleft()
            self._hand_out(turn, self._asking.ask_now(turn.batches))
            if queue.turns:  # others have their turn between two long ones
                await trio.lowlevel.checkpoint()

    def _begin_to_ask(self, queue: "_Queue", nursery: trio.Nursery) -> None:
        while queue.turns and queue.under_way < QUESTIONS:
            queue.under_way += 1
            nursery.start_soon(self._answer, queue, queue.turns.popleft())

    async def _answer(self, queue: "_Queue", turn: "_Turn") -> None:
        while True:
            self._hand_out(turn, await self._asking.ask_batches(turn.batches))
            if not queue.turns:
                break
            turn = queue.turns.popleft()
        queue.under_way -= 1

    def _hand_out(self, turn: "_Turn", results: Sequence[Sequence[Result]]) -> None:
        """Send the answers to those that are still here."""
        for member, operations, found in zip(turn.members, turn.batches, results, strict=True):
            if member.waiter.is_waiting:
                self._send(member, answers_alike(member.encoding, operations, found))

    def _send(self, member: Member, answers: bytes) -> None:
        member.is_asking = False
        try:
            waits = member.outbox.push(answers)
        except (SlowReader, trio.BrokenResourceError) as error:
            self._dismiss(member)
            member.waiter.fail(error)
            return
        if waits or member.is_leaving or member.ahead is not None:
            self._dismiss(member)
            member.waiter.wake(member.ahead)


class _Turn:
    """Batches that are one question, and whose they are."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Operation]] = []
        self.members: list[Member] = []
        self.operations = 0


class _Queue:
    """Questions of one kind."""

    def __init__(self) -> None:
        self.turns: deque[_Turn] = deque()
        """That wait to be asked."""
        self.under_way = 0

    def add(self, member: Member, operations: Sequence[Operation]) -> None:
        """Add a client's batch to a question."""
        if not self.turns or self.turns[-1].operations >= ASKED_AT_ONCE:
            self.turns.append(_Turn())
        turn = self.turns[-1]
        turn.batches.append(operations)
        turn.members.append(member)
        turn.operations += len(operations)
