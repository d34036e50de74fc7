"""What goes over a link: parcels, and the two streams of them."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.actors.cluster import Node
from trio440.actors.remote import parcels as module
from trio440.actors.remote.incoming import Incoming
from trio440.actors.remote.outgoing import MOST_OWN_BYTES, STRANGER_OWN_BYTES, Item, Note, Outgoing
from trio440.actors.remote.parcels import (
    BATCH_BYTES,
    MOST_PARCELS,
    Answered,
    Asked,
    Batch,
    Ended,
    Failed,
    Parcel,
    Received,
    Shared,
    Stop,
    Told,
    Unwatch,
    Watch,
    decode_plain_untrusted,
    decode_untrusted,
    encode,
    encode_plain,
    join,
    shown,
)
from trio440.actors.remote.receiving import MOST_SENDERS, Receiver
from trio440.errors import BadMessage
from trio440.rpc import Identity, Peer
from trio440.wire.codec import INT64_MAX, Codec

numbers = st.integers(0, INT64_MAX)
counters = st.integers(1, INT64_MAX)
texts = st.text(max_size=20)
bodies = st.binary(max_size=20)
some_parcels: st.SearchStrategy[Parcel] = st.one_of(
    st.builds(Told, counters, numbers, numbers, texts, counters, bodies),
    st.builds(Asked, counters, numbers, numbers, texts, counters, bodies, counters, numbers),
    st.builds(Answered, counters, numbers, texts, counters, bodies),
    st.builds(Failed, counters, numbers, texts, numbers, numbers, texts),
    st.builds(Watch, counters, counters, numbers),
    st.builds(Unwatch, counters, numbers),
    st.builds(Ended, counters, numbers, texts, texts),
    st.builds(Stop, counters, numbers, st.booleans(), numbers),
    st.builds(Shared, numbers, bodies),
    st.builds(Received, numbers, numbers, numbers),
)

# Parcels


@given(st.lists(some_parcels, max_size=5))
def test_parcels_come_back_in_their_order(some: list[Parcel]) -> None:
    assert decode_untrusted(join([encode(parcel) for parcel in some])) == some


@given(st.lists(some_parcels, min_size=1, max_size=3), st.integers(0), st.integers(1, 255))
def test_damaged_parcels_are_parcels_or_bad_ones(some: list[Parcel], place: int, bits: int) -> None:
    data = bytearray(join([encode(parcel) for parcel in some]))
    data[place % len(data)] ^= bits
    for damaged in (bytes(data), bytes(data[: place % len(data)])):
        try:
            found = decode_untrusted(damaged)
        except BadMessage:
            continue
        assert all(isinstance(parcel, msgspec.Struct) for parcel in found)


@pytest.mark.parametrize("value", [None, True, 7, -(1 << 63), INT64_MAX, 1.5, "é", b"\xff"])
def test_plain_values_come_back(value: Any) -> None:
    found = decode_plain_untrusted(encode_plain(value))
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("data", [b"", b"\x91\x01", b"\x80", b"\xcf" + b"\xff" * 8, b"\xc1"])
def test_what_is_no_plain_value_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_plain_untrusted(data)


def test_more_parcels_than_a_batch_may_have_are_refused_unread() -> None:
    most = [encode(Received(0, 1, 1))] * MOST_PARCELS
    assert len(decode_untrusted(join(most))) == MOST_PARCELS
    for data in (join([*most, most[0]]), b"\xdd\xff\xff\xff\xff", b"\xdc\x00\x00", b"\x90"):
        with pytest.raises(BadMessage, match="at most 1000"):
            decode_untrusted(data)


def test_texts_that_are_no_unicode_can_be_sent() -> None:
    assert shown("a\udcffb" + "x" * 1000) == "a?b" + "x" * 397
    assert decode_untrusted(join([encode(Ended(1, 1, "crashed", shown("\ud800")))]))


def test_a_batch_takes_little_beside_its_parcels() -> None:
    batch = Batch(INT64_MAX, INT64_MAX, INT64_MAX, sure=False, parcels=join([b"x" * 100_000]))
    assert len(Codec(Batch).encode(batch)) + len("actors.deliver") <= 100_000 + BATCH_BYTES


# Streams


def item(number: int, *, sure: bool, life: int = 0, size: int = 0) -> Item:
    ref: Any = None
    return Item(encode(Received(0, 1, number)) + b"", life, sure=sure, note=Note(ref, size, None))


class Line:
    """A sender and a receiver, with connections between them that lose what they carry."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.out = Outgoing(1, 10_000, 1 << 20)
        self.incoming = Incoming(1)
        self.got: list[int] = []
        self.carried: list[list[Batch]] = [[]]
        self.out.connected(1)

    def reconnect(self) -> None:
        old = self.carried[-1]
        keep = self.rng.randint(0, len(old))  # of the old connection some may still come, late
        del old[keep:]
        self.carried.append([])
        assert self.out.connected(1) == []

    def send(self) -> None:
        if (batch := self.out.take()) is not None:
            self.carried[-1].append(batch)

    def arrive(self) -> None:
        lines = [line for line in self.carried if line]
        if not lines:
            return
        batch = self.rng.choice(lines).pop(0)
        found: list[Any] = decode_untrusted(batch.parcels)
        if batch.sure:
            found = found[self.incoming.admit_sure(batch.first, len(found)) :]
            if self.rng.random() < 0.7:
                self.out.received(self.incoming.sure, 1, 1)
        elif not self.incoming.admit_casual(batch.first, len(found)):
            found = []
        self.got += [each.number for each in found]


