"""The ports: everything of the world that a shell may touch, bundled in a :class:`Host`.

Every public entry point takes ``ports: Host = REAL_HOST``. The real host
(:data:`trio440.core.real.REAL_HOST`) leads to trio's clock, the kernel's sockets and files and
a worker thread; any other host must pass the same conformance suites (``tests/conformance``).
The parameter is not called ``host`` because beside a port number that word means an address.

This module holds Protocols and plain values only.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Final, Literal, Protocol, TypeAlias, TypeVar, TypeVarTuple

import attrs

from trio440.errors import InvalidParameter

__all__ = [
    "Address",
    "AppendFile",
    "Blocking",
    "ByteStream",
    "Clock",
    "Datagram",
    "Disk",
    "Host",
    "Net",
    "Scope",
    "StreamGroup",
    "StreamListener",
    "UdpSocket",
    "WallClock",
    "Worker",
    "format_address",
    "parse_address",
]

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""A numeric socket address: ``(host, port)`` for IPv4, with flow and scope for IPv6."""

Datagram: TypeAlias = tuple[bytes, Address]
"""The bytes of one UDP datagram and the address it came from or goes to."""

MAX_PORT: Final = 65_535

T = TypeVar("T")
Args = TypeVarTuple("Args")


def format_address(address: Address) -> str:
    """Write an address as ``HOST:PORT``, an IPv6 host in brackets."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT``, a name or a literal, into the host, without brackets, and the port.

    Raises:
        InvalidParameter: it has another form, or the port is not 1 to 65535.
    """
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_host = bool(bare) and (":" not in bare or bare != host)
    is_port = port.isascii() and port.isdigit() and len(port) <= len(str(MAX_PORT))
    if not is_host or not is_port or not 1 <= int(port) <= MAX_PORT:
        allowed = f"HOST:PORT with a port from 1 to {MAX_PORT}, an IPv6 host in brackets"
        raise InvalidParameter("address", text, allowed)
    return bare, int(port)


class Scope(Protocol):
    """What the clock's deadlines yield; trio's ``CancelScope`` is one."""

    @property
    def cancelled_caught(self) -> bool:
        """Whether the body was cut short by this scope; valid after its end."""

    def cancel(self) -> None:
        """Cancel the body now."""


class Clock(Protocol):
    """Monotonic time in seconds; its zero means nothing. Deadlines are on this clock."""

    def now(self) -> float:
        """Return the seconds since this clock's zero; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds`` (0 or more); always a checkpoint."""

    async def sleep_until(self, deadline: float) -> None:
        """Sleep until ``now()`` is at least ``deadline``; always a checkpoint."""

    def fail_after(self, seconds: float) -> AbstractContextManager[Scope]:
        """Cancel the body after ``seconds`` and raise ``trio.TooSlowError``."""

    def move_on_after(self, seconds: float) -> AbstractContextManager[Scope, bool]:
        """Cancel the body after ``seconds`` and go on behind it."""

    def move_on_at(self, deadline: float) -> AbstractContextManager[Scope, bool]:
        """Cancel the body when ``now()`` reaches ``deadline`` and go on behind it."""


class WallClock(Protocol):
    """Time of day; may jump in either direction."""

    def now_ns(self) -> int:
        """Return the nanoseconds since the Unix epoch."""


class UdpSocket(Protocol):
    """One bound UDP socket. Datagrams may be lost, doubled and reordered anywhere."""

    @property
    def local_address(self) -> Address:
        """The address the socket is bound to, with its real port."""

    async def receive(self, limit: int = 64) -> list[Datagram]:
        """Wait until something is readable, then drain up to ``limit`` datagrams (at least 1).

        Socket errors that speak of earlier datagrams (connection refused) are swallowed.
        Always a checkpoint. Cancelled: nothing was taken.

        Raises:
            trio.ClosedResourceError: the socket was closed, also while waiting.
            trio.BusyResourceError: another task is already waiting.
            InvalidParameter: the limit is not positive.
        """

    def receive_nowait(self, limit: int = 64) -> list[Datagram]:
        """Drain up to ``limit`` datagrams that are readable now; none gives an empty list.

        A task that waits in :meth:`receive` goes on waiting when another drained before it.

        Raises:
            trio.ClosedResourceError: the socket was closed.
            InvalidParameter: the limit is not positive.
        """

    def send_nowait(self, datagrams: Sequence[Datagram]) -> int:
        """Hand datagrams to the network in order and return how many it took.

        Fewer than all means that the socket's send buffer is full: the rest was not sent. A
        datagram that the network refuses for good (no route, too big) counts as sent: it is
        lost, as datagrams are.

        Raises:
            trio.ClosedResourceError: the socket was closed.
        """

    def close(self) -> None:
        """Close the socket; idempotent. A waiting ``receive`` fails."""


