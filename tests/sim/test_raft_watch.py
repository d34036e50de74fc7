"""Watching a map on simulated peers: every change once and in order, whoever is lost meanwhile."""

from collections.abc import Callable
from functools import partial

import pytest
import trio

from tests.support.raft_world import HOSTS, PORT, Cluster
from tests.support.rpc_world import ports_of
from trio440 import raft, rpc
from trio440.errors import (
    HandshakeRefused,
    HistoryCompacted,
    InvalidParameter,
    NoAnswer,
    NotLeader,
    PeerStopped,
    WatchRefused,
)
from trio440.raft.dedupe import Sessions
from trio440.raft.kv import (
    Change,
    Changes,
    Command,
    Delete,
    KeyValueMap,
    KvLimits,
    Put,
    Since,
    Transaction,
    Watching,
    decode_result,
    encode,
)
from trio440.raft.machine import StateMachine
from trio440.raft.watching import MOST
from trio440.raft.wire import Answered, Awaited, Clients, Outcome, Refusal
from trio440.sim import simulated
from trio440.sim.faults import Clog
from trio440.sim.world import World

ADDRESSES = [(name, PORT) for name in HOSTS]
ALL = [*HOSTS, "desk"]


def cluster_of(world: World, limits: KvLimits | None = None, **options: object) -> Cluster:
    def machine() -> StateMachine:
        return Sessions(KeyValueMap(limits))

    cluster = Cluster(world, HOSTS, machine=machine, options=options)
    cluster.start()
    return cluster


async def change(client: raft.Client, *commands: Command) -> None:
    for command in commands:
        await client.propose(encode(command))


async def take(changes: object, count: int) -> list[Change]:
    return [await anext(changes) for _ in range(count)]  # type: ignore[call-overload]


@pytest.mark.slow
@simulated(seeds=1, profile="calm", hosts=ALL, duration_seconds=90)
async def test_changes_come_in_order_and_a_watch_goes_on_where_another_ended(world: World) -> None:
    cluster_of(world)
    async with raft.open_client(ADDRESSES, ports=ports_of(world, "desk")) as client:
        await change(client, Put(b"a/1", b"before"))
        async with client.watch(b"a/") as changes:
            assert changes.revision == 1
            await change(
                client,
                Put(b"a/1", b"1"),
                Put(b"b", b"elsewhere"),
                Delete(b"a/1"),
                Delete(b"a/1"),
                Transaction(then=(Put(b"a/2", b"2"), Put(b"b", b""), Put(b"a/3", b"3"))),
                Put(b"a/2", b"4"),
            )
            assert await take(changes, 3) == [
                Change(2, b"a/1", b"1", 1, 2),
                Change(4, b"a/1", None),
                Change(5, b"a/2", b"2", 5, 1),
            ]
            assert changes.revision == 4, "one of revision 5 is still to come"
        async with client.watch(b"a/", after=changes.revision) as changes:
            assert await take(changes, 3) == [
                Change(5, b"a/2", b"2", 5, 1),
                Change(5, b"a/3", b"3", 5, 1),
                Change(6, b"a/2", b"4", 5, 2),
            ]
            assert changes.revision == 6
            with trio.move_on_after(5) as scope:
                await anext(changes)
            assert scope.cancelled_caught, "nothing has changed"
            await change(client, Put(b"b", b""), Put(b"a/", b""))
            assert await take(changes, 1) == [Change(8, b"a/", b"", 8, 1)]


@pytest.mark.slow
@simulated(seeds=1, profile="calm", hosts=ALL, duration_seconds=200)
async def test_a_quiet_watch_costs_a_question_in_ten_seconds(world: World) -> None:
    questions = 0

    class Counting(KeyValueMap):
        def watch(self, request: bytes) -> Watching:
            nonlocal questions
            questions += 1
            return super().watch(request)

    cluster = Cluster(
        world, HOSTS, machine=lambda: Sessions(Counting()), options={"tick_seconds": 0.1}
    )
    cluster.start()
    async with (
        raft.open_client(ADDRESSES, ports=ports_of(world, "desk")) as client,
        client.watch() as changes,
    ):
        with trio.move_on_after(25) as scope:
            await anext(changes)
        assert scope.cancelled_caught
        assert 2 <= questions <= 3
        await change(client, Put(b"k", b"v"))
        with trio.fail_after(1):
            assert await take(changes, 1) == [Change(1, b"k", b"v", 1, 1)]


async def write(client: raft.Client, world: World, count: int) -> None:
    rng = world.rng("writer")
    for number in range(count):
        key = b"k%d" % rng.randrange(3)
        await change(client, Delete(key) if rng.random() < 0.3 else Put(key, b"%d" % number))
        await trio.sleep(rng.random() * 0.1)


async def follow(client: raft.Client, seen: list[Change], prefix: bytes, last: int) -> None:
    """Watch from the beginning, from time to time anew, until the last revision was seen."""
    after = 0
    while after < last:
        async with client.watch(prefix, after=after) as changes:
            with trio.move_on_after(30):
                async for found in changes:
                    seen.append(found)
                    if found.revision == last:
                        break
            after = changes.revision


