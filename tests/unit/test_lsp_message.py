import base64
import contextlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import BadMessage
from trio440.lsp.message import (
    MAX_DATAGRAM_SENT,
    MAX_ISN,
    Ack,
    CAck,
    Connect,
    Data,
    Message,
    PayloadFault,
    check_payload,
    checksum,
    decode_untrusted,
    encode,
    largest_payload,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "lsp.json").read_text(encoding="utf-8")
)

ids = st.integers(1, 2**63 - 1)
numbers = st.integers(0, 2**63 - 1)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Connect, st.integers(0, MAX_ISN)),
    st.builds(Ack, ids, numbers),
    st.builds(CAck, ids, numbers),
    st.builds(
        Data, ids, numbers, numbers, st.integers(0, 0xFFFF), st.binary(max_size=MAX_DATAGRAM_SENT)
    ).filter(lambda data: len(encode(data)) <= 2000),
)


def word_by_word_checksum(conn_id: int, seq_num: int, size: int, payload: bytes) -> int:
    """Add up the checksum one 16-bit word at a time, as the course's handout tells it."""
    total = 0
    for value in (conn_id, seq_num, size):
        low, high = value & 0xFFFF, value >> 16 & 0xFFFF
        total += (low + high) & 0xFFFF
    padded = payload + b"\0" * (len(payload) % 2)
    for index in range(0, len(padded), 2):
        total += padded[index] | padded[index + 1] << 8
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda vector: vector["name"])
def test_vectors_are_read_and_written_byte_for_byte(vector: dict[str, str]) -> None:
    wire = vector["wire"].encode()
    message = decode_untrusted(wire)
    assert message is not None
    again = encode(message)
    if vector["name"] == "data, null payload":
        assert message == Data(1, 1, 0, 65533, b"")
        again = again.replace(b'""', b"null")
    assert again == wire


@pytest.mark.parametrize("vector", VECTORS["checksums"], ids=lambda v: v["payload_hex"][:12])
def test_vectors_of_checksums(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["payload_hex"])
    data = Data.of(vector["conn_id"], vector["seq_num"], payload)
    assert data.checksum == vector["checksum"]


@pytest.mark.parametrize("wire", VECTORS["accepted_as_go_does"])
def test_what_go_accepts(wire: str) -> None:
    assert decode_untrusted(wire.encode()) in {Ack(3, 42), CAck(3, 42)}


@pytest.mark.parametrize("wire", VECTORS["refused"])
def test_what_go_refuses(wire: str) -> None:
    with pytest.raises(BadMessage):
        decode_untrusted(wire.encode())


@given(messages)
def test_round_trip(message: Message) -> None:
    assert decode_untrusted(encode(message)) == message


@given(messages, st.integers(0, 600))
def test_blanks_may_pad_a_datagram(message: Message, blanks: int) -> None:
    datagram = encode(message)
    padded = datagram.ljust(min(len(datagram) + blanks, 2000))
    assert decode_untrusted(padded) == message


@given(messages, st.randoms(use_true_random=False))
def test_any_form_that_json_allows_means_the_same(message: Message, rng: random.Random) -> None:
    """The quick way for exact datagrams and the slow way for others must agree."""
    fields = list(json.loads(encode(message)).items())
    rng.shuffle(fields)
    fields.insert(rng.randrange(7), ("Other", {"deep": [1.5, None]}))
    spelled = {"".join(rng.choice([c.upper(), c.lower()]) for c in k): v for k, v in fields}
    text = json.dumps(spelled, indent=rng.choice([None, 0])).encode()
    if len(text) <= 2000:
        assert decode_untrusted(b"\n" + text[:-1] + b"\t}") == message


@given(st.binary(max_size=2100))
def test_garbage_is_refused_and_nothing_else(datagram: bytes) -> None:
    try:
        message = decode_untrusted(datagram)
    except BadMessage:
        return
    assert message is None or decode_untrusted(encode(message)) == message


