"""Servers and clients of the eventual engine: starting, failing, restarting, watching, limits."""

from typing import Any

import pytest
import trio

from tests.support.kv_world import PORT, KvWorld, open_kv_world
from trio440 import kv, rpc
from trio440.actors.ref import Ref
from trio440.errors import (
    AddressInUse,
    HandshakeRefused,
    HistoryCompacted,
    InvalidParameter,
    OperationRefused,
    StoreUnavailable,
)
from trio440.kv import Append, Change, Get, Increment, Put, Refused, packing
from trio440.kv.description import parse_description
from trio440.kv.discovery import IDENTITY
from trio440.kv.hlc import pack
from trio440.kv.operations import Changed, Found
from trio440.kv.replica import Replica
from trio440.kv.service import Execute, Follow, Queries
from trio440.sim.faults import Weather


async def value_of(client: kv.EventualNamespace, key: bytes) -> bytes | None:
    entry = await client.get(key)
    return None if entry is None else entry.value


# Starting


async def test_ports_are_those_after_the_first_one() -> None:
    async with open_kv_world((3,)) as world:
        (server,) = world.servers
        assert server.address == "10.0.0.1:7000"
        assert server.client_addresses == ("10.0.0.1:7001", "10.0.0.1:7002", "10.0.0.1:7003")
        assert repr(server) == "<kv.Server 10.0.0.1:7000, 3 query actors>"


@pytest.mark.parametrize("taken", [0, 1, 3])
async def test_every_port_has_to_be_free(taken: int) -> None:
    """And when one is not, the others are free again."""
    async with open_kv_world() as world:
        address, ports = world.machine()
        listener = await ports.net.listen_tcp(address, PORT + taken)
        with pytest.raises(AddressInUse, match=str(PORT + taken)):
            async with kv.open_server(PORT, 3, host=address, ports=ports):
                raise AssertionError("not reached")  # pragma: no cover
        await listener.aclose()
        async with kv.open_server(PORT, 3, host=address, ports=ports) as server:
            assert len(server.client_addresses) == 3


async def test_a_server_starts_though_one_that_it_was_told_of_is_gone() -> None:
    async with open_kv_world((1,)) as world:
        gone = world.servers[0].description
        lost = gone.replace("10.0.0.1", "10.0.0.99")
        began = trio.current_time()
        await world.add_server(1, descriptions=[lost, gone])
        assert trio.current_time() - began < 4
        await world.clients[0][0].put(b"k", b"v")
        await trio.sleep(2)
        assert await value_of(world.clients[1][0], b"k") == b"v"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ({"start_port": 65_534, "count": 2}, "start_port"),
        ({"start_port": -1}, "start_port"),
        ({"count": 0}, "count"),
        ({"count": True}, "count"),
        ({"join_seconds": -1}, "join_seconds"),
        ({"descriptions": ["{}"]}, "description"),
    ],
)
async def test_what_is_out_of_range_is_refused(words: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidParameter, match=name):
        async with kv.open_server(**words):
            raise AssertionError("not reached")  # pragma: no cover


def test_descriptions_are_read_strictly() -> None:
    good = '{"store":1,"address":"h:1","incarnation":5,"actors":[1,2],"clients":["h:2","h:3"]}'
    assert str(parse_description(good)) == good
    for bad in (
        "",
        "null",
        "[" * 5000,
        "1" * 200_000,
        good.replace('"store":1', '"store":2'),
        good.replace("h:1", "h"),
        good.replace("[1,2]", "[]"),
        good.replace("[1,2]", "[-1]"),
        good.replace("[1,2]", "[true]"),
        good.replace('"h:2"', "7"),
        good.replace("5", "1e3"),
    ):
        with pytest.raises(InvalidParameter, match="description must be what a server"):
            parse_description(bad)


# Clients


async def test_calls_overlap() -> None:
    async with open_kv_world((2,)) as world:
        _, ports = world.machine()  # 200 ms away
        async with kv.open_client(world.servers[0].client_addresses, ports=ports) as client:
            await client.put(b"warm", b"v")
            await client.put(b"up", b"v")
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(client.put, b"%d" % number, b"v")
            assert trio.current_time() - began < 0.5
            assert await client.count() > 50


async def test_a_batch_is_one_message() -> None:
    async with open_kv_world((1,)) as world:
        (client,) = world.every_client
        before = world.servers[0].statistics().sent_from_outside
        await client.execute([Put(b"%d" % number, b"v") for number in range(100)])
        assert world.servers[0].statistics().sent_from_outside == before + 1


