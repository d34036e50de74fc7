"""Bugs of other Raft implementations that show in whole peers and clients: not here.

Those that show in the algorithm alone are in ``tests/unit/test_raft_regressions.py``; a disk that
is really full, and the order of syncs and messages, in ``tests/real``.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

import attrs
import pytest
import trio

from tests.support.raft_world import FAST, HOSTS, PORT, Cluster
from tests.support.rpc_world import ports_of
from trio440 import raft, rpc
from trio440.core.host import Host
from trio440.errors import NoAnswer, NotLeader, TransferRefused
from trio440.raft.dedupe import Sessions
from trio440.raft.kv import Changed, Found, Get, KeyValueMap, Put, Result, decode_result, encode
from trio440.raft.messages import Message, TimeoutNow
from trio440.raft.wire import Answered, Clients, Command, Question
from trio440.sim import simulated
from trio440.sim.faults import Clog
from trio440.sim.world import World

ROUNDS = 5
TICK_SECONDS = 0.01


async def put(peer: raft.Peer[KeyValueMap], key: bytes) -> None:
    result = decode_result(await peer.propose(encode(Put(key, b"v"))))
    assert isinstance(result, Changed)


async def keys_of(peer: raft.Peer[KeyValueMap], count: int) -> list[bytes]:
    found = [decode_result(await peer.read(encode(Get(b"%d" % n)))) for n in range(count)]
    return [item.key for each in found if isinstance(each, Found) for item in each.items]


places = count(99)  # behind those of the plan


@contextmanager
def held_back(world: World, source: str, destination: str, seconds: float) -> Iterator[None]:
    """Let what is sent on a link arrive when the time is over, all of it."""
    now = world.now()
    clog = Clog(start=now, end=now + round(seconds * 1e6), source=source, destination=destination)
    fabric, place = world.network.fabric, next(places)
    fabric.begin(place, clog)
    yield
    fabric.end(place, clog)
    world.network.ring()


# PySyncObj #142: a partner whose name has no address keeps a node from starting


@pytest.mark.parametrize("trouble", ["unknown at once", "no answer"])
@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=120)
async def test_pysyncobj_142_a_name_that_does_not_resolve_at_the_start(
    world: World, trouble: str
) -> None:
    cluster = Cluster(world, HOSTS)
    cluster.start()
    await put(await cluster.leader(), b"0")
    for name in HOSTS:
        cluster.crash(name)
    names = world.network.names
    address = names.pop("n3")
    if trouble == "no answer":  # the resolver itself takes its time
        names["n3"] = []
    for name in ("n1", "n2"):
        world.machines[name].restart()
    leader = await cluster.leader()
    await put(leader, b"1")
    other = next(peer for peer in cluster.peers.values() if peer is not leader)
    assert await keys_of(other, 2) == [b"0", b"1"]
    assert leader.reachable == (other.id,)
    # Its own machine knows the others, and who it is shows only when its name is known, too.
    names["n3"] = address
    world.machines["n3"].restart()
    await cluster.until(lambda: "n3" in cluster.peers)
    await cluster.until(lambda: "n3" in leader.reachable, seconds=15)
    assert await keys_of(cluster.peers["n3"], 2) == [b"0", b"1"]


# PySyncObj #201: term and vote are lost when all restart at once


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=120)
async def test_pysyncobj_201_term_and_vote_survive_a_power_cut_of_all_at_once(world: World) -> None:
    rng = world.rng("test")
    cluster = Cluster(world, HOSTS)
    cluster.start()
    votes: dict[tuple[str, int], str | None] = {}
    leaders: dict[int, str] = {}

    def look() -> dict[str, int]:
        """Check what each peer says against what it said before; return their terms."""
        terms = {}
        for name, peer in cluster.peers.items():
            status = peer.status()
            terms[name] = status.term
            before = votes.setdefault((name, status.term), status.vote)
            assert before in {None, status.vote}, "it has forgotten its vote, or changed it"
            votes[name, status.term] = status.vote
            if peer.is_leader:
                assert leaders.setdefault(status.term, name) == name
        return terms

    for turn in range(ROUNDS):
        leader = await cluster.leader()
        await put(leader, b"%d" % turn)
        await trio.sleep(rng.random())
        before = look()
        for name in HOSTS:
            cluster.crash(name)
        for name in HOSTS:
            world.machines[name].restart()
        await cluster.until(lambda: len(cluster.peers) == len(HOSTS))
        after = look()
        assert all(after[name] >= term for name, term in before.items()), (before, after)
    assert len(await keys_of(await cluster.leader(), ROUNDS)) == ROUNDS


# PySyncObj #133: nodes that know different members


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "n4"], duration_seconds=120)
async def test_pysyncobj_133_who_knows_other_members_neither_leads_nor_answers(
    world: World,
) -> None:
    """One is removed while it is cut off; another one starts with the list of the beginning."""
    cluster = Cluster(world, HOSTS)
    cluster.start()
    leader = await cluster.leader()
    await put(leader, b"0")
    gone, stays = (name for name in HOSTS if name != leader.id)
    others = [leader.id, stays, "n4"]
    with ExitStack() as links:
        for name in others:
            links.enter_context(held_back(world, gone, name, 60))
            links.enter_context(held_back(world, name, gone, 60))
        cluster.start("n4", members=())
        await leader.add_learner("n4")
        await leader.promote("n4")
        await leader.change_members(others)
        await put(leader, b"1")
        cluster.crash(stays)
        world.machines[stays].restart()
        await cluster.until(lambda: stays in cluster.peers)
        assert set(cluster.peers[gone].members.voters) == set(HOSTS)
    term = leader.status().term
    await trio.sleep(2)
    for name in others:
        assert set(cluster.peers[name].members.voters) == set(others)
        assert cluster.peers[name].leader == leader.id
    assert leader.status().term == term, "who was removed disturbs nobody"
    stranger = cluster.peers[gone]
    assert not stranger.is_leader
    with pytest.raises(NotLeader):
        await stranger.propose(encode(Put(b"1", b"lost")))
    with trio.move_on_after(2) as waiting:
        await stranger.read(encode(Get(b"1")))
    assert waiting.cancelled_caught
    assert await keys_of(cluster.peers[stays], 2) == [b"0", b"1"]


# etcd-io/raft #99, openraft #1747: a leader that hands over answers from its lease


@pytest.mark.parametrize("is_late", [False, True])
@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=120)
async def test_etcd_99_openraft_1747_no_stale_read_from_the_lease_of_who_hands_over(
    world: World, *, is_late: bool
) -> None:
    """The order to take over arrives at once, or when its sender has given the transfer up."""
    config = attrs.evolve(FAST, lease_reads=True, lease_margin_ticks=3)
    cluster = Cluster(world, HOSTS, config)
    cluster.start()
    old = await cluster.leader()
    new, third = (peer for name, peer in sorted(cluster.peers.items()) if name != old.id)
    await put(old, b"0")
    await cluster.until(lambda: old.status().has_lease)
    driver, orders = old._driver, list[Message]()
    send = driver.send

    def hold(message: Message) -> bool:
        if not isinstance(message, TimeoutNow):
            return send(message)
        orders.append(message)
        return True

    driver.send = hold

    async def hand_over() -> None:
        with suppress(TransferRefused):
            await old.transfer_leadership(new.id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hand_over)
        await cluster.until(lambda: orders)
        if is_late:
            await cluster.until(lambda: old.status().transferee is None)
            await trio.sleep(4 * TICK_SECONDS)  # a round of heartbeats is confirmed meanwhile
        with held_back(world, new.id, old.id, 60), held_back(world, third.id, old.id, 60):
            send(orders[0])
            await cluster.until(lambda: new.is_leader, seconds=1)
            result = decode_result(await new.propose(encode(Put(b"0", b"newer"))))
            assert isinstance(result, Changed)
            assert old.is_leader, "it has not heard of it"
            found: list[Result] = []

            async def read() -> None:
                found.append(decode_result(await old.read(encode(Get(b"0")))))

            nursery.start_soon(read)
            await trio.sleep(5 * TICK_SECONDS)
            assert found == []
    [answer] = found
    assert isinstance(answer, Found)
    assert [item.value for item in answer.items] == [b"newer"]


# A late reply of a call that had timed out, taken for the answer to a newer one


@simulated(seeds=1, profile="calm", hosts=["server", "desk"], duration_seconds=120)
async def test_a_late_reply_of_a_timed_out_call_is_not_the_answer_to_a_newer_one(
    world: World,
) -> None:
    machine, asked = Sessions(KeyValueMap()), list[bytes]()

    def propose(request: Command, _: rpc.Peer) -> Answered:
        asked.append(request.data)
        return Answered(machine.apply(len(asked), request.data))

    def read(request: Question, _: rpc.Peer) -> Answered:
        asked.append(request.data)
        return Answered(machine.query(request.data))

    async def serve(ports: Host) -> None:
        routes = rpc.Routes()
        routes.add(Clients.propose, propose)
        routes.add(Clients.read, read)
        address = world.machines["server"].address
        identity = rpc.Identity("raft", "n1")
        await rpc.serve(PORT, routes, host=address, identity=identity, ports=ports)

    world.start("server", serve)
    ports = ports_of(world, "desk")
    async with raft.open_client([("server", PORT)], attempt_seconds=60, ports=ports) as client:
        for key in (b"a", b"b"):
            await client.propose(encode(Put(key, key)))
        del asked[:]
        found: list[Result] = []

        async def ask() -> None:
            found.append(decode_result(await client.read(encode(Get(b"b")))))
            found.append(decode_result(await client.propose(encode(Put(b"b", b"new")))))

        with held_back(world, "server", "desk", 1.0):
            with pytest.raises(NoAnswer):
                await client.read(encode(Get(b"a")), timeout_seconds=0.3)
            with pytest.raises(NoAnswer):
                await client.propose(encode(Put(b"a", b"new")), timeout_seconds=0.3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            assert len(asked) == 2, "both were answered, and both answers are on their way"
        first, second = found
        assert isinstance(first, Found)
        assert isinstance(second, Changed)
        assert [item.value for item in first.items] == [b"b"]
        assert second.before is not None
        assert (second.before.key, second.revision) == (b"b", 4)
