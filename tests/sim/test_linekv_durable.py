"""The durable line-protocol server: what was answered is there again, whatever happened."""

import errno
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Literal

import attrs
import pytest
import trio

from tests.support.journal_world import DIRECTORY, machine, until_the_end
from tests.support.sim_network import open_sim_network
from trio440.core.host import Host
from trio440.errors import (
    ConnectionBroken,
    InvalidParameter,
    JournalBusy,
    JournalCorrupt,
    JournalFailed,
)
from trio440.journal import open_journal
from trio440.linekv import Client, Limits, Server, connect, open_server
from trio440.sim.blocking import SimBlocking
from trio440.sim.disk import SimDisk
from trio440.sim.power import PowerCut

SERVER = "10.0.0.1"
PORT = 9999


@attrs.define
class World:
    machine: Host
    client_ports: Host
    disk: SimDisk
    latency_seconds: float = 0.0

    def server_ports(self) -> Host:
        host = attrs.evolve(self.machine, disk=self.disk.tree)
        if self.latency_seconds:
            blocking = SimBlocking(lambda: self.latency_seconds, host.clock)
            host = attrs.evolve(host, blocking=blocking)
        return host

    @asynccontextmanager
    async def server(self, limits: Limits | None = None) -> AsyncIterator[Server]:
        ports = self.server_ports()
        async with open_server(
            PORT, host=SERVER, data=DIRECTORY, limits=limits, ports=ports
        ) as server:
            yield server

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with connect(SERVER, PORT, ports=self.client_ports) as client:
            yield client

    async def get_all(self, keys: list[bytes]) -> list[list[bytes]]:
        """What a server started now answers to each."""
        async with self.server(), self.client() as client:
            return [await client.get(key) for key in keys]

    async def get(self, key: bytes, limits: Limits | None = None) -> list[bytes]:
        """What a server started now answers."""
        async with self.server(limits), self.client() as client:
            return await client.get(key)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_sim_network(1) as network:
        client_ports = network.host("10.0.0.2", seed=3)
        server = network.host(SERVER, seed=2)
        yield World(server, client_ports, SimDisk(random.Random(4)))
        assert network.open_endpoints == []


async def test_a_restarted_server_has_it_all(world: World) -> None:
    async with world.server() as server, world.client() as client:
        await client.put(b"key", b"a:b")
        await client.put(b"key", b"\xff\r\xfe")
        await client.put(b"", b"")
        await client.put(b"gone", b"1")
        await client.delete(b"gone")
        await client.update(b"key", b"absent", b"::")
        await client.send(b"Put:key:cr\r\r\n")
        await client.put(b"updated", b"old")
        await client.update(b"updated", b"old", b"new")
        shown = await client.get(b"key")
        assert shown == [b"a:b", b"\xff\r\xfe", b"::", b"cr"]  # it takes the \r for a line end's
        statistics = server.journal_statistics()
        assert statistics is not None
        assert statistics.durable_index == statistics.last_index > 0
        before = server.statistics()
    async with world.server() as server, world.client() as client:
        after = server.statistics()
        assert (after.keys, after.memory_bytes) == (before.keys, before.memory_bytes)
        assert await client.get(b"key") == shown
        assert await client.get(b"") == [b""]
        assert await client.get(b"gone") == []
        assert await client.get(b"updated") == [b"new"]


async def test_a_server_in_memory_has_no_journal(world: World) -> None:
    async with open_server(PORT, host=SERVER, ports=world.server_ports()) as server:
        async with world.client() as client:
            await client.put(b"a", b"1")
            assert await client.get(b"a") == [b"1"]
        assert server.journal_statistics() is None
    assert world.disk.operations == 0


