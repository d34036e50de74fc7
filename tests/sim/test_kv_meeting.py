"""Servers that are opened again meet, though nobody told them of the others' present lives."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from tests.support.kv_world import PORT, KvWorld, open_kv_world
from tests.support.rpc_world import until
from trio440 import actors, kv
from trio440.core.host import Host
from trio440.errors import StoreUnavailable
from trio440.kv.address_book import MOST, NEW, AddressBook

MEET_SECONDS = 8
"""From the start on: members find each other, one introduces the other, and asks it at once."""
EVENTUAL: dict[str, kv.Engine] = {"default": "eventual"}
LINEARIZABLE: dict[str, kv.Engine] = {"default": "linearizable"}


@attrs.define
class Place:
    """A machine with a disk, whatever runs on it."""

    address: str
    ports: Host
    description: str = ""
    """Of the last server there."""

    @asynccontextmanager
    async def server(self, **options: Any) -> AsyncIterator[kv.EventualClient]:
        """A client of a server that is opened here."""
        async with (
            kv.open_server(PORT, 1, host=self.address, ports=self.ports, **options) as server,
            kv.open_client(server.client_addresses, ports=self.ports) as client,
        ):
            self.description = server.description
            yield client


def places_in(world: KvWorld, count: int) -> list[Place]:
    return [Place(*world.machine()) for _ in range(count)]


async def require_together(clients: list[kv.EventualClient], key: bytes) -> None:
    """Require that all have soon what each takes now, and what each had before."""
    for number, client in enumerate(clients):
        await client.put(b"%s/%d" % (key, number), b"v")
    await trio.sleep(MEET_SECONDS)
    found = [{entry.key for entry in (await client.list()).entries} for client in clients]
    assert found == [set.union(*found)] * len(clients)


async def live(
    place: Place, descriptions: list[str], *, task_status: trio.TaskStatus[kv.EventualClient]
) -> None:
    async with place.server(descriptions=descriptions) as client:
        task_status.started(client)
        await trio.sleep_forever()


DURABLE: dict[str, Any] = {"data": "kv", "durability": "synced"}


@pytest.mark.parametrize("options", [{}, DURABLE], ids=["memory", "durable"])
async def test_servers_that_start_together_with_old_descriptions_meet(
    options: dict[str, Any],
) -> None:
    """A life that was described is over on both sides: messages to it reach nobody."""
    async with open_kv_world() as world:
        one, two = places_in(world, 2)
        async with one.server(), two.server(descriptions=[one.description]) as there:
            await there.put(b"before", b"v")
            await trio.sleep(2)
        old = one.description, two.description
        async with trio.open_nursery() as nursery:
            clients: list[kv.EventualClient] = []

            async def restart(place: Place, other: str) -> None:
                async with place.server(descriptions=[other], **options) as client:
                    clients.append(client)
                    await trio.sleep_forever()

            nursery.start_soon(restart, one, old[1])
            nursery.start_soon(restart, two, old[0])
            await until(lambda: len(clients) == 2)
            await require_together(clients, b"after")
            nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_durable_server_looks_for_those_that_it_knew() -> None:
    """Nobody is told of anybody the second time."""
    async with open_kv_world() as world:
        places = places_in(world, 3)
        one, two, three = places
        async with (
            one.server(**DURABLE) as here,
            two.server(descriptions=[one.description], **DURABLE) as there,
            three.server(descriptions=[two.description], **DURABLE) as elsewhere,
        ):
            await require_together([here, there, elsewhere], b"first")
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(place.server(**DURABLE))
                for place in (three, one, two)
            ]
            await require_together(clients, b"second")
            assert len((await clients[0].list()).entries) == 6


@pytest.mark.slow
async def test_a_durable_server_finds_one_that_was_told_of_it_and_never_of_this_life() -> None:
    async with open_kv_world() as world:
        one, two = places_in(world, 2)
        async with trio.open_nursery() as nursery:
            async with one.server(**DURABLE) as here:
                there = await nursery.start(live, two, [one.description])
                await require_together([here, there], b"first")
            async with one.server(**DURABLE) as here:
                await require_together([here, there], b"second")
            nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_what_is_no_server_is_asked_ever_more_seldom() -> None:
    """A system of actors of the same cluster may be anybody's."""
    async with open_kv_world() as world:
        one, two = places_in(world, 2)
        networking = actors.Networking(cluster="kv", seeds=[f"{one.address}:{PORT}"])
        async with (
            one.server(),
            actors.open_actor_system(
                two.address, PORT, networking=networking, ports=two.ports
            ) as system,
        ):
            await trio.sleep(100)
            assert 5 <= system.statistics().dead_letters <= 15


@pytest.mark.slow
async def test_a_voter_finds_the_others_though_it_is_told_of_none() -> None:
    """The one by which the two had joined does not come back."""
    async with open_kv_world() as world:
        places = places_in(world, 3)

        @asynccontextmanager
        async def store(place: Place, *descriptions: str) -> AsyncIterator[kv.Store]:
            config = kv.StoreConfig(
                host=place.address,
                start_port=PORT,
                namespaces=LINEARIZABLE,
                descriptions=descriptions,
                directory="kv",
            )
            async with kv.open_store(config, ports=place.ports) as opened:
                yield opened

        async with (
            store(places[0]) as one,
            store(places[1], one.description) as two,
            store(places[2], one.description) as three,
        ):
            for each in (one, two, three):
                await each.wait_joined()
            await three.namespaces["default"].put(b"k", b"v")
            await trio.sleep(2)
        async with store(places[1]) as two, store(places[2]) as three:
            with trio.fail_after(30):
                entry = await two.namespaces["default"].get(b"k")
                await three.wait_joined()
            assert entry is not None
            assert entry.value == b"v"


