"""Deliberate bugs in LSP: its windows, its timetable, its endpoint."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

import attrs

from trio440.lsp import endpoint, session
from trio440.lsp.connection import Connection
from trio440.lsp.message import Ack, Connect, Data, PayloadFault, check_payload
from trio440.lsp.params import MESSAGE_OVERHEAD, Params
from trio440.lsp.session import Event, Session, State
from trio440.lsp.window import Outstanding, Place, ReceiveWindow, SendWindow
from trio440.sim.ablating import Ablation

__all__ = ["ABLATIONS"]


@contextmanager
def replaced(owner: object, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Put ``make(what was there)`` in the place of an attribute."""
    with patch.object(owner, name, make(getattr(owner, name))):
        yield


def ack_beyond_the_window() -> Any:
    def make(real: Any) -> Any:
        def receive_data(self: Session, data: Data) -> None:
            real(self, data)
            if self._receive_window.place(data.seq_num) is Place.BEYOND:
                self._acknowledge(data.seq_num + 1)

        return receive_data

    return replaced(Session, "_receive_data", make)


def ack_before_the_checksum() -> Any:
    def make(real: Any) -> Any:
        def receive_data(self: Session, data: Data) -> None:
            if isinstance(check_payload(data), PayloadFault):
                self._acknowledge(data.seq_num)
            real(self, data)

        return receive_data

    return replaced(Session, "_receive_data", make)


def no_checksum() -> Any:
    return patch.object(session, "check_payload", lambda data: data.payload)


def window_one_too_wide() -> Any:
    def make(real: Any) -> Any:
        def init(self: SendWindow, isn: int, size: int, *rest: int) -> None:
            real(self, isn, size + 1, *rest)

        return init

    return replaced(SendWindow, "__init__", make)


def one_too_many_unacked() -> Any:
    def make(real: Any) -> Any:
        def init(self: SendWindow, isn: int, size: int, unacked: int, backoff: int) -> None:
            real(self, isn, size, unacked + 1, backoff)

        return init

    return replaced(SendWindow, "__init__", make)


def back_off_never_resets() -> Any:
    """A new message starts with the back-off of the one before it."""

    def make(real: Any) -> Any:
        def take_sendable(self: SendWindow, now: int) -> list[Outstanding]:
            before = max((one.backoff for one in self._outstanding.values()), default=0)
            sent: list[Outstanding] = real(self, now)
            for message in sent:
                message.backoff = before
            return sent

        return take_sendable

    return replaced(SendWindow, "take_sendable", make)


def back_off_doubles_from_zero() -> Any:
    """Twice nothing is nothing: it is sent again at every epoch for ever."""

    def make(real: Any) -> Any:
        def take_due(self: SendWindow) -> list[Outstanding]:
            due: list[Outstanding] = real(self)
            for message in due:
                message.backoff = 0
            return due

        return take_due

    return replaced(SendWindow, "take_due", make)


@contextmanager
def room_waits_for_the_epoch() -> Iterator[None]:
    """What an acknowledgement makes room for does not go out with it."""
    just_acknowledged: set[SendWindow] = set()

    def acknowledge(real: Any) -> Any:
        def broken(self: SendWindow, seq_num: int) -> Outstanding | None:
            just_acknowledged.add(self)
            return real(self, seq_num)  # type: ignore[no-any-return]

        return broken

    def take_sendable(real: Any) -> Any:
        def broken(self: SendWindow, now: int) -> list[Outstanding]:
            if self in just_acknowledged:
                just_acknowledged.discard(self)
                return []
            return real(self, now)  # type: ignore[no-any-return]

        return broken

    with (
        replaced(SendWindow, "acknowledge", acknowledge),
        replaced(SendWindow, "take_sendable", take_sendable),
    ):
        yield


def no_heartbeat() -> Any:
    def make(real: Any) -> Any:
        def on_epoch(self: Session) -> None:
            real(self)
            beat = Ack(self.conn_id, 0)
            self._outgoing = [message for message in self._outgoing if message != beat]

        return on_epoch

    return replaced(Session, "on_epoch", make)


def loss_one_epoch_late() -> Any:
    def make(real: Any) -> Any:
        def init(self: Session, params: Params, *args: Any, **more: Any) -> None:
            real(self, attrs.evolve(params, epoch_limit=params.epoch_limit + 1), *args, **more)

        return init

    return replaced(Session, "__init__", make)


def data_alone_is_a_sign_of_life() -> Any:
    """Acks and heartbeats do not keep a connection alive."""

    def make(real: Any) -> Any:
        def receive(self: Session, message: Any, now: int) -> None:
            silent = self._silent_epochs
            real(self, message, now)
            if isinstance(message, Ack) and self.state is State.OPEN:
                self._silent_epochs = silent

        return receive

    return replaced(Session, "receive", make)


