"""Bugs of other Raft implementations, and of course solutions: each must not happen here."""

import random
import zlib

import pytest

from tests.support.raft_cluster import Cluster, course, quick
from trio440.errors import RaftViolated
from trio440.raft.membership import Configuration
from trio440.raft.messages import (
    Append,
    AppendReply,
    Entry,
    HardState,
    Heartbeat,
    HeartbeatReply,
    Message,
    ReadReply,
    ReadRequest,
    SnapshotMeta,
    TimeoutNow,
    VoteReply,
)
from trio440.raft.node import Node
from trio440.raft.state import Role
from trio440.raft.storage import Stored, joining

# Other systems


def test_pysyncobj_201_term_and_vote_survive_a_restart_of_all_at_once() -> None:
    for seed in range(20):
        cluster = Cluster(3, course(), seed=seed)
        cluster.wait_leader()
        cluster.propose(cluster.wait_leader().id, b"acknowledged")
        for _ in range(3):
            terms = {name: cluster[name].term for name in cluster.names}
            for owner in cluster.owners.values():
                owner.crash()
            for owner in cluster.owners.values():
                owner.start()
            for name, term in terms.items():
                assert cluster[name].term >= term
            cluster.propose(cluster.wait_leader().id, b"next")
            cluster.tick(4)
            for name in cluster.names:
                assert cluster.commands(name)[0] == b"acknowledged"


def test_pysyncobj_84_nothing_is_acknowledged_before_it_is_synced() -> None:
    """All peers lose power with entries in memory only: none of them was committed."""
    cluster = Cluster(3)
    cluster.elect("n1")
    for owner in cluster.owners.values():
        owner.auto_sync = False
    index, _ = cluster["n1"].propose(b"a")
    cluster.settle()
    assert all(cluster[name].log.last_index == index for name in cluster.names)
    assert all(cluster[name].commit < index for name in cluster.names)


def test_pysyncobj_164_a_leader_whose_disk_is_gone_is_replaced() -> None:
    """Its owner stops it; nothing that it had not synced was acknowledged."""
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.owners["n1"].auto_sync = False
    cluster["n1"].propose(b"half")
    cluster.owners["n1"].crash()
    leader = cluster.wait_leader()
    cluster.propose(leader.id, b"on")
    assert cluster.commands(leader.id)[-1] == b"on"


def test_pysyncobj_133_a_peer_that_knows_other_members_is_told_who_they_are() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.propose("n1", b"a")
    cluster.add("n4", joining())
    assert cluster["n4"].configuration == Configuration()
    cluster.tick(100)
    assert cluster["n4"].role is Role.FOLLOWER, "who knows nobody asks nobody"
    cluster["n1"].change_membership(["n1", "n2", "n3"], ["n4"])
    cluster.tick(4)
    assert cluster["n4"].configuration == cluster["n1"].configuration


def test_etcd_99_openraft_1747_a_lease_does_not_survive_a_transfer() -> None:
    """The order to campaign is late, the transfer was given up: there is still no lease."""
    cluster = Cluster(3, quick(lease_reads=True))
    cluster.elect("n1")
    cluster.tick(3)
    late: list[Message] = []

    def drop(message: Message) -> bool:
        if isinstance(message, TimeoutNow):
            late.append(message)
        return isinstance(message, TimeoutNow)

    cluster.drop = drop
    assert cluster["n1"].status().has_lease
    cluster["n1"].transfer_leadership("n2")
    cluster.tick(12)
    assert cluster["n1"].is_leader
    assert cluster["n1"].status().transferee is None
    assert not cluster["n1"].status().has_lease
    cluster["n2"].step(late[0])
    cluster.isolate("n1")
    cluster.settle()
    cluster.propose("n2", b"newer")
    cluster["n1"].read_index("stale?")
    cluster.settle()
    assert cluster.owners["n1"].reads == []


def test_a_read_is_not_answered_before_the_quorum_has_confirmed() -> None:
    cluster = Cluster(5)
    cluster.elect("n1")
    cluster.isolate("n1", "n2")
    cluster["n1"].read_index("x")
    cluster.tick(3)
    assert cluster.owners["n1"].reads == []


