"""A second, dumb account of what an LSP session may do, kept beside the session itself.

A :class:`Side` feeds a session and checks everything it says against the rules written out from
the specification: sets of numbers instead of windows, a countdown per message instead of a
back-off. Whatever it finds wrong is an ``AssertionError``.
"""

from typing import Final

import attrs

from trio440.lsp.message import (
    Ack,
    CAck,
    Connect,
    Data,
    Message,
    check_payload,
    decode_untrusted,
    encode,
)
from trio440.lsp.params import MESSAGE_OVERHEAD, Limits, Params
from trio440.lsp.session import Event, Session, State

__all__ = ["CONN_ID", "LARGEST", "MAX_PAYLOAD", "Side"]

CONN_ID: Final = 3
MAX_PAYLOAD: Final = 100
LARGEST: Final = MAX_PAYLOAD + MESSAGE_OVERHEAD
"""What the largest message of a test is charged."""


@attrs.define
class _Flying:
    """A message that was sent and not acknowledged, as the specification's back-off sees it."""

    backoff: int = 0
    ticks_left: int = 1
    """The tick at which it has to be sent again, counted down."""

    def resent(self, max_backoff: int) -> None:
        self.backoff = min(max(1, 2 * self.backoff), max_backoff)
        self.ticks_left = self.backoff + 1


