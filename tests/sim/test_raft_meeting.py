"""Raft peers that start for the first time, or with a disk that is not the one that others know."""

import pytest
import trio

from tests.support.raft_world import HOSTS, PORT, Cluster
from tests.support.rpc_world import ports_of
from trio440 import raft, rpc
from trio440.errors import ChangeRefused, LostStorage, RemoteError
from trio440.raft.kv import Changed, Get, KeyValueMap, Put, decode_result, encode
from trio440.raft.messages import RequestVote
from trio440.raft.wire import Book, Introduction, Peers
from trio440.sim import simulated
from trio440.sim.world import World


async def put(peer: raft.Peer[KeyValueMap], key: bytes, value: bytes) -> Changed:
    result = decode_result(await peer.propose(encode(Put(key, value))))
    assert isinstance(result, Changed)
    return result


def refused(cluster: Cluster) -> list[tuple[str, str]]:
    """Who was refused, and by whom."""
    return [
        (error.name, error.by) for _, error in cluster.failures if isinstance(error, LostStorage)
    ]


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "n4"], duration_seconds=90)
async def test_a_peer_that_lost_its_disk_is_refused_and_joins_under_a_new_id(world: World) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start(*HOSTS)
    leader = await cluster.leader()
    await put(leader, b"k", b"v")
    lost = next(name for name in HOSTS if name != leader.id)
    cluster.lose_disk(lost)
    await cluster.until(lambda: refused(cluster))
    [(name, by)] = refused(cluster)
    assert name == lost
    assert by in {*HOSTS} - {lost}
    assert f"remove '{lost}' from the members" in str(cluster.failures[0][1])
    assert lost not in cluster.peers
    with pytest.raises(ChangeRefused, match="n4"):
        await leader.change_members([*HOSTS, "n4"])
    rest = [name for name in HOSTS if name != lost]
    await leader.change_members(rest)
    cluster.start("n4", members=())
    await leader.add_learner("n4", "n4", PORT)
    await leader.promote("n4")
    await put(leader, b"k", b"w")
    await cluster.until(lambda: cluster.peers["n4"].report().applied == leader.report().applied)
    assert leader.members.voters == tuple(sorted([*rest, "n4"]))


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_an_id_that_was_removed_is_refused_to_whoever_joins(world: World) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start()
    leader = await cluster.leader()
    await put(leader, b"k", b"v")
    lost = next(name for name in HOSTS if name != leader.id)
    await leader.change_members([name for name in HOSTS if name != lost])
    world.machines[lost].crash()
    cluster.peers.pop(lost, None)
    machine = world.machines[lost]
    machine.start(cluster.program(lost, members=(), directory="/other"))
    await cluster.until(lambda: refused(cluster))
    assert refused(cluster)[0][0] == lost


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_a_first_start_waits_for_both_others_of_three(world: World) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start("n1", "n2")
    await cluster.until(lambda: all(p.awaited == ("n3",) for p in cluster.peers.values()))
    await cluster.until(lambda: len(cluster.peers) == 2)
    await trio.sleep(10)
    for peer in cluster.peers.values():
        assert (peer.status().term, peer.leader) == (0, None)
        with trio.move_on_after(1) as scope:
            await peer.read(encode(Get(b"k")))
        assert scope.cancelled_caught
        assert peer.status().term == 0
    cluster.start("n3")
    leader = await cluster.leader()
    assert (await put(leader, b"k", b"v")).done
    with trio.fail_after(1):
        for name in HOSTS:
            await cluster.peers[name].wait_admitted()
            assert cluster.peers[name].awaited == ()


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_an_operator_who_swears_that_ids_are_new_needs_a_quorum_only(world: World) -> None:
    """One of three has an address that does not resolve, at the first start of all."""
    cluster = Cluster(world, HOSTS, options={"is_new": True})
    places = (*cluster.places()[:2], raft.Place("n3", "nowhere", PORT))
    cluster.start("n1", "n2", places=places)
    leader = await cluster.leader()
    assert (await put(leader, b"k", b"v")).done
    with pytest.raises(ChangeRefused, match="n3 was never heard"):
        await leader.add_learner("n4")
    await leader.change_members(["n1", "n2"])
    with pytest.raises(ChangeRefused, match="n3 was removed before it was heard"):
        await leader.add_learner("n3")


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_who_is_removed_unheard_is_let_in_while_its_vote_may_be_needed(world: World) -> None:
    """A leader that is alone wants to go on alone, and then only the one that it never met is up.

    Both voters before the change must be for it: the leader itself and that one.
    """
    cluster = Cluster(world, HOSTS, options={"is_new": True})
    cluster.start("n1", "n2")
    leader = await cluster.leader()
    await put(leader, b"k", b"v")
    cluster.crash("n2" if leader.id == "n1" else "n1")
    with trio.move_on_after(0.05) as scope:
        await leader.change_members([leader.id])
    assert scope.cancelled_caught
    assert leader.members.is_joint
    cluster.start("n3")
    await cluster.until(lambda: leader.members.voters == (leader.id,))
    await cluster.until(lambda: not leader.members.is_joint)
    assert (await put(await cluster.leader(), b"k", b"w")).done
    assert cluster.failures == []


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_an_oath_that_is_wrong_is_found_out(world: World) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start()
    leader = await cluster.leader()
    await put(leader, b"k", b"v")
    lost = next(name for name in HOSTS if name != leader.id)
    cluster.crash(lost)
    world.machines[lost].start(cluster.program(lost, directory="/other", is_new=True))
    await cluster.until(lambda: refused(cluster))
    assert refused(cluster)[0][0] == lost


