"""One UDP port with its epoch timer, and the connections that share it.

The whole shell: datagrams and ticks go into sessions, and after every batch of inputs what the
sessions have to send goes out in one piece. What is readable is handled before a tick.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import attrs
import trio

from trio440.core.epochs import EpochTimer
from trio440.core.host import Address, Datagram, Host, UdpSocket
from trio440.core.parking import Turn
from trio440.errors import BadMessage
from trio440.lsp.connection import Connection
from trio440.lsp.message import Connect, decode_untrusted, encode
from trio440.lsp.params import Params
from trio440.lsp.session import Event

__all__ = ["Endpoint", "EndpointStatistics"]

BATCH: Final = 64
"""Datagrams that are handled before anything is answered."""
BATCHES_BEFORE_TICK: Final = 64
"""Batches that a tick lets go first, so that a flood cannot stop time."""


@attrs.frozen
class EndpointStatistics:
    """Counts of one UDP port since it was opened, connections that have ended included."""

    connections: int
    """Connections that are open or being flushed."""
    half_open: int
    """Of these, connections that have sent nothing but Connects."""
    accepted: int
    """Connections that were ever opened."""
    lost: int
    """Connections that fell silent or, half-open, had to make room."""
    datagrams_received: int
    datagrams_sent: int
    sent: int
    """Data messages sent for the first time."""
    resent: int
    """Data messages sent again."""
    received: int
    """Data messages taken in, each once."""
    outstanding: int
    """Data messages sent and unacknowledged, now."""
    round_trip_seconds: float | None
    """The mean of the connections that know theirs, now; None if none does."""
    dropped: dict[str, int]
    """Datagrams and messages dropped, by reason."""


class Endpoint:
    """A UDP port that speaks LSP; clients have one connection on it, servers many."""

    def __init__(
        self,
        socket: UdpSocket,
        params: Params,
        ports: Host,
        *,
        accept: Callable[[Address, Connect], Connection | None] | None = None,
        on_event: Callable[[Connection, Event], None] | None = None,
    ) -> None:
        """Serve ``socket``; nothing happens before :meth:`run`.

        Args:
            socket: owned and closed by the endpoint.
            params: the protocol's numbers.
            ports: for the clock.
            accept: makes a connection for a Connect from a new address, or refuses it.
            on_event: is told of every event of every connection, after the connection.
        """
        self.connections: dict[Address, Connection] = {}
        self.turn = Turn()
        """Counts the calls of all connections that did not have to wait."""
        self.dropped: Counter[str] = Counter()
        self._socket = socket
        self._params = params
        self._ports = ports
        self._accept = accept
        self._on_event = on_event
        self._outbox: list[Datagram] = []
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._counts: Counter[str] = Counter()

    @property
    def local_address(self) -> Address:
        """The address of the port, with its real number."""
        return self._socket.local_address

    async def run(self) -> None:
        """Receive and keep time until :meth:`stop`."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_stopped, self._receive_forever)
                    nursery.start_soon(self._until_stopped, self._tick_forever)
        finally:
            self._ended.set()

    async def stop_and_wait(self) -> None:
        """Do :meth:`stop` and wait until :meth:`run` has returned; cannot be cancelled."""
        self.stop()
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    def stop(self) -> None:
        """End :meth:`run` and close the socket; connections are aborted, silently. Idempotent."""
        self._scope.cancel()
        self._socket.close()
        for connection in list(self.connections.values()):
            connection.abort()

    def add(self, connection: Connection) -> None:
        """Take a connection in, and send what it begins with."""
        self.connections[connection.remote_address] = connection
        self._counts["accepted"] += 1
        self.transmit(connection)

    def transmit(self, connection: Connection) -> None:
        """Act on what an input has done to one connection, and send what it has to say."""
        self._pump((connection,))

    def statistics(self) -> EndpointStatistics:
        """Return the counts so far."""
        counts, dropped = self._counts.copy(), self.dropped.copy()
        live = list(self.connections.values())
        for connection in live:
            self._add_counts(connection, counts, dropped)
        now = [connection.statistics() for connection in live]
        known = [each.round_trip_seconds for each in now if each.round_trip_seconds is not None]
        return EndpointStatistics(
            connections=len(live),
            half_open=sum(connection.session.half_open for connection in live),
            accepted=counts["accepted"],
            lost=counts["lost"],
            datagrams_received=counts["datagrams received"],
            datagrams_sent=counts["datagrams sent"],
            sent=counts["sent"],
            resent=counts["resent"],
            received=counts["received"],
            outstanding=sum(each.outstanding for each in now),
            round_trip_seconds=sum(known) / len(known) if known else None,
            dropped=dict(dropped),
        )

    async def _until_stopped(self, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except trio.ClosedResourceError:
            if not self._scope.cancel_called:
                raise

    async def _receive_forever(self) -> None:
        while True:
            self._handle_untrusted(await self._socket.receive(BATCH))

    async def _tick_forever(self) -> None:
        async for _ in EpochTimer(self._params.epoch_millis / 1000, ports=self._ports):
            for _ in range(BATCHES_BEFORE_TICK):
                if not (batch := self._socket.receive_nowait(BATCH)):
                    break
                self._handle_untrusted(batch)
            connections = list(self.connections.values())
            for connection in connections:
                connection.session.on_epoch()
            self._pump(connections)

    def _handle_untrusted(self, batch: Iterable[Datagram]) -> None:
        """Feed datagrams to the sessions of their addresses, then send all answers."""
        now = self._now()
        touched: dict[Connection, None] = {}
        for datagram, address in batch:
            self._counts["datagrams received"] += 1
            try:
                message = decode_untrusted(datagram)
            except BadMessage:
                self.dropped["no message"] += 1
                continue
            connection = self.connections.get(address)
            if address == self._socket.local_address:
                self.dropped["own address"] += 1  # forged: its answers would keep it alive
            elif message is None:
                self.dropped["null"] += 1
            elif connection is not None:
                connection.session.receive(message, now)
                touched[connection] = None
            elif isinstance(message, Connect) and self._accept is not None:
                if accepted := self._accept(address, message):
                    self.add(accepted)
            else:
                self.dropped["unknown address"] += 1
        self._pump(touched)

    def _pump(self, connections: Iterable[Connection]) -> None:
        """Send what connections have to say in one batch, then tell of their events."""
        now = self._now()
        events: list[tuple[Connection, Event]] = []
        for connection in connections:
            session = connection.session
            address = connection.remote_address
            self._outbox += [(encode(m), address) for m in session.messages_to_send(now)]
            events += [(connection, event) for event in session.events()]
            if session.over and self.connections.get(address) is connection:
                del self.connections[address]
                self._add_counts(connection, self._counts, self.dropped)
        self._send_outbox()
        for connection, event in events:
            if event is Event.LOST or event is Event.DROPPED:
                self._counts["lost"] += 1
            connection.notice(event)
            if self._on_event is not None:
                self._on_event(connection, event)

    def _send_outbox(self) -> None:
        """Hand the outbox to the network; what a full socket buffer refuses is lost in transit."""
        if not self._outbox:
            return
        outbox, self._outbox = self._outbox, []
        try:
            sent = self._socket.send_nowait(outbox)
        except trio.ClosedResourceError:
            return
        self._counts["datagrams sent"] += sent
        if sent < len(outbox):
            self.dropped["socket buffer full"] += len(outbox) - sent

    @staticmethod
    def _add_counts(connection: Connection, counts: Counter[str], dropped: Counter[str]) -> None:
        statistics = connection.statistics()
        counts["sent"] += statistics.sent
        counts["resent"] += statistics.resent
        counts["received"] += statistics.received
        dropped.update(statistics.dropped)

    def _now(self) -> int:
        return int(self._ports.clock.now() * 1e6)
