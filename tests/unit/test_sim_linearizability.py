"""The checker agrees with every permutation on all small histories, and with the truth beyond."""

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
from itertools import combinations, count, permutations, product
from typing import Any, TypeVar

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

ALPHABETS: dict[str, tuple[Model[Any], list[Content]]] = {
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
@pytest.mark.parametrize("size", [1, 2])
def test_all_histories_of_up_to_two_operations(name: str, size: int) -> None:
    check_all(name, size, pending=True)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in {"register", "queue"} else pytest.mark.campaign)
        for name in ALPHABETS
    ],
)
def test_all_histories_of_three_operations(name: str) -> None:
    check_all(name, 3, pending=True)


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["register", "queue"])
def test_all_complete_histories_of_four_operations(name: str) -> None:
    check_all(name, 4, pending=False)


@pytest.mark.campaign
@pytest.mark.parametrize("name", ALPHABETS)
def test_all_histories_of_four_operations(name: str) -> None:
    check_all(name, 4, pending=True)


# Beyond small histories


@given(st.sampled_from(sorted(ALPHABETS)), st.data())
def test_larger_histories_against_a_plain_search(name: str, data: st.DataObject) -> None:
    model, alphabet = ALPHABETS[name]
    contents = data.draw(st.lists(st.sampled_from(alphabet), min_size=4, max_size=7))
    pattern = draw_pattern(data, len(contents))
    truth: Sequence[Content] = with_unknown(pattern, contents)  # type: ignore[assignment]  # UNKNOWN
    verdict = check_linearizable(operations_of(pattern, contents), model)
    assert (verdict.answer == "ok") == exists(model, pattern, truth)
    for order in verdict.orders.values():
        assert accepts(model, truth, order)
        assert keeps(pattern, order)


def draw_pattern(data: st.DataObject, size: int) -> Pattern:
    places = count()
    begins: list[int] = []
    ends: dict[int, int] = {}
    for n in range(size):
        begins.append(next(places))
        open_ones = [m for m in range(n + 1) if m not in ends]
        for m in data.draw(st.lists(st.sampled_from(open_ones), unique=True, max_size=2)):
            ends[m] = next(places)
    lost = data.draw(st.sets(st.integers(0, size - 1), max_size=3))
    for m in range(size):
        if m not in ends and m not in lost:
            ends[m] = next(places)
    return tuple((begin, ends.get(n)) for n, begin in enumerate(begins))


def exists(model: Model[State], pattern: Pattern, contents: Sequence[Content]) -> bool:
    """Try every operation that may come next, without any cleverness."""

    def search(state: State, left: frozenset[int]) -> bool:
        limits = [end for n in left if (end := pattern[n][1]) is not None]
        if not limits:
            return True
        for n in left:
            if pattern[n][0] < min(limits):
                fits, after = model.step(state, *contents[n])
                if fits and search(after, left - {n}):
                    return True
        return False

    return search(model.initial(), frozenset(range(len(pattern))))


def busy_history(
    model: Deterministic[State],
    draw_call: Callable[[random.Random], Call],
    *,
    clients: int,
    operations: int,
    crash_share: float,
) -> History:
    """What clients of a correct object see: each call takes effect once, while it is open."""
    rng = random.Random(f"{model.name}/{clients}")
    now = 0
    history = History(lambda: now)
    states: dict[Value, State] = {}
    busy: dict[int, tuple[Invocation, Call, list[Value]]] = {}
    while len(history) < operations or busy:
        now += 1
        client = rng.randrange(clients)
        if client not in busy:
            if len(history) < operations:
                call = draw_call(rng)
                busy[client] = (history.invoke(f"c{client}", call), call, [])
            continue
        invocation, call, answer = busy[client]
        if rng.random() < crash_share:
            invocation.unknown()
            del busy[client]
        elif answer:
            invocation.ok(answer[0])
            del busy[client]
        else:
            result, states[call.key] = model.apply(states.get(call.key, model.initial()), call)
            assert not isinstance(result, type(UNKNOWN))
            answer.append(result)  # type: ignore[arg-type]  # these calls are all possible
    return history


