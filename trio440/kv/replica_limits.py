"""The bounds of a replica of the eventual engine, and what happens at each. Pure."""

from typing import Any

import attrs

from trio440.actors.messages import message
from trio440.errors import InvalidParameter
from trio440.kv.hlc import MAX_CLOCK_OFFSET_MS
from trio440.kv.operations import Refused

__all__ = ["ReplicaLimits", "ReplicaStatistics"]

DAY_SECONDS = 86_400


def _positive(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidParameter(attribute.name, value, "a whole number of at least 1")


@attrs.frozen(kw_only=True)
class ReplicaLimits:
    """The bounds of each replica; every server of a store is given the same ones."""

    key_bytes: int = attrs.field(default=4096, validator=_positive)
    """The longest key; a Put of a longer one is refused."""
    value_bytes: int = attrs.field(default=512 << 10, validator=_positive)
    """The longest value; likewise."""
    keys: int = attrs.field(default=10_000_000, validator=_positive)
    """That a replica knows, the deleted ones included: a write to one more is refused. What other
    replicas have taken is let in up to a quarter above, and then refused, too, and counted: the
    replicas differ until something was deleted."""
    total_bytes: int = attrs.field(default=4 << 30, validator=_positive)
    """Keys and values, and 256 bytes for each key; as for ``keys``."""
    siblings: int = attrs.field(default=100, validator=_positive)
    """Of one key: a PutSibling that would leave more is refused; what other replicas have taken is
    let in."""
    operations: int = attrs.field(default=10_000, validator=_positive)
    """In one batch: of a longer one all are refused. As many siblings may a batch replace."""
    list_entries: int = attrs.field(default=1000, validator=_positive)
    """Entries of one List; it says that there are more."""
    list_bytes: int = attrs.field(default=1 << 20, validator=_positive)
    """Keys and values of one List, likewise; one entry is always given."""
    batch_bytes: int = attrs.field(default=8 << 20, validator=_positive)
    """Keys and values that one batch gets back, about, and 100 for each entry of a list: what reads
    behind it is refused."""
    history_changes: int = attrs.field(default=10_000, validator=_positive)
    """Changes that are remembered for watches; the oldest are given up."""
    history_bytes: int = attrs.field(default=16 << 20, validator=_positive)
    """Keys and values of these, and 128 bytes for each; likewise."""
    sync_bytes: int = attrs.field(default=256 << 10, validator=_positive)
    """Of one message to another replica, about; one write that is longer goes alone."""
    watches: int = attrs.field(default=1000, validator=_positive)
    """That wait for a change; one more is refused."""
    log_bytes: int = attrs.field(default=16 << 20, validator=_positive)
    """Of a durable server: a snapshot is taken when the log is longer than this, and than the state
    itself."""
    max_clock_offset_ms: int = attrs.field(default=MAX_CLOCK_OFFSET_MS, validator=_positive)
    """A stamp that is ahead of the time of day by more is refused, and counted."""
    grace_seconds: int = attrs.field(default=7 * DAY_SECONDS, validator=_positive)
    """How long a key that was deleted is remembered. What took longer to get here, to a key that is
    not known any more, is refused."""

    def refuse_batch(self, count: int) -> Refused | None:
        """Say why a batch of so many operations is not looked at; None: it is."""
        if count <= self.operations:
            return None
        return Refused(f"a batch has at most {self.operations} operations")


@message("kv.ReplicaStatistics")
@attrs.frozen(kw_only=True)
class ReplicaStatistics:
    """One replica at one moment, and what it has counted."""

    keys: int
    """That have a value."""
    siblings: int
    """Values that are kept beside those of the keys, since nobody has replaced them."""
    tombstones: int
    bytes: int
    clock: int
    """The greatest stamp that it has seen."""
    writes: int
    """That it took from clients."""
    merged: int
    """Writes of other replicas that were news."""
    redundant: int
    """Writes of other replicas that it had, or had later ones of."""
    refused_ahead: int
    """Stamps that were too far ahead of the time of day."""
    refused_full: int
    """Writes of other replicas for which there was no room, or that none may have."""
    refused_late: int
    """Writes of other replicas that came after the grace period."""
