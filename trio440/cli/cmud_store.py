"""The store that a game is played on: servers that run somewhere, or three in this process."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio

from trio440 import kv
from trio440.cli.kv_sticky import StickyRouter, open_sticky
from trio440.cli.running import note
from trio440.core.host import Host
from trio440.core.real import REAL_HOST

__all__ = ["World", "open_world"]

SERVERS: Final = 3
"""Of a store in this process."""
LOGGERS: Final = "trio440"
MOST_RECORDS: Final = 100


@attrs.frozen
class World:
    """Where a game is played."""

    namespace: kv.Namespace
    turn: Callable[[], None] | None = None
    """Makes the namespace use the next of its servers, where it does not know itself."""
    doors: tuple[str, ...] = ()
    """``HOST:PORT`` of the servers in this process, by which others can come in."""


@asynccontextmanager
async def open_world(
    addresses: Sequence[str], name: str, engine: kv.Engine, *, ports: Host = REAL_HOST
) -> AsyncIterator[World]:
    """Open a namespace for as long as the body runs.

    Args:
        addresses: ``HOST:PORT`` where servers of one store answer clients; none: the store is in
            this process, and ends with the body.
        name: of the namespace.
        engine: of a store in this process: three servers on loopback, or the memory engine, which
            needs none.
        ports: the machine to run on.

    Raises:
        StoreUnavailable: no server has answered within two seconds.
        InvalidParameter: they have no such namespace; the name is none.
    """
    with trio.CancelScope() as scope:
        async with AsyncExitStack() as stack:
            if addresses:
                yield await _go_to(stack, addresses, name, ports)
            elif engine == "memory":
                yield World(await stack.enter_async_context(kv.open_memory(ports=ports)))
            else:
                stack.enter_context(_logs_held_back())
                yield await _open_servers(stack, name, engine, ports)
                # All three end here: none has anything to tell the others.
                scope.cancel()


async def _go_to(stack: AsyncExitStack, addresses: Sequence[str], name: str, ports: Host) -> World:
    """Become a client of servers that are there."""
    opening = open_sticky(addresses, name, ports=ports)
    return World(*await stack.enter_async_context(opening))


async def _open_servers(stack: AsyncExitStack, name: str, engine: kv.Engine, ports: Host) -> World:
    """Open servers that know each other, and become a client of them."""
    stores: list[kv.Store] = []
    for _ in range(SERVERS):
        descriptions = tuple(store.description for store in stores)
        config = kv.StoreConfig(namespaces={name: engine}, descriptions=descriptions)
        stores.append(await stack.enter_async_context(kv.open_store(config, ports=ports)))
    doors = tuple(address for store in stores for address in store.offers[name].addresses)
    if engine == "eventual":
        router = StickyRouter(doors, doors)
        client = await stack.enter_async_context(kv.open_client(router, ports=ports))
        return World(client, router.turn, doors)
    return World(stores[0].namespaces[name], doors=doors)


@contextmanager
def _logs_held_back() -> Iterator[None]:
    """Keep what servers in this process log, and write it when the game is over."""
    logger, keeper = logging.getLogger(LOGGERS), _Keeper(logging.WARNING)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(keeper)
    try:
        yield
    finally:
        logger.removeHandler(keeper)
        logger.propagate = propagates
        for line in keeper.lines:
            note(line)


class _Keeper(logging.Handler):
    """Keeps the first lines."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        if len(self.lines) < MOST_RECORDS:
            self.lines.append(self.format(record))