async def test_a_peer_has_joined_when_it_is_a_voter_and_that_is_committed() -> None:
    async with open_kv_world() as world:
        one, two = places_in(world, 2)
        config = kv.StoreConfig(host=one.address, start_port=PORT, namespaces=LINEARIZABLE)
        async with AsyncExitStack() as stack:
            first = kv.open_store(config, ports=one.ports)
            opened = await stack.enter_async_context(first)
            await opened.wait_joined()  # the only one is a voter from the beginning
            described = attrs.evolve(config, host=two.address, descriptions=[opened.description])
            async with kv.open_store(described, ports=two.ports) as store:
                assert store.peer is not None
                assert "10.0.0.2:7000" not in store.peer.members.voters
                with trio.fail_after(30):
                    await store.wait_joined()
                assert opened.peer is not None
                assert store.peer.id in opened.peer.members.voters
                assert not opened.peer.is_changing


@pytest.mark.slow
async def test_a_peer_whose_cluster_is_away_has_not_joined() -> None:
    async with open_kv_world() as world:
        one, two = places_in(world, 2)
        config = kv.StoreConfig(host=one.address, start_port=PORT, namespaces=LINEARIZABLE)
        async with kv.open_store(config, ports=one.ports) as store:
            description = store.description
        described = attrs.evolve(config, host=two.address, descriptions=[description])
        async with kv.open_store(described, ports=two.ports) as store:
            with trio.move_on_after(60) as scope:
                await store.wait_joined()
            assert scope.cancelled_caught
        async with (
            kv.open_store(attrs.evolve(config, namespaces=EVENTUAL), ports=one.ports) as store,
        ):
            await store.wait_joined()  # there is no peer


@pytest.mark.slow
async def test_a_store_needs_those_whom_it_joins_for_its_first_start_only() -> None:
    async with open_kv_world() as world:
        one, two = places_in(world, 2)
        engines: dict[str, kv.Engine] = {"default": "eventual", "exact": "linearizable"}
        founder = kv.StoreConfig(
            host=one.address, start_port=PORT, namespaces=engines, directory="kv"
        )
        config = attrs.evolve(founder, host=two.address, descriptions=[f"{one.address}:{PORT + 1}"])
        with pytest.raises(StoreUnavailable, match=r"nobody listens at 10\.0\.0\.1:7001"):
            async with kv.open_store(config, ports=two.ports):
                raise AssertionError("not reached")  # pragma: no cover
        async with (
            kv.open_store(founder, ports=one.ports),
            kv.open_store(config, ports=two.ports) as store,
        ):
            await store.wait_joined()
            await trio.sleep(2)
        reports: list[Exception] = []
        async with kv.open_store(config, report=reports.append, ports=two.ports) as store:
            await store.wait_joined()  # it was a voter before
            assert [type(report) for report in reports] == [StoreUnavailable]
            async with kv.open_store(founder, ports=one.ports) as first:
                for name in engines:
                    await first.namespaces[name].put(b"k", b"v")
                await trio.sleep(MEET_SECONDS)
                for name in engines:
                    assert await store.namespaces[name].count() == 1


# What is remembered


def held(book: AddressBook) -> list[str]:
    return [*book.lines]


async def test_a_book_keeps_what_was_noted_last() -> None:
    async with open_kv_world() as world:
        (place,) = places_in(world, 1)
        book, again = (AddressBook("book", "others", place.ports) for _ in range(2))
        await book.load()
        assert held(book) == []
        await book.note(["a:1", "b:2"])
        await book.note(["b:2", "c:3"])
        await again.load()
        assert held(again) == held(book) == ["a:1", "b:2", "c:3"]
        many = [f"d:{number}" for number in range(MOST - 1)]
        await again.note(many)
        assert held(again) == ["c:3", *many]
        await again.note(["e:1", *many, "c:3"])
        assert held(again) == [*many[1:], "e:1", "c:3"]
        await again.note(many)
        assert held(again)[0] == "d:1", "what was noted and had to go does not come in again"
        await again.replace(["f:1", "f:1"])
        await book.load()
        assert held(book) == held(again) == ["f:1"]
        nowhere = AddressBook(None, "others", place.ports)
        await nowhere.load()
        await nowhere.note(["a:1"])
        assert held(nowhere) == ["a:1"]


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[" * 100_000, b"{}", json.dumps([1, "a:1", "x" * 5000]).encode()]
)
async def test_a_book_that_is_none_holds_what_can_be_read(data: bytes) -> None:
    async with open_kv_world() as world:
        (place,) = places_in(world, 1)
        disk = place.ports.disk("book")
        file = disk.open_append("others")
        file.append(data)
        file.sync()
        file.close()
        book = AddressBook("book", "others", place.ports)
        await book.load()
        assert book.lines == (("a:1",) if data.endswith(b"]") else ())
        leftover = disk.open_append(f"others{NEW}")
        leftover.append(b"half of")
        leftover.close()
        await book.note(["b:2"])
        again = AddressBook("book", "others", place.ports)
        await again.load()
        assert again.lines == book.lines


async def test_addresses_that_are_none_do_not_keep_a_server_from_opening() -> None:
    async with open_kv_world() as world:
        (place,) = places_in(world, 1)
        for name in (("kv", "servers"), ("kv2", "peers")):
            await AddressBook(*name, place.ports).note(["no address", "10.0.0.9:7000"])
        async with place.server(**DURABLE) as client:
            await client.put(b"k", b"v")
        config = kv.StoreConfig(
            host=place.address, start_port=PORT, namespaces=LINEARIZABLE, directory="kv2"
        )
        async with kv.open_store(config, ports=place.ports):
            pass
