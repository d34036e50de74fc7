"""One connection of a server: handshake, requests, handlers, answers, end.

::

    greeting ──▶ serving ──▶ draining (the server is left normally) ──▶ closed
        │           │                                                     ▲
        └───────────┴── broken, silent, stalled, bad message, too slow ───┘

One task writes, one watches over signs of life, and the others are leader and followers: one of
them reads, and runs the handlers itself. As soon as a handler waits, its task is busy with it and
another one leads, so that only a handler that waits costs a task. At a limit, of active handlers
or of answers that the client does not take, nothing more is read until there is room: TCP then
slows the client down.
"""

from collections.abc import Iterable, Mapping
from contextvars import copy_context
from math import inf
from typing import Any, Final

import attrs
import trio

from trio440.core.host import ByteStream, Host, format_address
from trio440.errors import BadMessage
from trio440.rpc.answering import Answering, Work
from trio440.rpc.eager import run_eagerly
from trio440.rpc.envelope import HEARTBEAT_FRAME, Call, Cancel, Tell
from trio440.rpc.hands import Hand, Hands, Job
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
from trio440.rpc.holding import SMALL_BYTES, Holdings
from trio440.rpc.limits import ServerCounters, ServerLimits
from trio440.rpc.outbox import Outbox, Stalled
from trio440.rpc.pulse import Pulse, tick_us
from trio440.rpc.replies import Replies, Report
from trio440.rpc.service import Route
from trio440.rpc.session import AnsweringSession
from trio440.wire.framing import FrameReader

__all__ = ["Serving", "Shared", "linger"]

READ_BYTES: Final = 65_536
MICROSECONDS: Final = 1_000_000
EAGER_AGAIN: Final = 64
"""After so many calls of a method whose handler waited, see whether it still does."""
LINGER_SECONDS: Final = 0.25
"""How long a client may take to read the last and close, before it is closed on."""


