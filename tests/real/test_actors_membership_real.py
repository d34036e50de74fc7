"""Members of a cluster on real sockets."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from tests.support.net import until
from trio440.actors.cluster import Config, Membership, Node, open_membership
from trio440.core import REAL_HOST
from trio440.core.host import format_address

pytestmark = pytest.mark.real

QUICK = Config(
    probe_interval_us=100_000,
    probe_timeout_us=50_000,
    gossip_interval_us=20_000,
    join_interval_us=100_000,
    reconnect_interval_us=1_000_000,
    suspicion_beta=1,
)


@asynccontextmanager
async def open_member(host: str, *seeds: str) -> AsyncIterator[Membership]:
    socket = await REAL_HOST.net.bind_udp(host)
    node = Node(format_address(socket.local_address), 1)
    async with open_membership(
        socket, node, cluster="real", config=QUICK, ports=REAL_HOST
    ) as membership:
        membership.join(seeds)
        yield membership


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_members_find_each_other_leave_and_are_lost(host: str) -> None:
    async with open_member(host) as one:
        port = one.node.address.rpartition(":")[2]
        by_name = [f"localhost:{port}", "no.such.name.invalid:7", one.node.address]
        async with AsyncExitStack() as dies:
            two = await dies.enter_async_context(open_member(host, *by_name))
            async with open_member(host, two.node.address) as three:
                nodes = {one.node, two.node, three.node}
                await until(lambda: all(set(m.live()) == nodes for m in (one, two, three)))
                await three.leave()
            await until(lambda: set(one.live()) == set(two.live()) == {one.node, two.node})
            await dies.aclose()
        await until(lambda: one.live() == (one.node,))
        assert one.statistics().dropped == {}


async def test_leaving_the_body_early_closes_the_socket() -> None:
    with trio.move_on_after(0.05):
        async with open_member("127.0.0.1", "127.0.0.1:1") as one:
            address = one.node.address
            await trio.sleep_forever()
    port = int(address.rpartition(":")[2])
    (await REAL_HOST.net.bind_udp("127.0.0.1", port)).close()
