"""The store at level B: whole servers on machines that crash, and clients that rely on them.

Each server machine runs :func:`trio440.kv.open_server` as it is, told of all servers that were
started before, in half of the worlds as they were in their first lives. In some worlds it begins
with nothing after each crash, in others it is durable and begins with what its disk has kept,
which may fail, too. Clients on machines of their own put, get, delete, expire, list, count and
watch over any query actor. Checked are the rate of messages, what clients have seen before what
they write, that what is read was written, that watches repeat nothing, and, once the faults are
over, that all replicas become equal, that each watch makes what its replica has, and, in durable
worlds, that nothing is lost that was acknowledged.
"""

import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import attrs
import trio

from trio440 import kv
from trio440.core.host import Host, WallClock
from trio440.errors import (
    ActorError,
    AddressError,
    HistoryCompacted,
    JournalFailed,
    OperationRefused,
    StoreUnavailable,
    SystemSuperseded,
)
from trio440.kv.operations import (
    Change,
    Changed,
    Count,
    Counted,
    Delete,
    Entry,
    Expire,
    Found,
    Get,
    List,
    Operation,
    Page,
    Put,
    Refused,
    Result,
)
from trio440.kv.replica_limits import ReplicaLimits
from trio440.sim.systems.kv_stage import HOSTS, draw_times
from trio440.sim.world import World

__all__ = ["CLIENTS", "tell"]

LOGGERS: Final = ("trio440.actors", "trio440.rpc")
CLIENTS: Final = ("c1", "c2")
PORT: Final = 7000
KEYS: Final = 12
KEPT: Final = 4
"""Keys that are never deleted, of which durable servers lose nothing."""
DIRECTORY: Final = "/data/kv"
REST_SECONDS: Final = 0.25
END_SECONDS: Final = 90.0
"""After the faults all replicas must be equal within so long."""
WATCH_SECONDS: Final = 30.0
RATE: Final = 10.0
"""Messages in a second, from one actor to another."""
LOOK_EVERY: Final = 64
"""Steps of tasks."""


async def tell(world: World) -> None:
    """Let servers be written to through all that the plan holds, and judge."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True  # that they find each other late is the point
    try:
        await _Game(world).play()
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


@attrs.frozen
class _Wall(WallClock):
    """The time of day of a machine that was set right when it was switched on."""

    wall: WallClock
    wrong_ns: int

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch, as wrong as the machine's clock is."""
        return self.wall.now_ns() - self.wrong_ns


