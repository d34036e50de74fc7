"""Frames: whatever way the bytes arrive, the same frames come out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import BadMessage, InvalidParameter
from trio440.wire.framing import HEADER_BYTES, MAX_FRAME_BYTES, FrameReader, frame


@given(payloads=st.lists(st.binary(max_size=40), max_size=8), data=st.data())
def test_any_cut_of_the_stream_gives_the_same_frames(
    payloads: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(frame(payload) for payload in payloads)
    reader, found = FrameReader(40), list[bytes]()
    while stream:
        count = data.draw(st.integers(1, len(stream)))
        found += reader.feed_untrusted(stream[:count])
        stream = stream[count:]
    assert found == payloads
    assert reader.pending_bytes == 0


def test_byte_by_byte() -> None:
    reader = FrameReader(3)
    stream = frame(b"abc") + frame(b"") + frame(b"d")
    frames = [reader.feed_untrusted(bytes([byte])) for byte in stream]
    assert [one for some in frames for one in some] == [b"abc", b"", b"d"]


def test_the_limit_itself_passes_and_one_byte_more_does_not() -> None:
    assert FrameReader(5).feed_untrusted(frame(b"12345")) == [b"12345"]
    with pytest.raises(BadMessage, match="a frame of 6 bytes was announced, the limit is 5"):
        FrameReader(5).feed_untrusted(frame(b"123456"))


def test_a_giant_is_refused_by_its_header_alone_and_for_ever() -> None:
    reader = FrameReader(1 << 20)
    with pytest.raises(BadMessage):
        reader.feed_untrusted(b"\xff\xff\xff\xff")
    with pytest.raises(BadMessage):
        reader.feed_untrusted(frame(b"fine"))


def test_no_more_is_kept_than_the_limit() -> None:
    reader = FrameReader(1000)
    reader.feed_untrusted(frame(bytes(1000))[:-1])
    assert reader.pending_bytes == 1000 + HEADER_BYTES - 1
    assert reader.feed_untrusted(b"\0") == [bytes(1000)]
    assert reader.pending_bytes == 0


def test_a_new_limit_counts_for_what_comes_next() -> None:
    reader = FrameReader(2)
    assert reader.feed_untrusted(frame(b"ab")) == [b"ab"]
    reader.limit = 4
    assert reader.feed_untrusted(frame(b"abcd")) == [b"abcd"]


def test_wrong_limits_and_long_payloads_are_the_callers_fault() -> None:
    for limit in (0, -1, MAX_FRAME_BYTES + 1):
        with pytest.raises(InvalidParameter):
            FrameReader(limit)
    assert frame(b"abc", 3) == b"\0\0\0\3abc"
    with pytest.raises(InvalidParameter, match="at most 2 bytes"):
        frame(b"abc", 2)
