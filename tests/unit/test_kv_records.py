"""Records: merging commutes and repeats, tombstones go and nothing comes back, digests tell."""

import subprocess
import sys
from itertools import permutations
from typing import Any, TypeAlias
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.actors.ref import Ref
from trio440.kv.digests import (
    FIRST_LEAF,
    NODES,
    DigestTree,
    children,
    hash_write,
    leaf,
    leaves_below,
)
from trio440.kv.hlc import pack
from trio440.kv.records import Records, prefix_end

NOW = 1_700_000_000_000
DAY = 86_400_000
ONE = Ref[Any]("10.0.0.1:9", 9, 5)
TEN = Ref[Any]("10.0.0.1:9", 10, 1)
FAR = Ref[Any]("10.0.0.2:9", 1, 1)

Write: TypeAlias = tuple[bytes, bytes | None, int, Ref[Any], int]

writes = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"ab", b"b", b"\xff", b"\xff\xff"]),
        st.sampled_from([None, b"", b"1", b"22"]),
        st.integers(pack(NOW), pack(NOW) + 4),
        st.sampled_from([ONE, TEN, FAR]),
        st.sampled_from([0, NOW + 5]),
    ),
    max_size=12,
    unique_by=lambda write: (write[0], write[2], write[3]),  # a version is of one write
)


def records_of(*rows: Write) -> Records:
    records = Records(DAY)
    for row in rows:
        records.merge(*row)
    return records


def keys_of(records: Records, prefix: bytes, after: bytes | None = None) -> list[bytes]:
    return [record.key for record in records.listed(prefix, after)]


def content(records: Records) -> dict[bytes, Any]:
    return {
        key: (record.value, record.stamp, record.writer, record.expires_ms)
        for key, record in records.below(0)
    }


def test_the_later_write_wins_whichever_comes_first() -> None:
    first, second = (b"k", b"1", pack(NOW), FAR, 0), (b"k", b"2", pack(NOW, 1), ONE, 0)
    for order in permutations((first, second, first)):
        found = records_of(*order).live(b"k", NOW)
        assert found is not None
        assert (found.value, found.writer) == (b"2", ONE)


@pytest.mark.parametrize(("low", "high"), [(ONE, TEN), (TEN, FAR), (ONE, FAR)])
def test_of_equal_stamps_the_higher_reference_wins(low: Ref[Any], high: Ref[Any]) -> None:
    """By address as text, then by counter as a number: 10 is above 9."""
    rows = [(b"k", b"low", pack(NOW), low, 0), (b"k", b"high", pack(NOW), high, 0)]
    for order in permutations(rows):
        found = records_of(*order).live(b"k", NOW)
        assert found is not None
        assert found.value == b"high"


def test_a_put_of_the_same_value_is_a_new_write() -> None:
    records = records_of((b"k", b"v", pack(NOW), ONE, 0))
    assert records.merge(b"k", b"v", pack(NOW, 1), ONE) == "news"
    assert records.merge(b"k", b"w", pack(NOW), TEN) == "old"


