"""Peers that were paused: what has arrived meanwhile is heard, and promises end all the same."""

import random

import pytest
import trio
from trio.testing import MockClock

from tests.support.raft_cluster import Cluster, quick
from trio440.core.real import REAL_HOST
from trio440.raft.driver import Driver
from trio440.raft.messages import Heartbeat, RequestVote
from trio440.raft.node import Node
from trio440.raft.state import Role
from trio440.raft.storage import MemoryStorage, bootstrap

LONG = 1_000


def test_a_leader_that_was_paused_hears_what_has_arrived_before_it_steps_down() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.tick(3)
    cluster["n1"].tick(LONG)
    assert cluster["n1"].is_leader
    cluster.tick(2 * cluster.config.election_ticks)
    assert cluster["n1"].is_leader


def test_a_leader_that_was_paused_and_hears_nobody_steps_down_soon() -> None:
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.isolate("n1")
    for _ in range(2):  # one window may have begun with an answer in it
        cluster["n1"].tick(LONG)
        for _ in range(cluster.config.heartbeat_ticks):
            cluster["n1"].tick()
    assert not cluster["n1"].is_leader


def test_a_follower_that_was_paused_has_time_to_hear_its_leader() -> None:
    node = Node("a", quick(), bootstrap(("a", "b", "c")), random.Random(1))
    node.step(Heartbeat("b", "a", 1, 0, 1))
    node.tick(LONG)
    assert node.role is Role.FOLLOWER
    node.step(Heartbeat("b", "a", 1, 0, 2))
    for _ in range(quick().election_ticks - 1):
        node.tick()
    assert node.role is Role.FOLLOWER


def test_a_follower_that_is_always_late_campaigns_all_the_same() -> None:
    node = Node("a", quick(), bootstrap(("a", "b", "c")), random.Random(1))
    node.tick(LONG)
    node.tick(quick().heartbeat_ticks + 1)
    assert node.role is Role.PRE_CANDIDATE


def test_loyalty_ends_during_a_pause() -> None:
    node = Node("a", quick(), bootstrap(("a", "b", "c")), random.Random(1))
    node.step(Heartbeat("b", "a", 1, 0, 1))
    node.tick(LONG)
    node.step(RequestVote("c", "a", 2, 0, 0))
    assert node.term == 2


async def test_loyalty_to_a_leader_heard_after_a_pause_is_not_shortened_by_it(
    mock_clock: MockClock,
) -> None:
    """Ticks of the pause count before the heartbeat that ends it: a lease may rest on that one."""
    config = quick(lease_reads=True)
    node = Node("a", config, bootstrap(("a", "b", "c")), random.Random(1))
    driver = Driver(
        node,
        MemoryStorage(),
        machine=None,  # type: ignore[arg-type]  # nothing is ever committed here
        send=lambda _: True,
        tick_seconds=0.01,
        snapshot_entries=0,
        ports=REAL_HOST,
    )
    mock_clock.jump(LONG * 0.01)
    driver.receive(Heartbeat("b", "a", 1, 0, 1))
    mock_clock.jump(0.01)
    driver.receive(RequestVote("c", "a", 2, 0, 0))
    assert node.term == 1
    mock_clock.jump(0.01 * config.election_ticks)
    driver.receive(RequestVote("c", "a", 2, 0, 0))
    assert node.term == 2
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("elapsed", range(12))
def test_a_timeout_is_reached_by_single_ticks_exactly(elapsed: int) -> None:
    assert quick().after(elapsed, 1, 10) == elapsed + 1
