"""The bytes that a Raft storage writes: records, pieces, and what they amount to."""

from functools import partial
from itertools import accumulate
from operator import attrgetter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import BadMessage, InvalidParameter, RaftViolated
from trio440.raft.acquaintance import Acquaintance
from trio440.raft.kept import BATCH_BYTES, Kept, beginning, replay
from trio440.raft.membership import LARGEST_STORE, Configuration
from trio440.raft.messages import Entry, EntryKind, HardState, SnapshotMeta
from trio440.raft.pieces import encode_head, encode_piece, read_head, read_pieces
from trio440.raft.ready import Ready
from trio440.raft.records import (
    Base,
    Compacted,
    Entries,
    Installed,
    Record,
    Saved,
    decode_meta,
    decode_record,
    encode_meta,
    encode_record,
)
from trio440.raft.storage import Stored, bootstrap

numbers = st.integers(0, 2**64 - 1)
stores = st.integers(0, LARGEST_STORE)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    pool = draw(st.lists(texts, max_size=8, unique=True))
    places = draw(st.lists(st.integers(0, 3), min_size=len(pool), max_size=len(pool)))
    groups = [[n for n, place in zip(pool, places, strict=True) if place == i] for i in range(4)]
    if not groups[0]:
        return Configuration()
    return Configuration(
        voters=groups[0],
        outgoing=groups[1] + groups[3],
        learners=groups[2],
        next_learners=groups[3],
        stores=draw(st.dictionaries(texts, stores, max_size=3)).items(),
    )


metas = st.builds(SnapshotMeta, numbers, numbers, configurations(), numbers, numbers)
acquaintances = st.builds(Acquaintance, texts, stores.filter(bool), st.booleans())
states = st.builds(HardState, numbers, st.none() | texts, numbers)


@st.composite
def batches(draw: st.DrawFn) -> Entries:
    """Entries of a few terms and kinds, with runs of the same among them."""
    first = draw(st.integers(0, 2**64 - 100))
    entries: list[Entry] = []
    for _ in range(draw(st.integers(1, 4))):
        term, kind = draw(numbers), draw(st.sampled_from(EntryKind))
        for data in draw(st.lists(st.binary(max_size=20), min_size=1, max_size=4)):
            entries.append(Entry(first + len(entries), term, data, kind))
    return Entries(tuple(entries))


records: st.SearchStrategy[Record] = st.one_of(
    states,
    batches(),
    st.builds(Compacted, numbers),
    st.builds(Saved, metas, numbers),
    st.builds(Installed, metas, numbers, st.booleans()),
    acquaintances,
    st.builds(
        Base,
        texts,
        texts,
        states,
        metas,
        numbers,
        numbers,
        numbers,
        numbers,
        st.lists(acquaintances, max_size=3, unique_by=attrgetter("id")).map(
            lambda found: tuple(sorted(found, key=attrgetter("id")))
        ),
    ),
)
MEMBERS = Configuration(voters=("a", "b"), learners=("c",))
META = SnapshotMeta(5, 2, MEMBERS, 10, 77)
BASE = Base("cluster", "node", HardState(1, "a", 0), SnapshotMeta(0, 0, MEMBERS), 0, 0, 0)


def entry(index: int, term: int) -> bytes:
    return encode_record(Entries((Entry(index, term),)))


@given(records)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert decode_record(encode_record(record)) == record


@given(metas)
def test_a_meta_comes_back_as_it_was(meta: SnapshotMeta) -> None:
    assert decode_meta(encode_meta(meta)) == meta
    with pytest.raises(BadMessage, match="something follows"):
        decode_meta(encode_meta(meta) + b"\0")


@given(st.binary(max_size=60))
def test_garbage_is_refused_or_is_the_one_way_to_write_a_record(data: bytes) -> None:
    try:
        record = decode_record(data)
    except BadMessage:
        return
    assert encode_record(record) == data


@given(records, st.data())
def test_a_changed_record_is_refused_or_is_the_one_way_to_write_another(
    record: Record, data: st.DataObject
) -> None:
    good = encode_record(record)
    place = data.draw(st.integers(0, len(good) - 1))
    bad = good[:place] + bytes([data.draw(st.integers(0, 255))]) + good[place + 1 :]
    try:
        found = decode_record(bad)
    except BadMessage:
        return
    assert encode_record(found) == bad


