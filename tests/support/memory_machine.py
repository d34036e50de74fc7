"""What a machine in memory has beside its network: blocking work run in place, a virtual day."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar, TypeVarTuple

import outcome
import trio

from trio440.core.host import Blocking, WallClock, Worker

__all__ = ["InlineBlocking", "VirtualWallClock"]

T = TypeVar("T")
Args = TypeVarTuple("Args")

FIRST_SECOND: Final = 1_700_000_000


class VirtualWallClock(WallClock):
    """A time of day that follows trio's clock from a fixed start."""

    def now_ns(self) -> int:
        return round((FIRST_SECOND + trio.current_time()) * 1e9)


class _InlineWorker(Worker):
    """Runs each function on the spot: order is kept and nothing ever overlaps."""

    def __init__(self) -> None:
        self.closed = False

    async def run(self, fn: Callable[[*Args], T], *args: *Args) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.closed:
            raise trio.ClosedResourceError("this worker is closed")
        result = outcome.capture(fn, *args)
        await trio.lowlevel.checkpoint()
        return result.unwrap()


class InlineBlocking(Blocking):
    """Workers without threads, for virtual time: a function must not wait for another task."""

    def open_worker(self, name: str) -> AbstractAsyncContextManager[Worker]:
        del name
        return _open_inline_worker()


@asynccontextmanager
async def _open_inline_worker() -> AsyncIterator[Worker]:
    worker = _InlineWorker()
    try:
        yield worker
    finally:
        worker.closed = True
        await trio.lowlevel.cancel_shielded_checkpoint()
