"""What servers of the store do with clients and systems of actors that keep to no rules."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import pytest
import trio

from tests.support.kv_world import PORT, KvWorld, open_kv_world
from trio440 import actors, kv, raft, rpc
from trio440.actors.ref import Ref
from trio440.core.host import format_address
from trio440.errors import BadMessage, StoreUnavailable
from trio440.kv.description import parse_description
from trio440.kv.discovery import (
    CLUSTER,
    IDENTITY,
    Discovery,
    Offer,
    Offered,
    StoreDescription,
    WhatIsThere,
    readable_offers,
)
from trio440.kv.operations import Get
from trio440.kv.query_actor import Meet, Tick
from trio440.kv.sync_messages import ServerInfo, Sync
from trio440.kv.voters import MOST_PLACES, Joined, Joining, add_places

A = TypeVar("A")


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


# Who answers, and is no store


@pytest.mark.parametrize(
    ("offered", "problem"),
    [
        ([Offer("default", "memory", ("nonsense",))], "no address"),
        ([Offer("default", "\x1b[2J", ("h:1",))], "no name"),
        ([Offer("default\n\x1b[2J", "memory", ("h:1",))], "no name"),
        ([Offer("", "memory", ("h:1",))], "no name"),
        ([Offer("d" * 101, "memory", ("h:1",))], "no name"),
        ([Offer("default", "memory", ("h:1",) * 257)], "257 addresses"),
        ([Offer(f"d{number}", "memory", ("h:1",)) for number in range(5000)], "5000 namespaces"),
    ],
)
def test_offers_that_no_store_makes_are_none(offered: list[Offer], problem: str) -> None:
    with pytest.raises(BadMessage, match=problem):
        readable_offers(Offered(tuple(offered)))
    good, empty = Offer("default", "memory", ("h:1",)), Offer("other", "eventual", ())
    assert readable_offers(Offered((good, empty), "d")) == Offered((good,), "d")


async def test_who_offers_nonsense_is_no_store() -> None:
    async with open_kv_world(latency_ms=1) as world:
        address, ports = world.machine()
        for engine in ("memory", "eventual", "linearizable"):
            routes = rpc.Routes()
            offered = Offered((Offer("default", engine, ()),))
            routes.add(Discovery.offers, partial(_answer, offered))
            async with rpc.open_server(
                0, routes, host=address, identity=IDENTITY, ports=ports
            ) as s:
                with pytest.raises(StoreUnavailable, match="has not begun yet"):
                    async with kv.connect([format_address(s.address)], ports=ports):
                        raise AssertionError("not reached")  # pragma: no cover


def _answer(answer: A, _: Any, __: rpc.Peer) -> A:
    return answer


async def test_a_peer_that_joins_passes_over_places_that_are_none() -> None:
    """And asks on where somebody answers who is no peer."""

    class Odd(rpc.Service, name="kv.joining"):
        join = rpc.method(WhatIsThere, Offered)

    async with open_kv_world(latency_ms=1) as world, AsyncExitStack() as stack:
        where: list[raft.Place] = []
        for answer in (Joined, None):
            address, ports = world.machine()
            routes = rpc.Routes()
            if answer is None:
                routes.add(Odd.join, partial(_answer, Offered(())))
            else:
                bad = [raft.Place(f"bad {port}", "10.9.9.9", port) for port in (-1, 0, 70_000)]
                said = Joined(is_voter=False, places=(*bad, raft.Place("", "h", 1)))
                routes.add(Joining.join, partial(_answer, said))
            await stack.enter_async_context(
                rpc.open_server(PORT, routes, host=address, identity=IDENTITY, ports=ports)
            )
            where.append(raft.Place(address, address, PORT))
        address, ports = world.machine()
        peers = [(place.id, place.host, place.port) for place in where]
        config = kv.StoreConfig(
            host=address,
            start_port=PORT,
            namespaces={"default": "linearizable"},
            descriptions=[str(StoreDescription(None, tuple(peers)))],
        )
        async with kv.open_store(config, ports=ports) as store:
            await trio.sleep(3)
            assert store.peer is not None


def test_places_that_somebody_makes_up_are_few() -> None:
    known: dict[str, raft.Place] = {}
    add_places(known, "me", [raft.Place(f"made up {n}", "10.9.9.9", 1) for n in range(1000)])
    assert len(known) == MOST_PLACES
    moved = raft.Place("made up 1", "10.9.9.9", 2)
    add_places(known, "me", [moved, raft.Place("me", "10.9.9.9", 3)])
    assert known["made up 1"] == moved
    assert len(known) == MOST_PLACES


async def test_a_batch_that_is_far_too_long_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[object] = []
    monkeypatch.setattr("trio440.kv.server.unpack_operation", read.append)
    async with open_kv_world((1,), latency_ms=1) as world:
        results = await world.clients[0][0].execute([Get(b"k")] * 20_000)
        assert {getattr(result, "reason", None) for result in results} == {
            "a batch has at most 10000 operations"
        }
        assert len(results) == 20_000
        assert not read