@attrs.define
class User:
    """Puts and looks, and knows what it was shown."""

    key: bytes
    put: list[bytes] = attrs.Factory(list)
    shown: int = 0

    async def use(self, client: Client) -> None:
        with suppress(ConnectionBroken):
            for number in range(12):
                self.put.append(b"value %d" % number)
                await client.put(self.key, self.put[-1])
                await client.put(b"noise", bytes(500))
                await client.delete(b"noise")
                if number % 3 == 2:
                    self.shown = len(await client.get(self.key))


async def live(world: World, users: list[User]) -> None:
    async with (
        world.server(Limits(log_bytes=40)),
        contexts(world, len(users)) as clients,
        trio.open_nursery() as nursery,
    ):
        for user, client in zip(users, clients, strict=True):
            nursery.start_soon(user.use, client)


@pytest.mark.parametrize(
    ("after", "stride"),
    [
        (False, 4),
        pytest.param(False, 1, marks=pytest.mark.campaign),
        pytest.param(True, 1, marks=pytest.mark.campaign),
    ],
)
async def test_a_power_cut_at_every_operation(world: World, after: bool, stride: int) -> None:
    """What a Get has shown is there, and of the later Puts of the connection a beginning."""
    for op in count(step=stride):
        world.disk = disk = SimDisk(random.Random(4))
        disk.cut_power_at(op, after=after)
        users = [User(b"a"), User(b"b")]
        ended = await until_the_end(live(world, users))
        for image in (op, op + 1):
            survival: Literal["nothing", "random"] = "random" if image % 3 else "nothing"
            world.disk = disk.crash(random.Random(image), survival)
            where = f"cut at {op}, image {image}"
            contents = await world.get_all([user.key for user in users])
            for user, found in zip(users, contents, strict=True):
                assert found == user.put[: len(found)], where
                assert len(found) >= user.shown, where
        if ended is None:
            assert op > 30
            return
        assert isinstance(ended, PowerCut)


async def test_an_answer_waits_for_the_disk(world: World) -> None:
    """Also for what somebody else has put; and what is not answered does not wait."""
    world.latency_seconds = 1.0
    async with world.server() as server, world.client() as one, world.client() as two:
        start = trio.current_time()
        await one.put(b"a", b"1")
        await trio.sleep(0.1)
        assert server.statistics().keys == 1
        assert await two.get(b"a") == [b"1"]
        assert trio.current_time() - start >= 1.0
        start = trio.current_time()
        assert await two.get(b"a") == [b"1"]
        assert trio.current_time() - start < 0.5


async def test_many_clients_share_a_sync(world: World) -> None:
    world.latency_seconds = 0.1

    async def use(client: Client, key: bytes) -> None:
        for number in range(5):
            await client.put(key, b"%d" % number)
            assert len(await client.get(key)) == number + 1

    async with world.server() as server, contexts(world, 20) as clients:
        async with trio.open_nursery() as nursery:
            for number, client in enumerate(clients):
                nursery.start_soon(use, client, b"%d" % number)
        statistics = server.journal_statistics()
        assert statistics is not None
        assert statistics.records == 100
        assert statistics.commits <= 20


@asynccontextmanager
async def contexts(world: World, number: int) -> AsyncIterator[list[Client]]:
    if number == 0:
        yield []
        return
    async with world.client() as client, contexts(world, number - 1) as others:
        yield [client, *others]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_a_failing_disk_is_said_to_every_request(world: World, code: int) -> None:
    with pytest.raises(JournalFailed):
        async with world.server() as server, world.client() as client:
            await client.put(b"a", b"1")
            assert await client.get(b"a") == [b"1"]
            world.disk.fail_at(world.disk.operations, code)
            await client.put(b"a", b"2")
            await client.send_line(b"Get:a")
            line = await client.receive_line()
            assert line is not None
            assert line.startswith(b"Error: this server cannot write its disk any more: [Errno")
            operations, before = world.disk.operations, server.statistics()
            requests = [b"Put:a:3", b"Get:a", b"Delete:a", b"Update:a:1:4", b"Get:b"]
            for request in requests:
                await client.send_line(request)
                assert await client.receive_line() == line
            async with world.client() as other:
                await other.send_line(b"Get:a")
                assert await other.receive_line() == line
            assert world.disk.operations == operations
            after = server.statistics()
            assert (after.keys, after.memory_bytes) == (before.keys, before.memory_bytes)
    assert (await world.get(b"a"))[:1] == [b"1"]
    assert await world.get(b"a") in ([b"1"], [b"1", b"2"])