@given(st.randoms(use_true_random=False), st.lists(st.booleans(), max_size=60))
def test_sure_parcels_come_once_and_casual_ones_at_most_once_in_order(
    rng: random.Random, kinds: list[bool]
) -> None:
    line = Line(rng)
    for number, sure in enumerate(kinds, 1):
        assert line.out.put(item(number, sure=sure))
        for act in rng.choices([line.send, line.arrive, line.reconnect], [4, 4, 1], k=2):
            act()
    for _ in range(4 * len(kinds) + 10):
        line.send()
        line.arrive()
        if rng.random() < 0.2:
            line.out.send_again()
    while line.out.has_more or any(line.carried):
        line.send()
        line.arrive()
    sure_ones = [number for number, sure in enumerate(kinds, 1) if sure]
    assert [number for number in line.got if kinds[number - 1]] == sure_ones
    casual = [number for number in line.got if not kinds[number - 1]]
    assert casual == sorted(set(casual))


def test_what_waits_is_bounded_and_what_systems_say_is_not() -> None:
    out = Outgoing(1, 2, 1000)
    assert [out.put(item(number, sure=True)) for number in range(3)] == [True, True, False]
    assert out.put(Item(b"\x01", 0, sure=True))
    assert (len(out), out.unreceived) == (3, 0)
    out.connected(5)
    batch = out.take()
    assert batch is not None
    assert (batch.life, batch.first, batch.sure) == (5, 1, True)
    assert not out.put(item(9, sure=False)), "what may have to be sent again takes room"
    assert not out.received(2, 4, 1), "another life knows nothing of it"
    assert not out.received(2, 5, 2), "nor does another link"
    assert out.received(2, 5, 1)
    assert not out.received(2, 5, 1)
    assert not out.received(99, 5, 1)
    assert out.put(item(9, sure=False))


