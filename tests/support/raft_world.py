"""Raft peers on simulated machines, for tests: a cluster that is started, cut and crashed."""

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import attrs
import trio

from trio440 import raft
from trio440.core.host import Host
from trio440.errors import JournalFailed, LostStorage
from trio440.raft.kv import KeyValueMap
from trio440.raft.machine import StateMachine
from trio440.sim.disk import SimDisk
from trio440.sim.world import World

PORT = 7000
HOSTS = ["n1", "n2", "n3"]
FAST = raft.Config(heartbeat_ticks=3, election_ticks=15, election_ticks_spread=15)


@attrs.define
class Cluster:
    """The peers of a world, as far as they run."""

    world: World
    members: Sequence[str]
    config: raft.Config = FAST
    machine: Callable[[], StateMachine] = KeyValueMap
    directory: str | None = "/data"
    options: dict[str, Any] = attrs.Factory(dict)
    recorder: raft.Recorder | None = None
    peers: dict[str, raft.Peer[Any]] = attrs.Factory(dict)
    failures: list[tuple[str, Exception]] = attrs.Factory(list)
    reports: list[Any] = attrs.Factory(list)

    def places(self) -> tuple[raft.Place, ...]:
        return tuple(raft.Place(name, name, PORT) for name in self.members)

    def start(self, *names: str, **changes: Any) -> None:
        for name in names or self.members:
            self.world.start(name, self.program(name, **changes))

    def program(self, name: str, **changes: Any) -> Callable[[Host], Awaitable[None]]:
        settings: dict[str, Any] = {
            "id": name,
            "members": tuple(self.members),
            "places": self.places(),
            "directory": self.directory,
            "host": self.world.machines[name].address,
            "port": PORT,
            "raft": self.config,
            **self.options,
            **changes,
        }

        async def live(ports: Host) -> None:
            try:
                config = raft.PeerConfig(**settings)
                async with raft.open_peer(
                    config,
                    self.machine(),
                    report=self.reports.append,
                    recorder=self.recorder,
                    ports=ports,
                ) as peer:
                    self.peers[name] = peer
                    try:
                        await trio.sleep_forever()
                    finally:
                        if self.peers.get(name) is peer:
                            del self.peers[name]
            except (JournalFailed, LostStorage) as error:
                self.failures.append((name, error))

        return live

    async def leader(self, *, but: str = "", seconds: float = 60) -> raft.Peer[Any]:
        """Wait until somebody leads, in the latest term of those who run."""
        with trio.fail_after(seconds):
            while True:
                up = [p for n, p in self.peers.items() if n != but]
                leading = [peer for peer in up if peer.is_leader]
                latest = max((peer.status().term for peer in up), default=0)
                for peer in leading:
                    if peer.status().term == latest:
                        return peer
                await trio.sleep(0.01)

    async def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        with trio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await trio.sleep(0.005)

    def lose_disk(self, name: str) -> None:
        """Start a machine again with nothing on its disk."""
        machine = self.world.machines[name]
        if machine.is_up:
            self.crash(name)
        machine.disk = SimDisk(random.Random(name))
        machine.restart()

    def crash(self, name: str) -> None:
        self.world.machines[name].crash()
        with suppress(KeyError):
            del self.peers[name]