@given(writes, st.randoms(use_true_random=False))
def test_merging_is_associative_commutative_and_idempotent(rows: list[Write], rng: Any) -> None:
    expected = records_of(*rows)
    shuffled = rows + rows[: len(rows) // 2]
    rng.shuffle(shuffled)
    middle = len(shuffled) // 2
    left, right = records_of(*shuffled[:middle]), records_of(*shuffled[middle:])
    for key, record in list(right.below(0)):
        left.merge(key, record.value, record.stamp, record.writer, record.expires_ms)
    assert content(left) == content(expected)
    assert left.tree.digest(0) == expected.tree.digest(0)
    assert left.bytes == expected.bytes
    assert keys_of(left, b"") == keys_of(expected, b"")


@given(writes, st.integers(1, 4), st.sets(st.integers(0, 30)))
def test_digests_are_right_whenever_they_are_asked_for(
    rows: list[Write], most: int, asked: set[int]
) -> None:
    """Whether the tree takes keys in because it is asked, or because too many wait."""
    records = Records(DAY)
    with patch("trio440.kv.records.MOST_UNHASHED", most):
        for number, row in enumerate(rows):
            records.merge(*row)
            if number == len(rows) // 2:
                records.sweep(NOW + 5 + DAY)
            if number in asked or number == len(rows) - 1:
                hashes = [
                    hash_write(key, record.stamp, text_of(record.writer))
                    for key, record in records.below(0)
                ]
                assert records.tree.digest(0) == sum(hashes) & ((1 << 62) - 1)
                assert records.tree.count(0) == len(records) == len(hashes)


def text_of(writer: Ref[Any]) -> bytes:
    return f"{writer.address}/{writer.counter}/{writer.incarnation}".encode()


@given(writes)
def test_sums_and_orders_are_those_of_the_records(rows: list[Write]) -> None:
    records = records_of(*rows)
    for now_ms in (NOW + 4, NOW + 5, NOW + 5 + DAY):
        records.sweep(now_ms)
        held = content(records)
        live = sorted(key for key, record in held.items() if record[0] is not None)
        assert keys_of(records, b"") == live
        assert records.count(b"") == len(live)
        assert len(records) == len(held)
        again = records_of(*((key, *row) for key, row in held.items()))
        assert [records.tree.digest(n) for n in (0, 1, 40)] == [
            again.tree.digest(n) for n in (0, 1, 40)
        ]
        assert records.bytes == again.bytes
        for prefix in (b"a", b"b", b"\xff", b"c"):
            found = [key for key in live if key.startswith(prefix)]
            assert keys_of(records, prefix) == found
            assert records.count(prefix) == len(found)
            for after in (b"", b"a", b"b", b"\xff\xff"):
                assert keys_of(records, prefix, after) == [key for key in found if key > after]


# What goes


def test_a_deleted_key_is_remembered_for_the_grace_period_and_never_comes_back() -> None:
    put = (b"k", b"v", pack(NOW), ONE, 0)
    records = records_of(put, (b"k", None, pack(NOW, 1), ONE, 0))
    assert records.merge(*put) == "old"
    assert records.sweep(NOW + DAY - 1) == []
    assert len(records) == 1
    records.sweep(NOW + DAY)
    assert len(records) == 0
    assert (records.tree.digest(0), records.bytes) == (0, 0)
    assert records.merge(*put) == "refused"
    assert records.merge(b"other", b"v", pack(NOW, 2), ONE) == "news"


def test_what_is_late_for_a_key_that_is_there_is_taken() -> None:
    """The key was not deleted here, so nothing comes back."""
    records = records_of((b"k", b"1", pack(NOW - 9), ONE, 0), (b"x", None, pack(NOW), ONE, 0))
    records.sweep(NOW + DAY)
    assert records.horizon == pack(NOW)
    assert records.merge(b"k", b"2", pack(NOW - 5), ONE) == "news"
    assert records.merge(b"l", b"2", pack(NOW - 5), ONE) == "refused"


def test_a_time_to_live_leaves_a_tombstone_of_the_same_version() -> None:
    older = (b"k", b"old", pack(NOW - 1), FAR, 0)
    records = records_of((b"k", b"v", pack(NOW), ONE, NOW + 100))
    before = records.tree.digest(0)
    assert records.live(b"k", NOW + 99) is not None
    assert records.live(b"k", NOW + 100) is None
    assert [record.key for record in records.sweep(NOW + 100)] == [b"k"]
    assert records.tree.digest(0) == before
    assert keys_of(records, b"") == []
    assert records.merge(*older) == "old"
    records.sweep(NOW + 99 + DAY)
    assert len(records) == 1
    records.sweep(NOW + 100 + DAY)
    assert len(records) == 0
    assert records.merge(*older) == "refused"


def test_the_same_write_that_is_over_elsewhere_is_over_here() -> None:
    for values in ((b"v", None), (None, b"v")):
        records = records_of(*((b"k", value, pack(NOW), ONE, NOW + 9) for value in values))
        assert records.live(b"k", NOW) is None
        assert records.count(b"") == 0


def test_a_value_that_replaced_one_with_a_time_to_live_stays() -> None:
    records = records_of((b"k", b"1", pack(NOW), ONE, NOW + 5), (b"k", b"2", pack(NOW, 1), ONE, 0))
    assert records.sweep(NOW + 2 * DAY) == []
    assert records.live(b"k", NOW + 2 * DAY) is not None


def test_what_is_to_be_looked_at_is_bounded_by_the_records() -> None:
    records = Records(DAY)
    for count in range(10_000):
        records.merge(b"k", b"v", pack(NOW, count), ONE, NOW + count)
    assert len(records._due) < 2100
    assert [record.key for record in records.sweep(NOW + 20_000)] == [b"k"]


def test_a_sweep_can_be_taken_in_parts() -> None:
    records = records_of(*((b"%d" % n, b"v", pack(NOW, n), ONE, NOW + 1) for n in range(10)))
    swept = [len(records.sweep(NOW + 1, 4)) for _ in range(4)]
    assert swept == [4, 4, 2, 0]
    assert records.next_due_ms() == NOW + 1 + DAY


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"", None), (b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", None), (b"a\x00", b"a\x01")],
)
def test_the_end_of_a_prefix(prefix: bytes, end: bytes | None) -> None:
    assert prefix_end(prefix) == end


