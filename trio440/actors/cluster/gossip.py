"""A member of a cluster on a UDP socket: the shell around :class:`~.swim.Swim`.

What is readable is heard before time goes on, so that a member which was slow does not take for
silence what waits in its own socket. After each batch of inputs what there is to send goes out,
and then subscribers hear what has happened.
"""

import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, final

import attrs
import trio

from trio440.actors.checks import check_text
from trio440.actors.cluster.config import Config
from trio440.actors.cluster.datagrams import Datagrams, Dropped
from trio440.actors.cluster.events import Event
from trio440.actors.cluster.messages import Node, Record
from trio440.actors.cluster.seeds import Seeds, numeric_address
from trio440.actors.cluster.statistics import Statistics
from trio440.actors.cluster.swim import Swim
from trio440.core.host import Address, Datagram, Host, Scope, UdpSocket, format_address
from trio440.core.lifetimes import open_service_nursery
from trio440.errors import InvalidParameter

__all__ = ["Membership", "MembershipStatistics", "open_membership"]

BATCH: Final = 64
"""Datagrams that are heard before anything is answered, and before other tasks run."""
BATCHES_BEFORE_TIMERS: Final = 64
"""Batches that a timer which is due lets go first, so that a flood cannot stop time."""
LEAVING_GOSSIPS: Final = 25
"""Intervals of gossip that leaving takes at most; among a million members it takes 14."""


@attrs.frozen(kw_only=True)
class MembershipStatistics:
    """Counts of one member since it was opened, and the present."""

    swim: Statistics
    """Of the protocol."""
    datagrams_received: int
    datagrams_sent: int
    dropped: dict[str, int]
    """Datagrams, by reason. Of those received: ``too long``, ``another cluster`` (garbage, too)
    and ``no message``. Of those to be sent: ``no address``, for a member at what is no numeric
    address of the socket's family, and ``socket buffer full``."""
    unresolved_seeds: int
    """Names among the seeds that have had no address so far, now."""


