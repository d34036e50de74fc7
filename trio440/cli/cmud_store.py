"""The store that a game is played on: servers, or a namespace in this process."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from trio440 import kv

__all__ = ["World", "open_world"]

World: TypeAlias = tuple[kv.Namespace, Callable[[], None] | None]
"""A namespace, and what makes it use the next of its servers, where it has several."""


@asynccontextmanager
async def open_world(addresses: Sequence[str]) -> AsyncIterator[World]:
    """Open the store for as long as the body runs; nothing is connected before it is used.

    Args:
        addresses: ``HOST:PORT`` of query actors of one store, in the order in which they are to be
            tried; none: the world is in this process.

    Raises:
        InvalidParameter: an address is none.
    """
    if not addresses:
        async with kv.open_memory() as namespace:
            yield namespace, None
        return
    router = _Sticky(addresses)
    async with kv.open_client(router) as client:
        yield client, router.turn if len(addresses) > 1 else None


class _Sticky:
    """Stays with one address as long as it answers: a game sees what it has done at once."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = deque(addresses)

    def next_address(self) -> str:
        """Return the one that is used now."""
        return self._addresses[0]

    def turn(self) -> None:
        """Use the next one."""
        self._addresses.rotate(-1)
