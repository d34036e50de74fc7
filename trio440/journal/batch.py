"""What gathers for one group commit, and the tasks that wait for it."""

import attrs
import trio

from trio440.journal.files import Committed, Entry
from trio440.journal.format import Kind

__all__ = ["Batch"]


@attrs.define(eq=False)
class Batch:
    """What one commit writes."""

    entries: list[Entry] = attrs.Factory(list)
    records: int = 0
    bytes: int = 0
    lowest: int | None = None
    """The lowest index that it gives or takes a record."""
    is_lone: bool = False
    """Whether one append made all of it, and whoever made that writes it."""
    committed: Committed | None = None
    """What the disk made of it, once it has."""
    durable: bool = False
    """Whether it is on disk."""
    done: trio.Event = attrs.Factory(trio.Event)
    """Set when that is decided."""

    def add(self, entry: Entry, size: int) -> None:
        """Put an entry at the end; records that follow on records become one frame with them."""
        last = self.entries[-1] if self.entries else None
        if last is not None and last.kind is entry.kind is Kind.RECORDS:
            last.records.extend(entry.records)
        else:
            self.entries.append(entry)
        if entry.kind is not Kind.KEPT:
            changed = entry.index if entry.kind is Kind.RECORDS else entry.index + 1
            self.lowest = changed if self.lowest is None else min(self.lowest, changed)
        self.records += len(entry.records)
        self.bytes += size

    def covers(self, index: int) -> bool:
        """Whether a record of this index, as the log stands, is on disk only after this batch."""
        return self.lowest is not None and self.lowest <= index
