"""The rules of Raft, each by its section of the paper (Figure 2) or of the dissertation."""

import pytest

from tests.support.raft_cluster import Cluster, course, quick
from trio440.errors import ChangeRefused, NotLeader, ProposalRefused, TransferRefused
from trio440.raft.state import Role
from trio440.raft.storage import joining


def test_one_leader_is_elected_and_commands_are_applied_everywhere() -> None:
    cluster = Cluster(3)
    leader = cluster.wait_leader()
    cluster.propose(leader.id, b"a", b"b")
    cluster.tick(3)
    for name in cluster.names:
        assert cluster.commands(name) == [b"a", b"b"]


def test_a_single_voter_leads_itself() -> None:
    cluster = Cluster(1)
    leader = cluster.wait_leader()
    assert leader.propose(b"a") == (2, 1)
    cluster.settle()
    assert cluster.commands("n1") == [b"a"]


def test_followers_refuse_commands_and_name_the_leader() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    with pytest.raises(NotLeader) as caught:
        cluster["n2"].propose(b"x")
    assert caught.value.leader == "n1"


def test_a_crashed_majority_comes_back_with_what_was_committed() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.propose("n1", b"a")
    for owner in cluster.owners.values():
        owner.crash()
    for owner in cluster.owners.values():
        owner.start()
    leader = cluster.wait_leader()
    cluster.propose(leader.id, b"b")
    cluster.tick(3)
    for name in cluster.names:
        assert cluster.commands(name) == [b"a", b"b"]


def test_the_leader_counts_itself_only_when_its_own_disk_is_done() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.isolate("n3")
    owner = cluster.owners["n1"]
    owner.auto_sync = False
    index, _ = cluster["n1"].propose(b"a")
    cluster.settle()
    assert cluster["n2"].log.last_index == index, "replication runs beside the leader's own sync"
    assert cluster["n1"].commit < index
    owner.sync()
    assert cluster["n1"].commit == index


def test_followers_beside_the_leader_can_commit_what_its_disk_has_not() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.owners["n1"].auto_sync = False
    index, _ = cluster["n1"].propose(b"a")
    cluster.settle()
    assert cluster["n1"].commit == index
    assert cluster.commands("n1") == [], "applied only where it is durable"
    cluster.owners["n1"].sync()
    cluster.settle()
    assert cluster.commands("n1") == [b"a"]


def test_transfer_brings_the_target_up_to_date_and_makes_it_the_leader() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.isolate("n2")
    cluster.propose("n1", b"a")
    cluster.heal()
    cluster["n1"].transfer_leadership("n2")
    with pytest.raises(ProposalRefused, match="n2"):
        cluster["n1"].propose(b"b")
    cluster.tick(5)
    assert cluster["n2"].is_leader
    assert cluster.commands("n2") == [b"a"]


def test_a_transfer_to_a_dead_peer_is_given_up() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.owners["n2"].crash()
    cluster["n1"].transfer_leadership("n2")
    with pytest.raises(TransferRefused):
        cluster["n1"].transfer_leadership("n3")
    cluster.tick(10)
    cluster.propose("n1", b"a")
    assert cluster.commands("n1") == [b"a"]


def test_a_lagging_follower_gets_a_snapshot_in_pieces() -> None:
    cluster = Cluster(3, quick(snapshot_chunk_bytes=10, keep_entries=0))
    cluster.elect("n1")
    cluster.isolate("n3")
    cluster.propose("n1", *[b"%d" % i for i in range(20)])
    meta = cluster.owners["n1"].snapshot(bytes(range(95)))
    cluster.heal()
    cluster.tick(5)
    assert cluster["n3"].status().snapshot_index == meta.index
    assert cluster.owners["n3"].storage._data == bytes(range(95))
    assert cluster.sent["InstallSnapshot"] == 10
    cluster.propose("n1", b"after")
    cluster.tick()
    assert cluster.commands("n3") == [b"after"]


def test_reads_wait_for_the_quorum_on_the_leader_and_through_a_follower() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster["n1"].read_index("here")
    cluster["n2"].read_index("there")
    cluster.settle()
    assert [(read.context, read.index) for read in cluster.owners["n1"].reads] == [("here", 1)]
    assert [(read.context, read.index) for read in cluster.owners["n2"].reads] == [("there", 1)]


def test_a_learner_catches_up_and_is_promoted() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.propose("n1", b"a")
    cluster.add("n4", joining())
    with pytest.raises(ChangeRefused, match="n4"):
        cluster["n1"].change_membership(["n1", "n2", "n3", "n4"])
    cluster["n1"].change_membership(["n1", "n2", "n3"], ["n4"])
    cluster.settle()
    assert cluster.commands("n4") == [b"a"]
    assert cluster["n1"].status().peers["n4"].is_caught_up
    cluster["n1"].change_membership(["n1", "n2", "n3", "n4"])
    cluster.settle()
    assert cluster["n4"].configuration.voters == ("n1", "n2", "n3", "n4")


def test_a_removed_leader_leads_its_removal_to_the_end_and_steps_down() -> None:
    cluster = Cluster(3)
    cluster.elect("n1").change_membership(["n2", "n3"])
    cluster.settle()
    assert cluster["n1"].role is Role.FOLLOWER
    leader = cluster.wait_leader()
    assert leader.id in ("n2", "n3")
    cluster.tick(100)
    assert cluster.leader() is leader, "the removed peer disturbs nobody"


def test_a_swap_of_two_voters_passes_through_a_joint_configuration() -> None:
    cluster = Cluster(4, names=["n1", "n2", "n3"], learners=["n4", "n5"])
    cluster.elect("n1")
    cluster.propose("n1", b"a")
    cluster["n1"].change_membership(["n1", "n4", "n5"])
    steps = [cluster["n1"].configuration]
    cluster.settle()
    steps.append(cluster["n5"].configuration)
    assert [step.is_joint for step in steps] == [True, False]
    assert steps[1].voters == ("n1", "n4", "n5")


def test_the_course_starts_at_index_one_and_a_cut_off_leader_goes_on_believing() -> None:
    cluster = Cluster(3, course())
    leader = cluster.wait_leader()
    assert leader.propose(b"first")[0] == 1
    cluster.settle()
    cluster.isolate(leader.id)
    cluster.tick(200)
    assert leader.is_leader
    other = cluster.leader()
    assert other is not None
    assert other is not leader
    cluster.heal()
    cluster.tick(20)
    assert cluster[leader.id].role is Role.FOLLOWER
