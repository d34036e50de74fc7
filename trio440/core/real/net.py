"""Real sockets: UDP drained in batches, TCP through trio's streams, names through the resolver."""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, Literal

import trio

from trio440.core.host import (
    Address,
    ByteStream,
    Datagram,
    Net,
    StreamGroup,
    StreamListener,
    UdpSocket,
)
from trio440.core.real.stream_group import KernelStreamGroup
from trio440.errors import (
    AddressInUse,
    AddressUnavailable,
    ConnectionRefused,
    InvalidParameter,
    ResolutionFailed,
)

__all__ = ["KernelNet"]

MAX_DATAGRAM: Final = 65_535
"""The largest UDP datagram there is; nothing is ever cut."""
RECEIVE_BYTES: Final = 65_536
"""How much of a stream is read at once when nobody says otherwise."""
WANTED_SOCKET_BUFFER: Final = 4 << 20
"""What is asked of the kernel for each UDP buffer; it grants what its limit allows."""
MAX_PORT: Final = 65_535


class _KernelUdpSocket(UdpSocket):
    """A non-blocking UDP socket on trio's readiness events."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._local: Address = sock.getsockname()

    @property
    def local_address(self) -> Address:
        return self._local

    async def receive(self, limit: int = 64) -> list[Datagram]:
        _check_at_least_1("limit", limit)
        while True:
            self._check_open()
            await trio.lowlevel.wait_readable(self._sock)
            if batch := self.receive_nowait(limit):
                return batch

    def receive_nowait(self, limit: int = 64) -> list[Datagram]:
        _check_at_least_1("limit", limit)
        self._check_open()
        batch: list[Datagram] = []
        receive = self._sock.recvfrom
        errors = 0
        while len(batch) < limit:
            try:
                batch.append(receive(MAX_DATAGRAM))
            except BlockingIOError:
                break
            except OSError:
                # The kernel reports an earlier datagram's fate here; the next call goes on.
                errors += 1
                if errors > limit:
                    break
        return batch

    def send_nowait(self, datagrams: Sequence[Datagram]) -> int:
        self._check_open()
        send = self._sock.sendto
        for sent, (data, address) in enumerate(datagrams):
            try:
                send(data, address)
            except BlockingIOError:
                return sent
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return sent
        return len(datagrams)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def _check_open(self) -> None:
        if self._sock.fileno() < 0:
            raise trio.ClosedResourceError("this UDP socket is closed")


class _KernelByteStream(ByteStream):
    """A ``trio.SocketStream`` that knows its addresses."""

    def __init__(self, stream: trio.SocketStream, remote: Address | None = None) -> None:
        self._stream = stream
        self._sending = False
        self.handle = stream.socket.fileno()
        """The descriptor, -1 once this side has closed; asking the socket for it takes long."""
        self._has_sent_eof = False
        try:
            self._local: Address = stream.socket.getsockname()
            self._remote: Address = stream.socket.getpeername() if remote is None else remote
        except OSError:
            # The other side has reset the connection already; nobody else will close it.
            stream.socket.close()
            raise

    @property
    def local_address(self) -> Address:
        return self._local

    @property
    def remote_address(self) -> Address:
        return self._remote

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._only_sender():
            await self._stream.send_all(data)

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        if self.handle < 0 or self._has_sent_eof:
            raise trio.ClosedResourceError("this stream is closed for sending")
        if not data:
            return 0
        try:
            return os.write(self.handle, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(f"the connection broke: {_reason(error)}") from error

    async def wait_send_all_might_not_block(self) -> None:
        with self._only_sender():
            await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()
        self._has_sent_eof = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if max_bytes is not None and max_bytes < 1:
            _check_at_least_1("max_bytes", max_bytes)
        # Not the stream's own: that tries first, in vain whenever the other side is waited for.
        while (handle := self.handle) >= 0:
            await trio.lowlevel.wait_readable(handle)
            if self.handle != handle:
                break  # closed, and the number may be another's by now
            try:
                return os.read(handle, max_bytes or RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(f"the connection broke: {_reason(error)}") from error
        raise trio.ClosedResourceError("this stream is closed")

    async def aclose(self) -> None:
        self.handle = -1
        await self._stream.aclose()

    @contextmanager
    def _only_sender(self) -> Iterator[None]:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False


class _KernelListener(StreamListener):
    """A listening socket."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._sock = sock
        self._local: Address = sock.getsockname()

    @property
    def local_address(self) -> Address:
        return self._local

    async def accept(self) -> ByteStream:
        while True:
            try:
                sock, remote = await self._sock.accept()
                return _KernelByteStream(trio.SocketStream(sock), remote)
            except OSError as error:
                if error.errno in _BROKEN_BEFORE_ACCEPT:
                    continue
                if error.errno == errno.EBADF:
                    raise trio.ClosedResourceError("this listener is closed") from None
                raise

    async def aclose(self) -> None:
        self._sock.close()
        await trio.lowlevel.checkpoint()


