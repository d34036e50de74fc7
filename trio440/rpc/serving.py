"""One connection of a server: handshake, requests, handlers, answers, end.

::

    greeting ──▶ serving ──▶ draining (the server is left normally) ──▶ closed
        │           │                                                     ▲
        └───────────┴── broken, silent, stalled, bad message, too slow ───┘

One task reads and runs the handlers that do not wait; each async handler is a task of its own in
the connection's nursery; one task writes; one watches over signs of life. At a limit, of active
handlers or of answers that the client does not take, nothing more is read until there is room:
TCP then slows the client down.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs
import trio

from trio440.core.host import ByteStream, Host, format_address
from trio440.errors import (
    BadMessage,
    HandlerFailed,
    InvalidParameter,
    RemoteError,
)
from trio440.rpc.envelope import (
    DEADLINE_EXCEEDED,
    HEARTBEAT_FRAME,
    NO_DEADLINE,
    Call,
    Cancel,
    Tell,
    encode_answer,
    encode_failure,
)
from trio440.rpc.hello import (
    MAX_HELLO_BYTES,
    Hello,
    Identity,
    Peer,
    Refused,
    decode_hello_untrusted,
    judge_hello,
    refusal_error,
)
from trio440.rpc.hello import (
    encode_answer as encode_hello_answer,
)
from trio440.rpc.limits import ServerCounters, ServerLimits
from trio440.rpc.outbox import Outbox, Stalled
from trio440.rpc.pulse import Pulse, tick_us
from trio440.rpc.service import Route
from trio440.rpc.session import AnsweringSession
from trio440.wire.framing import FrameReader

__all__ = ["Report", "Serving", "Shared", "linger"]

READ_BYTES: Final = 65_536
MICROSECONDS: Final = 1_000_000
HEAD_BYTES: Final = 9
"""What an envelope adds to an answer, its frame's header not counted."""
LINGER_SECONDS: Final = 0.25
"""How long a client may take to read the last and close, before it is closed on."""

Report: TypeAlias = Callable[[Exception], None]
"""Hears what went wrong and is no caller's business; must not raise or block."""


@attrs.frozen
class Shared:
    """What the connections of a server have in common."""

    routes: Mapping[str, Route]
    identity: Identity
    limits: ServerLimits
    counters: ServerCounters
    ports: Host
    report: Report


async def linger(stream: ByteStream, ports: Host) -> None:
    """Send the end and read what still comes, for a while.

    A connection that is closed with bytes unread is reset, and then the client may never read
    what it was told last.
    """
    try:
        with ports.clock.move_on_after(LINGER_SECONDS):
            await stream.send_eof()
            while await stream.receive_some(READ_BYTES):
                pass
    except trio.BrokenResourceError:
        pass


