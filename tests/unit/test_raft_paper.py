"""Sections of the paper and of the dissertation, rule by rule."""

import random
from typing import TypeVar

import pytest

from tests.support.raft_cluster import Cluster, course, quick
from trio440.errors import ChangeRefused, RaftViolated
from trio440.raft.config import Config
from trio440.raft.membership import Configuration
from trio440.raft.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    RequestVote,
    SnapshotMeta,
    TimeoutNow,
    VoteReply,
)
from trio440.raft.node import Node
from trio440.raft.ready import Ready
from trio440.raft.state import Role
from trio440.raft.storage import Stored, bootstrap

M = TypeVar("M")
THREE = ("a", "b", "c")
FIVE = ("a", "b", "c", "d", "e")


def solo(
    name: str = "a",
    *terms: int,
    term: int = 0,
    vote: str | None = None,
    voters: tuple[str, ...] = THREE,
    config: Config | None = None,
) -> Node:
    """A node whose log has entries of these terms."""
    entries = tuple(Entry(index, at) for index, at in enumerate(terms, 1))
    stored = Stored(
        snapshot=SnapshotMeta(0, 0, Configuration(voters=voters)),
        hard_state=HardState(max(term, *terms, 0) if terms else term, vote),
        entries=entries,
    )
    return Node(name, config or course(), stored, random.Random(1))


def take(node: Node) -> list[Ready]:
    found = []
    while (ready := node.ready()) is not None:
        found.append(ready)
    return found


def sent(node: Node, kind: type[M]) -> list[M]:
    """Everything of a kind that it sends now, promises included."""
    found: list[Message] = []
    for ready in take(node):
        found += [*ready.messages_now, *ready.messages_after_sync]
    return [message for message in found if isinstance(message, kind)]


def lead(node: Node) -> Node:
    """Win an election with everybody's votes, and have everything written."""
    node.campaign()
    write(node)
    for peer in node.configuration.voters:
        if peer != node.id:
            node.step(VoteReply(peer, node.id, node.term, granted=True))
    assert node.is_leader
    return node


def write(node: Node) -> list[Message]:
    """Let everything become durable, and return what is sent."""
    found: list[Message] = []
    for _ in range(5):
        for ready in take(node):
            found += ready.messages_now
            if ready.entries:
                node.persisted(ready.last_index, ready.last_term)
            for message in ready.messages_after_sync:
                if message.to == node.id:
                    node.step(message)
                else:
                    found.append(message)
    return found


# 5.1


def test_5_1_a_later_term_turns_everybody_into_a_follower() -> None:
    node = lead(solo())
    node.step(HeartbeatReply("b", "a", 9, 1))
    assert (node.role, node.term, node.leader) == (Role.FOLLOWER, 9, None)


def test_5_1_a_request_of_an_older_term_is_refused_with_the_term() -> None:
    node = solo(term=5)
    node.step(Append("b", "a", 3, 0, 0, (Entry(1, 3),), 1))
    node.step(RequestVote("b", "a", 4, 9, 4))
    [ready] = take(node)
    assert ready.messages_after_sync == (
        AppendReply("a", "b", 5, 0, rejected=True),
        VoteReply("a", "b", 5, granted=False),
    )
    assert node.log.last_index == 0


# 5.2


def test_5_2_a_candidate_votes_for_itself_and_asks_all_others_when_that_is_durable() -> None:
    node = solo("a", 1, 2)
    node.campaign()
    [ready] = take(node)
    assert ready.must_sync
    assert ready.hard_state == HardState(3, "a", 0)
    assert not ready.messages_now
    assert ready.messages_after_sync == (
        VoteReply("a", "a", 3, granted=True),
        RequestVote("a", "b", 3, 2, 2),
        RequestVote("a", "c", 3, 2, 2),
    )


