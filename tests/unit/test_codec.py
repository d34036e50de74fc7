"""The converter: one wire form by either road, and nothing but BadMessage for what is none."""

import enum
from contextlib import suppress
from typing import Any, cast

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import BadMessage, InvalidParameter
from trio440.wire.codec import INT64_MAX, INT64_MIN, Codec


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Point:
    x: int
    y: int = 0


@attrs.frozen
class Entry:
    data: bytes
    text: str = ""
    share: float = 0.0
    flag: bool = False
    points: tuple[Point, ...] = ()
    colour: Colour = Colour.RED
    near: Point | None = None
    names: dict[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Holder:
    """Only cattrs knows this one: its field is a union of classes."""

    what: Point | Entry
    more: tuple[Point | Entry, ...] = ()
    maybe: Point | Entry | None = None


def magnitude(value: int) -> int:
    return abs(value)


@attrs.frozen
class Scaled:
    """And this one, for its converter."""

    factor: int = attrs.field(converter=magnitude)


def positive(instance: object, attribute: Any, value: int) -> None:
    if value < 1:
        raise KeyError(value)


@attrs.frozen
class Checked:
    number: int = attrs.field(validator=positive)


numbers = st.integers(INT64_MIN, INT64_MAX)
points = st.builds(Point, numbers, numbers)
entries = st.builds(
    Entry,
    data=st.binary(max_size=20),
    text=st.text(max_size=10),
    share=st.floats(allow_nan=False),
    flag=st.booleans(),
    points=st.lists(points, max_size=3).map(tuple),
    colour=st.sampled_from(Colour),
    near=st.none() | points,
    names=st.dictionaries(st.text(max_size=3), numbers, max_size=3),
)
either = points | entries
holders = st.builds(Holder, either, st.lists(either, max_size=3).map(tuple), st.none() | either)

POINTS, ENTRIES, HOLDERS = Codec(Point), Codec(Entry), Codec(Holder)
ANY = Codec[Point | Entry | Holder](Point, Entry, Holder)
FAST = Codec[Point | Entry](Point, Entry)


@given(points)
def test_a_class_comes_back(message: Point) -> None:
    assert POINTS.decode_untrusted(POINTS.encode(message)) == message


@given(entries)
def test_a_class_with_every_kind_of_field_comes_back(message: Entry) -> None:
    assert ENTRIES.decode_untrusted(ENTRIES.encode(message)) == message


@given(holders)
def test_a_class_that_holds_unions_comes_back(message: Holder) -> None:
    assert HOLDERS.decode_untrusted(HOLDERS.encode(message)) == message


@given(points | entries | holders)
def test_a_union_comes_back(message: Point | Entry | Holder) -> None:
    assert ANY.decode_untrusted(ANY.encode(message)) == message


@given(either)
def test_both_roads_have_one_wire_form(message: Point | Entry) -> None:
    assert ANY.decode_untrusted(FAST.encode(message)) == message
    assert FAST.decode_untrusted(ANY.encode(message)) == message


def test_the_wire_form() -> None:
    assert msgspec.msgpack.decode(POINTS.encode(Point(1, 2))) == {"x": 1, "y": 2}
    assert msgspec.msgpack.decode(FAST.encode(Point(1, 2))) == ["Point", {"x": 1, "y": 2}]
    found = msgspec.msgpack.decode(HOLDERS.encode(Holder(Point(1))))
    assert found == {"what": ["Point", {"x": 1, "y": 0}], "more": [], "maybe": None}


def test_unknown_keys_are_ignored_and_missing_ones_take_their_default() -> None:
    data = msgspec.msgpack.encode({"x": 5, "new": [1, {"deep": None}]})
    assert POINTS.decode_untrusted(data) == Point(5, 0)
    data = msgspec.msgpack.encode({"what": ["Point", {"x": 5, "new": 1}], "new": 1})
    assert HOLDERS.decode_untrusted(data) == Holder(Point(5))


def test_a_converter_runs() -> None:
    assert Codec(Scaled).decode_untrusted(msgspec.msgpack.encode({"factor": -5})) == Scaled(5)


@given(data=st.binary(max_size=60), codec=st.sampled_from([POINTS, ENTRIES, HOLDERS, ANY, FAST]))
def test_random_bytes_are_a_message_or_a_bad_one(data: bytes, codec: Codec[Any]) -> None:
    with suppress(BadMessage):
        assert isinstance(codec.decode_untrusted(data), codec.classes)


@given(message=holders, place=st.integers(0), bits=st.integers(1, 255))
def test_damaged_messages_are_a_message_or_a_bad_one(
    message: Holder, place: int, bits: int
) -> None:
    data = bytearray(ANY.encode(message))
    data[place % len(data)] ^= bits
    for codec in (HOLDERS, ANY):
        with suppress(BadMessage):
            codec.decode_untrusted(bytes(data))


@pytest.mark.parametrize("codec", [POINTS, HOLDERS, ANY, Codec(Scaled), Codec(Checked)])
@pytest.mark.parametrize(
    "value",
    [
        None, 1, [], {}, "text", ["Point"], ["Nobody", {}], ["Point", {}, 3], [["Point"], {}],
        {"x": "1"}, {"x": 1.0}, {"x": True}, {"x": None}, {"x": 1 << 63}, {"x": 1, "y": [1 << 63]},
        {"number": 0}, {"factor": "1"}, {"what": 1}, {"what": ["Point", {"x": "1"}]},
        {"what": ["Holder", {}]}, {"what": ["Point", {"x": (1 << 64) - 1}]}, {"what": None},
        {"what": ["Entry", {"data": "text"}]}, {"what": ["Entry", {"data": b"", "colour": "no"}]},
    ],
)  # fmt: skip
def test_what_is_no_message_is_a_bad_message(codec: Codec[Any], value: object) -> None:
    with pytest.raises(BadMessage):
        codec.decode_untrusted(msgspec.msgpack.encode(value))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 100_000, b"\xc1",
     b"\x81\xa1x\x01trailing", b"\xdf\xff\xff\xff\xff\xa1x", b"\x81\xa1x\xcf\xff"],
)  # fmt: skip
@pytest.mark.parametrize("codec", [POINTS, HOLDERS, ANY])
def test_malformed_bytes_are_a_bad_message(codec: Codec[Any], data: bytes) -> None:
    with pytest.raises(BadMessage):
        codec.decode_untrusted(data)