# Digests


def test_the_tree_is_a_heap() -> None:
    assert children(0) == range(1, 33)
    assert children(32) == range(1025, 1057)
    assert leaves_below(0) == range(FIRST_LEAF, NODES)
    assert leaves_below(32)[-1] == NODES - 1
    assert leaves_below(FIRST_LEAF + 7) == range(FIRST_LEAF + 7, FIRST_LEAF + 8)
    assert FIRST_LEAF <= leaf(b"any") < NODES


def test_a_node_sums_what_is_below_it() -> None:
    tree, node = DigestTree(), leaf(b"k")
    tree.add(node, 5, 1)
    tree.add(FIRST_LEAF, 7, 1)
    assert (tree.digest(0), tree.count(0)) == (12, 2)
    assert sum(tree.of_children(0)) == 12
    tree.add(node, -5, -1)
    assert (tree.digest(0), tree.count(0), tree.digest(node)) == (7, 1, 0)


def test_a_hash_is_of_the_whole_write_and_the_same_everywhere() -> None:
    assert hash_write(b"k", 1, b"w") == 4078793596209595593
    hashes = {
        hash_write(key, stamp, writer)
        for key in (b"k", b"wk", b"")
        for stamp in (1, 2)
        for writer in (b"w", b"", b"ww")
    }
    assert len(hashes) == 18
    assert max(hashes) < 1 << 62


MILLION = """
import resource, time
from trio440.actors.ref import Ref
from trio440.kv.records import Records

records, writer = Records(1000), Ref("127.0.0.1:7000", 3, 1838744521234567890)
for n in range(1_000_000):
    key = b"%05d%05d" % (n // 1000, n % 1000)
    records.merge(key, b"%010d" % n, (1_700_000_000_000 << 16) + n, writer)
took = []
for n in range(0, 1000, 50):
    began = time.process_time()
    found = list(records.listed(b"%05d" % n, None))
    took.append(time.process_time() - began)
    assert len(found) == 1000
print(min(took), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_million_keys_take_little_memory_and_their_prefixes_little_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MILLION], capture_output=True, text=True, check=True
    )
    seconds, mebibytes = done.stdout.split()
    assert float(seconds) < 0.005
    assert int(mebibytes) < 572  # 600 MB
