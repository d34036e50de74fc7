"""The link to one other system: one connection after the other, and what waits for it."""

from collections.abc import Callable
from typing import Final, TypeVar, final

import trio

from trio440.actors.cluster.seeds import numeric_address
from trio440.actors.notices import DeadReason
from trio440.actors.remote.limits import Delivery, LinkLimits, LinkStatistics
from trio440.actors.remote.outgoing import Item, Outgoing
from trio440.actors.remote.parcels import BATCH_BYTES, Received, encode
from trio440.actors.remote.service import Systems
from trio440.core.host import Host, format_address
from trio440.core.parking import Sleeper
from trio440.errors import HandshakeRefused, InvalidParameter
from trio440.rpc import Client, ClientLimits, Expected, Identity, Method, open_client

__all__ = ["Link"]

A = TypeVar("A")
R = TypeVar("R")

BURST_SECONDS: Final = 200e-6
"""Parcels that come so soon after one that was sent at once gather."""
BURST_PARCELS: Final = 64
"""So many that have gathered are sent at once, so that the other side has something to do."""
REFUSED_SECONDS: Final = 1.0
"""Until somebody who refused is asked again."""


@final
class Link:
    """To the system at one address, whichever life of it is there."""

    def __init__(
        self,
        address: str,
        identity: Identity,
        delivery: Delivery,
        *,
        number: int,
        is_for_member: bool,
        limits: LinkLimits,
        give_up: Callable[[Item, DeadReason, str], None],
        ports: Host,
    ) -> None:
        """Make a link that :meth:`run` serves.

        Args:
            address: of the other system.
            identity: of this one.
            delivery: of messages that are put from now on.
            number: of the link, higher than that of each earlier one to the same address.
            is_for_member: whether that is a member of the cluster.
            limits: its bounds.
            give_up: hears of each parcel that will not be sent, and why, in a word and in words.
            ports: the machine to run on.

        Raises:
            InvalidParameter: no system has such an address: it is not numeric, or written
                otherwise than systems write theirs.
        """
        self.address: Final = address
        self.delivery: Delivery = delivery
        self.is_lost = False
        """Nothing is sent once to who is lost; what is acknowledged waits."""
        self.used_at = ports.clock.now()
        numeric = numeric_address(address)
        if numeric is None or format_address(numeric) != address:
            raise InvalidParameter("address", address, "HOST:PORT with a numeric host")
        self._host, self._port = numeric[:2]
        self._expected = Expected(address)
        self._identity = identity
        self._limits = limits
        self._give_up = give_up
        self._ports = ports
        self._clock = ports.clock
        self._outgoing = Outgoing(number, limits.messages, limits.bytes)
        self._outgoing.is_for_member = is_for_member
        self._client: Client | None = None
        self._burst_until = 0.0
        self._owed: Received | None = None
        self._sleeper = Sleeper()
        self._connected = trio.lowlevel.ParkingLot()
        self._drained = trio.lowlevel.ParkingLot()
        self._finishing = False
        self._scope = trio.CancelScope()
        self._sent = 0
        self._connects = 0

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._client is not None

    @property
    def life(self) -> int:
        """Of the other system, to which the latest connection led; 0: there was none."""
        return self._outgoing.life

    @property
    def most_parcel_bytes(self) -> int:
        """The longest parcel that the other system reads, as far as is known."""
        return self._outgoing.most_parcel_bytes

    def set_member(self) -> None:
        """Hear that the other system is a member of the cluster."""
        self._outgoing.is_for_member = True
        self.is_lost = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return not len(self._outgoing)

    def statistics(self) -> LinkStatistics:
        """Return what it holds and has counted."""
        return LinkStatistics(
            address=self.address,
            is_connected=self.is_connected,
            is_lost=self.is_lost,
            delivery=self.delivery,
            waiting=len(self._outgoing),
            unacknowledged=self._outgoing.unreceived,
            sent=self._sent,
            connects=self._connects,
        )

    # Used by whoever sends

    async def call(self, method: Method[A, R], request: A) -> R:
        """Ask over the present connection, or the next one; see :meth:`trio440.rpc.Client.call`."""
        while self._client is None:
            await self._connected.park()
        return await self._client.call(method, request)

    def put(self, item: Item) -> bool:
        """Send a parcel, at once or as soon as there is a connection; False: there is no room."""
        if not self._outgoing.put(item):
            return False
        unsent = self._outgoing.unsent
        if 1 < unsent < BURST_PARCELS and self._client is not None:
            self._sleeper.wake()
            return True
        self.used_at = now = self._clock.now()
        if self._client is not None:
            if unsent > 1 or now >= self._burst_until:
                self._burst_until = now + BURST_SECONDS
                self._send(self._client)
            else:
                self._sleeper.wake()
        return True

    def owe(self, received: Received) -> None:
        """Let the other system know how far its sure parcels have come."""
        self._owed = received
        self._sleeper.wake()

    def received(self, received: Received, life: int) -> None:
        """Hear how far the sure parcels have come to a life of the other system."""
        news = self._outgoing.received(received.number, life, received.link)
        if news and not self._outgoing.unreceived:
            self._sleeper.wake()

    def lose(self, why: str) -> None:
        """Hear that the other system is lost: what would be sent once is given up."""
        self.is_lost = True
        for item in self._outgoing.drop_casual():
            self._give_up(item, "unreachable", why)

    def close(self, why: str) -> None:
        """Give up everything, and end."""
        for item in self._outgoing.drop_all():
            self._give_up(item, "unreachable", why)
        self._scope.cancel()

    async def finish(self) -> None:
        """End once all has been sent, and received where it must be."""
        while self._client is not None and not self.is_lost and not self.is_idle:
            await self._drained.park()
        self._finishing = True
        self._sleeper.wake()

    # The connection

    async def run(self) -> None:
        """Keep up a connection until :meth:`close` or :meth:`finish`."""
        limits = ClientLimits(
            silence_seconds=self._limits.silence_seconds,
            longest_wait_seconds=self._limits.longest_wait_seconds,
        )
        with self._scope:
            async with open_client(
                self._host,
                self._port,
                identity=self._identity,
                expected=self._expected,
                limits=limits,
                ports=self._ports,
            ) as client:
                while not self._finishing:
                    try:
                        peer = await client.wait_connected()
                    except HandshakeRefused:
                        await self._clock.sleep(REFUSED_SECONDS)
                        continue
                    await self._use(client, peer.identity.incarnation)

    async def _use(self, client: Client, life: int) -> None:
        """Send over a connection until it is over."""
        self._connects += 1
        for item in self._outgoing.connected(life):
            self._give_up(item, "other_life", "belongs to another life of its system")
        most = client.largest_request - BATCH_BYTES
        for item in self._outgoing.fit(most):
            self._give_up(item, "link_full", f"takes {len(item.data)} bytes, at most {most}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_over, client, nursery.cancel_scope)
            self._client = client
            self._connected.unpark_all()
            try:
                await self._pump(client)
            finally:
                self._client = None
                self._drained.unpark_all()
            nursery.cancel_scope.cancel()

    async def _until_over(self, client: Client, scope: trio.CancelScope) -> None:
        await client.wait_disconnected()
        scope.cancel()

    async def _pump(self, client: Client) -> None:
        while not self._finishing:
            self._send(client)
            if self._outgoing.has_more:
                if not await client.wait_tell():
                    return
            elif self._outgoing.unreceived:
                await self._wait_for_news()
            else:
                self._drained.unpark_all()
                await self._sleeper.sleep()

    async def _wait_for_news(self) -> None:
        before = self._outgoing.unreceived
        with self._clock.move_on_after(self._limits.resend_seconds) as scope:
            await self._sleeper.sleep()
        if scope.cancelled_caught and self._outgoing.unreceived >= before:
            self._outgoing.send_again()

    def _send(self, client: Client) -> None:
        """Hand over what waits, as far as there is room."""
        if self._owed is not None and client.may_tell():
            owed, self._owed = self._owed, None
            self._outgoing.put(Item(encode(owed), owed.life, sure=False))
        outgoing = self._outgoing
        while outgoing.has_more and client.may_tell() and (batch := outgoing.take()) is not None:
            client.tell(Systems.deliver, batch)
            self._sent += 1
