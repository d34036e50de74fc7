"""Members of a cluster as programs of simulated machines, each with a log of its events."""

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from trio440.actors.cluster import Config, Event, Membership, Node, open_membership
from trio440.core.host import Host, UdpSocket, format_address
from trio440.sim.faults import Partition
from trio440.sim.world import World

PORT = 7000
CONFIG = Config()


@attrs.define(eq=False)
class Member:
    """One life of a member, and what it has told."""

    membership: Membership
    socket: UdpSocket
    events: list[Event] = attrs.field(factory=list)

    @property
    def node(self) -> Node:
        return self.membership.node

    @property
    def dropped(self) -> dict[str, int]:
        return self.membership.statistics().dropped

    @property
    def sees(self) -> set[Node]:
        """Those it counts as live, without itself."""
        return set(self.membership.live()) - {self.node}

    def told(self, kind: type[Event]) -> list[Any]:
        """The nodes of all events of a kind, in order."""
        return [
            event.node
            for event in self.events
            if isinstance(event, kind) and hasattr(event, "node")
        ]


class Cluster:
    """The members that run on the machines of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.members: dict[str, Member] = {}

    async def start(
        self,
        name: str,
        seeds: Sequence[str] | None = ("one:7000",),
        *,
        incarnation: int = 1,
        cluster: str = "blue",
        config: Config = CONFIG,
    ) -> Member:
        """Start a member on a machine; with None as seeds it does not join."""
        started = trio.Event()
        address = self.world.machines[name].address

        async def program(ports: Host) -> None:
            socket = await ports.net.bind_udp(address, PORT)
            node = Node(format_address(socket.local_address), incarnation)
            async with open_membership(
                socket, node, cluster=cluster, config=config, ports=ports
            ) as membership:
                member = self.members[name] = Member(membership, socket)
                membership.subscribe(member.events.append)
                if seeds is not None:
                    membership.join(seeds)
                started.set()
                await trio.sleep_forever()

        self.world.start(name, program)
        await started.wait()
        return self.members[name]

    async def start_all(self, *names: str, **options: Any) -> list[Member]:
        """Start several, and wait until they see each other."""
        members = [await self.start(name, **options) for name in names]
        await until_all_see_each_other(members)
        return members

    def crash(self, name: str) -> None:
        self.world.machines[name].crash()

    def cut_off(self, *side: str) -> Partition:
        """Let nothing pass between some machines and the others, until :meth:`heal`."""
        now = self.world.now()
        fault = Partition(start=now, end=now + 10**12, side=side)
        self.world.network.fabric.begin(1000, fault)
        return fault

    def heal(self, fault: Partition) -> None:
        self.world.network.fabric.end(1000, fault)


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait, in virtual time, until something is so."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await trio.sleep(0.1)


async def until_all_see_each_other(members: Sequence[Member]) -> None:
    """Wait until each of them counts exactly the others as live."""
    everybody = {member.node for member in members}
    await until(lambda: all(one.sees == everybody - {one.node} for one in members))
