"""The students and problems in the store: how they are read, and how they are changed.

On an atomic engine a change is exact. What it depends on is read, the rules decide, and one
transaction writes the result, if nothing that was read has changed meanwhile; else it begins anew.
The same transaction writes a receipt, the one key that says which change a session made last. So
where an answer is lost, reading the receipt tells whether the change was made, and none is made
twice: an earlier try that arrives late finds another receipt and does nothing.

On the eventual engine a change is a batch of writes after a look. Two terminals of one player, or
two students who work on one problem within the time of a sync, can undo each other's. What this
terminal has written itself it never forgets: a replica that lags behind is not believed, and is
told about the player anew.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar

import attrs

from trio440.cmud import keys
from trio440.cmud.doors import Doors
from trio440.cmud.places import START
from trio440.cmud.rules import Kind, Level, Student, enrolled
from trio440.errors import OperationRefused
from trio440.kv import AtomicNamespace, Condition, Delete, Entry, Get, Put, Transaction
from trio440.kv.operations import Changed, Committed, Found, Operation, Result

__all__ = ["Decide", "Ledger", "State"]

RECEIPT_TTL_MS: Final = 24 * 3_600_000
"""A session that was cut off leaves its receipt for a day."""
QUICK_TRIES: Final = 3
"""So often a change that lost a race begins anew at once."""
MOST_TRIES: Final = 1_000
CONTENDED_SECONDS: Final = 0.05

T = TypeVar("T")


@attrs.frozen
class State:
    """What a change sees, and what it makes of it."""

    student: Student | None
    """None: nobody has enrolled under the name."""
    left: int | None
    """Of the problem of the level that the student had before the change; None: there is none."""


Decide: TypeAlias = Callable[[State], tuple[State, T]]
"""Returns what is to be, and something for whoever asked.

Where others come between it is called again; what the last call returned counts.
"""

Entries: TypeAlias = Mapping[bytes, Entry | None]


class Ledger:
    """One player's access to the world, from one terminal; one change at a time."""

    def __init__(self, doors: Doors, name: str, session: str) -> None:
        """Name the player.

        Args:
            doors: lead to the store.
            name: as :func:`~trio440.cmud.names.checked_name` returned it.
            session: of this terminal; no other has it.
        """
        self.name = name
        self.session = session
        self.receipt: Final = keys.receipt(name, session)
        self.changes = 0
        """How many were begun."""
        self._doors = doors
        self._own = [
            keys.player(name),
            keys.balance(name),
            *(keys.comp(name, kind) for kind in Kind),
        ]
        self._mine = {*self._own, keys.loc(name)}
        self._all = [
            *self._own,
            keys.loc(name),
            *(keys.problem(level) for level in Level if level.problem),
            self.receipt,
        ]
        self._seen: dict[bytes, Entry] = {}
        """What this terminal knows better than a replica that lags behind."""

    @property
    def is_atomic(self) -> bool:
        """Whether changes are exact."""
        return isinstance(self._doors.namespace, AtomicNamespace)

    async def state(self) -> State:
        """Read the student and the problem.

        Raises:
            BadMessage: the store holds what is neither.
            StoreUnavailable: nobody answers.
        """
        return self.decode(await self._doors.insist(self.read))

    async def enrol(self) -> tuple[Student, bool]:
        """Return the student, who begins if there is none, and whether there was one.

        Raises:
            BadMessage, StoreUnavailable: as for :meth:`state`.
            OperationRefused: the store is full.
        """

        def decide(state: State) -> tuple[State, tuple[Student, bool]]:
            student = state.student or enrolled(START)
            return attrs.evolve(state, student=student), (student, state.student is not None)

        return await self.change(decide)

    async def change(self, decide: "Decide[T]", *, with_problem: bool = False) -> T:
        """Change the world, and return what the decision that counts returned.

        Args:
            decide: the rule.
            with_problem: it looks at the problem, and may change it.

        Raises:
            BadMessage, StoreUnavailable: as for :meth:`state`; after the latter the change has
                happened or not.
            OperationRefused: the store is full, or others were faster a thousand times.
        """
        self.changes += 1
        return await self._doors.insist(_Change(self, self._doors, decide, with_problem).attempt)

    async def close(self) -> None:
        """Leave no receipt behind.

        Raises:
            StoreUnavailable: nobody answers.
        """
        if self.is_atomic:
            await self._doors.execute([Delete(self.receipt)])

    async def read(self) -> Entries:
        """Read all keys that matter, trying one door only."""
        gets = [Get(key) for key in self._all]
        found: Sequence[Result] = ()
        if self.is_atomic:
            (committed,) = await self._doors.once([Transaction(then=tuple(gets))])
            if isinstance(committed, Committed):
                found = committed.results
        else:
            found = await self._doors.once(gets)
        entries = [each.entry for each in found if isinstance(each, Found)]
        newest = {
            key: self._newest(key, entry) for key, entry in zip(self._all, entries, strict=True)
        }
        # A replica that is lost may have told nobody of what this terminal did there.
        behind = [
            Put(key, known.value)
            for key, entry in zip(self._all, entries, strict=True)
            if (known := newest[key]) is not entry and known is not None and key in self._mine
        ]
        if behind:
            await self.write(behind)
        return newest

    async def write(self, puts: Sequence[Put]) -> None:
        """Write to a replica; the values are whole, so that a second time does no harm."""
        results = await self._doors.once(puts)
        for put, changed in zip(puts, results, strict=True):
            if isinstance(changed, Changed):
                self._seen[put.key] = Entry(put.key, put.value, changed.version)

    def depends_on(self, state: State, *, with_problem: bool) -> list[bytes]:
        """Return the keys that a change may have looked at."""
        if not with_problem or state.student is None:
            return [*self._own, self.receipt]
        return [*self._own, self.receipt, keys.problem(state.student.level)]

    def decode(self, entries: Entries) -> State:
        """Make values of bytes."""
        student = self._decode_student(entries)
        level = student.level if student else Level.UNDERGRADUATE
        if level.problem is None:
            return State(student, None)
        left = entries[keys.problem(level)]
        return State(
            student,
            level.problem
            if left is None
            else keys.decode_number(left.key, left.value, least=1, most=level.problem),
        )

    def writes(self, before: State, after: State) -> list[Put]:
        """Return what makes one state of another."""
        old, new = self._encode(before, before), self._encode(before, after)
        return [Put(key, value) for key, value in new.items() if old.get(key) != value]

    def _newest(self, key: bytes, entry: Entry | None) -> Entry | None:
        seen = self._seen.get(key)
        return seen if seen and (entry is None or entry.version < seen.version) else entry

    def _decode_student(self, entries: Entries) -> Student | None:
        level = entries[keys.player(self.name)]
        if level is None:
            return None
        place = entries[keys.loc(self.name)]
        coins = entries[keys.balance(self.name)]
        hardware = {
            kind: keys.decode_number(entry.key, entry.value)
            for kind in Kind
            if (entry := entries[keys.comp(self.name, kind)]) is not None
        }
        return Student(
            keys.decode_level(level.key, level.value),
            START if place is None else keys.decode_place(place.key, place.value),
            0 if coins is None else keys.decode_number(coins.key, coins.value),
            # What a replica has only half of yet.
            hardware if any(hardware.values()) else {Kind.CPU: 1},
        )

    def _encode(self, before: State, state: State) -> dict[bytes, bytes]:
        """Make bytes of values; ``before`` says whose problem it is."""
        written: dict[bytes, bytes] = {}
        level = before.student.level if before.student else Level.UNDERGRADUATE
        if state.left is not None:
            written[keys.problem(level)] = keys.number(state.left)
        if state.student is not None:
            written[keys.loc(self.name)] = state.student.place.encode()
            written[keys.balance(self.name)] = keys.number(state.student.coins)
            for kind, count in state.student.hardware.items():
                written[keys.comp(self.name, kind)] = keys.number(count)
            written[keys.player(self.name)] = state.student.level.title.encode()
        return written


