"""A miner whose search ends at the moment at which its server is lost."""

import pytest
import trio

from trio440 import lsp
from trio440.core.host import Host
from trio440.errors import ServerLost
from trio440.mining import Found, NonceRange, hash_of, work
from trio440.mining.messages import Request, encode
from trio440.sim.faults import HostTraits
from trio440.sim.outcome import Setup
from trio440.sim.running import simulate
from trio440.sim.world import World

PARAMS = lsp.Params(epoch_limit=3, epoch_millis=100)


class DeafEngine:
    """Ends its search however it is cancelled, long after the server was lost."""

    name = "deaf"
    lanes = 1

    async def search(self, text: str, nonces: NonceRange) -> Found:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        return Found(hash_of(text, nonces.lower), nonces.lower)


def test_the_loss_is_told_as_one_error() -> None:
    endings: list[str] = []

    async def serve(ports: Host) -> None:
        async with lsp.open_server(9999, host="10.0.0.1", params=PARAMS, ports=ports) as server:
            conn_id, _ = await server.read()
            server.write(conn_id, encode(Request("text", NonceRange(0, 9))))
            await ports.clock.sleep(100)

    async def story(world: World) -> None:
        ended = trio.Event()

        async def mine(ports: Host) -> None:
            with pytest.raises(ServerLost):
                await work("server", 9999, DeafEngine(), params=PARAMS, ports=ports)
            endings.append("lost")
            ended.set()

        world.start("server", serve)
        world.start("miner", mine)
        await trio.sleep(1)
        world.machines["server"].crash()
        await ended.wait()

    hosts = [HostTraits("server"), HostTraits("miner")]
    outcome, _ = simulate(story, Setup("loss", 0, "B", "calm"), hosts=hosts)
    assert outcome.failure is None, outcome
    assert endings == ["lost"]
