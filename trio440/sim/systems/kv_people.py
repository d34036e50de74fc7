"""Clients of a store at level A, and what each of them may rely on. Pure."""

import random
from typing import TYPE_CHECKING, Any, Final

from trio440.kv.hlc import ms_of, pack
from trio440.kv.operations import (
    Changed,
    Count,
    Counted,
    Delete,
    Entry,
    Expire,
    Found,
    Get,
    GetSiblings,
    List,
    Operation,
    Page,
    Put,
    PutSibling,
    Refused,
    Siblings,
)
from trio440.kv.siblings import dot_of, dots_of_context, hidden_key
from trio440.sim.systems.kv_watch import FILLER, require

if TYPE_CHECKING:
    from trio440.sim.systems.kv_replicas import Actor, Hub

__all__ = ["KEYS", "Client"]

KEYS: Final = 40
CARTS: Final = 3
"""Keys with siblings."""
LONG: Final = 600
"""Bytes of a value that is long."""
FULL_COUNTER: Final = 0xFFFF


class Client:
    """Asks one query actor after the other, and remembers what it has seen."""

    def __init__(self, hub: "Hub", name: str, *, deletes: bool) -> None:
        """Have seen nothing."""
        self.name = name
        self.clock = 0
        """The greatest stamp that it has seen."""
        self.seen: dict[bytes, int] = {}
        """The version of each key, as far as it has read or written it."""
        self._hub = hub
        self._rng = hub.stage.rng(f"client {name}")
        self._deletes = deletes
        self._writes = 0
        self._carts: dict[bytes, Siblings] = {}
        """As it read them last, wherever that was."""

    def hear(self, other: "Client") -> None:
        """Be told what another client has seen."""
        self.clock = max(self.clock, other.clock)
        for key, version in other.seen.items():
            self.seen[key] = max(version, self.seen.get(key, 0))

    def act(self, actor: "Actor") -> None:
        """Ask for something, and check what comes of it."""
        rng = self._rng
        if rng.random() < 0.03:  # noqa: PLR2004 - seldom
            self._lie(actor)
            return
        if rng.random() < 0.1:  # noqa: PLR2004 - now and then
            self._shop(actor)
            return
        operations = self._draw(rng)
        before = actor.replica.clock.last
        now_ms = actor.server.now_ms()
        results = actor.execute(self.clock, operations)
        require(len(results) == len(operations), "each is answered", f"{operations}: {results}")
        mine: dict[bytes, bytes | None] = {}
        for operation, result in zip(operations, results, strict=True):
            self._check(actor, operation, result, now_ms)
            if isinstance(operation, Get) and operation.key in mine:
                entry = result.entry if isinstance(result, Found) else None
                found = None if entry is None else entry.value
                shown = f"{actor.ref!r}: {operation} is {found!r} after {mine}"
                require(found == mine[operation.key], "a write is visible at once", shown)
            elif isinstance(operation, Put | Delete) and isinstance(result, Changed):
                mine[operation.key] = operation.value if isinstance(operation, Put) else None
        actor.life.read()
        self.clock = max(self.clock, actor.replica.clock.last)
        last = actor.replica.clock.last
        require(last >= before, "a clock never goes back", f"{actor.ref!r}: {before} to {last}")

    def fill(self, actor: "Actor", count: int, value_bytes: int) -> None:
        """Write many keys."""
        now_ms = actor.server.now_ms()
        puts = [Put(b"%s%05d" % (FILLER, n), self._value(value_bytes)) for n in range(count)]
        for put, result in zip(puts, actor.execute(self.clock, puts), strict=True):
            self._check(actor, put, result, now_ms)

    def _shop(self, actor: "Actor") -> None:
        """Read a cart, or add to it as it was read once, whatever others have added meanwhile."""
        cart, now_ms = b"cart%d" % self._rng.randrange(CARTS), actor.server.now_ms()
        if self._rng.random() < 0.5:  # noqa: PLR2004 - one or the other
            (found, last) = actor.execute(self.clock, [GetSiblings(cart), Get(cart)])
            self._check(actor, GetSiblings(cart), found, now_ms)
            if isinstance(found, Siblings) and isinstance(last, Found):
                first = found.entries[0] if found.entries else None
                shown = f"{actor.ref!r}: {found.entries}, {last.entry}"
                is_same = first == last.entry or not self._hub.is_prompt
                require(is_same, "the last write is the first sibling", shown)
                self._carts[cart] = found
            self.clock = max(self.clock, actor.replica.clock.last)
            return
        put = PutSibling(cart, self._value(8), self._carts.get(cart, Siblings()).context)
        (result,) = actor.execute(self.clock, [put])
        self._check(actor, put, result, now_ms)

    def _draw(self, rng: random.Random) -> list[Operation]:  # noqa: PLR0911 - a table
        key, kind = b"k%d" % rng.randrange(KEYS), rng.random()
        if kind < 0.3:  # noqa: PLR2004 - shares of 1
            return [self._put(key)]
        if kind < 0.4:  # noqa: PLR2004
            return [self._put(key), Get(key), self._put(key), Get(key)]
        if kind < 0.45:  # noqa: PLR2004
            return [Put(key, self._value(8), rng.choice([1, 300, 2_000])), Get(key)]
        if kind < 0.5:  # noqa: PLR2004
            return [Expire(key, rng.choice([None, 0, 200, 3_000]))]
        if kind < 0.6 and self._deletes:  # noqa: PLR2004
            return [Delete(key), Get(key)]
        if kind < 0.65:  # noqa: PLR2004
            return [List(b"k", None, rng.choice([5, 1000])), Count(b"k")]
        return [Get(key)]

    def _put(self, key: bytes) -> Put:
        return Put(key, self._value(LONG if self._rng.random() < 0.1 else 8))  # noqa: PLR2004

    def _value(self, size: int) -> bytes:
        self._writes += 1
        return f"{self.name}.{self._writes}".encode().ljust(size, b".")

    # What is promised

    def _check(self, actor: "Actor", operation: Operation, result: Any, now_ms: int) -> None:
        match operation, result:
            case Get(key), Found(entry):
                self._check_read(actor, key, entry)
            case List(), Page(entries):
                keys = [entry.key for entry in entries]
                require(keys == sorted(set(keys)), "a list is in order", f"{keys}")
                for entry in entries:
                    self._check_read(actor, entry.key, entry)
            case Count(), Counted(number):
                require(0 <= number <= KEYS, "a count fits", f"{number}")
            case GetSiblings(key), Siblings(entries):
                versions = [entry.version for entry in entries]
                newest = sorted(versions, reverse=True)
                require(versions == newest, "siblings are in order", f"{versions}")
                for entry in entries:
                    self._check_read(actor, key, entry)
            case PutSibling(), Changed():
                self._check_write(actor, Put(operation.key, operation.value), result, now_ms)
                self._note_siblings(actor, operation, result)
            case ((Put() | Delete() | Expire()), Changed()):
                self._check_write(actor, operation, result, now_ms)
            case _, Refused(_, kind):
                reads = Get | GetSiblings | List | Count
                fits = kind == "limit" and not isinstance(operation, reads)
                require(fits, "what is asked fits", f"{operation}: {result}")
            case _:
                require(condition=False, promise="answers fit", detail=f"{operation}: {result}")

    def _note_siblings(self, actor: "Actor", put: PutSibling, result: Changed) -> None:
        """Note what stays beside the write, and what went with it."""
        find, truth = actor.replica.records.find, self._hub.truth
        dot = dot_of(result.version, actor.ref)
        truth.take(hidden_key(put.key, dot), (result.version, actor.ref), put.value, 0)
        for replaced in dots_of_context(put.context) or ():
            name = hidden_key(put.key, replaced)
            record = find(name)
            is_gone = record is not None and record.value is None
            require(is_gone, "what was read is replaced", f"{actor.ref!r}: {put}")
            if record is not None and record.writer == actor.ref and record.stamp > result.version:
                truth.take(name, (record.stamp, record.writer), None, 0)

    def _check_read(self, actor: "Actor", key: bytes, entry: Entry | None) -> None:
        if entry is None:
            return
        self._hub.truth.check_value(key, entry.value, entry.version, actor.ref)
        self.seen[key] = max(entry.version, self.seen.get(key, 0))

    def _check_write(
        self, actor: "Actor", operation: Put | Delete | Expire, result: Changed, now_ms: int
    ) -> None:
        key, ttl_ms = operation.key, getattr(operation, "ttl_ms", None)
        if isinstance(operation, Expire):
            if not result.existed:
                return
            record = actor.replica.records.find(key)
            value = None if record is None else record.value
            was_written = value is None or self._hub.truth.knows(key, value)
            require(was_written, "what expires was written", f"{actor.ref!r}: {key!r} {value!r}")
        else:
            value = operation.value if isinstance(operation, Put) else None
        seen = max(self.seen.get(key, 0), self.clock)
        shown = f"{self.name} at {actor.ref!r}: {operation} is {result.version}, had seen {seen}"
        require(result.version > seen, "a write wins over what its client had seen", shown)
        expires_ms = now_ms + ttl_ms if value is not None and ttl_ms else 0
        version = result.version, actor.ref
        self._hub.truth.take(key, version, value, expires_ms)
        self._hub.expect(actor.server, key, version)
        self.seen[key] = result.version
        self.clock = max(self.clock, result.version)

    def _lie(self, actor: "Actor") -> None:
        """Say that the clock is far ahead, or that its counter is full."""
        limits, rng = self._hub.limits, self._rng
        now_ms, key = actor.server.now_ms(), b"k%d" % rng.randrange(KEYS)
        before = actor.replica.statistics()
        if rng.random() < 0.5:  # noqa: PLR2004 - one or the other
            ahead = pack(now_ms + limits.max_clock_offset_ms + rng.choice([1, 1000, 1 << 42]))
            (result,) = actor.execute(ahead, [Put(key, b"a lie")])
            after = actor.replica.statistics()
            shown = f"{actor.ref!r}: {result}"
            require(isinstance(result, Refused), "a clock too far ahead is refused", shown)
            is_counted = after.refused_ahead > before.refused_ahead or ahead <= before.clock
            is_harmless = after.clock == before.clock
            require(
                is_counted and is_harmless, "a clock too far ahead is counted, does no harm", shown
            )
            return
        full = pack(max(now_ms, ms_of(before.clock), ms_of(self.clock)), FULL_COUNTER)
        put = self._put(key)
        (result,) = actor.execute(full, [put])
        if isinstance(result, Changed):
            require(result.version > full, "a full counter runs over", f"{actor.ref!r}: {result}")
            self._check(actor, put, result, now_ms)
