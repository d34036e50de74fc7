"""One connection of a client: from the handshake to its end."""

from contextlib import suppress
from typing import Final

import trio
from outcome import Error, Value

from trio440.core.host import ByteStream, Host, format_address
from trio440.errors import AnswerLost, BadMessage, MessageTooLarge, RpcClosed, RpcError
from trio440.rpc.deadlines import Deadlines
from trio440.rpc.envelope import (
    HEARTBEAT_FRAME,
    NO_DEADLINE,
    Answer,
    Failure,
    encode_tell,
)
from trio440.rpc.hello import (
    MAX_HELLO_BYTES,
    Expected,
    Identity,
    Peer,
    Welcome,
    check_welcome,
    decode_answer_untrusted,
    encode_hello,
    refusal_error,
)
from trio440.rpc.limits import ClientCounters, ClientLimits
from trio440.rpc.outbox import Outbox, Stalled
from trio440.rpc.pulse import Pulse, tick_us
from trio440.rpc.session import CallingSession
from trio440.wire.framing import FrameReader

__all__ = ["Link", "shake_hands"]

READ_BYTES: Final = 65_536
MICROSECONDS: Final = 1_000_000
HEAD_BYTES: Final = 18
"""The most that an envelope adds to a name and a body, its frame's header not counted."""


async def shake_hands(
    stream: ByteStream,
    mine: Identity,
    expected: Expected,
    *,
    limits: ClientLimits,
    counters: ClientCounters,
    ports: Host,
) -> "Link":
    """Do a client's part of the handshake on a new connection.

    Raises:
        HandshakeRefused: the two do not belong together, or the server is busy.
        BadMessage: the other side speaks another protocol, or breaks off.
        trio.BrokenResourceError: the connection broke.
    """
    silence = round(limits.silence_seconds * MICROSECONDS)
    hello = encode_hello(mine, expected, silence_us=silence, frame_bytes=limits.frame_bytes)
    await stream.send_all(hello)
    frames = FrameReader(MAX_HELLO_BYTES)
    payloads: list[bytes] = []
    while not payloads:
        data = await stream.receive_some(READ_BYTES)
        if not data:
            raise BadMessage("the server closed the connection during the handshake")
        payloads = frames.feed_untrusted(data)
    answer = decode_answer_untrusted(payloads[0])
    reason = check_welcome(answer, mine, expected)
    if reason is not None or not isinstance(answer, Welcome):
        address = format_address(stream.remote_address)
        raise refusal_error(address, reason or "version", answer)
    if len(payloads) > 1 or frames.pending_bytes:
        raise BadMessage("the server spoke before it was asked")
    frames.limit = limits.frame_bytes
    return Link(stream, frames, answer, limits=limits, counters=counters, ports=ports)


