"""A cluster of real processes that are killed under load, again and again.

SIGKILL takes what a process had in memory; what it had written stays in the system's cache. That
a power cut loses nothing either is shown on simulated disks, and in ``test_raft_syncs.py``.
"""

import random
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.support.net import until
from tests.support.processes import PATIENCE_SECONDS
from tests.support.raft_processes import NAMES, QUICK, Cluster, cluster_in
from trio440 import raft
from trio440.raft.kv import (
    Changed,
    CompareAndSet,
    Found,
    Get,
    List,
    Put,
    Result,
    decode_result,
    encode,
)
from trio440.sim.checking.history import History
from trio440.sim.checking.linearizability import check_linearizable
from trio440.sim.checking.models import KeyValue

pytestmark = pytest.mark.real

CLIENTS, TASKS = 2, 3
"""Each client is one session, whose tasks have commands under way together."""
SHARED = ("a", "b", "c")
PROGRESS = 10
"""Operations that are answered before the next kill, and after it."""
PACE_SECONDS = 0.005


async def propose(client: raft.Client, command: Put | CompareAndSet) -> Changed:
    result = decode_result(await client.propose(encode(command)))
    assert isinstance(result, Changed)
    return result


async def ask(client: raft.Client, question: Get | List) -> Found:
    result: Result = decode_result(await client.read(encode(question)))
    assert isinstance(result, Found)
    return result


class Load:
    """Clients that work until they are told to stop, and what they were told."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.history = History(lambda: time.monotonic_ns() // 1000)
        self.counts: dict[bytes, int] = {}
        """By the key of each task, how many of its commands were acknowledged."""
        self.done = 0
        self.stopping = False

    async def run(self, cluster: Cluster, number: int) -> None:
        async with raft.open_client(cluster.addresses) as client, trio.open_nursery() as nursery:
            for task in range(TASKS):
                nursery.start_soon(self.work, client, f"{number}.{task}")

    async def work(self, client: raft.Client, name: str) -> None:
        key = b"own." + name.encode()
        self.counts[key] = 0
        while not self.stopping:
            await self.count(client, key)
            await self.share(client, name)
            await trio.sleep(PACE_SECONDS)

    async def count(self, client: raft.Client, key: bytes) -> None:
        """Count one up where nobody else does: a lost or a doubled command would show at once."""
        before = self.counts[key]
        changed = await propose(client, Put(key, b"%d" % (before + 1)))
        found = (0, b"0") if changed.before is None else _state(changed.before)
        assert found == (before, b"%d" % before)
        self.counts[key] += 1
        self.done += 1

    async def share(self, client: raft.Client, name: str) -> None:
        """Do something with what all share, for the checker."""
        rng, key = self.rng, self.rng.choice(SHARED)
        value, kind = f"{name}:{self.done}", rng.random()
        if kind < 0.4:
            invocation = self.history.invoke(name, KeyValue.get(key))
            items = (await ask(client, Get(key.encode()))).items
            invocation.ok(items[0].value.decode() if items else None)
        elif kind < 0.7:
            invocation = self.history.invoke(name, KeyValue.put(key, value))
            await propose(client, Put(key.encode(), value.encode()))
            invocation.ok()
        else:
            items = (await ask(client, Get(key.encode()))).items
            old = items[0].value if items else None
            call = KeyValue.cas(key, None if old is None else old.decode(), value)
            invocation = self.history.invoke(name, call)
            command = CompareAndSet(key.encode(), old, value.encode())
            invocation.ok((await propose(client, command)).done)
        self.done += 1


def _state(item: object) -> tuple[int, bytes]:
    return item.version, item.value  # type: ignore[attr-defined]


async def kill_again_and_again(cluster: Cluster, load: Load, kills: int) -> int:
    """Kill a peer, the leader every other time; return how often it was the leader."""
    leaders = 0

    async def progress() -> None:
        seen = load.done
        await until(lambda: load.done >= seen + PROGRESS)

    async with raft.open_client(cluster.addresses) as client:
        for turn in range(kills):
            await progress()
            reports = await client.status()
            leading = max(reports, key=lambda report: (report.role == "leader", report.term))
            victim = leading.id if turn % 2 == 0 else load.rng.choice(NAMES)
            leaders += victim == leading.id
            await trio.to_thread.run_sync(cluster.kill, victim)
            await progress()
            await trio.to_thread.run_sync(cluster.start, victim)
    return leaders


async def live_through(cluster: Cluster, kills: int, seed: int) -> None:
    load = Load(random.Random(seed))
    async with trio.open_nursery() as nursery:
        for number in range(CLIENTS):
            nursery.start_soon(load.run, cluster, number)
        assert await kill_again_and_again(cluster, load, kills) >= kills / 2
        load.stopping = True
    assert len(load.counts) == CLIENTS * TASKS
    states = []
    for address in cluster.addresses:  # a read is answered by the peer that is asked
        async with raft.open_client([address]) as client:
            with trio.fail_after(PATIENCE_SECONDS):
                found = await ask(client, List())
        items = {item.key: item for item in found.items}
        for key, count in load.counts.items():
            assert _state(items[key]) == (count, b"%d" % count)
        states.append((found.revision, items))
    assert states[0] == states[1] == states[2]
    verdict = check_linearizable(load.history, KeyValue())
    assert verdict.answer == "ok", str(verdict)


@pytest.mark.slow
def test_five_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    with cluster_in(tmp_path) as cluster:
        trio.run(partial(live_through, cluster, kills=5, seed=1))


@pytest.mark.campaign
def test_a_hundred_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    with cluster_in(tmp_path, options=("--snapshot-entries", "500", *QUICK)) as cluster:
        trio.run(partial(live_through, cluster, kills=100, seed=random.randrange(1 << 30)))
