"""Servers that offer namespaces of several engines, and clients that find them by name."""

from typing import Any

import pytest
import trio

from tests.support.kv_world import ENGINES, PORT, addresses_of, open_kv_world, store_on
from tests.support.rpc_world import until
from trio440 import kv
from trio440.errors import AddressInUse, InvalidParameter, StoreUnavailable


async def test_each_engine_has_its_ports_and_is_found_by_its_name() -> None:
    async with open_kv_world() as world, store_on(world, count=2) as (store, ports):
        host = store.offers["here"].addresses[0].rpartition(":")[0]
        assert {name: offer.addresses for name, offer in store.offers.items()} == {
            "default": (f"{host}:{PORT + 1}", f"{host}:{PORT + 2}"),
            "exact": (f"{host}:{PORT + 3}",),
            "here": (f"{host}:{PORT + 4}",),
        }
        assert repr(store) == "<kv.Store default, exact, here>"
        _, elsewhere = world.machine()
        for address in addresses_of(store):  # each of them tells of all
            assert await kv.discover([address], ports=elsewhere) == dict(store.offers)
            assert await kv.describe(address, ports=ports) == store.description
        for name, engine in ENGINES.items():
            async with kv.connect(addresses_of(store), name, ports=elsewhere) as space:
                assert space.engine == engine
                assert isinstance(space, kv.AtomicNamespace) == (engine != "eventual")
                await space.put(b"of", name.encode())
        for name in ("exact", "here"):
            entry = await store.namespaces[name].get(b"of")
            assert entry is not None
            assert entry.value == name.encode()


@pytest.mark.slow
async def test_peers_that_join_at_the_same_time_all_become_voters() -> None:
    async with (
        open_kv_world() as world,
        store_on(world, namespaces={"default": "linearizable"}) as (one, _),
        store_on(world, namespaces={"default": "linearizable"}, descriptions=[one.description]) as (
            two,
            _,
        ),
        store_on(world, namespaces={"default": "linearizable"}, descriptions=[one.description]) as (
            three,
            ports,
        ),
    ):
        peers = [each.peer for each in (one, two, three) if each.peer is not None]
        await until(lambda: all(len(peer.members.voters) == 3 for peer in peers))
        async with kv.connect(addresses_of(three), ports=ports) as space:
            await space.put(b"k", b"v")
        for each in (one, two, three):
            entry = await each.namespaces["default"].get(b"k")
            assert entry is not None
            assert entry.value == b"v"


async def test_a_peer_with_a_directory_comes_back_as_itself() -> None:
    async with open_kv_world() as world:
        address, ports = world.machine()
        config = kv.StoreConfig(
            host=address,
            start_port=PORT,
            namespaces={"default": "linearizable"},
            directory="kv",
        )
        for turn in range(2):
            async with kv.open_store(config, ports=ports) as store:
                assert store.peer is not None
                assert store.peer.id == f"{address}:{PORT}"
                space = store.namespaces["default"]
                entry = await space.get(b"k")
                assert (entry is not None) == bool(turn)
                await space.put(b"k", b"v")


async def test_servers_that_are_down_are_left_out() -> None:
    async with open_kv_world() as world, store_on(world) as (store, ports):
        began = trio.current_time()
        nobody = "10.0.0.99:7000"
        async with kv.connect([nobody, *addresses_of(store)], "here", ports=ports) as space:
            await space.put(b"k", b"v")
        assert trio.current_time() - began < 4
        with pytest.raises(StoreUnavailable, match=r"10\.0\.0\.99:7000 did not answer") as caught:
            await kv.discover([nobody], ports=ports)
        assert not caught.value.may_have_happened
        assert store.eventual is not None
        with pytest.raises(StoreUnavailable, match="is no port for clients of a store"):
            await kv.discover([store.eventual.address], ports=ports)


async def test_where_nobody_listens_is_left_out_as_soon_as_another_one_has_answered() -> None:
    async with open_kv_world() as world, store_on(world) as (store, ports):
        nobody = store.offers["here"].addresses[0].rpartition(":")[0] + ":7099"
        began = trio.current_time()
        assert await kv.discover([nobody, *addresses_of(store)], ports=ports) == store.offers
        assert trio.current_time() - began < 0.2
        began = trio.current_time()
        with pytest.raises(StoreUnavailable, match=f"reached: nobody listens at {nobody}$"):
            await kv.discover([nobody], ports=ports)
        assert trio.current_time() - began == pytest.approx(2), "it may start late"


async def test_who_has_not_answered_is_named() -> None:
    async with open_kv_world() as world, store_on(world) as (store, ports):
        there = addresses_of(store)
        nobody, silent = there[0].rpartition(":")[0] + ":7099", "10.0.0.99:7000"
        found = await kv.look([nobody, *there, silent], ports=ports)
        assert len(found.replicas) == len(there)
        assert found.unanswered == (
            kv.Unanswered(nobody, "nobody listens there"),
            kv.Unanswered(silent, "nothing came within 2 s"),
        )
        assert (await kv.look(there, ports=ports)).unanswered == ()
        said = (
            f"nobody listens at {nobody}; {silent} did not answer: nothing came within 2 s",
            "namespace must be one of default, exact, here",
        )
        with pytest.raises(InvalidParameter) as caught:
            async with kv.connect([nobody, *there, silent], "elsewhere", ports=ports):
                raise AssertionError("not reached")  # pragma: no cover
        assert str(caught.value) == f"{said[1]} ({said[0]}), not 'elsewhere'"
        with pytest.raises(StoreUnavailable) as unavailable:
            await kv.look([nobody, silent], ports=ports)
        assert unavailable.value.reason == said[0]