class Link:
    """A connection after its handshake, with the calls that wait for answers."""

    def __init__(
        self,
        stream: ByteStream,
        frames: FrameReader,
        welcome: Welcome,
        *,
        limits: ClientLimits,
        counters: ClientCounters,
        ports: Host,
    ) -> None:
        """Take over the connection; :meth:`run` serves it."""
        self.peer: Final = Peer(welcome.who, stream.remote_address)
        self.address: Final = format_address(stream.remote_address)
        self.ended = ""
        """Why the connection is over; empty while it is not."""
        self._closed = False
        self._stream = stream
        self._counters = counters
        self._clock = ports.clock
        self._session = CallingSession[trio.lowlevel.Task](frames)
        self._waiting = self._session.waiting
        self._outbox = Outbox(
            stream,
            ports.clock,
            limit_bytes=limits.queued_bytes,
            stall_seconds=limits.silence_seconds,
        )
        self.largest_request: Final = welcome.frame_bytes - HEAD_BYTES
        """The bytes that a method's name and a message may take together."""
        self._most_calls = limits.calls_in_flight
        self._promised = 0
        self._room = trio.lowlevel.ParkingLot()
        self._queue = 0
        """How many wait for room; what :meth:`call` looks at, in the place of the lot."""
        self._deadlines = Deadlines()
        self._sooner = trio.lowlevel.ParkingLot()
        self._over = trio.Event()
        silence = round(limits.silence_seconds * MICROSECONDS)
        tick = tick_us(silence, welcome.silence_us)
        self._tick_seconds = tick / MICROSECONDS
        self._pulse = Pulse()
        self._scope = trio.CancelScope()

    @property
    def calls_in_flight(self) -> int:
        """How many calls wait for their answer."""
        return len(self._session)

    @property
    def queued_bytes(self) -> int:
        """What waits to be sent."""
        return self._outbox.queued_bytes

    # Used by callers

    def has_room(self) -> bool:
        """Whether a call may be made now."""
        return (
            len(self._waiting) + self._promised < self._most_calls
            and self._outbox.has_room
            and not self.ended
        )

    async def wait_room(self) -> bool:
        """Wait, in turn, until a call may be made; False: the connection is over.

        The call is to be made before anything else is awaited. Cancelled: nothing happened.
        """
        while not self.ended and not self._outbox.has_room:
            await self._outbox.wait_room()
        if self.ended:
            return False
        if len(self._session) + self._promised >= self._most_calls:
            self._queue += 1
            try:
                await self._room.park()
            finally:
                self._queue -= 1
            self._promised -= 1
        return not self.ended

    async def call(
        self, method: str, name: bytes, body: bytes, left_us: int
    ) -> Answer | Failure | None:
        """Make a call and wait for what comes back; None: its time is over.

        Cancelled, or the time over: the server is told.

        Raises:
            AnswerLost: the connection broke.
            RpcClosed: the client was closed.
        """
        session = self._session
        call_id, frame = session.begin(trio.lowlevel.current_task(), left_us, name, body)
        if len(self._waiting) == 1:
            self._outbox.put_alone(frame)
        else:
            self._outbox.put(frame)
        self._counters.calls += 1
        if left_us != NO_DEADLINE:
            self._add_deadline(left_us, call_id)

        def abort(_raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            session.forget(call_id)
            return trio.lowlevel.Abort.SUCCEEDED

        try:
            message: Answer | Failure | None = await trio.lowlevel.wait_task_rescheduled(abort)
        except trio.Cancelled:
            # Only here and not in abort: trio calls that for many tasks in no certain order.
            self._tell_cancelled(call_id)
            raise
        except _LinkEnded:
            raise self._lost(method) from None
        finally:
            if self._queue:
                self.pass_on_room()
        if message is None:
            self._tell_cancelled(call_id)
        return message

    def _tell_cancelled(self, call_id: int) -> None:
        self._counters.cancelled += 1
        if not self.ended:
            self._outbox.put(self._session.cancel_frame(call_id))

    def tell(self, name: bytes, body: bytes) -> bool:
        """Send a one-way message if there is room; whether there was.

        Raises:
            MessageTooLarge: the server would not read it; nothing was sent.
        """
        self.check_size(len(name) + len(body))
        if self.ended or not self._outbox.has_room:
            return False
        self._outbox.put_first(encode_tell(name, body))
        return True

    @property
    def may_tell(self) -> bool:
        """Whether a one-way message would be taken now."""
        return not self.ended and self._outbox.has_room

    async def wait_tell(self) -> bool:
        """Wait until a one-way message would be taken; False: the connection is over."""
        while not self.ended and not self._outbox.has_room:
            await self._outbox.wait_room()
        return not self.ended

    async def wait_ended(self) -> None:
        """Wait until the connection is over."""
        await self._over.wait()

    async def finish(self) -> None:
        """Send what is queued, say that nothing more comes, and wait until the server has closed.

        To close at once instead would reset a connection with anything unread on it, and the
        server might never see what was sent last.
        """
        self._closed = True
        await self._outbox.wait_empty()
        if not self.ended:
            self._outbox.give_up()
            with suppress(trio.BrokenResourceError):
                await self._stream.send_eof()
            await self._over.wait()

    def close(self) -> None:
        """End the connection because this side wants so."""
        self._closed = True
        self._end("closed")

    def check_size(self, size: int) -> None:
        """Raise ``MessageTooLarge`` if the server would not read so much name and body."""
        if size > self.largest_request:
            raise MessageTooLarge(size, self.largest_request)

    def pass_on_room(self) -> None:
        """Let the next one make a call, if there is room; due also when a call is not made."""
        if self._room and len(self._session) + self._promised < self._most_calls:
            self._promised += 1
            self._room.unpark()

    def _lost(self, method: str) -> RpcError:
        if self._closed:
            return RpcClosed(self.address)
        self._counters.lost += 1
        return AnswerLost(method, self.address, self.ended)

    # The connection

    async def run(self) -> None:
        """Serve the connection to its end; whoever still waits then hears of it."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._beat)
                    nursery.start_soon(self._keep_time)
                    await self._read()
        finally:
            self._end("cancelled")

    def _end(self, reason: str) -> None:
        if self.ended:
            return
        self.ended = reason
        self._counters.late_answers += self._session.late_answers
        self._counters.bytes_sent += self._outbox.bytes_sent
        for task in self._session.end():
            trio.lowlevel.reschedule(task, Error(_LinkEnded()))
        self._promised += len(self._room)
        self._room.unpark_all()
        self._outbox.give_up()
        self._over.set()
        self._scope.cancel()

    @property
    def late_answers(self) -> int:
        """So far, on a connection that is not over yet."""
        return 0 if self.ended else self._session.late_answers

    @property
    def bytes_sent(self) -> int:
        """So far, on a connection that is not over yet."""
        return 0 if self.ended else self._outbox.bytes_sent

    async def _read(self) -> None:
        receive, pulse, counters = self._stream.receive_some, self._pulse, self._counters
        receive_untrusted = self._session.receive_untrusted
        reschedule = trio.lowlevel.reschedule
        try:
            while data := await receive(READ_BYTES):
                pulse.heard = True
                counters.bytes_received += len(data)
                for task, message in receive_untrusted(data):
                    reschedule(task, Value(message))
        except trio.BrokenResourceError:
            self._end("it broke")
        except BadMessage as error:
            self._end(f"the server broke the protocol: {error}")
        else:
            self._end("the server closed it")

    async def _write(self) -> None:
        try:
            await self._outbox.run()
        except trio.BrokenResourceError:
            self._end("it broke")
        except Stalled:
            self._end("the server takes nothing")

    def _add_deadline(self, left_us: int, call_id: int) -> None:
        deadline = round(self._clock.now() * MICROSECONDS) + left_us
        waiting = self._waiting
        if self._deadlines.add(deadline, call_id, waiting, len(waiting)):
            self._sooner.unpark()

    async def _keep_time(self) -> None:
        """Wake the calls whose time is over."""
        while True:
            first = self._deadlines.first()
            if first is None:
                await self._sooner.park()
                continue
            with self._clock.move_on_at(first / MICROSECONDS):
                await self._sooner.park()
            for call_id in self._deadlines.take_due(round(self._clock.now() * MICROSECONDS)):
                task = self._session.forget(call_id)
                if task is not None:
                    trio.lowlevel.reschedule(task, Value(None))

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(self._tick_seconds)
            self._pulse.said, self._outbox.said = self._outbox.said, False
            beat = self._pulse.tick()
            if beat.is_silent:
                self._end("the server fell silent")
                return
            if beat.send_heartbeat:
                self._outbox.put(HEARTBEAT_FRAME)


class _LinkEnded(Exception):
    """Wakes a call whose connection is over."""
