"""Trio's task order from a seed. The only module that touches trio's private parts.

Trio shuffles the tasks that are ready in each turn of its loop with a generator of its own
(``trio._core._run._r``, when ``_ALLOW_DETERMINISTIC_SCHEDULING`` is set, which sorts them by
their age first). This module puts another generator in its place for the length of a run. Trio
promises nothing about either name: :func:`seeded_scheduler` tries them out once a process and
raises :class:`~trio440.errors.SchedulerUnavailable` when they no longer do what is said here.
"""

# ruff: noqa: SLF001 - private members of trio are what this module is for

import functools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import trio
from trio._core import _run, _thread_cache

from trio440.errors import InvalidParameter, SchedulerUnavailable
from trio440.sim.chance import Seed, stream
from trio440.sim.outcome import ORDERS, Order

__all__ = ["PCT_CHANGES", "seeded_scheduler", "threads_refused", "throw_into"]

PCT_CHANGES: Final = 3
"""How often, at random moments, the foremost task of a PCT run falls behind all others."""
PCT_STEPS: Final = 20_000
"""The moments are drawn from so many steps; a longer run goes on with the last priorities."""
PCT_PATIENCE: Final = 500
"""Steps that one task may take in a row while others are ready, before it falls behind."""


@contextmanager
def seeded_scheduler(seed: Seed, order: Order = "random") -> Iterator[None]:
    """Let every ``trio.run`` in the body choose the order of its tasks by ``seed``.

    Args:
        seed: equal seeds give equal orders, as long as the tasks do the same.
        order: ``random`` shuffles the ready tasks of every turn. ``pct`` runs one task at a time,
            always the ready one of the highest priority; priorities are drawn when a task is
            first seen, and at :data:`PCT_CHANGES` random steps the foremost task falls behind
            all others (Burckhardt et al., "A randomized scheduler with probabilistic guarantees
            of finding bugs", ASPLOS 2010).

    Raises:
        InvalidParameter: there is no such order.
        SchedulerUnavailable: trio has changed underneath.
    """
    if order not in ORDERS:
        raise InvalidParameter("order", order, f"one of {', '.join(ORDERS)}")
    _check_trio()
    rng = stream(seed, "scheduler", order)
    with _replaced(_ByPriority(rng) if order == "pct" else rng):
        yield


@contextmanager
def threads_refused(refuse: Callable[[], None]) -> Iterator[None]:
    """Call ``refuse`` whenever trio is about to use a thread in the body, an idle one included.

    Args:
        refuse: raises, or returns to let it happen.
    """
    cache: Any = _thread_cache.ThreadCache
    before = cache.start_thread_soon

    def start_thread_soon(self: object, *args: Any, **options: Any) -> None:
        refuse()
        before(self, *args, **options)

    cache.start_thread_soon = start_thread_soon
    try:
        yield
    finally:
        cache.start_thread_soon = before


def throw_into(task: trio.lowlevel.Task, error: BaseException) -> None:
    """Raise ``error`` where a task waits, also where it is shielded from cancellation.

    For tasks that nothing else ends; from an instrument or another task.
    """

    def throw() -> None:
        raise error

    if task._abort_func is not None:
        task._attempt_abort(throw)
    else:
        task._next_send_fn = task.coro.throw
        task._next_send = error


class _ByPriority(random.Random):
    """In the place of trio's generator: its ``shuffle`` leaves one task for this turn."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng.getrandbits(64))
        self._changes = sorted(
            (self.randrange(PCT_STEPS) for _ in range(PCT_CHANGES)), reverse=True
        )
        self._priorities: dict[int, float] = {}
        self._step = 0
        self._last: int | None = None
        self._in_a_row = 0
        self._lowest = 0.0

    def shuffle(self, x: Any) -> None:  # the signature is random.Random's
        """Keep the foremost task in the batch and put the others back."""
        if not x:
            return
        priorities = self._priorities
        for task in x:
            if task._counter not in priorities:
                priorities[task._counter] = self.random()
        x.sort(key=lambda task: priorities[task._counter])
        self._step += 1
        foremost = x[-1]._counter
        self._in_a_row = self._in_a_row + 1 if foremost == self._last else 0
        if len(x) > 1 and (self._is_change() or self._in_a_row > PCT_PATIENCE):
            self._lowest -= 1
            priorities[foremost] = self._lowest
            x.insert(0, x.pop())
            self._in_a_row = 0
        self._last = x[-1]._counter
        _run.GLOBAL_RUN_CONTEXT.runner.runq.extend(x[:-1])
        del x[:-1]

    def _is_change(self) -> bool:
        if self._changes and self._step >= self._changes[-1]:
            self._changes.pop()
            return True
        return False


class _Probe(random.Random):
    """Counts what trio asks of its generator."""

    shuffled = 0

    def shuffle(self, x: Any) -> None:
        """Put the oldest task first."""
        self.shuffled += len(x) > 1
        x.sort(key=lambda task: task._counter, reverse=True)


@functools.cache
def _check_trio() -> None:
    """Try out that trio still lets its order be chosen."""
    probe = _Probe(0)
    order: list[int] = []

    async def child(number: int) -> None:
        order.append(number)
        await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(child, number)

    problem = "its scheduler's generator is not asked for the order"
    try:
        with _replaced(probe):
            trio.run(main)
    except AttributeError as error:
        problem = str(error)
    else:
        if probe.shuffled and order == [*range(8)]:
            return
    raise SchedulerUnavailable(f"trio {trio.__version__} cannot be seeded: {problem}")


@contextmanager
def _replaced(rng: random.Random) -> Iterator[None]:
    module: Any = _run
    before = module._ALLOW_DETERMINISTIC_SCHEDULING, module._r
    module._ALLOW_DETERMINISTIC_SCHEDULING, module._r = True, rng
    try:
        yield
    finally:
        module._ALLOW_DETERMINISTIC_SCHEDULING, module._r = before
