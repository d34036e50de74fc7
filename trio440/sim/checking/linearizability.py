"""Is a history linearizable: did every operation seem to happen at one moment of its own?

The search is Wing and Gong's with Lowe's just-in-time linearization ("Testing for
linearizability", 2017) and a memory of configurations, as porcupine has:

- Objects are checked each by itself (Herlihy and Wing: linearizability is local).
- The returns are taken in their order. An operation is given its place when its own return
  needs it, or when another one does that needs a state it makes; never earlier.
- A configuration is (how many returns are behind us, which operations still open have their
  place already, the state); each is looked at once. Open operations share a few bits, which are
  used again once an operation has returned, so that the sets are small integers.
- An operation that leaves every state as it is (a read) gets its place as soon as its result
  fits: that can never be wrong.
- An operation that never returned may get a place or not. Having used fewer of them is never
  worse, so a configuration is passed over when one that used a subset of them has been looked
  at; of several that ask for the same, the first invoked is used first; and one is used only
  where the operation after it would not fit, or not do the same, without it.

Deciding this is NP-complete, so the search has limits, and says ``unknown`` when it meets them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import attrs

from trio440.errors import InvalidParameter
from trio440.sim.checking.explanation import Explanation, explain
from trio440.sim.checking.history import Call, Operation, Value
from trio440.sim.checking.model import UNKNOWN, Model, Result

__all__ = ["DEFAULT_STEP_LIMIT", "Answer", "Verdict", "check_linearizable"]

DEFAULT_STEP_LIMIT: Final = 10_000_000
"""Steps of the model in one check: about ten seconds."""
STEPS_BETWEEN_LOOKS: Final = 1_000
"""How often the clock is read."""
KEPT_ENDS: Final = 64
"""Dead ends that are kept at the furthest return, to explain it."""

Answer: TypeAlias = Literal["ok", "violated", "unknown"]
State = TypeVar("State")
Path: TypeAlias = "tuple[int, Path] | None"
"""Numbers of operations, the last one first; paths share what they have in common."""


@attrs.frozen
class Verdict:
    """What a check found."""

    answer: Answer
    """``ok`` and ``violated`` are certain; ``unknown`` means that a limit was met before."""
    operations: int
    """How many operations there were."""
    steps: int
    """How many steps of the model were taken."""
    explanations: tuple[Explanation, ...] = ()
    """Why, for each object that is not linearizable."""
    orders: Mapping[Value, tuple[int, ...]] = attrs.field(factory=dict)
    """By key, an order of the operations' numbers that the model accepts, where there is one.
    Operations that never returned and need no place are not in it."""
    undecided: tuple[Value, ...] = ()
    """The keys of the objects for which a limit was met."""

    def __str__(self) -> str:
        """Write the verdict on one line or, with explanations, on several."""
        if self.explanations:
            return "\n\n".join(map(str, self.explanations))
        counted = f"{self.operations} operations, {self.steps} steps"
        if self.answer == "ok":
            return f"Linearizable: {counted}."
        keys = ", ".join(map(repr, self.undecided))
        return f"Unknown, a limit was met: {counted}, undecided keys: {keys}."


def check_linearizable(
    history: Iterable[Operation],
    model: Model[State],
    *,
    step_limit: int | None = DEFAULT_STEP_LIMIT,
    time_limit_seconds: float | None = None,
    now: Callable[[], float] | None = None,
) -> Verdict:
    """Look for an order of the operations that ``model`` accepts and that keeps real time.

    Objects are independent: all are looked at. Each may use an equal share of the limits first,
    and then what others have left. One violation makes the answer ``violated``, whatever is
    undecided beside it.

    Args:
        history: operations in the order of their invocation, such as a
            :class:`~trio440.sim.checking.history.History`.
        model: the rules.
        step_limit: the most steps of the model, at least 1; None is no limit.
        time_limit_seconds: the longest that it may take, above 0, by ``now``.
        now: a monotonic clock in seconds, such as ``time.monotonic``; needed for a time limit.

    Raises:
        InvalidParameter: a limit is out of its range, a time limit comes without a clock, or the
            model does not know a call.
    """
    if step_limit is not None and step_limit < 1:
        raise InvalidParameter("step_limit", step_limit, "at least 1 or None")
    if time_limit_seconds is not None and time_limit_seconds <= 0:
        raise InvalidParameter("time_limit_seconds", time_limit_seconds, "above 0 or None")
    if time_limit_seconds is not None and now is None:
        raise InvalidParameter("now", now, "a clock where there is a time limit")
    objects: dict[Value, list[Operation]] = {}
    for operation in history:
        objects.setdefault(model.partition(operation.call), []).append(operation)
    searches = {key: _Search(model, operations) for key, operations in objects.items()}
    limits = _Limits(step_limit, time_limit_seconds, now)
    answers: dict[Value, Answer] = dict.fromkeys(searches, "unknown")
    # Everybody gets a fair share; then what is undecided goes on with what the others left.
    for _ in range(2):
        for key, left in _countdown([key for key in answers if answers[key] == "unknown"]):
            search, before = searches[key], searches[key].steps
            answers[key] = search.run(*limits.share(left))
            limits.spend(search.steps - before)
    failures = {key: searches[key].failure() for key in answers if answers[key] == "violated"}
    undecided_keys = tuple(key for key in answers if answers[key] == "unknown")
    return Verdict(
        answer="violated" if failures else "unknown" if undecided_keys else "ok",
        operations=sum(map(len, objects.values())),
        steps=sum(search.steps for search in searches.values()),
        explanations=tuple(
            explain(model, key, objects[key], culprit, ends)
            for key, (culprit, ends) in failures.items()
        ),
        orders={key: searches[key].order for key in answers if answers[key] == "ok"},
        undecided=undecided_keys,
    )


class _Clock(NamedTuple):
    now: Callable[[], float]
    deadline: float


class _Limits:
    """What may still be used."""

    def __init__(
        self,
        steps: int | None,
        time_limit_seconds: float | None,
        now: Callable[[], float] | None,
    ) -> None:
        self._steps = steps
        self._clock: _Clock | None = None
        if now is not None and time_limit_seconds is not None:
            self._clock = _Clock(now, now() + time_limit_seconds)

    def share(self, parts: int) -> tuple[int | None, _Clock | None]:
        """Return one of so many equal parts of what is left."""
        steps = None if self._steps is None else max(0, self._steps) // parts
        if self._clock is None:
            return steps, None
        now, deadline = self._clock
        begin = now()
        return steps, _Clock(now, begin + (deadline - begin) / parts)

    def spend(self, steps: int) -> None:
        """Take away what was used."""
        if self._steps is not None:
            self._steps -= steps


def _countdown(keys: list[Value]) -> Iterator[tuple[Value, int]]:
    """Give each key with the number of those that are left, itself too."""
    return zip(keys, range(len(keys), 0, -1), strict=True)


class _Item(NamedTuple):
    """An operation as the search sees it."""

    operation: Operation
    call: Call
    result: Result
    bit: int
    """Its bit among the open operations, or among those that never returned."""
    reads: bool
    before: int
    """The bit of the one that never returned and is to be used before this one, or 0."""


class _Point(NamedTuple):
    """A return, with what was open just before it."""

    item: _Item
    readers: tuple[_Item, ...]
    """Reads, perhaps with ``item`` itself."""
    writers: tuple[_Item, ...]
    """Others, without ``item``, in the order of their returns."""
    pending: int
    """How many of those that never return had been invoked."""


def _pending_items(model: Model[State], operations: Iterable[Operation]) -> Iterator[_Item]:
    latest: dict[Call, int] = {}
    bit = 1
    for operation in operations:
        call = operation.call
        if operation.ending == "unknown" and not model.reads(call, UNKNOWN):
            yield _Item(operation, call, UNKNOWN, bit, reads=False, before=latest.get(call, 0))
            latest[call] = bit
            bit <<= 1


def _points(
    model: Model[State], operations: Iterable[Operation], pending: list[_Item]
) -> Iterator[_Point]:
    events: list[tuple[int, Operation]] = []
    for operation in operations:
        if operation.ending == "ok" and operation.end is not None:
            events += [(operation.begin, operation), (operation.end, operation)]
    events.sort(key=lambda event: event[0])
    open_items: dict[int, _Item] = {}
    free: list[int] = []
    used = started = 0
    for at, operation in events:
        if at == operation.begin:
            if not free:
                free.append(1 << used)
                used += 1
            call, result = operation.call, operation.result
            reads = model.reads(call, result)
            item = _Item(operation, call, result, free.pop(), reads, before=0)
            open_items[operation.number] = item
            continue
        while started < len(pending) and pending[started].operation.begin < at:
            started += 1
        item = open_items[operation.number]
        others = [other for other in open_items.values() if not other.reads and other is not item]
        yield _Point(
            item,
            readers=tuple(other for other in open_items.values() if other.reads),
            writers=tuple(sorted(others, key=lambda other: other.operation.end or 0)),
            pending=started,
        )
        del open_items[operation.number]
        free.append(item.bit)


class _Node(NamedTuple, Generic[State]):
    """A configuration, and the way to it."""

    position: int
    """How many returns are behind."""
    placed: int
    """The bits of the open operations that have their place."""
    spent: int
    """The bits of the operations that never returned and have a place all the same."""
    state: State
    path: Path
    before: tuple[State] | None = None
    """The state before the last operation, if that never returned and nothing shows yet that
    it happened."""


class _Search(Generic[State]):
    """One object's search: depth first, on a stack of its own."""

    def __init__(self, model: Model[State], operations: list[Operation]) -> None:
        self.steps = 0
        self._model = model
        self._stop_at: int | None = None
        self._clock: _Clock | None = None
        self._next_look = 0
        self._pending = list(_pending_items(model, operations))
        self._points = list(_points(model, operations, self._pending))
        self._seen: dict[tuple[int, int, State], list[int]] = {}
        start = _Node(0, 0, 0, model.initial(), None)
        self._stack: list[Iterator[_Node[State]]] = [iter((start,))]
        """What may follow each configuration on the way, as far as it is still to be tried."""
        self._furthest = -1
        self._ends: list[tuple[State, Path]] = []
        self._found: Path = None

    @property
    def order(self) -> tuple[int, ...]:
        """After ``ok``: numbers of operations in their order."""
        return _numbers(self._found)

    def failure(self) -> tuple[Operation, list[tuple[State, tuple[int, ...]]]]:
        """After ``violated``: the operation that fits nowhere, and where the search ended."""
        culprit = self._points[self._furthest].item.operation
        return culprit, [(state, _numbers(path)) for state, path in self._ends]

    def run(self, step_limit: int | None, clock: _Clock | None) -> Answer:
        """Search, or go on, until an order is found, there is none, or a limit is met."""
        self._stop_at = None if step_limit is None else self.steps + step_limit
        self._clock, self._next_look = clock, self.steps
        while self._stack:
            if self._limit_met():
                return "unknown"
            node = next(self._stack[-1], None)
            if node is None:
                self._stack.pop()
                continue
            node = self._settled(node)
            if node.position == len(self._points):
                self._found = node.path
                return "ok"
            if not self._is_old(node):
                self._note(node)
                self._stack.append(self._children(node))
        return "violated"

    def _limit_met(self) -> bool:
        if self._stop_at is not None and self.steps >= self._stop_at:
            return True
        if self._clock is not None and self.steps >= self._next_look:
            self._next_look = self.steps + STEPS_BETWEEN_LOOKS
            return self._clock.now() >= self._clock.deadline
        return False

    def _settled(self, node: _Node[State]) -> _Node[State]:
        """Place the reads that fit, and pass the returns of what has its place."""
        position, placed, spent, state, path, before = node
        step, points = self._model.step, self._points
        while position < len(points):
            item, readers, _, _ = points[position]
            for reader in readers:
                if not placed & reader.bit:
                    self.steps += 1
                    if step(state, reader.call, reader.result)[0]:
                        placed |= reader.bit
                        before = None
                        path = (reader.operation.number, path)
            if not placed & item.bit:
                break
            placed ^= item.bit
            position += 1
        return _Node(position, placed, spent, state, path, before)

    def _is_old(self, node: _Node[State]) -> bool:
        """Whether this configuration, or a better one, has been looked at; if not, it is now."""
        earlier = self._seen.setdefault((node.position, node.placed, node.state), [])
        spent = node.spent
        if any(other & spent == other for other in earlier):
            return True
        earlier.append(spent)
        return False

    def _note(self, node: _Node[State]) -> None:
        if node.position > self._furthest:
            self._furthest = node.position
            self._ends = []
        if node.position == self._furthest and len(self._ends) < KEPT_ENDS:
            self._ends.append((node.state, node.path))

    def _children(self, node: _Node[State]) -> Iterator[_Node[State]]:
        """Place one more operation: the one that returns here if it fits, or one that is open.

        If it does not fit, those after which it does come first; those that never returned come
        last, otherwise.
        """
        item = self._points[node.position].item
        # A read that returns here and fitted would have its place already.
        after = None if item.reads else self._after(node, item)
        if after is not None:
            further = (item.operation.number, node.path)
            placed = node.placed | item.bit
            yield _Node(node.position, placed, node.spent, after[0], further)
            yield from self._detours(node)
            return
        rest: list[_Node[State]] = []
        for child in self._detours(node):
            self.steps += 1
            if self._model.step(child.state, item.call, item.result)[0]:
                yield child
            else:
                rest.append(child)
        yield from rest

    def _detours(self, node: _Node[State]) -> Iterator[_Node[State]]:
        """Place an operation before the one that returns here."""
        position, placed, spent, state, path, _ = node
        _, _, writers, pending = self._points[position]
        for writer in writers:
            if not writer.bit & placed:
                after = self._after(node, writer)
                if after is not None:
                    further = (writer.operation.number, path)
                    yield _Node(position, placed | writer.bit, spent, after[0], further)
        for extra in self._pending[:pending]:
            if not extra.bit & spent and not extra.before & ~spent:
                after = self._after(node, extra)
                if after is not None and after[0] != state:
                    further = (extra.operation.number, path)
                    yield _Node(position, placed, spent | extra.bit, after[0], further, (state,))

    def _after(self, node: _Node[State], item: _Item) -> tuple[State] | None:
        """Return the state after an operation, or None if it does not fit or is not worth it.

        It is not worth it where it would be the same without the operation before, which need
        not have happened: the search has been there, or will be.
        """
        step, call, result = self._model.step, item.call, item.result
        self.steps += 1
        fits, after = step(node.state, call, result)
        if not fits:
            return None
        if node.before is not None:
            self.steps += 1
            fits_too, after_too = step(node.before[0], call, result)
            if fits_too and after_too == after:
                return None
        return (after,)


def _numbers(path: Path) -> tuple[int, ...]:
    numbers = []
    while path is not None:
        number, path = path
        numbers.append(number)
    return tuple(reversed(numbers))
