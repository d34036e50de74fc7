"""The scenarios of CMU 15-440's second project, over seeds, with the course's configuration.

A tick is 10 ms. The network is the course's: a call that is lost is simply not answered, and
``unreliable``, ``reordering`` and ``long delays`` are as its simulated network has them.
"""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.support.raft_cluster import Cluster
from trio440.raft.config import Config
from trio440.raft.messages import AppendReply, HeartbeatReply, Message, SnapshotReply, VoteReply
from trio440.raft.node import Node

SECOND = 100
ELECTION_LIMIT = 5 * SECOND
REPLIES = (AppendReply, VoteReply, HeartbeatReply, SnapshotReply)
seeds = pytest.mark.parametrize("seed", range(5))


def open_cluster(count: int, seed: int) -> Cluster:
    return Cluster(count, Config.course(), seed=seed)


def check_one_leader(cluster: Cluster) -> Node:
    """Wait for a leader; two of one term are noticed by the cluster."""
    assert cluster.tick_until(cluster.leader, ELECTION_LIMIT) <= ELECTION_LIMIT
    leader = cluster.leader()
    assert leader is not None
    return leader


def agree(cluster: Cluster, command: bytes, names: list[str], limit: int = 10 * SECOND) -> None:
    """Propose, to whoever leads, until everybody named has applied the command."""

    def done() -> bool:
        return all(command in cluster.commands(name) for name in names)

    for _ in range(5):
        leader = cluster.leader()
        if leader is not None:
            leader.propose(command)
        for _ in range(limit // 5):
            cluster.tick()
            if done():
                return
    raise AssertionError(f"no agreement about {command!r}")


def check_same(cluster: Cluster) -> None:
    """What one has applied is the beginning of what another one has."""
    logs = sorted((cluster.commands(name) for name in cluster.names), key=len)
    for shorter, longer in pairwise(logs):
        assert longer[: len(shorter)] == shorter


def unreliable(cluster: Cluster) -> None:
    """0 to 26 ms of delay, a tenth of requests and of replies lost."""
    rng = random.Random(f"unreliable/{cluster.seed}")
    cluster.delay = lambda _: rng.randrange(3)
    cluster.drop = lambda _: rng.random() < 0.1


def reordering(cluster: Cluster) -> None:
    """Two replies in three are 200 to 2200 ms late."""
    unreliable(cluster)
    rng = random.Random(f"reordering/{cluster.seed}")

    def delay(message: Message) -> int:
        late = isinstance(message, REPLIES) and rng.random() < 2 / 3
        return rng.randint(20, 220) if late else rng.randrange(3)

    cluster.delay = delay


def long_delays(cluster: Cluster) -> None:
    """Now and then a message takes up to seven seconds."""
    rng = random.Random(f"long/{cluster.seed}")
    cluster.delay = lambda _: rng.randrange(700) if rng.random() < 0.1 else 0


@seeds
def test_initial_election(seed: int) -> None:
    cluster = open_cluster(3, seed)
    leader = check_one_leader(cluster)
    term = leader.term
    cluster.tick(4 * SECOND)
    assert cluster.leader() is leader
    assert leader.term == term, "nobody disturbs a leader that is heard"


@seeds
@pytest.mark.parametrize("count", [3, 5, 11])
def test_re_election(count: int, seed: int) -> None:
    cluster = open_cluster(count, seed)
    first = check_one_leader(cluster)
    cluster.isolate(first.id)
    cluster.tick_until(lambda: cluster.leader() is not first, ELECTION_LIMIT)
    second = check_one_leader(cluster)
    cluster.heal()
    cluster.tick(SECOND)
    assert cluster.leader() is second, "the old leader starts no election when it returns"
    assert not first.is_leader


@seeds
def test_no_leader_without_a_majority(seed: int) -> None:
    cluster = open_cluster(5, seed)
    leader = check_one_leader(cluster)
    gone = [leader.id, *[name for name in cluster.names if name != leader.id][:2]]
    for name in gone:
        cluster.isolate(name)
    cluster.tick(5 * SECOND)
    rest = [cluster[name] for name in cluster.names if name not in gone]
    assert not any(node.is_leader for node in rest)
    cluster.heal()
    check_one_leader(cluster)


@seeds
def test_a_cut_off_leader_believes_commits_nothing_and_steps_down(seed: int) -> None:
    cluster = open_cluster(5, seed)
    old = check_one_leader(cluster)
    agree(cluster, b"before", cluster.names)
    cluster.isolate(old.id)
    commit = old.commit
    for number in range(5):
        old.propose(b"lost %d" % number)
    cluster.tick(5 * SECOND)
    assert old.is_leader
    assert old.commit == commit
    others = [name for name in cluster.names if name != old.id]
    agree(cluster, b"kept", others)
    cluster.heal()
    agree(cluster, b"after", cluster.names)
    assert cluster.commands(old.id) == [b"before", b"kept", b"after"]


@seeds
def test_basic_agreement_begins_at_index_one(seed: int) -> None:
    cluster = open_cluster(5, seed)
    leader = check_one_leader(cluster)
    for index in (1, 2, 3):
        assert leader.propose(b"%d" % index)[0] == index
        cluster.tick(SECOND // 4)
        for name in cluster.names:
            assert cluster.commands(name)[index - 1] == b"%d" % index


@seeds
def test_agreement_with_one_follower_away_and_back(seed: int) -> None:
    cluster = open_cluster(3, seed)
    leader = check_one_leader(cluster)
    away = next(name for name in cluster.names if name != leader.id)
    agree(cluster, b"1", cluster.names)
    cluster.isolate(away)
    present = [name for name in cluster.names if name != away]
    for command in (b"2", b"3", b"4"):
        agree(cluster, command, present)
    cluster.heal()
    agree(cluster, b"5", cluster.names)
    assert cluster.commands(away) == [b"1", b"2", b"3", b"4", b"5"]


@seeds
def test_no_agreement_with_three_of_five_away(seed: int) -> None:
    cluster = open_cluster(5, seed)
    leader = check_one_leader(cluster)
    agree(cluster, b"1", cluster.names)
    for name in [name for name in cluster.names if name != leader.id][:3]:
        cluster.isolate(name)
    index, _ = leader.propose(b"2")
    cluster.tick(3 * SECOND)
    assert index == 2
    assert leader.commit == 1
    cluster.heal()
    agree(cluster, b"3", cluster.names)
    check_same(cluster)


@seeds
def test_five_commands_at_once_are_applied_once_each(seed: int) -> None:
    cluster = open_cluster(3, seed)
    leader = check_one_leader(cluster)
    commands = [b"%d" % number for number in range(5)]
    assert [leader.propose(command)[0] for command in commands] == [1, 2, 3, 4, 5]
    cluster.tick(SECOND)
    for name in cluster.names:
        assert cluster.commands(name) == commands


@seeds
def test_uncommitted_entries_of_a_partitioned_leader_vanish(seed: int) -> None:
    cluster = open_cluster(3, seed)
    first = check_one_leader(cluster)
    agree(cluster, b"101", cluster.names)
    cluster.isolate(first.id)
    for command in (b"102", b"103", b"104"):
        first.propose(command)
    agree(cluster, b"203", [name for name in cluster.names if name != first.id])
    second = cluster.leader()
    assert second is not None
    cluster.isolate(second.id)
    cluster.cut = {frozenset((second.id, name)) for name in cluster.names if name != second.id}
    agree(cluster, b"304", [name for name in cluster.names if name != second.id])
    cluster.heal()
    agree(cluster, b"405", cluster.names)
    for name in cluster.names:
        assert cluster.commands(name) == [b"101", b"203", b"304", b"405"]


@seeds
def test_a_leader_backs_up_quickly_over_fifty_wrong_entries(seed: int) -> None:
    cluster = open_cluster(5, seed)
    first = check_one_leader(cluster)
    agree(cluster, b"first", cluster.names)
    others = [name for name in cluster.names if name != first.id]
    minority, majority = [first.id, others[0]], others[1:]
    cluster.isolate(*minority)
    for number in range(50):
        first.propose(b"wrong %d" % number)
    cluster.tick(SECOND)
    for number in range(50):
        cluster.tick_until(cluster.leader)
        agree(cluster, b"right %d" % number, majority)
    cluster.heal()
    before = cluster.sent["Append"]
    agree(cluster, b"last", cluster.names)
    assert cluster.sent["Append"] - before < 40
    for name in cluster.names:
        assert len(cluster.commands(name)) == 52
    check_same(cluster)


@seeds
def test_few_messages_are_enough(seed: int) -> None:
    """At most 30 calls to the first leader, (10 + 1 + 3) * 3 for ten commands, 60 idle."""
    cluster = open_cluster(3, seed)
    leader = check_one_leader(cluster)
    assert cluster.requests <= 30
    before = cluster.requests
    for number in range(10):
        leader.propose(b"%d" % number)
        cluster.settle()
    while any(len(cluster.commands(name)) < 10 for name in cluster.names):
        cluster.tick()
    assert cluster.requests - before <= (10 + 1 + 3) * 3
    before = cluster.requests
    cluster.tick(SECOND)
    assert cluster.requests - before <= 60


@seeds
@pytest.mark.parametrize("network", [unreliable, reordering, long_delays])
@pytest.mark.parametrize("count", [3, 5])
def test_agreement_over_bad_networks(
    network: Callable[[Cluster], None], count: int, seed: int
) -> None:
    cluster = open_cluster(count, seed)
    network(cluster)
    rng = random.Random(seed)
    for number in range(10):
        cut = rng.random() < 0.3
        if cut:
            cluster.isolate(rng.choice(cluster.names))
        leader = cluster.leader()
        if leader is not None:
            leader.propose(b"maybe %d" % number)
        cluster.tick(SECOND // 2)
        check_same(cluster)
        cluster.heal()
    cluster.delay = lambda _: 0
    cluster.drop = lambda _: False
    agree(cluster, b"in the end", cluster.names, 20 * SECOND)
    check_same(cluster)


@seeds
@pytest.mark.parametrize("how_many", [1, 2, 3])
def test_crashes_lose_nothing_that_was_acknowledged(how_many: int, seed: int) -> None:
    """Of one, of a majority, of all at once: at any moment between a write and its sync."""
    cluster = open_cluster(3, seed)
    rng = random.Random(seed)
    acknowledged: list[bytes] = []
    for number in range(12):
        leader = check_one_leader(cluster)
        for owner in cluster.owners.values():
            owner.auto_sync = rng.random() < 0.6
        command = b"%d" % number
        leader.propose(command)
        cluster.tick(rng.randrange(15))
        if command in cluster.commands(leader.id):
            acknowledged.append(command)
        for name in rng.sample(cluster.names, how_many):
            cluster.owners[name].crash()
        cluster.tick(rng.randrange(30))
        for owner in cluster.owners.values():
            if owner.is_up:
                owner.auto_sync = True
                owner.sync()
            else:
                owner.auto_sync = True
                owner.start()
    check_one_leader(cluster)
    agree(cluster, b"in the end", cluster.names)
    for name in cluster.names:
        assert [c for c in cluster.commands(name) if c in acknowledged] == acknowledged