@pytest.mark.parametrize(
    ("votes", "role"),
    [
        ({}, Role.CANDIDATE),
        ({"b": True}, Role.CANDIDATE),
        ({"b": True, "c": True}, Role.LEADER),
        ({"b": False, "c": False}, Role.CANDIDATE),
        ({"b": False, "c": False, "d": False}, Role.FOLLOWER),
        ({"b": True, "c": False, "d": False}, Role.CANDIDATE),
    ],
)
def test_5_2_a_majority_of_five_elects_and_a_majority_refuses(
    votes: dict[str, bool], role: Role
) -> None:
    node = solo(voters=FIVE)
    node.campaign()
    write(node)
    for peer, granted in votes.items():
        node.step(VoteReply(peer, "a", node.term, granted=granted))
        node.step(VoteReply(peer, "a", node.term, granted=granted))
    assert node.role is role


def test_5_2_one_vote_a_term_first_come_first_served() -> None:
    node = solo()
    node.step(RequestVote("b", "a", 1, 0, 0))
    node.step(RequestVote("c", "a", 1, 0, 0))
    node.step(RequestVote("b", "a", 1, 0, 0))
    assert [(reply.to, reply.granted) for reply in sent(node, VoteReply)] == [
        ("b", True),
        ("c", False),
        ("b", True),
    ]


def test_5_2_a_vote_is_remembered_through_a_restart() -> None:
    node = solo(term=4, vote="c")
    node.step(RequestVote("b", "a", 4, 0, 0))
    [reply] = sent(node, VoteReply)
    assert not reply.granted


def test_5_2_a_candidate_follows_the_leader_of_its_term() -> None:
    node = solo()
    node.campaign()
    node.step(Append("b", "a", node.term, 0, 0, (), 0))
    assert (node.role, node.leader) == (Role.FOLLOWER, "b")


def test_5_2_two_leaders_of_one_term_are_not_believed() -> None:
    node = lead(solo())
    with pytest.raises(RaftViolated, match="both lead"):
        node.step(Heartbeat("b", "a", node.term, 0, 1))


def test_5_2_election_timeouts_spread_and_are_drawn_anew() -> None:
    waits = set()
    for seed in range(60):
        node = Node("a", course(), bootstrap(THREE), random.Random(seed))
        count = 0
        while node.role is Role.FOLLOWER:
            node.tick()
            count += 1
        waits.add(count)
    assert waits == set(range(10, 20))


def test_5_2_the_timer_starts_again_only_for_a_leader_and_a_granted_vote() -> None:
    def ticks_to_campaign(message: Message | None) -> int:
        node = solo("a", 1, term=1, vote="b")
        for _ in range(9):
            node.tick()
        if message is not None:
            node.step(message)
        count = 0
        while node.role is Role.FOLLOWER:
            node.tick()
            count += 1
        return count

    plain = ticks_to_campaign(None)
    assert ticks_to_campaign(RequestVote("c", "a", 1, 9, 9)) == plain, "refused"
    assert ticks_to_campaign(RequestVote("c", "a", 2, 0, 0)) == plain, "a new term, refused"
    assert ticks_to_campaign(Append("c", "a", 0, 0, 0, (), 0)) == plain, "an old leader"
    assert ticks_to_campaign(RequestVote("c", "a", 2, 9, 9)) == plain + 9
    assert ticks_to_campaign(Heartbeat("b", "a", 1, 0, 1)) == plain + 9


# 5.3


def test_5_3_a_leader_sends_what_follows_and_commits_with_a_majority() -> None:
    node = lead(solo(voters=FIVE))
    node.propose(b"x")
    node.propose(b"y")
    appends = [message for message in write(node) if isinstance(message, Append)]
    assert [len(append.entries) for append in appends] == [2, 2, 2, 2], "one message for both"
    node.step(AppendReply("b", "a", node.term, 2))
    assert node.commit == 0, "two of five are no majority"
    node.step(AppendReply("c", "a", node.term, 1))
    assert node.commit == 1
    assert [entry.data for ready in take(node) for entry in ready.committed] == [b"x"]


