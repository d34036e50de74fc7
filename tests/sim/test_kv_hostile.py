"""What servers of the store do with clients and systems of actors that keep to no rules."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from tests.support.kv_world import KvWorld, open_kv_world
from trio440 import actors, kv
from trio440.actors.ref import Ref
from trio440.kv.description import parse_description
from trio440.kv.discovery import CLUSTER
from trio440.kv.query_actor import Meet, Tick
from trio440.kv.sync_messages import ServerInfo, Sync


@asynccontextmanager
async def open_stranger(world: KvWorld) -> AsyncIterator[actors.ActorSystem]:
    """A system of actors that knows the name of the store's cluster."""
    address, ports = world.machine()
    networking = actors.Networking(cluster=CLUSTER, seeds=[world.servers[0].address])
    async with actors.open_actor_system(
        address, 9000, networking=networking, ports=ports
    ) as system:
        yield system


def actor_of(server: kv.Server, place: int = 0) -> Ref[Any]:
    """Return the reference of a query actor."""
    info = parse_description(server.description).server
    return info.ref(info.counters[place])


async def test_ticks_that_somebody_else_sends_leave_no_timers_behind() -> None:
    async with open_kv_world((1, 1), latency_ms=10) as world, open_stranger(world) as stranger:
        await world.clients[0][0].put(b"k", b"v")
        before = world.servers[0].statistics().timers
        for _ in range(1000):
            stranger.tell(actor_of(world.servers[0]), Tick())
        await trio.sleep(5)
        assert world.servers[0].statistics().timers <= before + 2


async def test_who_asks_to_meet_servers_that_there_are_not_is_not_remembered_for_ever() -> None:
    async with open_kv_world((1,), latency_ms=10) as world, open_stranger(world) as stranger:
        ref, (server,) = actor_of(world.servers[0]), world.servers
        nowhere = ServerInfo("10.9.9.9:9", 1, (1,))
        sender = stranger.address, 1, stranger.incarnation
        stranger.tell(ref, Sync((sender,), 0, servers=(nowhere,)))
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await stranger.ask(ref, Meet(), timeout_seconds=60))

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(ask)
            await trio.sleep(5)
            assert answers == [False] * 14
            nursery.cancel_scope.cancel()
        assert (await server.inspect())[0].servers == 1
