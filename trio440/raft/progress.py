"""What a leader knows of one other peer, and what it may send to it.

::

             a rejection, or the peer was unreachable
        ┌───────────────────────────────────────────┐
        ▼                                           │
      PROBE ────────── it matched ──────────▶ REPLICATE
        │  ▲                                        │
        │  └─ installed, or the snapshot failed ─┐  │
        └─────────── it needs what is gone ──▶ SNAPSHOT

A probe goes out once, and again after a heartbeat is answered. In REPLICATE the leader sends on
without waiting, as far as the window allows.
"""

import enum
from collections import deque

import attrs

from trio440.raft.messages import SnapshotMeta

__all__ = ["CatchUp", "Flow", "Progress", "Window"]


class Flow(enum.Enum):
    """How entries are sent to a peer."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Window:
    """Append messages on their way to one peer, with limits on their number and bytes."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        """Start empty."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._sent: deque[tuple[int, int]] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        """Return how many messages are on their way."""
        return len(self._sent)

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be sent; a message that passes the bytes still goes."""
        return len(self._sent) >= self._max_messages or self.bytes >= self._max_bytes

    def add(self, last_index: int, size: int) -> None:
        """Take note of a message that ends with this entry."""
        self._sent.append((last_index, size))
        self.bytes += size

    def free_to(self, index: int) -> None:
        """Take note that everything up to ``index`` has arrived."""
        while self._sent and self._sent[0][0] <= index:
            self.bytes -= self._sent.popleft()[1]

    def clear(self) -> None:
        """Forget everything."""
        self._sent.clear()
        self.bytes = 0


@attrs.define
class CatchUp:
    """Rounds of replication to a learner: one that is short shows that it keeps up.

    A round ends when the learner has what the leader had at the round's start (dissertation,
    4.2.1).
    """

    target: int
    began: int
    """In the leader's ticks."""
    done: bool = False

    def reached(self, match: int, last_index: int, now: int, most_ticks: int) -> None:
        """Take note of what the learner has: all of it is enough, however long that took."""
        if match >= self.target:
            self.done = match >= last_index or now - self.began <= most_ticks
            self.target = last_index
            self.began = now


class Progress:
    """One peer, as its leader sees it."""

    def __init__(self, next_index: int, window: Window) -> None:
        """Start to probe, from ``next_index``."""
        self.flow = Flow.PROBE
        self.match = 0
        """The peer has everything up to here, durably."""
        self.next = next_index
        """The next entry to be sent."""
        self.window = window
        self.active = False
        """Whether it was heard since CheckQuorum last looked."""
        self.round = 0
        """The latest heartbeat that it answered."""
        self.probed = False
        """In PROBE: whether a probe is out."""
        self.wanted = True
        """In PROBE: whether a probe is to go out even if there is nothing to send."""
        self.nudged = False
        """In REPLICATE: what is on its way may be lost, and an empty append would show it."""
        self.reads = False
        """Whether it was told an index that a read of it waits for: the commit goes out at once."""
        self.sent_commit = 0
        """The latest commit that it was told."""
        self.catch_up: CatchUp | None = None
        """Of learners."""
        self.snapshot: SnapshotMeta | None = None
        self.offset = 0
        """In SNAPSHOT: how far the peer has it."""
        self.asked = False
        """In SNAPSHOT: whether a piece from ``offset`` was asked for or sent."""

    @property
    def paused(self) -> bool:
        """Whether no append may be sent now."""
        if self.flow is Flow.REPLICATE:
            return self.window.is_full
        return self.flow is Flow.SNAPSHOT or self.probed

    @property
    def may_be_unreachable(self) -> bool:
        """Whether something was sent ahead that may be lost."""
        return self.flow is Flow.REPLICATE

    def sent(self, last_index: int, size: int) -> None:
        """Take note of an append that ends with ``last_index``, empty where that is old."""
        self.wanted = False
        if self.flow is Flow.PROBE:
            self.probed = True
        elif last_index >= self.next:
            self.window.add(last_index, size)
            self.next = last_index + 1

    def matched(self, index: int) -> bool:
        """Take note that the peer has everything up to ``index``; whether that is news."""
        self.next = max(self.next, index + 1)
        self.window.free_to(index)
        is_news = index > self.match
        self.match = max(self.match, index)
        installed = self.snapshot is not None and self.match >= self.snapshot.index
        if self.flow is Flow.PROBE or installed:
            self.become_replicate()
        return is_news

    def rejected(self, index: int, next_index: int) -> bool:
        """Take note that an append after ``index`` did not match.

        Args:
            index: the ``prev_index`` of the message.
            next_index: where the leader's log and the peer's may meet, plus one.

        Returns:
            Whether it counts: an old rejection does not.
        """
        if self.flow is Flow.SNAPSHOT or index <= self.match:
            return False
        if self.flow is Flow.PROBE and index != self.next - 1:
            return False
        self.become_probe()
        self.next = max(self.match + 1, min(index, next_index))
        return True

    def become_probe(self) -> None:
        """Stop sending ahead."""
        self.next = self.match + 1
        self.flow = Flow.PROBE
        self.probed = False
        self.wanted = True
        self.snapshot = None
        self.window.clear()

    def become_replicate(self) -> None:
        """Send ahead from what has matched."""
        self.flow = Flow.REPLICATE
        self.next = self.match + 1
        self.snapshot = None
        self.window.clear()

    def become_snapshot(self, meta: SnapshotMeta) -> None:
        """Send a snapshot in the place of entries."""
        self.flow = Flow.SNAPSHOT
        self.snapshot = meta
        self.offset = 0
        self.asked = False
        self.window.clear()

    def heartbeat_answered(self) -> None:
        """Send again what may have been lost."""
        self.probed = False
        self.asked = False
        self.wanted = self.flow is Flow.PROBE
        self.nudged = self.flow is Flow.REPLICATE and self.match + 1 < self.next
