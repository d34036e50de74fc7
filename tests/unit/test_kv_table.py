"""The table of the atomic engines, beside a plain one that looks at everything for each answer."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kv_model import Model
from trio440.errors import BadMessage, InvalidParameter
from trio440.kv import (
    Append,
    CompareAndSet,
    Condition,
    Count,
    Delete,
    Entry,
    Expire,
    Get,
    Increment,
    List,
    Page,
    Put,
    Refused,
    Table,
    TableLimits,
    Transaction,
)
from trio440.kv.operations import (
    Changed,
    Committed,
    Counted,
    Found,
    GrantLease,
    RenewLease,
    RevokeLease,
)
from trio440.kv.table_deadlines import Deadlines
from trio440.kv.table_history import History
from trio440.kv.table_order import KeyOrder

SMALL = TableLimits(
    key_bytes=3,
    value_bytes=6,
    total_bytes=5 * 262,
    list_entries=3,
    list_bytes=14,
    operations=3,
    leases=2,
    history_changes=8,
    history_bytes=1100,
)

KEYS = st.sampled_from([b"", b"a", b"a\x00", b"aa", b"a\xff", b"b", b"\xff", b"\xff\xff", b"long"])
VALUES = st.sampled_from([b"", b"0", b"41", b"-7", b"007", b"x", b"123456", b"1234567"])
TTLS = st.sampled_from([None, None, 1, 2, 5, 0, -1, 1 << 63])
NUMBERS = st.sampled_from([1, -1, 5, (1 << 63) - 1, -(1 << 63)])
LEASES = st.integers(0, 4)
SIMPLE = st.one_of(
    st.builds(Get, KEYS),
    st.builds(Put, KEYS, VALUES, TTLS, st.booleans(), LEASES),
    st.builds(Put, KEYS, VALUES),
    st.builds(Delete, KEYS),
    st.builds(Expire, KEYS, TTLS),
    st.builds(List, KEYS, st.none() | KEYS, st.integers(0, 4)),
    st.builds(Count, KEYS),
    st.builds(Increment, KEYS, NUMBERS),
    st.builds(Append, KEYS, VALUES),
)
CONDITIONS = st.builds(
    Condition,
    KEYS,
    st.none() | st.integers(0, 9),
    st.none() | VALUES,
    st.none() | st.booleans(),
)
TRANSACTIONS = st.builds(
    Transaction,
    st.lists(CONDITIONS, max_size=2).map(tuple),
    st.lists(SIMPLE, max_size=4).map(tuple),
    st.lists(SIMPLE, max_size=4).map(tuple),
)
COMMANDS = st.one_of(
    SIMPLE,
    st.builds(CompareAndSet, KEYS, st.none() | VALUES, st.none() | VALUES, TTLS),
    TRANSACTIONS,
    st.builds(GrantLease, st.sampled_from([1, 3, 0])),
    st.builds(RenewLease, LEASES),
    st.builds(RevokeLease, LEASES),
    st.integers(0, 4),
    st.integers(-1, 4).map(str),
    st.just("restore"),
)


def told(result: object) -> object:
    """Return a result with the kinds of its refusals for these."""
    if isinstance(result, Refused):
        return result.kind
    if isinstance(result, Committed):
        parts: Any = tuple(map(told, result.results))
        return msgspec.structs.replace(result, results=parts)
    return result


@given(st.lists(COMMANDS, max_size=60))
def test_a_table_is_what_a_plain_one_is(commands: list[Any]) -> None:
    table, model = Table(SMALL), Model(SMALL)
    for command in commands:
        if isinstance(command, int):
            table.advance(table.now_ms + command)
            model.advance(model.now + command)
        elif isinstance(command, str) and command != "restore":
            table.advance_late(table.now_ms + int(command))
            model.advance_late(model.now + int(command))
            assert not table.has_new_ends
        elif command == "restore":
            data = table.snapshot()()
            table = Table(SMALL)
            table.restore(data)
            assert table.snapshot()() == data
        else:
            assert told(table.execute(command)) == model.do(command), command
        assert len(table) == len(model.rows)
        assert table.byte_count == model.size() <= SMALL.total_bytes
        assert table.revision == len(model.changes)
        assert table.next_deadline == model.next_deadline()
        assert table.lease_count == len(model.leases)
    first, reached = table.compacted, table.compacted
    remembered: list[tuple[int, bytes, bytes | None]] = []
    while reached < table.revision:
        reached, more = table.since(reached, most=2)
        remembered += more
    numbered = [(number, *change) for number, change in enumerate(model.changes, 1)]
    assert remembered == numbered[first:]
    assert len(remembered) <= 8


def test_time_never_goes_back_and_ends_are_in_their_order() -> None:
    table = Table()
    table.advance(1000)
    lease = table.execute(GrantLease(20))
    assert isinstance(lease, Changed)
    for key, ttl_ms in [(b"c", 10), (b"a", 20), (b"b", 20), (b"d", 30)]:
        table.execute(Put(key, b"", ttl_ms))
    table.execute(Put(b"l2", b"", lease=lease.number))
    table.execute(Put(b"l1", b"", lease=lease.number))
    table.advance(500)
    assert table.now_ms == 1000
    assert table.next_deadline == 1010
    table.advance(1029)
    gone = [key for _, key, value in table.since(6)[1] if value is None]
    assert gone == [b"c", b"a", b"b", b"l1", b"l2"]
    assert table.execute(Get(b"d")) == Found(Entry(b"d", b"", 4, 1))


def test_what_is_left_is_shown_as_of_a_later_time_and_nothing_ends() -> None:
    table = Table()
    table.execute(Put(b"k", b"v", 100))
    table.show_as_of(40)
    assert table.execute(Get(b"k")) == Found(Entry(b"k", b"v", 1, 100)), "it has just begun"
    table.advance_late(40)
    assert table.execute(Get(b"k")) == Found(Entry(b"k", b"v", 1, 100))
    table.show_as_of(70)
    assert table.execute(Get(b"k")) == Found(Entry(b"k", b"v", 1, 70))
    table.show_as_of(500)
    assert table.execute(List()) == Page((Entry(b"k", b"v", 1, 1),))
    table.show_as_of(30)
    assert table.execute(Get(b"k")) == Found(Entry(b"k", b"v", 1, 100))
    table.advance(139)
    assert table.execute(Get(b"k")) == Found(Entry(b"k", b"v", 1, 1))
    table.advance(140)
    assert table.execute(Get(b"k")) == Found(None)


def test_what_begins_while_nobody_knows_the_time_begins_when_it_is_told() -> None:
    table = Table()
    table.advance(1000)
    table.execute(Put(b"old", b"", 500))
    table.advance_late(1000)
    for key in (b"new", b"later"):
        table.execute(Put(key, b"", 500))
    lease = table.execute(GrantLease(500))
    assert isinstance(lease, Changed)
    table.execute(Put(b"leased", b"", lease=lease.number))
    table.execute(Put(b"later", b"", 600))
    new = [table.has_new_ends]
    table.advance_late(1400)
    assert [*new, table.has_new_ends] == [True, False]
    gone = []
    for now in (1499, 1500, 1899, 1900, 1999, 2000):
        before = table.revision
        table.advance(now)
        gone += [(now, key) for _, key, _ in table.since(before)[1]]
    assert gone == [(1500, b"old"), (1900, b"new"), (1900, b"leased"), (2000, b"later")]


def test_each_change_of_a_transaction_has_its_own_version() -> None:
    table = Table()
    result = table.execute(
        Transaction(
            (Condition(b"k", exists=False),),
            (Put(b"k", b"1"), Increment(b"k"), Get(b"k"), Increment(b"x", 1 << 63), Put(b"y", b"")),
        )
    )
    assert isinstance(result, Committed)
    assert result.results[:3] == (
        Changed(1, existed=False),
        Changed(2, existed=True, number=2),
        Found(Entry(b"k", b"2", 2)),
    )
    assert isinstance(result.results[3], Refused)
    assert result.results[4] == Changed(3, existed=False)
    assert result.version == 3


def test_what_is_no_operation_is_refused() -> None:
    table = Table()
    nested: Any = Transaction(then=(Transaction(), CompareAndSet(b"k", None, b"")))  # type: ignore[arg-type]
    result = table.execute(nested)
    assert isinstance(result, Committed)
    anything: Any = "get"
    for answer in [table.execute(anything), *result.results]:
        assert isinstance(answer, Refused)
    assert table.revision == 0


def test_reasons_name_the_limit() -> None:
    table = Table(SMALL)
    reasons: dict[Any, str] = {
        Put(b"long", b""): "a key of 4 bytes is too long, the limit is 3",
        Put(b"k", b"1234567"): "a value of 7 bytes is too long, the limit is 6",
        Get(b""): "a key is empty",
        Put(b"k", b"", 0): "a time to live of 0 ms is none of 1 to 2**62",
        Put(b"k", b"", lease=9): "there is no lease 9",
        Transaction(
            (Condition(b"k"),) * 4
        ): "a transaction is too long, the limit is 3 of each kind",
    }
    for operation, reason in reasons.items():
        result = table.execute(operation)
        assert isinstance(result, Refused)
        assert result.reason == reason


def test_limits_are_checked() -> None:
    with pytest.raises(InvalidParameter, match="key_bytes"):
        TableLimits(key_bytes=0)


@given(st.binary(max_size=80), st.integers(0, 200))
def test_what_is_no_snapshot_changes_nothing(junk: bytes, at: int) -> None:
    table = Table(SMALL)
    lease = table.execute(GrantLease(5))
    assert isinstance(lease, Changed)
    table.execute(Put(b"a", b"1", lease=lease.number))
    table.execute(Put(b"b", b"2", 7))
    whole = table.snapshot()()
    for data in (junk, whole[:at], whole[:at] + junk, whole + b"\0\0\0\0"):
        if data == whole:
            continue
        other = Table(SMALL)
        try:
            other.restore(data)
        except BadMessage:
            assert other.snapshot()() == Table(SMALL).snapshot()()


def test_a_snapshot_is_of_its_moment() -> None:
    table = Table()
    for number in range(3000):
        table.execute(Put(b"%d" % number, b""))
    encode = table.snapshot()
    data = table.snapshot()()
    table.execute(Delete(b"7"))
    table.execute(Put(b"8", b"later"))
    assert encode() == data
    table.restore(data)
    assert table.execute(Count(b"")) == Counted(3000)
    assert table.execute(Count(b"29")) == Counted(111)


# Its parts


@given(
    st.integers(0, 1 << 32), st.integers(1, 4000), st.sampled_from([0, 300, 9000]), st.booleans()
)
def test_keys_are_in_their_order(seed: int, spread: int, wait: int, up: bool) -> None:
    rng, order, keys = random.Random(seed), KeyOrder(), set[bytes]()
    for number in range(wait + 200):
        key = b"%d" % (number if up else rng.randrange(spread))
        if key in keys:
            order.remove(key)
            keys.remove(key)
        else:
            order.add(key)
            keys.add(key)
        if number % 97 == 0 and number > wait:
            start, end = b"%d" % rng.randrange(spread), b"%d" % rng.randrange(spread)
            expected = sorted(key for key in keys if start <= key < end)
            assert list(order.between(start, end)) == expected
            assert order.count(start, end) == len(expected)
            assert list(order.between(b"", None)) == sorted(keys)
            assert order.count(start, None) == sum(key >= start for key in keys)
    order.restore(sorted(keys))
    assert list(order.between(b"", None)) == sorted(keys)


def test_a_deadline_that_is_moved_again_and_again_takes_no_more_room() -> None:
    ends: Deadlines[bytes] = Deadlines()
    ends.set(b"x", 5)
    for moment in range(10_000):
        ends.set(b"k", moment)
    assert len(ends._heap) < 100
    assert ends.first() == (5, b"x")
    ends.discard(b"x")
    ends.discard(b"x")
    assert ends.first() == (9_999, b"k")


def test_a_history_gives_up_the_oldest() -> None:
    history = History(most_changes=3, most_bytes=1000)
    for number in range(5):
        history.add(b"%d" % number, None if number == 3 else b"v")
    assert (history.compacted, history.revision) == (2, 5)
    everything = [(3, b"2", b"v"), (4, b"3", None), (5, b"4", b"v")]
    assert history.since(2, b"", None, most=9, most_bytes=9999) == (5, everything)
    assert history.since(2, b"", None, most=2, most_bytes=9999) == (4, everything[:2])
    assert history.since(2, b"", None, most=9, most_bytes=200) == (3, everything[:1])
    assert history.since(2, b"3", b"4", most=9, most_bytes=9999) == (5, everything[1:2])
    assert history.since(7, b"", None, most=9, most_bytes=9999) == (7, [])
    history.add(b"k", bytes(900))
    assert len(history) == 0, "it alone is too much"
    assert (history.compacted, history.byte_count) == (6, 0)
