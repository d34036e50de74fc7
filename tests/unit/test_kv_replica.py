"""One replica: operations and their limits, the clock of a client, the feed for watchers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.actors.ref import Ref
from trio440.errors import InvalidParameter
from trio440.kv.feed import Feed
from trio440.kv.hlc import HybridClock, pack
from trio440.kv.operations import (
    Append,
    Changed,
    Count,
    Counted,
    Delete,
    Entry,
    Expire,
    Found,
    Get,
    Increment,
    List,
    Operation,
    Page,
    Put,
    PutSibling,
    Refused,
    Result,
)
from trio440.kv.records import Record
from trio440.kv.replica import Replica
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.siblings import DOT_BYTES

NOW = 1_700_000_000_000
ME = Ref[Any]("10.0.0.1:9", 1, 1)
OTHER = Ref[Any]("10.0.0.2:9", 1, 1)


def replica(**limits: int) -> Replica:
    return Replica(ME, HybridClock(), ReplicaLimits(**limits))


def do(replica: Replica, *operations: Operation, now_ms: int = NOW, seen: int = 0) -> list[Result]:
    return replica.execute(seen, operations, now_ms)[0]


def reason(result: Result) -> str:
    assert isinstance(result, Refused), result
    return f"{result.kind}: {result.reason}"


def test_what_is_put_is_there_at_once() -> None:
    one = replica()
    assert do(one, Get(b"k"), Put(b"k", b"v"), Get(b"k")) == [
        Found(None),
        Changed(pack(NOW), existed=False),
        Found(Entry(b"k", b"v", pack(NOW))),
    ]


def test_twenty_overwrites_are_read_back() -> None:
    one = replica()
    for count in range(20):
        assert do(one, Put(b"k", b"%d" % count), Get(b"k"))[1] == Found(
            Entry(b"k", b"%d" % count, pack(NOW, count))
        )


def test_an_empty_list_is_empty_and_nothing_else() -> None:
    assert do(replica(), List(), List(b"x"), Count()) == [Page(()), Page(()), Counted(0)]


def test_lists_are_in_the_order_of_bytes() -> None:
    one = replica()
    keys = [b"b", b"a/2", b"a/10", b"a", b"\xff", b"ab"]
    do(one, *(Put(key, b"v") for key in keys))

    def listed(*words: Any) -> list[bytes]:
        (page,) = do(one, List(*words))
        assert isinstance(page, Page)
        return [entry.key for entry in page.entries]

    assert listed() == sorted(keys)
    assert listed(b"a/") == [b"a/10", b"a/2"]
    assert listed(b"a", b"a/10") == [b"a/2", b"ab"]
    assert listed(b"a", b"", 2) == [b"a", b"a/10"]
    assert listed(b"zz") == []
    assert do(one, Count(b"a"), Count(b"")) == [Counted(4), Counted(6)]


def test_a_page_ends_by_its_limit_of_entries_or_of_bytes() -> None:
    one = replica(list_entries=3, list_bytes=100)
    do(
        one,
        *(Put(b"s%d" % n, b"v") for n in range(5)),
        *(Put(b"l%d" % n, b"v" * 60) for n in (1, 2)),
    )
    for prefix, limit, count, more in [
        (b"s", 9, 3, True),
        (b"s", 2, 2, True),
        (b"s3", 9, 1, False),
        (b"l", 9, 1, True),
        (b"l2", 1, 1, False),
    ]:
        (page,) = do(one, List(prefix, None, limit))
        assert isinstance(page, Page)
        assert (len(page.entries), page.more) == (count, more)
    assert reason(do(one, List(b"", None, 0))[0]).startswith("malformed")


def test_one_batch_gets_back_no_more_than_one_list() -> None:
    one = replica(batch_bytes=100)
    do(one, Put(b"k", b"v" * 60))
    results = do(one, *[Get(b"k")] * 4, List(), Put(b"l", b"v"), Get(b"none"))
    assert [type(result) for result in results] == [
        Found,
        Found,
        Refused,
        Refused,
        Refused,
        Changed,
        Found,
    ]
    assert isinstance(do(one, Get(b"k"))[0], Found)


def test_deleting() -> None:
    one = replica()
    assert do(one, Put(b"k", b"v"), Delete(b"k"), Get(b"k"), Delete(b"k"), Count()) == [
        Changed(pack(NOW), existed=False),
        Changed(pack(NOW, 1), existed=True),
        Found(None),
        Changed(pack(NOW, 2), existed=False),
        Counted(0),
    ]


def test_times_to_live() -> None:
    one = replica()
    do(one, Put(b"k", b"v", 100), Put(b"l", b"v"))
    assert do(one, Get(b"k"), now_ms=NOW + 40) == [Found(Entry(b"k", b"v", pack(NOW), 60))]
    assert do(one, Put(b"k", b"w", keep_ttl=True), Get(b"k"), now_ms=NOW + 50) == [
        Changed(pack(NOW + 50), existed=True),
        Found(Entry(b"k", b"w", pack(NOW + 50), 50)),
    ]
    assert do(one, Count(), now_ms=NOW + 99) == [Counted(2)]
    assert do(one, Get(b"k"), List(), Count(), now_ms=NOW + 100) == [
        Found(None),
        Page((Entry(b"l", b"v", pack(NOW, 1)),)),
        Counted(1),
    ]
    assert do(one, Expire(b"k", 5), Expire(b"l", 5), Get(b"l"), now_ms=NOW + 200) == [
        Changed(pack(NOW + 50), existed=False),
        Changed(pack(NOW + 200), existed=True),
        Found(Entry(b"l", b"v", pack(NOW + 200), 5)),
    ]
    assert do(one, Expire(b"l", None), Get(b"l"), now_ms=NOW + 201)[1] == Found(
        Entry(b"l", b"v", pack(NOW + 201))
    )
    assert do(one, Expire(b"l", 0), Get(b"l"), now_ms=NOW + 202)[1] == Found(None)


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (Put(b"", b"v"), "malformed: a key is empty"),
        (Put(b"123456789", b"v"), "limit: a key of 9 bytes is too long, the limit is 8"),
        (Delete(b"123456789"), "limit: a key of 9 bytes is too long, the limit is 8"),
        (Put(b"k", b"12345"), "limit: a value of 5 bytes is too long, the limit is 4"),
        (Put(b"k", b"v", 0), "malformed: a time to live is 1 to"),
        (Put(b"k", b"v", 1 << 60), "malformed: a time to live is 1 to"),
        (Put(b"k", b"v", 5, keep_ttl=True), "malformed: a new time to live cannot keep the old"),
        (Get(b""), "malformed: a key is empty"),
        (Expire(b"123456789", 5), "limit: a key of 9 bytes is too long"),
        (Put(b"k", b"v", lease=1), "unsupported: the eventual engine has no leases"),
        (Expire(b"k", 1 << 60), "malformed: a time to live is at most"),
        (Increment(b"k"), "unsupported: the eventual engine cannot do this"),
        (Append(b"k", b"v"), "unsupported: the eventual engine cannot do this"),
    ],
)
def test_what_is_refused_says_why_and_changes_nothing(operation: Operation, why: str) -> None:
    one = replica(key_bytes=8, value_bytes=4)
    (result,) = do(one, operation)
    assert reason(result).startswith(why)
    assert len(one.records) == 0
    assert one.feed.last == 0


def test_a_full_replica_refuses_new_keys_and_takes_deletes() -> None:
    one = replica(keys=2)
    do(one, Put(b"1", b"v"), Put(b"2", b"v"))
    refused, _, _ = do(one, Put(b"3", b"v"), Put(b"1", b"w"), Delete(b"2"))
    assert reason(refused) == "limit: the store is full"
    assert do(one, Count()) == [Counted(1)]


def test_bytes_are_bounded_too() -> None:
    one = replica(total_bytes=600)
    results = do(
        one, Put(b"1", b"v" * 300), Put(b"2", b"v" * 300), Put(b"1", b"v" * 400), Put(b"1", b"")
    )
    assert [type(result) for result in results] == [Changed, Refused, Refused, Changed]
    assert one.records.bytes == 257


def test_others_are_let_in_a_quarter_above_the_limit() -> None:
    one = replica(keys=4)
    rows = [(b"%d" % n, b"v", pack(NOW, n), OTHER, 0) for n in range(9)]
    assert one.merge(rows, NOW)[0] == [b"0", b"1", b"2", b"3", b"4"]
    assert one.statistics().refused_full == 4
    assert one.merge([(b"0", b"w", pack(NOW, 20), OTHER, 0)], NOW)[0] == [b"0"]


def test_a_long_batch_is_refused_as_a_whole() -> None:
    one = replica(operations=2)
    results = do(one, *[Put(b"k", b"v")] * 3)
    assert {reason(result) for result in results} == {"limit: a batch has at most 2 operations"}
    assert len(results) == 3
    assert len(one.records) == 0


def test_what_lists_of_tiny_entries_take_is_bounded() -> None:
    """Ten thousand lists in one batch would be ten million entries."""
    one = replica(batch_bytes=10_000)
    do(one, *[Put(b"%02d" % number, b"") for number in range(50)])
    results = do(one, *[List()] * 100, Get(b"01"))
    pages = [result for result in results if isinstance(result, Page)]
    assert len(pages) == 2
    assert reason(results[-1]).startswith("limit: a batch gets back about 10000 bytes")


def test_how_many_siblings_a_batch_replaces_is_bounded() -> None:
    one = replica(operations=20)
    contexts = [number.to_bytes(DOT_BYTES, "big") * 8 for number in range(3)]
    results = do(one, *[PutSibling(b"k", b"v", context) for context in contexts])
    assert reason(results[2]) == "limit: a batch replaces at most 20 siblings"
    assert [type(result) for result in results[:2]] == [Changed, Changed]
    assert isinstance(do(one, PutSibling(b"k", b"v", contexts[2]))[0], Changed)


# The client's clock


def test_a_write_is_later_than_what_its_client_has_read() -> None:
    one = replica()
    seen = pack(NOW + 5000, 3)
    assert do(one, Put(b"k", b"v"), seen=seen) == [Changed(seen + 1, existed=False)]


def test_a_clock_too_far_ahead_writes_nothing_and_reads_all() -> None:
    one = replica()
    do(one, Put(b"k", b"v"))
    far = pack(NOW + 700_000)
    results = do(one, Put(b"k", b"w"), Delete(b"k"), Expire(b"k", 1), Get(b"k"), seen=far)
    assert [type(result) for result in results] == [Refused, Refused, Refused, Found]
    assert do(one, Get(b"k"), Put(b"k", b"w"))[1] == Changed(pack(NOW, 1), existed=True)
    assert one.statistics().refused_ahead == 1


def test_a_server_whose_time_went_back_takes_no_writes_that_others_would_refuse() -> None:
    one = replica()
    do(one, Put(b"k", b"v"))
    (result,) = do(one, Put(b"k", b"w"), now_ms=NOW - 700_000)
    assert reason(result) == "limit: the clock of the client or of this server is too far ahead"


def test_a_replica_that_began_with_nothing_takes_what_was_there_before() -> None:
    """Also when a tombstone that it was told first has gone in the middle of that."""
    one = Replica(ME, HybridClock(), ReplicaLimits(grace_seconds=1), NOW)
    one.merge([(b"deleted", None, pack(NOW - 900), OTHER, 0)], NOW)
    one.sweep(NOW + 200)
    assert len(one.records) == 0
    news, late = one.merge([(b"old", b"v", pack(NOW - 5000), OTHER, 0)], NOW + 200)
    assert (news, late) == ([b"old"], [])
    one.merge([(b"deleted", None, pack(NOW + 300), OTHER, 0)], NOW + 300)
    one.sweep(NOW + 1300)
    assert one.merge([(b"late", b"v", pack(NOW + 250), OTHER, 0)], NOW + 1300)[0] == []


def test_a_feed_tells_of_an_end_that_another_replica_has_seen_first() -> None:
    one = replica()
    one.merge([(b"k", b"v", pack(NOW), OTHER, NOW + 5)], NOW)
    for _ in range(2):
        one.merge([(b"k", None, pack(NOW), OTHER, NOW + 5)], NOW + 4)
    one.sweep(NOW + 5)
    found, _ = one.feed.since(0, b"", 1000)
    end = (b"k", None, pack(NOW) + 1)
    assert [seen for _, seen in found] == [(b"k", b"v", pack(NOW)), end]


def test_a_feed_tells_of_a_delete_that_comes_when_the_time_is_over_as_well() -> None:
    one = replica()
    one.merge([(b"k", b"v", pack(NOW), OTHER, NOW + 5)], NOW)
    one.merge([(b"k", None, pack(NOW + 2), OTHER, 0)], NOW + 6)
    one.sweep(NOW + 7)
    found, _ = one.feed.since(0, b"", 1000)
    assert [seen for _, seen in found] == [(b"k", b"v", pack(NOW)), (b"k", None, pack(NOW + 2))]


def test_the_end_of_a_key_is_no_later_than_what_was_written_before_it_elsewhere() -> None:
    one = replica()
    one.merge([(b"k", b"v", pack(NOW), OTHER, NOW + 5)], NOW)
    one.sweep(NOW + 5)
    one.merge([(b"k", b"w", pack(NOW + 2), OTHER, 0)], NOW + 6)
    found, _ = one.feed.since(0, b"", 1000)
    versions = [version for _, (_, _, version) in found]
    assert versions == sorted(versions)


def test_statistics() -> None:
    one = replica()
    do(one, Put(b"k", b"v"), Put(b"l", b"v"), Delete(b"l"))
    row = (b"m", b"v", pack(NOW + 1), OTHER, 0)
    one.merge([row, row], NOW)
    counts = one.statistics()
    assert (counts.keys, counts.tombstones, counts.writes) == (2, 1, 3)
    assert (counts.merged, counts.redundant, counts.clock) == (1, 1, pack(NOW + 1))


# The feed


def test_a_feed_has_every_change_in_order() -> None:
    one = replica()
    do(one, Put(b"a", b"1"), Put(b"b", b"2", 50), Delete(b"a"), Delete(b"a"), Delete(b"none"))
    late, new = (b"a", b"late", pack(NOW - 9), OTHER, 0), (b"c", b"3", pack(NOW), OTHER, 0)
    one.merge([late, new, (b"absent", None, pack(NOW), OTHER, 0)], NOW)
    one.sweep(NOW + 50)
    changes, last = one.feed.since(0, b"", 1 << 20)
    assert [change[:2] for _, change in changes] == [
        (b"a", b"1"),
        (b"b", b"2"),
        (b"a", None),
        (b"c", b"3"),
        (b"b", None),
    ]
    assert last == one.feed.last == 5
    assert [number for number, _ in one.feed.since(1, b"b", 1 << 20)[0]] == [2, 5]
    assert one.feed.since(5, b"", 1 << 20) == ([], 5)


def test_a_feed_forgets_the_oldest() -> None:
    feed = Feed(3, 1000)
    for number in range(1, 6):
        feed.add(Record(b"k", b"%d" % number, number, OTHER, 0))
    assert (feed.last, feed.forgotten) == (5, 2)
    assert [number for number, _ in feed.since(2, b"", 1000)[0]] == [3, 4, 5]
    feed.add(Record(b"k", b"v" * 900, 6, OTHER, 0))
    assert feed.forgotten == 6
    assert list(feed.recent(0)) == []


def test_recent_changes_are_those_above_a_stamp() -> None:
    feed = Feed(10, 1000)
    for number in range(1, 6):
        feed.add(Record(b"%d" % number, None, number, OTHER, 0))
    assert list(feed.recent(3)) == [b"4", b"5"]


@given(st.lists(st.sampled_from([b"a1", b"a2", b"b1"]), max_size=20), st.integers(1, 400))
def test_a_feed_is_read_in_parts_of_any_size(keys: list[bytes], most_bytes: int) -> None:
    feed = Feed(100, 100_000)
    for number, key in enumerate(keys):
        feed.add(Record(key, b"v", number, OTHER, 0))
    place, found = 0, []
    while place < feed.last:
        changes, up_to = feed.since(place, b"a", most_bytes)
        assert up_to > place
        found += [seen[2] for _, seen in changes]
        place = up_to
    assert found == [number for number, key in enumerate(keys) if key.startswith(b"a")]


def test_limits_are_whole_numbers() -> None:
    for value in (0, True, 1.5):
        with pytest.raises(InvalidParameter, match="keys"):
            ReplicaLimits(keys=value)  # type: ignore[arg-type]
