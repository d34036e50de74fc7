"""Checks of Raft's snapshots: one index has one state, and pieces arrive as they were sent."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from trio440.raft.messages import InstallSnapshot, Message, SnapshotMeta
from trio440.raft.ready import ChunkWrite

__all__ = ["SnapshotWatch"]

Require: TypeAlias = Callable[[object, str, str], None]


class SnapshotWatch:
    """Looks at the snapshots of one cluster."""

    def __init__(self, require: Require) -> None:
        """Start with no snapshot; ``require`` raises where its condition does not hold."""
        self._require = require
        self._states: dict[int, bytes] = {}
        """By the index of the last entry that is in it."""
        self._pieces: dict[tuple[SnapshotMeta, int], set[bytes]] = {}
        """What was sent, by snapshot and offset; more than one where a disk misread."""

    def sent(self, message: Message) -> None:
        """Take note of a piece that leaves its sender."""
        if isinstance(message, InstallSnapshot):
            self._pieces.setdefault((message.meta, message.offset), set()).add(message.data)

    def kept(self, name: str, chunks: Iterable[ChunkWrite]) -> None:
        """Check pieces that a peer keeps: what somebody has sent, in its place."""
        for chunk in chunks:
            was_sent = chunk.data in self._pieces.get((chunk.meta, chunk.offset), ())
            shown = f"{name} keeps {len(chunk.data)} bytes at {chunk.offset} of {chunk.meta}"
            self._require(was_sent, "a piece is kept as it was sent", shown)

    def state(self, name: str, index: int, data: bytes) -> None:
        """Check the state of a peer's machine, saved or restored, against that of others."""
        other = self._states.setdefault(index, data)
        shown = f"{name} at {index} has {data!r}, elsewhere {other!r}"
        self._require(data == other, "one index has one state", shown)
