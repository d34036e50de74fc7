"""The miner's messages on the wire."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import BadMessage, InvalidParameter
from trio440.mining.messages import (
    MAX_REQUEST_BYTES,
    Join,
    Message,
    Request,
    Result,
    check_text,
    decode_untrusted,
    encode,
)
from trio440.mining.ranges import MAX_NONCE, NonceRange
from trio440.wire.gojson import to_valid_text

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "mining.json").read_text()
)
BY_NAME: dict[str, Message] = {
    "join": Join(),
    "request": Request("bradfitz <&>", NonceRange(0, 9999)),
    "result": Result(MAX_NONCE, 2**53 + 1),
}


@pytest.mark.parametrize("vector", VECTORS["miner_messages"], ids=lambda vector: vector["name"])
def test_vectors_both_ways(vector: dict[str, str]) -> None:
    message = BY_NAME[vector["name"]]
    assert encode(message) == vector["wire"].encode()
    assert decode_untrusted(vector["wire"].encode()) == message


NONCES = st.integers(0, MAX_NONCE)
RANGES = st.tuples(NONCES, NONCES).map(lambda pair: NonceRange(min(pair), max(pair)))
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=100)
MESSAGES = st.one_of(
    st.builds(Join), st.builds(Request, TEXTS, RANGES), st.builds(Result, NONCES, NONCES)
)


@given(MESSAGES)
def test_round_trip(message: Message) -> None:
    decoded = decode_untrusted(encode(message))
    if isinstance(message, Request):
        message = Request(to_valid_text(message.text), message.nonces)
    assert decoded == message


@given(MESSAGES)
def test_what_is_written_is_json_in_order(message: Message) -> None:
    keys = ["Type", "Data", "Lower", "Upper", "Hash", "Nonce"]
    assert list(json.loads(encode(message))) == keys


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ("{}", Join()),
        ("null", Join()),
        ('{"type":2,"HASH":5,"nonce":6}', Result(5, 6)),
        (' {"Type":1,"Data":"x","Upper":3,"Extra":{"a":[]}} ', Request("x", NonceRange(0, 3))),
        ('{"Type":1}', Request("", NonceRange(0, 0))),
        ('{"Type":1,"Data":"\\ud800<"}', Request("\ufffd<", NonceRange(0, 0))),
    ],
)
def test_taken_as_go_takes_it(wire: str, message: Message) -> None:
    assert decode_untrusted(wire.encode()) == message


def test_invalid_utf8_is_replaced() -> None:
    wire = b'{"Type":1,"Data":"a\xffb"}'
    assert decode_untrusted(wire) == Request("a\ufffdb", NonceRange(0, 0))


@pytest.mark.parametrize(
    "wire",
    [
        "",
        "hello",
        "[]",
        '{"Type":3}',
        '{"Type":-1}',
        '{"Type":1.0}',
        '{"Type":"1"}',
        '{"Type":1,"Lower":2,"Upper":1}',
        '{"Type":1,"Upper":18446744073709551616}',
        '{"Type":1,"Upper":-1}',
        '{"Type":1,"Upper":1e3}',
        '{"Type":2,"Hash":1} x',
        '{"Type":1,"Data":5}',
    ],
)
def test_refused(wire: str) -> None:
    with pytest.raises(BadMessage):
        decode_untrusted(wire.encode())


@given(st.binary(max_size=100))
def test_garbage_never_escapes(data: bytes) -> None:
    try:
        message = decode_untrusted(data)
    except BadMessage:
        return
    assert isinstance(message, Join | Request | Result)


def test_a_request_must_fit_when_it_is_passed_on() -> None:
    spare = MAX_REQUEST_BYTES - len(encode(Request("", NonceRange(MAX_NONCE, MAX_NONCE))))
    longest = "x" * spare
    assert check_text(longest) == longest
    raw = '{"Type":1,"Data":"%s"}'
    assert decode_untrusted((raw % longest).encode()) == Request(longest, NonceRange(0, 0))
    for text in ("x" * (spare + 1), "<" * (spare // 6 + 1), "é" * (spare // 2 + 1)):
        with pytest.raises(InvalidParameter):
            check_text(text)
        with pytest.raises(BadMessage):
            decode_untrusted((raw % text).encode())


def test_text_from_the_command_line_is_made_valid() -> None:
    assert check_text("a\udcffb") == "a\ufffdb"