@pytest.mark.parametrize(
    ("theirs", "prev", "prev_term", "hint"),
    [((), 2, 2, (0, 0)), ((1,), 2, 2, (1, 1)), ((1, 1), 2, 2, (2, 1)), ((1, 3, 3), 3, 2, (1, 1))],
)
def test_5_3_a_follower_rejects_what_does_not_follow_with_a_hint(
    theirs: tuple[int, ...], prev: int, prev_term: int, hint: tuple[int, int]
) -> None:
    node = solo("a", *theirs)
    node.step(Append("b", "a", 4, prev, prev_term, (Entry(prev + 1, 4),), 0))
    [reply] = sent(node, AppendReply)
    assert reply.rejected
    assert (reply.index, reply.hint_index, reply.hint_term) == (prev, *hint)


@pytest.mark.parametrize(
    ("theirs", "prev", "new", "result"),
    [
        ((1, 1, 1), 1, (), (1, 1, 1)),
        ((1, 1, 1), 1, (1,), (1, 1, 1)),
        ((1, 1, 1), 1, (2,), (1, 2)),
        ((1, 2, 2), 1, (3, 3), (1, 3, 3)),
        ((1,), 1, (2, 3), (1, 2, 3)),
        ((1, 2), 0, (1, 2, 3), (1, 2, 3)),
    ],
)
def test_5_3_entries_that_conflict_go_and_others_stay(
    theirs: tuple[int, ...], prev: int, new: tuple[int, ...], result: tuple[int, ...]
) -> None:
    """A late message that says less than the log has takes nothing away."""
    node = solo("a", *theirs)
    entries = tuple(Entry(prev + 1 + place, term) for place, term in enumerate(new))
    prev_term = theirs[prev - 1] if prev else 0
    node.step(Append("b", "a", 4, prev, prev_term, entries, 0))
    [reply] = sent(node, AppendReply)
    assert not reply.rejected
    assert reply.index == prev + len(new), "what was sent"
    assert tuple(node.log.entry(i).term for i in range(1, node.log.last_index + 1)) == result


def test_5_3_a_follower_commits_no_more_than_it_was_sent() -> None:
    node = solo("a", 1, 1, 1)
    node.step(Append("b", "a", 2, 1, 1, (), 3))
    assert node.commit == 1


def test_5_3_a_follower_acknowledges_when_its_entries_are_durable() -> None:
    node = solo()
    node.step(Append("b", "a", 1, 0, 0, (Entry(1, 1),), 0))
    [ready] = take(node)
    assert ready.must_sync
    assert ready.entries == (Entry(1, 1),)
    assert not ready.messages_now
    assert ready.messages_after_sync == (AppendReply("a", "b", 1, 1),)


def test_5_3_what_a_message_holds_does_not_change_with_the_log() -> None:
    node = lead(solo())
    node.propose(b"x")
    [append] = [m for ready in take(node) for m in ready.messages_now if m.to == "b"]
    assert isinstance(append, Append)
    node.step(Append("c", "a", node.term + 1, 0, 0, (Entry(1, node.term + 1, b"other"),), 0))
    assert [entry.data for entry in append.entries] == [b"x"]


# 5.4


@pytest.mark.parametrize(
    ("ours", "last_index", "last_term", "granted"),
    [
        ((1, 1), 2, 1, True),
        ((1, 1), 3, 1, True),
        ((1, 1), 1, 1, False),
        ((1, 1), 1, 2, True),
        ((1, 2), 3, 1, False),
        ((), 0, 0, True),
    ],
)
def test_5_4_1_votes_go_to_logs_that_are_as_complete(
    ours: tuple[int, ...], last_index: int, last_term: int, granted: bool
) -> None:
    node = solo("a", *ours)
    node.step(RequestVote("b", "a", 5, last_index, last_term))
    [reply] = sent(node, VoteReply)
    assert reply.granted is granted