class Serving:
    """Serves one client on one connection."""

    def __init__(self, stream: ByteStream, shared: Shared) -> None:
        self._stream = stream
        self._shared = shared
        self._limits = shared.limits
        self._counters = shared.counters
        self._clock = shared.ports.clock
        self._routes = shared.routes
        self._greeting = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._scope = trio.CancelScope()
        self._is_finishing = False
        self._room = trio.lowlevel.ParkingLot()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._arrived = 0.0
        self._outbox = Outbox(
            stream,
            self._clock,
            limit_bytes=self._limits.queued_bytes,
            stall_seconds=self._limits.silence_seconds,
        )

    def finish(self) -> None:
        """Read no more, let the active handlers answer, and close."""
        self._is_finishing = True
        self._greeting.cancel()
        self._reading.cancel()

    async def run(self) -> None:
        """Serve to the end; closes the connection."""
        try:
            hello = await self._greet()
            if hello is not None:
                await self._serve(hello)
        finally:
            self._counters.bytes_sent += self._outbox.bytes_sent
            await self._stream.aclose()

    # The handshake

    async def _greet(self) -> Hello | None:
        """Meet the client; None when that did not succeed."""
        limits, mine = self._limits, self._shared.identity
        self._frames = FrameReader(MAX_HELLO_BYTES)
        hello = None
        try:
            with self._greeting, self._clock.move_on_after(limits.handshake_seconds):
                hello = await self._receive_hello()
                answer = judge_hello(
                    hello,
                    mine,
                    silence_us=round(limits.silence_seconds * MICROSECONDS),
                    concurrency=limits.concurrency,
                    frame_bytes=limits.frame_bytes,
                )
                await self._stream.send_all(encode_hello_answer(answer))
                if not isinstance(answer, Refused):
                    return hello
                self._counters.handshakes_refused += 1
                address = format_address(self._stream.remote_address)
                self._shared.report(refusal_error(address, answer.reason, answer))
                await linger(self._stream, self._shared.ports)
                return None
        except trio.BrokenResourceError:
            pass
        except BadMessage as error:
            self._shared.report(error)
        if not self._is_finishing:
            self._counters.handshakes_failed += 1
        return None

    async def _receive_hello(self) -> Hello:
        payloads: list[bytes] = []
        while not payloads:
            data = await self._stream.receive_some(READ_BYTES)
            if not data:
                raise trio.BrokenResourceError
            self._counters.bytes_received += len(data)
            payloads = self._frames.feed_untrusted(data)
        hello = decode_hello_untrusted(payloads[0])
        if len(payloads) > 1 or self._frames.pending_bytes:
            raise BadMessage("a client went on before it was welcome")
        return hello

    # Serving

    async def _serve(self, hello: Hello) -> None:
        limits = self._limits
        self._frames.limit = limits.frame_bytes
        self._peer = Peer(hello.who, self._stream.remote_address)
        self._largest = hello.frame_bytes - HEAD_BYTES
        self._session = AnsweringSession[trio.CancelScope](self._frames, limits.concurrency)
        silence = round(limits.silence_seconds * MICROSECONDS)
        tick = tick_us(silence, hello.silence_us)
        self._pulse = Pulse(silence, tick)
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._write)
                nursery.start_soon(self._beat, tick / MICROSECONDS)
                with self._reading:
                    await self._read()
                if self._is_finishing:
                    await self._drain()
                self._scope.cancel()

    async def _drain(self) -> None:
        with self._clock.move_on_after(self._limits.flush_seconds):
            self._flush()
            while len(self._session):
                await self._room.park()
            await self._outbox.wait_empty()
            await linger(self._stream, self._shared.ports)

    async def _write(self) -> None:
        try:
            await self._outbox.run()
        except trio.BrokenResourceError:
            pass
        except Stalled:
            self._counters.stalls += 1
        self._scope.cancel()

    async def _beat(self, tick_seconds: float) -> None:
        while True:
            await self._clock.sleep(tick_seconds)
            self._pulse.said, self._outbox.said = self._outbox.said, False
            beat = self._pulse.tick()
            if beat.is_silent and not self._is_finishing:
                self._counters.silences += 1
                self._scope.cancel()
            if beat.send_heartbeat:
                self._outbox.put(HEARTBEAT_FRAME)

    async def _read(self) -> None:
        receive, pulse, counters = self._stream.receive_some, self._pulse, self._counters
        try:
            while data := await receive(READ_BYTES):
                pulse.heard = True
                counters.bytes_received += len(data)
                self._arrived = self._clock.now()
                for message in self._session.receive_untrusted(data):
                    if isinstance(message, Cancel):
                        self._cancel(message)
                        continue
                    if not self._has_room():
                        await self._wait_room()
                    if isinstance(message, Call):
                        self._take_call(message)
                    else:
                        self._take_tell(message)
                self._flush()
                if not self._outbox.has_room:
                    await self._wait_room()
        except trio.BrokenResourceError:
            pass
        except BadMessage as error:
            counters.bad_messages += 1
            self._shared.report(error)

    def _has_room(self) -> bool:
        return (
            self._session.has_room
            and self._outbox.queued_bytes + self._gathered_bytes < self._limits.queued_bytes
        )

    async def _wait_room(self) -> None:
        """Read nothing until there is room; meanwhile the client's silence means nothing."""
        self._counters.pauses += 1
        self._flush()
        self._pulse.is_deaf = True
        while not self._has_room():
            if self._session.has_room:
                await self._outbox.wait_room()
            else:
                await self._room.park()
        self._pulse.is_deaf = False
        self._pulse.heard = True

    # Requests

    def _cancel(self, message: Cancel) -> None:
        scope = self._session.find(message.id)
        if scope is not None and not scope.cancel_called:
            self._counters.cancelled += 1
            scope.cancel()

    def _take_call(self, call: Call) -> None:
        self._counters.calls += 1
        route = self._routes.get(call.method)
        if route is None or not route.is_answered:
            self._gather(self._failure(call.id, "UnknownMethod", call.method))
            return
        try:
            request = route.decode_untrusted(call.body)
        except BadMessage as error:
            self._gather(self._failure(call.id, "BadRequest", str(error)))
            return
        deadline = None
        if call.left_us != NO_DEADLINE:
            deadline = self._arrived + call.left_us / MICROSECONDS
            if deadline <= self._clock.now():
                self._gather(self._too_late(call.id))
                return
        if route.waits:
            scope = trio.CancelScope()
            self._session.start(call.id, scope)
            self._counters.handlers_active += 1
            self._nursery.start_soon(self._handle_call, call.id, route, request, scope, deadline)
        else:
            try:
                result = route.handler(request, self._peer)
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
                self._gather(self._failed(call.id, route, error))
            else:
                self._gather(self._answer(call.id, route, result))

    def _take_tell(self, message: Tell) -> None:
        self._counters.tells += 1
        route = self._routes.get(message.method)
        if route is None or route.is_answered:
            return
        try:
            request = route.decode_untrusted(message.body)
            if not route.waits:
                route.handler(request, self._peer)
                return
        except Exception as error:  # noqa: BLE001 - nobody waits for an answer
            self._report_failure(route, error)
            return
        scope = trio.CancelScope()
        key = self._session.start_tell(scope)
        self._counters.handlers_active += 1
        self._nursery.start_soon(self._handle_tell, key, route, request)

    async def _handle_call(
        self,
        call_id: int,
        route: Route,
        request: Any,
        scope: trio.CancelScope,
        deadline: float | None,
    ) -> None:
        frame = None
        try:
            with scope:
                if deadline is None:
                    frame = self._answer(call_id, route, await route.handler(request, self._peer))
                else:
                    with self._clock.move_on_at(deadline) as timer:
                        result = await route.handler(request, self._peer)
                        frame = self._answer(call_id, route, result)
                    if timer.cancelled_caught:
                        frame = self._too_late(call_id)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
            frame = self._failed(call_id, route, error)
        finally:
            self._finished(call_id)
        if frame is not None and not scope.cancel_called:
            if len(self._session):
                self._outbox.put(frame)
            else:
                self._outbox.put_alone(frame)

    async def _handle_tell(self, key: int, route: Route, request: Any) -> None:
        try:
            await route.handler(request, self._peer)
        except Exception as error:  # noqa: BLE001 - nobody waits for an answer
            self._report_failure(route, error)
        finally:
            self._finished(key)

    def _finished(self, key: int) -> None:
        self._session.finish(key)
        self._counters.handlers_active -= 1
        if self._room:
            self._room.unpark()

    # Answers

    def _gather(self, frame: bytes) -> None:
        """Keep an answer until the burst that was read is through."""
        self._gathered.append(frame)
        self._gathered_bytes += len(frame)

    def _flush(self) -> None:
        if self._gathered:
            burst = b"".join(self._gathered)
            self._gathered.clear()
            self._gathered_bytes = 0
            self._outbox.put_alone(burst)

    def _answer(self, call_id: int, route: Route, result: Any) -> bytes:
        try:
            body = route.encode(result)
        except InvalidParameter as error:
            self._report_failure(route, error)
            return self._failure(call_id, "BadResult", f"{route.name} gave no valid result")
        if len(body) > self._largest:
            detail = f"{len(body)} bytes, the client reads {self._largest}"
            return self._failure(call_id, "ResultTooLarge", detail)
        self._counters.answers += 1
        return encode_answer(call_id, body)

    def _failed(self, call_id: int, route: Route, error: Exception) -> bytes:
        if isinstance(error, RemoteError):
            return self._failure(call_id, error.name, error.detail)
        self._report_failure(route, error)
        return self._failure(call_id, type(error).__name__, str(error))

    def _too_late(self, call_id: int) -> bytes:
        self._counters.timeouts += 1
        return self._failure(call_id, DEADLINE_EXCEEDED, "the time of the call is over")

    def _failure(self, call_id: int, name: str, detail: str) -> bytes:
        self._counters.failures += 1
        return encode_failure(call_id, name, detail)

    def _report_failure(self, route: Route, error: Exception) -> None:
        self._counters.handlers_failed += 1
        failed = HandlerFailed(route.name, f"{type(error).__name__}: {error}")
        failed.__cause__ = error
        self._shared.report(failed)