async def test_a_client_of_a_memory_namespace_says_that_nobody_listens() -> None:
    async with open_kv_world() as world:
        address, ports = world.machine()
        async with kv.open_served(f"{address}:7099", ports=ports) as space:
            with pytest.raises(
                StoreUnavailable, match=r"nobody listens at 10\.0\.0\.1:7099"
            ) as caught:
                await space.put(b"k", b"v")
        assert not caught.value.may_have_happened


async def test_who_gives_one_address_reads_what_it_has_written() -> None:
    async with open_kv_world() as world, store_on(world, count=3) as (store, ports):
        where = store.offers["default"].addresses[1]
        async with kv.connect([where], ports=ports) as space:
            for number in range(6):
                await space.put(b"%d" % number, b"v")
                assert await space.get(b"%d" % number) is not None


async def test_a_server_that_has_not_begun_is_asked_again() -> None:
    """It answers on its first port, while it waits for those whom it joins."""
    async with open_kv_world() as world:
        namespaces: dict[str, kv.Engine] = {"default": "eventual"}
        async with store_on(world, namespaces=namespaces) as (gone, _):
            description = gone.description
        host, ports = world.machine()
        found: list[Any] = []

        async def ask() -> None:
            where = f"{host}:{PORT + 1}"
            await trio.sleep(0.5)
            found.append(await kv.describe(where, ports=ports))
            found.append(await kv.discover([where], ports=ports))

        config = kv.StoreConfig(
            host=host, start_port=PORT, namespaces=namespaces, descriptions=[description]
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            async with kv.open_store(config, ports=ports) as store:
                await until(lambda: len(found) == 2)
                assert found == [store.description, store.offers]


async def test_a_namespace_that_is_not_there_is_named_along_with_those_that_are() -> None:
    async with open_kv_world() as world, store_on(world) as (store, ports):
        with pytest.raises(InvalidParameter, match="one of default, exact, here, not 'nix'"):
            async with kv.connect(addresses_of(store), "nix", ports=ports):
                raise AssertionError("not reached")  # pragma: no cover


async def test_how_replicas_are() -> None:
    async with open_kv_world() as world, store_on(world, count=2) as (store, ports):
        for name in ENGINES:
            await store.namespaces[name].put(b"k", b"v")
        await trio.sleep(2)
        found = await kv.look(addresses_of(store), ports=ports)
        rows = [(row.namespace, row.role, row.keys, row.lag) for row in found.replicas]
        assert rows == [
            ("default", "query actor", 1, 0),
            ("default", "query actor", 1, 0),
            ("exact", "leader", None, 0),
            ("here", "memory", 1, 0),
        ]
        assert [(lag.number, lag.unit) for lag in found.lags] == [(0, "ms"), (0, "ms")]


async def test_each_server_has_its_own_memory_and_shows_it() -> None:
    only = {"namespaces": {"default": "memory"}}
    async with (
        open_kv_world() as world,
        store_on(world, **only) as (one, _),
        store_on(world, **only) as (two, ports),
    ):
        await two.namespaces["default"].put(b"k", b"v")
        addresses = [*addresses_of(one), *addresses_of(two)]
        found = await kv.look(addresses, ports=ports)
        assert [(row.address, row.keys) for row in found.replicas] == [
            (addresses[0], 0),
            (addresses[1], 1),
        ]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"namespaces": {}}, "namespaces"),
        ({"namespaces": {"a": "memory", "b": "memory"}}, "of one namespace only"),
        ({"namespaces": {"a": "what"}}, "one of eventual, linearizable, memory"),
        ({"namespaces": {"": "memory"}}, "1 to 100 printable"),
        ({"start_port": 65_534}, "start_port"),
        ({"count": 0}, "count"),
        ({"descriptions": ["x"]}, "has printed"),
        ({"namespaces": ENGINES, "descriptions": ['{"store":1}']}, "what a server|linearizable"),
        ({"namespaces": {"a": "linearizable"}, "directory": "d", "start_port": 0}, "id must be"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_open(
    options: dict[str, Any], problem: str
) -> None:
    async with open_kv_world() as world:
        with pytest.raises(InvalidParameter, match=problem):
            async with store_on(world, **options):
                raise AssertionError("not reached")  # pragma: no cover


async def test_a_port_that_is_taken_leaves_nothing_open() -> None:
    async with open_kv_world() as world:
        address, ports = world.machine()
        config = kv.StoreConfig(host=address, start_port=PORT, namespaces=ENGINES)
        listener = await ports.net.listen_tcp(address, PORT + 3)
        with pytest.raises(AddressInUse):
            async with kv.open_store(config, ports=ports):
                raise AssertionError("not reached")  # pragma: no cover
        await listener.aclose()
        async with kv.open_store(config, ports=ports):
            pass
