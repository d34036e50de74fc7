"""A namespace as one person uses it: what was written is there for whoever wrote it."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from trio440 import kv
from trio440.core.host import Host
from trio440.core.real import REAL_HOST

__all__ = ["Sticky", "StickyRouter", "open_sticky"]

Sticky: TypeAlias = tuple[kv.Namespace, Callable[[], None] | None]
"""A namespace, and what makes it use the next of its servers, where it does not know itself."""


@asynccontextmanager
async def open_sticky(
    addresses: Sequence[str],
    name: str,
    *,
    timeout_seconds: float = 5.0,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Sticky]:
    """Open a namespace for as long as the body runs; of the eventual engine, at one replica.

    Args:
        addresses: ``HOST:PORT`` where servers of one store answer clients; those that are named
            first are used first.
        name: of the namespace.
        timeout_seconds: for each call.
        ports: the machine to run on.

    Raises:
        StoreUnavailable: no server has answered within two seconds.
        InvalidParameter: they have no such namespace.
    """
    offer = (await kv.discover(addresses, ports=ports)).get(name)
    if offer is None or offer.engine != "eventual":
        connecting = kv.connect(addresses, name, timeout_seconds=timeout_seconds, ports=ports)
        async with connecting as namespace:
            yield namespace, None
        return
    router = StickyRouter(addresses, offer.addresses)
    async with kv.open_client(router, timeout_seconds=timeout_seconds, ports=ports) as client:
        yield client, router.turn


class StickyRouter:
    """Stays with one replica as long as it answers."""

    def __init__(self, wanted: Sequence[str], there: Sequence[str]) -> None:
        """Begin.

        Args:
            wanted: used first, in their order, those of them that are there.
            there: all.
        """
        named = [address for address in wanted if address in there]
        self._addresses = deque(dict.fromkeys([*named, *there]))

    def next_address(self) -> str:
        """Return the one that is used now."""
        return self._addresses[0]

    def turn(self) -> None:
        """Use the next one."""
        self._addresses.rotate(-1)
