"""Raft peers on simulated machines: what proposals, reads, members and snapshots promise."""

import random
from functools import partial

import pytest
import trio

from tests.support.raft_world import HOSTS, PORT, Cluster
from trio440 import raft
from trio440.errors import (
    ChangeRefused,
    FellBehind,
    LeadershipLost,
    NotLeader,
    PeerStopped,
    ProposalRefused,
    ReadRefused,
    TransferRefused,
)
from trio440.raft.kv import (
    Changed,
    CompareAndSet,
    Found,
    Get,
    KeyValueMap,
    Put,
    decode_result,
    encode,
)
from trio440.sim import simulated
from trio440.sim.checking.history import Call, History
from trio440.sim.checking.linearizability import check_linearizable
from trio440.sim.checking.models import KeyValue
from trio440.sim.world import World

SEEDS = 1


async def put(peer: raft.Peer[KeyValueMap], key: bytes, value: bytes) -> Changed:
    result = decode_result(await peer.propose(encode(Put(key, value))))
    assert isinstance(result, Changed)
    return result


async def get(peer: raft.Peer[KeyValueMap], key: bytes) -> bytes | None:
    found = decode_result(await peer.read(encode(Get(key))))
    assert isinstance(found, Found)
    return found.items[0].value if found.items else None


# Calm


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_a_command_is_carried_out_and_can_be_read_everywhere(world: World) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start()
    leader = await cluster.leader()
    assert await put(leader, b"k", b"v") == Changed(1, True, None)
    for peer in list(cluster.peers.values()):
        assert await get(peer, b"k") == b"v"
        assert await peer.wait_leader() == leader.id


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_only_the_leader_takes_commands(world: World) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start()
    leader = await cluster.leader()
    await put(leader, b"k", b"v")
    other = next(peer for peer in cluster.peers.values() if peer is not leader)
    with pytest.raises(NotLeader) as caught:
        await other.propose(b"x")
    assert caught.value.leader == leader.id
    assert other.put_command(b"x") == (0, other.get_state()[1], False)
    last = leader.status().last_index
    assert leader.put_command(b"x") == (last + 1, leader.get_state()[1], True)
    assert leader.get_state() == (leader.id, leader.status().term, True)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_applied_entries_come_once_and_in_order(world: World) -> None:
    cluster = Cluster(world, HOSTS, config=raft.Config.course(heartbeat_ticks=3, election_ticks=15))
    cluster.start()
    leader = await cluster.leader()
    other = next(peer for peer in cluster.peers.values() if peer is not leader)
    with other.applied_entries() as entries, other.applied_entries(limit=2) as few:
        for number in range(1, 6):
            assert leader.put_command(b"%d" % number)[::2] == (number, True)
        seen = [await anext(entries) for _ in range(5)]
        assert [(entry.index, entry.data) for entry in seen] == [
            (number, b"%d" % number) for number in range(1, 6)
        ]
        assert [(await anext(few)).index for _ in range(2)] == [1, 2]
        with pytest.raises(FellBehind):
            await anext(few)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_leadership_is_handed_over(world: World) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start()
    leader = await cluster.leader()
    await put(leader, b"k", b"1")
    other = next(peer for peer in cluster.peers.values() if peer is not leader)
    await leader.transfer_leadership(other.id)
    await cluster.until(lambda: other.is_leader, seconds=1)
    await put(other, b"k", b"2")
    assert await get(leader, b"k") == b"2"
    with pytest.raises(NotLeader):
        await leader.transfer_leadership(other.id)
    with pytest.raises(TransferRefused):
        await other.transfer_leadership("nobody")


@simulated(seeds=SEEDS, profile="calm", hosts=[*HOSTS, "n4"], duration_seconds=90)
async def test_a_learner_joins_by_a_snapshot_is_promoted_and_leads(world: World) -> None:
    cluster = Cluster(world, HOSTS, config=raft.Config(keep_entries=0, snapshot_chunk_bytes=500))
    cluster.start(*HOSTS)
    leader = await cluster.leader()
    for number in range(30):
        await put(leader, b"%d" % number, bytes(100))
    assert await leader.snapshot() == leader.status().snapshot_index > 30
    assert leader.status().first_index > 30
    cluster.start("n4", members=())
    await cluster.until(lambda: "n4" in cluster.peers)
    with pytest.raises(ChangeRefused):
        await leader.change_members([*HOSTS, "n4"])
    await leader.add_learner("n4")
    await leader.promote("n4")
    assert leader.members.voters == (*HOSTS, "n4")
    new = cluster.peers["n4"]
    assert await get(new, b"7") == bytes(100)
    await leader.transfer_leadership("n4")
    await cluster.until(lambda: new.is_leader, seconds=1)
    assert (await put(new, b"j", b"first")).done
    await new.change_members(["n4"])
    assert await put(new, b"k", b"alone") == Changed(32, True, None)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_a_leader_that_is_cut_off_says_that_it_does_not_know(world: World) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start()
    leader = await cluster.leader()
    await put(leader, b"k", b"1")
    for name in HOSTS:
        if name != leader.id:
            cluster.crash(name)
    with pytest.raises(LeadershipLost):
        await put(leader, b"k", b"2")
    with trio.move_on_after(5) as scope:
        await get(leader, b"k")
    assert scope.cancelled_caught


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_a_peer_whose_disk_fails_stops_and_answers_nothing(world: World) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start()
    leader = await cluster.leader()
    await put(leader, b"k", b"1")
    machine = world.machines[leader.id]
    machine.disk.full = True
    with pytest.raises((PeerStopped, LeadershipLost)):
        for _ in range(100):
            await put(leader, b"k", bytes(1000))
    with pytest.raises(PeerStopped):
        await leader.read(encode(Get(b"k")))
    with pytest.raises(PeerStopped):
        leader.put_command(b"x")
    other = await cluster.leader(but=leader.id)
    assert [name for name, _ in cluster.failures] == [leader.id]
    assert (await put(other, b"j", b"2")).done


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=90)
async def test_all_lose_power_at_once_and_nothing_acknowledged_is_lost(world: World) -> None:
    cluster = Cluster(world, HOSTS, options={"snapshot_entries": 7})
    cluster.start()
    leader = await cluster.leader()
    for number in range(20):
        await put(leader, b"%d" % number, b"x")
    for name in HOSTS:
        cluster.crash(name)
    for name in HOSTS:
        world.machines[name].restart()
    leader = await cluster.leader()
    for number in range(20):
        assert await get(leader, b"%d" % number) == b"x"


