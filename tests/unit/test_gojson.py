"""The JSON that Go programs read and write."""

import base64
import binascii
import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio440.errors import BadMessage
from trio440.wire.gojson import (
    MAX_DEPTH,
    GoType,
    decode_object_untrusted,
    encode_string,
    to_valid_text,
)

FIELDS = {
    "Type": GoType.INT64,
    "Hash": GoType.UINT64,
    "Seq": GoType.UINT32,
    "Checksum": GoType.UINT16,
    "Data": GoType.STRING,
    "Payload": GoType.BYTES,
}
ZERO = {"Type": 0, "Hash": 0, "Seq": 0, "Checksum": 0, "Data": "", "Payload": None}


def decode(text: str | bytes) -> dict[str, Any] | None:
    data = text.encode() if isinstance(text, str) else text
    return decode_object_untrusted(data, FIELDS)


def field(name: str, literal: str | bytes) -> Any:
    raw = literal.encode() if isinstance(literal, str) else literal
    values = decode(b'{"%s":%s}' % (name.encode(), raw))
    assert values is not None
    return values[name]


def test_missing_keys_are_zero() -> None:
    assert decode("{}") == ZERO


def test_top_level_null_is_told_apart() -> None:
    assert decode("null") is None
    assert decode(" \t\r\n null \n") is None


@pytest.mark.parametrize(
    "text",
    [
        '{"type":7}',
        '{"TYPE":7}',
        '{"tYpE":7}',
        ' \t\r\n{ "Type" : 7 } \n',
        '{"Type":7,"Extra":[1.5,{"a":null}],"x":1e999}',
        '{"Type":1,"type":2,"Type":7}',
        '{"Type":1,"Type":2,"type":7}',
        '{"Type":7,"Type":null}',
        '{"\\u0054ype":7}',
    ],
)
def test_key_rules(text: str) -> None:
    assert decode(text) == ZERO | {"Type": 7}


@pytest.mark.parametrize(
    ("key", "name"),
    [("Ha\u017fh", "Hash"), ("Chec\u212asum", "Checksum"), ("\u212aey", None), ("\u0287ype", None)],
)
def test_keys_fold_as_in_go(key: str, name: str | None) -> None:
    assert decode(json.dumps({key: 9}, ensure_ascii=False)) == ZERO | ({name: 9} if name else {})


def test_exact_key_wins_over_folded() -> None:
    fields = {"a": GoType.INT64, "A": GoType.INT64}
    assert decode_object_untrusted(b'{"A":1,"a":2}', fields) == {"a": 2, "A": 1}


def test_null_leaves_the_zero_value() -> None:
    everything = ",".join(f'"{name}":null' for name in FIELDS)
    assert decode("{" + everything + "}") == ZERO


@pytest.mark.parametrize(
    ("name", "literal", "value"),
    [
        ("Type", "-9223372036854775808", -(2**63)),
        ("Type", "9223372036854775807", 2**63 - 1),
        ("Type", "-0", 0),
        ("Hash", "18446744073709551615", 2**64 - 1),
        ("Seq", "4294967295", 2**32 - 1),
        ("Checksum", "65535", 65535),
        ("Data", '""', ""),
        ("Data", '"\\u003c\\u2028\\n\\ud83d\\ude00"', "<\u2028\n\U0001f600"),
        ("Payload", '""', b""),
        ("Payload", '"aGk="', b"hi"),
        ("Payload", '"aG\\r\\nk\\n="', b"hi"),
        ("Payload", '"aGl="', b"hi"),
        ("Payload", "[]", b""),
        ("Payload", "[104, 105, null]", b"hi\0"),
    ],
)
def test_values_taken(name: str, literal: str, value: object) -> None:
    assert field(name, literal) == value


