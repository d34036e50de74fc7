"""The engine on Raft on simulated machines: what its clients see is one order of events."""

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.support.raft_world import FAST, PORT, Cluster
from tests.support.rpc_world import ports_of
from trio440 import kv, raft
from trio440.core.host import Host
from trio440.core.real import REAL_HOST
from trio440.errors import (
    BadMessage,
    HandshakeRefused,
    HistoryCompacted,
    JournalFailed,
    NoAnswer,
    SessionExpired,
    StoreUnavailable,
)
from trio440.kv import Append, Count, Delete, Get, Put, Refused, TableLimits
from trio440.kv.operations import Changed, Counted
from trio440.raft.dedupe import Sessions
from trio440.raft.kv import KeyValueMap
from trio440.sim import simulated
from trio440.sim.checking import Call, History, KeyValue, check_linearizable
from trio440.sim.world import World

HOSTS = ["n1", "n2", "n3"]
CLIENTS = ["c1", "c2"]
ADDRESSES = [(name, PORT) for name in HOSTS]
KEYS = ("x", "y", "z")
LIMITS = TableLimits(history_changes=300, list_entries=20)


@attrs.define
class Servers:
    """The peers of a world, which start again after each crash."""

    world: World
    limits: TableLimits = LIMITS
    snapshot_entries: int = 40
    peers: dict[str, raft.Peer[kv.TableMachine]] = attrs.Factory(dict)
    ports: dict[str, Host] = attrs.Factory(dict)

    def start(self) -> None:
        for name in HOSTS:
            self.world.start(name, partial(self.serve, name))

    async def serve(self, name: str, ports: Host) -> None:
        config = raft.PeerConfig(
            id=name,
            members=HOSTS,
            places=[raft.Place(other, other, PORT) for other in HOSTS],
            directory="/data",
            host=self.world.machines[name].address,
            port=PORT,
            raft=FAST,
            tick_seconds=0.025,
            snapshot_entries=self.snapshot_entries,
        )
        while True:  # a peer whose disk has failed begins again
            with suppress(JournalFailed):
                async with kv.open_linearizable_peer(config, self.limits, ports=ports) as peer:
                    self.peers[name], self.ports[name] = peer, ports
                    try:
                        await trio.Event().wait()
                    finally:
                        if self.peers.get(name) is peer:
                            del self.peers[name]
            await ports.clock.sleep(0.5)

    def rest(self) -> bool:
        """Whether all replicas have the same table, in which nothing is to end any more."""
        tables = [peer.machine.table for peer in self.peers.values()]
        if len(tables) < len(HOSTS) or any(table.next_deadline is not None for table in tables):
            return False
        return len({table.snapshot()() for table in tables}) == 1


@attrs.define
class Clients:
    """Programs that use the store, and what they saw."""

    world: World
    history: History
    answers: dict[str, int] = attrs.Factory(dict)
    heard: list[int] = attrs.Factory(list)
    """The versions of all changes, as one watch after the other told of them."""

    async def live(self, name: str, ports: Host) -> None:
        life = f"{name}.{self.world.machines[name].lives}"
        async with (
            kv.open_linearizable(ADDRESSES, timeout_seconds=3, ports=ports) as space,
            trio.open_nursery() as nursery,
        ):
            for number in range(3):
                nursery.start_soon(self.use, space, f"{life}.{number}", ports)
            if name == CLIENTS[0]:
                nursery.start_soon(self.watch, space)

    async def use(self, space: kv.AtomicNamespace, name: str, ports: Host) -> None:
        rng, number = self.world.rng("client", name), 0
        while True:
            await ports.clock.sleep(rng.random() * 0.2)
            number += 1
            call = draw(rng, f"{name}.{number}")
            invocation = self.history.invoke(name, call)
            try:
                result = await carry_out(space, call, rng)
            except StoreUnavailable as error:
                if error.may_have_happened:
                    invocation.unknown()
                else:
                    invocation.fail()
                continue
            invocation.ok(result)
            if self.world.now() >= self.world.plan.heal_at:
                self.answers[name] = self.answers.get(name, 0) + 1

    async def watch(self, space: kv.AtomicNamespace) -> None:
        after = None if not self.heard else self.heard[-1].to_bytes(8, "big")
        while True:
            try:
                async with space.watch(after=after) as changes:
                    async for change in changes:
                        self.heard.append(change.version)
            except StoreUnavailable:
                continue
            except HistoryCompacted:
                self.heard.clear()
                after = None


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await trio.sleep(0.1)


def draw(rng: random.Random, token: str) -> Call:
    key, kind = rng.choice(KEYS), rng.random()
    if kind < 0.4:
        return KeyValue.get(key)
    if kind < 0.7:
        return KeyValue.append(key, token + " ")
    if kind < 0.8:
        return KeyValue.put(key, token)
    if kind < 0.9:
        return KeyValue.delete(key)
    return KeyValue.cas(key, None, token)