def test_a_read_at_a_new_leader_waits_for_a_commit_of_its_term() -> None:
    """Its commit index may be behind its predecessor's."""
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.drop = lambda m: isinstance(m, Append) and not m.entries
    cluster.propose("n1", b"acknowledged")
    done = cluster["n1"].commit
    assert cluster["n2"].commit < done
    cluster.owners["n1"].crash()
    cluster.drop = lambda m: isinstance(m, AppendReply)
    cluster.elect("n2")
    cluster["n2"].read_index("x")
    cluster.tick(3)
    assert cluster.owners["n2"].reads == []
    cluster.drop = lambda _: False
    cluster.tick(3)
    [read] = cluster.owners["n2"].reads
    assert read.index is not None
    assert read.index >= done


def test_a_late_answer_is_not_taken_for_the_answer_to_a_newer_question() -> None:
    """A follower asks, starts again, and asks anew: the first answer is for nobody."""
    stored = Stored(
        snapshot=SnapshotMeta(0, 0, Configuration(voters=("a", "b", "c"))),
        hard_state=HardState(1, None),
    )
    asked = []
    for seed in (1, 2):
        node = Node("a", quick(), stored, random.Random(seed))
        node.step(Heartbeat("b", "a", 1, 0, 1))
        node.read_index("question")
        ready = node.ready()
        assert ready is not None
        [request] = [m for m in ready.messages_now if isinstance(m, ReadRequest)]
        asked.append(request.number)
        if len(asked) == 2:
            node.step(ReadReply("b", "a", 1, asked[0], 5))
            assert node.ready() is None
            node.step(ReadReply("b", "a", 1, asked[1], 7))
            node.step(ReadReply("b", "a", 1, asked[1], 9))
            ready = node.ready()
            assert ready is not None
            assert [state.index for state in ready.read_states] == [7]


def test_a_peer_that_lost_its_disk_is_noticed() -> None:
    """It had acknowledged what it does not have any more, and must not go on."""
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.propose("n1", b"a", b"b")
    cluster.tick(3)
    cluster.owners["n3"].storage = cluster.add("n3", joining()).storage
    with pytest.raises(RaftViolated, match="committed, the log ends"):
        cluster.tick(5)


# Course solutions


def test_two_of_five_are_no_majority() -> None:
    cluster = Cluster(5, course())
    cluster.elect("n1")
    cluster.isolate("n1", "n2")
    index, _ = cluster["n1"].propose(b"x")
    cluster.tick(50)
    assert cluster["n1"].log.stable == index
    assert cluster["n2"].log.last_index == index
    assert cluster["n1"].commit == 0


def test_the_match_is_what_was_sent_and_not_the_end_of_the_log() -> None:
    """A follower with a long wrong tail answers a heartbeat-like append."""
    stored = Stored(
        snapshot=SnapshotMeta(0, 0, Configuration(voters=("a", "b", "c"))),
        hard_state=HardState(2, None),
        entries=tuple(Entry(index, 1) for index in range(1, 60)),
    )
    node = Node("a", course(), stored, random.Random(1))
    node.step(Append("b", "a", 2, 3, 1, (), 0))
    ready = node.ready()
    assert ready is not None
    assert [m.index for m in ready.messages_after_sync if isinstance(m, AppendReply)] == [3]


@pytest.mark.parametrize("reply", ["vote", "append", "heartbeat"])
def test_an_answer_of_an_older_term_changes_nothing(reply: str) -> None:
    cluster = Cluster(3, course())
    cluster.elect("n1")
    old = cluster["n1"].term
    cluster.isolate("n1")
    cluster.elect("n2")
    cluster.heal()
    cluster.tick(3)
    for name in cluster.names:
        cluster.isolate(name)
    cluster["n1"].campaign()
    cluster.settle()
    index = cluster["n2"].propose(b"x")[0]
    cluster.settle()
    messages: dict[str, Message] = {
        "vote": VoteReply("n3", "n1", old, granted=True),
        "append": AppendReply("n3", "n2", old, index),
        "heartbeat": HeartbeatReply("n3", "n2", old, 99),
    }
    message = messages[reply]
    before = cluster[message.to].status()
    cluster[message.to].step(message)
    after = cluster[message.to].status()
    assert (after.role, after.commit, after.peers) == (before.role, before.commit, before.peers)