def test_5_4_2_entries_of_older_terms_are_committed_by_one_of_the_own_only() -> None:
    """Figure 8."""
    node = lead(solo("a", 1, 2))
    take(node)
    node.step(AppendReply("b", "a", node.term, 2))
    assert node.commit == 0
    index, _ = node.propose(b"x")
    write(node)
    node.step(AppendReply("b", "a", node.term, index))
    assert node.commit == index


# 6, and 4 of the dissertation


def test_6_a_joint_configuration_needs_both_majorities() -> None:
    cluster = Cluster(3, quick(), learners=["n4", "n5"])
    cluster.elect("n1")
    cluster.propose("n1", b"a")
    cluster.isolate("n2", "n3")
    before = cluster["n1"].commit
    cluster["n1"].change_membership(["n1", "n4", "n5"])
    cluster.settle()
    assert cluster["n1"].commit == before, "the new majority alone decides nothing"
    cluster.heal()
    cluster.tick(4)
    assert cluster["n1"].configuration == Configuration(voters=("n1", "n4", "n5"))


def test_6_the_next_leader_completes_a_change() -> None:
    cluster = Cluster(3, quick(), learners=["n4", "n5"])
    cluster.elect("n1")
    cluster.propose("n1", b"a")
    cluster.drop = lambda m: isinstance(m, AppendReply)
    cluster["n1"].change_membership(["n1", "n4", "n5"])
    cluster.settle()
    cluster.owners["n1"].crash()
    cluster.drop = lambda _: False
    leader = cluster.wait_leader()
    cluster.tick(10)
    assert leader.configuration.voters == ("n1", "n4", "n5")
    cluster.owners["n1"].start()
    cluster.tick(60)
    final = cluster.leader()
    assert final is not None
    assert final.id in ("n1", "n4", "n5")


def test_4_1_one_change_at_a_time_and_none_before_a_commit_of_the_term() -> None:
    cluster = Cluster(3, course(), learners=["n4"])
    cluster.elect("n1")
    with pytest.raises(ChangeRefused, match="nothing of this leader's term"):
        cluster["n1"].change_membership(["n1", "n2"])
    cluster.propose("n1", b"a")
    cluster["n1"].change_membership(["n1", "n2"], ["n3", "n4"])
    with pytest.raises(ChangeRefused, match="before"):
        cluster["n1"].change_membership(["n1"])


def test_4_1_a_change_that_is_overwritten_counts_no_more() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.isolate("n1")
    cluster["n1"].change_membership(["n1", "n2"])
    cluster.settle()
    members = [cluster["n1"].configuration.members]
    cluster.elect("n2")
    cluster.heal()
    cluster.tick(5)
    members.append(cluster["n1"].configuration.members)
    assert members == [("n1", "n2"), ("n1", "n2", "n3")]


def test_4_2_2_who_is_removed_by_an_entry_that_only_it_has_can_still_win() -> None:
    """Two voters, one of which removes itself and then starts again."""
    cluster = Cluster(2)
    cluster.elect("n1")
    cluster.isolate("n1")
    cluster["n1"].change_membership(["n2"])
    cluster.settle()
    for owner in cluster.owners.values():
        owner.crash()
        owner.start()
    cluster.heal()
    cluster.tick_until(lambda: cluster["n2"].is_leader)
    assert cluster["n2"].configuration.voters == ("n2",)


def test_4_2_3_a_removed_peer_that_does_not_know_disturbs_nobody() -> None:
    cluster = Cluster(4, quick(pre_vote=False))
    cluster.elect("n1")
    cluster.isolate("n4")
    cluster["n1"].change_membership(["n1", "n2", "n3"])
    cluster.settle()
    cluster.heal()
    term = cluster["n1"].term
    cluster.tick(100)
    assert cluster["n4"].term > term, "it asks for votes"
    assert cluster["n1"].is_leader
    assert cluster["n1"].term == term


def test_4_2_3_a_leader_without_a_quorum_steps_down() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.isolate("n1")
    cluster.tick(21)
    assert not cluster["n1"].is_leader


