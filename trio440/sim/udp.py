"""Simulated UDP sockets: a bounded queue with an address; the network does the rest."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from trio440.core.host import Address, Datagram, UdpSocket
from trio440.errors import InvalidParameter

__all__ = ["MAX_DATAGRAM", "SimUdpSocket"]

MAX_DATAGRAM: Final = 65_507
"""The largest payload that UDP over IPv4 carries, in bytes."""


class SimUdpSocket(UdpSocket):
    """A UDP socket of a simulated machine; made by its ``bind_udp``."""

    def __init__(
        self,
        local: Address,
        *,
        send: Callable[[Address, Datagram], bool],
        check_power: Callable[[], None],
        on_close: Callable[["SimUdpSocket"], object],
    ) -> None:
        """Make a socket that is bound already.

        Args:
            local: its address.
            send: takes a datagram that leaves this address, and returns whether it has.
            check_power: raises when the machine is dead.
            on_close: called once.
        """
        self._local = local
        self._send = send
        self._check_power = check_power
        self._on_close = on_close
        self._queue: deque[Datagram] = deque()
        self._arrived = trio.lowlevel.ParkingLot()
        self._waiting = False
        self._open = True

    @property
    def local_address(self) -> Address:
        """See :class:`trio440.core.host.UdpSocket`, also for the methods below."""
        return self._local

    async def receive(self, limit: int = 64) -> list[Datagram]:
        """Wait for datagrams; see the port."""
        self._check(limit)
        if self._waiting:
            raise trio.BusyResourceError("another task is receiving on this UDP socket")
        self._waiting = True
        try:
            await trio.lowlevel.checkpoint()
            while not (batch := self.receive_nowait(limit)):
                await self._arrived.park()
            return batch
        finally:
            self._waiting = False

    def receive_nowait(self, limit: int = 64) -> list[Datagram]:
        """Take what has arrived; see the port."""
        self._check(limit)
        return [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]

    def send_nowait(self, datagrams: Sequence[Datagram]) -> int:
        """Send datagrams, as many as the network takes; see the port."""
        self._check(1)
        for count, (data, destination) in enumerate(datagrams):
            if not self._send(self._local, (bytes(data), destination)):
                return count
        return len(datagrams)

    def close(self) -> None:
        """Close the socket; see the port."""
        self._check_power()
        if self._open:
            self._open = False
            self._queue.clear()
            self._on_close(self)
            self._arrived.unpark_all()

    def offer(self, data: bytes, source: Address, limit: int) -> bool:
        """Take a datagram that arrived, if fewer than ``limit`` are unread; return whether."""
        if len(self._queue) >= limit:
            return False
        self._queue.append((data, source))
        self._arrived.unpark_all()
        return True

    def _check(self, limit: int) -> None:
        self._check_power()
        if not self._open:
            raise trio.ClosedResourceError("this UDP socket is closed")
        if limit < 1:
            raise InvalidParameter("limit", limit, "at least 1")
