"""The datagrams of a cluster: its own go in and out, all others are told apart and dropped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.actors.cluster import CODEC, Node, Ping
from trio440.actors.cluster.datagrams import TAG_BYTES, Datagrams, Dropped

PING = Ping(Node("1.2.3.4:5", 1), Node("1.2.3.4:6", 2), 7)
DATAGRAMS = Datagrams("blue", 1400)


def reason(datagram: bytes) -> str:
    with pytest.raises(Dropped) as caught:
        DATAGRAMS.decode_untrusted(datagram)
    return caught.value.reason


def test_a_message_goes_there_and_back() -> None:
    datagram = DATAGRAMS.encode(PING)
    assert len(datagram) == TAG_BYTES + len(CODEC.encode(PING))
    assert Datagrams("blue", 1400).decode_untrusted(datagram) == PING


@pytest.mark.parametrize("cluster", ["red", "Blue", "blue ", "\ud800"])
def test_another_cluster_is_told_apart(cluster: str) -> None:
    assert reason(Datagrams(cluster, 1400).encode(PING)) == "another cluster"


def test_what_is_dropped() -> None:
    good = DATAGRAMS.encode(PING)
    assert reason(b"") == "another cluster"
    assert reason(CODEC.encode(PING)) == "another cluster"
    assert reason(good[:TAG_BYTES]) == "no message"
    assert reason(good[:-1]) == "no message"
    assert reason(good + bytes(1409 - len(good))) == "too long"
    assert reason(good + bytes(1408 - len(good))) == "no message"


@given(st.binary(max_size=60))
def test_garbage_is_dropped(data: bytes) -> None:
    reason(data)
    reason(DATAGRAMS.encode(PING)[:TAG_BYTES] + data)
