"""Why a history is not linearizable, as values and as text.

The events of a history are taken one after the other. As long as the operations that have
returned can be put in an order, all is well; the first return after which there is no order any
more belongs to the *culprit*: no order that explains everything before it leaves it a place.
(The bug may be in what came before: a lost write shows in a later read.)
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

import attrs

from trio440.sim.checking.history import Operation, Value
from trio440.sim.checking.model import UNKNOWN, Model

__all__ = ["Attempt", "Explanation", "Shown", "explain"]

State = TypeVar("State")

KEPT_ATTEMPTS: Final = 5
"""Attempts in an explanation; they differ in the state that they end in."""
SHOWN_TEXT: Final = 300
"""Characters of a state or a call that are shown; the middle of a longer one is left out."""
SHOWN_OPERATIONS: Final = 12
"""Lines of one list in the text; the HTML page has them all."""


@attrs.frozen
class Shown:
    """An operation with the words for it."""

    operation: Operation
    text: str
    """Call and result, such as ``cas('x', 1, 2) -> True``."""

    def line(self) -> str:
        """Write number, client, words and times in one line."""
        operation = self.operation
        begin = f"{operation.invoked / 1e6:.6f}"
        match operation.ending, operation.returned:
            case "fail", _:
                end = "did not happen"
            case _, int() as returned:
                end = f"to {returned / 1e6:.6f}"
            case _:
                end = "and perhaps later"
        return f"{operation.number:5}  {operation.client:10}  {self.text}   [{begin} {end}]"


@attrs.frozen
class Attempt:
    """An order of operations that the model accepts, and in which the culprit cannot follow."""

    order: tuple[int, ...]
    """Numbers of operations."""
    state: str
    """The state of the object after them, in words."""
    allowed: str
    """What the culprit's call could have done in this state, in words."""


@attrs.frozen
class Explanation:
    """Why the operations on one object cannot be put in an order."""

    model: str
    """The name of the model."""
    key: Value
    """Which object of several; None where there is only one."""
    operations: tuple[Shown, ...]
    """All operations on the object, in the order of their invocation."""
    culprit: int
    """The number of the operation that fits nowhere."""
    attempts: tuple[Attempt, ...]
    """The furthest that the search came, the longest order first; at least one."""
    overlapping: tuple[int, ...]
    """Numbers of the operations that were under way at some time together with the culprit."""

    @property
    def order(self) -> tuple[int, ...]:
        """The longest order found, as numbers of operations."""
        return self.attempts[0].order

    def __str__(self) -> str:
        """Write the explanation on several lines, for a person."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        by_number = {shown.operation.number: shown for shown in self.operations}
        where = "" if self.key is None else f", key {self.key!r}"
        yield f"Not linearizable: {self.model}{where}, {len(self.operations)} operations."
        yield "No order of them leaves a place for"
        yield by_number[self.culprit].line()
        best, *others = self.attempts
        if best.order:
            yield f"The longest order that was found has {len(best.order)} operations:"
            yield from _shortened([by_number[number].line() for number in best.order])
            yield f"After it the state is {best.state}, in which {best.allowed}."
        else:
            yield f"At the start the state is {best.state}, in which {best.allowed}."
        for attempt in others:
            yield f"In another order the state is {attempt.state}, in which {attempt.allowed}."
        if self.overlapping:
            yield "At the same time as the culprit:"
            yield from _shortened([by_number[number].line() for number in self.overlapping])


def _shortened(lines: list[str]) -> Iterator[str]:
    if len(lines) > SHOWN_OPERATIONS:
        yield f"  ... {len(lines) - SHOWN_OPERATIONS} more before these"
    yield from lines[-SHOWN_OPERATIONS:]


def explain(
    model: Model[State],
    key: Value,
    operations: Sequence[Operation],
    culprit: Operation,
    ends: Iterable[tuple[State, tuple[int, ...]]],
) -> Explanation:
    """Put an explanation together.

    Args:
        model: the rules that were broken.
        key: which object.
        operations: all operations on it, in the order of their invocation.
        culprit: the one that fits nowhere.
        ends: how far the search came: states, and the numbers of the operations on the way.
    """
    attempts: dict[State, Attempt] = {}
    for state, order in sorted(ends, key=lambda end: -len(end[1])):
        if state not in attempts and len(attempts) < KEPT_ATTEMPTS:
            allowed = _cut(model.show_allowed(state, culprit.call))
            attempts[state] = Attempt(order, _cut(model.show_state(state)), allowed)
    return Explanation(
        model=model.name,
        key=key,
        operations=tuple(Shown(each, _words(model, each)) for each in operations),
        culprit=culprit.number,
        attempts=tuple(attempts.values()),
        overlapping=tuple(
            each.number for each in operations if each != culprit and _overlap(each, culprit)
        ),
    )


def _words(model: Model[State], operation: Operation) -> str:
    result = operation.result if operation.ending == "ok" else UNKNOWN
    return _cut(model.show_call(operation.call, result))


def _cut(text: str) -> str:
    half = SHOWN_TEXT // 2
    return text if len(text) <= SHOWN_TEXT else f"{text[:half]} ... {text[-half:]}"


def _overlap(one: Operation, other: Operation) -> bool:
    return (one.end is None or other.begin < one.end) and (
        other.end is None or one.begin < other.end
    )
