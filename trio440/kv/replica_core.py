"""What one replica of the eventual engine is made of, and what others and time do to it. Pure.

What it can be asked is :class:`trio440.kv.replica.Replica`.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from trio440.actors.ref import Ref
from trio440.kv.feed import Feed
from trio440.kv.hlc import HybridClock, ms_of, pack
from trio440.kv.records import Record, Records
from trio440.kv.replica_limits import ReplicaLimits, ReplicaStatistics
from trio440.kv.siblings import HIDDEN, HIDDEN_BYTES, is_hidden_record

__all__ = ["ReplicaCore", "Row"]

Row: TypeAlias = tuple[bytes, bytes | None, int, Ref[Any], int]
"""One write: key, value or None, stamp, writer, and when it expires in ms, or 0."""

SWEEP_AT_ONCE: Final = 1000


class ReplicaCore:
    """The records of the whole store, as one actor knows them, and what it tells watchers."""

    def __init__(
        self, ref: Ref[Any], clock: HybridClock, limits: ReplicaLimits, now_ms: int = 0
    ) -> None:
        """Start empty.

        Args:
            ref: of the actor, the writer of what it takes.
            clock: of the actor; outlives a restart of it, so that no stamp is given twice.
            limits: its bounds.
            now_ms: the time of day: for one grace period nothing that others took before is late.
        """
        self.ref: Final = ref
        self.clock: Final = clock
        self.limits: Final = limits
        self.records: Final = Records(limits.grace_seconds * 1000, pack(now_ms))
        self.feed: Final = Feed(limits.history_changes, limits.history_bytes)
        self._writes = self._merged = self._redundant = self._full = self._late = 0

    def merge(self, rows: Iterable[Row], now_ms: int) -> tuple[list[bytes], list[Row]]:
        """Take the writes of another replica.

        Returns:
            The keys of those that were news, and tombstones for those that came after the grace
            period: who holds such a record is to forget it, too.
        """
        news: list[bytes] = []
        late: list[Row] = []
        records, clock = self.records, self.clock
        most_keys, most_bytes = self.limits.keys * 5 // 4, self.limits.total_bytes * 5 // 4
        for key, value, stamp, writer, expires_ms in rows:
            if not clock.observe(stamp, now_ms):
                continue
            if not self._is_allowed(key, value, stamp, writer):
                self._full += 1
                continue
            if (len(records) >= most_keys or records.bytes >= most_bytes) and (
                records.find(key) is None
            ):
                self._full += 1
                continue
            is_change = value is not None or self._is_shown(key)
            merged = records.merge(key, value, stamp, writer, expires_ms)
            if merged == "news":
                self._merged += 1
                news.append(key)
                if is_change and (record := records.find(key)) is not None:
                    self._tell(record)
            elif merged != "refused":
                self._redundant += 1
                if merged == "over" and (record := records.find(key)) is not None:
                    self._note_end(record)
            elif value is not None:
                self._late += 1
                late.append((key, None, stamp + 1, self.ref, 0))
        return news, late

    def loses_late(self, row: Row, now_ms: int) -> bool:
        """Whether a tombstone takes a value from here, and goes at once: it has had its time."""
        key, _, stamp, writer, expires_ms = row
        if max(expires_ms, ms_of(stamp)) + self.limits.grace_seconds * 1000 > now_ms:
            return False
        old = self.records.find(key)
        return old is not None and old.value is not None and old.is_before(stamp, writer)

    def _is_allowed(self, key: bytes, value: bytes | None, stamp: int, writer: Ref[Any]) -> bool:
        """Whether some replica may have taken a write: none here keeps what nobody could read."""
        most = self.limits.key_bytes
        if value is not None and len(value) > self.limits.value_bytes:
            return False
        if not key.startswith(HIDDEN):
            return len(key) <= most
        return len(key) <= most + HIDDEN_BYTES and is_hidden_record(key, value, stamp, writer)

    def sweep(self, now_ms: int, most: int | None = SWEEP_AT_ONCE) -> None:
        """Let go what is over, some of it at a time."""
        due = self.records.next_due_ms()
        if due is not None and due <= now_ms:
            for record in self.records.sweep(now_ms, most):
                self._note_end(record)

    def _note_end(self, record: Record) -> None:
        """Let watchers hear that a time to live is over: later than the write, before the next.

        The next one may have been taken elsewhere before the end, and be told here behind it.
        """
        self._tell(Record(record.key, None, record.stamp + 1, record.writer, 0))

    def _tell(self, record: Record) -> None:
        """Let watchers hear of a change."""
        if not record.key.startswith(HIDDEN):
            self.feed.add(record)

    def _is_shown(self, key: bytes) -> bool:
        """Whether watchers take a key to have a value, though its time may be over."""
        record = self.records.find(key)
        return record is not None and record.value is not None

    def statistics(self) -> ReplicaStatistics:
        """Return the counts."""
        keys, siblings = self.records.count(b""), self.records.siblings
        return ReplicaStatistics(
            keys=keys,
            siblings=siblings,
            tombstones=len(self.records) - keys - siblings,
            bytes=self.records.bytes,
            clock=self.clock.last,
            writes=self._writes,
            merged=self._merged,
            redundant=self._redundant,
            refused_ahead=self.clock.refused,
            refused_full=self._full,
            refused_late=self._late,
        )