async def test_a_full_disk_with_room_again(world: World) -> None:
    with pytest.raises(JournalFailed):
        async with world.server(), world.client() as client:
            await client.put(b"a", b"1")
            assert await client.get(b"a") == [b"1"]
            world.disk.full = True
            await client.put(b"a", b"2")
            await client.send_line(b"Get:a")
            line = await client.receive_line()
            assert line is not None
            assert b"No space left" in line
    with pytest.raises(JournalFailed, match="No space left"):
        await world.get(b"a")
    world.disk.full = False
    assert await world.get(b"a") == [b"1"]


async def test_snapshots_take_the_place_of_the_log(world: World) -> None:
    limits = Limits(log_bytes=1000)
    async with world.server(limits) as server, world.client() as client:
        for number in range(300):
            await client.put(b"a", b"%d" % number)
            await client.put(b"b", bytes(1000))
            await client.delete(b"b")
            if number % 10 == 0:
                assert len(await client.get(b"a")) == number + 1
        assert await client.get(b"b") == []
        statistics = server.journal_statistics()
        assert statistics is not None
        assert statistics.snapshots >= 2
        tree = world.disk.tree(DIRECTORY)
        used = sum(tree.size(name) for name in tree.list_directory(""))
        assert used < statistics.bytes_written / 4
    assert await world.get(b"a") == [b"%d" % number for number in range(300)]
    assert await world.get(b"b") == []
    async with open_journal(DIRECTORY, ports=world.server_ports()) as journal:
        recovered = journal.take_recovered()
        assert recovered.snapshot is not None
        assert recovered.snapshot.startswith(b"Put:a:0\nPut:a:1\n")


async def test_limits_below_what_is_stored_are_refused(world: World) -> None:
    async with world.server(), world.client() as client:
        await client.put(b"a", b"1")
        await client.put(b"b", b"2")
        await client.get(b"a")
    with pytest.raises(InvalidParameter, match="its limit is 1 keys"):
        await world.get(b"a", Limits(keys=1))
    assert await world.get(b"b") == [b"2"]


async def test_a_refused_request_is_not_written(world: World) -> None:
    limits = Limits(keys=1)
    async with world.server(limits) as server, world.client() as client:
        await client.put(b"a", b"1")
        await client.put(b"b", b"2")
        assert await client.receive_line() == b"Error: the store is full, its limit is 1 keys"
        statistics = server.journal_statistics()
        assert statistics is not None
        assert statistics.records == 1
    assert await world.get(b"b", limits) == []


async def test_the_journal_of_another_program_is_refused(world: World) -> None:
    async with open_journal(DIRECTORY, ports=machine(world.disk)) as journal:
        await journal.append([b"something else"])
    with pytest.raises(JournalCorrupt, match="not the journal of a linekv server"):
        await world.get(b"a")


async def test_one_server_at_a_time(world: World) -> None:
    async with world.server():
        with pytest.raises(JournalBusy):
            await world.get(b"a")


async def test_a_closed_server_has_everything_that_it_took(world: World) -> None:
    """Lines that nobody asked about are written at a normal end."""
    world.latency_seconds = 0.5
    async with world.server() as server, world.client() as client:
        for number in range(50):
            await client.put(b"a", b"%d" % number)
        await trio.sleep(0.1)
        assert server.statistics().requests == 50
    world.disk = world.disk.crash(random.Random(1), "nothing")
    assert len(await world.get(b"a")) == 50
