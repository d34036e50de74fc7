"""The raft part: three peers as processes, clients that write, and a leader that is killed.

Each key is written once, and each write that was acknowledged is looked for at the end, at every
peer. The peers keep their state in directories that are gone after the show.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Final

import attrs

from trio440.cli.demo.processes import Process, ProcessFailed, open_command
from trio440.cli.demo.screen import Screen
from trio440.core import REAL_HOST
from trio440.core.lifetimes import open_service_nursery
from trio440.errors import AddressError
from trio440.raft import Client, Report, open_client
from trio440.raft.kv import Changed, Found, List, Put, decode_result, encode

__all__ = ["show"]

NAMES: Final = ("n1", "n2", "n3")
WRITERS: Final = 3
WORK_SECONDS: Final = 1.2
"""How long the clients write before the leader is killed, and again after there is a new one."""
ELECTION_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.02
PAGE: Final = 1000
RARE_PORTS: Final = range(10_000, 32_000)


async def show(screen: Screen) -> None:
    """Show the part on ``screen``.

    Raises:
        ProcessFailed: a peer, or an answer, was not as it should be.
    """
    with tempfile.TemporaryDirectory(prefix=f"trio440-demo-{os.getpid()}-") as directory:
        async with AsyncExitStack() as processes:
            cluster = _Cluster(directory, await _free_ports(), processes)
            for name in NAMES:
                await cluster.start(name)
            for name in NAMES:
                await cluster.peers[name].address()
            screen.say(f"Three peers listen on {cluster.at}, each with a directory of its own.")
            await _live(screen, cluster)
            for peer in cluster.peers.values():
                await peer.stop()
            screen.say("SIGTERM: all three ended with status 0.")


async def _free_ports() -> dict[str, int]:
    """Choose a port for each peer: they must know each other's before they listen.

    Of ports that the kernel gives to nobody, so that a peer that is down finds its own again.
    """
    ports: dict[str, int] = {}
    async with AsyncExitStack() as listeners:
        for name in NAMES:
            while name not in ports:
                with suppress(AddressError):
                    port = REAL_HOST.rng.choice(RARE_PORTS)
                    listener = await REAL_HOST.net.listen_tcp(port=port)
                    listeners.push_async_callback(listener.aclose)
                    ports[name] = port
    return ports


@attrs.frozen
class _Cluster:
    """The peers, and how to start one."""

    directory: str
    ports: dict[str, int]
    processes: AsyncExitStack
    peers: dict[str, Process] = attrs.field(factory=dict)

    @property
    def at(self) -> str:
        """What ``--at`` wants."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

    def addresses(self, *names: str) -> list[tuple[str, int]]:
        return [("127.0.0.1", self.ports[name]) for name in names or NAMES]

    async def start(self, name: str) -> None:
        others = [other for other in NAMES if other != name]
        words = ["raft", "serve", "--id", name, "--data", f"{self.directory}/{name}"]
        words += ["--listen", f"127.0.0.1:{self.ports[name]}"]
        words += ["--election-seconds", str(ELECTION_SECONDS)]
        for other in others:
            words += ["--peer", f"{other}=127.0.0.1:{self.ports[other]}"]
        command = open_command(name, *words)
        self.peers[name] = await self.processes.enter_async_context(command)


@attrs.define
class _Writers:
    """Clients that write one new key after the other until they are told to stop."""

    written: list[bytes] = attrs.field(factory=list)
    """The keys whose writes were acknowledged."""
    is_over: bool = False

    async def write(self, client: Client, number: int) -> None:
        count = 0
        while not self.is_over:
            key = b"%d/%08d" % (number, count)
            result = decode_result(await client.propose(encode(Put(key, key))))
            if not isinstance(result, Changed) or result.before is not None:
                raise ProcessFailed(f"the write of {key.decode()} was answered with {result}")
            self.written.append(key)
            count += 1


