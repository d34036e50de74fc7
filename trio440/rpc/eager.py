"""Run a coroutine in the task that asks, and hear when it waits for the first time.

A task for each handler costs more than the rest of a call, and most handlers never wait. asyncio
calls it eager execution when a coroutine runs at once and becomes a task only if it has to wait.
A trio coroutine cannot change its task once it has begun, so here it is the other way round: it
keeps the task it began in, and whoever ran it hears that the task is busy from now on.
"""

import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar, cast

import trio

__all__ = ["run_eagerly"]

R = TypeVar("R")


@types.coroutine
def run_eagerly(
    work: Coroutine[Any, Any, R], context: Context, on_first_wait: Callable[[], None]
) -> Generator[Any, Any, R]:
    """Await a coroutine that has not begun, and return what it returns.

    Unless the coroutine waits this is no checkpoint.

    Args:
        work: the coroutine; what it raises comes out, and cancellation goes in.
        context: its own, in which all of it runs; in no use at present.
        on_first_wait: is called once, as soon as the coroutine waits; must not raise.
    """
    try:
        trap = context.run(work.send, None)
    except StopIteration as result:
        return cast("R", result.value)
    on_first_wait()
    task = trio.lowlevel.current_task()
    outside, task.context = task.context, context
    try:
        while True:
            try:
                reply = yield trap
            except BaseException as error:  # noqa: BLE001 - goes where it belongs, and out again
                trap = work.throw(error)
            else:
                trap = work.send(reply)
    except StopIteration as result:
        return cast("R", result.value)
    finally:
        task.context = outside
