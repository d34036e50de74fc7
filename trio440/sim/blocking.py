"""Blocking work on a simulated machine: run in place, then paid for in virtual time."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar, TypeVarTuple, cast

import attrs
import outcome
import trio

from trio440.core.host import Blocking, Clock, Worker
from trio440.core.lifetimes import open_service_nursery
from trio440.sim.power import PowerCut

__all__ = ["SimBlocking"]

T = TypeVar("T")
Args = TypeVarTuple("Args")


@attrs.define(eq=False)
class _Call:
    """A function that was given, and what came of it."""

    fn: Callable[[], object]
    result: outcome.Outcome[object] | None = None
    answered: trio.Event = attrs.Factory(trio.Event)

    def answer(self, result: outcome.Outcome[object]) -> None:
        """Wake the caller; the first answer counts."""
        if self.result is None:
            self.result = result
            self.answered.set()


class SimBlocking(Blocking):
    """Workers without threads.

    A worker's functions run one at a time in the order they were given. A function takes no
    virtual time while it runs; its caller then waits for a latency, and the worker with it.
    """

    def __init__(self, latency: Callable[[], float], clock: Clock) -> None:
        """Make the workers of one machine, from its start to its end.

        Args:
            latency: called after each function; gives the seconds that it took.
            clock: the machine's; these are its seconds. When it raises :class:`PowerCut`, the
                machine is dead, as after :meth:`fence`.
        """
        self._latency = latency
        self._clock = clock
        self._workers: list[_SimWorker] = []
        self._powered = True

    def open_worker(self, name: str) -> AbstractAsyncContextManager[Worker]:
        """Start a task called ``name`` that is the worker until the context ends.

        Raises:
            PowerCut: the machine is dead.
        """
        return self._open(name)

    def fence(self) -> None:
        """End it: nothing that was given is begun, and every call gets :class:`PowerCut`.

        Also the call whose latency is passing: its work is done, and its caller never learns.
        """
        self._powered = False
        for worker in self._workers:
            worker.fence()

    @asynccontextmanager
    async def _open(self, name: str) -> AsyncIterator[Worker]:
        if not self._powered:
            raise PowerCut
        worker = _SimWorker(self._latency, self._clock)
        self._workers.append(worker)
        try:
            async with open_service_nursery() as nursery:
                nursery.start_soon(worker.work, name=name)
                try:
                    yield worker
                finally:
                    worker.close()
        finally:
            self._workers.remove(worker)


class _SimWorker(Worker):
    """A queue of functions and the task that runs them."""

    def __init__(self, latency: Callable[[], float], clock: Clock) -> None:
        self._latency = latency
        self._clock = clock
        self._calls: deque[_Call] = deque()
        self._running: _Call | None = None
        self._passing = trio.CancelScope()
        self._given = trio.Event()
        self._refusal: Callable[[], BaseException] | None = None

    async def run(self, fn: Callable[[*Args], T], *args: *Args) -> T:
        """Run ``fn(*args)``; see :class:`trio440.core.host.Worker`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._refusal is not None:
            raise self._refusal()
        call = _Call(lambda: fn(*args))
        self._calls.append(call)
        self._given.set()
        await call.answered.wait()
        assert call.result is not None  # noqa: S101 - for the type checker: it was answered
        return cast("T", call.result.unwrap())

    async def work(self) -> None:
        """Run what is given until the worker is closed or fenced; not to be cancelled."""
        with trio.CancelScope(shield=True):
            while self._refusal is None:
                await self._given.wait()
                while self._calls:
                    try:
                        await self._do(self._calls.popleft())
                    except PowerCut:
                        self.fence()
                self._given = trio.Event()

    def close(self) -> None:
        """Refuse what was not begun and whatever comes."""
        self._refuse(lambda: trio.ClosedResourceError("this worker was closed"))

    def fence(self) -> None:
        """Let every caller learn of the power cut, and forget the running call."""
        self._refusal = None
        self._refuse(PowerCut)
        if self._running is not None:
            self._running.answer(outcome.Error(PowerCut()))
        self._passing.cancel()

    async def _do(self, call: _Call) -> None:
        self._running = call
        self._clock.now()  # a dead machine does nothing
        result = outcome.capture(call.fn)
        if self._refusal is PowerCut:
            return  # the function itself has ended the machine
        with trio.CancelScope(shield=True) as self._passing:
            await self._clock.sleep(self._latency())
            self._clock.now()  # nor does it hear what was done
        self._running = None
        call.answer(result)

    def _refuse(self, refusal: Callable[[], BaseException]) -> None:
        if self._refusal is None:
            self._refusal = refusal
        while self._calls:
            self._calls.popleft().answer(outcome.Error(self._refusal()))
        self._given.set()
