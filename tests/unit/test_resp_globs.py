"""Redis' patterns, beside a matcher that tries everything."""

import re
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.kv.resp.globs import literal_prefix, matcher

PIECES = st.sampled_from(["*", "?", "a", "b", "ab", "[ab]", "[^a]", "[a-c]", "[c-a]", r"\*", r"\a"])


def slow_match(pattern: str, text: str) -> bool:
    """Say whether a text matches: by trying every way, and by Redis' words of each piece."""
    if pattern[:1] == "*":
        return any(slow_match(pattern[1:], text[at:]) for at in range(len(text) + 1))
    if not pattern or not text:
        return pattern == text
    if pattern[0] == "\\" and len(pattern) > 1:
        return pattern[1] == text[0] and slow_match(pattern[2:], text[1:])
    if pattern[0] == "[":
        choice, _, rest = pattern[1:].partition("]")
        negated = choice.startswith("^")
        choice = choice.removeprefix("^")
        chosen = set(choice)
        if len(choice) == 3 and choice[1] == "-":
            low, high = sorted((choice[0], choice[2]))
            chosen = {chr(code) for code in range(ord(low), ord(high) + 1)}
        return (text[0] in chosen) != negated and slow_match(rest, text[1:])
    return pattern[0] in ("?", text[0]) and slow_match(pattern[1:], text[1:])


@given(st.lists(PIECES, max_size=7).map("".join), st.text("abc*", max_size=8))
def test_as_by_trying_everything(pattern: str, text: str) -> None:
    assert matcher(pattern.encode())(text.encode()) == slow_match(pattern, text)


@given(st.lists(PIECES, max_size=7).map("".join), st.text("abc*", max_size=8))
def test_what_matches_begins_with_the_prefix(pattern: str, text: str) -> None:
    if matcher(pattern.encode())(text.encode()):
        assert text.encode().startswith(literal_prefix(pattern.encode()))


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_any_bytes_are_a_pattern(pattern: bytes, text: bytes) -> None:
    assert matcher(pattern)(text) in (True, False)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (b"[a", [b"a"]),
        (b"[a-", [b"a", b"-"]),
        (b"[^a", [b"b", b"["]),
        (b"[^", [b"a", b"\n"]),
        (b"[]", []),
        (b"[", []),
        (b"[^]", [b"a"]),
        (rb"[\]]", [b"]"]),
        (b"\\", [b"\\"]),
        (b"a[b-]", [b"ab", b"a]"]),
        (b"?", [b"\n", b"\xff"]),
        (b"*", [b"", b"\n\n"]),
    ],
)
def test_edges_as_redis_has_them(pattern: bytes, texts: list[bytes]) -> None:
    candidates = {b"a", b"b", b"-", b"[", b"]", b"\\", b"ab", b"a]", b"", b"\n", b"\xff", b"\n\n"}
    found = {text for text in candidates if matcher(pattern)(text)}
    assert found >= set(texts)
    assert found == set(texts) or b"^" in pattern or b"?" in pattern or pattern == b"*"


def test_a_hostile_pattern_takes_no_time() -> None:
    matches = matcher(b"a*" * 200 + b"b")
    began = time.process_time()
    assert not matches(b"a" * 5000)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "pattern", [b"*" + b"[^a]" * 255, b"[a-z]" * 200, b"*a" * 500, b"[^" + bytes(range(93)) + b"]"]
)
def test_what_matches_takes_memory_in_proportion_to_the_pattern(pattern: bytes) -> None:
    re.purge()
    tracemalloc.start()
    try:
        matches = matcher(pattern)
        re.purge()
        assert tracemalloc.get_traced_memory()[0] < 250 * len(pattern)
    finally:
        tracemalloc.stop()
    assert not matches(b"")


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        (b"[b-dfa]", b"abcdf"),
        (b"[^b-dfa]", bytes(sorted({*range(256)} - {*b"abcdf"}))),
        (b"[^]", bytes(range(256))),
        (b"[]", b""),
        (b"[\x00-\xff]", bytes(range(256))),
    ],
)
def test_choices(pattern: bytes, chosen: bytes) -> None:
    matches = matcher(pattern)
    assert bytes(byte for byte in range(256) if matches(bytes([byte]))) == chosen
