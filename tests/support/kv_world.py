"""Servers of the store on simulated machines, each with clients next to it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import trio

from tests.support.sim_network import SimNetwork, open_sim_network
from trio440 import kv
from trio440.core.host import Host
from trio440.kv.client import EventualClient, open_client
from trio440.kv.server import Server, open_server

__all__ = ["ENGINES", "KvWorld", "addresses_of", "for_all", "open_kv_world", "store_on"]

PORT: Final = 7000
ENGINES: Final[dict[str, kv.Engine]] = {
    "default": "eventual",
    "exact": "linearizable",
    "here": "memory",
}
"""A namespace of each engine."""


class KvWorld:
    """Servers by number; a client for each of their query actors, on the same machine."""

    def __init__(self, network: SimNetwork, stack: AsyncExitStack) -> None:
        self.network = network
        self.hosts: list[Host] = []
        self.servers: list[Server] = []
        self.clients: list[list[EventualClient]] = []
        self._stack = stack

    def machine(self) -> tuple[str, Host]:
        """Add a machine."""
        address = f"10.0.0.{len(self.hosts) + 1}"
        self.hosts.append(self.network.host(address, seed=len(self.hosts)))
        return address, self.hosts[-1]

    async def add_server(self, count: int, **options: Any) -> Server:
        """Start a server that knows all before it, with a client for each of its actors."""
        address, ports = self.machine()
        descriptions = [server.description for server in self.servers]
        options = {"descriptions": descriptions, **options}
        server = await self._stack.enter_async_context(
            open_server(PORT, count, host=address, ports=ports, **options)
        )
        self.servers.append(server)
        self.clients.append(
            [
                await self._stack.enter_async_context(open_client([where], ports=ports))
                for where in server.client_addresses
            ]
        )
        return server

    @property
    def every_client(self) -> list[EventualClient]:
        """Of all servers."""
        return [client for clients in self.clients for client in clients]

    async def all_of(self, client: EventualClient) -> dict[bytes, bytes]:
        """Everything that a client sees."""
        found: dict[bytes, bytes] = {}
        after, more = None, True
        while more:
            page = await client.list(after=after)
            found |= {entry.key: entry.value for entry in page.entries}
            after, more = max(found, default=b""), page.more
        return found

    async def everything(self) -> list[dict[bytes, bytes]]:
        """What each client sees."""
        return [await self.all_of(client) for client in self.every_client]

    def bytes_sent(self) -> int:
        """By all servers, encoded."""
        return sum(server.statistics().bytes_sent for server in self.servers)

    def highest_rate(self) -> float:
        """Of any actor to any other one."""
        return max(server.statistics().highest_rate for server in self.servers)


@asynccontextmanager
async def open_kv_world(
    counts: Sequence[int] = (), *, latency_ms: int = 200, seed: int = 1, **options: Any
) -> AsyncIterator[KvWorld]:
    """Servers with so many query actors each, and a latency between their machines."""
    async with open_sim_network(seed) as network, AsyncExitStack() as stack:
        network.recording = False
        network.weather(delay=latency_ms * 1000)
        world = KvWorld(network, stack)
        for count in counts:
            await world.add_server(count, **options)
        yield world


async def for_all(
    clients: Sequence[EventualClient], function: Callable[[int, EventualClient], Any]
) -> None:
    """Call ``function(number, client)`` for all at once, and wait for all."""
    async with trio.open_nursery() as nursery:
        for number, client in enumerate(clients):
            nursery.start_soon(function, number, client)


@asynccontextmanager
async def store_on(world: KvWorld, **options: Any) -> AsyncIterator[tuple[kv.Store, Host]]:
    """Run a store on a machine of its own, with a namespace of each engine."""
    address, ports = world.machine()
    config = kv.StoreConfig(
        **{"host": address, "start_port": PORT, "namespaces": ENGINES, **options}
    )
    async with kv.open_store(config, ports=ports) as store:
        yield store, ports


def addresses_of(store: kv.Store) -> list[str]:
    """Return where a store answers clients."""
    return [address for offer in store.offers.values() for address in offer.addresses]
