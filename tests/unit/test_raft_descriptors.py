"""A Raft peer at its limit of connections can still open files."""

from trio440.raft.opening import MOST_CONNECTIONS
from trio440.rpc.server import REFUSALS_AT_A_TIME

USUAL_DESCRIPTORS = 1024
FOR_OTHER_PEERS = 128 + 64
FOR_FILES = 64


def test_connections_leave_descriptors_for_the_log() -> None:
    taken = MOST_CONNECTIONS + REFUSALS_AT_A_TIME + FOR_OTHER_PEERS + FOR_FILES
    assert taken <= USUAL_DESCRIPTORS
