"""The key-value map, against a plain dict."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio440.errors import BadMessage, InvalidParameter
from trio440.raft.kv import (
    Changed,
    Command,
    CompareAndSet,
    Condition,
    Delete,
    Ended,
    Found,
    Get,
    Item,
    KeyValueMap,
    KvLimits,
    List,
    Put,
    Refused,
    Result,
    Since,
    Transaction,
    decode_command,
    decode_result,
    encode,
    prefix_end,
)

keys = st.binary(min_size=1, max_size=2).map(lambda key: bytes(b % 3 for b in key))
values = st.binary(max_size=3)
reads = st.builds(Get, keys) | st.builds(
    List, st.just(b"") | keys, st.none() | keys, st.integers(1, 4), st.booleans()
)
writes = st.builds(Put, keys, values) | st.builds(Delete, keys)
conditions = st.builds(
    Condition,
    keys,
    st.sampled_from(["value", "created", "modified", "version"]),
    st.sampled_from(["=", "!=", "<", ">"]),
    values,
    st.integers(0, 8),
)
operations = st.lists(
    reads | writes,
    max_size=4,
    unique_by=lambda op: op.key if isinstance(op, Put | Delete) else object(),
).map(tuple)
commands: st.SearchStrategy[Command] = st.one_of(
    reads,
    writes,
    st.builds(CompareAndSet, keys, st.none() | values, st.none() | values),
    st.builds(Transaction, st.lists(conditions, max_size=2).map(tuple), operations, operations),
)


class Model:
    """A dict, and a loop over all of it for each question."""

    def __init__(self) -> None:
        self.items: dict[bytes, Item] = {}
        self.revision = 0

    def execute(self, command: Command) -> Result:
        match command:
            case CompareAndSet(key, expected, value):
                before = self.items.get(key)
                if (before.value if before else None) != expected:
                    return Changed(self.revision, False, before)
                if value is None:
                    self.write(Delete(key), self.revision + 1)
                else:
                    self.write(Put(key, value), self.revision + 1)
                return Changed(self.revision, True, before)
            case Transaction():
                holds = all(self.holds(condition) for condition in command.conditions)
                revision = self.revision + 1
                chosen = command.then if holds else command.otherwise
                results = tuple([self.operate(operation, revision) for operation in chosen])
                return Ended(self.revision, holds, results)
            case Since():
                raise NotImplementedError("tests/unit/test_raft_kv_history.py has it")
            case _:
                return self.operate(command, self.revision + 1)

    def holds(self, condition: Condition) -> bool:
        item = self.items.get(condition.key)
        left: Any
        right: Any
        if condition.what == "value":
            if item is None:
                return condition.relation == "!="
            left, right = item.value, condition.value
        else:
            left, right = getattr(item, condition.what) if item else 0, condition.number
        relations: dict[str, bool] = {
            "=": left == right,
            "!=": left != right,
            "<": left < right,
            ">": left > right,
        }
        return relations[condition.relation]

    def operate(self, op: Get | List | Put | Delete, revision: int) -> Found | Changed:
        match op:
            case Get(key):
                return Found(self.revision, tuple(i for k, i in self.items.items() if k == key))
            case List():
                chosen = [
                    item
                    for key, item in sorted(self.items.items(), reverse=op.reverse)
                    if key >= op.start and (op.end is None or key < op.end)
                ]
                return Found(self.revision, tuple(chosen[: op.limit]), len(chosen) > op.limit)
            case _:
                return self.write(op, revision)

    def write(self, op: Put | Delete, revision: int) -> Changed:
        before = self.items.get(op.key)
        if isinstance(op, Put):
            version = before.version + 1 if before else 1
            created = before.created if before else revision
            self.items[op.key] = Item(op.key, op.value, created, revision, version)
        elif before is None:
            return Changed(self.revision, False, None)
        else:
            del self.items[op.key]
        self.revision = revision
        return Changed(revision, True, before)


def apply(machine: KeyValueMap, command: Command) -> Result:
    return decode_result(machine.apply(1, encode(command)))


@settings(max_examples=70)
@given(st.lists(commands, max_size=25))
def test_the_map_does_what_a_dict_does(history: list[Command]) -> None:
    machine, model = KeyValueMap(), Model()
    for command in history:
        assert apply(machine, command) == model.execute(command), command
        assert (machine.revision, len(machine)) == (model.revision, len(model.items))
        assert machine.byte_count == sum(
            len(i.key) + len(i.value) + 128 for i in model.items.values()
        )
    listed = decode_result(machine.query(encode(List())))
    assert listed == Found(model.revision, tuple(item for _, item in sorted(model.items.items())))


@given(st.lists(commands, max_size=15), st.lists(commands, max_size=15))
def test_a_snapshot_is_the_state_of_its_moment(before: list[Command], after: list[Command]) -> None:
    machine, other = KeyValueMap(), KeyValueMap()
    for command in before:
        apply(machine, command)
    encode_state = machine.snapshot()
    early = encode_state()
    results = [apply(machine, command) for command in after]
    assert encode_state() == early
    other.execute(Put(b"gone", b"gone"))
    other.restore(early)
    assert other.snapshot()() == early
    assert [apply(other, command) for command in after] == results
    assert other.snapshot()() == machine.snapshot()()
    assert other.byte_count == machine.byte_count


@given(commands)
def test_a_command_comes_back_as_it_was(command: Command) -> None:
    assert decode_command(encode(command)) == command


@given(st.binary(max_size=40))
def test_garbage_is_refused_and_changes_nothing(data: bytes) -> None:
    machine = KeyValueMap()
    empty = machine.snapshot()()
    with pytest.raises(BadMessage):
        decode_command(data)
    assert decode_result(machine.apply(1, data)) == Refused("this is no command of the map")
    assert machine.snapshot()() == empty
    with pytest.raises(BadMessage, match="no snapshot of a map"):
        machine.restore(data)


def test_large_states_have_snapshots_of_several_blocks() -> None:
    machine, other = KeyValueMap(), KeyValueMap()
    for number in range(2500):
        machine.execute(Put(b"%05d" % number, b"v"))
    data = machine.snapshot()()
    other.restore(data)
    assert other.snapshot()() == data
    assert other.execute(Get(b"02499")) == machine.execute(Get(b"02499"))
    for bad in (data[:-1], data + b"\0", b"\1" + data[1:], data[:16] + b"\1" + data[17:], b""):
        with pytest.raises(BadMessage):
            other.restore(bad)
        assert other.snapshot()() == data


@given(st.binary(max_size=3), st.binary(max_size=4))
def test_the_end_of_a_prefix(prefix: bytes, key: bytes) -> None:
    end = prefix_end(prefix)
    assert (key >= prefix and (end is None or key < end)) == key.startswith(prefix)


LIMITS = KvLimits(
    key_bytes=3, value_bytes=10, total_bytes=300, list_items=2, list_bytes=12, operations=2
)
PUT = Put(b"a", b"1")
HOLDS = Condition(b"a", "value", "=")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (Put(b"", b""), "a key is empty"),
        (Get(b"long"), "a key of 4 bytes is too long, the limit is 3"),
        (Delete(b""), "a key is empty"),
        (CompareAndSet(b"", None, b""), "a key is empty"),
        (CompareAndSet(b"", b"", b""), "a key is empty"),
        (CompareAndSet(b"b", None, bytes(11)), "a value of 11 bytes is too long"),
        (CompareAndSet(b"b", bytes(11), b""), "a value of 11 bytes is too long"),
        (Put(b"b", bytes(11)), "a value of 11 bytes is too long"),
        (List(limit=0), "the limit of a list"),
        (Transaction((HOLDS,) * 3), "a transaction is too long"),
        (Transaction(then=(PUT,) * 3), "a transaction is too long"),
        (Transaction(then=(), otherwise=(PUT,) * 3), "a transaction is too long"),
        (Transaction(then=(PUT, Delete(b"a"))), "changes a key twice"),
        (Transaction(then=(Put(b"c", b""), Put(b"", b""))), "a key is empty"),
        (Transaction((Condition(b"", "value", "="),)), "a key is empty"),
        (Transaction(then=(Put(b"c", b""), Put(b"d", b""))), "the map is full, its limit is 300"),
    ],
)
def test_a_limit_is_met_and_nothing_has_changed(command: Command, problem: str) -> None:
    machine = KeyValueMap(LIMITS)
    machine.execute(PUT)
    before = machine.snapshot()()
    result = machine.execute(command)
    assert isinstance(result, Refused)
    assert problem in result.problem
    assert machine.snapshot()() == before


def test_a_full_map_takes_what_makes_it_no_larger() -> None:
    machine = KeyValueMap(LIMITS)
    machine.execute(Put(b"a", bytes(10)))
    machine.execute(Put(b"b", bytes(10)))
    assert isinstance(machine.execute(Put(b"c", b"")), Refused)
    assert machine.execute(Put(b"a", b"shorter")).__class__ is Changed
    swap = Transaction(then=(Delete(b"a"), Put(b"c", b"")))
    assert isinstance(machine.execute(swap), Ended)


def test_a_list_is_cut_by_items_and_by_bytes() -> None:
    machine = KeyValueMap(LIMITS)
    for key, value in ((b"a", b"1234567890"), (b"b", b"12")):
        machine.execute(Put(key, value))
    result = machine.execute(List())
    assert isinstance(result, Found)
    assert ([item.key for item in result.items], result.more) == ([b"a"], True)
    many = KeyValueMap(KvLimits(list_items=2))
    for key in (b"a", b"b", b"c"):
        many.execute(Put(key, b""))
    result = many.execute(List())
    assert isinstance(result, Found)
    assert ([item.key for item in result.items], result.more) == ([b"a", b"b"], True)


def test_a_question_changes_nothing() -> None:
    machine = KeyValueMap()
    assert decode_result(machine.query(encode(PUT))) == Refused("a question changes nothing")
    assert len(machine) == 0


def test_limits_are_checked() -> None:
    with pytest.raises(InvalidParameter, match="list_items must be a whole number"):
        KvLimits(list_items=0)
