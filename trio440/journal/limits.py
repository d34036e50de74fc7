"""The bounds of a journal, and the counts of what it has done."""

from typing import Any, Final

import attrs

from trio440.errors import InvalidParameter

__all__ = ["JournalLimits", "JournalStatistics"]

MOST_BYTES: Final = 1 << 30
"""More than this at once would not fit the fields of a frame."""


def _size(instance: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    del instance
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_BYTES:
        raise InvalidParameter(attribute.name, value, f"a whole number from 1 to {MOST_BYTES}")


@attrs.frozen(kw_only=True)
class JournalLimits:
    """The bounds of a journal, each 1 to 2**30, and what happens at each."""

    segment_bytes: int = attrs.field(default=16 << 20, validator=_size)
    """A segment that has reached this length is sealed before the next commit, which goes to a
    new one. The last segment is written anew at every opening."""
    record_bytes: int = attrs.field(default=16 << 20, validator=_size)
    """The length of one record; a longer one is refused with ``RecordTooLarge``."""
    queued_bytes: int = attrs.field(default=64 << 20, validator=_size)
    """Bytes of records that wait to be written; an append that passes it waits, and
    ``append_nowait`` raises ``trio.WouldBlock``. As much again may be in the hands of the disk.
    One append alone may be longer."""
    queued_records: int = attrs.field(default=100_000, validator=_size)
    """The number of records that wait to be written; the same."""


@attrs.frozen(kw_only=True)
class JournalStatistics:
    """What a journal is and has done since it was opened."""

    last_index: int
    """Of the last record appended."""
    durable_index: int
    """Of the last record that is on disk, as far as is known."""
    snapshot_index: int
    """Up to where the newest snapshot stands for the records; 0: there is none."""
    segments: int
    """Files of records."""
    queued_records: int
    """That wait to be written."""
    queued_bytes: int
    """Of those."""
    records: int
    """Appended since the opening."""
    commits: int
    """Group commits since the opening: one write and one fsync each."""
    largest_commit: int
    """The most records of one of them."""
    bytes_written: int
    """By commits, frames' heads included."""
    snapshots: int
    """Taken since the opening."""
    torn_bytes: int
    """Cut off from the end of the log when it was opened."""
