"""One LSP connection as a state machine: messages, writes and epochs in; messages and events out.

::

    CONNECTING ──Ack(id, isn)──▶ OPEN ──close──▶ FLUSHING ──all acknowledged──▶ CLOSED
        │                         │                 │
        └──────── epoch_limit silent epochs ────────┘
                  ▼               ▼                 ▼
                FAILED           LOST              LOST

A server's session starts OPEN. Times are microseconds on any clock that does not go back. After
every batch of inputs the owner sends what :meth:`Session.messages_to_send` gives and acts on
:meth:`Session.events`.
"""

import enum
from collections import Counter, deque
from typing import Final

from trio440.errors import ConnectionClosed, ConnectionLost, PayloadTooLarge, SendBufferFull
from trio440.lsp.message import (
    Ack,
    Connect,
    Data,
    Message,
    PayloadFault,
    check_payload,
    largest_payload,
)
from trio440.lsp.params import MESSAGE_OVERHEAD, Limits, Params
from trio440.lsp.statistics import ConnectionStatistics
from trio440.lsp.window import Outstanding, Place, ReceiveWindow, SendWindow

__all__ = ["Event", "Session", "State"]

ALWAYS_FITS: Final = 1000
"""Bytes of payload that fit a datagram with any numbers: larger ones are measured."""


class State(enum.Enum):
    """Where a connection is in its life."""

    CONNECTING = "connecting"
    OPEN = "open"
    FLUSHING = "flushing"
    CLOSED = "closed"
    LOST = "lost"
    FAILED = "failed"


class Event(enum.Enum):
    """What happened to a connection that its owner has to know."""

    CONNECTED = "the handshake is complete"
    READABLE = "a message has become readable"
    ACKNOWLEDGED = "the send buffer has shrunk"
    ESTABLISHED = "a server has heard more than Connects"
    CLOSED = "this side is closed: everything written was acknowledged, or it was aborted"
    LOST = "epoch_limit epochs of silence"
    DROPPED = "given up, half-open, to make room for another"
    FAILED = "nobody answered the handshake"