@pytest.mark.parametrize("number", [INT64_MIN, INT64_MAX, 1 << 32, -1])
def test_int64_passes(number: int) -> None:
    assert POINTS.decode_untrusted(POINTS.encode(Point(number))) == Point(number)


@pytest.mark.parametrize("number", [INT64_MAX + 1, 1 << 64, 10**24, INT64_MIN - 1])
@pytest.mark.parametrize("codec", [POINTS, FAST, ANY])
def test_more_than_int64_is_not_sent(codec: Codec[Any], number: int) -> None:
    with pytest.raises(InvalidParameter):
        codec.encode(Point(number))


def test_bytes_that_look_like_a_large_number_are_none() -> None:
    message = Entry(b"\xcf\xff" * 20, names={"a": INT64_MAX})
    assert ENTRIES.decode_untrusted(ENTRIES.encode(message)) == message


@pytest.mark.parametrize("message", [Entry(b"", "\udc80"), Point(1), None, Holder])
def test_what_has_no_wire_form_is_the_callers_fault(message: Any) -> None:
    with pytest.raises(InvalidParameter):
        ENTRIES.encode(message)


def test_an_error_says_what_has_no_wire_form() -> None:
    with pytest.raises(InvalidParameter, match=r"MessagePack can hold \(.*type object.*not Point"):
        Codec(Point).encode(Point(cast("Any", object())))


def test_a_codec_wants_attrs_classes_of_different_names() -> None:
    class Plain: ...

    other = attrs.make_class("Point", ["z"])
    for classes in ((), (Plain,), (Point, other), (int,)):
        with pytest.raises(InvalidParameter):
            Codec[Any](*classes)
    assert repr(FAST) == "Codec(Point, Entry)"
