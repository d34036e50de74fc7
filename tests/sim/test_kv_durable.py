"""Durable servers of the eventual engine: what was answered is there again, and nothing else."""

import errno
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Literal

import attrs
import pytest
import trio

from tests.support.journal_world import DIRECTORY, until_the_end
from tests.support.sim_network import open_sim_network
from trio440 import kv
from trio440.actors.ref import Ref
from trio440.core.host import Host
from trio440.errors import (
    BadMessage,
    InvalidParameter,
    JournalBusy,
    JournalCorrupt,
    JournalFailed,
    StoreUnavailable,
)
from trio440.journal import open_journal
from trio440.kv import local
from trio440.kv.keeping import (
    decode_kept,
    encode_birth,
    encode_kept,
    encode_snapshot,
    restore,
)
from trio440.sim.blocking import SimBlocking
from trio440.sim.disk import SimDisk
from trio440.sim.power import PowerCut

ADDRESS = "10.0.0.1"
PORT = 7000
SMALL = kv.ReplicaLimits(log_bytes=4000, total_bytes=1 << 20)


@attrs.define
class World:
    machine: Host
    other: Host
    disk: SimDisk
    latency_seconds: float = 0.0

    def ports(self) -> Host:
        host = attrs.evolve(self.machine, disk=self.disk.tree)
        if self.latency_seconds:
            blocking = SimBlocking(lambda: self.latency_seconds, host.clock)
            host = attrs.evolve(host, blocking=blocking)
        return host

    @asynccontextmanager
    async def server(self, count: int = 1, **options: Any) -> AsyncIterator[kv.Server]:
        options = {"durability": "synced", "data": DIRECTORY, **options}
        async with kv.open_server(
            PORT, count, host=ADDRESS, ports=self.ports(), **options
        ) as server:
            yield server

    @asynccontextmanager
    async def client(self, server: kv.Server, place: int = 0) -> AsyncIterator[kv.EventualClient]:
        where = server.client_addresses[place]
        async with kv.open_client([where], ports=self.machine) as client:
            yield client

    async def kept(self, **options: Any) -> dict[bytes, bytes]:
        """What a server started now has."""
        async with self.server(**options) as server, self.client(server) as client:
            return {entry.key: entry.value for entry in (await client.list()).entries}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_sim_network(1) as network:
        network.recording = False
        machine, other = network.host(ADDRESS, seed=2), network.host("10.0.0.2", seed=3)
        yield World(machine, other, SimDisk(random.Random(4)))


@pytest.mark.parametrize("durability", ["written", "synced"])
@pytest.mark.parametrize("again", [1, 4])
async def test_a_server_that_is_opened_again_has_what_it_had(
    world: World, durability: str, again: int
) -> None:
    async with (
        world.server(3, durability=durability) as server,
        world.client(server, 0) as one,
        world.client(server, 2) as two,
    ):
        await one.put(b"a", b"1")
        await two.put(b"b", b"2")
        await two.put(b"soon", b"3", ttl_ms=10_000)
        await one.put(b"gone", b"4")
        await one.delete(b"gone")
        version = await one.put(b"a", b"5")
    await trio.sleep(1)
    async with (
        world.server(again, durability=durability) as server,
        world.client(server, again - 1) as client,
    ):
        entries = (await client.list()).entries
        assert [(entry.key, entry.value) for entry in entries] == [
            (b"a", b"5"),
            (b"b", b"2"),
            (b"soon", b"3"),
        ]
        assert entries[0].version == version
        assert 0 < (entries[2].ttl_ms or 0) < 10_000
        (inspected, *_) = await server.inspect()
        assert inspected.replica.tombstones == 1
        await trio.sleep(10)
        assert await client.count() == 2


async def test_a_later_life_writes_later_than_the_earlier_one(world: World) -> None:
    """Though its clock has gone back by more than the time between."""
    async with world.server() as server, world.client(server) as client:
        first = await client.put(b"k", b"first")
    wall: Any = world.machine.wall
    wall.error = -300.0
    async with world.server() as server, world.client(server) as client:
        assert await client.put(b"k", b"second") > first
    wall.error = 0.0
    assert await world.kept() == {b"k": b"second"}


async def test_what_other_servers_took_is_kept_too(world: World) -> None:
    async with (
        kv.open_server(PORT, 1, host="10.0.0.2", ports=world.other) as elsewhere,
        world.server(2, descriptions=[elsewhere.description]),
        kv.open_client(elsewhere.client_addresses, ports=world.other) as there,
    ):
        await there.put(b"k", b"v")
        await trio.sleep(2)
    assert await world.kept() == {b"k": b"v"}