@simulated(seeds=2, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_a_first_start_that_was_cut_short_goes_on(world: World) -> None:
    """The store has its number already, and others may have noted it."""
    cluster = Cluster(world, HOSTS)
    rng = world.rng("test")
    cluster.start()
    for _ in range(20):
        await trio.sleep(rng.random() * 0.01)
        name = rng.choice(HOSTS)
        cluster.crash(name)
        world.machines[name].restart()
    leader = await cluster.leader()
    assert (await put(leader, b"k", b"v")).done
    assert cluster.failures == []


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_messages_from_another_store_are_dropped_and_reported_once(world: World) -> None:
    """Somebody says that it is a peer which is well, and which others know by another store."""
    cluster = Cluster(world, HOSTS)
    cluster.start(*HOSTS)
    leader = await cluster.leader()
    await put(leader, b"k", b"v")
    other = next(name for name in HOSTS if name != leader.id)
    term = leader.status().term
    address = (leader.address[0], PORT)
    mine, ports = rpc.Identity("raft", other, 12345), ports_of(world, "desk")
    async with rpc.open_client(*address, identity=mine, ports=ports) as client:
        await client.wait_connected()
        for _ in range(10):
            assert Peers(client).message(RequestVote(other, leader.id, term + 5, 99, term + 4))
            assert Peers(client).book(Book((raft.Place(other, "nowhere", 1),)))
        await cluster.until(lambda: cluster.reports)
        await trio.sleep(1)
    assert [(error.name, error.by) for error in cluster.reports] == [(other, leader.id)]
    assert leader.is_leader
    assert leader.status().term == term
    assert raft.Place(other, world.machines[other].address, PORT) in leader.places


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_only_who_has_a_store_introduces_itself(world: World) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start(*HOSTS)
    address = ((await cluster.leader()).address[0], PORT)
    ports = ports_of(world, "desk")
    for mine in (rpc.Identity("raft"), rpc.Identity("raft", "n9"), rpc.Identity("raft", "", 7)):
        async with rpc.open_client(*address, identity=mine, ports=ports) as client:
            with pytest.raises(RemoteError, match="only a peer with a store"):
                await Peers(client).introduce(Introduction(raft.Place("n9", "x", 1)))