@given(records)
def test_a_record_that_is_cut_short_is_refused(record: Record) -> None:
    data = encode_record(record)
    for end in range(len(data)):
        with pytest.raises(BadMessage, match="this is no"):
            decode_record(data[:end])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\2" + encode_record(Saved(META, 1))[1:], "of version 2"),
        (b"\1\x09", "unknown kind 9"),
        (entry(1, 1)[:-5] + b"\7" + bytes(4), "unknown kind 7"),
        (entry(1, 1)[:5] + b"\1" + entry(1, 1)[6:] + b"x", "lengths"),
        (entry(1, 1) + b"x", "lengths"),
        (b"\1\3" + bytes(8) + b"\xff\xff\xff\xff" + bytes(4), "cut short"),
        (b"\1\3" + bytes(8) + bytes(4) + b"\xff\xff\xff\xff", "cut short"),
        (b"\1\3" + bytes(16), "lengths"),
        (encode_record(HardState(1, "a", 2)) + b"x", "something follows"),
        (encode_record(HardState(1, None, 2))[:-1] + b"\2", "neither"),
        (encode_record(HardState(1, "a", 2))[:-1] + b"\xff", "no text"),
        (encode_record(Saved(META, 1)).replace(b"\0\1a\0\1b", b"\0\1b\0\1a"), "order"),
        (encode_record(Saved(META, 1)).replace(b"\0\1c", b"\0\1a"), "learners"),
        (encode_record(Acquaintance("a", 1))[:-9] + bytes(9), "no store has the number 0"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, problem: str) -> None:
    with pytest.raises(BadMessage, match=problem):
        decode_record(data)


@pytest.mark.parametrize(
    "record",
    [
        HardState(-1),
        HardState(1, "x" * 65536),
        HardState(1, "\ud800"),
        Entries((Entry(1 << 64, 1),)),
        Saved(attrs.evolve(META, size=-1), 1),
    ],
)
def test_what_has_no_bytes_is_refused(record: Record) -> None:
    with pytest.raises(InvalidParameter):
        encode_record(record)


# Pieces