async def test_an_actor_that_fails_goes_on_with_what_it_had(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one actor nobody else could give it back; nor could the journal, while it is open."""
    async with world.server(limits=SMALL) as server, world.client(server) as client:
        for number in range(50):
            await client.put(b"%d" % number, b"v" * 100)
        await client.delete(b"0")
        with monkeypatch.context() as patch:
            patch.setattr(kv.replica.Replica, "execute", None)
            with pytest.raises(StoreUnavailable):
                await client.put(b"poison", b"v")
        assert server.statistics().restarts == 1
        assert await client.count() == 49
        for _ in range(40):
            await client.put(b"more", b"v" * 100)
    assert len(await world.kept()) == 50


@pytest.mark.slow
async def test_snapshots_take_the_place_of_the_log(world: World) -> None:
    async with (
        world.server(2, limits=SMALL) as server,
        world.client(server, 0) as one,
        world.client(server, 1) as two,
    ):
        for number in range(140):
            await (one, two)[number % 2].put(b"%d" % (number % 20), b"%d" % number + b"v" * 100)
    tree = world.disk.tree(DIRECTORY)
    assert sum(tree.size(name) for name in tree.list_directory(".")) < 14_000
    kept = await world.kept(limits=SMALL)
    assert {key: value.rstrip(b"v") for key, value in kept.items()} == {
        b"%d" % (number % 20): b"%d" % number for number in range(120, 140)
    }


async def test_short_lives_leave_no_log_without_end(world: World) -> None:
    for life in range(12):
        async with world.server(limits=SMALL) as server, world.client(server) as client:
            await client.execute([kv.Put(b"k%d" % (at % 5), b"v" * 100) for at in range(20)])
            await client.put(b"life", b"%d" % life)
            await trio.sleep(1)
    tree = world.disk.tree(DIRECTORY)
    assert sum(tree.size(name) for name in tree.list_directory(".")) < 14_000
    assert (await world.kept(limits=SMALL))[b"life"] == b"11"


@pytest.mark.slow
async def test_what_is_behind_the_horizon_does_not_come_back_after_a_restart(world: World) -> None:
    limits = attrs.evolve(SMALL, grace_seconds=60)
    async with kv.open_server(PORT, 1, host="10.0.0.2", ports=world.other) as elsewhere:
        options: dict[str, Any] = {"limits": limits, "descriptions": [elsewhere.description]}
        async with (
            world.server(**options) as server,
            world.client(server) as client,
        ):
            await client.put(b"gone", b"v")
            await trio.sleep(2)
        # The other server stays, and hears nothing of what follows.
        async with world.server(limits=limits) as server, world.client(server) as client:
            await client.delete(b"gone")
            await trio.sleep(100)
            for number in range(80):  # takes a snapshot
                await client.put(b"k", b"%d" % number + b"v" * 100)
            (inspected,) = await server.inspect()
            assert inspected.replica.tombstones == 0
        async with (
            world.server(**options) as server,
            world.client(server) as client,
            kv.open_client(elsewhere.client_addresses, ports=world.other) as there,
        ):
            await trio.sleep(30)
            assert await client.get(b"gone") is None
            assert await there.get(b"gone") is None


# Power cuts and failing disks


async def write(world: World, shown: dict[bytes, int], durability: str) -> None:
    async with world.server(2, limits=SMALL, durability=durability) as server:

        async def use(place: int) -> None:
            async with world.client(server, place) as client:
                for number in range(1, 13):
                    await client.put(b"%d" % place, b"%d" % number)
                    shown[b"%d" % place] = number
                    await client.put(b"noise", bytes(200))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, 0)
            nursery.start_soon(use, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("durability", "stride"),
    [
        ("synced", 37),
        ("written", 41),
        pytest.param("synced", 1, marks=pytest.mark.campaign),
        pytest.param("written", 1, marks=pytest.mark.campaign),
    ],
)
async def test_a_power_cut_at_every_operation(
    world: World, durability: Literal["written", "synced"], stride: int
) -> None:
    """What was answered is there where it is synced; where it is not, something coherent is."""
    for op in count(step=stride):
        world.disk = disk = SimDisk(random.Random(4))
        disk.cut_power_at(op)
        shown: dict[bytes, int] = {}
        ended = await until_the_end(write(world, shown, durability))
        world.disk = disk.crash(random.Random(op), "random" if op % 3 else "nothing")
        kept = await world.kept(limits=SMALL)
        for key, number in shown.items():
            least = number if durability == "synced" else 0
            assert least <= int(kept.get(key, b"0")) <= number + 1, f"cut at {op}"
        if ended is None:
            assert op > 40
            return
        assert isinstance(ended, PowerCut)


async def test_an_answer_waits_for_the_disk_where_it_is_synced(world: World) -> None:
    world.latency_seconds = 1.0
    for durability, least, most in [("synced", 1.0, 2.5), ("written", 0.0, 0.1)]:
        async with (
            world.server(durability=durability) as server,
            world.client(server) as client,
        ):
            await client.get(b"warm up")
            for space in (client, server.namespace):
                began = trio.current_time()
                await space.put(b"k", b"v")
                assert least <= trio.current_time() - began <= most


async def test_calls_of_the_own_process_share_the_disk_and_do_not_queue_for_it(
    world: World,
) -> None:
    world.latency_seconds = 1.0
    async with world.server() as server:
        ended: list[float] = []

        async def put(number: int) -> None:
            await server.namespace.put(b"%d" % number, b"v")
            ended.append(trio.current_time() - began)

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(put, number)
                await trio.sleep(0.1)
        assert server.namespace.messages == 10
        assert max(ended) < 4, "ten writes to the disk take ten seconds"


async def test_calls_of_the_own_process_that_wait_when_the_server_ends_fail(world: World) -> None:
    world.latency_seconds = 1.0
    failures: dict[type, bool] = {}

    async def work(operation: kv.Operation) -> None:
        with pytest.raises(StoreUnavailable, match="this server is closed") as caught:
            await server.namespace.execute([operation])
        failures[type(operation)] = caught.value.may_have_happened

    async with trio.open_nursery() as nursery, world.server() as server:
        await server.namespace.put(b"a", b"v")
        nursery.start_soon(work, kv.Put(b"b", b"v"))
        await trio.sleep(0.5)
        nursery.start_soon(work, kv.Get(b"b"))
        await trio.sleep(0.1)
    assert failures == {kv.Put: True, kv.Get: False}


async def test_a_disk_that_hangs_is_not_waited_for_without_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "TIMEOUT_SECONDS", 5.0)
    async with world.server() as server:
        world.latency_seconds = 20.0
    async with world.server() as server:
        for may_have_happened, operation in ((True, kv.Put(b"a", b"v")), (False, kv.Get(b"a"))):
            with pytest.raises(StoreUnavailable, match="disk did not answer within 5 s") as caught:
                await server.namespace.execute([operation])
            assert caught.value.may_have_happened is may_have_happened


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_a_disk_that_fails_is_said_to_every_client(world: World, code: int) -> None:
    with pytest.raises(JournalFailed):
        async with world.server() as server, world.client(server) as client:
            await client.put(b"a", b"1")
            world.disk.fail_at(world.disk.operations, code)
            with pytest.raises(StoreUnavailable, match="JournalFailed"):
                await client.put(b"a", b"2")
            with pytest.raises(StoreUnavailable, match="JournalFailed"):
                await client.get(b"a")
            with pytest.raises(JournalFailed):
                await server.wait_failed()
            for operation in (kv.Put(b"a", b"2"), kv.Get(b"a")):
                with pytest.raises(StoreUnavailable) as caught:
                    await server.namespace.execute([operation])
                assert caught.value.may_have_happened is isinstance(operation, kv.Put)
            with pytest.raises(StoreUnavailable):
                async with server.namespace.watch():
                    pass
    assert (await world.kept())[b"a"] in (b"1", b"2")


# Opening


async def test_a_directory_has_one_server(world: World) -> None:
    async with world.server():
        with pytest.raises(JournalBusy):
            async with kv.open_server(
                PORT + 10, data=DIRECTORY, durability="synced", host=ADDRESS, ports=world.ports()
            ):
                raise AssertionError("not reached")  # pragma: no cover


async def test_the_journal_of_another_program_is_refused(world: World) -> None:
    async with open_journal(DIRECTORY, ports=world.ports()) as journal:
        await journal.append([b"something else"])
    with pytest.raises(JournalCorrupt, match="not the journal of a server of the store"):
        await world.kept()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"data": None}, "data"),
        ({"durability": "memory"}, "data"),
        ({"durability": "sure"}, "durability"),
        ({"limits": kv.ReplicaLimits()}, "total_bytes"),
    ],
)
async def test_what_does_not_go_together_is_refused(
    world: World, options: dict[str, Any], name: str
) -> None:
    with pytest.raises(InvalidParameter, match=name):
        await world.kept(**options)


def test_kept_writes_are_split_where_they_are_long() -> None:
    writer = Ref[Any]("h:1", 1, 1)
    rows = [(b"%d" % n, b"v" * 500_000, n, writer, 0) for n in range(20)]
    records = encode_kept(rows)
    assert 2 <= len(records) <= 4
    assert [row for record in records for row in decode_kept(record)[1]] == rows
    assert encode_kept([]) == []


def test_a_journal_knows_when_the_store_began_there() -> None:
    """What is older is what others have to tell it first, after a restart, too."""
    writer = Ref[Any]("h:1", 1, 1)
    birth, kept = encode_birth(500), encode_kept([(b"k", b"v", 900, writer, 0)])
    assert restore(None, [], 1000) is None
    for snapshot, records, keys in [
        (None, [birth, *kept], 1),
        (encode_snapshot(800, 500, kept), [], 1),
        (encode_snapshot(800, 500, []), kept, 1),
        (encode_snapshot(800, 500, []), [], 0),
    ]:
        restored = restore(snapshot, records, 1000)
        assert restored is not None
        assert (restored.born, len(restored)) == (500, keys)
        assert restored.horizon == (0 if snapshot is None else 800)
        if snapshot is not None:
            assert restored.merge(b"late", b"v", 800, writer) == "refused"


@pytest.mark.parametrize(
    "data", [b"", b"\x80", encode_kept([(b"k", b"v", 1, Ref[Any]("h", 1, 1), 0)])[0][:-3]]
)
def test_bytes_that_are_no_writes_are_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_kept(data)
