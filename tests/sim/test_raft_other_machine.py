"""A directory of another kind of state machine is refused with a line that says so."""

import pytest
import trio

from trio440 import raft
from trio440.core.host import Host
from trio440.errors import PeerStopped
from trio440.raft.dedupe import Sessions
from trio440.raft.kv import KeyValueMap, Put, encode
from trio440.sim import simulated
from trio440.sim.world import World


@simulated(seeds=1, profile="calm", hosts=["n1"], duration_seconds=60)
async def test_a_snapshot_of_another_state_machine_is_refused(world: World) -> None:
    done = trio.Event()

    async def live(ports: Host) -> None:
        config = raft.PeerConfig(
            id="n1", members=("n1",), directory="/data", is_new=True, host="n1"
        )
        async with raft.open_peer(config, KeyValueMap(), ports=ports) as peer:
            await peer.wait_leader()
            await peer.propose(encode(Put(b"k", b"v")))
            index = await peer.snapshot()
        with pytest.raises(PeerStopped) as caught:
            async with raft.open_peer(config, Sessions(KeyValueMap()), ports=ports):
                pass
        problem = f"its snapshot up to {index} is none of this state machine"
        assert str(caught.value).startswith(f"peer n1 has stopped: {problem}: this is no snapshot")
        done.set()

    world.start("n1", live)
    with trio.fail_after(30):
        await done.wait()
