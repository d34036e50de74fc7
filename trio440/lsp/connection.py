"""One connection as its user sees it: a session, and the tasks that wait for it."""

from collections.abc import Callable

import trio

from trio440.core.host import Address
from trio440.core.parking import Turn
from trio440.errors import ConnectionClosed, ConnectionLost
from trio440.lsp.session import Event, Session, State
from trio440.lsp.statistics import ConnectionStatistics

__all__ = ["Connection"]


class Connection(trio.abc.Channel[bytes]):
    """A reliable, ordered connection; made by ``connect``, ``open_server`` and ``serve``.

    A message is bytes whose datagram fits 1472, about 1050 of them; up to 1000 always do. Several
    tasks may read and write. The protocol has no goodbye: the end of the other side is known by
    its silence and raised as ``ConnectionLost``, never as ``EndOfChannel``.
    """

    def __init__(
        self,
        session: Session,
        remote_address: Address,
        transmit: Callable[["Connection"], None],
        turn: Turn,
    ) -> None:
        """Wrap a session of a port.

        Args:
            session: the protocol.
            remote_address: the other side.
            transmit: sends what the session has to send.
            turn: the port's count of calls that did not wait.
        """
        self.session = session
        self._remote_address = remote_address
        self._transmit = transmit
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._ended = trio.Event()
        self._loss_reported = False
        self._turn = turn

    @property
    def conn_id(self) -> int:
        """The id that the server gave, from 1; still there after the end."""
        return self.session.conn_id

    @property
    def remote_address(self) -> Address:
        """The other side's address."""
        return self._remote_address

    def statistics(self) -> ConnectionStatistics:
        """Return the counts of this connection."""
        return self.session.statistics()

    async def receive(self) -> bytes:
        """Wait for the next message. Cancelled: none was taken.

        Raises:
            ConnectionLost: the other side fell silent, and all that arrived in order is read.
            ConnectionClosed: this side has closed the connection, also while waiting.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        session = self.session
        while (payload := session.read()) is None:
            self._raise_if_over()
            await self._readers.park()
        if session.readable:
            self._readers.unpark()
        await self.yield_now_and_then()
        return payload

    async def read(self) -> bytes:
        """Wait for the next message: ``receive`` under the course's name."""
        return await self.receive()

    def write(self, payload: bytes | bytearray | memoryview) -> None:
        """Send a message without waiting; it is on its way or queued when this returns.

        Raises:
            TypeError: the payload is not bytes-like.
            PayloadTooLarge: its datagram would pass 1472 bytes.
            SendBufferFull: ``Limits.send_buffer`` bytes are written and not acknowledged.
            ConnectionLost: the other side fell silent.
            ConnectionClosed: this side has closed the connection.
        """
        try:
            self.session.write(payload)
        except ConnectionLost:
            self._loss_reported = True
            raise
        self._transmit(self)

    async def send(self, value: bytes) -> None:
        """Send a message, waiting while the send buffer is full. Cancelled: it was not sent.

        Raises:
            PayloadTooLarge: its datagram would pass 1472 bytes.
            ConnectionLost: the other side fell silent.
            ConnectionClosed: this side has closed the connection.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        session = self.session
        session.check_size(value)
        while session.state is State.OPEN and not session.has_room(value):
            await self._writers.park()
        self.write(value)
        await self.yield_now_and_then()

    async def close(self) -> None:
        """Close and wait until everything written is acknowledged; idempotent.

        What was not yet read is discarded. Cancelled: closed at once, unacknowledged messages
        may never arrive.

        Only silence is a loss: this waits for ever for somebody who sends heartbeats and
        acknowledges nothing. Bound it with ``trio.move_on_after``, or call :meth:`abort`.

        Raises:
            ConnectionLost: the other side fell silent before it had acknowledged everything,
                and no earlier call has said so.
        """
        self.close_nowait()
        try:
            await self.wait_ended()
        except BaseException:
            self.abort()
            raise
        if self.session.undelivered and not self._loss_reported:
            self._loss_reported = True
            raise ConnectionLost(self.conn_id)

    async def aclose(self) -> None:
        """Close and wait until everything written is acknowledged: ``close`` in trio's name."""
        await self.close()

    async def wait_ended(self) -> None:
        """Wait until the connection has ended: closed and flushed, aborted, or lost."""
        await self._ended.wait()

    def close_nowait(self) -> None:
        """Close; what is written goes on being delivered in the background."""
        self.session.close()
        self._wake_all()
        self._transmit(self)

    def abort(self) -> None:
        """Close at once and fall silent; unacknowledged messages may never arrive."""
        self.session.abort()
        self._transmit(self)

    def notice(self, event: Event) -> None:
        """Wake the tasks that an event of the session concerns; called by the endpoint."""
        match event:
            case Event.READABLE:
                self._readers.unpark()
            case Event.ACKNOWLEDGED:
                self._writers.unpark_all()
            case Event.CONNECTED | Event.ESTABLISHED:
                pass
            case Event.CLOSED | Event.LOST | Event.DROPPED | Event.FAILED:
                self._ended.set()
                self._wake_all()

    async def yield_now_and_then(self) -> None:
        """Let other tasks run after every 64th call on this port; cannot be cancelled."""
        if self._turn.is_over():
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _wake_all(self) -> None:
        self._readers.unpark_all()
        self._writers.unpark_all()

    def _raise_if_over(self) -> None:
        state = self.session.state
        if state is State.LOST:
            self._loss_reported = True
            raise ConnectionLost(self.conn_id)
        if state is not State.OPEN:
            raise ConnectionClosed(self.conn_id)