async def carry_out(space: kv.AtomicNamespace, call: Call, rng: random.Random) -> Any:
    """Carry out a call, in company that must not matter, and return what the model would."""
    key = str(call.key).encode()
    if call.name == "get":
        entry = await space.get(key)
        return None if entry is None else entry.value.decode()
    if call.name == "cas":
        return await space.compare_and_set(key, None, str(call.args[1]).encode())
    operation: kv.Operation = Delete(key)
    if call.args:
        value = str(call.args[0]).encode()
        operation = Append(key, value) if call.name == "append" else Put(key, value)
    short = Put(b"short/%d" % rng.randrange(9), b"", ttl_ms=rng.randrange(1, 400))
    assert not any(isinstance(r, Refused) for r in await space.execute([short, operation, short]))
    return None


HOSTILE: Any = {
    "profile": "hostile",
    "hosts": [*HOSTS, *CLIENTS],
    "duration_seconds": 90,
    "heal_seconds": 8,
}


@pytest.mark.slow
@simulated(seeds=2, **HOSTILE)
async def test_clients_see_one_order_of_events_whatever_happens(world: World) -> None:
    await play(world)


@pytest.mark.campaign
@simulated(seeds=100, **HOSTILE)
async def test_clients_see_one_order_of_events_in_many_worlds(world: World) -> None:
    await play(world)


async def play(world: World) -> None:
    servers = Servers(world)
    servers.start()
    clients = Clients(world, History(world.now))
    for name in CLIENTS:
        world.start(name, partial(clients.live, name))
    await world.healed()
    with trio.fail_after(60):
        await until(lambda: sum(clients.answers.values()) >= 20)
        for name in CLIENTS:
            world.machines[name].crash()
        await until(servers.rest)
    verdict = check_linearizable(clients.history, KeyValue(), step_limit=300_000)
    world.require(verdict.answer != "violated", "clients see one order of events", str(verdict))
    heard = clients.heard
    gaps = [(before, after) for before, after in pairwise(heard) if after != before + 1]
    world.require(heard and not gaps, "a watch misses nothing", f"{len(heard)}: {gaps}")


# Single promises, on a good day


@pytest.mark.slow
@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_each_count_is_done_once_though_leaders_die(world: World) -> None:
    servers = Servers(world)
    servers.start()
    sums: list[int] = []

    async def count() -> None:
        for _ in range(15):
            sums.append(await space.increment(b"n"))
            await trio.sleep(0.1)

    async with (
        kv.open_linearizable(ADDRESSES, ports=ports_of(world, "desk")) as space,
        trio.open_nursery() as nursery,
    ):
        await space.get(b"n")
        for _ in range(10):
            nursery.start_soon(count)
        for _ in range(2):
            await trio.sleep(0.5)
            name = next(name for name, peer in servers.peers.items() if peer.is_leader)
            world.machines[name].crash()
            del servers.peers[name]
            await trio.sleep(0.5)
            world.machines[name].restart()
    assert sorted(sums) == list(range(1, 151))


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_what_may_have_happened_is_told(world: World) -> None:
    servers = Servers(world)
    servers.start()
    ports = ports_of(world, "desk")
    async with kv.open_linearizable(ADDRESSES, timeout_seconds=2, ports=ports) as space:
        await space.put(b"k", b"v")
        for name in HOSTS[1:]:
            world.machines[name].crash()
        with pytest.raises(StoreUnavailable, match=r"within 2 s") as caught:
            await space.put(b"k", b"w")
        assert caught.value.may_have_happened
        with pytest.raises(StoreUnavailable, match=r"within 2 s") as caught:
            await space.get(b"k")
        assert not caught.value.may_have_happened
        with pytest.raises(StoreUnavailable) as caught:
            async with space.watch():
                pass
        assert not caught.value.may_have_happened
        for name in HOSTS[1:]:
            world.machines[name].restart()
        with trio.fail_after(10):
            while await space.increment(b"n") < 3:
                pass


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_another_machine_than_a_table_is_told(world: World) -> None:
    Cluster(world, HOSTS, machine=lambda: Sessions(KeyValueMap())).start()
    ports = ports_of(world, "desk")
    async with kv.open_linearizable(ADDRESSES, timeout_seconds=5, ports=ports) as space:
        for ask in (space.put(b"k", b"v"), space.get(b"k")):
            with pytest.raises(StoreUnavailable, match="no answer to operations"):
                await ask
    async with kv.open_linearizable(ADDRESSES, cluster="other", ports=ports) as space:
        with pytest.raises(StoreUnavailable):
            await space.get(b"k")


