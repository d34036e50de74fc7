"""Histories are recorded as they happen, and survive as JSON lines."""

import json
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import BadHistory, InvalidParameter
from trio440.sim.checking import Call, History, Invocation, Operation, Value

INVOKE = (
    '{"event": "invoke", "op": 7, "at": 1, "client": "c", "call": "read", "key": null, "args": []}'
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)
calls = st.builds(Call, st.text(), st.lists(values, max_size=2).map(tuple), values)


def ticking() -> Callable[[], int]:
    return count(step=10).__next__


def test_operations_have_times_places_and_endings() -> None:
    history = History(ticking())
    write, read, lost = Call("write", (1,)), Call("read"), Call("write", (2,), "k")
    first = history.invoke("c1", write)
    second = history.invoke("c2", read)
    third = history.invoke("c1", lost)
    second.ok(1)
    first.fail()
    third.unknown()
    assert list(history) == [
        Operation(0, "c1", write, 0, 0, "fail", 40, 4),
        Operation(1, "c2", read, 10, 1, "ok", 30, 3, 1),
        Operation(2, "c1", lost, 20, 2),
    ]
    assert (len(history), history[2].ending, first.number) == (3, "unknown", 0)


@pytest.mark.parametrize("first", [Invocation.ok, Invocation.fail, Invocation.unknown])
@pytest.mark.parametrize("second", [Invocation.ok, Invocation.fail, Invocation.unknown])
def test_an_operation_ends_once(
    first: Callable[[Invocation], None], second: Callable[[Invocation], None]
) -> None:
    history = History(ticking())
    invocation = history.invoke("c", Call("read"))
    first(invocation)
    ended = history[0]
    with pytest.raises(InvalidParameter, match="the first of its operation"):
        second(invocation)
    assert history[0] == ended


@pytest.mark.parametrize("bad", [[1], {"a": 1}, float("nan"), float("inf"), (1, [2]), object()])
def test_only_plain_values_are_recorded(bad: Value) -> None:
    history = History(ticking())
    with pytest.raises(InvalidParameter, match="args must be"):
        history.invoke("c", Call("write", (bad,)))
    with pytest.raises(InvalidParameter, match="key must be"):
        history.invoke("c", Call("write", (), bad))
    assert len(history) == 0
    invocation = history.invoke("c", Call("read"))
    with pytest.raises(InvalidParameter, match="result must be"):
        invocation.ok(bad)
    invocation.ok(1)
    assert history[0].result == 1


@given(st.data())
def test_json_lines_give_the_same_history(data: st.DataObject) -> None:
    times = iter(sorted(data.draw(st.lists(st.integers(0, 50), min_size=16, max_size=16))))
    history = History(times.__next__)
    open_ones: list[Invocation] = []
    for _ in range(data.draw(st.integers(0, 8))):
        open_ones.append(history.invoke(data.draw(st.text()), data.draw(calls)))
        if data.draw(st.booleans()):
            chosen = open_ones.pop(data.draw(st.integers(0, len(open_ones) - 1)))
            match data.draw(st.sampled_from(["ok", "fail", "unknown"])):
                case "ok":
                    chosen.ok(data.draw(values))
                case "fail":
                    chosen.fail()
                case _:
                    chosen.unknown()
    lines = list(history.to_lines())
    assert not any("\n" in line for line in lines)
    for again in (History.from_lines(lines), History.from_lines("\n".join(lines) + "\n\n")):
        assert repr(list(again)) == repr(list(history))
        assert list(again.to_lines()) == lines


def test_numbers_of_others_are_replaced() -> None:
    other = INVOKE.replace("7", "3")
    history = History.from_lines([INVOKE, other, '{"event": "ok", "op": 3, "at": 9, "result": 5}'])
    assert [(each.number, each.ending, each.result) for each in history] == [
        (0, "unknown", None),
        (1, "ok", 5),
    ]
    history.invoke("c", Call("read"))
    assert history[2].invoked == 9


BAD = [
    ("", "nothing here", "not JSON: "),
    ("", "[" * 100_000, "not JSON"),
    ("", "[1]", "not a JSON object"),
    ("", "{}", "at is missing"),
    ("at", 1.5, "at is not an integer"),
    ("at", True, "at is not an integer"),
    ("op", "1", "op is not an integer"),
    ("event", "info", "event is none of invoke, ok and fail: 'info'"),
    ("event", None, "event is not a string"),
    ("event", "ok", "operation 8 was never invoked"),
    ("op", 7, "operation 7 was invoked before"),
    ("client", 1, "client is not a string"),
    ("call", None, "call is not a string"),
    ("args", 1, "args is not a list"),
    ("args", [{"byte": "a"}], "args is not made of None"),
    ("args", [{"bytes": "\u0100"}], "args is not made of None"),
    ("key", {"bytes": 1}, "key is not made of None"),
    ("key", float("nan"), "key is not made of None"),
]


@pytest.mark.parametrize(("field", "value", "problem"), BAD)
def test_a_bad_line_is_named(field: str, value: object, problem: str) -> None:
    line = str(value) if not field else json.dumps(json.loads(INVOKE) | {"op": 8} | {field: value})
    with pytest.raises(BadHistory) as caught:
        History.from_lines([INVOKE, "", line])
    assert str(caught.value).startswith(f"line 3: {problem}")
    assert caught.value.line == 3
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["event", "op", "at", "client", "call", "key", "args"])
def test_a_missing_field_is_named(missing: str) -> None:
    fields = json.loads(INVOKE)
    del fields[missing]
    with pytest.raises(BadHistory, match=f"^line 1: {missing} is missing$"):
        History.from_lines([json.dumps(fields)])


def test_an_operation_of_a_file_ends_once() -> None:
    end = '{"event": "fail", "op": 7, "at": 2}'
    with pytest.raises(BadHistory, match=r"^line 3: operation 7 has ended before$"):
        History.from_lines([INVOKE, end, end])
    with pytest.raises(BadHistory, match=r"^line 2: result is missing$"):
        History.from_lines([INVOKE, end.replace("fail", "ok")])