@given(messages, st.data())
def test_a_changed_byte_is_refused_or_decodes_to_a_message(
    message: Message, draw: st.DataObject
) -> None:
    datagram = bytearray(encode(message))
    index = draw.draw(st.integers(0, len(datagram) - 1))
    datagram[index] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(BadMessage):
        assert isinstance(decode_untrusted(bytes(datagram)), Message | None)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b'{"Type":4}',
        b'{"Type":-1}',
        b'{"Type":1,"ConnID":1,"SeqNum":1,"Size":-1}',
        b'{"Type":1,"ConnID":1,"SeqNum":-1}',
        b'{"Type":0,"SeqNum":4294967296}',
        b'{"Type":2,"ConnID":9223372036854775808}',
        b'{"Type":2,"ConnID":1,"SeqNum":1,"Size":0,"Checksum":65536,"Payload":null}',
        b'{"Type":2,"ConnID":1,"SeqNum":1,"Size":0,"Checksum":99999,"Payload":null}',
        b'{"Type":1,"ConnID":1,"SeqNum":01,"Size":0,"Checksum":0,"Payload":null}',
        b'{"Type":1,"ConnID":1,"SeqNum":1,"Size":0,"Checksum":0,"Payload":"a"}',
        b'{"Type":1,"ConnID":1,"SeqNum":1,"Size":0,"Checksum":0,"Payload":"===="}',
        b'{"Type":2,"ConnID":1,"SeqNum":1,"Size":0,"Checksum":0,"Payload":"!!!"}',
        b'{"Type":2,"ConnID":1,"SeqNum":1,"Size":0,"Checksum":0,"Payload":"\n"}',
        b'{"Type":2,"ConnID":1,"SeqNum":1,"Size":0,"Checksum":0,"Payload":"\xff"}',
        b'{"Type":2,"ConnID":1e2}',
        b'{"Type":"2"}',
        b"[" * 1999,
        b'{"a":' * 399,
        b'{"Type":' + b"9" * 1900 + b"}",
        b'{"Type":2,"ConnID":3,"SeqNum":42}'.ljust(2001),
    ],
)
def test_what_no_honest_peer_sends_is_refused(wire: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_untrusted(wire)


def test_null_means_nothing_and_an_empty_object_is_a_connect() -> None:
    assert decode_untrusted(b"null") is None
    assert decode_untrusted(b" {} ") == Connect(0)


def test_exactly_2000_bytes_are_read() -> None:
    assert decode_untrusted(encode(Ack(3, 42)).ljust(2000)) == Ack(3, 42)


def test_line_breaks_inside_base64_are_passed_over_as_go_does() -> None:
    wire = b'{"Type":1,"ConnID":1,"SeqNum":1,"Size":2,"Checksum":38547,"Payload":"aG\\r\\nk="}'
    assert decode_untrusted(wire) == Data.of(1, 1, b"hi")


@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.binary(max_size=64) | st.binary(min_size=900, max_size=1000),
)
def test_checksum_equals_the_word_by_word_sum(conn_id: int, seq_num: int, payload: bytes) -> None:
    size = len(payload)
    expected = word_by_word_checksum(conn_id, seq_num, size, payload)
    assert checksum(conn_id, seq_num, size, payload) == expected


def test_checksum_of_all_zeros_and_of_all_ones() -> None:
    assert checksum(0, 0, 0, b"") == 0xFFFF
    assert checksum(0, 0, 0, b"\0\0") == 0xFFFF
    assert checksum(0, 0, 0, b"\xff\xff") == 0
    assert checksum(0, 0, 0, b"\xff\xff" * 3) == 0


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_a_longer_payload_is_cut_before_it_is_checked(payload: bytes, tail: bytes) -> None:
    true = Data.of(7, 8, payload)
    longer = Data(7, 8, true.size, true.checksum, payload + tail)
    assert check_payload(longer) == payload


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_shorter_payload_is_told_from_a_corrupt_one(payload: bytes, draw: st.DataObject) -> None:
    true = Data.of(7, 8, payload)
    cut = draw.draw(st.integers(0, len(payload) - 1))
    assert check_payload(Data(7, 8, true.size, true.checksum, payload[:cut])) is PayloadFault.SHORT
    flipped = bytearray(payload)
    flipped[cut] ^= 1 << draw.draw(st.integers(0, 7))
    corrupt = Data(7, 8, true.size, true.checksum, bytes(flipped))
    assert check_payload(corrupt) is PayloadFault.CORRUPT


@given(st.integers(1, 2**40), st.integers(0, 2**40), st.randoms(use_true_random=False))
def test_largest_payload_fits_and_one_more_group_does_not(
    conn_id: int, seq_num: int, rng: random.Random
) -> None:
    limit = largest_payload(conn_id, seq_num)
    assert limit >= 1000
    assert len(encode(Data.of(conn_id, seq_num, rng.randbytes(limit)))) <= MAX_DATAGRAM_SENT
    bigger = Data(conn_id, seq_num, limit + 1, 65535, rng.randbytes(limit + 1))
    assert len(encode(bigger)) > MAX_DATAGRAM_SENT


@given(st.binary(max_size=300))
def test_the_payload_is_standard_padded_base64(payload: bytes) -> None:
    fields = json.loads(encode(Data.of(1, 1, payload)))
    assert list(fields) == ["Type", "ConnID", "SeqNum", "Size", "Checksum", "Payload"]
    assert fields["Payload"] == base64.standard_b64encode(payload).decode()