class Bytes:
    """A file in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def write_pieces(meta: SnapshotMeta, parts: list[bytes], number: int = 3) -> bytes:
    data, head = encode_head(meta, number)
    offsets = accumulate(map(len, parts), initial=0)
    return data + b"".join(map(partial(encode_piece, head), offsets, parts))


def read_back(data: bytes) -> list[bytes] | None:
    read = Bytes(data).read
    head = read_head(read)
    return None if head is None else [piece.data for piece in read_pieces(head, read)]


@given(metas, st.lists(st.binary(max_size=9), max_size=5))
def test_pieces_come_back(meta: SnapshotMeta, parts: list[bytes]) -> None:
    meta = attrs.evolve(meta, size=sum(map(len, parts)))
    assert read_back(write_pieces(meta, parts)) == parts


def test_every_flipped_bit_ends_the_pieces_before_it() -> None:
    parts = [b"one", b"", b"three"]
    good = write_pieces(attrs.evolve(META, size=8), parts)
    sizes = [len(write_pieces(attrs.evolve(META, size=8), parts[:n])) for n in range(4)]
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        expected = None if bit < 8 * sizes[0] else parts[: sum(8 * s <= bit for s in sizes) - 1]
        assert read_back(bytes(bad)) == expected, bit
    for end in range(len(good)):
        expected = None if end < sizes[0] else parts[: sum(s <= end for s in sizes) - 1]
        assert read_back(good[:end]) == expected, end


def test_pieces_of_another_file_do_not_fit() -> None:
    meta = attrs.evolve(META, size=6)
    one, other = (write_pieces(meta, [b"abc", b"def"], number) for number in (1, 2))
    middle = len(write_pieces(meta, [b"abc"]))
    assert read_back(one[:middle] + other[middle:]) == [b"abc"]
    assert read_back(write_pieces(attrs.evolve(meta, size=5), [b"abc", b"def"])) == [b"abc"]


# What records amount to


def follow(*items: Record | Entry) -> Kept:
    records = [Entries((item,)) if isinstance(item, Entry) else item for item in items]
    return replay(encode_record(BASE), 1, map(encode_record, records))


def test_records_are_followed() -> None:
    kept = follow(Entry(1, 1), Entry(2, 1), HardState(2, "b", 1), Entry(2, 2, b"x"), Entry(3, 2))
    assert kept.entries == [Entry(1, 1), Entry(2, 2, b"x"), Entry(3, 2)]
    assert (kept.place, kept.dispensable, kept.last_index) == (6, 1, 3)
    assert kept.hard_state == HardState(2, "b", 1)
    assert kept.compact(1)
    assert kept.dispensable == 4
    assert not kept.compact(1)
    kept.take(Compacted(1), 7)
    assert kept.index == 1
    again = replay(encode_record(kept.compacted()), 4, [encode_record(Entries(kept.entries))])
    assert (again.index, again.term, again.entries) == (1, 1, kept.entries)


def test_the_last_that_was_noted_of_a_peer_counts_and_outlasts_compaction() -> None:
    b, c = Acquaintance("b", 5, met=True), Acquaintance("c", 7)
    kept = follow(c, Acquaintance("b", 5), Entries((Entry(1, 1),)), b)
    assert kept.compact(1)
    base = kept.compacted()
    assert base.acquaintances == (b, c)
    again = replay(encode_record(base), kept.dispensable, [])
    assert again.stored(HardState(), None).acquaintances == (b, c)
    assert replay(encode_record(base), 4, [encode_record(c)]).compacted() == base


def test_what_was_given_up_is_not_needed() -> None:
    """Records that are older than the one that stands for them change nothing behind it."""
    items: list[Record] = [Entries((Entry(i, 1), Entry(i + 1, 1))) for i in range(1, 9, 2)]
    items += [
        Saved(SnapshotMeta(4, 1, MEMBERS), 1),
        Installed(SnapshotMeta(5, 1, MEMBERS), 2, True),
    ]
    kept = follow(*items)
    assert (kept.index, kept.snapshot.index, kept.file) == (5, 5, 2)
    rest = items[kept.dispensable - 1 :]
    assert rest[0] == Entries((Entry(5, 1), Entry(6, 1)))
    again = replay(
        encode_record(kept.compacted()), kept.dispensable, [encode_record(item) for item in rest]
    )
    assert again.compacted() == kept.compacted()
    assert again.entries == kept.entries
    assert again.place == kept.place


@pytest.mark.parametrize("items", [[Entry(2, 1)], [Entry(1, 1), Entry(3, 1)], [BASE]])
def test_records_that_do_not_follow_are_refused(items: list[Record | Entry]) -> None:
    with pytest.raises(BadMessage, match=f"record {len(items) + 1}"):
        follow(*items)


def test_a_log_without_a_beginning_is_refused() -> None:
    with pytest.raises(BadMessage, match="where the log begins"):
        replay(encode_record(Entries((Entry(1, 1),))), 1, [])


# Which records come next


def ready(*entries: Entry, state: HardState | None = None, must_sync: bool = False) -> Ready:
    return Ready(state, entries, must_sync, (), None, (), (), (), (), ())


def test_readys_are_one_run_of_records_with_the_last_state_behind_them() -> None:
    kept = follow(HardState(1, "a"), Entry(1, 1))
    one = ready(Entry(2, 1), state=HardState(2, None, 1), must_sync=True)
    two = ready(Entry(2, 2), Entry(3, 2), state=HardState(2, "b", 1))
    last = HardState(2, "b", 1)
    records = [Entries((Entry(2, 1),)), Entries((Entry(2, 2), Entry(3, 2))), last]
    assert kept.plan([one, two], kept.hard_state) == (last, records)
    assert kept.plan([ready(must_sync=True)], kept.hard_state) == (kept.hard_state, [])
    assert (kept.last_index, kept.hard_state) == (1, HardState(1, "a"))


def test_a_commit_alone_is_not_kept_and_a_vote_is() -> None:
    kept = follow(HardState(1), Entry(1, 1))
    grown = HardState(1, None, 1)
    assert kept.plan([ready(state=grown)], kept.hard_state) == (grown, None)
    assert kept.plan([ready()], grown) == (grown, None)
    voted = HardState(1, "b", 1)
    assert kept.plan([ready(state=voted)], grown) == (voted, [voted])
    later = HardState(2)
    assert kept.plan([ready(state=later)], grown) == (later, [later])
    assert kept.plan([ready(Entry(2, 1))], grown) == (grown, [Entries((Entry(2, 1),)), grown])


def test_entries_are_split_between_records() -> None:
    half = bytes(BATCH_BYTES // 2 + 1)
    parts = [Entries((Entry(number, 1, half),)) for number in (1, 2)]
    entries = (Entry(1, 1, half), Entry(2, 1, half))
    kept = follow()
    assert kept.plan([ready(*entries)], kept.hard_state) == (kept.hard_state, parts)
    start = attrs.evolve(bootstrap(("a", "b")), entries=entries)
    assert beginning("c1", "a", start)[1] == parts


@pytest.mark.parametrize(
    ("batch", "problem"),
    [
        ([ready(state=HardState(1))], "would follow"),
        ([ready(state=HardState(2, "b"))], "would follow"),
        ([ready(state=HardState(3, "b")), ready(state=HardState(3, "a"))], "would follow"),
        ([ready(Entry(3, 2))], "follows no other"),
        ([ready(Entry(2, 2)), ready(Entry(4, 2))], "follows no other"),
        ([ready(Entry(2, 2), Entry(4, 2))], "in the place of 3"),
    ],
)
def test_what_no_sound_node_says_is_not_kept(batch: list[Ready], problem: str) -> None:
    kept = follow(HardState(2, "a"), Entry(1, 1))
    with pytest.raises(RaftViolated, match=problem):
        kept.plan(batch, kept.hard_state)


def test_a_beginning_is_followed() -> None:
    entries = (Entry(6, 2), Entry(7, 3))
    start = Stored(
        snapshot=SnapshotMeta(7, 3, MEMBERS),
        hard_state=HardState(3, "a", 7),
        entries=entries,
        base_index=5,
        base_term=2,
        store=9,
    )
    first, more = beginning("c1", "a", start)
    assert (first.cluster, first.node, first.index, first.term) == ("c1", "a", 5, 2)
    again = replay(encode_record(first), 1, map(encode_record, more))
    assert again.stored(again.hard_state, None) == start
    with pytest.raises(RaftViolated, match="entry 7 follows no other"):
        beginning("c1", "a", attrs.evolve(start, entries=entries[1:]))
