"""One namespace of a store at a time, held open between the commands of a shell."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, final

import attrs
import trio

from trio440 import kv
from trio440.cli.kv_sticky import open_sticky
from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.kv.operations import SimpleOperation

__all__ = ["Draft", "StoreSession", "open_store_session"]


@attrs.frozen
class _Held:
    """A namespace that is open, until the scope is cancelled."""

    space: kv.Namespace
    scope: trio.CancelScope


@attrs.define
class Draft:
    """A transaction, as far as it is written."""

    conditions: list[kv.Condition] = attrs.Factory(list)
    then: list[SimpleOperation] = attrs.Factory(list)
    otherwise: list[SimpleOperation] | None = None
    """Done where a condition does not hold; None: this part has not begun."""
    is_spoiled: bool = False
    """Whether a line of it was wrong, so that it is not what its author meant."""

    def add(self, operation: SimpleOperation) -> None:
        """Add an operation to the part that is being written."""
        (self.then if self.otherwise is None else self.otherwise).append(operation)


@final
class StoreSession:
    """A store, and the namespace of it that is in use; :func:`open_store_session` opens one.

    One that has not answered is dropped, and found anew when it is asked for: its servers may be
    others by then.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        addresses: Sequence[str],
        name: str,
        timeout_seconds: float,
        ports: Host,
    ) -> None:
        self.name = name
        """Of the namespace that is in use."""
        self.engine: kv.Engine | None = None
        """Its engine, as far as it is known."""
        self.draft: Draft | None = None
        """The transaction that is being written."""
        self.addresses: Final = addresses
        self.ports: Final = ports
        self._nursery = nursery
        self._timeout_seconds = timeout_seconds
        self._held: _Held | None = None

    @property
    def is_open(self) -> bool:
        """Whether the namespace is open, and has answered when it was last asked."""
        return self._held is not None

    async def space(self) -> kv.Namespace:
        """Return the namespace that is in use; where it is not open it is opened.

        Cancelled: nothing has changed.

        Raises:
            StoreUnavailable: nobody has answered within two seconds.
            InvalidParameter: there is no such namespace.
        """
        if self._held is None:
            await self.use(self.name)
        assert self._held is not None  # noqa: S101 - that is what use does
        return self._held.space

    async def use(self, name: str) -> None:
        """Open another namespace in place of the one in use; it raises what :meth:`space` does.

        It is opened by a task of the session, and outlives the scope that this call is under.
        """
        held: _Held = await self._nursery.start(self._hold, name)
        self.drop()
        self._held, self.name, self.engine = held, name, held.space.engine

    def drop(self) -> None:
        """Close the namespace; it is opened again when it is asked for."""
        if self._held is not None:
            self._held.scope.cancel()
            self._held = None

    async def _hold(
        self, name: str, task_status: trio.TaskStatus[_Held] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.CancelScope() as scope:
            async with open_sticky(
                self.addresses, name, timeout_seconds=self._timeout_seconds, ports=self.ports
            ) as (space, _):
                task_status.started(_Held(space, scope))
                await trio.Event().wait()


@asynccontextmanager
async def open_store_session(
    addresses: Sequence[str],
    name: str,
    *,
    timeout_seconds: float = 5.0,
    ports: Host = REAL_HOST,
) -> AsyncIterator[StoreSession]:
    """Be at a store for as long as the body runs; nobody is asked before a namespace is.

    Args:
        addresses: ``HOST:PORT`` where servers answer clients.
        name: of the namespace to begin with.
        timeout_seconds: for each call of the namespace.
        ports: the machine to run on.
    """
    async with open_service_nursery() as nursery:
        yield StoreSession(nursery, addresses, name, timeout_seconds, ports)