# 7


def test_7_a_follower_that_is_too_far_behind_is_sent_a_snapshot_with_its_members() -> None:
    cluster = Cluster(3, quick(keep_entries=0))
    cluster.elect("n1")
    cluster.isolate("n3")
    cluster.propose("n1", b"a", b"b")
    cluster["n1"].change_membership(["n1", "n2", "n3"], ["n4"])
    cluster.settle()
    cluster.owners["n1"].snapshot()
    cluster.heal()
    cluster.tick(5)
    assert cluster["n3"].configuration.learners == ("n4",)
    assert cluster["n3"].snapshot_index == cluster["n1"].snapshot_index


def test_7_a_snapshot_of_what_is_committed_already_changes_nothing() -> None:
    cluster = Cluster(3, quick(keep_entries=0))
    cluster.elect("n1")
    cluster.propose("n1", b"a")
    cluster.tick(3)
    meta = cluster.owners["n1"].snapshot(b"old")
    before = cluster["n2"].log.last_index
    cluster["n2"].step(InstallSnapshot("n1", "n2", cluster["n1"].term, meta, 0, b"old", 0))
    cluster.settle()
    assert cluster["n2"].log.last_index == before
    assert cluster["n2"].snapshot_index == 0


@pytest.mark.parametrize("cut_after", range(1, 10))
def test_7_a_transfer_goes_on_where_it_was_cut(cut_after: int) -> None:
    cluster = Cluster(3, quick(keep_entries=0, snapshot_chunk_bytes=10))
    cluster.elect("n1")
    cluster.isolate("n3")
    cluster.propose("n1", b"a")
    cluster.owners["n1"].snapshot(bytes(95))
    cluster.heal()
    pieces: list[int] = []

    def drop(message: Message) -> bool:
        if not isinstance(message, InstallSnapshot):
            return False
        pieces.append(message.offset)
        return len(pieces) == cut_after

    cluster.drop = drop
    cluster.tick(30)
    assert cluster["n3"].snapshot_index == cluster["n1"].snapshot_index
    assert len(pieces) == 11, "ten pieces, one of them twice"


def test_7_a_half_received_snapshot_survives_a_restart_of_the_follower() -> None:
    cluster = Cluster(3, quick(keep_entries=0, snapshot_chunk_bytes=10))
    cluster.elect("n1")
    cluster.isolate("n3")
    cluster.propose("n1", b"a")
    cluster.owners["n1"].snapshot(bytes(95))
    cluster.heal()
    offsets: list[int] = []

    def drop(message: Message) -> bool:
        if not isinstance(message, InstallSnapshot):
            return False
        offsets.append(message.offset)
        return len(offsets) == 6

    cluster.drop = drop
    cluster.tick_until(lambda: len(offsets) == 6)
    cluster.owners["n3"].crash()
    cluster.owners["n3"].start()
    offsets.clear()
    cluster.tick(30)
    assert cluster["n3"].snapshot_index == cluster["n1"].snapshot_index
    assert min(offsets) >= 50, "the first five pieces are not sent again"


# 8, and 6.4 of the dissertation


def test_8_a_new_leader_commits_an_entry_of_its_own_at_once() -> None:
    node = lead(solo("a", 1, 1, config=quick(pre_vote=False)))
    appends = [message for message in write(node) if isinstance(message, Append)]
    assert [entry.kind for entry in node.log.entries(3, 3)] == [EntryKind.NO_OP]
    assert appends
    node.step(AppendReply("b", "a", node.term, 3))
    assert node.commit == 3


def test_6_4_a_read_waits_for_heartbeats_that_were_sent_after_it() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.tick(2)
    reads = cluster.owners["n1"].reads
    cluster.isolate("n1")
    cluster["n1"].read_index("cut off")
    cluster.tick(3)
    assert not reads
    cluster.heal()
    cluster.tick(2)
    assert [read.context for read in reads] == ["cut off"]