def test_what_systems_say_is_bounded_where_nobody_takes_it() -> None:
    out = Outgoing(1, 2, 1000)
    large = Item(b"x" * (MOST_OWN_BYTES // 2), 0, sure=True)
    assert [out.put(large) for _ in range(3)] == [True, True, False]
    assert len(out.drop_all()) == 2
    assert out.put(large)


def test_who_is_no_member_of_the_cluster_has_less_room_for_answers() -> None:
    out = Outgoing(1, 2, 1000)
    out.is_for_member = False
    large = Item(b"x" * STRANGER_OWN_BYTES, 0, sure=True)
    longer = Item(b"x" * (STRANGER_OWN_BYTES + 1), 0, sure=True)
    assert [out.put(longer), out.put(large)] == [True, False], "one answer of any length"
    out.drop_all()
    assert [out.put(large), out.put(Item(b"x", 0, sure=True))] == [True, False]
    out.is_for_member = True
    assert out.put(large)


def test_a_later_life_gets_only_what_is_for_it() -> None:
    out = Outgoing(1, 100, 1000)
    for life in (0, 5, 6):
        out.put(item(life, sure=True, life=life))
    assert [gone.life for gone in out.connected(5)] == [6]
    assert out.take() is not None
    out.put(item(7, sure=False, life=5))
    assert [gone.life for gone in out.connected(8)] == [5, 5]
    again = out.take()
    assert again is not None
    assert (again.life, again.first) == (8, 1)
    assert len(out.drop_all()) == 1
    assert out.take() is None


def test_batches_are_bounded_by_number_and_by_bytes() -> None:
    out = Outgoing(1, 10_000, 1 << 30)
    for number in range(MOST_PARCELS + 1):
        out.put(item(number, sure=False))
    out.put(Item(b"x" * 100_000, 0, sure=False))
    out.put(Item(b"x" * 100_000, 0, sure=False))
    sizes = []
    out.connected(1)
    while (batch := out.take()) is not None:
        sizes.append(int.from_bytes(batch.parcels[1:5]))
    assert sizes == [MOST_PARCELS, 1, 1, 1]


def test_parcels_that_a_connection_is_too_narrow_for_are_given_up_and_the_rest_goes_on() -> None:
    def sized(size: int, *, sure: bool) -> Item:
        return Item(b"x" * size, 5, sure=sure, note=Note(None, size, None))  # type: ignore[arg-type]  # nobody looks

    out = Outgoing(1, 100, 1 << 20)
    out.connected(5)
    for size in (10, 1000, 20):
        out.put(sized(size, sure=True))
    assert out.take() is not None
    out.put(sized(2000, sure=False))
    out.put(sized(30, sure=False))
    assert out.connected(5) == []
    assert [len(item.data) for item in out.fit(100)] == [1000, 2000]
    assert not out.put(sized(101, sure=True))
    again, rest = out.take(), out.take()
    assert again is not None
    assert rest is not None
    assert (again.first, int.from_bytes(again.parcels[1:5])) == (1, 3), "no number is left out"
    assert rest.parcels == join([b"x" * 30])
    assert out.received(3, 5, 1)
    assert len(out) == out.bytes_waiting == 0
    assert out._own_bytes == 0


def test_a_batch_is_no_longer_than_the_longest_parcel_may_be() -> None:
    out = Outgoing(1, 100, 1 << 20)
    out.connected(5)
    out.fit(50)
    for number in range(20):
        out.put(item(number, sure=False))
    while (batch := out.take()) is not None:
        assert len(batch.parcels) <= 50 + len(join([]))


# A receiver


class Office:
    """As much of a post office as a receiver needs."""

    address, incarnation = "here:1", 7


class Hearing:
    """A receiver, and what it has taken in and acknowledged."""

    def __init__(self, *members: str) -> None:
        office: Any = Office()
        timers: Any = None
        self.members = members
        self.owed: list[Received] = []
        self.heard: list[Node] = []
        self.receiver = Receiver(
            office,
            lambda _ref, _parcel: None,
            lambda _node, received: self.owed.append(received),
            lambda address: Node(address, 1) if address in members else None,
            {Watch: lambda _, node: self.heard.append(node)},
            timers=timers,
            most_questions=1,
        )

    def take(self, address: str, life: int = 1, link: int = 1, first: int = 1) -> None:
        """Take in a batch with one watch."""
        batch = Batch(7, link, first, sure=True, parcels=join([encode(Watch(1, 1, 7))]))
        self.receiver.take(batch, Peer(Identity("c", address, life), ("there", 1)))


def test_an_earlier_life_is_not_heard_once_a_later_one_is_known() -> None:
    hearing = Hearing()
    hearing.take("there:1", 5)
    hearing.take("there:1", 5)
    assert (len(hearing.heard), hearing.owed) == (1, [Received(5, 1, 1)] * 2)
    hearing.receiver.forget("there:1", 6)
    hearing.take("there:1", 5)
    assert len(hearing.heard) == 1, "its streams are forgotten, so nothing of it may be taken in"
    hearing.take("there:1", 6)
    assert len(hearing.heard) == 2
    assert hearing.receiver.counts.batches_dropped == 2


def test_a_later_link_of_the_same_life_is_counted_anew_and_an_earlier_one_not_heard() -> None:
    hearing = Hearing()
    for first in (1, 2, 3):
        hearing.take("there:1", first=first)
    hearing.take("there:1", link=2)
    assert len(hearing.heard) == 4, "its first parcel is none of the old link's"
    hearing.take("there:1", link=1, first=4)
    assert len(hearing.heard) == 4
    assert hearing.owed[-1] == Received(1, 2, 1)


def test_nobody_sends_in_the_name_of_the_receiver() -> None:
    hearing = Hearing()
    with pytest.raises(BadMessage, match="in the name of its receiver"):
        hearing.take("here:1", 7)


def test_strangers_take_the_place_of_strangers_and_never_of_members() -> None:
    hearing = Hearing("member:1")
    hearing.take("member:1")
    for number in range(MOST_SENDERS + 5):
        hearing.take(f"stranger:{number}")
    assert len(hearing.heard) == MOST_SENDERS + 6
    hearing.take("member:1")
    assert len(hearing.heard) == MOST_SENDERS + 6, "what had come from it is still known"
    assert len(hearing.receiver._senders) == MOST_SENDERS


@pytest.mark.parametrize(
    ("first", "parcels"),
    [
        (0, join([encode(Received(0, 1, 1))])),
        (1, join([])),
        (INT64_MAX, join([encode(Received(0, 1, 1))])),
    ],
)
def test_batches_without_number_or_parcels_are_refused(first: int, parcels: bytes) -> None:
    batch = Batch(7, 1, first, sure=False, parcels=parcels)
    with pytest.raises(BadMessage):
        Hearing().receiver.take(batch, Peer(Identity("c", "a:1"), ("a", 1)))


def test_every_parcel_has_a_number_of_its_own() -> None:
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    ]
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert len(set(tags)) == len(tags) == 10
