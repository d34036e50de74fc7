"""A client of the line protocol, small on purpose: netcat does as well."""

import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from trio440.core.host import ByteStream, Host, format_address
from trio440.core.real import REAL_HOST
from trio440.errors import BadMessage, ConnectionBroken, InvalidParameter
from trio440.linekv.protocol import DEFAULT_PORT, LineSplitter, error_line, unknown_command

__all__ = ["Client", "connect"]

ANSWER_LIMIT_BYTES: Final = 1 << 20
"""The longest line that a server may send."""
READ_BYTES: Final = 65_536
FENCE_BITS: Final = 128
"""How much chance is in a fence: too much for a stored value to look like its refusal."""


class Client:
    """A connection to a line-protocol server; :func:`connect` opens one.

    Keys hold no colon and no line end, values no line end, ``old`` values no colon either.
    Several tasks may share a client only if no two call the same method at once.
    """

    def __init__(self, stream: ByteStream, rng: random.Random) -> None:
        self._stream = stream
        self._splitter = LineSplitter(ANSWER_LIMIT_BYTES)
        self._lines: deque[bytes] = deque()
        self._rng = rng
        self._server = format_address(stream.remote_address)

    async def put(self, key: bytes, value: bytes) -> None:
        """Append a value to the key's list. The server does not answer.

        Raises:
            InvalidParameter: the key or the value cannot be written in the protocol.
            ConnectionBroken: the connection broke.
        """
        await self.send_line(b"Put:%b:%b" % (_part("key", key), _last("value", value)))

    async def update(self, key: bytes, old: bytes, new: bytes) -> None:
        """Remove the first ``old`` of the key, if any, and append ``new``; errors as ``put``."""
        parts = (_part("key", key), _part("old", old), _last("new", new))
        await self.send_line(b"Update:%b:%b:%b" % parts)

    async def delete(self, key: bytes) -> None:
        """Remove the key with its values; errors as ``put``."""
        await self.send_line(b"Delete:%b" % _part("key", key))

    async def get(self, key: bytes) -> list[bytes]:
        """Return the key's values in order, after everything this client asked before.

        The protocol does not say where an answer ends. So a line follows the request that the
        server refuses, drawn at random so that no value is taken for its refusal, and what comes
        before the refusal is the answer. Refusals of earlier
        requests that nobody has received yet are dropped. Whoever has left more answers unread
        than the server queues must first receive them: the refusal would be dropped, too. Of a
        list longer than the queue the server may drop the end if it is read slowly; see
        ``Limits.held_bytes``.
        Cancelled: the rest of the answer arrives later; use the client no more.

        Raises:
            InvalidParameter: the key cannot be written in the protocol.
            ConnectionBroken: the connection broke, or the server closed it.
            BadMessage: the server sent a line that is longer than 1 MiB.
        """
        fence = b"Fence%032x" % self._rng.getrandbits(FENCE_BITS)
        refusal = error_line(unknown_command(fence)).removesuffix(b"\n")
        await self.send(b"Get:%b\n%b\n" % (_part("key", key), fence))
        prefix = key + b":"
        values: list[bytes] = []
        while (line := await self.receive_line()) is not None:
            if line == refusal:
                return values
            if line.startswith(prefix):
                values.append(line.removeprefix(prefix))
        raise ConnectionBroken(self._server)

    async def send_line(self, line: bytes) -> None:
        """Send one request, given without its line end; errors as ``put``."""
        await self.send(_last("line", line) + b"\n")

    async def send(self, data: bytes) -> None:
        """Send bytes as they are; lines may be split over calls.

        Raises:
            ConnectionBroken: the connection broke.
        """
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            raise ConnectionBroken(self._server) from None

    async def send_eof(self) -> None:
        """Say that no more requests come; the server answers those it has and closes.

        Raises:
            ConnectionBroken: the connection broke.
        """
        try:
            await self._stream.send_eof()
        except trio.BrokenResourceError:
            raise ConnectionBroken(self._server) from None

    async def receive_line(self) -> bytes | None:
        """Return the next line that the server sends, or None when it has closed.

        Cancelled: nothing was taken.

        Raises:
            ConnectionBroken: the connection broke.
            BadMessage: the line is longer than 1 MiB.
        """
        while not self._lines:
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except trio.BrokenResourceError:
                raise ConnectionBroken(self._server) from None
            if not data:
                return None
            self._lines += self._splitter.feed(data)
            if self._splitter.too_long and not self._lines:
                raise BadMessage(f"the server sent a line of over {ANSWER_LIMIT_BYTES} bytes")
        return self._lines.popleft()


@asynccontextmanager
async def connect(
    host: str = "127.0.0.1", port: int = DEFAULT_PORT, *, ports: Host = REAL_HOST
) -> AsyncIterator[Client]:
    """Connect to a server for as long as the body runs; then the connection is closed.

    What was sent has been handed to the network by then; the server reads it to its end.

    Raises:
        ConnectionRefused: nobody listens there.
        ResolutionFailed: the host has no address.
        InvalidParameter: the port is out of range.
    """
    stream = await ports.net.connect_tcp(host, port)
    try:
        yield Client(stream, ports.rng)
    finally:
        await stream.aclose()


def _part(name: str, data: bytes) -> bytes:
    if b":" in data:
        raise InvalidParameter(name, data, "free of colons")
    return _last(name, data)


def _last(name: str, data: bytes) -> bytes:
    if b"\n" in data or data.endswith(b"\r"):
        raise InvalidParameter(name, data, "free of line ends")
    return data