class _Game:
    """One world."""

    def __init__(self, world: World) -> None:
        rng = world.rng("params")
        self.world = world
        self.hosts = HOSTS[: rng.choice([2, 2, 3, 4, 5])]
        self.counts = {host: rng.randint(1, 3) for host in self.hosts}
        history_changes = rng.choice([20, 10_000])
        self.times = draw_times(rng)
        self.is_durable = rng.random() < 0.5  # noqa: PLR2004 - every second one
        self.tells_first_lives = world.rng("told").random() < 0.5  # noqa: PLR2004 - likewise
        """Whether servers are told of others' first lives, though these have crashed since."""
        self.limits = ReplicaLimits(
            history_changes=history_changes,
            log_bytes=rng.choice([2_000, 16 << 20]),
            total_bytes=64 << 20,
        )
        self._is_kept = not self.is_durable
        self._acknowledged: dict[bytes, int] = {}
        """The greatest version of each key of those that are never deleted."""
        self._promised: dict[bytes, int] = {}
        """The same, at a moment before all replicas were equal."""
        self._servers: dict[str, tuple[int, kv.Server]] = {}
        """The last server of each machine, and in which of its lives."""
        self.written: dict[bytes, set[bytes]] = {}
        """The values that were written to each key, or may have been."""
        self.answers = 0
        self.changes = 0
        self._descriptions: dict[str, str] = {}
        self.watched: list[_Watched] = []
        self._are_equal = False
        self._opening = ""
        self._is_calm = False
        self._looks = 0
        self._addresses = [
            f"{world.machines[host].address}:{PORT + 1 + place}"
            for host in self.hosts
            for place in range(self.counts[host])
        ]

    async def play(self) -> None:
        """Play until the faults are over and all replicas are equal."""
        world = self.world
        world.note(f"{self.counts}, {self.limits}, {self.times}")
        world.check(self._look)
        for host in self.hosts:
            world.start(host, partial(self._serve, host))
        for host in CLIENTS:
            world.start(host, partial(self._use, host))
        await world.healed()
        self._is_calm = True
        missing = "it was not looked at"
        for _ in range(round(END_SECONDS / REST_SECONDS)):
            promised = dict(self._acknowledged)  # what comes later need not be everywhere
            if not (missing := await self._missing()):
                self._promised = promised
                break
            await trio.sleep(REST_SECONDS)
        world.require(not missing, "after the faults all replicas are equal", missing)
        self._are_equal = True
        with trio.move_on_after(WATCH_SECONDS):
            while self._is_waiting():  # noqa: ASYNC110 - there is no event
                await trio.sleep(REST_SECONDS)
        world.require(self._is_kept, "what is kept can be read", f"{self._promised}")
        for each in self.watched:
            shown = f"{each.address}: {each.wrong}"
            world.require(each.is_right, "a watch misses nothing", shown)
        world.note(f"{self.answers} answers, {self.changes} changes")

    def _is_waiting(self) -> bool:
        return not self._is_kept or not all(each.is_right for each in self.watched)

    def _ports(self, ports: Host) -> Host:
        """Set the time of day right, but for the errors that the plan makes."""
        wrong = ports.clock.now() - self.world.now() / 1e6
        return attrs.evolve(ports, wall=_Wall(ports.wall, round(wrong * 1e9)))

    # Servers

    async def _serve(self, host: str, ports: Host) -> None:
        """Be a server of the store, again and again where it cannot be opened."""
        life, ports = self.world.machines[host].lives, self._ports(ports)
        while True:
            await self._wait_for_turn(host, ports)
            told = [text for name, text in self._descriptions.items() if name != host]
            with suppress(AddressError, SystemSuperseded, JournalFailed):
                async with kv.open_server(
                    PORT,
                    self.counts[host],
                    host=self.world.machines[host].address,
                    descriptions=told,
                    limits=self.limits,
                    times=self.times,
                    data=DIRECTORY if self.is_durable else None,
                    durability="synced" if self.is_durable else "memory",
                    ports=ports,
                ) as server:
                    if host not in self._descriptions or not self.tells_first_lives:
                        self._descriptions[host] = server.description
                    self._opening = ""
                    self._servers[host] = life, server
                    await server.wait_failed()
            self._servers.pop(host, None)
            self.world.note(f"{host} begins once more")
            await ports.clock.sleep(REST_SECONDS)

    async def _wait_for_turn(self, host: str, ports: Host) -> None:
        """Servers are started one after the other, so that each is told of all before it."""
        before = self.hosts[: self.hosts.index(host)]
        while True:
            opening = self.world.machines.get(self._opening)
            is_free = opening is None or not opening.is_up or self._opening == host
            if is_free and all(name in self._descriptions for name in before):
                self._opening = host
                return
            await ports.clock.sleep(0.05)

    def _look(self) -> None:
        self._looks += 1
        if self._looks % LOOK_EVERY == 0:
            for server in self._up().values():
                rate = server.statistics().highest_rate
                self.world.require(rate <= RATE, "ten messages a second", f"{server}: {rate}")

    def _up(self) -> dict[str, kv.Server]:
        """Return the servers of machines that have power."""
        machines = self.world.machines
        return {
            host: server
            for host, (life, server) in self._servers.items()
            if machines[host].is_up and machines[host].lives == life
        }

    async def _missing(self) -> str:
        """Say in what the replicas differ."""
        found = {}
        for host in self.hosts:
            if (server := self._up().get(host)) is None:
                return f"{host} is down"
            try:
                every = await server.inspect()
                found[host] = [(each.digest, each.replica.keys) for each in every]
            except ActorError as error:
                return f"{host}: {error}"
        digests = {each for every in found.values() for each in every}
        return "" if len(digests) == 1 else f"{found}"

    # Clients

    async def _use(self, host: str, ports: Host) -> None:
        """Be two clients, and one that watches."""
        ports = self._ports(ports)
        rng = self.world.rng(host)
        async with trio.open_nursery() as nursery:
            for number in range(2):
                chance = self.world.rng(host, number)
                nursery.start_soon(self._ask, f"{host}.{number}", ports, chance)
            nursery.start_soon(self._watch, rng.choice(self._addresses), ports)
            if self.is_durable and host == CLIENTS[0]:
                nursery.start_soon(self._require_kept, ports)

    async def _ask(self, name: str, ports: Host, rng: random.Random) -> None:
        """Write and read, until the faults are over."""
        router = _AnyOf(self._addresses, rng)
        clock = number = 0
        async with kv.open_client(router, timeout_seconds=1.5, ports=ports) as client:
            while not self._is_calm:
                await ports.clock.sleep(rng.random() * 0.1)
                number += 1
                operations = self._draw(f"{name}.{number}".encode(), rng)
                try:
                    results = await client.execute(operations)
                except StoreUnavailable:
                    continue
                self.answers += 1
                for operation, result in zip(operations, results, strict=True):
                    clock = max(clock, self._check(name, operation, result, clock))
                if isinstance(operations[0], Put) and isinstance(results[0], Changed):
                    self._require_visible(name, operations[0], results[1])

    async def _require_kept(self, ports: Host) -> None:
        """Require that what was acknowledged is there, or a later write to its key."""
        async with kv.open_client(self._addresses, ports=ports) as client:
            while not self._is_kept:
                await ports.clock.sleep(REST_SECONDS)
                if self._are_equal:
                    with suppress(StoreUnavailable):
                        page = await client.list(b"d")
                        kept = {entry.key: entry.version for entry in page.entries}
                        for key, version in self._promised.items():
                            shown = f"{key!r}: {version} has become {kept.get(key)}"
                            is_there = kept.get(key, 0) >= version
                            self.world.require(is_there, "nothing acknowledged is lost", shown)
                        self._is_kept = True

    def _draw(self, value: bytes, rng: random.Random) -> list[Operation]:
        kind, key = rng.random(), b"k%d" % rng.randrange(KEYS)
        if kind < 0.1:  # noqa: PLR2004 - shares of 1
            kept = b"d%d" % rng.randrange(KEPT)
            self.written.setdefault(kept, set()).add(value)
            return [Put(kept, value), Get(kept)]
        if kind < 0.45:  # noqa: PLR2004
            self.written.setdefault(key, set()).add(value)
            return [Put(key, value, rng.choice([None, None, None, 400])), Get(key)]
        if kind < 0.55:  # noqa: PLR2004
            return [Delete(key)]
        if kind < 0.6:  # noqa: PLR2004
            return [Expire(key, rng.choice([None, 0, 300]))]
        if kind < 0.65:  # noqa: PLR2004
            return [Count(b"k")]
        return [List(b"k")] if kind < 0.75 else [Get(key)]  # noqa: PLR2004

    def _check(self, name: str, operation: Operation, result: Result, seen: int) -> int:
        """Check a result, and return the greatest version in it."""
        shown = f"{name}: {operation} is {result}, had seen {seen}"
        if isinstance(result, Changed):
            is_write = result.existed or not isinstance(operation, Expire)
            wins = result.version > seen or not is_write
            self.world.require(wins, "a write wins over what its client had seen", shown)
            if isinstance(operation, Put) and operation.key.startswith(b"d"):
                latest = max(result.version, self._acknowledged.get(operation.key, 0))
                self._acknowledged[operation.key] = latest
            return result.version if is_write else seen
        if isinstance(result, Counted):
            most = KEYS + len(self.watched)
            self.world.require(0 <= result.number <= most, "a count fits", shown)
            return seen
        entries: Sequence[Entry] = ()
        if isinstance(result, Page):
            entries = result.entries
        elif isinstance(result, Found):
            entries = () if result.entry is None else (result.entry,)
        else:
            is_known = isinstance(result, Refused) and result.kind == "limit"
            self.world.require(is_known, "answers fit", shown)
        for entry in entries:
            known = entry.value in self.written.get(entry.key, ())
            self.world.require(known, "what is read was written", shown)
        return max((entry.version for entry in entries), default=0)

    def _require_visible(self, name: str, put: Put, result: Result) -> None:
        entry = result.entry if isinstance(result, Found) else None
        is_there = entry is not None and entry.value == put.value
        self.world.require(is_there, "a write is visible at once", f"{name}: {put}, {result}")

    # Watches

    async def _watch(self, address: str, ports: Host) -> None:
        """Follow one replica as long as it lives, and then the next one there."""
        seen = _Watched(address)
        self.watched.append(seen)
        async with (
            kv.open_client([address], timeout_seconds=1.5, ports=ports) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._judge, seen, client, ports)
            while True:
                with suppress(StoreUnavailable, OperationRefused):
                    try:
                        await self._follow(seen, client)
                    except HistoryCompacted:
                        seen.forget()
                await ports.clock.sleep(0.1)

    async def _follow(self, seen: "_Watched", client: kv.EventualClient) -> None:
        async with client.watch(b"k", after=seen.position) as changes:
            async for change in changes:
                self.changes += 1
                shown = f"{seen.address}: {change} behind {seen.versions.get(change.key)}"
                is_new = change.position not in seen.positions
                self.world.require(is_new, "a watch repeats nothing", shown)
                # The end of a write is one later than that, which may have an equal.
                before = seen.versions.get(change.key, 0)
                in_order = change.version >= before - (seen.told.get(change.key) is None)
                self.world.require(in_order, "a watch is in order", shown)
                known = change.value is None or change.value in self.written[change.key]
                self.world.require(known, "what is told was written", shown)
                seen.take(change)

    async def _judge(self, seen: "_Watched", client: kv.EventualClient, ports: Host) -> None:
        """Once all replicas are equal, write once more, and compare what was told with the rest."""
        last = f"k.{seen.address}".encode()
        self.written[last] = {b"last"}
        while not seen.is_right:
            await ports.clock.sleep(REST_SECONDS)
            if self._are_equal:
                with suppress(StoreUnavailable):
                    await client.put(last, b"last")
                    page = await client.list(b"k")
                    there = {entry.key: entry.value for entry in page.entries}
                    wrong = {
                        key: (value, there.get(key))
                        for key, value in seen.told.items()
                        if there.get(key) != value
                    }
                    if last not in seen.told:
                        wrong[last] = (None, b"last")
                    seen.is_right, seen.wrong = not wrong, wrong


@attrs.define(eq=False)
class _Watched:
    """What one watch was told."""

    address: str
    position: bytes | None = None
    told: dict[bytes, bytes | None] = attrs.Factory(dict)
    versions: dict[bytes, int] = attrs.Factory(dict)
    positions: set[bytes] = attrs.Factory(set)
    wrong: dict[bytes, Any] = attrs.Factory(dict)
    is_right: bool = False

    def take(self, change: Change) -> None:
        """Remember a change."""
        self.position = change.position
        self.told[change.key] = change.value
        self.versions[change.key] = change.version
        self.positions.add(change.position)

    def forget(self) -> None:
        """Begin anew."""
        self.position = None
        self.told, self.versions = {}, {}


class _AnyOf:
    """A router to any query actor."""

    def __init__(self, addresses: Sequence[str], rng: random.Random) -> None:
        self._addresses = addresses
        self._rng = rng

    def next_address(self) -> str:
        """Return one of them."""
        return self._rng.choice(self._addresses)
