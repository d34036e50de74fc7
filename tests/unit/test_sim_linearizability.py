"""The checker agrees with every permutation on all small histories, and with the truth beyond."""

import random
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
from itertools import combinations, count, permutations, product
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import InvalidParameter
from trio440.sim.checking import (
    UNKNOWN,
    Call,
    CasRegister,
    Deterministic,
    Ending,
    Explanation,
    History,
    Invocation,
    KeyValue,
    LineStore,
    Lock,
    Model,
    Operation,
    Queue,
    Register,
    Value,
    check_linearizable,
)

State = TypeVar("State", bound=Hashable)
Content = tuple[Call, Value]
"""A call with its result."""
Pattern = tuple[tuple[int, int | None], ...]
"""For each operation its begin and its end among the events."""

ALPHABETS: dict[str, tuple[Model[Value] | Model[tuple[Value, ...]], list[Content]]] = {
    "register": (
        Register(),
        [
            (Register.write(1), None),
            (Register.write(2), None),
            (Register.read(), None),
            (Register.read(), 1),
            (Register.read(), 2),
        ],
    ),
    "cas register": (
        CasRegister(0),
        [
            (CasRegister.write(1), None),
            (CasRegister.cas(0, 1), True),
            (CasRegister.cas(0, 1), False),
            (CasRegister.cas(1, 0), True),
            (CasRegister.read(), 0),
            (CasRegister.read(), 1),
        ],
    ),
    "kv": (
        KeyValue(),
        [
            (KeyValue.put("k", "a"), None),
            (KeyValue.append("k", "b"), None),
            (KeyValue.delete("k"), None),
            (KeyValue.cas("k", "a", "b"), True),
            (KeyValue.get("k"), None),
            (KeyValue.get("k"), "b"),
            (KeyValue.get("k"), "ab"),
        ],
    ),
    "queue": (
        Queue(),
        [
            (Queue.enqueue(1), None),
            (Queue.enqueue(2), None),
            (Queue.dequeue(), None),
            (Queue.dequeue(), 1),
            (Queue.dequeue(), 2),
        ],
    ),
    "lock": (
        Lock(),
        [
            (Lock.acquire("a"), True),
            (Lock.acquire("b"), True),
            (Lock.acquire("b"), False),
            (Lock.release("a"), True),
            (Lock.release("a"), False),
            (Lock.release("b"), True),
        ],
    ),
    "line store": (
        LineStore(),
        [
            (LineStore.put("k", b"1"), None),
            (LineStore.update("k", b"1", b"2"), None),
            (LineStore.delete("k"), None),
            (LineStore.get("k"), ()),
            (LineStore.get("k"), (b"1",)),
            (LineStore.get("k"), (b"2",)),
            (LineStore.get("k"), (b"1", b"2")),
        ],
    ),
}


# The dumb checker


def patterns(size: int, *, pending: bool) -> Iterator[Pattern]:
    """Every way in which so many operations can overlap, each with an end or, perhaps, without."""

    def extend(events: tuple[tuple[str, int], ...], begun: int, ended: frozenset[int]) -> None:
        if begun == size and (pending or len(ended) == size):
            places = {event: place for place, event in enumerate(events)}
            found.append(
                tuple((places["begin", n], places.get(("end", n))) for n in range(size)),
            )
        if begun < size:
            extend((*events, ("begin", begun)), begun + 1, ended)
        for n in range(begun):
            if n not in ended:
                extend((*events, ("end", n)), begun, ended | {n})

    found: list[Pattern] = []
    extend((), 0, frozenset())
    yield from found


@cache
def real_time_orders(pattern: Pattern) -> list[tuple[int, ...]]:
    """Every order of all that ended and any of the rest in which no end is after a later begin."""
    ended = [n for n, (_, end) in enumerate(pattern) if end is not None]
    rest = [n for n, (_, end) in enumerate(pattern) if end is None]
    chosen = [(*ended, *some) for k in range(len(rest) + 1) for some in combinations(rest, k)]
    return [order for some in chosen for order in permutations(some) if keeps(pattern, order)]