_BROKEN_BEFORE_ACCEPT: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
    }
)
"""accept(2): errors of a connection that is already gone, to be treated like "try again"."""


class KernelNet(Net):
    """The network of this machine."""

    async def resolve(
        self, host: str, port: int, *, kind: Literal["udp", "tcp"], passive: bool = False
    ) -> list[Address]:
        """Ask the system's resolver; see :class:`trio440.core.host.Net`."""
        if not 0 <= port <= MAX_PORT:
            raise InvalidParameter("port", port, f"0 to {MAX_PORT}")
        try:
            found = await trio.socket.getaddrinfo(
                host or None,
                port,
                type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM,
                flags=socket.AI_PASSIVE if passive else 0,
            )
        except (socket.gaierror, ValueError):
            # ValueError: a NUL in the name, or the idna codec refuses a label.
            raise ResolutionFailed(host, port, "is an unknown host") from None
        addresses: list[Address] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            addresses += [entry[4] for entry in found if entry[0] == family]  # type: ignore[misc]  # typeshed allows a third shape for families that are not asked for
        if not addresses:
            raise ResolutionFailed(host, port, "has no IPv4 or IPv6 address")
        return addresses

    async def bind_udp(self, host: str = "127.0.0.1", port: int = 0) -> UdpSocket:
        """Bind a UDP socket; see :class:`trio440.core.host.Net`."""
        address = (await self.resolve(host, port, kind="udp", passive=True))[0]
        with _bind_errors(host, port), ExitStack() as on_failure:
            sock = socket.socket(_family(address), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            on_failure.callback(sock.close)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, WANTED_SOCKET_BUFFER)
            sock.bind(address)
            on_failure.pop_all()
        return _KernelUdpSocket(sock)

    async def listen_tcp(
        self, host: str = "127.0.0.1", port: int = 0, *, backlog: int = 128
    ) -> StreamListener:
        """Listen for connections; see :class:`trio440.core.host.Net`."""
        _check_at_least_1("backlog", backlog)
        address = (await self.resolve(host, port, kind="tcp", passive=True))[0]
        with _bind_errors(host, port), ExitStack() as on_failure:
            sock = trio.socket.socket(_family(address), socket.SOCK_STREAM)
            on_failure.callback(sock.close)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await sock.bind(address)
            sock.listen(backlog)
            on_failure.pop_all()
        return _KernelListener(sock)

    async def connect_tcp(self, host: str, port: int) -> ByteStream:
        """Open a connection; see :class:`trio440.core.host.Net`."""
        await self.resolve(host, port, kind="tcp")
        try:
            return _KernelByteStream(await trio.open_tcp_stream(host, port))
        except OSError as error:
            nobody = _first(error).errno == errno.ECONNREFUSED
            problem = f"cannot be reached: {_reason(error)}"
            raise ConnectionRefused(host, port, problem, nobody_listens=nobody) from None

    def open_stream_group(self) -> StreamGroup:
        """Return an empty group; see :class:`trio440.core.host.Net`."""
        return KernelStreamGroup()


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if len(address) > 2 else socket.AF_INET  # noqa: PLR2004 - the shape


def _first(error: OSError) -> OSError:
    """Return the first error where trio wrapped several attempts in one."""
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause if isinstance(cause, OSError) else error


def _reason(error: OSError) -> str:
    """Give the first errno's words."""
    found = _first(error)
    return os.strerror(found.errno).lower() if found.errno else str(found)


@contextmanager
def _bind_errors(host: str, port: int) -> Iterator[None]:
    """Say what the kernel has against an address to listen on."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(host, port, "is already in use") from None
        raise AddressUnavailable(host, port, f"cannot be used: {_reason(error)}") from None


def _check_at_least_1(name: str, value: int) -> None:
    if value < 1:
        raise InvalidParameter(name, value, "at least 1")
