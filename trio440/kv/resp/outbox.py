"""What goes to one client, in order: answers, for which their session waits, and messages.

Bytes are handed to the connection at once where it takes them. What it does not take waits, and a
client that takes nothing for ``stall_seconds``, or for whom more than ``output_bytes`` of
messages wait, is slow: its connection is to be closed.
"""

from collections import deque

import trio

from trio440.core.host import ByteStream, Clock
from trio440.kv.resp.limits import Limits
from trio440.kv.resp.memory import Account

__all__ = ["Outbox", "SlowReader"]


class SlowReader(Exception):
    """The client takes too little of what is sent to it."""


class Outbox:
    """The sending side of a connection."""

    def __init__(self, stream: ByteStream, limits: Limits, clock: Clock, account: Account) -> None:
        self.account = account
        self._size = 0
        """Of what waits."""
        self._stream = stream
        self._limits = limits
        self._clock = clock
        self._waiting: deque[bytes | memoryview] = deque()
        self._sender = trio.Lock()

    async def send(self, data: bytes) -> None:
        """Send bytes behind those that wait, and return when the connection has taken them all.

        A checkpoint only where it does not take them at once. Cancelled: part of them was sent.

        Raises:
            SlowReader: it took nothing for too long.
            trio.BrokenResourceError: it broke.
        """
        if not self._waiting:
            taken = self._stream.send_nowait(data)
            if taken == len(data):
                return
            self._wait_with(memoryview(data)[taken:])
        else:
            self._wait_with(data)
        await self.drain()

    def push(self, data: bytes) -> bool:
        """Send bytes behind those that wait, without waiting; whether :meth:`drain` is to follow.

        Raises:
            SlowReader: too many bytes wait.
            trio.BrokenResourceError: the connection broke.
        """
        if self._waiting:
            self._wait_with(data)
            if self._size > self._limits.output_bytes:
                raise SlowReader
            return False
        taken = self._stream.send_nowait(data)
        if taken == len(data):
            return False
        self._wait_with(memoryview(data)[taken:])
        return True

    async def drain(self) -> None:
        """Return when nothing waits any more; errors are those of :meth:`send`."""
        async with self._sender:
            while self._waiting:
                with self._clock.move_on_after(self._limits.stall_seconds) as scope:
                    await self._stream.wait_send_all_might_not_block()
                if scope.cancelled_caught:
                    raise SlowReader
                self._send_some()

    def _send_some(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            taken = self._stream.send_nowait(first)
            self._size -= taken
            self.account.wait_with(self._size)
            if taken < len(first):
                self._waiting[0] = memoryview(first)[taken:]
                return
            self._waiting.popleft()

    def _wait_with(self, data: bytes | memoryview) -> None:
        self._waiting.append(data)
        self._size += len(data)
        self.account.wait_with(self._size)
