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
  at; of several that ask for the same, the first invoked is used first.

Deciding this is NP-complete, so the search has limits, and says ``unknown`` when it meets them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import attrs

from trio440.errors import InvalidParameter
from trio440.sim.checking.explanation import Explanation, explain
from trio440.sim.checking.history import Call, Operation, Value
from trio440.sim.checking.models import UNKNOWN, Model, Result

__all__ = ["DEFAULT_STEP_LIMIT", "Answer", "Verdict", "check_linearizable"]

DEFAULT_STEP_LIMIT: Final = 3_000_000
"""Steps of the model in one check: some seconds, and less than a gigabyte for its memory."""
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

    Objects are independent: all are looked at, and each may use an equal share of what its
    predecessors have left of the limits. One violation makes the answer ``violated``, whatever
    is undecided beside it.

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
    deadline = None if now is None or time_limit_seconds is None else now() + time_limit_seconds
    steps = 0
    explanations: list[Explanation] = []
    orders: dict[Value, tuple[int, ...]] = {}
    undecided: list[Value] = []
    for place, (key, operations) in enumerate(objects.items()):
        left = len(objects) - place
        clock = None
        if now is not None and deadline is not None:
            begin = now()
            clock = _Clock(now, begin + (deadline - begin) / left)
        share = None if step_limit is None else max(0, step_limit - steps) // left
        search = _Search(model, operations, share, clock)
        answer = search.run()
        steps += search.steps
        if answer == "ok":
            orders[key] = search.order
        elif answer == "unknown":
            undecided.append(key)
        else:
            culprit, ends = search.failure()
            explanations.append(explain(model, key, operations, culprit, ends))
    return Verdict(
        answer="violated" if explanations else "unknown" if undecided else "ok",
        operations=sum(map(len, objects.values())),
        steps=steps,
        explanations=tuple(explanations),
        orders=orders,
        undecided=tuple(undecided),
    )


class _Clock(NamedTuple):
    now: Callable[[], float]
    deadline: float


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


class _Search(Generic[State]):
    """One object's search: depth first, on a stack of its own."""

    def __init__(
        self,
        model: Model[State],
        operations: list[Operation],
        step_limit: int | None,
        clock: _Clock | None,
    ) -> None:
        self.steps = 0
        self._model = model
        self._step_limit = step_limit
        self._clock = clock
        self._next_look = 0
        self._pending = list(_pending_items(model, operations))
        self._points = list(_points(model, operations, self._pending))
        self._seen: dict[tuple[int, int, State], list[int]] = {}
        self._stack: list[tuple[_Node[State], bool]] = []
        """Nodes, and whether their own return is still to be tried, or only what may precede it."""
        self._furthest: int = -1
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

    def run(self) -> Answer:
        """Search until an order is found, there is none, or a limit is met."""
        self._stack.append((_Node(0, 0, 0, self._model.initial(), None), True))
        while self._stack:
            if self._limit_met():
                return "unknown"
            node, fresh = self._stack.pop()
            if fresh:
                node = self._settled(node)
                if node.position == len(self._points):
                    self._found = node.path
                    return "ok"
                if self._is_old(node):
                    continue
                self._note(node)
                if self._try_return(node):
                    continue
            self._try_others(node)
        return "violated"

    def _limit_met(self) -> bool:
        if self._step_limit is not None and self.steps >= self._step_limit:
            return True
        if self._clock is not None and self.steps >= self._next_look:
            self._next_look = self.steps + STEPS_BETWEEN_LOOKS
            return self._clock.now() >= self._clock.deadline
        return False

    def _settled(self, node: _Node[State]) -> _Node[State]:
        """Place the reads that fit, and pass the returns of what has its place."""
        position, placed, spent, state, path = node
        step, points = self._model.step, self._points
        while position < len(points):
            item, readers, _, _ = points[position]
            for reader in readers:
                if not placed & reader.bit:
                    self.steps += 1
                    if step(state, reader.call, reader.result)[0]:
                        placed |= reader.bit
                        path = (reader.operation.number, path)
            if not placed & item.bit:
                break
            placed ^= item.bit
            position += 1
        return _Node(position, placed, spent, state, path)

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

    def _try_return(self, node: _Node[State]) -> bool:
        """Place the operation that returns here, and put off all else; False if it does not fit."""
        item = self._points[node.position].item
        if item.reads:  # it would have its place already
            return False
        self.steps += 1
        fits, after = self._model.step(node.state, item.call, item.result)
        if fits:
            path = (item.operation.number, node.path)
            self._stack.append((node, False))
            placed = node.placed | item.bit
            self._stack.append((_Node(node.position, placed, node.spent, after, path), True))
        return fits

    def _try_others(self, node: _Node[State]) -> None:
        """Place, before the operation that returns here, each of the others that fit.

        The stack gives back first what was put there last: one that returns soon.
        """
        position, placed, spent, state, path = node
        point, step = self._points[position], self._model.step
        for item in reversed(self._pending[: point.pending]):
            if item.bit & spent or item.before & ~spent:
                continue
            self.steps += 1
            fits, after = step(state, item.call, item.result)
            if fits and after != state:
                further = (item.operation.number, path)
                self._stack.append(
                    (_Node(position, placed, spent | item.bit, after, further), True)
                )
        for item in reversed(point.writers):
            if item.bit & placed:
                continue
            self.steps += 1
            fits, after = step(state, item.call, item.result)
            if fits:
                further = (item.operation.number, path)
                self._stack.append(
                    (_Node(position, placed | item.bit, spent, after, further), True)
                )


def _numbers(path: Path) -> tuple[int, ...]:
    numbers = []
    while path is not None:
        number, path = path
        numbers.append(number)
    return tuple(reversed(numbers))
