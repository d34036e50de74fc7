"""State machines of three methods on simulated machines: what peers and clients do with them."""

from collections.abc import Callable

import pytest
import trio

from tests.support.raft_world import HOSTS, PORT, Cluster
from tests.support.rpc_world import ports_of
from trio440 import raft
from trio440.errors import InvariantViolated, NotQueryable
from trio440.raft.dedupe import Sessions
from trio440.sim import simulated
from trio440.sim.world import World


class Counter:
    """Counts commands: a state machine, and no more."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, index: int, command: bytes) -> bytes:
        del index, command
        self.count += 1
        return b"%d" % self.count

    def snapshot(self) -> Callable[[], bytes]:
        return self.count.to_bytes(8).__bytes__

    def restore(self, data: bytes) -> None:
        self.count = int.from_bytes(data)


class Broken(Counter):
    """Finds when it is asked that a promise is broken."""

    def query(self, request: bytes) -> bytes:
        raise InvariantViolated("a promise", request.decode())


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_three_methods_are_enough_for_a_peer(world: World) -> None:
    cluster = Cluster(world, HOSTS, machine=Counter)
    cluster.start()
    leader = await cluster.leader()
    with leader.applied_entries() as entries:
        assert [await leader.propose(b"") for _ in range(3)] == [b"1", b"2", b"3"]
        async for entry in entries:
            if entry.index == leader.status().last_index:
                break
    assert await leader.snapshot() == leader.status().last_index
    await leader.propose(b"")
    name = next(name for name in HOSTS if name != leader.id)
    cluster.crash(name)
    assert await leader.propose(b"") == b"5"
    world.machines[name].restart()
    await cluster.until(lambda: name in cluster.peers)
    for peer in cluster.peers.values():
        await peer.read_barrier()
        assert peer.machine.count == 5


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_a_barrier_waits_for_what_was_acknowledged(world: World) -> None:
    cluster = Cluster(world, HOSTS, machine=Counter)
    cluster.start()
    leader = await cluster.leader()
    behind = 0
    for number in range(1, 30):
        await leader.propose(b"")
        for peer in cluster.peers.values():
            behind += peer.machine.count < number
            await peer.read_barrier()
            assert peer.machine.count == number
    assert behind > 0
    name = next(name for name in HOSTS if name != leader.id)
    follower = cluster.peers[name]
    for other in HOSTS:
        if other != name:
            cluster.crash(other)
    with trio.move_on_after(5) as scope:
        await follower.read_barrier()
    assert scope.cancelled_caught


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_a_question_to_a_machine_without_answers_is_refused_at_once(world: World) -> None:
    cluster = Cluster(world, HOSTS, machine=lambda: Sessions(Counter()))
    cluster.start()
    leader = await cluster.leader()
    with pytest.raises(NotQueryable, match="answers no questions"):
        await leader.read(b"")
    addresses = [(name, PORT) for name in HOSTS]
    async with raft.open_client(addresses, ports=ports_of(world, "desk")) as client:
        assert await client.propose(b"") == b"1"
        with pytest.raises(NotQueryable, match="answers no questions"):
            await client.read(b"", timeout_seconds=60)
        with pytest.raises(NotQueryable, match="answers no questions"):
            async with client.watch(timeout_seconds=60):
                pass
        assert await client.propose(b"") == b"2"
    assert cluster.reports == []


@simulated(seeds=1, profile="calm", hosts=["n1"], duration_seconds=30)
async def test_a_peer_whose_machine_has_no_query_does_not_read(world: World) -> None:
    cluster = Cluster(world, ["n1"], machine=Counter)
    cluster.start()
    leader = await cluster.leader()
    with pytest.raises(NotQueryable, match="no method query"):
        await leader.read(b"")


@simulated(seeds=1, profile="calm", hosts=["n1", "desk"], duration_seconds=30)
async def test_a_broken_promise_that_a_machine_meets_comes_out_of_the_peer(world: World) -> None:
    config = raft.PeerConfig(id="n1", members=("n1",), host="n1", port=PORT, is_new=True)
    found = pytest.RaisesExc(InvariantViolated, match="a promise: it is asked")
    with pytest.RaisesGroup(found, flatten_subgroups=True):
        async with (
            raft.open_peer(config, Broken(), ports=ports_of(world, "n1")),
            raft.open_client([("n1", PORT)], ports=ports_of(world, "desk")) as client,
        ):
            await client.read(b"it is asked", timeout_seconds=20)
