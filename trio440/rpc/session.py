"""The state of one RPC connection, of the calling and of the answering side. Pure.

::

    calling:     begin ──▶ waiting ──▶ Answer or Failure ──▶ over
                              └─────▶ abandon: Cancel ─────▶ over; what still comes is late

    answering:   Call ──▶ active ──▶ finish: Answer or Failure ──▶ over
                             └─────▶ Cancel: its handle, to be cancelled; finish gives nothing

Ids count up from 1 and are never used twice on a connection, so an answer that comes late can
only meet nobody. An id that was never given out is a broken rule, and so is a call's id that
does not grow: the connection has lost its meaning and is closed.
"""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from trio440.errors import BadMessage
from trio440.rpc.envelope import (
    Answer,
    Call,
    Cancel,
    Failure,
    Heartbeat,
    Tell,
    decode_untrusted,
    encode_call,
    encode_cancel,
)
from trio440.wire.framing import FrameReader

__all__ = ["AnsweringSession", "CallingSession"]

WaiterT = TypeVar("WaiterT")
HandleT = TypeVar("HandleT")


class CallingSession(Generic[WaiterT]):
    """The client's side; a waiter is whatever stands for who made a call."""

    def __init__(self, frames: FrameReader) -> None:
        """Begin after the handshake, with the reader that cut its frames."""
        self._frames = frames
        self._waiting: dict[int, WaiterT] = {}
        self._last_id = 0
        self.late_answers = 0

    def __len__(self) -> int:
        """Count the calls that wait for their answer."""
        return len(self._waiting)

    def begin(self, waiter: WaiterT, left_us: int, name: bytes, body: bytes) -> tuple[int, bytes]:
        """Make a call: return its id and the frame to send."""
        self._last_id = call_id = self._last_id + 1
        self._waiting[call_id] = waiter
        return call_id, encode_call(call_id, left_us, name, body)

    @property
    def waiting(self) -> Mapping[int, WaiterT]:
        """The calls that wait, by their ids."""
        return self._waiting

    def forget(self, call_id: int) -> WaiterT | None:
        """Nobody waits any more; return who did, if anybody. What comes for it is late."""
        return self._waiting.pop(call_id, None)

    def cancel_frame(self, call_id: int) -> bytes:
        """Return the frame that tells the server."""
        return encode_cancel(call_id)

    def receive_untrusted(
        self, data: bytes | bytearray
    ) -> Iterator[tuple[WaiterT, Answer | Failure]]:
        """Take what arrived and give who gets what, one by one.

        Raises:
            BadMessage: the server broke the protocol; the connection is to be closed.
        """
        waiting = self._waiting
        for payload in self._frames.feed_untrusted(data):
            message = decode_untrusted(payload)
            if type(message) is Answer or type(message) is Failure:
                waiter = waiting.pop(message.id, None)
                if waiter is not None:
                    yield waiter, message
                elif 1 <= message.id <= self._last_id:
                    self.late_answers += 1
                else:
                    raise BadMessage(f"an answer to call {message.id}, which was never made")
            elif not isinstance(message, Heartbeat):
                raise BadMessage(f"a server sent a {type(message).__name__}")

    def end(self) -> list[WaiterT]:
        """The connection is over: return those who wait, in the order of their calls."""
        waiters = [*self._waiting.values()]
        self._waiting.clear()
        return waiters


class AnsweringSession(Generic[HandleT]):
    """The server's side; a handle is whatever cancels the handler of a call."""

    def __init__(self, frames: FrameReader, concurrency: int) -> None:
        """Begin after the handshake; ``concurrency`` handlers may be active at a time."""
        self._frames = frames
        self._concurrency = concurrency
        self._active: dict[int, HandleT] = {}
        self._last_id = 0
        self._last_tell = 0
        self.frames_left = 0
        """How many frames have arrived behind the one that was given last."""

    def __len__(self) -> int:
        """Count the active handlers, those of one-way messages included."""
        return len(self._active)

    @property
    def has_room(self) -> bool:
        """Whether another handler may start; if not, nothing more is read until one ends."""
        return len(self._active) < self._concurrency

    def receive_untrusted(self, data: bytes | bytearray) -> Iterator[Call | Tell | Cancel]:
        """Take what arrived and give what is to be done, one by one.

        Raises:
            BadMessage: the client broke the protocol; the connection is to be closed.
        """
        payloads = self._frames.feed_untrusted(data)
        self.frames_left = len(payloads)
        for payload in payloads:
            self.frames_left -= 1
            message = decode_untrusted(payload)
            if isinstance(message, Call):
                if message.id <= self._last_id:
                    raise BadMessage(f"call {message.id} came after call {self._last_id}")
                self._last_id = message.id
                yield message
            elif isinstance(message, Tell):
                yield message
            elif isinstance(message, Cancel):
                if not 1 <= message.id <= self._last_id:
                    raise BadMessage(f"call {message.id} was cancelled and never made")
                yield message
            elif not isinstance(message, Heartbeat):
                raise BadMessage(f"a client sent a {type(message).__name__}")

    def start(self, call_id: int | None, handle: HandleT) -> int:
        """A handler waits from now on; return what to finish, which is the call's id if any."""
        if call_id is None:
            self._last_tell = call_id = self._last_tell - 1
        self._active[call_id] = handle
        return call_id

    def find(self, call_id: int) -> HandleT | None:
        """Return the handle of a call; None when it was answered already."""
        return self._active.get(call_id)

    def finish(self, key: int) -> None:
        """The handler of a call's id, or of a message, has ended."""
        del self._active[key]