def kv_call(rng: random.Random) -> Call:
    key = rng.randrange(5)
    return rng.choice(
        [
            KeyValue.get(key),
            KeyValue.put(key, str(rng.randrange(9))),
            KeyValue.append(key, "x"),
            KeyValue.cas(key, str(rng.randrange(3)), "y"),
            KeyValue.delete(key),
        ]
    )


def line_call(rng: random.Random) -> Call:
    value, key = rng.randrange(4), rng.randrange(5)
    calls = [LineStore.put(key, value), LineStore.update(key, value, -value), LineStore.delete(key)]
    return rng.choice([*calls, LineStore.get(key), LineStore.get(key)])


def queue_call(rng: random.Random) -> Call:
    # Seldom more than a few values wait: an order that shows much later is hard to find.
    return rng.choice([Queue.enqueue(rng.randrange(1000)), Queue.dequeue(), Queue.dequeue()])


def lock_call(rng: random.Random) -> Call:
    return rng.choice([Lock.acquire, Lock.release])(rng.randrange(4))


@pytest.mark.parametrize("crash_share", [0.0, 0.02])
@pytest.mark.parametrize(
    ("model", "draw_call"),
    [(KeyValue(), kv_call), (LineStore(), line_call), (Queue(), queue_call), (Lock(), lock_call)],
    ids=["kv", "lines", "queue", "lock"],
)
def test_what_a_correct_object_does_is_linearizable(
    model: Deterministic[Value], draw_call: Callable[[random.Random], Call], crash_share: float
) -> None:
    history = busy_history(model, draw_call, clients=6, operations=400, crash_share=crash_share)
    verdict = check_linearizable(history, model)
    assert verdict.answer == "ok", str(verdict)
    truth: Sequence[Content] = [
        (each.call, each.result if each.ending == "ok" else UNKNOWN)  # type: ignore[misc]  # UNKNOWN
        for each in history
    ]
    pattern = tuple((each.begin, each.end) for each in history)
    for order in verdict.orders.values():
        assert accepts(model, truth, order)
        assert keeps(pattern, order)
    placed = {n for order in verdict.orders.values() for n in order}
    assert {each.number for each in history if each.ending == "ok"} <= placed


@pytest.mark.parametrize("name", ALPHABETS)
def test_what_is_called_a_read_changes_nothing(name: str) -> None:
    model, alphabet = ALPHABETS[name]
    states: list[Hashable] = [model.initial()]
    for state in states:
        for call, result in alphabet:
            fits, after = model.step(state, call, UNKNOWN)
            if fits and after not in states and len(states) < 50:
                states.append(after)
            fits, after = model.step(state, call, result)
            assert not (model.reads(call, result) and fits) or after == state


# Known violations, and what is said of them


def record(*events: tuple[str, Call, Value] | tuple[str, Ending]) -> History:
    """Record ``(client, call, result)`` as a beginning, ``(client, ending)`` as its end."""
    history = History(count(step=1000).__next__)
    open_ones: dict[str, tuple[Invocation, Value]] = {}
    for event in events:
        if len(event) == 3:
            client, call, result = event
            open_ones[client] = (history.invoke(client, call), result)
        else:
            invocation, result = open_ones.pop(event[0])
            if event[1] == "ok":
                invocation.ok(result)
            else:
                invocation.fail()
    return history


def explained(history: History, model: Model[State]) -> Explanation:
    verdict = check_linearizable(history, model)
    assert verdict.answer == "violated"
    (explanation,) = verdict.explanations
    assert str(verdict) == str(explanation)
    return explanation


