"""Namespaces of all engines for the suites that they share, in virtual time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from tests.support.sim_network import SimNetwork, open_sim_network
from trio440 import kv, raft, rpc

__all__ = [
    "LIMITS",
    "Opened",
    "open_eventual",
    "open_linearizable",
    "open_local",
    "open_memory",
    "open_served",
]

ADDRESSES = [(f"10.0.0.{number}", 7000) for number in (1, 2, 3)]

LIMITS = kv.TableLimits(
    key_bytes=64, value_bytes=1000, list_entries=50, operations=8, leases=3, history_changes=200
)


@attrs.frozen
class Opened:
    """A namespace that is new, and what a suite must know of it."""

    space: kv.Namespace
    lateness_seconds: float
    """What ends by its time is gone so much after it."""


@asynccontextmanager
async def open_memory(limits: kv.TableLimits = LIMITS) -> AsyncIterator[Opened]:
    async with kv.open_memory(limits) as space:
        yield Opened(space, lateness_seconds=0.001)


@asynccontextmanager
async def _open_server() -> AsyncIterator[tuple[kv.Server, SimNetwork]]:
    """Have one server with one replica, so that what was written is seen at once."""
    limits = kv.ReplicaLimits(
        key_bytes=LIMITS.key_bytes,
        value_bytes=LIMITS.value_bytes,
        list_entries=LIMITS.list_entries,
        list_bytes=8 << 20,
        history_changes=LIMITS.history_changes,
    )
    async with open_sim_network(1) as network:
        network.recording = False
        network.weather(delay=500, jitter=500)
        ports = network.host("10.0.0.1", seed=1)
        async with kv.open_server(7000, host="10.0.0.1", limits=limits, ports=ports) as server:
            yield server, network


@asynccontextmanager
async def open_eventual() -> AsyncIterator[Opened]:
    """Use a server from another machine."""
    async with _open_server() as (server, network):
        ports = network.host("10.0.0.9", seed=9)
        async with kv.open_client(server.client_addresses, ports=ports) as space:
            yield Opened(space, lateness_seconds=0.2)


@asynccontextmanager
async def open_local() -> AsyncIterator[Opened]:
    """Use a server from its own process."""
    async with _open_server() as (server, _):
        yield Opened(server.namespace, lateness_seconds=0.2)


@asynccontextmanager
async def open_served(limits: kv.TableLimits = LIMITS) -> AsyncIterator[Opened]:
    """Use a namespace of another machine's memory."""
    async with open_sim_network(1) as network:
        network.recording = False
        network.weather(delay=500, jitter=500)
        ports, mine = network.host("10.0.0.1", seed=1), network.host("10.0.0.9", seed=9)
        async with kv.open_memory(limits, ports=ports) as memory:
            routes = rpc.Routes()
            kv.serve_routes(memory, routes, ports)
            identity = rpc.Identity("kv")
            async with (
                rpc.open_server(7000, routes, host="10.0.0.1", identity=identity, ports=ports),
                kv.open_served("10.0.0.1:7000", ports=mine) as space,
            ):
                yield Opened(space, lateness_seconds=0.003)


@asynccontextmanager
async def open_linearizable(limits: kv.TableLimits = LIMITS) -> AsyncIterator[Opened]:
    """Have three peers and a client, on a network that takes its time."""
    async with (
        open_sim_network(1) as network,
        trio.open_nursery() as nursery,
        AsyncExitStack() as stack,
    ):
        network.recording = False
        network.weather(delay=500, jitter=500)
        for number in (1, 2, 3):
            await nursery.start(_serve, network, number, limits)
        ports = network.host("10.0.0.9", seed=9)
        opening = kv.open_linearizable(ADDRESSES, ports=ports)
        space = await stack.enter_async_context(opening)
        await space.execute([kv.Delete(b"warm"), kv.Get(b"warm")])  # somebody leads from now on
        yield Opened(space, lateness_seconds=0.2)
        nursery.cancel_scope.cancel()


async def _serve(
    network: SimNetwork,
    number: int,
    limits: kv.TableLimits,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    places = tuple(raft.Place(f"n{n}", *ADDRESSES[n - 1]) for n in (1, 2, 3))
    config = raft.PeerConfig(
        id=f"n{number}",
        members=("n1", "n2", "n3"),
        places=places,
        host=ADDRESSES[number - 1][0],
        port=7000,
        raft=raft.Config(heartbeat_ticks=2, election_ticks=8, election_ticks_spread=8),
        tick_seconds=0.05,  # seldom, since tests are about what lasts seconds
    )
    ports = network.host(ADDRESSES[number - 1][0], seed=number)
    async with kv.open_linearizable_peer(config, limits, ports=ports):
        task_status.started()
        await trio.sleep_forever()