class ByteStream(Protocol):
    """One TCP connection; ``trio.SocketStream``'s semantics, with the remote's address.

    Closing is final in both directions; ``send_eof`` closes the sending side alone.
    """

    @property
    def local_address(self) -> Address:
        """This side's address."""

    @property
    def remote_address(self) -> Address:
        """The other side's address."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``, waiting while the other side reads too slowly.

        Always a checkpoint. Cancelled or broken, an unknown part of it was sent.

        Raises:
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: this side closed it, or has sent its end.
            trio.BusyResourceError: another task is sending.
        """

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Send as much of ``data`` as the connection takes at once and return how much it was.

        Not a checkpoint. 0 means that there was no room; the rest is the caller's to send.

        Raises:
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: this side closed it, or has sent its end.
            trio.BusyResourceError: another task is sending.
        """

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the connection can take some more bytes, or is broken.

        Raises:
            trio.ClosedResourceError: this side closed it.
            trio.BusyResourceError: another task is sending.
        """

    async def send_eof(self) -> None:
        """Tell the other side that nothing more comes; receiving goes on. Idempotent.

        Raises:
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: this side closed it.
            trio.BusyResourceError: another task is sending.
        """

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive up to ``max_bytes``, or ``b""`` once the other side has sent its end.

        Always a checkpoint. Cancelled: nothing was taken. What arrived before the connection
        broke is still received first.

        Raises:
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: this side closed it, also while waiting.
            trio.BusyResourceError: another task is already waiting.
            InvalidParameter: ``max_bytes`` is not positive.
        """

    async def aclose(self) -> None:
        """Close at once; idempotent; always a checkpoint, and closed also when cancelled.

        What was sent still arrives; the other side breaks when it sent what was never received
        here, or goes on sending.
        """


class StreamGroup(Protocol):
    """Connections of which one task receives, whichever of them has something.

    For thousands that say little: a task each costs more than what they say. What is sent on a
    stream of the group is sent as on any other.
    """

    def add(self, stream: ByteStream) -> None:
        """Receive from this stream, too: an open one of the same network, as that made it.

        Nobody else may receive from it until it is taken out. It is to be taken out before it is
        closed.
        """

    def remove(self, stream: ByteStream) -> None:
        """Receive from this stream no more; idempotent."""

    async def receive(self, max_bytes: int, limit: int = 64) -> list[tuple[ByteStream, bytes]]:
        """Wait until a stream has something, and return what there is, of each at most once.

        A stream whose other side has sent its end, or that broke, gives ``b""`` once, and is
        out of the group then. Where more than ``limit`` streams have something each has its turn.
        Always a checkpoint. Cancelled: nothing was taken.

        Args:
            max_bytes: of one stream; at least 1.
            limit: streams that are received from; at least 1.

        Raises:
            trio.BusyResourceError: another task is already waiting.
            InvalidParameter: ``max_bytes`` or ``limit`` is not positive.
        """

    def close(self) -> None:
        """Let go of all streams, which stay open; idempotent. Nobody may be waiting."""


class StreamListener(Protocol):
    """A listening TCP socket."""

    @property
    def local_address(self) -> Address:
        """The address it listens on, with its real port."""

    async def accept(self) -> ByteStream:
        """Wait for the next connection. Cancelled: none was taken.

        Connections that broke before they were accepted are passed over, or (on Linux) break
        at their first use; they never raise here.

        Raises:
            trio.ClosedResourceError: the listener was closed, also while waiting.
            trio.BusyResourceError: another task is already waiting.
            OSError: the process or the machine is out of file descriptors.
        """

    async def aclose(self) -> None:
        """Stop listening; idempotent; always a checkpoint, and closed also when cancelled.

        Accepted connections live on; those that still waited to be accepted break.
        """


class Net(Protocol):
    """UDP, TCP and name resolution."""

    async def resolve(
        self, host: str, port: int, *, kind: Literal["udp", "tcp"], passive: bool = False
    ) -> list[Address]:
        """Turn a name or a literal of either family into addresses, IPv4 first.

        Args:
            host: a name or a literal; empty: this machine, with ``passive`` every interface.
            port: 0 to 65535.
            kind: what the addresses are for.
            passive: the addresses are to be bound rather than reached.

        Raises:
            ResolutionFailed: there is no address.
            InvalidParameter: the port is out of range.
        """

    async def bind_udp(self, host: str = "127.0.0.1", port: int = 0) -> UdpSocket:
        """Bind a UDP socket; port 0 takes any free one.

        Raises:
            AddressInUse: another socket is bound there.
            AddressUnavailable: no such local address, not permitted, or out of sockets.
            ResolutionFailed: ``host`` has no address.
            InvalidParameter: the port is out of range.
        """

    async def listen_tcp(
        self, host: str = "127.0.0.1", port: int = 0, *, backlog: int = 128
    ) -> StreamListener:
        """Listen for TCP connections on the first address of ``host``; port 0: any free one.

        Raises:
            AddressInUse: another socket listens there.
            AddressUnavailable: no such local address, not permitted, or out of sockets.
            ResolutionFailed: ``host`` has no address.
            InvalidParameter: the port is out of range, or the backlog is not positive.
        """

    async def connect_tcp(self, host: str, port: int) -> ByteStream:
        """Open a TCP connection, trying every address of ``host`` in turn.

        Cancelled: no connection is left open.

        Raises:
            ConnectionRefused: no address accepted.
            ResolutionFailed: ``host`` has no address.
            InvalidParameter: the port is out of range.
        """

    def open_stream_group(self) -> StreamGroup:
        """Return an empty group, which its maker closes."""


class AppendFile(Protocol):
    """A file open for appending, by one writer. Blocking: call it from a :class:`Worker`.

    It outlives a rename or a removal of its name. Closed, it refuses with ``OSError``.
    """

    @property
    def size(self) -> int:
        """The length of the file in bytes, what was appended included."""

    def append(self, data: bytes) -> None:
        """Write all of ``data`` at the end. On ``OSError`` an unknown part was written."""

    def sync(self) -> None:
        """Return once everything appended so far would survive a power cut (fdatasync)."""

    def close(self) -> None:
        """Close without syncing; idempotent."""


class Disk(Protocol):
    """One directory tree. Blocking: call it from a :class:`Worker`.

    Paths are relative to the root of the tree, with ``/`` between parts, and may not leave it.
    What was not synced may be lost, torn or reordered by a crash, names included:
    :meth:`sync_directory` makes created, renamed and removed names last.
    All methods raise ``OSError`` of the fitting kind (``FileNotFoundError``, no space, ...), and
    ``InvalidParameter`` for a path that is no path of this tree or a number below 0.
    """

    def make_directory(self, path: str) -> None:
        """Create a directory and its parents; existing ones are fine."""

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""

    def exists(self, path: str) -> bool:
        """Whether a file or directory has this name."""

    def size(self, path: str) -> int:
        """Return the length of a file in bytes."""

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read ``length`` bytes from ``offset``, fewer at the end, everything when None."""

    def open_append(self, path: str, *, create: bool = True) -> AppendFile:
        """Open a file for appending at its end.

        Args:
            path: the file.
            create: make it when it is absent; otherwise ``FileNotFoundError``.
        """

    def truncate(self, path: str, size: int) -> None:
        """Cut a file to ``size`` bytes, at most its present size; nobody has it open.

        Not lasting until the file is synced.
        """

    def sync_file(self, path: str) -> None:
        """Make the content of a file last."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, atomically replacing what was there."""

    def remove(self, path: str) -> None:
        """Remove a file."""

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory last."""

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Hold a file as this process's own; freed when the process dies.

        Raises:
            BlockingIOError: on entering, when somebody else holds it.
        """


class Worker(Protocol):
    """Runs blocking functions one at a time, in the order they were given."""

    async def run(self, fn: Callable[[*Args], T], *args: *Args) -> T:
        """Run ``fn(*args)`` and return what it returns or raises.

        Always a checkpoint. A wait that is cancelled returns at once and does not undo the work:
        the function runs, or goes on running, and its result is dropped. A task that is
        cancelled already when it calls gives no work.

        Raises:
            trio.ClosedResourceError: the worker was closed before the function started.
        """


class Blocking(Protocol):
    """Where blocking work goes."""

    def open_worker(self, name: str) -> AbstractAsyncContextManager[Worker]:
        """Open a worker that owns a resource: its calls never overlap and keep their order.

        Leaving the context waits for the running call, shielded, and drops those not started:
        tasks that wait for them get ``trio.ClosedResourceError``.
        """


@attrs.frozen
class Host:
    """The machine a shell runs on: the six ports in one value.

    ``rng`` is the source of chance (jitter, sequence numbers, identifiers), never of secrets.
    """

    clock: Clock
    wall: WallClock
    net: Net
    disk: Callable[[str], Disk]
    """Opens the tree below a directory of this machine; the directory is made when absent."""
    blocking: Blocking
    rng: random.Random