class Failing:
    """A client whose every try comes to this."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def propose(self, _: bytes, **_options: object) -> bytes:
        raise self._error

    async def read(self, _: bytes) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        NoAnswer("the command", 1),
        SessionExpired(7),
        BadMessage("no message"),
        HandshakeRefused("n1:1", "cluster", "they differ"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_cluster_did_not_answer_may_have_happened_unless_it_only_reads(
    error: Any, autojump_clock: MockClock
) -> None:
    client: Any = Failing(error)
    space = kv.LinearizableNamespace(client, client.read, REAL_HOST, timeout_seconds=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(space.run)
        with pytest.raises(StoreUnavailable) as caught:
            await space.put(b"k", b"v")
        assert caught.value.may_have_happened
        assert str(error) in str(caught.value)
        with pytest.raises(StoreUnavailable) as caught:
            await space.execute([Get(b"k"), Count()])
        assert not caught.value.may_have_happened
        nursery.cancel_scope.cancel()


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_a_peer_in_the_process_answers_what_only_asks(world: World) -> None:
    servers = Servers(world)
    servers.start()
    await until(lambda: len(servers.peers) == len(HOSTS))
    for name in HOSTS:
        peer, ports = servers.peers[name], servers.ports[name]
        async with kv.open_linearizable(peer=peer, timeout_seconds=2, ports=ports) as space:
            await space.put(b"k", name.encode())
            entry = await space.get(b"k")
            assert entry is not None
            assert entry.value == name.encode()
            async with space.watch() as changes:
                await space.put(b"x", b"")
                assert (await anext(changes)).key == b"x"
    follower = next(peer for peer in servers.peers.values() if not peer.is_leader)
    ports = servers.ports[follower.id]
    async with kv.open_linearizable(peer=follower, timeout_seconds=2, ports=ports) as space:
        for name in HOSTS:
            if name != follower.id:
                world.machines[name].crash()
        with pytest.raises(StoreUnavailable) as caught:
            await space.get(b"k")
        assert not caught.value.may_have_happened


@pytest.mark.slow
@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk", "far"], duration_seconds=90)
async def test_nothing_ends_before_its_time_whoever_leads_and_whatever_clocks_say(
    world: World,
) -> None:
    servers = Servers(world)
    servers.start()
    desk, far = ports_of(world, "desk"), ports_of(world, "far")
    walls = [desk.wall.now_ns(), far.wall.now_ns()]
    assert max(walls) - min(walls) > 3_600_000_000_000, "machines know different days"
    async with (
        kv.open_linearizable(ADDRESSES, ports=desk) as space,
        kv.open_linearizable(ADDRESSES, ports=far) as other,
    ):
        for number, client in enumerate([space, other]):
            await client.delete(b"k")
            began = trio.current_time()
            await client.put(b"k", b"", ttl_ms=2000)
            lease = await client.grant_lease(2000)
            await client.execute([Put(b"leased", b"", lease=lease)])
            if number == 1:
                await trio.sleep(0.3)  # what has begun is known to all by then
                leader = next(peer.id for peer in servers.peers.values() if peer.is_leader)
                world.machines[leader].crash()
                del servers.peers[leader]
            await space.count()  # which finds who leads
            await trio.sleep_until(began + 1.98)
            assert await space.count() == 2
            await trio.sleep_until(began + 3.5)
            assert await other.count() == 0


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_an_operation_that_no_entry_can_hold_is_refused_at_once(world: World) -> None:
    ports = ports_of(world, "desk")
    async with kv.open_linearizable(ADDRESSES, timeout_seconds=1, ports=ports) as space:
        start = trio.current_time()
        puts = tuple(Put(b"%d" % number, bytes(200_000)) for number in range(6))
        for operation in (kv.Transaction(then=puts), Put(b"k", bytes(1 << 20))):
            (result,) = await space.execute([operation])
            assert isinstance(result, Refused)
            assert result.kind == "limit"
        assert trio.current_time() == start, "nobody was asked: there is no cluster"


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_nothing_is_written_to_the_log_where_nothing_ends(world: World) -> None:
    servers = Servers(world)
    servers.start()
    async with kv.open_linearizable(ADDRESSES, ports=ports_of(world, "desk")) as space:
        results = await space.execute([Put(b"k", b"", ttl_ms=600_000), Count()])
        assert [type(result) for result in results] == [Changed, Counted]
        await space.get(b"k")
        await trio.sleep(1)
        before = {name: peer.report().commit for name, peer in servers.peers.items()}
        for _ in range(3):
            await space.execute([Get(b"k"), Count(), kv.List()])
            await trio.sleep(0.5)
        assert {name: peer.report().commit for name, peer in servers.peers.items()} == before