async def test_what_a_client_writes_is_later_than_what_it_has_read_anywhere() -> None:
    """Though the second server's clock is a minute behind, and has not heard of the first write."""
    async with open_kv_world((1,)) as world:
        await world.add_server(1)
        wall: Any = world.hosts[1].wall
        wall.error = -60.0
        _, ports = world.machine()
        addresses = [server.client_addresses[0] for server in world.servers]
        async with kv.open_client(addresses, ports=ports) as client:
            await client.put(b"k", b"first")
            await client.put(b"k", b"second")
        await trio.sleep(2)
        assert [await value_of(each, b"k") for each in world.every_client] == [b"second"] * 2


async def test_siblings_are_seen_by_clients_of_other_servers() -> None:
    async with open_kv_world((1, 1)) as world:
        one, two = world.every_client
        await one.put_sibling(b"cart", b"milk")
        await two.put_sibling(b"cart", b"bread", ttl_ms=60_000)
        await trio.sleep(3)
        found = await one.siblings(b"cart")
        assert {entry.value for entry in found.entries} == {b"milk", b"bread"}
        assert await one.get(b"cart") == found.entries[0]
        version = await two.put_sibling(b"cart", b"both", found.context)
        await trio.sleep(3)
        assert [entry.value for entry in (await one.siblings(b"cart")).entries] == [b"both"]
        assert version > max(entry.version for entry in found.entries)
        with pytest.raises(OperationRefused, match="no context"):
            await one.put_sibling(b"cart", b"v", b"not one")


async def test_what_the_engine_cannot_do_is_refused_in_its_place() -> None:
    async with open_kv_world((1,)) as world:
        (client,) = world.every_client
        results = await client.execute(
            [
                Put(b"k", b"1"),
                Increment(b"k"),
                Put(b"k", b"2", lease=3),
                Append(b"k", b"3"),
                Get(b"k"),
            ]
        )
        kinds = [result.kind if isinstance(result, Refused) else "" for result in results]
        assert kinds == ["", "unsupported", "unsupported", "unsupported", ""]
        assert await value_of(client, b"k") == b"1"
        with pytest.raises(OperationRefused, match="the limit is 4096"):
            await client.put(b"k" * 5000, b"v")
        with pytest.raises(OperationRefused, match="time to live"):
            await client.put(b"k", b"v", ttl_ms=1 << 80)
        too_much = await client.execute([Put(b"k", b"v" * (400 << 10))] * 50)
        assert {type(result) for result in too_much} == {Refused}


async def test_deletes_and_times_to_live_go_everywhere() -> None:
    async with open_kv_world((2, 2)) as world:
        first, last = world.every_client[0], world.every_client[-1]
        await first.put(b"gone", b"v")
        await first.put(b"soon", b"v", ttl_ms=5000)
        await trio.sleep(2)
        assert await last.delete(b"gone")
        assert await last.expire(b"soon", 6000)
        await trio.sleep(2)
        assert {tuple(each) for each in await world.everything()} == {(b"soon",)}
        await trio.sleep(4)
        assert {tuple(each) for each in await world.everything()} == {()}
        assert not await first.delete(b"soon")


# An actor that fails


async def test_an_actor_that_fails_begins_anew_and_gets_everything_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_kv_world((3, 1)) as world:
        victim = world.clients[0][1]
        for number in range(200):
            await victim.put(b"%d" % number, b"v")
        await trio.sleep(2)
        fail_on(b"poison", monkeypatch)
        with pytest.raises(StoreUnavailable, match="ActorFailed"):
            await victim.put(b"poison", b"v")
        assert world.servers[0].statistics().restarts == 1
        await trio.sleep(12)
        assert {len(each) for each in await world.everything()} == {200}
        await victim.put(b"after", b"v")
        await world.clients[1][0].put(b"there", b"v")
        await trio.sleep(2)
        assert {len(each) for each in await world.everything()} == {202}