class Side:
    """One session and the account of what it was given and what it said."""

    def __init__(self, params: Params, limits: Limits, isn: int, *, is_server: bool) -> None:
        self.params = params
        self.limits = limits
        self.isn = isn
        self.is_server = is_server
        self.session = Session(params, limits, isn, conn_id=CONN_ID if is_server else None)
        self.connected = is_server
        self.closed = False
        self.written: list[bytes] = []
        self.read: list[bytes] = []
        self.events: list[Event] = []
        self.taken: dict[int, int] = {}
        """Numbers that this side has acknowledged, and so must deliver; with their bytes."""
        self._flying: dict[int, _Flying] = {}
        self._last_sent = isn
        self._silent_ticks = 0
        self._data_since_tick = False

    # What a test does to the session; each returns what the session says to that

    def pump(self) -> list[Message]:
        """Take what the session has to say, none of it a resend or a heartbeat."""
        said = self._take_said_outside_a_tick()
        self._check()
        return said

    def write(self, payload: bytes) -> list[Message]:
        """Write a message, if the connection is open."""
        if self.session.state is State.OPEN:
            self.session.write(payload)
            self.written.append(payload)
        return self.pump()

    def take_unread(self) -> None:
        """Read one message, if there is one."""
        if (payload := self.session.read()) is not None:
            self.read.append(payload)
        self._check()

    def close(self) -> list[Message]:
        """Close; what is unread is gone."""
        self.closed = True
        self.session.close()
        return self.pump()

    def deliver(self, message: Message) -> list[Message]:
        """Let a message arrive and check the answer."""
        alive = self.connected and not self.session.over
        was_full = self._is_full_for(message)
        was_readable = self.session.readable
        self.session.receive(message, 0)
        if alive:
            self._note_arrival(message)
        elif not self.connected and message == Ack(CONN_ID, self.isn):
            self.connected = True
            self._silent_ticks = 0
        told = len(self.events)
        said = self._take_said_outside_a_tick()
        answers = [m for m in said if isinstance(m, Ack)]
        assert answers == (self._expected_answers(message, answers, was_full) if alive else [])
        assert self.events[told:].count(Event.READABLE) == self.session.readable - was_readable
        self._check()
        return said

    def tick(self) -> list[Message]:
        """Let an epoch pass and check resends, the heartbeat and the verdict on silence."""
        was_over = self.session.over
        self.session.on_epoch()
        said = self._take_said()
        if was_over:
            assert said == []
            return said
        self._silent_ticks += 1
        dead = self._silent_ticks >= self.params.epoch_limit
        if not self.connected:
            assert said == [Connect(self.isn)]
            assert (self.session.state is State.FAILED) is dead
            return said
        assert (self.session.state is State.LOST) is dead
        if dead:
            assert said == []
            self._flying.clear()
            return said
        self._check_tick(said)
        self._check()
        return said

    # The account

    @property
    def expected(self) -> int:
        """The next number to be delivered."""
        number = self.isn + 1
        while number in self.taken:
            number += 1
        return number

    @property
    def unacknowledged(self) -> int:
        """How many messages were written and not acknowledged."""
        return len(self._flying) + self.isn + len(self.written) - self._last_sent

    def _take_said_outside_a_tick(self) -> list[Message]:
        said = self._take_said()
        for message in said:
            if isinstance(message, Data):
                assert message.seq_num == self._last_sent + 1, "sent anew outside a tick"
                self._note_new(message)
            else:
                assert message != Ack(CONN_ID, 0), "a heartbeat outside a tick"
        return said

    def _take_said(self) -> list[Message]:
        said = self.session.messages_to_send(0)
        self.events += self.session.events()
        for message in said:
            assert decode_untrusted(encode(message)) == message
        return said

    def _note_new(self, message: Data) -> None:
        number = message.seq_num
        assert message == Data.of(CONN_ID, number, self.written[number - self.isn - 1])
        self._last_sent = number
        self._flying[number] = _Flying()
        self._data_since_tick = True
        assert number < min(self._flying) + self.params.window_size
        assert len(self._flying) <= self.params.max_unacked_messages

    def _check_tick(self, said: list[Message]) -> None:
        due: list[int] = []
        for number, flying in self._flying.items():
            flying.ticks_left -= 1
            if flying.ticks_left == 0:
                due.append(number)
                flying.resent(self.params.max_backoff_interval)
        resent = [m.seq_num for m in said if isinstance(m, Data)]
        assert resent == sorted(due)
        heartbeat = [] if due or self._data_since_tick else [Ack(CONN_ID, 0)]
        assert [m for m in said if not isinstance(m, Data)] == heartbeat
        self._data_since_tick = False

    def _note_arrival(self, message: Message) -> None:
        """Count signs of life and acknowledgements."""
        if isinstance(message, Connect):
            self._silent_ticks = 0
        elif message.conn_id == CONN_ID:
            if not isinstance(message, Data) or len(message.payload) >= message.size:
                self._silent_ticks = 0
            if isinstance(message, Ack):
                self._flying.pop(message.seq_num, None)
            elif isinstance(message, CAck):
                for number in [n for n in self._flying if n <= message.seq_num]:
                    del self._flying[number]

    def _expected_answers(self, message: Message, answers: list[Ack], was_full: bool) -> list[Ack]:
        """Say how a message must be answered; with a full buffer either way is right."""
        if isinstance(message, Connect):
            return [Ack(CONN_ID, self.isn)] if self.is_server else []
        if not isinstance(message, Data) or message.conn_id != CONN_ID:
            return []
        number = message.seq_num
        new = number >= self.expected and number not in self.taken
        beyond = number >= self.expected + self.params.window_size
        refused = new and (beyond or (was_full and not answers))
        if refused or not isinstance(check_payload(message), bytes):
            return []
        if new:
            self.taken[number] = message.size + MESSAGE_OVERHEAD
        return [Ack(CONN_ID, number)]

    def _is_full_for(self, message: Message) -> bool:
        """Whether the receive buffer may refuse this message."""
        if not isinstance(message, Data):
            return False
        statistics = self.session.statistics()
        if message.seq_num == self.expected and not statistics.unread:
            return False
        charge = len(message.payload) + MESSAGE_OVERHEAD
        return statistics.receive_buffered + charge > self.limits.receive_buffer

    def _check(self) -> None:
        """Check what must hold at any time."""
        statistics = self.session.statistics()
        assert statistics.outstanding == len(self._flying) or self.session.over
        assert statistics.received == len(self.taken)
        if self.closed:
            assert statistics.unread == 0
            assert self.session.over or self.unacknowledged > 0
        else:
            first_unread = self.isn + 1 + len(self.read)
            waiting = sum(size for n, size in self.taken.items() if n >= first_unread)
            assert statistics.receive_buffered == waiting
            assert statistics.receive_buffered <= max(2 * self.limits.receive_buffer, LARGEST)
            assert statistics.unread == self.expected - first_unread
