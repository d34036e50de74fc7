"""The state machine of the linearizable engine: a table in a Raft log. Pure.

::

    entry      a request of a client's session, whose command is a batch ─▶ its reply: an answer
               a tick ─▶ nothing
    question   a batch that changes nothing ─▶ an answer

Time is in the log: a tick brings how much has passed by the clock of the leader, so that each key
goes at the same entry everywhere. Nobody's time of day counts, nor does that of a peer which comes
to lead: a time to live begins with the first tick behind its operation, and lasts too long rather
than too short. The time of day that batches and ticks carry is for showing what is left of it.

Whoever answers a batch may stop where the answer has become long: the operations behind have not
been carried out, and are asked again.

Watches speak the language of :mod:`trio440.raft.kv`, as do its clients.
"""

from collections.abc import Callable
from typing import Final, final

from trio440.errors import BadMessage
from trio440.kv.operations import Count, Get, List, Operation, Refused, Result
from trio440.kv.packing import decode_batch, encode_answer, pack
from trio440.kv.table import Table
from trio440.kv.table_limits import TableLimits
from trio440.raft import kv as raft_kv
from trio440.raft.dedupe import SessionLimits, Sessions

__all__ = ["TableMachine", "encode_question", "encode_tick"]

TICK: Final = b"\x01"
QUESTION: Final = b"\x02"
TIME_BYTES: Final = 8
ANSWER_BYTES: Final = 1 << 20
"""When an answer has so many bytes, no further operation is carried out for it."""


def encode_tick(now_ms: int, wall_ms: int) -> bytes:
    """Return the command that says what time it is by the table's time, and by the day's."""
    return TICK + now_ms.to_bytes(TIME_BYTES, "big") + wall_ms.to_bytes(TIME_BYTES, "big")


def encode_question(batch: bytes) -> bytes:
    """Return the question that a batch is which changes nothing."""
    return QUESTION + batch


@final
class TableMachine:
    """A table with sessions; a ``Queryable`` and ``Watchable`` machine of :mod:`trio440.raft`."""

    def __init__(
        self, limits: TableLimits | None = None, sessions: SessionLimits | None = None
    ) -> None:
        """Start empty; limits are the same at all peers of a cluster."""
        self.table: Final = Table(limits)
        """To be looked at only."""
        self._wall_ms = 0
        """The time of day of the last tick."""
        self._sessions = Sessions(_Batches(self), sessions)

    def apply(self, index: int, command: bytes) -> bytes:
        """Carry out a tick, or a request of a session, and return the reply to that."""
        if command[:1] == TICK:
            self._wall_ms = int.from_bytes(command[1 + TIME_BYTES : 1 + 2 * TIME_BYTES], "big")
            self.table.advance_late(int.from_bytes(command[1 : 1 + TIME_BYTES], "big"))
            return b""
        return self._sessions.apply(index, command)

    def query(self, request: bytes) -> bytes:
        """Answer a question, or what :class:`~trio440.raft.watched.WatchedChanges` asks."""
        if request[:1] == QUESTION:
            return self._answer(request[1:], self._look)
        return raft_kv.encode(self._say_where(request))

    def watch(self, request: bytes) -> raft_kv.Watching:
        """Wait for the changes that a ``Since`` asks for."""
        try:
            query: raft_kv.Command | None = raft_kv.decode_command(request)
        except BadMessage:
            query = None
        return raft_kv.Watching(self, query)

    def snapshot(self) -> Callable[[], bytes]:
        """Take hold of the sessions and the table."""
        wall, encode = self._wall_ms.to_bytes(TIME_BYTES, "big"), self._sessions.snapshot()
        return lambda: wall + encode()

    def restore(self, data: bytes) -> None:
        """Replace everything by a snapshot.

        Raises:
            BadMessage: it is none; nothing was changed.
        """
        self._sessions.restore(data[TIME_BYTES:])
        self._wall_ms = int.from_bytes(data[:TIME_BYTES], "big")

    # Batches

    def carry_out(self, batch: bytes) -> bytes:
        """Carry out a batch and return the answer; for the machine within the sessions."""
        return self._answer(batch, self.table.execute)

    def _look(self, operation: Operation) -> Result:
        if isinstance(operation, Get | List | Count):
            return self.table.execute(operation)
        return Refused("a question changes nothing", "unsupported")

    def _answer(self, data: bytes, do: Callable[[Operation], Result]) -> bytes:
        """Do what a batch says, up to a size of the answer; nothing where it is none."""
        try:
            wall_ms, operations = decode_batch(data)
        except BadMessage:
            return encode_answer(())
        self.table.show_as_of(self.table.now_ms + wall_ms - self._wall_ms)
        results: list[bytes] = []
        size = 0
        for operation in operations:
            result = operation if isinstance(operation, Refused) else do(operation)
            results.append(pack(result))
            size += len(results[-1])
            if size >= ANSWER_BYTES:
                break
        return encode_answer(results)

    # What watches ask

    @property
    def revision(self) -> int:
        """How many changes there were."""
        return self.table.revision

    def since(self, query: raft_kv.Since) -> raft_kv.Changes | raft_kv.Compacted | raft_kv.Refused:
        """Answer a ``Since``."""
        table = self.table
        if query.after < 0 or query.limit < 1:
            return raft_kv.Refused("a revision is at least 0, and the limit of changes 1")
        if query.after < table.compacted:
            return raft_kv.Compacted(table.compacted)
        most = min(query.limit, table.limits.list_entries)
        reached, found = table.since(query.after, query.start, query.end, most=most)
        return raft_kv.Changes(reached, tuple(raft_kv.Change(*change) for change in found))

    def _say_where(self, request: bytes) -> raft_kv.Result:
        try:
            match raft_kv.decode_command(request):
                case raft_kv.Since() as query:
                    return self.since(query)
                case raft_kv.List():  # of which a watch wants nothing but the revision
                    return raft_kv.Found(self.revision, ())
        except BadMessage:
            pass
        return raft_kv.Refused("this is no question that a table answers")


@final
class _Batches:
    """The machine within the sessions: a command is a batch, a result an answer."""

    def __init__(self, machine: TableMachine) -> None:
        self._machine = machine

    def apply(self, index: int, command: bytes) -> bytes:
        del index
        return self._machine.carry_out(command)

    def snapshot(self) -> Callable[[], bytes]:
        return self._machine.table.snapshot()

    def restore(self, data: bytes) -> None:
        self._machine.table.restore(data)
