"""SWIM's messages: their ranges, their bytes, and the bound on these."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.actors.cluster.messages import (
    CODEC,
    MAX_ADDRESS_BYTES,
    MAX_RECORDS,
    MAX_REFUTATIONS,
    Ack,
    Gossip,
    Message,
    Nack,
    Node,
    Ping,
    PingReq,
    PushPull,
    Record,
    State,
    head_size,
    record_size,
)
from trio440.errors import BadMessage, InvalidParameter
from trio440.wire.codec import INT64_MAX

ADDRESSES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
NODES = st.builds(Node, ADDRESSES, st.integers(0, INT64_MAX))
BY = st.just("") | ADDRESSES
RECORDS = st.builds(Record, NODES, st.sampled_from(State), st.integers(0, MAX_REFUTATIONS), BY)
SEQS = st.integers(0, INT64_MAX)
MANY = st.lists(RECORDS, max_size=4).map(tuple)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, NODES, NODES, SEQS, MANY),
    st.builds(PingReq, NODES, NODES, SEQS, MANY),
    st.builds(Ack, NODES, SEQS, MANY),
    st.builds(Nack, NODES, SEQS, MANY),
    st.builds(Gossip, NODES, MANY),
    st.builds(PushPull, NODES, st.booleans(), MANY),
)
A = Node("a", 1)
LONGEST = Node("x" * MAX_ADDRESS_BYTES, INT64_MAX)


@given(MESSAGES)
def test_messages_come_back_and_are_no_longer_than_said(message: Message) -> None:
    data = CODEC.encode(message)
    assert CODEC.decode_untrusted(data) == message
    nodes = [message.source]
    if isinstance(message, Ping | PingReq):
        nodes.append(message.target)
    said = head_size(*nodes) + sum(map(record_size, message.records))
    assert said - 60 - 20 * len(message.records) <= len(data) <= said


def test_the_largest_numbers_fit_what_is_said() -> None:
    record = Record(LONGEST, State.LEFT, MAX_REFUTATIONS, "y" * MAX_ADDRESS_BYTES)
    message = PingReq(LONGEST, LONGEST, INT64_MAX, (record,) * MAX_RECORDS)
    assert len(CODEC.encode(message)) <= head_size(LONGEST, LONGEST) + MAX_RECORDS * record_size(
        record
    )


def plain(**changes: Any) -> dict[str, Any]:
    """Return the map of a record that is right but for some fields."""
    node = {"address": "a", "incarnation": 1}
    return {"node": node, "state": 0, "refutations": 0, "by": "", **changes}


@pytest.mark.parametrize(
    "record",
    [
        plain(state=4),
        plain(state=-1),
        plain(refutations=-1),
        plain(refutations=MAX_REFUTATIONS + 1),
        plain(refutations=True),
        plain(by="x" * 256),
        plain(by="é" * 128),
        plain(node={"address": "", "incarnation": 1}),
        plain(node={"address": "x" * 256, "incarnation": 1}),
        plain(node={"address": "a", "incarnation": -1}),
        plain(node={"address": "a"}),
        {"node": {"address": "a", "incarnation": 1}},
        3,
    ],
)
def test_records_out_of_range_are_no_messages(record: Any) -> None:
    good = ["Gossip", {"source": {"address": "b", "incarnation": 2}, "records": [plain()]}]
    assert isinstance(CODEC.decode_untrusted(msgspec.msgpack.encode(good)), Gossip)
    bad = ["Gossip", {"source": {"address": "b", "incarnation": 2}, "records": [record]}]
    with pytest.raises(BadMessage):
        CODEC.decode_untrusted(msgspec.msgpack.encode(bad))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused_in_one_way(data: bytes) -> None:
    with pytest.raises(BadMessage):
        CODEC.decode_untrusted(data)


def test_values_out_of_range_are_refused_where_they_are_made() -> None:
    with pytest.raises(InvalidParameter, match="address must be text of 1 to 255 bytes"):
        Node("", 1)
    with pytest.raises(InvalidParameter, match="incarnation"):
        Node("a", -1)
    with pytest.raises(InvalidParameter, match="seq"):
        Ack(A, -1)
    with pytest.raises(InvalidParameter, match="at most 1024 records"):
        Gossip(A, (Record(A, State.ALIVE, 0),) * (MAX_RECORDS + 1))
