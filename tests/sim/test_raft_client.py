"""The client of a Raft cluster on simulated machines: it finds the leader, and repeats safely."""

from functools import partial
from typing import Any

import pytest
import trio

from tests.support.raft_world import HOSTS, PORT, Cluster
from tests.support.rpc_world import ports_of
from trio440 import raft
from trio440.errors import ChangeRefused, HandshakeRefused, NoAnswer
from trio440.raft.dedupe import Sessions
from trio440.raft.endpoints import Endpoint
from trio440.raft.kv import Changed, Found, Get, KeyValueMap, Put, decode_result, encode
from trio440.sim import simulated
from trio440.sim.world import World

SEEDS = 1
ADDRESSES = [(name, PORT) for name in HOSTS]


def cluster_of(world: World) -> Cluster:
    return Cluster(world, HOSTS, machine=lambda: Sessions(KeyValueMap()))


@simulated(seeds=SEEDS, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_one_address_is_enough_and_the_leader_is_followed(world: World) -> None:
    cluster = cluster_of(world)
    cluster.start()
    async with raft.open_client(ADDRESSES[:1], ports=ports_of(world, "desk")) as client:
        for number in range(3):
            result = decode_result(await client.propose(encode(Put(b"k", b"%d" % number))))
            assert isinstance(result, Changed)
            assert result.revision == number + 1
            leader = await cluster.leader()
            other = next(name for name in HOSTS if name != leader.id)
            await client.transfer_leadership(other)
        found = decode_result(await client.read(encode(Get(b"k"))))
        assert isinstance(found, Found)
        assert found.items[0].value == b"2"
        reports = await client.status()
        assert [report.id for report in reports] == HOSTS
        assert [report.role for report in reports].count("leader") <= 1
        assert await client.snapshot() > 3
        with pytest.raises(ChangeRefused):
            await client.change_members(HOSTS)


@simulated(seeds=SEEDS, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_a_command_whose_leader_dies_is_done_once(world: World) -> None:
    cluster = cluster_of(world)
    cluster.start()
    async with raft.open_client(ADDRESSES, ports=ports_of(world, "desk")) as client:
        for number in range(1, 5):
            result = decode_result(await client.propose(encode(Put(b"k", b"before"))))
            assert isinstance(result, Changed)
            assert result.revision == 2 * number - 1
            name = (await cluster.leader()).id
            cluster.crash(name)
            result = decode_result(await client.propose(encode(Put(b"k", b"after"))))
            assert isinstance(result, Changed)
            assert result.revision == 2 * number
            world.machines[name].restart()
            await cluster.until(partial(cluster.peers.__contains__, name))


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_who_leads_is_known_to_all_that_ask_at_once(world: World) -> None:
    cluster = cluster_of(world)
    cluster.start()
    asked: list[str] = []
    async with raft.open_client(ADDRESSES, ports=ports_of(world, "desk")) as client:
        await client.propose(encode(Put(b"k", b"first")))
        endpoints = client._endpoints
        attempt = endpoints.attempt

        async def counted(address: Endpoint, *arguments: Any, **options: Any) -> Any:
            asked.append(address[0])
            return await attempt(address, *arguments, **options)

        endpoints.attempt = counted  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(client.propose, encode(Put(b"%d" % number, b"")))
    assert len(asked) == 50
    assert len(set(asked)) == 1


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_why_there_was_no_answer_is_told(world: World) -> None:
    cluster = cluster_of(world)
    cluster.start()
    await cluster.leader()
    cluster.crash("n2")
    cluster.crash("n3")
    async with raft.open_client(ADDRESSES, ports=ports_of(world, "desk")) as client:
        with pytest.raises(NoAnswer) as caught:
            await client.propose(b"x", timeout_seconds=5)
    assert f"n1:{PORT} says that nobody leads" in str(caught.value)
    assert f"n2:{PORT} cannot be reached" in str(caught.value)


@simulated(seeds=1, profile="calm", hosts=[*HOSTS, "desk"], duration_seconds=90)
async def test_a_cluster_that_is_not_there_is_given_up(world: World) -> None:
    ports = ports_of(world, "desk")
    async with raft.open_client(ADDRESSES, ports=ports) as client:
        with pytest.raises(NoAnswer, match=r"within 3 s: n2:\d+ cannot be reached; n"):
            await client.propose(b"x", timeout_seconds=3)
        with pytest.raises(NoAnswer, match="n3:"):
            await client.read(b"x", timeout_seconds=3)
        assert await client.status() == []
    cluster_of(world).start()
    async with raft.open_client(ADDRESSES, cluster="other", ports=ports) as client:
        with pytest.raises(HandshakeRefused):
            await client.propose(b"x", timeout_seconds=30)
