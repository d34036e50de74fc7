"""Siblings: what was written without knowing of each other stays until somebody replaces it."""

from collections.abc import Callable
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kv_replicas import Store
from trio440.actors.ref import Ref
from trio440.kv.hlc import HybridClock
from trio440.kv.operations import (
    Changed,
    Count,
    Counted,
    Delete,
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
    Result,
    Siblings,
)
from trio440.kv.replica import Replica
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.siblings import HIDDEN, dot_of, hidden_key

NOW: Final = 1_700_000_000_000
KEY: Final = b"cart"
REFS: Final = [Ref[Any](f"10.0.0.{number}:9", 1, 1) for number in (1, 2, 3)]


def replica(number: int = 0, **limits: int) -> Replica:
    return Replica(REFS[number], HybridClock(), ReplicaLimits(**limits))


def do(one: Replica, operation: Operation, now_ms: int = NOW) -> Result:
    ((result,), _) = one.execute(0, [operation], now_ms)
    return result


def write(one: Replica, operation: Operation, now_ms: int = NOW) -> int:
    result = do(one, operation, now_ms)
    assert isinstance(result, Changed), result
    return result.version


def read(one: Replica, key: bytes = KEY, now_ms: int = NOW) -> Siblings:
    result = do(one, GetSiblings(key), now_ms)
    assert isinstance(result, Siblings), result
    return result


def values(one: Replica, key: bytes = KEY, now_ms: int = NOW) -> list[bytes]:
    return [entry.value for entry in read(one, key, now_ms).entries]


def tell(one: Replica, other: Replica, *, only: Callable[[bytes], bool] = lambda _: True) -> None:
    """Let a replica merge what another one has."""
    found = [(key, record) for key, record in one.records.below(0) if only(key)]
    other.merge([(key, r.value, r.stamp, r.writer, r.expires_ms) for key, r in found], NOW)


def reason(result: Result) -> str:
    assert isinstance(result, Refused), result
    return f"{result.kind}: {result.reason}"


def test_values_that_do_not_know_of_each_other_stay_beside_each_other() -> None:
    one, two = replica(0), replica(1)
    write(one, PutSibling(KEY, b"milk"))
    write(two, PutSibling(KEY, b"bread"), NOW + 1)
    tell(one, two)
    tell(two, one)
    assert values(one) == values(two) == [b"bread", b"milk"]
    assert do(one, Get(KEY)) == do(two, Get(KEY))
    both = read(one)
    assert Found(both.entries[0]) == do(one, Get(KEY))
    write(one, PutSibling(KEY, b"bread and milk", both.context))
    tell(one, two)
    assert values(one) == values(two) == [b"bread and milk"]


def test_one_that_writes_again_without_reading_has_two_siblings() -> None:
    one = replica()
    write(one, PutSibling(KEY, b"1"))
    write(one, PutSibling(KEY, b"2"))
    assert values(one) == [b"2", b"1"]


def test_what_was_read_elsewhere_is_replaced_before_it_comes() -> None:
    one, two = replica(0), replica(1)
    write(one, PutSibling(KEY, b"old"), NOW + 5000)
    write(two, PutSibling(KEY, b"new", read(one, now_ms=NOW + 5000).context))
    tell(one, two)
    tell(two, one)
    assert values(one) == values(two) == [b"new"]
    assert do(one, Get(KEY)) == do(two, Get(KEY))


def test_a_put_is_among_them_while_it_wins_and_replaces_all_that_its_replica_has() -> None:
    one, two = replica(0), replica(1)
    write(one, PutSibling(KEY, b"known"))
    tell(one, two)
    write(one, PutSibling(KEY, b"unknown"), NOW + 1)
    write(two, Put(KEY, b"put"), NOW + 2)
    tell(two, one)
    tell(one, two)
    assert values(one) == values(two) == [b"put", b"unknown"]
    write(one, PutSibling(KEY, b"all", read(one).context), NOW + 3)
    assert values(one) == [b"all"]


def test_a_delete_replaces_what_it_knows_of() -> None:
    one, two = replica(0), replica(1)
    write(one, PutSibling(KEY, b"known"))
    tell(one, two)
    write(one, PutSibling(KEY, b"unknown"))
    write(two, Delete(KEY), NOW + 1)
    tell(two, one)
    tell(one, two)
    for each in (one, two):
        assert do(each, Get(KEY)) == Found(None)
        assert values(each) == [b"unknown"]


def test_a_sibling_goes_when_its_time_is_over() -> None:
    one = replica()
    write(one, PutSibling(KEY, b"for ever"))
    write(one, PutSibling(KEY, b"for a second", ttl_ms=1000))
    assert [entry.ttl_ms for entry in read(one).entries] == [1000, None]
    assert values(one, now_ms=NOW + 1000) == [b"for ever"]


