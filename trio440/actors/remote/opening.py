"""Where a system of actors is reached: its two sockets, its server, and its membership."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, final

import trio

from trio440.actors.cluster import Node
from trio440.actors.cluster.gossip import Membership, open_membership
from trio440.actors.post import Post
from trio440.actors.remote.limits import LATEST, Networking
from trio440.actors.remote.network import Network
from trio440.actors.remote.reports import Reporter
from trio440.actors.remote.service import Address, Latest, Systems
from trio440.actors.remote.spawning import Spawn
from trio440.actors.remote.visits import open_visit
from trio440.actors.reporting import log_silence
from trio440.core.host import Host, UdpSocket, format_address, parse_address
from trio440.core.lifetimes import open_service_nursery
from trio440.errors import AddressError, AddressInUse, BadMessage, InvalidParameter, RpcError
from trio440.rpc import Peer, Routes, Server, ServerLimits, open_server

__all__ = ["Front", "open_front"]

ATTEMPTS: Final = 20
"""To find a port that is free for UDP and for TCP."""
FLUSH_SECONDS: Final = 0.2
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - it is looked for, and not bound


@final
class Front:
    """The way in and out; one port, of UDP for the membership and of TCP for everything else."""

    def __init__(self, socket: UdpSocket, networking: Networking, ports: Host) -> None:
        """Take a socket that is bound.

        Raises:
            InvalidParameter: others could not reach it.
        """
        host, port = socket.local_address[:2]
        for seed in networking.seeds:
            parse_address(seed)
        if networking.advertised is None and host in EVERYWHERE:
            allowed = "the host that others reach this system under, as it listens on every one"
            raise InvalidParameter("Networking.advertised", None, allowed)
        self.address: Final = format_address((networking.advertised or host, port))
        self._host = host
        self._port = port
        self._socket = socket
        self._networking = networking
        self._ports = ports
        self._membership: Membership | None = None
        self._network: Network | None = None

    @property
    def network(self) -> Network:
        """The links; there once :meth:`serve` has begun."""
        assert self._network is not None  # noqa: S101 - that is the order of calls
        return self._network

    @property
    def membership(self) -> Membership:
        """Who is there; there once :meth:`serve` has begun."""
        assert self._membership is not None  # noqa: S101 - that is the order of calls
        return self._membership

    @asynccontextmanager
    async def serve(self, post: Post, spawn: Spawn) -> AsyncIterator[None]:
        """Let the actors of a system be reached, and reach others, while the body runs.

        Args:
            post: of the system.
            spawn: spawns what others ask for.

        Raises:
            AddressError: it cannot listen there.
        """
        node = Node(post.address, post.incarnation)
        async with open_membership(
            self._socket,
            node,
            cluster=self._networking.cluster,
            config=self._networking.membership,
            ports=self._ports,
        ) as membership:
            self._membership = membership
            network = self._network = Network(post, self._networking, membership, spawn)
            async with (
                self._open_server(post, network, membership),
                open_service_nursery() as nursery,
            ):
                membership.subscribe(network.hear)
                post.far = network
                nursery.start_soon(network.run)
                membership.join(self._networking.seeds)
                try:
                    yield
                finally:
                    network.links.close_all()

    def _open_server(
        self, post: Post, network: Network, membership: Membership
    ) -> AbstractAsyncContextManager[Server]:
        """Let others connect."""

        def latest(asked: Address, _: Peer) -> Latest:
            records = membership.records()
            lives = (r.node.incarnation for r in records if r.node.address == asked.address)
            return Latest(max(lives, default=0))

        routes = Routes()
        routes.add_one_way(Systems.deliver, network.receiver.take)
        routes.add(Systems.latest, latest)
        routes.add(Systems.report, Reporter(post, membership.records).answer)
        routes.add(Systems.spawn, network.offers.answer)
        return open_server(
            self._port,
            routes,
            host=self._host,
            identity=network.identity,
            limits=ServerLimits(flush_seconds=FLUSH_SECONDS),
            ports=self._ports,
        )

    async def latest(self) -> int:
        """Return the incarnation of the latest life at this address that a seed knows; 0: none.

        Asks all seeds at once, and those that do not answer for ``greeting_seconds``. When none
        answers, that is logged.
        """
        seconds = self._networking.greeting_seconds
        problems = {
            seed: f"{seed} gave no answer within {seconds:g} s"
            for seed in self._networking.seeds
            if seed != self.address
        }
        known: list[int] = []
        with self._ports.clock.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for seed in problems:
                    nursery.start_soon(self._ask_latest, seed, known, problems)
        if problems and not known:
            log_silence(self.address, problems.values())
        return max(known, default=0)

    async def _ask_latest(self, seed: str, known: list[int], problems: dict[str, str]) -> None:
        try:
            async with open_visit(seed, self._networking.cluster, self._ports) as system:
                try:
                    answer = await system.latest(Address(self.address))
                except (RpcError, BadMessage) as error:
                    problems[seed] = str(error)
                else:
                    known.append(min(answer.incarnation, LATEST))
        except AddressError as error:
            problems[seed] = str(error)

    async def leave(self, deadline: float) -> None:
        """Send what waits and say good-bye, until a moment of this machine's clock at most."""
        with self._ports.clock.move_on_at(deadline):
            await self.network.links.finish()
            await self.membership.leave()


@asynccontextmanager
async def open_front(
    host: str, port: int, networking: Networking, ports: Host
) -> AsyncIterator[Front]:
    """Bind the two sockets of one port.

    Raises:
        AddressError: that is not possible.
        InvalidParameter: the port is out of range, or others could not reach it.
    """
    async with AsyncExitStack() as stack:
        for attempt in range(1, ATTEMPTS + 1):
            socket = await ports.net.bind_udp(host, port)
            stack.callback(socket.close)
            front = Front(socket, networking, ports)
            try:
                listener = await ports.net.listen_tcp(host, socket.local_address[1])
            except AddressInUse:
                if port or attempt == ATTEMPTS:
                    raise
            else:
                await listener.aclose()
                yield front
                return
