"""A Raft peer at its limit of connections can still open files."""

from trio440.raft.membership import MOST_MEMBERS
from trio440.raft.opening import MOST_CONNECTIONS
from trio440.raft.transport import MOST_STRANGERS
from trio440.rpc.server import REFUSALS_AT_A_TIME

USUAL_DESCRIPTORS = 1024
FOR_FILES = 64


def test_connections_leave_descriptors_for_the_log() -> None:
    taken = MOST_CONNECTIONS + REFUSALS_AT_A_TIME + MOST_MEMBERS + MOST_STRANGERS + FOR_FILES
    assert taken <= USUAL_DESCRIPTORS
