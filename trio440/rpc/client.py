"""The RPC client: one connection at a time to one address, opened again whenever it is lost.

::

                  ┌──────────── wait: back-off with jitter ◀───────────┐
                  ▼                                                    │
    open ──▶ connecting ──▶ shaking hands ──▶ connected ── lost ───────┤
                  │               │ refused: calls fail at once ───────┤
                  └── no answer ──┴────────────────────────────────────┘

A call that finds no connection waits for one. A call whose connection is lost before its answer
came fails with ``AnswerLost`` and is not repeated: only its maker knows whether that is safe.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, final

import attrs
import trio

from trio440.core.host import ByteStream, Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import (
    AddressError,
    BadMessage,
    CallTimedOut,
    HandshakeRefused,
    InvalidParameter,
    MessageTooLarge,
    RemoteError,
    RpcClosed,
    Trio440Error,
)
from trio440.rpc.backoff import Backoff
from trio440.rpc.envelope import DEADLINE_EXCEEDED, NO_DEADLINE, Answer, Failure
from trio440.rpc.hello import ANONYMOUS, Expected, Identity, Peer
from trio440.rpc.limits import ClientCounters, ClientLimits, ClientStatistics
from trio440.rpc.link import MICROSECONDS, Link, shake_hands
from trio440.rpc.service import Method, OneWay

__all__ = ["Client", "open_client"]

A = TypeVar("A")
R = TypeVar("R")

LONGEST_TIMEOUT_SECONDS: Final = 1e9


@final
class Client:
    """Calls of one server; :func:`open_client` opens one.

    Any number of tasks may share it. Calls of a service are written
    ``Calculator(client).add(Add(1, 2))``, see :class:`trio440.rpc.Service`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        identity: Identity,
        expected: Expected,
        limits: ClientLimits,
        ports: Host,
    ) -> None:
        self._host = host
        self._port = port
        self._identity = identity
        self._expected = expected
        self._limits = limits
        self._ports = ports
        self._counters = ClientCounters()
        self._link: Link | None = None
        self._refusal: HandshakeRefused | None = None
        self._failure: Trio440Error | None = None
        self._closed = False
        self._is_trying = True
        """Whether an attempt to connect is under way, of which nothing is known yet."""
        self._changed = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "connected" if self.is_connected else "connecting"
        return f"<rpc.Client of {self._address}, {state}>"

    @property
    def _address(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._link is not None and not self._link.ended

    @property
    def peer(self) -> Peer | None:
        """Who is at the other end of the connection; None while there is none."""
        return None if self._link is None else self._link.peer

    @property
    def failure(self) -> Trio440Error | None:
        """What came of the last attempt to connect that has ended; None: a connection, or nothing.

        An ``AddressError``, a ``HandshakeRefused``, or ``BadMessage`` where another protocol is
        spoken. While an attempt is under way it is that of the one before.
        """
        return self._failure

    @property
    def largest_request(self) -> int:
        """The bytes that a method's name and a message may take together; 0 when not connected."""
        return 0 if self._link is None else self._link.largest_request

    async def wait_connected(self) -> Peer:
        """Wait until there is a connection and return who is at its other end.

        Cancelled: nothing happened.

        Raises:
            HandshakeRefused: the last attempt met somebody with whom this client does not belong.
            RpcClosed: the client was closed.
        """
        await trio.lowlevel.checkpoint()
        while True:
            link = self._link
            if link is not None and not link.ended:
                return link.peer
            await self._wait_change()

    async def wait_attempt(self) -> Peer | None:
        """Wait for a connection while an attempt to open one is under way, and no longer.

        For whoever can ask somebody else: None, at once where nobody listens there, and as long
        as the client waits before its next attempt. Cancelled: nothing happened.

        Raises:
            HandshakeRefused, RpcClosed: as of :meth:`wait_connected`.
        """
        await trio.lowlevel.checkpoint()
        while not self.is_connected:
            self._check()
            if not self._is_trying:
                return None
            await self._changed.park()
        return self.peer

    async def call(
        self, method: Method[A, R], request: A, *, timeout_seconds: float | None = None
    ) -> R:
        """Ask the server and return its answer.

        The time is told to the server, which cancels the handler when it is over; so it does
        when the call is cancelled, as far as the connection still carries the message. In both
        cases, and after ``AnswerLost``, the handler may have run, once at most.

        Args:
            method: of a service, as in ``Calculator.add``.
            request: of the method's class.
            timeout_seconds: for everything, a connection included; None: no limit of its own.

        Raises:
            RemoteError: the server could not answer.
            CallTimedOut: the time is over.
            AnswerLost: the connection broke after the call was sent.
            HandshakeRefused: the server does not belong to this client; nothing was sent.
            MessageTooLarge: the server would not read it; nothing was sent.
            InvalidParameter: the request has no wire form, or the time is none.
            BadMessage: the answer is not of the method's class.
            RpcClosed: the client was closed.
        """
        body = method.request.encode(request)
        deadline = None
        if timeout_seconds is not None:
            if not 0 <= timeout_seconds <= LONGEST_TIMEOUT_SECONDS:
                allowed = f"0 to {LONGEST_TIMEOUT_SECONDS:g}"
                raise InvalidParameter("timeout_seconds", timeout_seconds, allowed)
            deadline = self._ports.clock.now() + timeout_seconds
        await trio.lowlevel.checkpoint_if_cancelled()
        link = self._link
        if deadline is None and link is not None and link.has_room():
            link.check_size(len(method.wire_name) + len(body))
            message = await link.call(method.name, method.wire_name, body, NO_DEADLINE)
        else:
            message = await self._exchange(method, body, deadline)
        if isinstance(message, Answer):
            self._counters.answers += 1
            return method.result.decode_untrusted(message.body)
        if timeout_seconds is not None and (message is None or message.name == DEADLINE_EXCEEDED):
            self._counters.timeouts += 1
            raise CallTimedOut(method.name, timeout_seconds)
        self._counters.failures += 1
        raise _remote_error(message)

    def tell(self, method: OneWay[A], message: A) -> bool:
        """Send a message that is not answered; not a checkpoint.

        Returns:
            Whether it was handed to the connection; otherwise there is none, or its queue is
            full, and the message was dropped and counted. Handed over, it still gets lost when
            the connection breaks.

        Raises:
            MessageTooLarge: the server would not read it.
            InvalidParameter: the message has no wire form.
            RpcClosed: the client was closed.
        """
        if self._closed:
            raise RpcClosed(self._address)
        body = method.message.encode(message)
        if self._link is not None and self._link.tell(method.wire_name, body):
            self._counters.tells += 1
            return True
        self._counters.tells_dropped += 1
        return False

    def may_tell(self) -> bool:
        """Whether :meth:`tell` would hand a message to a connection now."""
        return self._link is not None and self._link.may_tell

    async def wait_tell(self) -> bool:
        """Wait until :meth:`may_tell`; False: there is no connection any more.

        Cancelled: nothing happened.
        """
        await trio.lowlevel.checkpoint()
        link = self._link
        return link is not None and await link.wait_tell()

    async def wait_disconnected(self) -> None:
        """Wait until the present connection is over; returns where there is none."""
        await trio.lowlevel.checkpoint()
        if self._link is not None:
            await self._link.wait_ended()

    def statistics(self) -> ClientStatistics:
        """Return what the client has seen so far."""
        counts: dict[str, Any] = attrs.asdict(self._counters)
        link = self._link
        if link is not None:
            counts["late_answers"] += link.late_answers
            counts["bytes_sent"] += link.bytes_sent
        return ClientStatistics(
            is_connected=self.is_connected,
            calls_in_flight=0 if link is None else link.calls_in_flight,
            queued_bytes=0 if link is None else link.queued_bytes,
            **counts,
        )

    # A call

    async def _exchange(
        self, method: Method[Any, Any], body: bytes, deadline: float | None
    ) -> Answer | Failure | None:
        """Return what comes back; None: the time is over."""
        link, left_us = self._link, NO_DEADLINE
        if link is None or not link.has_room():
            link = await self._wait_link_until(deadline)
            if link is None:
                return None
        try:
            link.check_size(len(method.wire_name) + len(body))
            if deadline is not None:
                left_us = round((deadline - self._ports.clock.now()) * MICROSECONDS)
        except MessageTooLarge:
            link.pass_on_room()
            raise
        if deadline is not None and left_us <= 0:
            link.pass_on_room()
            await trio.lowlevel.checkpoint()
            return None
        return await link.call(method.name, method.wire_name, body, left_us)

    async def _wait_link_until(self, deadline: float | None) -> Link | None:
        """Wait for a connection; None: the time is over."""
        if deadline is None:
            return await self._wait_link()
        with self._ports.clock.move_on_at(deadline):
            return await self._wait_link()
        return None

    async def _wait_link(self) -> Link:
        """Wait for a connection on which a call may be made."""
        while True:
            link = self._link
            if link is None or link.ended:
                await self._wait_change()
            elif await link.wait_room():
                return link

    async def _wait_change(self) -> None:
        self._check()
        await self._changed.park()

    def _check(self) -> None:
        """Raise what nobody can wait for."""
        if self._closed:
            raise RpcClosed(self._address)
        if self._refusal is not None:
            refusal = self._refusal
            raise HandshakeRefused(refusal.address, refusal.reason, refusal.detail)

    # The connection

    async def run(self) -> None:
        """Open one connection after the other, until cancelled."""
        limits, clock = self._limits, self._ports.clock
        backoff = Backoff(limits.first_wait_seconds, limits.longest_wait_seconds, self._ports.rng)
        wait = 0.0
        while True:
            self._counters.attempts += 1
            self._is_trying = True
            connected_at = await self._connect_once()
            if connected_at is not None and clock.now() - connected_at >= wait:
                backoff.succeeded()
            wait = backoff.next_wait()
            await clock.sleep(wait)

    async def _connect_once(self) -> float | None:
        """Connect and stay connected; return since when, on this machine's clock."""
        clock = self._ports.clock
        stream: ByteStream | None = None
        try:
            with clock.move_on_after(self._limits.connect_seconds):
                stream = await self._ports.net.connect_tcp(self._host, self._port)
        except AddressError as error:
            self._failure = error
        else:
            self._failure = None
        if stream is None:
            self._refused(None)
            return None
        try:
            link = await self._shake_hands(stream)
            if link is None:
                return None
            self._counters.connects += 1
            connected_at = clock.now()
            self._link = link
            self._refused(None)
            await link.run()
        finally:
            self._link = None
            await stream.aclose()
        return connected_at

    async def _shake_hands(self, stream: ByteStream) -> Link | None:
        refusal = None
        try:
            with self._ports.clock.move_on_after(self._limits.connect_seconds):
                return await shake_hands(
                    stream,
                    self._identity,
                    self._expected,
                    limits=self._limits,
                    counters=self._counters,
                    ports=self._ports,
                )
        except HandshakeRefused as error:
            self._counters.refusals += 1
            self._failure = error
            if error.reason != "busy":
                refusal = error
        except BadMessage as error:
            self._failure = error
        except trio.BrokenResourceError:
            pass
        self._refused(refusal)
        return None

    def _refused(self, refusal: HandshakeRefused | None) -> None:
        """Note how an attempt ended, and wake who waits for a connection."""
        self._refusal = refusal
        self._is_trying = False
        self._changed.unpark_all()

    async def finish(self) -> None:
        """Take no more calls, and wait until the server has read what was queued."""
        self._closed = True
        self._changed.unpark_all()
        if self._link is not None:
            await self._link.finish()

    def close(self) -> None:
        """Wake everybody who waits, with ``RpcClosed``."""
        self._closed = True
        if self._link is not None:
            self._link.close()
        self._changed.unpark_all()


def _remote_error(message: Failure | None) -> RemoteError:
    return RemoteError(message.name, message.detail) if message else RemoteError(DEADLINE_EXCEEDED)


@asynccontextmanager
async def open_client(
    host: str,
    port: int,
    *,
    identity: Identity = ANONYMOUS,
    expected: Expected | None = None,
    limits: ClientLimits | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Client]:
    """Be a client of the server at an address for as long as the body runs.

    Does not wait for the connection: calls do, or :meth:`Client.wait_connected`. Leaving normally
    sends what is queued and waits until the server has closed, for
    :attr:`ClientLimits.flush_seconds` at most; leaving by exception or cancellation closes at
    once. Calls that other tasks have under way raise ``RpcClosed``.

    Args:
        host: the server's name or address.
        port: the server's.
        identity: who this client says it is.
        expected: whom it means to reach; None: whoever is in its cluster.
        limits: the bounds; the defaults of :class:`ClientLimits` when None.
        ports: the machine to run on.
    """
    client = Client(
        host,
        port,
        identity=identity,
        expected=expected or Expected(),
        limits=limits or ClientLimits(),
        ports=ports,
    )
    async with open_service_nursery() as nursery:
        nursery.start_soon(client.run)
        try:
            yield client
            with ports.clock.move_on_after(client._limits.flush_seconds):  # noqa: SLF001 - its maker
                await client.finish()
        finally:
            client.close()