def test_a_stale_read_is_explained() -> None:
    history = record(
        ("a", Register.write(1), None),
        ("a", "ok"),
        ("a", Register.write(2), None),
        ("c", Register.write(3), None),
        ("a", "ok"),
        ("b", Register.read(), 1),
        ("b", "ok"),
    )
    explanation = explained(history, Register())
    assert (explanation.culprit, explanation.order, explanation.overlapping) == (3, (0, 1, 2), (2,))
    assert str(explanation).splitlines() == [
        "Not linearizable: register, 4 operations.",
        "No order of them leaves a place for",
        "    3  b           read() -> 1   [0.005000 to 0.006000]",
        "The longest order that was found has 3 operations:",
        "    0  a           write(1)   [0.000000 to 0.001000]",
        "    1  a           write(2)   [0.002000 to 0.004000]",
        "    2  c           write(3) -> ?   [0.003000 and perhaps later]",
        "After it the state is 3, in which read() would return 3.",
        "In another order the state is 2, in which read() would return 2.",
        "At the same time as the culprit:",
        "    2  c           write(3) -> ?   [0.003000 and perhaps later]",
    ]


def test_a_lost_update_is_explained() -> None:
    history = record(
        ("a", CasRegister.cas(0, 1), True),
        ("b", CasRegister.cas(0, 1), True),
        ("a", "ok"),
        ("b", "ok"),
    )
    explanation = explained(history, CasRegister(0))
    assert (explanation.culprit, explanation.order) == (1, (0,))
    assert explanation.attempts[0].allowed == "cas(0, 1) would return False"


def test_a_double_dequeue_is_explained() -> None:
    history = record(
        ("a", Queue.enqueue("job"), None),
        ("a", "ok"),
        ("a", Queue.dequeue(), "job"),
        ("b", Queue.dequeue(), "job"),
        ("b", "ok"),
        ("a", "ok"),
    )
    explanation = explained(history, Queue())
    assert (explanation.culprit, explanation.order) == (1, (0, 2))
    assert "dequeue() would return None" in str(explanation)


def test_two_owners_of_a_lock_are_explained() -> None:
    history = record(
        ("a", Lock.acquire("a", "disk"), True),
        ("a", "ok"),
        ("b", Lock.acquire("b", "disk"), True),
        ("b", "ok"),
    )
    explanation = explained(history, Lock())
    assert (explanation.key, explanation.culprit, explanation.order) == ("disk", 1, (0,))
    assert "the state is held by 'a', in which acquire('disk', 'b') would return False" in str(
        explanation
    )


def test_what_failed_has_no_place() -> None:
    write = ("a", Register.write(1), None)
    read = ("b", Register.read(), 1)
    assert check_linearizable(record(write, read, ("b", "ok")), Register()).answer == "ok"
    explanation = explained(record(write, read, ("a", "fail"), ("b", "ok")), Register())
    assert explanation.order == ()
    assert "did not happen" in str(explanation)
    assert "At the start the state is None" in str(explanation)


def test_which_lost_operation_was_used_matters() -> None:
    history = record(
        ("a", CasRegister.write(1), None),
        ("b", CasRegister.cas(0, 1), True),
        ("c", CasRegister.read(), 1),
        ("c", "ok"),
        ("c", CasRegister.write(2), None),
        ("c", "ok"),
        ("c", CasRegister.read(), 1),
        ("c", "ok"),
    )
    verdict = check_linearizable(history, CasRegister(0))
    assert verdict.orders == {None: (1, 2, 3, 0, 4)}


def test_long_explanations_are_cut() -> None:
    history = History(count().__next__)
    for n in range(100):
        history.invoke("a", Queue.enqueue("x" * 100)).ok()
        assert history[n].ending == "ok"
    history.invoke("b", Queue.dequeue()).ok("y")
    explanation = explained(history, Queue())
    assert len(explanation.order) == 100
    assert len(str(explanation)) < 4000
    assert "... 88 more before these" in str(explanation)


# Objects and limits


