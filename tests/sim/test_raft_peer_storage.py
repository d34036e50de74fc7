"""Raft peers whose storage is slow, or fails at the moment that suits nobody."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
import pytest
import trio

from tests.support.raft_world import FAST, HOSTS, PORT, Cluster
from trio440 import raft
from trio440.core.host import Host
from trio440.errors import JournalFailed, PeerStopped
from trio440.raft.acquaintance import Acquaintance
from trio440.raft.kv import KeyValueMap, Put, encode
from trio440.raft.messages import SnapshotMeta
from trio440.raft.ready import Ready
from trio440.raft.storage import MemoryStorage, Storage
from trio440.sim import simulated
from trio440.sim.world import World


class Slow(MemoryStorage):
    """The latest snapshot takes the place of the one before while it is saved."""

    def __init__(self, ports: Host) -> None:
        super().__init__()
        self._ports = ports
        self.is_saving = False
        self.refused = 0

    async def save_snapshot(self, meta: SnapshotMeta, data: bytes) -> None:
        self.save_now(meta, data)
        self.is_saving = True
        await self._ports.clock.sleep(1)
        self.is_saving = False

    async def read_snapshot(self, meta: SnapshotMeta, offset: int, length: int) -> bytes | None:
        data = self.read_now(meta, offset, length)
        self.refused += data is None
        return data


class Broken(MemoryStorage):
    """Fails in the midst of two calls at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: set[str] = set()
        self._both = trio.Event()

    async def _fail(self, call: str) -> None:
        self._calls.add(call)
        if len(self._calls) > 1:
            self._both.set()
        await self._both.wait()
        raise JournalFailed(f"no {call}")

    async def write(self, batch: Sequence[Ready]) -> None:
        del batch
        await self._fail("write")

    async def acquaint(self, batch: Sequence[Acquaintance]) -> None:
        del batch
        await self._fail("note")


class Counting(MemoryStorage):
    """Counts the writes."""

    writes = 0

    async def write(self, batch: Sequence[Ready]) -> None:
        self.writes += 1
        await super().write(batch)


class Fragile:
    """Bears no command but one."""

    def apply(self, _index: int, command: bytes) -> bytes:
        if command == b"break":
            raise ZeroDivisionError
        return command

    def snapshot(self) -> Callable[[], bytes]:
        return bytes

    def restore(self, _data: bytes) -> None:
        raise AssertionError


def config_of(world: World, name: str, members: Sequence[str], **changes: Any) -> raft.PeerConfig:
    config = raft.PeerConfig(
        id=name,
        members=tuple(members),
        places=tuple(raft.Place(other, other, PORT) for other in HOSTS),
        host=world.machines[name].address,
        port=PORT,
        raft=FAST,
        is_new=True,
    )
    return attrs.evolve(config, **changes)


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=60)
async def test_a_snapshot_that_a_later_one_replaces_is_not_asked_for_again_and_again(
    world: World,
) -> None:
    cluster = Cluster(world, ["n1"], directory=None)
    storages: list[Slow] = []
    config = config_of(world, "n1", ["n1"], raft=attrs.evolve(FAST, keep_entries=0))

    async def live(ports: Host) -> None:
        storages.append(Slow(ports))
        storage: Storage = storages[0]
        async with raft.open_peer(config, KeyValueMap(), storage=storage, ports=ports) as peer:
            cluster.peers["n1"] = peer
            await trio.sleep_forever()

    world.start("n1", live)
    leader = await cluster.leader()
    await leader.propose(encode(Put(b"k", b"1")))
    await leader.snapshot()
    await leader.propose(encode(Put(b"k", b"2")))
    cluster.start("n2", members=())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leader.snapshot)
        await cluster.until(lambda: storages[0].is_saving)
        await leader.add_learner("n2")
        await trio.sleep(0.5)
        assert storages[0].is_saving
        assert storages[0].refused == 1
    await cluster.until(lambda: cluster.peers["n2"].report().commit == leader.report().commit)


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=60)
async def test_a_disk_that_fails_two_tasks_at_once_is_one_failure(world: World) -> None:
    cluster = Cluster(world, HOSTS, directory=None)
    ended: list[JournalFailed] = []
    config = config_of(world, "n1", HOSTS, raft=attrs.evolve(FAST, pre_vote=False))

    async def live(ports: Host) -> None:
        try:
            async with raft.open_peer(config, KeyValueMap(), storage=Broken(), ports=ports):
                await trio.sleep_forever()
        except JournalFailed as error:
            ended.append(error)

    cluster.start("n2", "n3", is_new=True)
    world.start("n1", live)
    await cluster.until(lambda: ended)


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=60)
async def test_a_commit_alone_is_kept_with_the_next_write_or_at_the_next_tick(world: World) -> None:
    cluster, storage = Cluster(world, ["n1"], directory=None), Counting()
    config = config_of(world, "n1", ["n1"], is_new=False)

    async def live(ports: Host) -> None:
        async with raft.open_peer(config, KeyValueMap(), storage=storage, ports=ports) as peer:
            cluster.peers["n1"] = peer
            await trio.sleep_forever()

    world.start("n1", live)
    leader = await cluster.leader()
    await trio.sleep(1)
    before = storage.writes
    for number in range(20):
        await leader.propose(encode(Put(b"k", b"%d" % number)))
    assert storage.writes - before == 20
    await trio.sleep(3 * config.tick_seconds)
    assert storage.writes - before == 21
    stored = await storage.load()
    assert stored is not None
    assert stored.hard_state.commit == leader.report().commit


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=60)
async def test_a_machine_that_fails_ends_its_peer_and_not_who_brought_the_message(
    world: World,
) -> None:
    """Entries are applied in the task that takes in an answer, which belongs to RPC."""
    cluster = Cluster(world, HOSTS, directory=None)
    ended: list[str] = []

    def live_as(name: str) -> Callable[[Host], Awaitable[None]]:
        async def live(ports: Host) -> None:
            config = config_of(world, name, HOSTS)
            try:
                async with raft.open_peer(config, Fragile(), ports=ports) as peer:
                    cluster.peers[name] = peer
                    await trio.sleep_forever()
            except ZeroDivisionError:
                ended.append(name)

        return live

    for name in HOSTS:
        world.start(name, live_as(name))
    leader = await cluster.leader()
    assert await leader.propose(b"bear") == b"bear"
    with pytest.raises(PeerStopped):
        await leader.propose(b"break")
    await cluster.until(lambda: leader.id in ended)


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=60)
async def test_a_commit_that_comes_with_a_message_to_be_answered_is_kept_too(world: World) -> None:
    cluster = Cluster(world, HOSTS, directory=None)
    storages = {name: Counting() for name in HOSTS}

    def live_as(name: str) -> Callable[[Host], Awaitable[None]]:
        async def live(ports: Host) -> None:
            config, storage = config_of(world, name, HOSTS), storages[name]
            async with raft.open_peer(config, KeyValueMap(), storage=storage, ports=ports) as peer:
                cluster.peers[name] = peer
                await trio.sleep_forever()

        return live

    for name in HOSTS:
        world.start(name, live_as(name))
    leader = await cluster.leader()
    await leader.propose(encode(Put(b"k", b"1")))
    await trio.sleep(1)
    for storage in storages.values():
        stored = await storage.load()
        assert stored is not None
        assert stored.hard_state.commit == leader.report().commit
