"""Blocking work on threads that own what they work on.

One thread a worker, fed by a queue and answering through ``run_sync_soon``: calls keep their
order and cost one hop each way, where ``trio.to_thread.run_sync`` starts over for every call.
"""

import queue
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeVar, TypeVarTuple, cast

import attrs
import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT

from trio440.core.host import Blocking, Worker

__all__ = ["ThreadBlocking"]

T = TypeVar("T")
Args = TypeVarTuple("Args")


@attrs.define(eq=False)
class _Call:
    """One function on its way to the thread; ``task`` is None once nobody waits for it."""

    fn: Callable[[], object]
    task: trio.lowlevel.Task | None


class _ThreadWorker(Worker):
    """The loop's side of one thread."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._closed = False
        self._ended = trio.Event()
        # A daemon: a loop that crashed cannot end its threads, and the process must still exit.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @trio.lowlevel.enable_ki_protection  # Ctrl-C between put and wait would leave a stale task
    async def run(self, fn: Callable[[*Args], T], *args: *Args) -> T:
        """Run ``fn(*args)`` on the thread; see :class:`trio440.core.host.Worker`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise trio.ClosedResourceError("this worker is closed")
        call = _Call(lambda: fn(*args), trio.lowlevel.current_task())
        self._calls.put(call)

        def abandon(_: RaiseCancelT) -> Abort:
            call.task = None
            return Abort.SUCCEEDED

        return cast("T", await trio.lowlevel.wait_task_rescheduled(abandon))

    @trio.lowlevel.enable_ki_protection
    async def close(self) -> None:
        """Refuse new calls, drop those not started, wait for the running one."""
        self._closed = True
        self._calls.put(None)
        with trio.CancelScope(shield=True):
            await self._ended.wait()
        self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            result: outcome.Outcome[object]
            if self._closed:
                result = outcome.Error(trio.ClosedResourceError("this worker was closed"))
            else:
                result = outcome.capture(call.fn)
            self._report(self._answer, call, result)
            del call, result  # a resting thread keeps no argument and no result alive
        self._report(self._ended.set)

    def _report(self, fn: Callable[[*Args], object], *args: *Args) -> None:
        # A loop that crashed has nobody left who waits.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(fn, *args)

    @staticmethod
    def _answer(call: _Call, result: outcome.Outcome[object]) -> None:
        if call.task is not None:
            trio.lowlevel.reschedule(call.task, result)


class ThreadBlocking(Blocking):
    """Gives every worker a thread of its own."""

    def open_worker(self, name: str) -> AbstractAsyncContextManager[Worker]:
        """Start a thread called ``name`` and own it until the context ends."""
        return _open_thread_worker(name)


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def _open_thread_worker(name: str) -> AsyncIterator[Worker]:
    worker = _ThreadWorker(name)
    try:
        yield worker
    finally:
        await worker.close()