@attrs.frozen
class Shared:
    """What the connections of a server have in common."""

    routes: Mapping[str, Route]
    identity: Identity
    limits: ServerLimits
    counters: ServerCounters
    holdings: Holdings[Any]
    """By each, a :class:`Serving`, what its requests and answers take."""
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
        self._greeting = trio.CancelScope()
        self._scope = trio.CancelScope()
        self._is_finishing = False
        self._reader: Hand | None = None
        self._is_reading_over = trio.Event()
        self._burst: Iterable[Call | Tell | Cancel] = ()
        self._waiting_methods: dict[str, int] = {}
        self._room = trio.lowlevel.ParkingLot()
        self._asked_at = self._clock.now()
        self._handled_bytes = 0
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
        if self._reader is not None:
            self._reader.scope.cancel()

    @property
    def idle_since(self) -> float:
        """When the client last asked, on the machine's clock; inf while a handler is active."""
        return inf if self._handled_bytes else self._asked_at

    def evict(self) -> None:
        """Close at once: somebody else needs what this client takes."""
        self._counters.evictions += 1
        self._greeting.cancel()
        self._scope.cancel()
        self._outbox.give_up()

    async def run(self) -> None:
        """Serve to the end; closes the connection."""
        try:
            hello = await self._greet()
            if hello is not None:
                await self._serve(hello)
        finally:
            self._shared.holdings.drop(self)
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
        self._answering = Answering(
            self._shared.routes,
            Peer(hello.who, self._stream.remote_address),
            replies=Replies(self._counters, self._shared.report, hello.frame_bytes),
            counters=self._counters,
            clock=self._clock,
            outbox=self._outbox,
        )
        self._session = AnsweringSession[trio.CancelScope](self._frames, limits.concurrency)
        tick = tick_us(round(limits.silence_seconds * MICROSECONDS), hello.silence_us)
        self._pulse = Pulse()
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._hands = Hands(nursery, self._take_turn)
                nursery.start_soon(self._write)
                nursery.start_soon(self._beat, tick / MICROSECONDS)
                self._hands.call()
                await self._is_reading_over.wait()
                if self._is_finishing:
                    await self._drain()
                self._scope.cancel()

    async def _drain(self) -> None:
        with self._clock.move_on_after(self._limits.flush_seconds):
            self._answering.flush()
            while len(self._session):
                await self._room.park()
            await self._outbox.wait_empty()
            self._outbox.give_up()  # a heartbeat behind the end of the stream would be an error
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
            self._hands.dismiss_half()
            if beat.send_heartbeat:
                self._outbox.put(HEARTBEAT_FRAME)

    # Reading, in turns

    async def _take_turn(self, hand: Hand) -> None:
        """Run the hand's handler, or read until a handler waits or there is no more to read."""
        if hand.job is not None:
            await self._run(hand.job)
            return
        self._reader = hand
        try:
            while await self._handle_burst(hand) and await self._receive(hand):
                pass
        except trio.BrokenResourceError:
            pass
        except BadMessage as error:
            self._counters.bad_messages += 1
            self._shared.report(error)
        finally:
            if self._reader is hand:
                self._is_reading_over.set()

    async def _handle_burst(self, hand: Hand) -> bool:
        """Handle what is left of the burst that was read; whether this task is to read on."""
        answering = self._answering
        for message in self._burst:
            if isinstance(message, Cancel):
                self._cancel(message)
                continue
            self._asked_at = answering.arrived
            if not self._has_room() and not await self._wait_room(hand):
                return False
            if isinstance(message, Call):
                work = answering.take_call(message)
            else:
                work = answering.take_tell(message)
            if work is not None and await self._handle(message, work, hand):
                return False
        answering.flush()
        return self._outbox.has_room or await self._wait_room(hand)

    async def _receive(self, hand: Hand) -> bool:
        """Wait for the next burst; False: nothing more is read."""
        if self._is_finishing:
            return False
        self._hold()
        data = await self._stream.receive_some(READ_BYTES)
        if not data or hand.scope.cancel_called:
            return False
        self._pulse.heard = True
        self._counters.bytes_received += len(data)
        self._answering.arrived = self._clock.now()
        self._burst = self._session.receive_untrusted(data)
        return True

    def _hold(self) -> None:
        """Account for what requests and answers take; the one that takes most goes at the limit."""
        held, holdings = self.weigh(), self._shared.holdings
        if held == holdings.of(self):
            return
        while (most := holdings.hold(self, held)) is not None:
            now = most.weigh()
            if now < holdings.of(most):  # its client has read answers meanwhile
                holdings.hold(most, now)
                continue
            holdings.drop(most)
            most.evict()
            if most is self:
                break

    def weigh(self) -> int:
        """Return how much memory requests and answers take by now; 0 where it is little."""
        requests = self._frames.pending_bytes + self._handled_bytes
        held = requests if requests > SMALL_BYTES else 0
        if (answers := self._outbox.queued_bytes) > SMALL_BYTES:
            held += answers
        return held

    def _has_room(self) -> bool:
        return (
            self._session.has_room
            and self._outbox.queued_bytes + self._answering.gathered_bytes
            < self._limits.queued_bytes
        )

    async def _wait_room(self, hand: Hand) -> bool:
        """Read nothing until there is room; meanwhile the client's silence means nothing.

        False: nothing more is read.
        """
        if self._is_finishing:
            return False
        self._counters.pauses += 1
        self._answering.flush()
        self._hold()
        self._pulse.is_deaf = True
        while not self._has_room():
            if self._session.has_room:
                await self._outbox.wait_room()
            else:
                await self._room.park()
        self._pulse.is_deaf = False
        self._pulse.heard = True
        return not hand.scope.cancel_called

    # Handlers

    def _cancel(self, message: Cancel) -> None:
        scope = self._session.find(message.id)
        if scope is not None and not scope.cancel_called:
            self._counters.cancelled += 1
            scope.cancel()

    async def _handle(self, message: Call | Tell, work: Work, hand: Hand) -> bool:
        """Run an async handler here or in another task; whether reading is another task's now.

        Where more requests stand behind this one and its method's last handler waited, another
        task runs it: to change the reader for each of them would take a turn of the loop each.
        """
        turns = self._waiting_methods.get(message.method, 0)
        if turns and self._session.frames_left:
            self._waiting_methods[message.method] = turns - 1
            other = self._hands.call()
            other.job = Job(message, work, other.scope)
            self._start(other.job)
            return False
        if await self._run_eagerly(Job(message, work, hand.scope)):
            self._waiting_methods[message.method] = EAGER_AGAIN
            return True
        if turns:
            del self._waiting_methods[message.method]
        return False

    async def _run_eagerly(self, job: Job) -> bool:
        """Run a handler in the task that reads; whether it waited, and another task reads."""

        def wait() -> None:
            self._start(job)
            self._reader = None
            self._hands.call()

        frame = None
        try:
            frame = await run_eagerly(job.work, copy_context(), wait)
        finally:
            if job.key:
                self._finish(job, frame)
        if job.key:
            return True
        if frame is not None:
            self._answering.gather(frame)
        return False

    async def _run(self, job: Job) -> None:
        """Run a handler in a task that does nothing else."""
        frame = None
        try:
            frame = await job.work
        finally:
            self._finish(job, frame)

    def _start(self, job: Job) -> None:
        """Count a handler as active; from now on it may be cancelled."""
        message = job.message
        call_id = message.id if isinstance(message, Call) else None
        job.key = self._session.start(call_id, job.scope)
        self._counters.handlers_active += 1
        self._handled_bytes += len(message.body)
        self._hold()

    def _finish(self, job: Job, frame: bytes | None) -> None:
        """The handler has ended; answer."""
        self._session.finish(job.key)
        self._counters.handlers_active -= 1
        self._handled_bytes -= len(job.message.body)
        if self._room:
            self._room.unpark()
        if frame is not None and not job.scope.cancel_called:
            if len(self._session):
                self._outbox.put(frame)
            else:
                self._outbox.put_alone(frame)
        self._hold()
