"""The frames that answer calls, and the counts of how they ended. Pure."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from trio440.errors import HandlerFailed, InvalidParameter, RemoteError, SimulationError
from trio440.rpc.envelope import DEADLINE_EXCEEDED, encode_answer, encode_failure
from trio440.rpc.limits import ServerCounters
from trio440.rpc.service import Route

__all__ = ["Replies", "Report"]

HEAD_BYTES: Final = 9
"""What an envelope adds to an answer, its frame's header not counted."""

Report: TypeAlias = Callable[[Exception], None]
"""Hears what went wrong and is no caller's business; must not raise or block."""


class Replies:
    """Makes the frames for one connection."""

    def __init__(self, counters: ServerCounters, report: Report, frame_bytes: int) -> None:
        """Make one for a client that reads frames of up to ``frame_bytes``."""
        self._counters = counters
        self._report = report
        self._largest = frame_bytes - HEAD_BYTES

    def answer(self, call_id: int, route: Route, result: Any) -> bytes:
        """Return what a handler's result becomes; a failure when it cannot be sent."""
        try:
            body = route.encode(result)
        except InvalidParameter as error:
            self.report_failure(route, error)
            return self.failure(call_id, "BadResult", f"{route.name} gave no valid result")
        if len(body) > self._largest:
            detail = f"{len(body)} bytes, the client reads {self._largest}"
            return self.failure(call_id, "ResultTooLarge", detail)
        self._counters.answers += 1
        return encode_answer(call_id, body)

    def failed(self, call_id: int, route: Route, error: Exception) -> bytes:
        """Return what an exception of a handler becomes; errors as :meth:`report_failure`."""
        if isinstance(error, RemoteError):
            return self.failure(call_id, error.name, error.detail)
        self.report_failure(route, error)
        return self.failure(call_id, type(error).__name__, str(error))

    def too_late(self, call_id: int) -> bytes:
        """Return the answer to a call whose time is over."""
        self._counters.timeouts += 1
        return self.failure(call_id, DEADLINE_EXCEEDED, "the time of the call is over")

    def failure(self, call_id: int, name: str, detail: str) -> bytes:
        """Return a failure of any name."""
        self._counters.failures += 1
        return encode_failure(call_id, name, detail)

    def report_failure(self, route: Route, error: Exception) -> None:
        """Report what a handler raised.

        Raises:
            SimulationError: what was raised is one, or a group with one in it. It is no failure of
                the handler but what the simulator has found, which no caller may be told instead
                of the world.
        """
        if _is_found(error):
            raise error
        self._counters.handlers_failed += 1
        failed = HandlerFailed(route.name, f"{type(error).__name__}: {error}")
        failed.__cause__ = error
        self._report(failed)


def _is_found(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return error.subgroup(SimulationError) is not None
    return isinstance(error, SimulationError)