def fail_on(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a replica raise when this key is put."""
    execute = Replica.execute

    def fail(replica: Replica, seen: int, operations: Any, now_ms: int) -> Any:
        if any(operation.key == key for operation in operations if isinstance(operation, Put)):
            raise RuntimeError("poison")
        return execute(replica, seen, operations, now_ms)

    monkeypatch.setattr(Replica, "execute", fail)


# Partitions


async def test_a_partition_heals() -> None:
    async with open_kv_world((2, 2)) as world:
        for pair in (("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")):
            world.network.link(*pair, Weather(loss=1.0))
        await world.clients[0][0].put(b"here", b"v")
        await world.clients[1][0].put(b"there", b"v")
        await trio.sleep(120)
        assert [len(each) for each in await world.everything()] == [1, 1, 1, 1]
        for pair in (("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")):
            world.network.link(*pair, Weather(delay=200_000))
        await trio.sleep(30)
        assert [len(each) for each in await world.everything()] == [2, 2, 2, 2]


async def test_a_server_that_is_opened_again_is_a_later_life() -> None:
    async with open_kv_world((1,)) as world:
        address, ports = world.machine()
        options: dict[str, Any] = {"host": address, "ports": ports}
        for number in range(2):
            async with (
                kv.open_server(
                    PORT, 2, descriptions=[world.servers[0].description], **options
                ) as server,
                kv.open_client(server.client_addresses, ports=ports) as client,
            ):
                await client.put(b"%d" % number, b"v")
                await trio.sleep(2)
                await world.clients[0][0].put(b"here %d" % number, b"v")
                await trio.sleep(2)
                assert await client.count() == 2 * number + 2
        assert len(await world.all_of(world.clients[0][0])) == 4
        (inspected,) = await world.servers[0].inspect()
        assert inspected.servers == 1


# Watching


async def test_a_watch_hears_of_every_change_in_order() -> None:
    async with open_kv_world((2,)) as world:
        first, second = world.every_client
        heard: list[Change] = []
        async with second.watch(b"a") as changes:
            await first.put(b"a1", b"1")
            heard.append(await anext(changes))
            await second.put(b"b", b"2")
            await second.put(b"a2", b"3", ttl_ms=3000)
            await second.put(b"a3", b"4")
            await second.delete(b"a1")
            with trio.fail_after(10):
                heard += [await anext(changes) for _ in range(4)]
        assert [(change.key, change.value) for change in heard] == [
            (b"a1", b"1"),
            (b"a2", b"3"),
            (b"a3", b"4"),
            (b"a1", None),
            (b"a2", None),
        ]


async def test_a_watch_goes_on_behind_a_position() -> None:
    async with open_kv_world((1,)) as world:
        (client,) = world.every_client
        async with client.watch() as changes:
            for number in range(5):
                await client.put(b"k", b"%d" % number)
            first = [await anext(changes) for _ in range(2)]
        async with client.watch(after=first[-1].position) as changes:
            rest = [await anext(changes) for _ in range(3)]
        assert [change.value for change in first + rest] == [b"0", b"1", b"2", b"3", b"4"]
        versions = [change.version for change in first + rest]
        assert versions == sorted(set(versions))


async def test_a_watch_leads_back_to_its_replica() -> None:
    async with open_kv_world((3,)) as world:
        _, ports = world.machine()
        async with kv.open_client(world.servers[0].client_addresses, ports=ports) as client:
            async with client.watch() as changes:
                await client.put(b"k", b"1")
                first = await anext(changes)
            await client.put(b"k", b"2")
            async with client.watch(after=first.position) as changes:
                assert (await anext(changes)).value == b"2"


async def test_forgotten_changes_are_said_to_be_forgotten() -> None:
    limits = kv.ReplicaLimits(history_changes=3)
    async with open_kv_world((1,), limits=limits) as world:
        (client,) = world.every_client
        async with client.watch() as changes:
            await client.put(b"k", b"v")
            first = await anext(changes)
            for _ in range(5):
                await client.put(b"k", b"v")
            with pytest.raises(HistoryCompacted):
                await anext(changes)
        with pytest.raises(HistoryCompacted):
            async with client.watch(after=first.position):
                raise AssertionError("not reached")  # pragma: no cover


@pytest.mark.parametrize("after", [b"", b"x", b"10.0.0.1:7001 life", b"10.0.0.1:7001 l x", b"\xff"])
async def test_what_is_no_position_is_refused(after: bytes) -> None:
    async with open_kv_world((1,)) as world:
        (client,) = world.every_client
        with pytest.raises(InvalidParameter, match="after"):
            async with client.watch(after=after):
                raise AssertionError("not reached")  # pragma: no cover


async def test_watches_that_wait_are_bounded() -> None:
    async with open_kv_world((1,), limits=kv.ReplicaLimits(watches=2)) as world:
        (client,) = world.every_client
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(listen, client)
            await trio.sleep(1)
            with pytest.raises(OperationRefused, match="watches"):
                await listen(client)
            (inspected,) = await world.servers[0].inspect()
            assert inspected.watches == 2
            nursery.cancel_scope.cancel()
        await trio.sleep(30)
        (inspected,) = await world.servers[0].inspect()
        assert inspected.watches == 0, "who has gone is forgotten when its time is over"


async def test_watches_of_clients_that_have_gone_make_room() -> None:
    limits = kv.ReplicaLimits(watches=2)
    async with open_kv_world((1,), limits=limits) as world:
        (client,) = world.every_client
        _, ports = world.machine()
        async with (
            kv.open_client(world.servers[0].client_addresses, ports=ports) as leaving,
            trio.open_nursery() as nursery,
        ):
            for _ in range(2):
                nursery.start_soon(listen, leaving)
            await trio.sleep(10)
            (inspected,) = await world.servers[0].inspect()
            assert inspected.watches == 2
            with pytest.raises(OperationRefused, match="watches"):
                await listen(client)
            nursery.cancel_scope.cancel()
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, client)
            await trio.sleep(1)
            (inspected,) = await world.servers[0].inspect()
            assert inspected.watches == 1
            nursery.cancel_scope.cancel()


async def listen(client: kv.EventualNamespace) -> None:
    async with client.watch() as changes:
        await anext(changes)


# What strangers say


async def test_what_is_no_operation_is_refused_by_itself() -> None:
    async with open_kv_world((1,)) as world, raw_client(world) as client:
        nothing = (
            b"",
            b"\xc0",
            b"\x91\x02",
            b"\x92\x63\xc0",
            packing.pack(Changed(1, existed=True)),
        )
        said = (packing.pack(Get(b"k")), *nothing, packing.pack(Put(b"k", b"v")))
        answer = await Queries(client).execute(Execute(0, said))
        first, *refused, last = map(packing.unpack_result, answer.results)
        assert first == Found(None)
        assert {each.kind for each in refused if isinstance(each, Refused)} == {"malformed"}
        assert len(refused) == len(nothing)
        assert isinstance(last, Changed)


async def test_a_stamp_from_the_future_is_not_believed() -> None:
    async with open_kv_world((1,)) as world, raw_client(world) as client:
        put = packing.pack(Put(b"k", b"v"))
        for stamp in (pack(1 << 46), -5, (1 << 63) - 1):
            answer = await Queries(client).execute(Execute(stamp, (put,)))
            kind = Refused if stamp > 0 else Changed
            assert isinstance(packing.unpack_result(answer.results[0]), kind)
            assert answer.clock < pack(1 << 45)


async def test_a_watch_of_another_life_is_answered_at_once() -> None:
    async with open_kv_world((1,)) as world, raw_client(world) as client:
        for number in (-1, 0, 1 << 60):
            answer = await Queries(client).follow(Follow(b"", "another", number, 1 << 60))
            assert answer.number == answer.forgotten == 0


def raw_client(world: KvWorld) -> Any:
    host, port = world.servers[0].client_addresses[0].split(":")
    return rpc.open_client(host, int(port), identity=IDENTITY, ports=world.hosts[0])


async def test_a_client_of_something_else_is_refused() -> None:
    async with open_kv_world((1,)) as world:
        host, port = world.servers[0].client_addresses[0].split(":")
        async with rpc.open_client(host, int(port), ports=world.hosts[0]) as client:
            with pytest.raises(HandshakeRefused, match="cluster"):
                await Queries(client).execute(Execute(0, ()))


def test_a_router_needs_addresses() -> None:
    for addresses in ([], ["h"], "h:1"):
        with pytest.raises(InvalidParameter):
            kv.RoundRobin(addresses)
    assert Ref[Any]("h:1", 1, 1) < Ref[Any]("h:1", 10, 1)


# Faults of others


@pytest.mark.slow
async def test_overwrites_arrive_in_their_order() -> None:
    """Whoever watches on another server sees a key go forward only."""
    async with open_kv_world((2, 2)) as world:
        writer, reader = world.every_client[0], world.every_client[-1]
        async with reader.watch(b"k") as changes:
            for number in range(100):
                await writer.put(b"k", b"%03d" % number)
                await trio.sleep(0.03)
            heard: list[bytes] = []
            while not heard or heard[-1] != b"099":
                heard.append((await anext(changes)).value or b"")
        assert heard == sorted(heard)
        assert len(heard) > 10


@pytest.mark.slow
async def test_nothing_is_kept_of_clients_that_have_gone() -> None:
    async with open_kv_world((2,)) as world:
        (server,) = world.servers
        await trio.sleep(60)
        before = server.statistics()
        for _ in range(20):
            async with kv.open_client(server.client_addresses, ports=world.hosts[0]) as client:
                await client.put(b"k", b"v")
                async with client.watch() as changes:
                    with trio.move_on_after(0.1):
                        await anext(changes)
        await trio.sleep(120)
        after = server.statistics()
        assert after.open_asks == before.open_asks == 0
        assert after.timers <= before.timers
        assert [each.watches for each in await server.inspect()] == [0, 0]
