"""Somebody who knows a cluster's name and is no member talks to its peers: they go on."""

import trio

from tests.support.raft_world import PORT, Cluster
from tests.support.rpc_world import ports_of
from trio440 import rpc
from trio440.core.host import Host
from trio440.errors import BadMessage, HandlerFailed, RaftViolated
from trio440.raft.batches import encode_entries
from trio440.raft.membership import Configuration
from trio440.raft.messages import (
    Entry,
    EntryKind,
    Heartbeat,
    InstallSnapshot,
    RequestVote,
    SnapshotMeta,
)
from trio440.raft.transport import MOST_STRANGERS
from trio440.raft.wire import AppendEntries, Book, Introduction, Peers, Place
from trio440.sim import simulated
from trio440.sim.world import World

HOSTS = ["n1", "n2", "n3", "n4", "outside"]
MEMBERS = HOSTS[:3]
STRANGER = rpc.Identity("raft", "x9", 77)


async def connected(client: rpc.Client) -> None:
    with trio.fail_after(10):
        while not client.is_connected:  # noqa: ASYNC110 - has no event
            await trio.sleep(0.01)


async def cluster_of_three(world: World) -> tuple[Cluster, Host]:
    cluster = Cluster(world, MEMBERS)
    cluster.start()
    await cluster.leader()
    return cluster, ports_of(world, "outside")


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=120)
async def test_places_that_a_stranger_makes_up_cost_a_peer_a_few_connections(world: World) -> None:
    cluster, ports = await cluster_of_three(world)
    peer = cluster.peers["n1"]
    wrong = (
        Place("zero", "outside", 0),
        Place("large", "outside", 65_536),
        Place("q" * 129, "outside", 1),
        Place("host", "a\0b", 1),
    )
    made_up = tuple(Place(f"s{number}", "outside", 1) for number in range(2000))
    async with rpc.open_client("n1", PORT, identity=STRANGER, ports=ports) as client:
        await connected(client)
        Peers(client).book(Book((*wrong, *made_up)))
        await cluster.until(lambda: len(peer.places) > len(MEMBERS))
    nobody = rpc.Identity("raft")
    async with rpc.open_client("n1", PORT, identity=nobody, ports=ports) as client:
        await connected(client)
        Peers(client).book(Book((Place("from nobody", "outside", 1),)))
        Peers(client).book(Book((Place("", "outside", 1),)))
        await trio.sleep(0.5)
    assert len(peer.places) == len(MEMBERS) + MOST_STRANGERS
    assert not {place.id for place in wrong}.intersection(place.id for place in peer.places)
    # A member is heard of all the same: it tells where it is itself.
    leader = await cluster.leader()
    cluster.start("n4", members=())
    await leader.add_learner("n4")
    await cluster.until(lambda: "n4" in leader.reachable)


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=120)
async def test_a_stranger_stops_no_peer(world: World) -> None:
    cluster, ports = await cluster_of_three(world)
    leader = await cluster.leader()
    name = next(name for name in MEMBERS if name != leader.id)
    peer = cluster.peers[name]
    who, term = STRANGER.node_id, peer.status().term
    odd = encode_entries([Entry(1, term, b"[" * 100_000, EntryKind.CONFIGURATION)])
    nothing = SnapshotMeta(1 << 61, 1, Configuration())
    async with rpc.open_client(name, PORT, identity=STRANGER, ports=ports) as client:
        peers = Peers(client)
        await peers.introduce(Introduction(Place(who, "outside", 1)), timeout_seconds=5)
        peers.append(AppendEntries(who, name, term, 0, 0, 0, b""))
        peers.message(RequestVote(who, name, (1 << 63) - 1, 1 << 62, 1 << 62, transfer=True))
        peers.piece(InstallSnapshot(who, name, term + 1, nothing, 0, b"", 0))
        peers.message(Heartbeat(who, name, term + 1, 1 << 61, 1))
        peers.append(AppendEntries(who, name, term + 1, 0, 0, 0, odd))
        await cluster.until(lambda: len(cluster.reports) >= 5)
        # For the member that is elected in this term the stranger is another leader.
        await cluster.until(lambda: peer.status().term >= term + 1)
    causes = [type(report.__cause__) for report in cluster.reports]
    assert causes == [RaftViolated, BadMessage, BadMessage, RaftViolated, BadMessage]
    assert all(isinstance(report, HandlerFailed) for report in cluster.reports)
    assert set(cluster.peers) == set(MEMBERS)
    leader = await cluster.leader()
    with trio.fail_after(30):
        await leader.snapshot()
    assert peer.status().term <= term + 5