class Session:
    """The protocol of one connection; no socket and no clock inside."""

    def __init__(
        self, params: Params, limits: Limits, isn: int, *, conn_id: int | None = None
    ) -> None:
        """Start a connection.

        Args:
            params: the protocol's numbers.
            limits: the buffers' sizes.
            isn: the client's initial sequence number, 0 to 2**32 - 1.
            conn_id: None for a client, which sends its Connect at once; a server gives the id
                that it has chosen, and the Connect is acknowledged at once.
        """
        self.conn_id = conn_id or 0
        self.isn = isn
        self.half_open = conn_id is not None
        """Whether a server has heard nothing but Connects."""
        self.undelivered = 0
        """After a loss: messages that were written and never acknowledged."""
        self._is_server = conn_id is not None
        self._params = params
        self._limits = limits
        self._send_window = SendWindow(
            isn, params.window_size, params.max_unacked_messages, params.max_backoff_interval
        )
        self._receive_window = ReceiveWindow(isn, params.window_size)
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._silent_epochs = 0
        self._sent_data_this_epoch = False
        self._outgoing: list[Message] = []
        self._events: list[Event] = []
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._round_trip: float | None = None
        if conn_id is None:
            self._state = State.CONNECTING
            self._outgoing.append(Connect(isn))
        else:
            self._state = State.OPEN
            self._acknowledge(isn)

    @property
    def state(self) -> State:
        """Where the connection is in its life."""
        return self._state

    @property
    def over(self) -> bool:
        """Whether the connection has ended, in whatever way; it then sends nothing more."""
        state = self._state
        return state is State.CLOSED or state is State.LOST or state is State.FAILED

    @property
    def readable(self) -> bool:
        """Whether :meth:`read` would give a message."""
        return bool(self._unread)

    # Inputs

    def receive(self, message: Message, now: int) -> None:
        """Take in a message that arrived from the connection's address at ``now``."""
        if self._state is State.CONNECTING:
            self._receive_connecting(message)
        elif self.over:
            self._dropped["after the end"] += 1
        elif isinstance(message, Connect):
            self._silent_epochs = 0
            if self._is_server:
                self._acknowledge(self.isn)
        elif message.conn_id != self.conn_id:
            self._dropped["wrong connection id"] += 1
        elif isinstance(message, Data):
            self._receive_data(message)
        else:
            self._sign_of_life()
            if isinstance(message, Ack):
                acknowledged = self._send_window.acknowledge(message.seq_num)
                self._acknowledged([acknowledged] if acknowledged else [], now)
            else:
                self._acknowledged(self._send_window.acknowledge_through(message.seq_num), now)

    def write(self, payload: bytes | bytearray | memoryview) -> None:
        """Queue a message; what is not ``bytes`` is copied.

        Raises:
            TypeError: it is not bytes-like.
            PayloadTooLarge: its datagram would pass 1472 bytes.
            SendBufferFull: it would pass ``Limits.send_buffer``; nothing was queued. An empty
                buffer takes any message.
            ConnectionLost: the other side fell silent.
            ConnectionClosed: this side closed the connection, or has not yet opened it.
        """
        if self._state is State.LOST:
            raise ConnectionLost(self.conn_id)
        if self._state is not State.OPEN:
            raise ConnectionClosed(self.conn_id)
        if not isinstance(payload, bytes):
            payload = bytes(memoryview(payload))  # a copy, for it may be sent again much later
        self.check_size(payload)
        if not self.has_room(payload):
            raise SendBufferFull(self._limits.send_buffer)
        self._send_window.write(payload)

    def on_epoch(self) -> None:
        """Let an epoch pass: count silence, resend what is due, send a heartbeat if idle."""
        self._silent_epochs += 1
        silent = self._silent_epochs >= self._params.epoch_limit
        if self._state is State.CONNECTING:
            self._outgoing.append(Connect(self.isn))
            if silent:
                self._end(State.FAILED, Event.FAILED)
        elif not self.over:
            if silent:
                self._end(State.LOST, Event.LOST)
                return
            for message in self._send_window.take_due():
                self._send_data(message)
                self._counts["resent"] += 1
            if not self._sent_data_this_epoch:
                self._outgoing.append(Ack(self.conn_id, 0))
                self._counts["heartbeats_sent"] += 1
            self._sent_data_this_epoch = False

    def close(self) -> None:
        """Close this side: what is written is still delivered, what is unread is discarded."""
        if self._state is State.CONNECTING:
            self.abort()
            return
        self._unread.clear()
        self._unread_bytes = 0
        if self._state is State.OPEN:
            self._state = State.FLUSHING
            self._check_flushed()

    def abort(self) -> None:
        """Close this side at once; what is not yet acknowledged may never arrive."""
        if not self.over:
            self._state = State.CLOSED
            self._events.append(Event.CLOSED)
        self._unread.clear()
        self._unread_bytes = 0
        self._send_window.abandon()
        self._outgoing.clear()

    def drop(self) -> None:
        """Give the connection up to make room, as if the other side had fallen silent."""
        if not self.over:
            self._end(State.LOST, Event.DROPPED)

    def read(self) -> bytes | None:
        """Take the next message in order; None when there is none. It frees its room."""
        if not self._unread:
            return None
        payload = self._unread.popleft()
        self._unread_bytes -= len(payload) + MESSAGE_OVERHEAD
        return payload

    # Outputs

    def messages_to_send(self, now: int) -> list[Message]:
        """Take what is to be sent now, in order: answers and resends, then new Data."""
        if self._state is State.OPEN or self._state is State.FLUSHING:
            for message in self._send_window.take_sendable(now):
                self._send_data(message)
                self._counts["sent"] += 1
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def events(self) -> list[Event]:
        """Take what happened since the last call."""
        events, self._events = self._events, []
        return events

    def check_size(self, payload: bytes) -> None:
        """Raise PayloadTooLarge when ``payload`` would not fit as the next message."""
        if len(payload) > ALWAYS_FITS:
            limit = largest_payload(self.conn_id, self._send_window.next_written)
            if len(payload) > limit:
                raise PayloadTooLarge(len(payload), limit)

    def has_room(self, payload: bytes) -> bool:
        """Whether the send buffer takes ``payload`` now."""
        buffered = self._send_window.buffered
        return not buffered or (
            buffered + len(payload) + MESSAGE_OVERHEAD <= self._limits.send_buffer
        )

    @property
    def receive_buffered(self) -> int:
        """Bytes charged for unread and early messages, twice ``Limits.receive_buffer`` at most."""
        return self._unread_bytes + self._receive_window.buffered

    def statistics(self) -> ConnectionStatistics:
        """Return the counts so far."""
        counts = self._counts
        return ConnectionStatistics(
            state=self._state.value,
            sent=counts["sent"],
            resent=counts["resent"],
            acknowledged=counts["acknowledged"],
            received=counts["received"],
            duplicates=counts["duplicates"],
            dropped=dict(self._dropped),
            acks_sent=counts["acks_sent"],
            heartbeats_sent=counts["heartbeats_sent"],
            unread=len(self._unread),
            outstanding=self._send_window.outstanding,
            window=self._send_window.span,
            send_buffered=self._send_window.buffered,
            receive_buffered=self.receive_buffered,
            round_trip_seconds=self._round_trip,
        )

    # Rules

    def _receive_connecting(self, message: Message) -> None:
        """Complete the handshake: only an Ack of the ISN does, with an id that can be one."""
        if isinstance(message, Ack) and message.seq_num == self.isn and message.conn_id > 0:
            self.conn_id = message.conn_id
            self._state = State.OPEN
            self._silent_epochs = 0
            self._events.append(Event.CONNECTED)
        else:
            self._dropped["before the handshake"] += 1

    def _receive_data(self, data: Data) -> None:
        payload = check_payload(data)
        if payload is PayloadFault.SHORT:
            self._dropped["shorter than its size"] += 1
            return
        self._sign_of_life()
        if isinstance(payload, PayloadFault):
            self._dropped["wrong checksum"] += 1
            return
        match self._receive_window.place(data.seq_num):
            case Place.OLD:
                self._counts["duplicates"] += 1
                self._acknowledge(data.seq_num)
            case Place.BEYOND:
                self._dropped["beyond the window"] += 1
            case Place.INSIDE:
                self._take_in(data.seq_num, payload)

    def _take_in(self, seq_num: int, payload: bytes) -> None:
        """Take in new Data if the receive buffer has room; a closed side takes and discards."""
        if not self._has_room_to_receive(seq_num, len(payload)):
            self._dropped["receive buffer full"] += 1
            return
        deliverable = self._receive_window.accept(seq_num, payload)
        self._counts["received"] += 1
        self._acknowledge(seq_num)
        if deliverable and self._state is State.OPEN:
            if not self._unread:
                self._events.append(Event.READABLE)
            for message in deliverable:
                self._unread.append(message)
                self._unread_bytes += len(message) + MESSAGE_OVERHEAD

    def _has_room_to_receive(self, seq_num: int, size: int) -> bool:
        """Judge by what waits for the application; early Data must not shut out its predecessor.

        The message that all early ones wait for needs room among the unread alone, so that it
        enters as soon as the application has read enough. An early one needs room among the
        early, and in twice the limit beside the unread, which it may join at any moment.
        """
        limit = self._limits.receive_buffer
        charge = size + MESSAGE_OVERHEAD
        if seq_num == self._receive_window.expected:
            return not self._unread or self._unread_bytes + charge <= limit
        early = self._receive_window.buffered + charge
        return early <= limit and self._unread_bytes + early <= 2 * limit

    def _sign_of_life(self) -> None:
        self._silent_epochs = 0
        if self.half_open:
            self.half_open = False
            self._events.append(Event.ESTABLISHED)

    def _acknowledge(self, seq_num: int) -> None:
        self._outgoing.append(Ack(self.conn_id, seq_num))
        self._counts["acks_sent"] += 1

    def _acknowledged(self, messages: list[Outstanding], now: int) -> None:
        if not messages:
            return
        self._counts["acknowledged"] += len(messages)
        self._events.append(Event.ACKNOWLEDGED)
        for message in messages:
            if not message.resends:
                sample = (now - message.sent_at) / 1e6
                known = self._round_trip
                self._round_trip = sample if known is None else known + (sample - known) / 8
        self._check_flushed()

    def _send_data(self, message: Outstanding) -> None:
        self._outgoing.append(Data.of(self.conn_id, message.seq_num, message.payload))
        self._sent_data_this_epoch = True

    def _check_flushed(self) -> None:
        if self._state is State.FLUSHING and self._send_window.idle:
            self._end(State.CLOSED, Event.CLOSED)

    def _end(self, state: State, event: Event) -> None:
        self._state = state
        self._events.append(event)
        self.undelivered = self._send_window.unfinished
        self._send_window.abandon()
