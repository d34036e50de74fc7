"""Namespaces of all engines for the suites that they share, in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from trio440 import kv

__all__ = ["LIMITS", "Opened", "open_memory"]

LIMITS = kv.TableLimits(
    key_bytes=64, value_bytes=1000, list_entries=50, operations=8, leases=3, history_changes=200
)


@attrs.frozen
class Opened:
    """A namespace that is new, and what a suite must know of it."""

    space: kv.Namespace
    lateness_seconds: float
    """What ends by its time is gone so much after it."""


@asynccontextmanager
async def open_memory() -> AsyncIterator[Opened]:
    async with kv.open_memory(LIMITS) as space:
        yield Opened(space, lateness_seconds=0.001)