async def _live(screen: Screen, cluster: _Cluster) -> None:
    """Write, kill the leader, go on, and let it come back."""
    writers = _Writers()
    async with open_client(cluster.addresses()) as client, open_service_nursery() as nursery:
        leader = await _wait_leader(client, lambda _: True)
        screen.say(f"{leader.id} leads in term {leader.term}; {WRITERS} clients write.")
        for number in range(WRITERS):
            nursery.start_soon(writers.write, client, number)
        await _work(screen, writers, "three peers")
        cluster.peers[leader.id].kill()
        killed, before = REAL_HOST.clock.now(), len(writers.written)
        screen.say(f"SIGKILL for {leader.id}, the leader, after {before} writes.")
        later = await _wait_leader(client, lambda report: report.term > leader.term)
        took = _since(killed)
        screen.say(f"{took} without a leader; now {later.id} leads, in term {later.term}.")
        while len(writers.written) <= before + WRITERS:
            await REAL_HOST.clock.sleep(LOOK_SECONDS)
        screen.say(f"{_since(killed)} after the kill, writes are acknowledged again.")
        await _work(screen, writers, "two peers")
        rest = [name for name in NAMES if name != leader.id]
        keys = list(writers.written)
        await _check(cluster, rest, keys)
        screen.say(f"All {len(keys)} acknowledged writes so far are at both, each once.")
        await cluster.start(leader.id)
        await cluster.peers[leader.id].address()
        screen.say(f"{leader.id} is started again, with the directory that it had.")
        await _work(screen, writers, "three peers again")
        writers.is_over = True
        await _wait_level(client)
    await _check(cluster, NAMES, writers.written)
    screen.say(f"All {len(writers.written)} acknowledged writes are at all three, each once.")
    async with open_command("the status", "raft", "status", "--at", cluster.at) as status:
        while (line := await status.out.next()) is not None:
            screen.say(f"   {line}")


def _since(moment: float) -> str:
    return f"{REAL_HOST.clock.now() - moment:.1f} s"


async def _wait_leader(client: Client, is_wanted: Callable[[Report], bool]) -> Report:
    while True:
        for report in await client.status(timeout_seconds=0.2):
            if report.role == "leader" and is_wanted(report):
                return report
        await REAL_HOST.clock.sleep(LOOK_SECONDS)


async def _work(screen: Screen, writers: _Writers, name: str) -> None:
    """Let the writers work for a while, and show how fast they are."""
    start, before = REAL_HOST.clock.now(), len(writers.written)
    while (seconds := REAL_HOST.clock.now() - start) < WORK_SECONDS:
        count = len(writers.written) - before
        detail = f"{count / max(seconds, LOOK_SECONDS):.0f} writes/s"
        screen.progress(name, seconds / WORK_SECONDS, detail)
        await REAL_HOST.clock.sleep(LOOK_SECONDS)
    screen.progress(name, 1.0, f"{(len(writers.written) - before) / seconds:.0f} writes/s")


async def _wait_level(client: Client) -> None:
    """Wait until every peer has applied all that any peer has."""
    while True:
        reports = await client.status()
        last = max((report.last for report in reports), default=0)
        if len(reports) == len(NAMES) and all(report.applied == last for report in reports):
            return
        await REAL_HOST.clock.sleep(LOOK_SECONDS)


async def _check(cluster: _Cluster, names: tuple[str, ...] | list[str], keys: list[bytes]) -> None:
    """Look for keys at each of some peers.

    Raises:
        ProcessFailed: one is lost, or was written twice.
    """
    for name in names:
        versions: dict[bytes, int] = {}
        async with open_client(cluster.addresses(name)) as client:  # it answers reads itself
            found = Found(0, (), more=True)
            while found.more:
                start = found.items[-1].key + b"\0" if found.items else b""
                answer = decode_result(await client.read(encode(List(start, None, PAGE))))
                if not isinstance(answer, Found):
                    raise ProcessFailed(f"{name} answered a list with {answer}")
                found = answer
                versions |= {item.key: item.version for item in found.items}
        lost = sum(key not in versions for key in keys)
        doubled = sum(version != 1 for version in versions.values())
        if lost or doubled:
            raise ProcessFailed(f"{name} has lost {lost} writes, and has {doubled} twice")
