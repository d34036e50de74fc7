"""Three servers of a store that are killed under load, in turn and all at once, and started again.

SIGKILL takes what a process had in memory; what it had written stays in the system's cache. That
a power cut loses nothing either is shown on simulated disks, in ``test_kv_durable.py`` and
``test_raft_storage_crashes.py``.
"""

import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import pytest
import trio

from tests.support.kv_processes import NAMES, Servers, servers_in
from tests.support.net import until
from tests.support.processes import PATIENCE_SECONDS
from trio440 import kv, raft, rpc
from trio440.core.host import parse_address
from trio440.errors import StoreUnavailable
from trio440.kv.discovery import CLUSTER, IDENTITY
from trio440.kv.service import AskStatus, Queries
from trio440.sim.checking.history import Call, History, Value
from trio440.sim.checking.linearizability import check_linearizable
from trio440.sim.checking.model import Impossible
from trio440.sim.checking.models import KeyValue

pytestmark = pytest.mark.real

LOG = logging.getLogger(__name__)
"""Says what was done: ``pytest --log-cli-level=INFO``."""
PROGRESS = 20
"""Operations that are answered before the next kill, and after it."""
PACE_SECONDS = 0.005


class Load(Protocol):
    """Clients that work until they are told to stop."""

    done: int
    """Operations that were answered."""
    stopping: bool


async def kill_again_and_again(servers: Servers, load: Load, kills: int) -> None:
    """Kill one after the other so often, and at last all together."""

    async def progress() -> None:
        seen = load.done
        await until(lambda: load.done >= seen + PROGRESS)

    for turn in range(kills):
        # The last one is the first server, which joins nobody: others have to find it.
        victim = NAMES[(turn + 1) % len(NAMES)]
        await progress()
        await trio.to_thread.run_sync(servers.kill, victim)
        await progress()
        await trio.to_thread.run_sync(servers.start, victim)
    await progress()
    await trio.to_thread.run_sync(servers.kill, *NAMES)
    await trio.to_thread.run_sync(servers.start, *NAMES)
    await progress()
    load.stopping = True


# The linearizable engine

CLIENTS, TASKS = 2, 3
TEXTS, COUNTERS = ("a", "b", "c"), ("m", "n")


class Table(KeyValue):
    """Keys and values, and counters: ``increment(key) -> the sum``."""

    @staticmethod
    def increment(key: Value) -> Call:
        return Call("increment", (), key)

    def apply(self, state: Value, call: Call) -> tuple[Value | Impossible, Value]:
        if call.name != "increment":
            return super().apply(state, call)
        assert state is None or isinstance(state, str)
        total = int(state or 0) + 1
        return total, str(total)


class ExactLoad:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.history = History(lambda: time.monotonic_ns() // 1000)
        self.heard: list[int] = []
        """The versions of all changes, as a watch told of them."""
        self.done = self.unknown = 0
        self.stopping = False

    async def run(self, servers: Servers) -> None:
        """Work through two clients, one patient and one that often never hears what came of it."""
        peers = [parse_address(address) for address in servers.addresses]
        async with (
            kv.connect(servers.addresses, timeout_seconds=10) as one,
            kv.open_linearizable(peers, cluster=CLUSTER, timeout_seconds=1) as two,
            one.watch() as changes,
            trio.open_nursery() as watching,
        ):
            assert isinstance(one, kv.AtomicNamespace)
            watching.start_soon(self.watch, changes)
            async with trio.open_nursery() as nursery:
                for number, space in enumerate((one, two)):
                    for task in range(TASKS):
                        nursery.start_soon(self.work, space, f"{number}.{task}")
            last = await one.put(b"the last one", b"")
            await until(lambda: bool(self.heard) and self.heard[-1] == last)
            watching.cancel_scope.cancel()

    async def watch(self, changes: AsyncIterator[kv.Change]) -> None:
        async for change in changes:
            self.heard.append(change.version)

    async def work(self, space: kv.AtomicNamespace, name: str) -> None:
        seen: dict[Value, Value] = {}
        number = 0
        while not self.stopping:
            await trio.sleep(PACE_SECONDS)
            number += 1
            call = self.draw(seen, f"{name}:{number}")
            invocation = self.history.invoke(name, call)
            try:
                result = await carry_out(space, call)
            except StoreUnavailable as error:
                if error.may_have_happened:
                    self.unknown += 1
                    invocation.unknown()
                else:
                    invocation.fail()
                continue
            invocation.ok(result)
            self.done += 1
            if call.name == "get":
                seen[call.key] = result

    def draw(self, seen: dict[Value, Value], token: str) -> Call:
        rng = self.rng
        if rng.random() < 0.3:
            counter = rng.choice(COUNTERS)
            return Table.get(counter) if rng.random() < 0.2 else Table.increment(counter)
        key, kind = rng.choice(TEXTS), rng.random()
        if kind < 0.4:
            return Table.get(key)
        if kind < 0.7:
            return Table.put(key, token)
        return Table.delete(key) if kind < 0.8 else Table.cas(key, seen.get(key), token)


async def carry_out(space: kv.AtomicNamespace, call: Call) -> Value:
    """Carry out a call, and return what the model would."""
    key = str(call.key).encode()
    args = [None if value is None else str(value).encode() for value in call.args]
    match call.name, args:
        case "get", []:
            entry = await space.get(key)
            return None if entry is None else entry.value.decode()
        case "put", [bytes(value)]:
            await space.put(key, value)
            return None
        case "delete", []:
            await space.delete(key)
            return None
        case "cas", [old, new]:
            return await space.compare_and_set(key, old, new)
    assert call.name == "increment"
    return await space.increment(key)


async def require_equal_peers(servers: Servers) -> None:
    """Wait until all three take part, and have applied the same."""
    peers = [parse_address(address) for address in servers.addresses]
    async with raft.open_client(peers, cluster=CLUSTER) as client:
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                reports = await client.status()
                if len(reports) == len(NAMES) and len({each.applied for each in reports}) == 1:
                    break
                await trio.sleep(0.1)
    assert {report.voters for report in reports} == {NAMES}


async def live_exactly(servers: Servers, kills: int, seed: int) -> None:
    load = ExactLoad(random.Random(seed))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run, servers)
        await kill_again_and_again(servers, load, kills)
    await require_equal_peers(servers)
    gaps = [(before, after) for before, after in pairwise(load.heard) if after != before + 1]
    assert not gaps
    verdict = check_linearizable(load.history, Table())
    LOG.info(
        "%d kills, %d operations answered, %d of unknown fate, %d changes heard; %s",
        kills,
        load.done,
        load.unknown,
        len(load.heard),
        str(verdict).splitlines()[0],
    )
    assert verdict.answer == "ok", str(verdict)