async def all_changes(cluster: Cluster) -> list[Change]:
    leader = await cluster.leader()
    found = decode_result(await leader.read(encode(Since(0))))
    assert isinstance(found, Changes)
    return list(found.changes)


async def survive(world: World, cluster: Cluster, trouble: Callable[[], object]) -> None:
    """Let watches live through trouble, and demand that they have seen all that happened."""
    seen: dict[bytes, list[Change]] = {b"": [], b"k1": []}
    last = 10_000
    async with (
        raft.open_client(ADDRESSES, ports=ports_of(world, "desk")) as client,
        raft.open_client(ADDRESSES, ports=ports_of(world, "watcher")) as watcher,
        trio.open_nursery() as nursery,
    ):
        for prefix, found in seen.items():
            nursery.start_soon(follow, watcher, found, prefix, last)
        async with trio.open_nursery() as troubled:
            troubled.start_soon(trouble)  # type: ignore[arg-type]
            await write(client, world, 40)
        await change(client, Put(b"k1", b"end"))
        happened = await all_changes(cluster)
        await cluster.until(lambda: all(f and f[-1] == happened[-1] for f in seen.values()))
        nursery.cancel_scope.cancel()
    assert seen[b""] == happened
    assert seen[b"k1"] == [found for found in happened if found.key == b"k1"]


@pytest.mark.slow
@simulated(seeds=1, profile="calm", hosts=[*ALL, "watcher"], duration_seconds=300)
async def test_peers_that_die_one_after_the_other_leave_no_gap_and_no_repetition(
    world: World,
) -> None:
    cluster = cluster_of(world)

    async def kill() -> None:
        for turn in range(3):
            await trio.sleep(1)
            name = HOSTS[turn % 3]
            cluster.crash(name)
            await trio.sleep(1)
            world.machines[name].restart()
            await cluster.until(partial(cluster.peers.__contains__, name))

    await survive(world, cluster, kill)


@pytest.mark.campaign
@simulated(seeds=20, profile="hostile", hosts=HOSTS, duration_seconds=120, heal_seconds=20)
async def test_watches_live_through_everything(world: World) -> None:
    for name in ("desk", "watcher"):
        world.add_machine(name)
    await survive(world, cluster_of(world, snapshot_entries=20), world.healed)


@pytest.mark.slow
@simulated(seeds=1, profile="calm", hosts=[*ALL, "watcher"], duration_seconds=300)
async def test_a_peer_that_is_cut_off_from_the_others_is_left(world: World) -> None:
    """Each in its turn hears nothing of the others, but is there for its clients as before."""
    cluster = cluster_of(world)
    fabric = world.network.fabric
    async with (
        raft.open_client(ADDRESSES, ports=ports_of(world, "desk")) as client,
        raft.open_client(ADDRESSES, ports=ports_of(world, "watcher")) as watcher,
        watcher.watch() as changes,
    ):
        revision = 0
        for name in HOSTS:
            now, later = world.now(), world.now() + 2_500_000
            links = [(name, other) for other in HOSTS if other != name]
            links += [(other, name) for _, other in links]
            clogs = [Clog(start=now, end=later, source=a, destination=b) for a, b in links]
            for place, clog in enumerate(clogs, 90):
                fabric.begin(place, clog)
            await change(client, Put(b"k", name.encode()))
            revision += 1
            with trio.fail_after(2):
                [found] = await take(changes, 1)
            assert (found.revision, found.value) == (revision, name.encode())
            await world.sleep_until(later)
            for place, clog in enumerate(clogs, 90):
                fabric.end(place, clog)
            world.network.ring()
        assert (await cluster.leader()).report().applied >= revision


SMALL = KvLimits(history_revisions=5)


@simulated(seeds=1, profile="calm", hosts=ALL, duration_seconds=90)
async def test_what_is_forgotten_is_said_to_be_compacted(world: World) -> None:
    cluster = cluster_of(world, SMALL)
    async with raft.open_client(ADDRESSES, ports=ports_of(world, "desk")) as client:
        async with client.watch() as changes:
            await change(client, *(Put(b"k", b"%d" % number) for number in range(9)))
            reports = [peer.report for peer in cluster.peers.values()]
            await cluster.until(lambda: len({report().applied for report in reports}) == 1)
            with pytest.raises(HistoryCompacted, match="0 are compacted, up to revision 4"):
                await anext(changes)
        with pytest.raises(HistoryCompacted) as caught:
            async with client.watch(after=3):
                pytest.fail("entered")
        assert (caught.value.after, caught.value.compacted) == (3, 4)
        async with client.watch(after=4) as changes:
            assert [found.revision for found in await take(changes, 5)] == [5, 6, 7, 8, 9]
        async with client.watch(b"other") as changes, trio.open_nursery() as nursery:
            nursery.start_soon(take, changes, 1)
            # Changes of other keys are forgotten, and that is no matter to this watch.
            await change(client, *(Put(b"k", b"%d" % number) for number in range(20)))
            await change(client, Put(b"other", b""))


