"""A trace of all peers of a world in one order, as etcd's Raft validates it against TLA+."""

from collections.abc import Callable, Sequence
from typing import Final

from trio440.raft.trace_lines import Recorder
from trio440.sim.trace import Record

__all__ = ["record_peers"]

MICROSECOND_NS: Final = 1_000
FIRST_NS: Final = 1_700_000_000_000_000_000
"""The beginning of every world, so that all times have as many digits."""


def record_peers(
    record: Record | None, now: Callable[[], int], names: Sequence[str]
) -> Recorder | None:
    """Return what all peers of a world tell, None where nobody asks.

    Args:
        record: takes the lines.
        now: virtual time in microseconds.
        names: of the peers, which are called 1, 2, 3 and so on.
    """
    if record is None:
        return None
    numbers = {name: number for number, name in enumerate(names, start=1)}
    return Recorder(record, lambda: FIRST_NS + now() * MICROSECOND_NS, numbers)
