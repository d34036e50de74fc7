"""A nursery for the background tasks of a service that is used through ``async with``.

A plain nursery wraps whatever its body raises in an exception group, which is right for a body
that started the tasks itself and wrong for the user of ``async with open_server(...)``, who
knows nothing of a nursery and wants to catch the error that was raised.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["open_service_nursery"]


@asynccontextmanager
async def open_service_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery whose tasks live exactly as long as the body.

    When the body ends, in whatever way, the tasks are cancelled and waited for. What the body
    raises comes out as it was raised. A task that fails cancels the body and its exception
    comes out: alone if it is the only one, otherwise in a group.
    """
    body_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:  # noqa: BLE001 - raised again, here or below
                cancelled, body_error = _split(error)
                if cancelled is not None:
                    raise cancelled from None
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failures = list(group.exceptions)
        if body_error is not None:
            failures.append(body_error)
        if len(failures) == 1:
            raise failures[0] from failures[0].__cause__
        raise BaseExceptionGroup(group.message, failures) from None
    if body_error is not None:
        raise body_error


def _split(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Split an error into its cancellations and the rest, each None when there is none."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)
    return (error, None) if isinstance(error, trio.Cancelled) else (None, error)
