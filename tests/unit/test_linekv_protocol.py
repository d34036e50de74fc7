"""Requests are read as the protocol says, and streams are cut into lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import BadMessage, InvalidParameter
from trio440.linekv.protocol import (
    Delete,
    Get,
    LineSplitter,
    Put,
    Request,
    Update,
    error_line,
    parse_untrusted_request,
    value_line,
)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"Put:a:1", Put(b"a", b"1")),
        (b"Put:a:1:2:3", Put(b"a", b"1:2:3")),
        (b"Put::", Put(b"", b"")),
        (b"Put:a:\xff\x00", Put(b"a", b"\xff\x00")),
        (b"Put: a : b ", Put(b" a ", b" b ")),
        (b"Get:a", Get(b"a")),
        (b"Get:", Get(b"")),
        (b"Get:\xff", Get(b"\xff")),
        (b"Delete:a", Delete(b"a")),
        (b"Update:a:1:2", Update(b"a", b"1", b"2")),
        (b"Update:a:1:2:3", Update(b"a", b"1", b"2:3")),
        (b"Update:a::", Update(b"a", b"", b"")),
    ],
)
def test_requests(line: bytes, request_: Request) -> None:
    assert parse_untrusted_request(line) == request_


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"", "unknown command ''"),
        (b"put:a:1", "unknown command 'put'"),
        (b"Fly", "unknown command 'Fly'"),
        (b"Fly:me:to:the:moon", "unknown command 'Fly'"),
        (b"\xff\n\x1b", r"unknown command '\\xff\n\x1b'"),
        (b"x" * 41, f"unknown command '{'x' * 40}'..."),
        (b"Put", "a request of this kind is Put:key:value"),
        (b"Put:a", "a request of this kind is Put:key:value"),
        (b"Get", "a request of this kind is Get:key, and no key contains a colon"),
        (b"Get:a:b", "a request of this kind is Get:key, and no key contains a colon"),
        (b"Delete:a:b", "a request of this kind is Delete:key, and no key contains a colon"),
        (b"Update:a:1", "a request of this kind is Update:key:old:new"),
    ],
)
def test_what_is_no_request(line: bytes, problem: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_untrusted_request(line)
    assert str(caught.value) == problem


@given(st.binary())
def test_any_line_is_a_request_or_bad_and_the_answer_is_one_line(line: bytes) -> None:
    try:
        parse_untrusted_request(line)
    except BadMessage as problem:
        answer = error_line(str(problem))
        assert answer.startswith(b"Error: ")
        assert answer.isascii()
        assert answer.splitlines() == [answer.removesuffix(b"\n")]


def test_answers() -> None:
    assert value_line(b"a", b"1:\xff") == b"a:1:\xff\n"


def test_lines_end_with_or_without_a_carriage_return() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"a\nb\r\nc\r\r\n\r\nd\re\nrest") == [b"a", b"b", b"c\r", b"", b"d\re"]
    assert splitter.feed(b"\r") == []
    assert splitter.feed(b"\n") == [b"rest"]


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_do_not_depend_on_how_the_stream_is_cut(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"unfinished"
    splitter = LineSplitter()
    found: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    assert found == [line.removesuffix(b"\r") for line in lines]
    assert not splitter.too_long


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_exactly_the_limit_passes(chunk: int, end: bytes) -> None:
    splitter = LineSplitter(limit=8)
    stream = b"12345678" + end + b"next" + end
    found = [
        line
        for start in range(0, len(stream), chunk)
        for line in splitter.feed(stream[start : start + chunk])
    ]
    assert found == [b"12345678", b"next"]
    assert not splitter.too_long


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\rx", b"9"])
def test_a_longer_line_ends_the_stream(chunk: int, end: bytes) -> None:
    splitter = LineSplitter(limit=8)
    stream = b"first\n123456789" + end + b"dropped\n"
    if end == b"\rx":
        stream = b"first\n12345678" + end + b"dropped\n"
    found = [
        line
        for start in range(0, len(stream), chunk)
        for line in splitter.feed(stream[start : start + chunk])
    ]
    assert found == [b"first"]
    assert splitter.too_long
    assert splitter.feed(b"more\n") == []


def test_an_endless_line_takes_no_memory_beyond_the_limit() -> None:
    splitter = LineSplitter(limit=8)
    splitter.feed(b"x" * 100)
    assert splitter.too_long
    assert len(splitter._unfinished) == 0


def test_a_limit_is_positive() -> None:
    with pytest.raises(InvalidParameter, match="limit must be at least 1, not 0"):
        LineSplitter(limit=0)