def test_another_time_to_live_of_the_key_is_that_of_the_last_value() -> None:
    one = replica()
    write(one, PutSibling(KEY, b"1"))
    write(one, PutSibling(KEY, b"2"))
    write(one, Expire(KEY, 1000))
    assert [(entry.value, entry.ttl_ms) for entry in read(one).entries] == [
        (b"2", 1000),
        (b"1", None),
    ]
    assert values(one, now_ms=NOW + 1000) == [b"1"]
    write(one, Put(KEY, b"3"), NOW + 1000)
    write(one, PutSibling(KEY, b"4"), NOW + 1000)
    write(one, Expire(KEY, 0), NOW + 1000)
    assert values(one, now_ms=NOW + 1000) == []


def test_keys_are_not_mixed_up() -> None:
    one = replica()
    for key in (b"a", b"ab", b"a\x00", b"\xff", b"\xff\xff"):
        write(one, PutSibling(key, b"1" + key))
        write(one, PutSibling(key, b"2" + key))
    for key in (b"a", b"ab", b"a\x00", b"\xff", b"\xff\xff"):
        assert values(one, key) == [b"2" + key, b"1" + key]


def test_hidden_keys_are_not_seen() -> None:
    one = replica()
    write(one, PutSibling(KEY, b"1"))
    write(one, PutSibling(KEY, b"2"))
    last = read(one).entries[0]
    assert do(one, List()) == Page((last,))
    assert do(one, Count()) == Counted(1)
    assert do(one, Count(HIDDEN)) == Counted(0)
    assert do(one, List(HIDDEN)) == Page()
    assert [seen[0] for _, seen in one.feed.since(0, b"", 1 << 20)[0]] == [KEY, KEY]
    (name,) = [key for key, r in one.records.below(0) if r.value == b"1" and key != KEY]
    for operation in (Get(name), Put(name, b"x"), Delete(name), PutSibling(name, b"x")):
        assert reason(do(one, operation)).startswith("malformed: a key that begins with")
    statistics = one.statistics()
    assert (statistics.keys, statistics.siblings, statistics.tombstones) == (1, 2, 0)


def test_a_key_has_so_many_siblings() -> None:
    one = replica(siblings=3)
    for number in range(3):
        write(one, PutSibling(KEY, b"%d" % number))
    refused = do(one, PutSibling(KEY, b"3"))
    assert reason(refused) == "limit: a key has 3 siblings at most: read and replace them"
    assert values(one) == [b"2", b"1", b"0"]
    write(one, PutSibling(KEY, b"3", read(one).context))
    assert values(one) == [b"3"]


@pytest.mark.parametrize("context", [b"x", bytes(17), bytes(16 * 1001)])
def test_what_is_no_context_is_refused(context: bytes) -> None:
    one = replica()
    refused = do(one, PutSibling(KEY, b"v", context))
    assert reason(refused) == "malformed: this is no context of siblings"
    assert len(one.records) == 0


def test_a_context_from_the_future_is_refused() -> None:
    one = replica()
    ahead = dot_of((NOW + 3_600_000) << 16, REFS[1])
    assert "too far ahead" in reason(do(one, PutSibling(KEY, b"v", ahead)))
    assert len(one.records) == 0


def test_siblings_count_for_the_limits_of_a_replica() -> None:
    one = replica(keys=3)
    write(one, PutSibling(KEY, b"1"))
    write(one, PutSibling(KEY, b"2"))
    assert reason(do(one, PutSibling(KEY, b"3"))) == "limit: the store is full"
    assert reason(do(replica(keys=1), PutSibling(KEY, b"1"))) == "limit: the store is full"
    small = replica(total_bytes=1000)
    write(small, PutSibling(KEY, b"v" * 150))
    assert reason(do(small, PutSibling(KEY, b"v" * 150))) == "limit: the store is full"
    assert small.records.bytes <= 1000


def test_many_long_siblings_are_read_in_turns() -> None:
    one = replica(list_bytes=1000)
    for number in range(4):
        write(one, PutSibling(KEY, b"%d" % number * 400))
    assert values(one) == [b"3" * 400, b"2" * 400]
    write(one, PutSibling(KEY, b"4", read(one).context))
    assert values(one) == [b"4", b"1" * 400, b"0" * 400]
    write(one, PutSibling(KEY, b"5", read(one).context))
    assert values(one) == [b"5"]