def test_objects_are_judged_each_by_itself() -> None:
    history = record(
        ("a", KeyValue.put("x", 1), None),
        ("a", "ok"),
        ("a", KeyValue.get("x"), None),
        ("a", "ok"),
        ("a", KeyValue.get("y"), None),
        ("a", "ok"),
    )
    verdict = check_linearizable(history, KeyValue())
    assert verdict.answer == "violated"
    assert [each.key for each in verdict.explanations] == ["x"]
    assert verdict.orders == {"y": (2,)}
    assert verdict.operations == 3


def hard_history() -> History:
    """Many writes at once, and a read of what nobody wrote."""
    history = History(count().__next__)
    open_ones = [history.invoke(f"c{n}", Queue.enqueue(n, "hard")) for n in range(12)]
    for invocation in open_ones:
        invocation.ok()
    history.invoke("r", Queue.dequeue("hard")).ok(-1)
    return history


def test_a_step_limit_gives_unknown() -> None:
    verdict = check_linearizable(hard_history(), Queue(), step_limit=1000)
    assert (verdict.answer, verdict.undecided, verdict.explanations) == ("unknown", ("hard",), ())
    assert 1000 <= verdict.steps < 1100
    assert str(verdict).startswith("Unknown, a limit was met: 13 operations, ")


def test_a_time_limit_gives_unknown_by_the_clock_given() -> None:
    readings = count()
    verdict = check_linearizable(
        hard_history(),
        Queue(),
        step_limit=None,
        time_limit_seconds=5.0,
        now=lambda: float(next(readings)),
    )
    assert verdict.answer == "unknown"
    assert next(readings) < 15


def test_a_violation_is_found_beside_what_is_too_hard() -> None:
    history = hard_history()
    history.invoke("a", Queue.dequeue("easy")).ok(1)
    verdict = check_linearizable(history, Queue(), step_limit=1000)
    assert (verdict.answer, verdict.undecided) == ("violated", ("hard",))
    assert [each.key for each in verdict.explanations] == ["easy"]


@pytest.mark.parametrize("answer", ["ok", "violated"])
def test_what_others_leave_is_used(answer: str) -> None:
    history = History(count().__next__)
    for n in range(100):
        history.invoke("a", Queue.enqueue(n, "long")).ok()
    for key in range(9):
        history.invoke("a", Queue.dequeue(key)).ok(None)
    history.invoke("a", Queue.dequeue("long")).ok(0 if answer == "ok" else 1)
    assert check_linearizable(history, Queue(), step_limit=150).answer == answer


def test_an_empty_history_is_linearizable() -> None:
    verdict = check_linearizable([], Register())
    assert str(verdict) == "Linearizable: 0 operations, 0 steps."


@pytest.mark.parametrize(
    "limits",
    [{"step_limit": 0}, {"time_limit_seconds": 0.0}, {"time_limit_seconds": 1.0}],
)
def test_limits_have_ranges(limits: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter):
        check_linearizable([], Register(), **limits)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(
    ("model", "call"),
    [
        (Register(), CasRegister.cas(1, 2)),
        (CasRegister(), Call("write")),
        (KeyValue(), Call("append", (1,), "k")),
        (Queue(), Queue.enqueue(None)),
        (Lock(), Lock.acquire(None)),
        (LineStore(), Call("Put", (1,))),
    ],
)
def test_a_call_that_the_model_does_not_know(model: Model[Value], call: Call) -> None:
    history = History(count().__next__)
    history.invoke("a", call).ok(1)
    with pytest.raises(InvalidParameter, match=r"^call must be "):
        check_linearizable(history, model)


def test_appending_to_another_type_is_impossible() -> None:
    history = record(("a", KeyValue.put("k", 1), None), ("a", "ok"))
    history.invoke("a", KeyValue.append("k", "x")).ok()
    explanation = explained(history, KeyValue())
    assert explanation.attempts[0].allowed == "append('k', 'x') is not possible"
    history = record(("a", KeyValue.put("k", b"1"), None), ("a", "ok"))
    history.invoke("a", KeyValue.append("k", b"2")).ok()
    history.invoke("a", KeyValue.get("k")).ok(b"12")
    assert check_linearizable(history, KeyValue()).answer == "ok"
