"""The bounds of a table, and of what is asked of it. Pure."""

from typing import Any, Final

import attrs

from trio440.errors import InvalidParameter

__all__ = ["ENTRY_BYTES", "MOST_MS", "TableLimits"]

ENTRY_BYTES: Final = 256
"""What a key is charged beside its bytes and its value's: about what it takes in memory."""
MOST_MS: Final = 1 << 62
"""No time, and no time to live, is longer: the sum of two is an int64."""


def _positive(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidParameter(attribute.name, value, "a whole number of at least 1")


@attrs.frozen(kw_only=True)
class TableLimits:
    """The bounds of a table, each at least 1; the same at every replica."""

    key_bytes: int = attrs.field(default=4096, validator=_positive)
    """The longest key; none is empty."""
    value_bytes: int = attrs.field(default=512 << 10, validator=_positive)
    """The longest value."""
    total_bytes: int = attrs.field(default=1 << 30, validator=_positive)
    """Keys and values, and 256 bytes for each key."""
    list_entries: int = attrs.field(default=1000, validator=_positive)
    """Entries of one List; it says that there are more."""
    list_bytes: int = attrs.field(default=1 << 20, validator=_positive)
    """Keys and values of one List, likewise; and of all Gets and Lists of one transaction, of which
    more are refused. One entry is always given."""
    operations: int = attrs.field(default=128, validator=_positive)
    """Conditions, and operations of each kind, in one transaction."""
    leases: int = attrs.field(default=10_000, validator=_positive)
    """Leases at a time."""
    history_changes: int = attrs.field(default=10_000, validator=_positive)
    """Changes that are remembered for watches; the oldest are given up."""
    history_bytes: int = attrs.field(default=16 << 20, validator=_positive)
    """Keys and values of remembered changes, and 128 bytes for each; likewise."""