@simulated(seeds=2, profile="calm", hosts=["n1"], duration_seconds=90)
async def test_peers_tell_each_other_where_they_listen(world: World) -> None:
    cluster = Cluster(world, ["n1", "n2", "n3"])
    for name in ("n2", "n3"):
        world.add_machine(name)
    first = (raft.Place("n1", "n1", PORT),)
    cluster.start("n1", places=())
    cluster.start("n2", "n3", places=first, port=0)
    leader = await cluster.leader()
    assert (await put(leader, b"k", b"v")).done
    await cluster.until(lambda: all(len(p.reachable) == 2 for p in cluster.peers.values()))


# Everything goes wrong


async def use(cluster: Cluster, history: History, name: str, rng: random.Random) -> None:
    """Be a client that asks peers in the same process, one operation at a time."""
    number = 0
    while True:
        number += 1
        await trio.sleep(rng.random() * 0.3)
        if not cluster.peers:
            continue
        up = list(cluster.peers.values())
        peer = rng.choice([p for p in up if p.is_leader] or up)
        value = f"{name}.{number}"
        kind = rng.random()
        if kind < 0.5:
            invocation = history.invoke(name, KeyValue.get("k"))
            with trio.move_on_after(2):
                try:
                    answer = await get(rng.choice(up), b"k")
                    invocation.ok(None if answer is None else answer.decode())
                except (PeerStopped, ReadRefused):
                    pass
            continue
        call, command = draw_write(rng, value, kind)
        invocation = history.invoke(name, call)
        with trio.move_on_after(2):
            try:
                result = decode_result(await peer.propose(command))
                assert isinstance(result, Changed)
                invocation.ok(result.done if call.name == "cas" else None)
            except (NotLeader, ProposalRefused):
                invocation.fail()
            except (PeerStopped, LeadershipLost):
                pass


def draw_write(rng: random.Random, value: str, kind: float) -> tuple[Call, bytes]:
    if kind < 0.8:
        return KeyValue.put("k", value), encode(Put(b"k", value.encode()))
    expected = f"c{rng.randrange(3)}.{rng.randrange(20)}"
    command = CompareAndSet(b"k", expected.encode(), value.encode())
    return KeyValue.cas("k", expected, value), encode(command)


async def live_through(world: World) -> None:
    """Let clients work through all faults; then demand one order and an end."""
    rng = world.rng("test")
    cluster = Cluster(world, HOSTS, options={"snapshot_entries": rng.choice([0, 5, 20])})
    history = History(world.now)
    cluster.start()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            name = f"c{number}"
            nursery.start_soon(partial(use, cluster, history, name, world.rng(name)))
        await world.healed()
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    for name in HOSTS:
        if world.machines[name].is_up and name not in cluster.peers:
            world.machines[name].crash()
            world.machines[name].restart()
    leader = await cluster.leader()
    with trio.fail_after(20):
        await put(leader, b"end", b"end")
        for peer in list(cluster.peers.values()):
            assert await get(peer, b"end") == b"end"
    verdict = check_linearizable(history, KeyValue(), step_limit=200_000)
    assert verdict.answer != "violated", str(verdict)


@simulated(seeds=1, profile="hostile", hosts=HOSTS, duration_seconds=30, heal_seconds=6)
async def test_hostile_worlds_are_linearizable(world: World) -> None:
    await live_through(world)


@simulated(seeds=1, profile="crashes", hosts=HOSTS, duration_seconds=30, heal_seconds=6)
async def test_crashes_lose_nothing_acknowledged(world: World) -> None:
    await live_through(world)


@pytest.mark.slow
@simulated(seeds=1, profile="partitions", hosts=HOSTS, duration_seconds=30, heal_seconds=6)
async def test_partitions_are_linearizable(world: World) -> None:
    await live_through(world)
