"""Traces of whole peers on simulated machines, and the files that they are written to."""

import trio

from tests.support.raft_trace_model import Model
from tests.support.raft_world import FAST, HOSTS, PORT, Cluster
from tests.support.rpc_world import ports_of
from trio440 import raft
from trio440.core.host import Host
from trio440.errors import TraceFailed
from trio440.raft.kv import KeyValueMap, Put, encode
from trio440.sim import simulated
from trio440.sim.systems.raft_record import record_peers
from trio440.sim.world import World

FOLDER, NAME = "/traces", "n1.ndjson"
PATH = f"{FOLDER}/{NAME}"


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=60)
async def test_peers_tell_one_story_over_a_crash_of_their_leader(world: World) -> None:
    lines: list[bytes] = []
    cluster = Cluster(world, HOSTS, recorder=record_peers(lines.append, world.now, HOSTS))
    cluster.start()
    leader = await cluster.leader()
    for number in range(5):
        await leader.propose(encode(Put(b"k", b"%d" % number)))
    world.machines[leader.id].crash()
    other = await cluster.leader(but=leader.id)
    world.machines[leader.id].restart()
    await other.propose(encode(Put(b"k", b"after")))
    await cluster.until(lambda: len(cluster.peers) == 3)
    model = Model()
    model.read(lines)
    world.require(len(model.committed) >= 6, "what was acknowledged is in the trace")
    world.require(b"".join(lines).count(b'"InitState"') == 4, "each start is told")


def alone(world: World) -> raft.PeerConfig:
    host = world.machines["n1"].address
    return raft.PeerConfig(id="n1", members=("n1",), is_new=True, host=host, port=PORT, raft=FAST)


def file_of(ports: Host) -> bytes:
    return ports.disk(FOLDER).read(NAME)


@simulated(seeds=1, profile="calm", hosts=["n1"], duration_seconds=60)
async def test_all_that_was_told_is_in_the_file_when_it_is_left(world: World) -> None:
    ports = ports_of(world, "n1")
    for life in range(1, 3):
        async with (
            raft.open_trace(PATH, ports=ports) as recorder,
            raft.open_peer(alone(world), KeyValueMap(), recorder=recorder, ports=ports) as peer,
        ):
            await peer.wait_leader()
            await peer.propose(encode(Put(b"k", b"v")))
        data = file_of(ports)
        world.require(data.count(b'"Commit"') >= life, "a second trace is appended to the first")
        world.require(data.endswith(b"}}\n"), "whole lines")
        if life == 1:
            Model().read(data.splitlines(keepends=True))


@simulated(seeds=1, profile="calm", hosts=["n1"], duration_seconds=60)
async def test_a_trace_that_nobody_can_keep_up_with_ends_and_the_peer_goes_on(world: World) -> None:
    ports = ports_of(world, "n1")
    reports: list[Exception] = []
    limit = 3_000
    async with (
        raft.open_trace(PATH, queued_bytes=limit, report=reports.append, ports=ports) as recorder,
        raft.open_peer(alone(world), KeyValueMap(), recorder=recorder, ports=ports) as peer,
    ):
        await peer.wait_leader()
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(peer.propose, encode(Put(b"k", b"%d" % number)))
    [report] = reports
    world.require(isinstance(report, TraceFailed), "its end is reported, once")
    world.require("3000 bytes" in str(report), "with its reason", str(report))
    data = file_of(ports)
    Model().read(data.splitlines(keepends=True))
    world.require(data.endswith(b"}}\n"), "what is in the file is sound to its last line")


@simulated(seeds=1, profile="calm", hosts=["n1"], duration_seconds=60)
async def test_a_full_disk_ends_a_trace_and_the_peer_goes_on(world: World) -> None:
    ports = ports_of(world, "n1")
    reports: list[Exception] = []
    async with (
        raft.open_trace(PATH, report=reports.append, ports=ports) as recorder,
        raft.open_peer(alone(world), KeyValueMap(), recorder=recorder, ports=ports) as peer,
    ):
        await peer.wait_leader()
        await peer.propose(encode(Put(b"k", b"before")))
        world.machines["n1"].disk.full = True
        for number in range(3):
            await peer.propose(encode(Put(b"k", b"%d" % number)))
            await ports.clock.sleep(0.1)
    [report] = reports
    world.require(isinstance(report, TraceFailed), "its end is reported, once")
    world.require("no space left" in str(report), "with its reason", str(report))
