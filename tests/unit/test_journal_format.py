"""The bytes of a journal, and the rules by which they are read."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import JournalCorrupt
from trio440.journal import format as form
from trio440.journal.format import (
    FRAME_HEAD_BYTES,
    NO_FRAME,
    SEGMENT_HEADER_BYTES,
    Kind,
    SegmentHeader,
    Snapshot,
    decode_snapshot,
    encode_frame,
    encode_segment_header,
    encode_snapshot,
    join_records,
    next_salt,
    scan_segment,
    segment_name,
    segment_sequence,
    snapshot_index,
    snapshot_name,
    split_records,
)
from trio440.journal.recovery import Recovery, recover

SALT = b"saltsalt"


@attrs.define
class Writer:
    """Writes segments as the journal does, one frame after the other."""

    files: dict[str, bytes] = attrs.Factory(dict)
    salt: bytes = SALT
    name: str = ""
    sequence: int = 1
    last: int = 0
    synced: int = 0
    previous: bytes = NO_FRAME

    def begin(self) -> "Writer":
        self.name = segment_name(self.sequence)
        header = SegmentHeader(self.sequence, self.last, self.previous, self.salt)
        self.files[self.name] = encode_segment_header(header)
        return self

    def frame(self, kind: Kind, body: bytes = b"", *, index: int, count: int = 0) -> "Writer":
        data, self.previous = encode_frame(
            kind,
            body,
            count=count,
            sequence=self.sequence,
            index=index,
            synced=self.synced,
            previous=self.previous,
            salt=self.salt,
        )
        self.files[self.name] += data
        self.sequence += 1
        return self

    def records(self, *records: bytes, sync: bool = True) -> "Writer":
        body = join_records(records)
        self.frame(Kind.RECORDS, body, index=self.last + 1, count=len(records))
        self.last += len(records)
        return self.sync() if sync else self

    def sync(self) -> "Writer":
        self.synced = self.sequence - 1
        return self

    def resume(self, index: int) -> "Writer":
        self.last = index
        return self.frame(Kind.RESUME, index=index).sync()

    def rotate(self, *, begin: bool = True, seal: bool = True) -> "Writer":
        if seal:
            self.frame(Kind.SEAL, index=self.last).sync()
        self.salt = next_salt(self.salt, self.previous)
        return self.begin() if begin else self

    def snapshot(self, index: int, *, first_sequence: int = 1, data: bytes = b"") -> "Writer":
        self.files[snapshot_name(index)] = encode_snapshot(Snapshot(index, first_sequence, data))
        return self

    def recover(self) -> Recovery:
        return recovered(self.files)


def recovered(files: Mapping[str, bytes]) -> Recovery:
    return recover("/dir", sorted(files), files.__getitem__)


def refused(files: Mapping[str, bytes], name: str, offset: int, problem: str) -> None:
    with pytest.raises(JournalCorrupt) as caught:
        recovered(files)
    text = f"/dir/{name} is damaged at byte {offset}: "
    assert str(caught.value).startswith(text)
    assert problem in str(caught.value)
    assert (caught.value.path, caught.value.offset) == (f"/dir/{name}", offset)


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


# The form


def test_the_form_does_not_change() -> None:
    """These bytes are on the disks of users: another form needs another version."""
    header = encode_segment_header(SegmentHeader(3, 7, b"previous", SALT))
    assert header[:-8].hex() == (
        "743434302d6c6f67010000000000000003000000000000000700000000000000"
        "70726576696f757373616c7473616c74"
    )
    frame, check = encode_frame(
        Kind.RECORDS,
        join_records([b"ab", b"", b"c"]),
        count=3,
        sequence=9,
        index=4,
        synced=8,
        previous=b"previous",
        salt=SALT,
    )
    assert frame[:48].hex() == (
        "f440667201000000"  # the mark, the kind
        "0f00000003000000"  # the length, the count
        "090000000000000004000000000000000800000000000000"  # sequence, index, synced
        "70726576696f7573"
    )
    assert frame[56:64] == check
    assert frame[64:] == bytes.fromhex("020000000000000001000000") + b"abc"
    assert (SEGMENT_HEADER_BYTES, FRAME_HEAD_BYTES) == (56, 64)
    assert encode_snapshot(Snapshot(5, 2, b"state"))[:40].hex() == (
        "743434302d736e700100000000000000050000000000000002000000000000000500000000000000"
    )
    assert header[-8:].hex() == "cc95b81a1739ed4c"
    assert check.hex() == "fc701a34afe97f5c"


def test_names() -> None:
    assert segment_name(12) == "segment-00000000000000000012"
    assert segment_sequence(segment_name(12)) == 12
    assert snapshot_name(3) == "snapshot-00000000000000000003"
    assert snapshot_index(snapshot_name(3)) == 3
    for name in ("LOCK", "segment-12", "segment-0000000000000000000x", segment_name(1) + ".tmp"):
        assert segment_sequence(name) is None
        assert snapshot_index(name) is None
    assert segment_sequence(snapshot_name(1)) is None


@given(st.lists(st.binary(max_size=20)), st.binary(max_size=5))
def test_records_come_back(records: list[bytes], before: bytes) -> None:
    writer = Writer().begin().records(*records)
    data = writer.files[writer.name]
    [(head, body_at)] = scan_segment(data).frames
    assert split_records(data, body_at, head) == records
    body = join_records(records)
    assert split_records(before + body, len(before), head) == records


def test_records_that_do_not_fit_their_frame() -> None:
    writer = Writer().begin().records(b"ab")
    data = writer.files[writer.name]
    [(head, body_at)] = scan_segment(data).frames
    for wrong in (attrs.evolve(head, count=2), attrs.evolve(head, count=0)):
        assert split_records(data, body_at, wrong) is None
    assert split_records(data, body_at, attrs.evolve(head, count=1000)) is None


@given(st.binary(max_size=100), st.integers(0, 2**63), st.integers(1, 2**63))
def test_a_snapshot_comes_back(data: bytes, index: int, first: int) -> None:
    snapshot = Snapshot(index, first, data)
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


@given(st.data())
def test_a_damaged_snapshot_is_noticed(data: st.DataObject) -> None:
    encoded = encode_snapshot(Snapshot(3, 1, b"state of affairs"))
    place, bit = data.draw(st.integers(0, len(encoded) - 1)), data.draw(st.integers(0, 7))
    assert isinstance(decode_snapshot(flipped(encoded, place, bit)), str)
    assert isinstance(decode_snapshot(encoded[:place]), str)
    assert isinstance(decode_snapshot(encoded + b"x"), str)


@given(st.lists(st.lists(st.binary(max_size=9), max_size=3), max_size=6), st.data())
def test_a_scan_returns_what_was_written_before_the_damage(
    batches: list[list[bytes]], data: st.DataObject
) -> None:
    writer = Writer().begin()
    ends = [SEGMENT_HEADER_BYTES]
    ends += [len(writer.records(*batch).files[writer.name]) for batch in batches]
    content = writer.files[writer.name]
    whole = scan_segment(content)
    assert (whole.end, whole.problem, whole.synced_beyond) == (len(content), "", False)
    assert len(whole.frames) == len(batches)
    place = data.draw(st.integers(0, len(content) - 1))
    scan = scan_segment(flipped(content, place, data.draw(st.integers(0, 7))))
    if place < SEGMENT_HEADER_BYTES:
        assert scan.header is None
        return
    sound = max(end for end in ends if end <= place)
    assert (scan.end, scan.frames) == (sound, whole.frames[: ends.index(sound)])
    assert scan.problem
    assert scan.synced_beyond == (sound < ends[-2])


# Recovery


def test_nothing() -> None:
    found = recovered({"LOCK": b"", "notes.txt": b"mine"})
    assert (found.records, found.last_index, found.next_sequence) == ([], 0, 1)
    assert (found.tail, found.segments, found.leftovers) == (None, (), ())


def test_records_over_segments() -> None:
    writer = Writer().begin().records(b"1", b"2").rotate().records(b"3").rotate().records(b"4")
    found = writer.recover()
    assert found.records == [b"1", b"2", b"3", b"4"]
    assert [(s.sequence, s.highest) for s in found.segments] == [(1, 2), (3, 3), (5, 4)]
    assert (found.last_index, found.next_sequence) == (4, 6)
    assert found.tail is not None
    assert found.tail.content == writer.files[writer.name]


@pytest.mark.parametrize("cut", [1, FRAME_HEAD_BYTES - 1, FRAME_HEAD_BYTES, FRAME_HEAD_BYTES + 5])
def test_a_torn_end_is_cut_off(cut: int) -> None:
    writer = Writer().begin().records(b"kept")
    sound = writer.files[writer.name]
    writer.records(b"torn", sync=False)
    writer.files[writer.name] = writer.files[writer.name][: len(sound) + cut]
    found = writer.recover()
    assert found.records == [b"kept"]
    assert found.tail is not None
    assert (found.tail.content, found.tail.torn_bytes) == (sound, cut)


def test_a_torn_write_that_left_its_end_is_cut_off() -> None:
    """Frames behind the damage that were written with it say nothing about it."""
    writer = Writer().begin().records(b"kept")
    at = len(writer.files[writer.name])
    writer.records(b"one", sync=False).records(b"two", sync=False)
    writer.files[writer.name] = flipped(writer.files[writer.name], at + 3)
    assert writer.recover().records == [b"kept"]


@pytest.mark.parametrize("place", [0, 10, 40, FRAME_HEAD_BYTES - 1, FRAME_HEAD_BYTES + 4])
def test_damage_before_a_frame_that_says_it_was_synced_is_refused(place: int) -> None:
    writer = Writer().begin().records(b"one")
    at = len(writer.files[writer.name])
    writer.records(b"two").frame(Kind.MARK, index=2)
    damaged = {writer.name: flipped(writer.files[writer.name], at + place)}
    refused(damaged, writer.name, at, "and had been synced")


def test_the_head_alone_of_a_later_frame_is_enough() -> None:
    writer = Writer().begin().records(b"one")
    at = len(writer.files[writer.name])
    writer.records(b"two").records(b"three")
    data = flipped(flipped(writer.files[writer.name], at + 1), len(writer.files[writer.name]) - 1)
    refused({writer.name: data}, writer.name, at, "and had been synced")


def test_a_frame_missing_repeated_or_exchanged_is_refused() -> None:
    writer = Writer().begin()
    ends = [len(writer.files[writer.name])]
    ends += [len(writer.records(b"%d" % n).files[writer.name]) for n in range(4)]
    data = writer.files[writer.name]
    head, *frames = [data[: ends[0]], *(data[a:b] for a, b in pairwise(ends))]
    for order, bad in (([0, 2, 3], 1), ([0, 0, 1, 2, 3], 1), ([0, 2, 1, 3], 1), ([1, 2, 3], 0)):
        mixed = head + b"".join(frames[number] for number in order)
        refused({writer.name: mixed}, writer.name, ends[bad], "does not follow")


def test_frames_of_another_journal_do_not_fit() -> None:
    one = Writer().begin().records(b"one")
    two = Writer(salt=b"pepper!!").begin().records(b"one").records(b"two")
    at = len(one.files[one.name])
    mixed = one.files[one.name] + two.files[one.name][at:]
    found = recovered({one.name: mixed})
    assert (found.records, found.tail and found.tail.torn_bytes) == ([b"one"], len(mixed) - at)


def test_damage_to_a_sealed_segment_is_refused() -> None:
    writer = Writer().begin().records(b"one")
    first, seal = writer.name, len(writer.files[writer.name])
    writer.rotate().records(b"two")
    for place, problem in (
        (0, "checksum of the segment's header"),
        (SEGMENT_HEADER_BYTES, "had been synced"),
        (seal, "and another follows"),
        (seal + 20, "and another follows"),
    ):
        damaged = {**writer.files, first: flipped(writer.files[first], place)}
        at = 0 if place == 0 else place if place == SEGMENT_HEADER_BYTES else seal
        refused(damaged, first, at, problem)
    longer = {**writer.files, first: writer.files[first] + b"x"}
    refused(longer, first, len(writer.files[first]), "bytes follow the seal")
    shorter = {**writer.files, first: writer.files[first][:seal]}
    refused(shorter, first, seal, "does not end in a seal, and another follows")


def test_a_missing_segment_is_refused() -> None:
    writer = Writer().begin().records(b"1").rotate().records(b"2").rotate().records(b"3")
    for name in sorted(writer.files):
        rest = {other: data for other, data in writer.files.items() if other != name}
        problem = "missing" if name == writer.name else "is there, but not this one"
        refused(rest, name, 0, problem)


def test_a_segment_of_another_journal_is_refused() -> None:
    writer = Writer().begin().records(b"1").rotate().records(b"2")
    other = Writer(salt=b"pepper!!").begin().records(b"9").rotate().records(b"8")
    mixed = {**writer.files, other.name: other.files[other.name]}
    refused(mixed, other.name, 0, "does not continue the one before it")


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize("length", [0, 5, SEGMENT_HEADER_BYTES])
def test_an_interrupted_rotation_is_undone(seal: bool, length: int) -> None:
    writer = Writer().begin().records(b"1")
    sound, check = writer.files[writer.name], writer.previous
    old = writer.name
    if seal:
        writer.rotate()
    else:
        writer.files |= attrs.evolve(writer, files={}, sequence=3).begin().files
    [new] = set(writer.files) - {old}
    writer.files[new] = writer.files[new][:length]
    found = writer.recover()
    assert (found.records, found.leftovers) == ([b"1"], (new,))
    assert (found.next_sequence, found.previous) == (2, check)
    assert found.tail is not None
    assert found.tail.content == sound


def test_a_removed_segment_that_is_back_is_left_over() -> None:
    """A removal that a power cut undid, long after: its header alone, out of order."""
    writer = Writer().begin().records(b"1")
    ghost = Writer(sequence=3, last=1).begin()
    writer.records(b"2").records(b"3").records(b"4").rotate().records(b"5")
    found = recovered(writer.files | ghost.files)
    assert found.records == [b"1", b"2", b"3", b"4", b"5"]
    assert found.leftovers == (ghost.name,)


def test_a_truncation_holds() -> None:
    writer = Writer().begin().records(b"1", b"2", b"3").resume(1).records(b"two").resume(1)
    writer.records(b"zwei", b"drei")
    found = writer.recover()
    assert (found.records, found.last_index) == ([b"1", b"zwei", b"drei"], 3)
    assert found.segments[0].highest == 3


def test_a_snapshot_stands_for_records() -> None:
    writer = Writer().begin().records(b"1", b"2", b"3").snapshot(2, data=b"12")
    found = writer.recover()
    assert found.snapshot is not None
    assert (found.snapshot.data, found.records, found.last_index) == (b"12", [b"3"], 3)
    assert not found.snapshot_confirmed
    writer.frame(Kind.KEPT, index=2)
    assert writer.recover().snapshot_confirmed
    writer.snapshot(3, data=b"123")
    found = writer.recover()
    assert (found.records, found.last_index) == ([], 3)
    assert found.leftovers == (snapshot_name(2),)
    assert not found.snapshot_confirmed


def test_a_snapshot_may_be_past_the_end() -> None:
    writer = Writer().begin().records(b"1").snapshot(9, data=b"x")
    found = writer.recover()
    assert (found.records, found.last_index) == ([], 9)
    found = writer.resume(9).records(b"ten").recover()
    assert (found.records, found.last_index) == ([b"ten"], 10)
    del writer.files[snapshot_name(9)]
    end = len(writer.files[writer.name])
    refused(writer.files, writer.name, end, "the snapshot up to index 9 is missing")


def test_truncations_below_the_snapshot_were_before_it() -> None:
    writer = Writer().begin().records(b"1", b"2", b"3", b"4").resume(1)
    writer.records(b"B", b"C", b"D", b"E").snapshot(3)
    assert writer.recover().records == [b"D", b"E"]


def test_segments_before_the_snapshot_are_left_over_in_any_combination() -> None:
    writer = Writer().begin().records(b"1").rotate().records(b"2").rotate().records(b"3")
    old = sorted(writer.files)[:2]
    writer.snapshot(2, first_sequence=5)
    gone: Sequence[str]
    for gone in ((), old[:1], old[1:], old):
        files = {name: data for name, data in writer.files.items() if name not in gone}
        found = recovered(files)
        assert (found.records, found.last_index) == ([b"3"], 3)
        assert set(found.leftovers) == set(old) - set(gone)
    del writer.files[segment_name(5)]
    refused(writer.files, segment_name(5), 0, "missing")
    del writer.files[snapshot_name(2)]
    refused({segment_name(5): b""}, segment_name(5), 0, "the first segment has no frames")


def test_a_missing_snapshot_is_refused() -> None:
    writer = Writer().begin().records(b"1").rotate().records(b"2")
    refused({writer.name: writer.files[writer.name]}, segment_name(1), 0, "but not this one")


def test_a_snapshot_under_another_name_is_refused() -> None:
    writer = Writer().begin().records(b"1", b"2").snapshot(1)
    files = {**writer.files, snapshot_name(2): writer.files[snapshot_name(1)]}
    refused(files, snapshot_name(2), 0, "it is the snapshot up to index 1")


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Writer().begin().records(b"1").snapshot(1)
    with monkeypatch.context() as later:
        later.setattr(form, "VERSION", 2)
        newer = Writer().begin().records(b"1").snapshot(1)
    for name in (sound.name, snapshot_name(1)):
        files = {**sound.files, name: newer.files[name]}
        refused(files, name, 0, "its format is version 2, this program reads 1")


def test_temporary_files_are_left_over() -> None:
    writer = Writer().begin().records(b"1")
    files = {**writer.files, "snapshot-00000000000000000001.tmp": b"half"}
    assert recovered(files).leftovers == ("snapshot-00000000000000000001.tmp",)


def test_records_out_of_order_under_sound_checks_are_refused() -> None:
    writer = Writer().begin().records(b"1")
    at = len(writer.files[writer.name])
    writer.frame(Kind.RECORDS, join_records([b"3"]), index=3, count=1)
    refused(writer.files, writer.name, at + FRAME_HEAD_BYTES, "the records of a frame do not fit")


def test_an_unknown_kind_is_not_read() -> None:
    data, _ = encode_frame(
        9,  # type: ignore[arg-type]
        sequence=1,
        index=0,
        synced=0,
        previous=NO_FRAME,
        salt=SALT,
    )
    writer = Writer().begin()
    scan = scan_segment(writer.files[writer.name] + data)
    assert re.search("unknown kind 9", scan.problem)