def keeps(pattern: Pattern, order: Sequence[int]) -> bool:
    latest_begin = -1
    for n in order:
        begin, end = pattern[n]
        if end is not None and end < latest_begin:
            return False
        latest_begin = max(latest_begin, begin)
    return True


def accepts(model: Model[State], contents: Sequence[Content], order: Sequence[int]) -> bool:
    state = model.initial()
    for n in order:
        call, result = contents[n]
        fits, state = model.step(state, call, result)
        if not fits:
            return False
    return True


def operations_of(pattern: Pattern, contents: Sequence[Content]) -> list[Operation]:
    return [
        Operation(n, f"c{n}", call, begin, begin, "unknown")
        if end is None
        else Operation(n, f"c{n}", call, begin, begin, "ok", end, end, result)
        for n, ((begin, end), (call, result)) in enumerate(zip(pattern, contents, strict=True))
    ]


def with_unknown(pattern: Pattern, contents: Sequence[Content]) -> list[tuple[Call, object]]:
    return [
        (call, UNKNOWN if end is None else result)
        for (_, end), (call, result) in zip(pattern, contents, strict=True)
    ]


def assert_agrees(model: Model[State], pattern: Pattern, contents: Sequence[Content]) -> bool:
    """Compare the checker with every permutation, and its order with the rules."""
    truth: Sequence[Content] = with_unknown(pattern, contents)  # type: ignore[assignment]  # UNKNOWN
    expected = any(accepts(model, truth, order) for order in real_time_orders(pattern))
    operations = operations_of(pattern, contents)
    verdict = check_linearizable(operations, model)
    assert verdict.answer == ("ok" if expected else "violated"), operations
    if expected:
        (order,) = verdict.orders.values()
        assert accepts(model, truth, order)
        assert keeps(pattern, order)
        assert {n for n, (_, end) in enumerate(pattern) if end is not None} <= set(order)
        assert len(set(order)) == len(order)
    else:
        (explanation,) = verdict.explanations
        assert_explains(model, pattern, truth, explanation)
    return expected


def assert_explains(
    model: Model[State], pattern: Pattern, truth: Sequence[Content], explanation: Explanation
) -> None:
    """The culprit's return is the first one before which there is an order, and after none."""
    culprit = explanation.culprit
    end = pattern[culprit][1]
    assert end is not None
    for limit, expected in ((end, True), (end + 1, False)):
        seen = [
            (n, (begin, None if each_end is None or each_end >= limit else each_end))
            for n, (begin, each_end) in enumerate(pattern)
            if begin < limit
        ]
        part = tuple(times for _, times in seen)
        # What has begun but not ended by then may have any place, with the result it will have.
        orders = real_time_orders(part)
        assert any(accepts(model, truth, order) for order in orders) is expected
    for attempt in explanation.attempts:
        assert accepts(model, truth, attempt.order)
        assert keeps(pattern, attempt.order)
        assert not accepts(model, truth, [*attempt.order, culprit])
    assert explanation.overlapping == tuple(
        n
        for n, (begin, each_end) in enumerate(pattern)
        if n != culprit and begin < end and (each_end is None or each_end > pattern[culprit][0])
    )


def check_all(name: str, size: int, *, pending: bool) -> None:
    model, alphabet = ALPHABETS[name]
    calls = list(dict.fromkeys((call, None) for call, _ in alphabet))
    answers = {
        assert_agrees(model, pattern, contents)
        for pattern in patterns(size, pending=pending)
        for contents in product(*(calls if end is None else alphabet for _, end in pattern))
    }
    assert answers == {True, False}


@pytest.mark.parametrize("name", ALPHABETS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_histories_of_up_to_three_operations(name: str, size: int) -> None:
    check_all(name, size, pending=True)


@pytest.mark.parametrize("name", ["register", "queue"])
def test_all_complete_histories_of_four_operations(name: str) -> None:
    check_all(name, 4, pending=False)


@pytest.mark.campaign
@pytest.mark.parametrize("name", ALPHABETS)
def test_all_histories_of_four_operations(name: str) -> None:
    check_all(name, 4, pending=True)