def test_siblings_come_together_on_servers() -> None:
    store = Store()
    first, second = store.add_server(2), store.add_server(1)
    store.run(5)
    store.do(first.ref(1), PutSibling(KEY, b"1"))
    store.do(second.ref(1), PutSibling(KEY, b"2"))
    store.run(3)
    everywhere = [first.ref(1), first.ref(2), second.ref(1)]
    read = {ref: store.do(ref, GetSiblings(KEY))[0] for ref in everywhere}
    assert {tuple(entry.value for entry in each.entries) for each in read.values()} == {
        (b"2", b"1")
    }
    store.do(first.ref(2), PutSibling(KEY, b"3", read[second.ref(1)].context))
    store.run(3)
    assert store.is_equal()
    for ref in everywhere:
        assert [e.value for e in store.do(ref, GetSiblings(KEY))[0].entries] == [b"3"]


# Any history, against sets


@attrs.define
class Known:
    """What a replica is to know of the key, by the number of each write."""

    kept: set[int] = attrs.field(factory=set)
    replaced: set[int] = attrs.field(factory=set)
    last: tuple[int, int, int | None] = (0, 0, None)
    """Version and writer of the last write, and its number where it gave a value."""


class Model:
    """Replicas that have sets of writes."""

    def __init__(self) -> None:
        self.replicas = [replica(number) for number in range(3)]
        self.known = [Known() for _ in self.replicas]
        self.names: dict[bytes, int] = {}
        self.order: dict[int, tuple[int, int]] = {}
        """Version and writer of each write."""
        self.contexts: list[tuple[bytes, set[int]]] = [(b"", set())]
        self.ms = 0

    def write(self, place: int, operation: Operation) -> tuple[int, int]:
        self.ms += 1
        number = len(self.order) + 1
        version = write(self.replicas[place], operation, NOW + self.ms % 7)
        self.order[number] = version, place
        self.names[hidden_key(KEY, dot_of(version, REFS[place]))] = number
        return number, version

    def put_sibling(self, place: int, choice: int) -> None:
        context, read = self.contexts[choice % len(self.contexts)]
        value = b"%d" % (len(self.order) + 1)
        number, version = self.write(place, PutSibling(KEY, value, context))
        assert all(version > self.order[other][0] for other in read)
        known = self.known[place]
        known.kept.add(number)
        known.replaced |= read
        known.last = version, place, number

    def put(self, place: int, _: int) -> None:
        number, version = self.write(place, Put(KEY, b"%d" % (len(self.order) + 1)))
        self.known[place].replaced |= self.known[place].kept
        self.known[place].last = version, place, number

    def delete(self, place: int, _: int) -> None:
        _, version = self.write(place, Delete(KEY))
        self.known[place].replaced |= self.known[place].kept
        self.known[place].last = version, place, None

    def read(self, place: int, _: int) -> None:
        found = read(self.replicas[place])
        numbers = [int(entry.value) for entry in found.entries]
        known = self.known[place]
        expected = known.kept - known.replaced
        if known.last[2] is not None:
            expected |= {known.last[2]}
        assert numbers == sorted(expected, key=self.order.__getitem__, reverse=True)
        self.contexts.append((found.context, set(numbers)))

    def tell(self, place: int, choice: int) -> None:
        """Let another replica hear of some of what one has."""
        other = (place + 1 + choice % 2) % 3
        mine, theirs = self.known[place], self.known[other]
        told = {name for name, number in self.names.items() if (number * 7 + choice) % 3}
        if choice % 5:
            told.add(KEY)
            theirs.last = max(theirs.last, mine.last, key=lambda each: each[:2])
        theirs.replaced |= {
            number for name in told if (number := self.names.get(name, 0)) in mine.replaced
        }
        theirs.kept |= {number for name in told if (number := self.names.get(name, 0)) in mine.kept}
        tell(self.replicas[place], self.replicas[other], only=told.__contains__)


STEPS: Final = {
    "put_sibling": Model.put_sibling,
    "put": Model.put,
    "delete": Model.delete,
    "read": Model.read,
    "tell": Model.tell,
}
step = st.tuples(
    st.sampled_from(
        ["put_sibling", "put_sibling", "read", "read", "tell", "tell", "put", "delete"]
    ),
    st.integers(0, 2),
    st.integers(0, 30),
)


@given(st.lists(step, max_size=40))
def test_any_history_is_that_of_sets(steps: list[tuple[str, int, int]]) -> None:
    model = Model()
    for name, place, choice in steps:
        STEPS[name](model, place, choice)
    for _ in range(2):
        for place in range(3):
            for other in range(3):
                if other != place:
                    tell(model.replicas[place], model.replicas[other])
    assert len({tuple(values(each)) for each in model.replicas}) == 1
    assert len({each.records.tree.digest(0) for each in model.replicas}) == 1