@pytest.mark.parametrize(
    ("name", "literal"),
    [
        *(("Type", bad) for bad in ("1.0", "1e2", "1E0", '"1"', "true", "[1]", "{}", "1.5")),
        ("Type", "9223372036854775808"),
        ("Type", "-9223372036854775809"),
        ("Type", "1" + "0" * 10_000),
        ("Type", "01"),
        ("Type", "+1"),
        ("Type", "NaN"),
        ("Type", "Infinity"),
        ("Type", "-Infinity"),
        ("Hash", "-1"),
        ("Hash", "-0"),
        ("Hash", "18446744073709551616"),
        ("Seq", "4294967296"),
        ("Checksum", "65536"),
        *(
            ("Data", bad)
            for bad in ("1", "1.5", "true", "[]", "{}", '"\t"', '"\\x"', '"', '"\\u12"')
        ),
        *(
            ("Payload", bad)
            for bad in ('"aGk"', '"a==="', '"="', '"aGk=aGk="', '"aGk=="', '"aG k="')
        ),
        *(("Payload", bad) for bad in ('"aGk-"', '"é==="', "1", "{}", '{"a":1}', "[256]", "[-1]")),
        *(("Payload", bad) for bad in ("[1.0]", '["a"]', "[[1]]")),
    ],
)
def test_values_refused(name: str, literal: str) -> None:
    with pytest.raises(BadMessage):
        field(name, literal)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"hello",
        b"[]",
        b"0",
        b'"a"',
        b"true",
        b"{} x",
        b"{}{}",
        b"null null",
        b"{",
        b"{,}",
        b'{"Type":1,}',
        b'{"Type" 1}',
        b"{'Type':1}",
        b"{1:1}",
        b"\xef\xbb\xbf{}",
        b"\xff{}",
        b"{}\0",
        b'{"Type":"x","Type":1}',
        b'{"Extra":nul}',
    ],
)
def test_texts_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(data)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"\xe2\x82A", "\ufffd\ufffdA"),  # a cut sequence: one for each byte
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"),
        (rb"\ud83d", "\ufffd"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83dx", "\ufffdx"),
        (rb"\ud83d" + b"\x80", "\ufffd\ufffd"),
    ],
)
def test_invalid_text_is_replaced(raw: bytes, text: str) -> None:
    assert field("Data", b'"' + raw + b'"') == text


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_bombs_are_refused(opening: str, closing: str) -> None:
    for depth in (MAX_DEPTH, 1_000, 100_000):
        with pytest.raises(BadMessage):
            decode('{"x":' + opening * depth + "1" + closing * depth + "}")
        with pytest.raises(BadMessage):
            decode(opening * depth)
    deepest = MAX_DEPTH - 1
    assert decode('{"x":' + opening * deepest + "1" + closing * deepest + "}") == ZERO


def test_brackets_in_strings_do_not_nest() -> None:
    text = '[{"\\' * 1_000
    assert field("Data", json.dumps(text)) == text


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_nothing_but_bad_message_is_raised(data: bytes) -> None:
    for wrapped in (data, b'{"Data":"' + data + b'"}', b'{"Payload":' + data + b"}"):
        try:
            values = decode(wrapped)
        except BadMessage:
            continue
        assert values is None or values.keys() == FIELDS.keys()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "type", "DATA", "Other"]), JSON), st.data())
def test_damaged_objects_never_escape(document: dict[str, Any], data: st.DataObject) -> None:
    text = bytearray(json.dumps(document).encode())
    for index in data.draw(st.lists(st.integers(0, len(text) - 1), max_size=3)):
        text[index] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadMessage):
        decode(bytes(text))


@given(st.text(st.sampled_from("aGk=+/-_ \n\r") | st.characters(), max_size=12))
def test_base64_is_the_padded_alphabet(text: str) -> None:
    bare = text.replace("\r", "").replace("\n", "")
    groups = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
    try:
        decoded = field("Payload", json.dumps(text))
    except BadMessage:
        assert not re.fullmatch(groups, bare)
    else:
        assert re.fullmatch(groups, bare)
        assert decoded == binascii.a2b_base64(bare)


@given(st.binary(max_size=50))
def test_base64_round_trip(payload: bytes) -> None:
    assert field("Payload", json.dumps(base64.b64encode(payload).decode())) == payload


@given(st.text(st.characters(exclude_categories=[])))
@example("<&>\u2028\u2029\x7f\ufffd\ud800\x00\x1f")
def test_strings_round_trip(text: str) -> None:
    encoded = encode_string(text)
    assert field("Data", encoded) == to_valid_text(text)
    assert not set("<>&\u2028\u2029") & set(encoded)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("a <&> b", r'"a \u003c\u0026\u003e b"'),
        ("\u2028\u2029", r'"\u2028\u2029"'),
        ('"\\/', r'"\"\\/"'),
        ("\b\f\n\r\t\x00\x1f\x7f", '"' + r"\b\f\n\r\t\u0000\u001f" + '\x7f"'),
        ("é😀\ufffd", '"é😀\ufffd"'),
        ("\udcff", r'"\ufffd"'),
    ],
)
def test_escapes_are_those_of_go(text: str, encoded: str) -> None:
    assert encode_string(text) == encoded
