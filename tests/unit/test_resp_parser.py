"""Requests of the Redis protocol, cut out of a stream of bytes."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.resp_world import packed
from trio440.kv.resp import Limits
from trio440.kv.resp.parser import (
    LONE_BYTES,
    RequestParser,
    parse_integer,
    parse_lone,
    split_inline,
)

WORD = st.one_of(
    st.sampled_from([b"", b"GET", b"set", b"\r\n", b"$1\r\na", b"*1\r\n$1\r\na\r\n", b"\0 \"'"]),
    st.binary(max_size=12),
    st.integers(0, 3000).map(bytes),
)
REQUESTS = st.lists(st.lists(WORD, min_size=1, max_size=5), max_size=8)
JUNK = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from(
            [b"*2\r\n", b"*1\r\n", b"$1\r\n", b"$3\r\nGET\r\n", b"a\r\n", b"a", b"\r\n", b"*-1\r\n"]
        ),
        max_size=12,
    ).map(b"".join),
)


def requests_of(
    pieces: Sequence[bytes], limits: Limits | None = None
) -> tuple[list[list[bytes]], str | None]:
    """Feed pieces; return the requests, as lists, and the problem."""
    parser = RequestParser(limits or Limits())
    found = [list(each) for piece in pieces for each in parser.feed(piece)]
    return found, parser.problem


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(REQUESTS, st.lists(st.integers(0, 10_000), max_size=6))
def test_what_is_packed_comes_out_however_it_is_cut(
    requests: list[list[bytes]], places: list[int]
) -> None:
    data = b"".join(map(packed, requests))
    assert requests_of(cut(data, places)) == (requests, None)
    assert requests_of([data]) == (requests, None)


@given(st.lists(st.lists(WORD, min_size=3, max_size=3), min_size=1, max_size=20))
def test_pipelines_of_one_shape_are_no_special_case(requests: list[list[bytes]]) -> None:
    data = b"".join(map(packed, requests))
    assert requests_of([data]) == (requests, None) == requests_of([data[:1], data[1:]])


@given(JUNK, REQUESTS)
def test_all_at_once_and_byte_by_byte_are_the_same(
    junk: bytes, requests: list[list[bytes]]
) -> None:
    data = b"".join(map(packed, requests)) + junk
    assert requests_of([data]) == requests_of([data[at : at + 1] for at in range(len(data))])


@given(st.lists(WORD, min_size=1, max_size=4), JUNK)
def test_the_shortest_way_says_the_same_or_nothing(words: list[bytes], junk: bytes) -> None:
    for data in (packed(words), packed([b"GET", *words]), packed([b"set", *words]), junk):
        lone = parse_lone(data)
        if lone is not None:
            key, value = lone
            requests, problem = requests_of([data])
            assert problem is None
            ((name, *rest),) = requests
            assert name.upper() == (b"GET" if value is None else b"SET")
            assert rest == ([key] if value is None else [key, value])


def test_the_shortest_way_is_taken() -> None:
    assert parse_lone(packed([b"GET", b"k"])) == (b"k", None)
    assert parse_lone(packed([b"set", b"k", b"a\r\nb"])) == (b"k", b"a\r\nb")
    assert parse_lone(packed([b"GET", b"k"]) * 2) is None
    assert parse_lone(packed([b"GET", b"k", b"v"])) is None
    assert len(packed([b"SET", bytes(100), bytes(100)])) < LONE_BYTES


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"*abc\r\n", "invalid multibulk length"),
        (b"*16385\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
        (b"*1\r\n*1\r\n$1\r\na\r\n", "expected '$', got '*'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$01\r\n", "invalid bulk length"),
        (b"*1\r\n$16777217\r\n", "invalid bulk length"),
        (
            b"*2\r\n$16777216\r\n" + bytes(16_777_216) + b"\r\n$1\r\n",
            "too big request, the limit is",
        ),
        (b"*" + b"1" * 70_000, "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 70_000, "too big bulk count string"),
        (b"a" * 70_000, "too big inline request"),
        (b'get "a\r\n', "unbalanced quotes in request"),
        (b"get 'a'b\r\n", "unbalanced quotes in request"),
    ],
)
def test_problems_have_redis_words_and_stop_everything(data: bytes, problem: str) -> None:
    parser = RequestParser(Limits())
    assert list(parser.feed(b"ping\r\n" + data)) == [[b"ping"]]
    assert parser.problem is not None
    assert parser.problem.startswith(problem)
    assert list(parser.feed(b"ping\r\n")) == []
    assert parser.held_bytes == 0


def test_nothing_is_no_request() -> None:
    assert requests_of([b"\r\n\n*0\r\n*-1\r\n   \r\nping\r\n"]) == ([[b"ping"]], None)


def test_what_stands_behind_an_argument_is_passed_over_as_in_redis() -> None:
    assert requests_of([b"*2\r\n$1\r\naXX$1\r\nb\r\n"]) == ([[b"a", b"b"]], None)


def test_a_request_that_is_long_under_way_is_counted() -> None:
    parser = RequestParser(Limits())
    assert list(parser.feed(b"*2\r\n$8\r\nabc")) == []
    assert 3 <= parser.held_bytes < 20
    assert list(parser.feed(b"defgh\r\n$100\r\nx")) == []
    assert 9 < parser.held_bytes < 100
    assert list(parser.feed(b"y" * 99 + b"\r\n")) == [[b"abcdefgh", b"x" + b"y" * 99]]
    assert parser.held_bytes == 0


def test_an_announcement_takes_no_memory() -> None:
    parser = RequestParser(Limits())
    assert list(parser.feed(b"*16384\r\n$16777216\r\n")) == []
    assert parser.held_bytes < 100


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", []),
        (b" set  a\tb \r", [b"set", b"a", b"b"]),
        (rb'"a b" "\x41\n\t\r\b\a\q\"\\"', [b"a b", b'A\n\t\r\b\aq"\\']),
        (rb"'a b' '\'' '\n'", [b"a b", b"'", rb"\n"]),
        (rb'"\xZZ" "\x4"', [b"xZZ", b"x4"]),
        (b'a"b"', [b"ab"]),
        (b"a\0b", [b"a"]),
        (b"\"\" ''", [b"", b""]),
        (b'"a', None),
        (b"'a", None),
        (b'"a"b', None),
        (b'"a\\', None),
    ],
)
def test_inline_words(line: bytes, words: list[bytes] | None) -> None:
    assert split_inline(line) == words


@given(st.lists(st.binary(min_size=0, max_size=20), max_size=5))
def test_any_bytes_can_be_quoted(words: list[bytes]) -> None:
    line = b" ".join(b'"%b"' % b"".join(rb"\x%02x" % byte for byte in word) for word in words)
    assert split_inline(line) == words


@given(st.integers(-(1 << 64), 1 << 64))
def test_integers_are_int64(value: int) -> None:
    inside = -(1 << 63) <= value < 1 << 63
    assert parse_integer(b"%d" % value) == (value if inside else None)


@pytest.mark.parametrize(
    "text", [b"", b"-", b"+1", b"01", b"-0", b" 1", b"1 ", b"1.0", "²".encode()]
)
def test_what_is_no_integer(text: bytes) -> None:
    assert parse_integer(text) is None