def test_6_4_many_reads_share_one_round_and_none_waits_for_a_tick() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    before = cluster.sent["Heartbeat"]
    for number in range(100):
        cluster["n1"].read_index(number)
    cluster.settle()
    assert [read.context for read in cluster.owners["n1"].reads] == list(range(100))
    assert cluster.sent["Heartbeat"] == before + 2


def test_6_4_a_deposed_leader_gives_its_reads_up() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.isolate("n1")
    cluster["n1"].read_index("old")
    cluster.settle()
    cluster.elect("n2")
    cluster.propose("n2", b"a")
    cluster.heal()
    cluster.tick(3)
    assert [(read.context, read.index) for read in cluster.owners["n1"].reads] == [("old", None)]


def test_6_4_1_a_lease_ends_before_the_followers_loyalty() -> None:
    config = quick(lease_reads=True)
    cluster = Cluster(3, config)
    cluster.elect("n1")
    cluster.tick(2)
    assert cluster["n1"].status().has_lease
    cluster["n1"].read_index("at once")
    assert cluster["n1"].ready().read_states[0].context == "at once"  # type: ignore[union-attr]
    cluster.isolate("n1")
    since = 0
    while cluster["n1"].status().has_lease:
        cluster.tick()
        since += 1
    assert since < config.election_ticks
    request = RequestVote("n3", "n2", cluster["n2"].term + 1, 99, 99)
    cluster["n2"].step(request)
    assert cluster["n2"].term < request.term, "still loyal"


# 3.10 of the dissertation


def test_3_10_the_target_campaigns_at_once_and_loyalty_does_not_count() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    requests: list[RequestVote] = []

    def watch(message: Message) -> bool:
        if isinstance(message, RequestVote):
            requests.append(message)
        return False

    cluster.drop = watch
    cluster["n1"].transfer_leadership("n3")
    cluster.settle()
    assert cluster["n3"].is_leader
    assert requests
    assert all(request.transfer and not request.pre for request in requests)


def test_3_10_only_the_leader_of_the_term_can_order_an_election() -> None:
    node = solo(config=quick())
    node.step(Heartbeat("b", "a", 1, 0, 1))
    node.step(TimeoutNow("c", "a", 1))
    node.step(TimeoutNow("b", "a", 0))
    assert node.term == 1
    node.step(TimeoutNow("b", "a", 1))
    assert (node.term, node.role) == (2, Role.CANDIDATE)


# 9.6 of the dissertation


def test_9_6_a_pre_vote_changes_nothing() -> None:
    node = solo("a", 1, config=quick())
    for _ in range(10):
        node.tick()
    term, before = node.term, node.role
    node.step(RequestVote("b", "a", term + 1, 1, 1, pre=True))
    [ready] = take(node)
    assert ready.hard_state is None
    assert ready.messages_after_sync == (VoteReply("a", "b", term + 1, granted=True, pre=True),)
    assert (node.term, node.role) == (term, before)


def test_9_6_a_peer_that_comes_back_does_not_raise_the_term() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    term = cluster["n1"].term
    cluster.isolate("n3")
    cluster.tick(100)
    assert cluster["n3"].term == term
    cluster.heal()
    cluster.tick(30)
    assert cluster["n1"].is_leader
    assert cluster["n1"].term == term


def test_9_6_old_pre_votes_do_not_elect() -> None:
    node = solo(config=quick(check_quorum=False), voters=FIVE)
    node.campaign()
    node.step(VoteReply("b", "a", 1, granted=True, pre=True))
    node.step(RequestVote("b", "a", 1, 0, 0))
    node.campaign()
    assert node.role is Role.PRE_CANDIDATE
    node.step(VoteReply("c", "a", 1, granted=True, pre=True))
    node.step(VoteReply("d", "a", 1, granted=True, pre=True))
    assert node.role is Role.PRE_CANDIDATE, "they were for term 1, which has begun since"
