"""A campus for tests: a small store that can be shut, and players who type when they are told.

:class:`Campus` holds keys and values in this process. Its doors are atomic namespaces, or eventual
ones, each a replica that hears of the others' writes some time later. A door can be shut: before it
does what it was asked, or behind that, so that nobody knows.
"""

import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Literal

import attrs
import trio
import trio.testing

from trio440.cmud import Tone, play
from trio440.errors import StoreUnavailable
from trio440.kv import (
    AtomicNamespace,
    Change,
    Condition,
    Delete,
    Entry,
    EventualNamespace,
    Get,
    List,
    Namespace,
    Operation,
    Page,
    Put,
    Result,
    Transaction,
)
from trio440.kv.operations import Changed, Committed, Found

Loss = Literal["before", "behind", "late"]
"""Before it was done, behind that, or before it is done all the same, a while later."""
LATE_SECONDS = 0.2


class Campus:
    """Keys and values, and who watches them."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.deadlines: dict[bytes, float] = {}
        self.version = 0
        self.watchers: list[tuple[bytes, trio.MemorySendChannel[Change]]] = []

    def put(self, key: bytes, value: bytes, ttl_ms: int | None = None) -> None:
        self.apply(Put(key, value, ttl_ms))

    def value(self, key: str) -> bytes | None:
        entry = self.entries.get(key.encode())
        return None if entry is None else entry.value

    def apply(self, operation: Operation, *, version: int | None = None) -> Result:
        self.expire()
        match operation:
            case Get(key):
                return Found(self.entries.get(key))
            case Put(key, value, ttl_ms):
                existed = key in self.entries
                self._set(key, value, version)
                self.deadlines.pop(key, None)
                if ttl_ms is not None:
                    self.deadlines[key] = trio.current_time() + ttl_ms / 1000
                return Changed(self.entries[key].version, existed)
            case Delete(key):
                existed = key in self.entries
                if existed:
                    self._set(key, None, version)
                return Changed(self.version, existed)
            case List(prefix, after, limit):
                found = [key for key in sorted(self.entries) if key.startswith(prefix)]
                found = [key for key in found if after is None or key > after]
                return Page(tuple(map(self.entries.__getitem__, found[:limit])), len(found) > limit)
            case Transaction(conditions, then, otherwise):
                holds = all(map(self._holds, conditions))
                done = [self.apply(each) for each in (then if holds else otherwise)]
                return Committed(self.version, holds, tuple(map(_simple, done)))
        raise AssertionError(operation)

    def expire(self) -> None:
        now = trio.current_time()
        for key in [key for key, deadline in self.deadlines.items() if deadline <= now]:
            del self.deadlines[key]
            self._set(key, None, None)

    async def keep(self) -> None:
        """Let keys go when it is their time."""
        while True:
            await trio.sleep(0.25)
            self.expire()

    def _holds(self, condition: Condition) -> bool:
        entry = self.entries.get(condition.key)
        assert condition.version is not None
        return condition.version == (entry.version if entry else 0)

    def _set(self, key: bytes, value: bytes | None, version: int | None) -> None:
        self.version = self.version + 1 if version is None else max(version, self.version)
        if value is None:
            self.entries.pop(key, None)
            self.deadlines.pop(key, None)
        else:
            self.entries[key] = Entry(key, value, version or self.version)
        change = Change(key, value, self.version, b"")
        for prefix, watcher in self.watchers:
            if key.startswith(prefix):
                watcher.send_nowait(change)


def _simple(result: Result) -> "Found | Changed | Page":
    assert isinstance(result, Found | Changed | Page)
    return result


@attrs.define(eq=False)
class Faults:
    """What befalls a door."""

    is_open: bool = True
    is_mute: bool = False
    """It answers nothing, and does not say so."""
    delay: Callable[[Sequence[Operation]], float] = lambda _: 0.0
    """How many seconds a batch is under way."""
    is_lost: bool = False
    """Nobody else hears of what it was told last."""
    losses: list[Loss | None] = attrs.field(factory=list)
    """What happens to the next batches that write."""
    watches: set[trio.MemorySendChannel[Change]] = attrs.field(factory=set)

    def shut(self) -> None:
        self.is_open = False
        for watch in self.watches:
            watch.close()


class _Door(Namespace):
    """A way to a campus, with its faults."""

    def __init__(self, campus: Campus, nursery: trio.Nursery | None = None) -> None:
        self.campus = campus
        self.faults = Faults()
        self.nursery = nursery
        self.refused = 0
        """Transactions whose conditions did not hold."""

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True):  # what is under way arrives, whoever waits for it
            await trio.sleep(self.faults.delay(operations))
        if self.faults.is_mute:
            await trio.sleep_forever()
        loses = self.faults.losses and any(map(_writes, operations))
        loss = self.faults.losses.pop(0) if loses else None
        if loss == "late":
            assert self.nursery is not None
            self.nursery.start_soon(self._carry_out_late, operations)
            raise StoreUnavailable("the door has shut")
        if not self.faults.is_open or loss == "before":
            raise StoreUnavailable("the door is shut", may_have_happened=False)
        results = [self.carry_out(operation) for operation in operations]
        self.refused += sum(isinstance(each, Committed) and not each.succeeded for each in results)
        await trio.lowlevel.checkpoint()
        if loss == "behind":
            raise StoreUnavailable("the door has shut")
        return results

    async def _carry_out_late(self, operations: Sequence[Operation]) -> None:
        await trio.sleep(LATE_SECONDS)
        for operation in operations:
            self.carry_out(operation)

    def carry_out(self, operation: Operation) -> Result:
        return self.campus.apply(operation)

    @asynccontextmanager
    async def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AsyncIterator[AsyncIterator[Change]]:
        assert after is None
        await trio.lowlevel.checkpoint()
        if not self.faults.is_open:
            raise StoreUnavailable("the door is shut", may_have_happened=False)
        send, receive = trio.open_memory_channel[Change](1_000)
        self.faults.watches.add(send)
        self.campus.watchers.append((prefix, send))
        try:
            yield self._changes(receive)
        finally:
            self.campus.watchers.remove((prefix, send))
            self.faults.watches.discard(send)
            send.close()
            receive.close()

    async def _changes(self, changes: trio.MemoryReceiveChannel[Change]) -> AsyncIterator[Change]:
        async for change in changes:
            if not self.faults.is_mute:
                yield change
        raise StoreUnavailable("the door has shut")


def _writes(operation: Operation) -> bool:
    return isinstance(operation, Put | Delete) or (
        isinstance(operation, Transaction) and bool(operation.conditions)
    )


class AtomicDoor(_Door, AtomicNamespace):
    engine = "memory"


class EventualDoor(_Door, EventualNamespace):
    """A replica; the others hear of its writes ``lag_seconds`` later."""

    nursery: trio.Nursery

    def __init__(self, nursery: trio.Nursery, replicas: "list[EventualDoor]", lag: float) -> None:
        super().__init__(Campus(), nursery)
        self._replicas = replicas
        self._lag = lag
        replicas.append(self)

    def carry_out(self, operation: Operation) -> Result:
        assert not isinstance(operation, Transaction)
        if not isinstance(operation, Put | Delete):
            return self.campus.apply(operation)
        # A client tells each replica what it has seen, so that this is later.
        stamp = 1 + max(each.campus.version for each in self._replicas)
        self.nursery.start_soon(self._tell_others, operation, stamp)
        return self.campus.apply(operation, version=stamp)

    async def _tell_others(self, operation: Put | Delete, stamp: int) -> None:
        await trio.sleep(self._lag)
        if self.faults.is_lost:
            return
        for each in self._replicas:
            entry = each.campus.entries.get(operation.key)
            if each is not self and (entry is None or entry.version < stamp):
                each.campus.apply(operation, version=stamp)


class _Switch(_Door):
    """A namespace with several doors, as a client of several servers is one."""

    def __init__(self, doors: Sequence[_Door]) -> None:
        super().__init__(doors[0].campus)
        self.doors = [*doors]

    def turn(self) -> None:
        self.doors.append(self.doors.pop(0))

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        return await self.doors[0].execute(operations)

    @asynccontextmanager
    async def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AsyncIterator[AsyncIterator[Change]]:
        async with self.doors[0].watch(prefix, after=after) as changes:
            yield changes


class AtomicSwitch(_Switch, AtomicDoor):
    pass


class EventualSwitch(_Switch, EventualNamespace):
    engine = "eventual"


class Player:
    """A face: types what it is told to, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.tones: list[Tone] = []
        self.bars: list[tuple[str, list[float]]] = []
        self.prompts: list[str] = []
        self.asked = trio.Event()
        self.is_over = False
        self._send, self._receive = trio.open_memory_channel[str](1_000)

    def type(self, *lines: str) -> None:
        for line in lines:
            self._send.send_nowait(line)

    def leave(self) -> None:
        self._send.close()

    async def idle(self) -> None:
        """Wait until all that was typed is done."""
        while not self.is_over:
            await trio.testing.wait_all_tasks_blocked()
            if self.asked.is_set() and not self._receive.statistics().current_buffer_used:
                return
            await trio.sleep(0.05)

    async def does(self, *lines: str) -> str:
        """Type lines, wait until they are done, and return what was shown since the last time."""
        self.type(*lines)
        await self.idle()
        return self.take()

    def take(self) -> str:
        """Return what was shown since the last time."""
        text = "\n".join(self.shown)
        self.shown.clear()
        return text

    async def ask(self, prompt: str) -> str | None:
        self.prompts.append(prompt)
        self.asked.set()
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            return None
        finally:
            self.asked = trio.Event()

    def tell(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        self.shown.append(text)
        self.tones.append(tone)

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[float], None]]:
        shares: list[float] = []
        self.bars.append((title, shares))
        yield shares.append


async def sit_down(
    nursery: trio.Nursery,
    doors: Sequence[AtomicDoor] | Sequence[EventualDoor],
    name: str,
    *,
    seed: int = 1,
    pace: float = 0.0,
) -> Player:
    """Let a player begin a game, and wait until it is asked for a command."""
    switch: _Switch
    switch = AtomicSwitch(doors) if isinstance(doors[0], AtomicDoor) else EventualSwitch(doors)
    turn = switch.turn if len(doors) > 1 else None
    return await sit_down_at(nursery, switch, name, seed=seed, pace=pace, turn=turn)


async def sit_down_at(
    nursery: trio.Nursery,
    namespace: Namespace,
    name: str,
    *,
    seed: int = 1,
    pace: float = 0.0,
    turn: Callable[[], None] | None = None,
) -> Player:
    """As :func:`sit_down`, at any namespace."""
    player = Player()

    async def play_on() -> None:
        await play(namespace, name, player, rng=random.Random(seed), pace=pace, turn=turn)
        player.is_over = True

    nursery.start_soon(play_on)
    await player.idle()
    return player
