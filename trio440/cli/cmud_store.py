"""The store that a game is played on: servers, or a namespace in this process."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from trio440 import kv
from trio440.core.host import Host
from trio440.core.real import REAL_HOST

__all__ = ["World", "open_world"]

World: TypeAlias = tuple[kv.Namespace, Callable[[], None] | None]
"""A namespace, and what makes it use the next of its servers, where it does not know itself."""


@asynccontextmanager
async def open_world(
    addresses: Sequence[str], name: str, *, ports: Host = REAL_HOST
) -> AsyncIterator[World]:
    """Open a namespace for as long as the body runs.

    Args:
        addresses: ``HOST:PORT`` where servers of one store answer clients; none: the world is in
            this process.
        name: of the namespace.
        ports: the machine to run on.

    Raises:
        StoreUnavailable: no server has answered within two seconds.
        InvalidParameter: they have no such namespace.
    """
    if not addresses:
        async with kv.open_memory(ports=ports) as namespace:
            yield namespace, None
        return
    offer = (await kv.discover(addresses, ports=ports)).get(name)
    if offer is None or offer.engine != "eventual":
        async with kv.connect(addresses, name, ports=ports) as namespace:
            yield namespace, None
        return
    router = _Sticky(addresses, offer.addresses)
    async with kv.open_client(router, ports=ports) as client:
        yield client, router.turn


class _Sticky:
    """Stays with one replica as long as it answers: a game sees at once what it has done."""

    def __init__(self, wanted: Sequence[str], there: Sequence[str]) -> None:
        """Begin with those that were named, in their order."""
        named = [address for address in wanted if address in there]
        self._addresses = deque(dict.fromkeys([*named, *there]))

    def next_address(self) -> str:
        """Return the one that is used now."""
        return self._addresses[0]

    def turn(self) -> None:
        """Use the next one."""
        self._addresses.rotate(-1)
