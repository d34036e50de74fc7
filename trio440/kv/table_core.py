"""What a table of the atomic engines is made of, and how time and snapshots change it. Pure.

What it can be asked is :class:`trio440.kv.table.Table`.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from trio440.errors import BadMessage
from trio440.kv.leases import LeaseBook
from trio440.kv.operations import Entry, RefusalKind, Refused
from trio440.kv.table_deadlines import Deadlines
from trio440.kv.table_history import History
from trio440.kv.table_limits import ENTRY_BYTES, MOST_MS, TableLimits
from trio440.kv.table_order import KeyOrder
from trio440.kv.table_state import TableState, decode_state

__all__ = ["OperationStopped", "Row", "TableCore"]

Row: TypeAlias = tuple[bytes, bytes, int]
"""A key, its value and its version: tuples of such things are none of the garbage collector's
business."""


class OperationStopped(Exception):
    """An operation is not carried out; for the table itself, which answers with ``answer``."""

    def __init__(self, reason: str, kind: RefusalKind = "limit") -> None:
        super().__init__(reason)
        self.answer: Final = Refused(reason, kind)


class TableCore:
    """Keys and values, what they end with, their history, and the time."""

    def __init__(self, limits: TableLimits | None = None) -> None:
        """Start empty, at time 0."""
        self.limits: Final = limits or TableLimits()
        self.now_ms = 0
        """The latest time that was told; to be looked at only."""
        self._shown_ms = 0
        """What is left of a time to live is shown as of this time."""
        self._new_ends: set[bytes] = set()
        """Keys whose time to live began behind the last :meth:`advance`."""
        self._new_lease_ends: set[int] = set()
        """Leases, likewise."""
        self._rows: dict[bytes, Row] = {}
        self._order = KeyOrder()
        self._ends: Deadlines[bytes] = Deadlines()
        self._lease_ends: Deadlines[int] = Deadlines()
        self._book = LeaseBook()
        self._bytes = 0
        self._history = History(
            most_changes=self.limits.history_changes, most_bytes=self.limits.history_bytes
        )

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._rows)

    @property
    def revision(self) -> int:
        """How many changes there were."""
        return self._history.revision

    @property
    def compacted(self) -> int:
        """The last revision whose change is not remembered; 0: all are."""
        return self._history.compacted

    @property
    def byte_count(self) -> int:
        """What ``total_bytes`` limits."""
        return self._bytes

    @property
    def lease_count(self) -> int:
        """How many leases go on."""
        return len(self._book.leases)

    # Time

    @property
    def next_deadline(self) -> int | None:
        """The time at which something ends next, in milliseconds; None: nothing ever does."""
        if not self._ends.at and not self._lease_ends.at:
            return None
        firsts = [first[0] for ends in (self._ends, self._lease_ends) if (first := ends.first())]
        return min(firsts, default=None)

    def advance(self, now_ms: int) -> None:
        """Say what time it is, at most 2**62 ms: all ends whose time has come.

        An earlier time than before changes nothing.
        """
        if now_ms <= self.now_ms:
            return
        self.now_ms = self._shown_ms = min(now_ms, MOST_MS)
        if self._ends.at or self._lease_ends.at:
            self._new_ends.clear()
            self._new_lease_ends.clear()
            self._end_what_is_due()

    @property
    def has_ends(self) -> bool:
        """Whether anything ends by its time."""
        return bool(self._ends.at or self._lease_ends.at)

    @property
    def has_new_ends(self) -> bool:
        """Whether a time to live has begun since anybody said what time it is."""
        return bool(self._new_ends or self._new_lease_ends)

    def advance_late(self, now_ms: int) -> None:
        """Say what time it is where that was not known for a while.

        As :meth:`advance`, but a time to live that began since the last time begins now: so it
        lasts too long rather than too short.
        """
        shift = min(now_ms, MOST_MS) - self.now_ms
        if shift > 0:
            for key in self._new_ends:
                self._ends.set(key, self._ends.at[key] + shift)
            for lease in self._new_lease_ends:
                self._lease_ends.set(lease, self._lease_ends.at[lease] + shift)
        self._new_ends.clear()
        self._new_lease_ends.clear()
        self.advance(now_ms)

    def show_as_of(self, now_ms: int) -> None:
        """Show what is left of times to live as of a later time, which ends nothing.

        Holds for the operations up to the next :meth:`advance`. Keys are shown to have 1 ms left
        at least, for they are there.
        """
        self._shown_ms = max(self.now_ms, now_ms)

    def _let_end(self, key: bytes, ttl_ms: int) -> None:
        self._ends.set(key, self.now_ms + ttl_ms)
        self._new_ends.add(key)

    def _end_what_is_due(self) -> None:
        now = self.now_ms
        while True:
            key_end, lease_end = self._ends.first(), self._lease_ends.first()
            if key_end is not None and (lease_end is None or key_end[0] <= lease_end[0]):
                if key_end[0] > now:
                    return
                self._remove(key_end[1])
            elif lease_end is not None and lease_end[0] <= now:
                self._end_lease(lease_end[1])
            else:
                return

    # Changes

    def _write(self, key: bytes, value: bytes, before: Row | None) -> int:
        """Give a key a value, leave what it ends with as it is, and return its version.

        ``before`` is what it has.
        """
        size, limits = len(value), self.limits
        if size > limits.value_bytes:
            self._check_value(value)
        if before is None:
            self._check_key(key)
            growth = len(key) + size + ENTRY_BYTES
        else:
            key = before[0]  # as long as it lasts: the one that has come need not be kept
            growth = size - len(before[1])
        if growth > 0 and self._bytes + growth > limits.total_bytes:
            raise OperationStopped(
                f"the namespace is full, its limit is {limits.total_bytes} bytes"
            )
        self._bytes += growth
        if before is None:
            self._order.add(key)
        self._rows[key] = row = self._history.add(key, value)
        return row[2]

    def _remove(self, key: bytes) -> None:
        _, value, _ = self._rows.pop(key)
        self._order.remove(key)
        self._forget_ends(key)
        self._bytes -= len(key) + len(value) + ENTRY_BYTES
        self._history.add(key, None)

    def _forget_ends(self, key: bytes) -> None:
        self._end_never(key)
        self._book.unbind(key)

    def _end_never(self, key: bytes) -> None:
        self._ends.discard(key)
        self._new_ends.discard(key)

    def _shown(self, key: bytes, row: Row) -> Entry:
        end = self._ends.at.get(key)
        if end is None:
            return Entry(*row)
        shown_ms = self.now_ms if key in self._new_ends else self._shown_ms
        return Entry(*row, max(end - shown_ms, 1))

    def _let_lease_end(self, lease: int, ttl_ms: int) -> None:
        self._lease_ends.set(lease, self.now_ms + ttl_ms)
        self._new_lease_ends.add(lease)

    def _end_lease(self, lease: int) -> None:
        self._lease_ends.discard(lease)
        self._new_lease_ends.discard(lease)
        for key in self._book.end(lease):
            self._remove(key)

    # Limits

    def _check_key(self, key: bytes) -> None:
        if not key:
            raise OperationStopped("a key is empty", "malformed")
        if len(key) > (limit := self.limits.key_bytes):
            raise OperationStopped(f"a key of {len(key)} bytes is too long, the limit is {limit}")

    def _check_value(self, value: bytes) -> None:
        if len(value) > (limit := self.limits.value_bytes):
            raise OperationStopped(
                f"a value of {len(value)} bytes is too long, the limit is {limit}"
            )

    # History and snapshots

    def since(
        self, after: int, start: bytes = b"", end: bytes | None = None, *, most: int = 1000
    ) -> tuple[int, list[tuple[int, bytes, bytes | None]]]:
        """Return changes behind a revision, and the one up to which there are no others.

        Args:
            after: at least :attr:`compacted`; one that is not reached yet has no changes.
            start: the first key.
            end: behind the last one; None: there is no end.
            most: changes, at least 1.

        Returns:
            Revision, key and value of each; the value is None where the key went.
        """
        most_bytes = self.limits.list_bytes
        return self._history.since(after, start, end, most=most, most_bytes=most_bytes)

    def snapshot(self) -> Callable[[], bytes]:
        """Take hold of everything and return what encodes it, later and on any thread.

        Equal tables give equal bytes.
        """
        book = self._book
        state = TableState(
            now_ms=self.now_ms,
            revision=self.revision,
            rows=self._rows.copy(),
            ends=self._ends.at.copy(),
            new_ends=self._new_ends.copy(),
            last_lease=book.last,
            leases={n: (lease.ttl_ms, self._lease_ends.at[n]) for n, lease in book.leases.items()},
            new_lease_ends=self._new_lease_ends.copy(),
            lease_of=book.lease_of.copy(),
            history=self._history.copy(),
        )
        return state.encode

    def restore(self, data: bytes) -> None:
        """Replace everything by a snapshot.

        Raises:
            BadMessage: it is none; nothing was changed.
        """
        state = decode_state(data)
        if len(state.history) > state.revision:
            raise BadMessage("this is no snapshot of a table: it has more changes than revisions")
        self.now_ms = self._shown_ms = state.now_ms
        self._rows = state.rows
        self._order.restore(list(state.rows))
        self._bytes = sum(
            len(key) + len(value) + ENTRY_BYTES for key, value, _ in state.rows.values()
        )
        self._ends.restore(state.ends)
        self._new_ends, self._new_lease_ends = state.new_ends, state.new_lease_ends
        self._lease_ends.restore({n: end for n, (_, end) in state.leases.items()})
        ttls = {number: ttl_ms for number, (ttl_ms, _) in state.leases.items()}
        self._book.restore(state.last_lease, ttls, state.lease_of)
        self._history.restore(state.revision, state.history)