# The eventual engine


class EventualLoad:
    """Each key has one writer. Every server has one that asks nobody else; others go to all.

    So it is seen that a server which comes back has what it had acknowledged *itself*, whatever
    the others may give back to it.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.tried: dict[bytes, list[bytes | None]] = {}
        """What was written to each key, in order; None: it was deleted."""
        self.acknowledged: dict[bytes, int] = {}
        """The place of the last of these that was acknowledged."""
        self.done = self.failed = 0
        self.stopping = False

    async def run(self, servers: Servers) -> None:
        async with trio.open_nursery() as nursery:
            for name in NAMES:
                nursery.start_soon(self.stay, name, servers.address(name))
            for number in range(TASKS):
                nursery.start_soon(self.roam, b"roaming.%d" % number, servers.addresses)

    @contextmanager
    def may_fail(self) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable:
            self.failed += 1

    async def stay(self, name: str, address: str) -> None:
        key = f"at.{name}".encode()
        async with kv.open_client([address]) as client:
            while not self.stopping:
                with self.may_fail():
                    await self.write(client, key, b"%d")
                with self.may_fail():
                    entry = await client.get(key)
                    self.check(key, None if entry is None else entry.value)
                await trio.sleep(PACE_SECONDS)

    async def roam(self, prefix: bytes, addresses: list[str]) -> None:
        start = self.rng.randrange(len(addresses))
        async with kv.open_client([*addresses[start:], *addresses[:start]]) as client:
            while not self.stopping:
                key = b"%s.%d" % (prefix, self.rng.randrange(4))
                with self.may_fail():
                    await self.write(client, key, None if self.rng.random() < 0.2 else b"%d")
                await trio.sleep(PACE_SECONDS)

    async def write(self, client: kv.EventualNamespace, key: bytes, form: bytes | None) -> None:
        tried = self.tried.setdefault(key, [None])
        place = len(tried)
        value = None if form is None else form % place
        tried.append(value)
        if value is None:
            await client.delete(key)
        else:
            await client.put(key, value)
        self.acknowledged[key] = place
        self.done += 1

    def check(self, key: bytes, value: bytes | None) -> None:
        """Require that a value is the last one that was acknowledged, or a later one."""
        last = self.acknowledged.get(key, 0)
        allowed = self.tried[key][last:]
        assert value in allowed, f"{key!r} is {value!r} and not one of {allowed}"


async def wait_until_equal(servers: Servers) -> float:
    """Wait until all replicas have the same digest, and return how long that took."""
    began = trio.current_time()

    async def digest(address: str) -> int:
        async with rpc.open_client(*parse_address(address), identity=IDENTITY) as client:
            return (await Queries(client).look(AskStatus())).digest

    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            if len({await digest(address) for address in servers.addresses}) == 1:
                break
            await trio.sleep(0.1)
    return trio.current_time() - began


async def live_eventually(servers: Servers, kills: int, seed: int) -> None:
    load = EventualLoad(random.Random(seed))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run, servers)
        await kill_again_and_again(servers, load, kills)
    seconds = await wait_until_equal(servers)
    for address in servers.addresses:
        async with kv.open_client([address]) as client:
            found = {entry.key: entry.value for entry in (await client.list()).entries}
        assert found.keys() <= load.tried.keys()
        for key in load.tried:
            load.check(key, found.get(key))
    LOG.info(
        "%d kills, %d writes answered, %d calls failed; equal %.1f s after the last write",
        kills,
        load.done,
        load.failed,
        seconds,
    )


LIVES = {"linearizable": live_exactly, "eventual": live_eventually}


@pytest.mark.slow
@pytest.mark.parametrize("engine", LIVES)
def test_three_kills_lose_nothing(tmp_path: Path, engine: str) -> None:
    with servers_in(tmp_path, engine=engine) as servers:
        trio.run(partial(LIVES[engine], servers, kills=3, seed=1))


@pytest.mark.campaign
@pytest.mark.parametrize("engine", LIVES)
def test_each_of_three_servers_is_killed_ten_times(tmp_path: Path, engine: str) -> None:
    with servers_in(tmp_path, engine=engine) as servers:
        trio.run(partial(LIVES[engine], servers, kills=30, seed=random.randrange(1 << 30)))