def duplicates_are_delivered() -> Any:
    def make(real: Any) -> Any:
        def receive_data(self: Session, data: Data) -> None:
            old = self._receive_window.place(data.seq_num) is Place.OLD
            real(self, data)
            if old and self._unread and isinstance(check_payload(data), bytes):
                self._unread.append(data.payload)

        return receive_data

    return replaced(Session, "_receive_data", make)


def early_is_delivered_at_once() -> Any:
    def accept(self: ReceiveWindow, seq_num: int, payload: bytes) -> list[bytes]:
        self._expected = max(self._expected, seq_num + 1)
        return [payload]

    return patch.object(ReceiveWindow, "accept", accept)


def full_buffer_acknowledges_and_discards() -> Any:
    def make(real: Any) -> Any:
        def take_in(self: Session, seq_num: int, payload: bytes) -> None:
            real(self, seq_num, payload)
            if self._receive_window.place(seq_num) is Place.INSIDE:
                self._acknowledge(seq_num)

        return take_in

    return replaced(Session, "_take_in", make)


def receive_buffer_without_bound() -> Any:
    return patch.object(Session, "_has_room_to_receive", lambda *_: True)


def ack_counts_for_all_below() -> Any:
    """An Ack is taken for a CAck."""

    def make(_real: Any) -> Any:
        def acknowledge(self: SendWindow, seq_num: int) -> Outstanding | None:
            found = None
            for number in [n for n in self._outstanding if n <= seq_num]:
                found = self._outstanding.pop(number)
                self._buffered -= len(found.payload) + MESSAGE_OVERHEAD
                self._base = max(self._base, number + 1)
            return found

        return acknowledge

    return replaced(SendWindow, "acknowledge", make)


def reconnect_is_answered_with_its_own_number() -> Any:
    """A second Connect gets its own number acknowledged, not the connection's."""

    def make(real: Any) -> Any:
        def receive(self: Session, message: Any, now: int) -> None:
            if self._is_server and isinstance(message, Connect):
                self.isn = message.seq_num
            real(self, message, now)

        return receive

    return replaced(Session, "receive", make)


def tick_before_what_is_readable() -> Any:
    """The endpoint handles its tick and only then what has arrived."""
    return patch.object(endpoint, "BATCHES_BEFORE_TICK", 0)


def close_does_not_flush() -> Any:
    def close_nowait(self: Connection) -> None:
        self.abort()

    return patch.object(Connection, "close_nowait", close_nowait)


def loss_wakes_nobody() -> Any:
    def make(real: Any) -> Any:
        def notice(self: Connection, event: Event) -> None:
            if event is not Event.LOST:
                real(self, event)

        return notice

    return replaced(Connection, "notice", make)


def _ablations() -> Iterable[Ablation]:
    core = {
        ack_beyond_the_window: "acknowledges Data that it has dropped",
        ack_before_the_checksum: "acknowledges Data whose checksum is wrong",
        no_checksum: "believes every payload",
        window_one_too_wide: "sends one number past its window",
        one_too_many_unacked: "sends one message past max_unacked_messages",
        back_off_never_resets: "starts a message with the back-off of the one before",
        back_off_doubles_from_zero: "never backs off",
        room_waits_for_the_epoch: "sends what there is room for at the next epoch only",
        no_heartbeat: "sends no heartbeats",
        loss_one_epoch_late: "notices a loss one epoch late",
        data_alone_is_a_sign_of_life: "is not kept alive by Acks and heartbeats",
        duplicates_are_delivered: "delivers a message again that came again",
        early_is_delivered_at_once: "delivers what came early before what it waits for",
        full_buffer_acknowledges_and_discards: "acknowledges what finds no room and drops it",
        receive_buffer_without_bound: "takes in more than its receive buffer",
        ack_counts_for_all_below: "takes an Ack for a cumulative one",
        reconnect_is_answered_with_its_own_number: "answers a new Connect for an old connection",
    }
    shells = {
        tick_before_what_is_readable: "handles a tick before what is readable",
        close_does_not_flush: "closes without waiting for acknowledgements",
        loss_wakes_nobody: "does not tell those who wait that a connection is lost",
    }
    for level, bugs in (("A", core), ("B", shells)):
        for bug, description in bugs.items():
            yield Ablation(
                name=f"lsp-{bug.__name__.replace('_', '-')}",
                system="lsp",
                level=level,  # type: ignore[arg-type]
                profile="pauses" if bug is tick_before_what_is_readable else "hostile",
                description=description,
                apply=bug,
            )


ABLATIONS: Final = list(_ablations())