@attrs.define
class _Change(Generic[T]):
    """One change, however often it has to be tried."""

    ledger: Ledger
    doors: Doors
    decide: "Decide[T]"
    with_problem: bool
    tried: dict[bytes, T] = attrs.field(factory=dict, init=False)
    """What the decisions returned, by the receipts that went along."""

    async def attempt(self) -> T:
        """Read, decide and write, until nobody comes between."""
        for count in range(MOST_TRIES):
            entries = await self.ledger.read()
            receipt = entries[self.ledger.receipt]
            if receipt is not None and receipt.value in self.tried:
                return self.tried[receipt.value]
            before = self.ledger.decode(entries)
            after, answer = self.decide(before)
            writes = self.ledger.writes(before, after)
            if not writes and not self.tried:
                return answer  # otherwise an earlier try that is late must find another receipt
            if not self.ledger.is_atomic:
                await self.doors.insist(partial(self.ledger.write, writes))
                return answer
            if await self._commit(before, entries, writes, answer):
                return answer
            if count >= QUICK_TRIES:
                await self.doors.pause(CONTENDED_SECONDS)
        raise OperationRefused("too many others change the same thing; try again")

    async def _commit(self, before: State, entries: Entries, writes: list[Put], answer: T) -> bool:
        """Write if nothing has changed since it was read; return whether that was so."""
        stamp = b"%d.%d" % (self.ledger.changes, len(self.tried))
        self.tried[stamp] = answer
        conditions = [
            Condition(key, version=entry.version if (entry := entries[key]) else 0)
            for key in self.ledger.depends_on(before, with_problem=self.with_problem)
        ]
        receipt = Put(self.ledger.receipt, stamp, ttl_ms=RECEIPT_TTL_MS)
        operation: Operation = Transaction(tuple(conditions), (receipt, *writes))
        (result,) = await self.doors.once([operation])
        if not isinstance(result, Committed):
            raise AssertionError(  # noqa: TRY004 - a bug of the engine, and no bad argument
                f"a transaction was answered with {result}"
            )
        return result.succeeded