@simulated(seeds=1, profile="calm", hosts=ALL, duration_seconds=90)
async def test_a_snapshot_carries_the_history(world: World) -> None:
    """A peer that was down for long gets a snapshot, and can tell what happened meanwhile."""
    config = raft.Config(
        heartbeat_ticks=3, election_ticks=15, election_ticks_spread=15, keep_entries=0
    )
    cluster = Cluster(world, HOSTS, config=config, machine=lambda: Sessions(KeyValueMap()))
    cluster.start()
    leader = await cluster.leader()
    away = next(name for name in HOSTS if name != leader.id)
    async with raft.open_client(ADDRESSES, ports=ports_of(world, "desk")) as client:
        await change(client, Put(b"k", b"0"))
        cluster.crash(away)
        await change(client, *(Put(b"k", b"%d" % number) for number in range(1, 9)))
        await leader.snapshot()
        world.machines[away].restart()
        await cluster.until(lambda: away in cluster.peers)
        peer = cluster.peers[away]
        await cluster.until(lambda: peer.report().snapshot > 0)
        found = decode_result(await peer.watch(encode(Since(0))))
        assert isinstance(found, Changes)
        assert [each.value for each in found.changes] == [b"%d" % number for number in range(9)]


@simulated(seeds=1, profile="calm", hosts=ALL, duration_seconds=90)
async def test_a_peer_bounds_who_waits_and_for_how_long(world: World) -> None:
    cluster = cluster_of(world, tick_seconds=0.1)
    leader = await cluster.leader()
    request = encode(Since(0))
    ports = ports_of(world, "desk")
    identity = rpc.Identity("raft")
    answers: list[Outcome] = []

    async def wait(caller: rpc.Client, request: bytes, milliseconds: int) -> None:
        answers.append(await caller.call(Clients.watch, Awaited(request, milliseconds)))

    async with (
        rpc.open_client(leader.id, PORT, identity=identity, ports=ports) as hostile,
        rpc.open_client(leader.id, PORT, identity=identity, ports=ports) as other,
    ):
        async with trio.open_nursery() as nursery:
            for _ in range(MOST - 1):
                nursery.start_soon(wait, hostile, request, 1 << 60)
            await trio.sleep(1)
            nursery.start_soon(wait, other, request, 1 << 60)
            await trio.sleep(1)
            with pytest.raises(WatchRefused, match="1000 watches are waiting"):
                await leader.watch(request)
            await wait(other, request, 1000)
            assert isinstance(answers.pop(), Refusal)
            # What is no request for a watch is answered and takes nobody's place.
            for nonsense in (b"", b"x", encode(Put(b"a", b"")), encode(Since(-1))):
                await wait(other, nonsense, -1 << 60)
                assert isinstance(answers.pop(), Answered)
            nursery.cancel_scope.cancel()
        await trio.sleep(1)
        assert answers == []
        await wait(other, request, -1 << 60)
        assert answers == [Answered(encode(Changes(0, ())))]
        assert [Awaited(b"", n).seconds for n in (-5, 20, 1 << 60)] == [0.0, 0.02, 60.0]
        name = leader.id
        async with trio.open_nursery() as nursery:

            async def stopped() -> None:
                with pytest.raises((PeerStopped, trio.Cancelled)):
                    await leader.watch(request, seconds=50)

            nursery.start_soon(stopped)
            await trio.sleep(0.1)
            cluster.crash(name)
            nursery.cancel_scope.cancel()


@simulated(seeds=1, profile="calm", hosts=ALL, duration_seconds=90)
async def test_what_cannot_be_watched_says_so(world: World) -> None:
    class Plain:
        """A state machine that cannot be watched."""

        def __init__(self) -> None:
            self.machine = KeyValueMap()
            self.apply, self.query = self.machine.apply, self.machine.query
            self.snapshot, self.restore = self.machine.snapshot, self.machine.restore

    cluster = Cluster(world, HOSTS, machine=Plain)
    cluster.start()
    leader = await cluster.leader()
    with pytest.raises(WatchRefused, match="cannot be watched"):
        await leader.watch(b"")
    with pytest.raises(WatchRefused, match="cannot be watched"):
        Sessions(Plain()).watch(b"")
    for name in HOSTS:
        if name != leader.id:
            cluster.crash(name)
    await cluster.until(lambda: leader.leader is None)
    with pytest.raises(NotLeader):
        await leader.watch(b"")


@simulated(seeds=1, profile="calm", hosts=ALL, duration_seconds=90)
async def test_entering_a_watch_asks_the_cluster(world: World) -> None:
    ports = ports_of(world, "desk")
    async with raft.open_client(ADDRESSES, ports=ports) as client:
        with pytest.raises(NoAnswer):
            async with client.watch(timeout_seconds=1):
                pytest.fail("entered")
        with pytest.raises(InvalidParameter, match="after must be at least 0"):
            async with client.watch(after=-1):
                pytest.fail("entered")
    cluster_of(world)
    async with raft.open_client(ADDRESSES, cluster="other", ports=ports) as client:
        with pytest.raises(HandshakeRefused):
            async with client.watch():
                pytest.fail("entered")
