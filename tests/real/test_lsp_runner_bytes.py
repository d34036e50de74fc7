"""What the runners put on the wire, byte for byte: the other side is a bare socket."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE_SECONDS, ROOT, started
from trio440.lsp.message import Data

pytestmark = pytest.mark.real

VECTORS: dict[str, bytes] = {
    vector["name"]: vector["wire"].encode()
    for vector in json.loads((ROOT / "tests" / "vectors" / "lsp.json").read_text())["messages"]
}
CONNECT_0 = VECTORS["connect isn 0"]
CONNECT_17 = VECTORS["connect isn 17"]
ACK_0 = VECTORS["ack of connect, or heartbeat"]
DATA_HI = VECTORS["data 'hi'"]
ACK_42 = VECTORS["ack"]

SRUNNER: tuple[str | Path, ...] = (sys.executable, ROOT / "examples" / "srunner.py")
CRUNNER: tuple[str | Path, ...] = (sys.executable, ROOT / "examples" / "crunner.py")


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE_SECONDS)
        yield sock


def ack(conn_id: int, seq_num: int) -> bytes:
    return ACK_42.replace(b'"ConnID":3', b'"ConnID":%d' % conn_id).replace(
        b'"SeqNum":42', b'"SeqNum":%d' % seq_num
    )


def test_srunner_speaks_the_vectors(peer: socket.socket) -> None:
    with started([*SRUNNER, "-port=0", "-ems=20000"]) as server:
        address = ("127.0.0.1", server.port())
        peer.sendto(CONNECT_0, address)
        assert peer.recv(2000) == ACK_0
        peer.sendto(DATA_HI, address)
        assert peer.recv(2000) == ack(1, 1)
        assert peer.recv(2000) == DATA_HI
        peer.sendto(ack(1, 1), address)
        peer.sendto(DATA_HI, address)
        assert peer.recv(2000) == ack(1, 1), "a duplicate is acknowledged again, and not echoed"
        peer.sendto(CONNECT_17, address)
        assert peer.recv(2000) == ACK_0, "the same connection, and its own initial number"


def test_crunner_speaks_the_vectors(peer: socket.socket) -> None:
    with started([*CRUNNER, f"-port={peer.getsockname()[1]}", "-ems=20000"]) as client:
        client.write(b"hi\n")
        connect, address = peer.recvfrom(2000)
        isn = json.loads(connect)["SeqNum"]
        assert 1 <= isn < 2**31
        assert connect == CONNECT_17.replace(b'"SeqNum":17', b'"SeqNum":%d' % isn)
        peer.sendto(ack(1, isn), address)
        sent = peer.recv(2000)
        checksum = Data.of(1, isn + 1, b"hi").checksum
        expected = DATA_HI.replace(b'"SeqNum":1,', b'"SeqNum":%d,' % (isn + 1))
        assert sent == expected.replace(b"38547", b"%d" % checksum)
        peer.sendto(ack(1, isn + 1), address)
        peer.sendto(sent, address)  # numbers and checksum are the same in this direction
        assert peer.recv(2000) == ack(1, isn + 1)
        assert client.line() == "hi"
        assert client.end()[0] == 0
