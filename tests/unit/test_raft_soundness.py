"""What no peer can mean is kept from Raft, whoever sends it."""

import pytest

from trio440.errors import BadMessage, InvalidParameter
from trio440.raft.batches import encode_entries
from trio440.raft.membership import Configuration, decode_configuration, is_id, plan_change
from trio440.raft.messages import (
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    InstallSnapshot,
    Message,
    RequestVote,
    SnapshotMeta,
    SnapshotReply,
)
from trio440.raft.soundness import LARGEST_NUMBER, check_untrusted, is_address
from trio440.raft.wire import AppendEntries

MEMBERS = Configuration(voters=("a", "b", "c"))
BEYOND = LARGEST_NUMBER + 1


def piece(meta: SnapshotMeta, term: int = 5, offset: int = 0) -> InstallSnapshot:
    return InstallSnapshot("a", "b", term, meta, offset, b"", 0)


@pytest.mark.parametrize(
    "message",
    [
        RequestVote("a", "b", BEYOND, 1, 1),
        RequestVote("a", "b", -1, 1, 1),
        Append("a", "b", 1, -1, 0, (), 0),
        Append("a", "b", 1, 0, 0, (), BEYOND),
        AppendReply("a", "b", 1, -4),
        AppendReply("a", "b", 1, 1, True, 1, BEYOND),
        Heartbeat("a", "b", 1, -1, 1),
        SnapshotReply("a", "b", 1, 5, -5),
        piece(SnapshotMeta(0, 1, MEMBERS)),
        piece(SnapshotMeta(-1, 1, MEMBERS)),
        piece(SnapshotMeta(1, 0, MEMBERS)),
        piece(SnapshotMeta(1, 6, MEMBERS)),
        piece(SnapshotMeta(1, 1, Configuration())),
        piece(SnapshotMeta(1, 1, MEMBERS, size=-5)),
        piece(SnapshotMeta(1, 1, MEMBERS), offset=-1),
    ],
)
def test_what_no_peer_can_mean_is_refused(message: Message) -> None:
    with pytest.raises(BadMessage):
        check_untrusted(message)


@pytest.mark.parametrize(
    "message",
    [
        RequestVote("a", "b", LARGEST_NUMBER, 0, 0),
        Append("a", "b", 1, 0, 0, (), 0),
        piece(SnapshotMeta(1, 5, MEMBERS)),
    ],
)
def test_what_a_peer_can_mean_is_taken(message: Message) -> None:
    check_untrusted(message)


def test_an_entry_of_a_later_term_than_its_leaders_is_refused() -> None:
    batch = encode_entries([Entry(1, 5), Entry(2, (1 << 64) - 1)])
    with pytest.raises(BadMessage, match="the latest is 5"):
        AppendEntries("a", "b", 5, 0, 0, 0, batch).read_untrusted()


def test_a_configuration_that_is_nested_too_deeply_is_none() -> None:
    with pytest.raises(BadMessage):
        decode_configuration(b"[" * 100_000)


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 129])
def test_nobody_becomes_a_member_whose_id_no_peer_can_have(name: str) -> None:
    assert not is_id(name)
    with pytest.raises(InvalidParameter, match="1 to 128 printable characters"):
        plan_change(MEMBERS, MEMBERS.voters, (name,))


def test_a_cluster_has_so_many_members_and_no_more() -> None:
    others = [f"l{number}" for number in range(125)]
    assert len(plan_change(MEMBERS, MEMBERS.voters, others).members) == 128
    with pytest.raises(InvalidParameter, match="at most 128, not 129"):
        plan_change(MEMBERS, MEMBERS.voters, [*others, "one more"])


def test_a_member_whose_id_is_wrong_already_can_be_removed() -> None:
    before = Configuration(voters=("a", "b"), learners=("x" * 5000,))
    assert plan_change(before, ("a", "b"), ()).learners == ()


@pytest.mark.parametrize(
    ("host", "port"), [("", 1), ("a\0b", 1), ("h" * 254, 1), ("h", 0), ("h", -1), ("h", 65_536)]
)
def test_where_nobody_can_listen(host: str, port: int) -> None:
    assert not is_address(host, port)
