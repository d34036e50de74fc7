"""The store does what the requests say, within its limits."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import InvalidParameter
from trio440.linekv.protocol import Delete, Get, Put, Request, Update
from trio440.linekv.store import OVERHEAD_BYTES, Refused, Store, Values

COST = OVERHEAD_BYTES + 1
"""What a key or value of one byte counts."""

keys = st.sampled_from([b"a", b"b", b"c"])
values = st.sampled_from([b"1", b"2", b"", b"\xff"])
requests = st.one_of(
    st.builds(Put, keys, values),
    st.builds(Get, keys),
    st.builds(Delete, keys),
    st.builds(Update, keys, values, values),
)


def make_store(max_keys: int = 1000, max_bytes: int = 1 << 20) -> Store:
    return Store(max_keys=max_keys, max_bytes=max_bytes)


def values_of(store: Store, key: bytes) -> tuple[bytes, ...]:
    answer = store.apply(Get(key))
    assert isinstance(answer, Values)
    assert answer.key == key
    return answer.values


def test_update_replaces_the_first_and_appends() -> None:
    store = make_store()
    for value in (b"1", b"2", b"1"):
        assert store.apply(Put(b"a", value)) is None
    assert store.apply(Update(b"a", b"1", b"3")) is None
    assert values_of(store, b"a") == (b"2", b"1", b"3")
    store.apply(Update(b"a", b"absent", b"4"))
    store.apply(Update(b"new", b"absent", b"5"))
    assert values_of(store, b"a") == (b"2", b"1", b"3", b"4")
    assert values_of(store, b"new") == (b"5",)


def test_an_answer_is_a_picture_of_its_moment() -> None:
    store = make_store()
    store.apply(Put(b"a", b"1"))
    answer = store.apply(Get(b"a"))
    store.apply(Put(b"a", b"2"))
    assert answer == Values(b"a", (b"1",))


@given(st.lists(requests))
def test_the_store_is_a_dictionary_of_lists(program: list[Request]) -> None:
    store = make_store()
    model: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for request in program:
        answer = store.apply(request)
        match request:
            case Put(key, value):
                model[key].append(value)
            case Update(key, old, new):
                if old in model[key]:
                    model[key].remove(old)
                model[key].append(new)
            case Delete(key):
                model.pop(key, None)
            case Get(key):
                assert answer == Values(key, tuple(model.get(key, ())))
                continue
        assert answer is None
    assert store.key_count == len(model)
    items = [item for key, values in model.items() for item in (key, *values)]
    assert store.byte_count == sum(len(item) + OVERHEAD_BYTES for item in items)


def test_the_limit_on_keys() -> None:
    store = make_store(max_keys=2)
    store.apply(Put(b"a", b"1"))
    store.apply(Put(b"b", b"1"))
    refusal = Refused("the store is full, its limit is 2 keys")
    assert store.apply(Put(b"c", b"1")) == refusal
    assert store.apply(Update(b"c", b"1", b"2")) == refusal
    assert values_of(store, b"c") == ()
    assert store.apply(Put(b"a", b"2")) is None
    store.apply(Delete(b"b"))
    assert store.apply(Put(b"c", b"1")) is None


def test_the_limit_on_memory() -> None:
    store = make_store(max_bytes=3 * COST)
    assert store.apply(Put(b"a", b"1")) is None
    assert store.apply(Put(b"a", b"2")) is None
    refusal = Refused(f"the store is full, its limit is {3 * COST} bytes")
    assert store.apply(Put(b"a", b"3")) == refusal
    assert store.apply(Put(b"b", b"3")) == refusal
    assert store.apply(Update(b"a", b"1", b"33")) == refusal
    assert store.apply(Update(b"a", b"1", b"3")) is None
    assert values_of(store, b"a") == (b"2", b"3")
    store.apply(Delete(b"a"))
    assert store.byte_count == 0


@given(st.lists(requests), st.integers(1, 5), st.integers(1, 6 * COST))
def test_limits_hold_and_a_refusal_changes_nothing(
    program: list[Request], max_keys: int, max_bytes: int
) -> None:
    store = make_store(max_keys, max_bytes)
    for request in program:
        before = {key: values_of(store, key) for key in (b"a", b"b", b"c")}
        answer = store.apply(request)
        assert store.key_count <= max_keys
        assert store.byte_count <= max_bytes
        if isinstance(answer, Refused):
            assert {key: values_of(store, key) for key in before} == before


@pytest.mark.parametrize("limits", [(0, 1), (1, 0)])
def test_limits_are_positive(limits: tuple[int, int]) -> None:
    with pytest.raises(InvalidParameter, match="must be at least 1, not 0"):
        make_store(*limits)