@final
class Membership:
    """One member of a cluster; made by :func:`open_membership`.

    All methods but :meth:`leave` return at once, and may be called by any task of the run.
    """

    def __init__(
        self,
        socket: UdpSocket,
        swim: Swim,
        *,
        own: Address,
        datagrams: Datagrams,
        config: Config,
        ports: Host,
        nursery: trio.Nursery,
    ) -> None:
        self._socket = socket
        self._own = own
        self._ports = ports
        self._swim = swim
        self._datagrams = datagrams
        self._patience = LEAVING_GOSSIPS * config.gossip_interval_us / 1e6
        self._seeds = Seeds(own, config, ports, is_alone=self._is_alone, join=self._ask)
        self._hearers: dict[object, Callable[[Event], None]] = {}
        self._untold: deque[Event] = deque()
        self._is_telling = False
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._waiting: Scope | None = None
        self._left = trio.Event()
        nursery.start_soon(self._run)
        nursery.start_soon(self._seeds.resolve_forever)

    def __repr__(self) -> str:
        return f"<Membership of {self._swim!r}>"

    @property
    def node(self) -> Node:
        """This node."""
        return self._swim.node

    def live(self) -> tuple[Node, ...]:
        """Return the live members, suspects and this node included, by their addresses."""
        return self._swim.live()

    def find(self, address: str) -> Node | None:
        """Return the live member at an address, this node at its own; None: there is none."""
        return self._swim.find(address)

    def records(self) -> tuple[Record, ...]:
        """Return all that is known of members, live or gone, of this node too, by address."""
        return self._swim.records()

    def statistics(self) -> MembershipStatistics:
        """Return the counts so far."""
        return MembershipStatistics(
            swim=self._swim.statistics(),
            datagrams_received=self._counts["received"],
            datagrams_sent=self._counts["sent"],
            dropped=dict(self._dropped),
            unresolved_seeds=self._seeds.unresolved,
        )

    def join(self, seeds: Iterable[str]) -> None:
        """Become a member, and ask those at ``seeds`` for the others; more of them later, too.

        Until then this node is silent. It counts as a member at once; without seeds, or with none
        but its own address, it is the first. Seeds are asked until somebody is there, and later,
        at a low rate, whenever they are no members. A name is looked up until it has an address,
        and again while this node is alone; that it has none is no error.

        Args:
            seeds: each ``HOST:PORT``, with a name or a literal.

        Raises:
            InvalidParameter: one has another form, or there are more than ``max_seeds``.
        """
        self._seeds.add(seeds)

    def seek(self, address: str) -> None:
        """Ask whoever is at ``HOST:PORT``, and no member, to become one.

        It is asked four times within some seconds. At most ``max_seeds`` are at a time; for one
        more nothing is done.
        """
        self._swim.seek(address, self._now())
        self._pump()
        self._wake()

    def subscribe(self, hear: Callable[[Event], None]) -> Callable[[], None]:
        """Have ``hear`` called with each event from now on; return what ends that.

        What happened before is in :meth:`live`. Events come in order, each to all subscribers
        before the next, from within the task that learned of it. ``hear`` must not raise: what it
        raises ends the membership. It may call any method.
        """
        key = object()
        self._hearers[key] = hear

        def unsubscribe() -> None:
            self._hearers.pop(key, None)

        return unsubscribe

    async def leave(self) -> None:
        """Tell the others that this node leaves, and wait until that has gone out.

        It takes about a second, and 25 intervals of gossip at most. The node is no member any
        more, and cannot be in this life; what it knows of the others gets old. Cancelled, the
        others are still told as long as the membership is open.
        """
        self._swim.leave(self._now())
        self._pump()
        self._wake()
        with self._ports.clock.move_on_after(self._patience):
            await self._left.wait()

    # The loop

    async def _run(self) -> None:
        while True:
            await self._wait_readable()
            due = self._swim.next_deadline()
            if due is None or due > self._now():
                continue
            for _ in range(BATCHES_BEFORE_TIMERS):
                if not (batch := self._socket.receive_nowait(BATCH)):
                    break
                self._hear_untrusted(batch)
                await trio.lowlevel.checkpoint()
            self._swim.advance(self._now())
            self._pump()

    async def _wait_readable(self) -> None:
        """Hear a batch; without one, return when a timer is due or somebody called."""
        due = self._swim.next_deadline()
        clock = self._ports.clock
        with clock.move_on_at(math.inf if due is None else due / 1e6) as self._waiting:
            batch = await self._socket.receive(BATCH)
            self._hear_untrusted(batch)
        self._waiting = None

    def _wake(self) -> None:
        """Let the loop look at its deadline again."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _hear_untrusted(self, batch: Sequence[Datagram]) -> None:
        now = self._now()
        self._counts["received"] += len(batch)
        for data, source in batch:
            try:
                message = self._datagrams.decode_untrusted(data)
            except Dropped as problem:
                self._dropped[problem.reason] += 1
            else:
                self._swim.receive(message, format_address(source), now)
        self._pump()

    def _ask(self, addresses: Sequence[str]) -> None:
        self._swim.join(addresses, self._now())
        self._pump()
        self._wake()

    def _is_alone(self) -> bool:
        return len(self._swim.live()) == 1

    def _pump(self) -> None:
        """Send what there is to send, then tell what has happened."""
        outbox: list[Datagram] = []
        for to, message in self._swim.messages_to_send():
            address = numeric_address(to)
            if address is None or len(address) != len(self._own):
                self._dropped["no address"] += 1  # invented by somebody
            else:
                outbox.append((self._datagrams.encode(message), address))
        if outbox:
            sent = self._socket.send_nowait(outbox)
            self._counts["sent"] += sent
            if sent < len(outbox):
                self._dropped["socket buffer full"] += len(outbox) - sent
        if self._swim.has_left:
            self._left.set()
        self._untold += self._swim.events()
        self._tell()

    def _tell(self) -> None:
        """Tell events in order, also those that come of a subscriber's own call."""
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._untold:
                event = self._untold.popleft()
                for hear in list(self._hearers.values()):
                    hear(event)
        finally:
            self._is_telling = False

    def _now(self) -> int:
        # Rounded, as cutting off would come before the deadline that was waited for.
        return round(self._ports.clock.now() * 1e6)


@asynccontextmanager
async def open_membership(
    socket: UdpSocket, node: Node, *, cluster: str, config: Config, ports: Host
) -> AsyncIterator[Membership]:
    """Open a member of a cluster that lives as long as the body; :meth:`Membership.join` begins.

    At the end of the body it falls silent at once: to the others it has crashed, unless
    :meth:`Membership.leave` has told them otherwise.

    Args:
        socket: where it listens; closed at the end.
        node: this node. Its address is the socket's as the others see it: a numeric one in the
            form of ``format_address``. Its incarnation is greater than that of each earlier life.
        cluster: the name that all members share, 1 to 200 characters; datagrams of another
            cluster are counted and dropped.
        config: the protocol's numbers, as those of the others.
        ports: for the clock, the resolver and chance.

    Raises:
        InvalidParameter: the address is not numeric, or written otherwise than the others see
            it; or the name of the cluster is no name.
    """
    check_text("cluster", cluster)
    own = numeric_address(node.address)
    if own is None or format_address(own) != node.address:
        raise InvalidParameter("node.address", node.address, "HOST:PORT with a numeric host")
    swim = Swim(node, config, ports.rng)
    datagrams = Datagrams(cluster, config.max_datagram_bytes)
    try:
        async with open_service_nursery() as nursery:
            yield Membership(
                socket,
                swim,
                own=own,
                datagrams=datagrams,
                config=config,
                ports=ports,
                nursery=nursery,
            )
    finally:
        socket.close()
