"""The watch over Raft's worlds, where a disk is lost with what its peer has acknowledged."""

from typing import Any

import pytest

from tests.support.raft_cluster import Cluster, Owner
from trio440.errors import InvariantViolated
from trio440.raft.config import Config
from trio440.raft.messages import AppendReply, Heartbeat, Message, VoteReply
from trio440.raft.node import Node
from trio440.sim.systems.raft_drivers import watch_driver
from trio440.sim.systems.raft_watch import Watch


class Durable:
    """What is on the disk of an owner, as it was when this was made."""

    def __init__(self, owner: Owner) -> None:
        stored = owner.storage.load_now()
        assert stored is not None
        self._entries = stored.entries
        self.term = stored.hard_state.term
        self.last_index = len(stored.entries)

    def holds(self, index: int, term: int) -> bool:
        return index <= len(self._entries) and self._entries[index - 1].term == term


def require(condition: object, invariant: str, detail: str) -> None:
    if not condition:
        raise InvariantViolated(invariant, detail)


def watched(cluster: Cluster) -> Watch:
    """A watch that sees all disks as they are now."""
    watch = Watch(require, Config())
    for owner in cluster.owners.values():
        watch.started(owner.node, Durable(owner), 0, lambda: 0)
    return watch


def cluster_with_an_answer_under_way() -> Cluster:
    """n2 has entry 2 on its disk, and n1, which leads, does not know it yet; n3 is away."""
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.tick(5)
    cluster.isolate("n3")
    cluster.delay = lambda message: 1 if isinstance(message, AppendReply) else 0
    cluster.propose("n1", b"x")
    return cluster


@pytest.mark.parametrize("has_it", [True, False])
def test_what_a_lost_disk_had_held_counts_for_what_it_had_acknowledged(*, has_it: bool) -> None:
    cluster = cluster_with_an_answer_under_way()
    watch = watched(cluster)
    if not has_it:
        cluster.owners["n2"].storage.keep_now(cluster.owners["n3"].storage.load_now())  # type: ignore[arg-type]
        watch.started(cluster["n2"], Durable(cluster.owners["n2"]), 0, lambda: 0)
    before = cluster["n1"].commit
    watch.lost("n2")
    cluster.owners["n2"].crash()
    cluster.now += 1
    cluster.settle()
    assert cluster["n1"].commit == before + 1
    if has_it:
        watch.look(cluster["n1"])
    else:
        with pytest.raises(InvariantViolated, match="durable on a quorum"):
            watch.look(cluster["n1"])


class Taking:
    """As much of a driver as takes messages in."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.receive = node.step

    def send(self, _: Message) -> bool:
        return False

    async def wait_readable(self) -> bool:
        return False


def test_messages_that_come_together_are_looked_at_one_by_one() -> None:
    cluster = cluster_with_an_answer_under_way()
    watch, node = watched(cluster), cluster["n1"]
    driver: Any = Taking(node)
    watch_driver(watch, driver, Durable(cluster.owners["n1"]), is_lost=False)
    place, term = node.log.last_index, node.term
    driver.receive(AppendReply("n2", "n1", term, place))
    driver.receive(Heartbeat("n3", "n1", term + 1, commit=0, round=1))
    assert (node.commit, node.term) == (place, term + 1)
    watch.look(node)
    assert watch.committed == place


def test_who_has_lost_its_disk_neither_speaks_nor_takes_part() -> None:
    cluster = cluster_with_an_answer_under_way()
    watch = watched(cluster)
    watch.lost("n2")
    with pytest.raises(InvariantViolated, match="promises nothing"):
        watch.sent(VoteReply("n2", "n1", 1, granted=True))
    with pytest.raises(InvariantViolated, match="is refused"):
        watch.started(cluster["n2"], Durable(cluster.owners["n2"]), 0, lambda: 0)


def test_a_change_of_members_is_in_doubt_until_something_else_is_committed_in_its_place() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.tick(5)
    watch = watched(cluster)
    first = cluster["n1"].configuration
    assert watch.members_in_doubt() == [first]
    cluster.isolate("n1")
    index, _ = cluster["n1"].change_membership(["n1", "n2"])
    cluster.settle()
    watch.look(cluster["n1"])
    changed = cluster["n1"].configuration
    assert changed.voters == ("n1", "n2")
    assert watch.members_in_doubt() == [first, changed]
    cluster.owners["n1"].crash()
    cluster.delay = lambda message: 1 if isinstance(message, AppendReply) else 0
    cluster.elect("n2")
    for name in ("n2", "n3"):
        watch.started(cluster[name], Durable(cluster.owners[name]), 0, lambda: 0)
    assert watch.members_in_doubt() == [first, changed]
    cluster.now += 1
    cluster.settle()
    assert cluster["n2"].commit == index
    watch.look(cluster["n2"])
    assert watch.members_in_doubt() == [first]


def test_a_leader_that_is_cut_off_may_promote_whom_others_have_promoted() -> None:
    cluster = Cluster(4)
    cluster.elect("n1")
    cluster.tick(5)
    cluster["n1"].change_membership(["n1", "n2", "n3"], ["n4"])
    cluster.tick(5)
    watch = watched(cluster)
    watch.look(cluster["n1"])
    before = cluster["n1"].configuration
    cluster.isolate("n1")
    cluster.elect("n2")
    everybody = ["n1", "n2", "n3", "n4"]
    for name in ("n2", "n1"):
        assert cluster[name].is_leader
        cluster[name].change_membership(everybody)
        cluster.settle()
        watch._check_new_voters(cluster[name], before)
        watch._members.append((cluster[name].configuration_index, cluster[name].configuration))
