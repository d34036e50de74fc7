"""A leader that removes itself says that it was done, though others commit that without it."""

from collections.abc import Sequence

import trio

from tests.support.raft_world import Cluster
from trio440.raft.ready import Ready
from trio440.sim import simulated
from trio440.sim.world import World


@simulated(seeds=1, profile="calm", hosts=["n1", "n2"], duration_seconds=120)
async def test_a_leader_that_removes_itself_says_that_it_was_done(world: World) -> None:
    cluster = Cluster(world, ["n1", "n2"])
    cluster.start()
    leader = await cluster.leader()
    other = next(name for name in cluster.members if name != leader.id)
    storage = leader._driver._storage  # its disk is to be the slower one
    write = storage.write

    async def write_slowly(batch: Sequence[Ready]) -> None:
        await trio.sleep(0.3)
        await write(batch)

    storage.write = write_slowly  # type: ignore[method-assign]
    with trio.fail_after(30):
        index = await leader.change_members([other])
    assert not leader.is_leader
    assert leader.status().applied >= index
    assert (await cluster.leader(but=leader.id)).members.voters == (other,)
