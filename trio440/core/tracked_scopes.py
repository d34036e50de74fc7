"""A cancel scope that a clock knows while it is open, for clocks that are not trio's own."""

from contextlib import AbstractContextManager
from types import TracebackType

import attrs
import trio

from trio440.core.host import Scope

__all__ = ["TrackedScope"]


@attrs.define
class TrackedScope(AbstractContextManager[Scope, bool]):
    """Opens a scope, and keeps its deadline among those of its clock for as long."""

    _scope: trio.CancelScope
    _deadline: float
    _open: dict[trio.CancelScope, float]

    def __enter__(self) -> Scope:
        self._open[self._scope] = self._deadline
        return self._scope.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._open.pop(self._scope, None)
        return self._scope.__exit__(exc_type, exc, traceback)