def test_an_unreachable_peer_holds_nobody_up() -> None:
    """Heartbeats to the others keep their time, and what waits for it is bounded."""
    config = course(max_inflight_messages=4)
    cluster = Cluster(3, config)
    cluster.elect("n1")
    cluster.isolate("n3")
    for number in range(50):
        cluster.propose("n1", b"%d" % number)
    assert len(cluster.commands("n1")) == 50
    assert cluster["n1"].status().peers["n3"].inflight <= 4
    before = cluster.sent["Heartbeat"]
    cluster.tick(20)
    assert cluster.sent["Heartbeat"] - before == 2 * 20 // config.heartbeat_ticks
    assert cluster["n2"].role is Role.FOLLOWER


def test_a_message_in_flight_shares_nothing_that_changes() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    caught: list[Append] = []

    def drop(message: Message) -> bool:
        if isinstance(message, Append) and message.to == "n3":
            caught.append(message)
        return message.to == "n3"

    cluster.drop = drop
    cluster.propose("n1", b"a", b"b")
    copies = [(append.prev_index, tuple(append.entries)) for append in caught]
    cluster.propose("n1", b"c")
    cluster.owners["n1"].snapshot()
    assert [(append.prev_index, append.entries) for append in caught[: len(copies)]] == copies
    with pytest.raises(AttributeError):
        caught[0].entries[0].data = b"changed"  # type: ignore[misc]


def test_what_is_being_applied_does_not_hold_up_reads_or_elections() -> None:
    """The node hands out and goes on; the owner says later that it has applied."""
    cluster = Cluster(3, quick(max_apply_entries=1))
    leader = cluster.elect("n1")
    leader.propose(b"a")
    leader.propose(b"b")
    handed: list[Entry] = []
    while (ready := leader.ready()) is not None:
        handed += ready.committed
        cluster.send(ready.messages_now)
        if ready.entries:
            leader.persisted(ready.last_index, ready.last_term)
    for name in ("n2", "n3"):
        cluster.owners[name].pump()
    leader.read_index("x")
    assert len(handed) <= 1
    assert leader.is_leader


@pytest.mark.parametrize("seed", range(10))
def test_eleven_peers_do_not_split_their_votes_for_ever(seed: int) -> None:
    """Even where every message takes a tick, and the range of timeouts is narrow."""
    config = course(election_ticks_spread=10, election_ticks=20)
    cluster = Cluster(11, config, seed=seed)
    cluster.delay = lambda _: 1
    assert cluster.tick_until(cluster.leader) < 500


# Found by simulation


def test_a_snapshot_of_ones_own_does_not_replace_a_later_one_that_was_installed() -> None:
    """It was taken before and written after: the entries between the two are gone."""
    cluster = Cluster(3, quick(keep_entries=0))
    cluster.elect("n1")
    cluster.propose("n1", b"a")
    cluster.tick(3)
    own = cluster["n3"].describe_snapshot(cluster["n3"].log.applied, 3, zlib.crc32(b"own"))
    cluster.isolate("n3")
    cluster.propose("n1", b"b", b"c")
    cluster.owners["n1"].snapshot(b"leader's")
    cluster.heal()
    cluster.tick(5)
    storage = cluster.owners["n3"].storage
    latest = cluster["n3"].snapshot_index
    assert latest > own.index
    storage.save_now(own, b"own")
    storage.compact_now(cluster["n3"].snapshot_persisted(own))
    cluster.owners["n3"].crash()
    cluster.owners["n3"].start()
    assert cluster["n3"].snapshot_index == latest


def test_a_log_that_does_not_reach_back_to_its_snapshot_is_refused() -> None:
    meta = SnapshotMeta(3, 1, Configuration(voters=("a",)))
    for base, terms in ((5, (1,)), (0, (1,))):
        entries = tuple(Entry(base + 1 + place, term) for place, term in enumerate(terms))
        stored = Stored(snapshot=meta, entries=entries, base_index=base, base_term=1)
        with pytest.raises(RaftViolated, match=r"snapshot ends at 3|3 are committed"):
            Node("a", quick(), stored, random.Random(1))
