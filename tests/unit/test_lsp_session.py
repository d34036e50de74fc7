import pytest

from trio440.errors import (
    ConnectionClosed,
    ConnectionLost,
    InvalidParameter,
    PayloadTooLarge,
    SendBufferFull,
)
from trio440.lsp.message import Ack, CAck, Connect, Data, Message
from trio440.lsp.params import MESSAGE_OVERHEAD, Limits, Params
from trio440.lsp.session import Event, Session, State

ISN = 17


def client(params: Params | None = None, limits: Limits | None = None) -> Session:
    return Session(params or Params(), limits or Limits(), ISN)


def connected(params: Params | None = None, limits: Limits | None = None) -> Session:
    session = client(params, limits)
    session.receive(Ack(3, ISN), 0)
    assert session.events() == [Event.CONNECTED]
    assert session.messages_to_send(0) == [Connect(ISN)]
    return session


def accepted(params: Params | None = None, limits: Limits | None = None) -> Session:
    session = Session(params or Params(), limits or Limits(), ISN, conn_id=3)
    assert session.messages_to_send(0) == [Ack(3, ISN)]
    return session


def state_of(session: Session) -> State:
    """Keep mypy from believing that a state once seen stays."""
    return session.state


def is_half_open(session: Session) -> bool:
    return session.half_open


def feed(session: Session, *messages: Message) -> list[Message]:
    for message in messages:
        session.receive(message, 0)
    return session.messages_to_send(0)


def tick(session: Session) -> list[Message]:
    session.on_epoch()
    return session.messages_to_send(0)


def data(number: int, payload: bytes = b"x") -> Data:
    return Data.of(3, ISN + number, payload)


def test_a_client_asks_at_once_and_at_every_tick_and_fails_at_the_last() -> None:
    session = client(Params(epoch_limit=3))
    assert session.messages_to_send(0) == [Connect(ISN)]
    assert [tick(session) for _ in range(2)] == [[Connect(ISN)]] * 2
    assert state_of(session) is State.CONNECTING
    assert tick(session) == [Connect(ISN)]
    assert state_of(session) is State.FAILED
    assert session.events() == [Event.FAILED]
    assert tick(session) == []


@pytest.mark.parametrize(
    "message",
    [Ack(3, 0), Ack(3, ISN + 1), Ack(0, ISN), Ack(-1, ISN), CAck(3, ISN), Connect(ISN), data(1)],
)
def test_only_an_ack_of_the_isn_completes_the_handshake(message: Message) -> None:
    session = client()
    feed(session, message)
    assert state_of(session) is State.CONNECTING
    feed(session, Ack(5, ISN))
    assert state_of(session) is State.OPEN
    assert session.conn_id == 5


def test_both_directions_number_from_isn_plus_one() -> None:
    session = connected()
    session.write(b"out")
    assert session.messages_to_send(0) == [Data.of(3, ISN + 1, b"out")]
    assert feed(session, data(1, b"in")) == [Ack(3, ISN + 1)]
    assert session.read() == b"in"
    assert session.read() is None


def test_a_second_connect_is_acknowledged_with_the_same_id_and_the_original_isn() -> None:
    session = accepted()
    assert feed(session, Connect(99)) == [Ack(3, ISN)]
    assert is_half_open(session)
    session.close()
    assert state_of(session) is State.CLOSED


def test_a_connect_is_acknowledged_again_while_flushing() -> None:
    session = accepted()
    session.write(b"x")
    session.messages_to_send(0)
    session.close()
    assert state_of(session) is State.FLUSHING
    assert feed(session, Connect(99)) == [Ack(3, ISN)]


def test_half_open_ends_with_the_first_message_that_is_no_connect() -> None:
    session = accepted()
    feed(session, Connect(ISN))
    assert is_half_open(session)
    feed(session, Ack(4, 0))
    assert is_half_open(session), "another connection's heartbeat is no sign of life"
    feed(session, Ack(3, 0))
    assert not is_half_open(session)
    assert session.events() == [Event.ESTABLISHED]


def test_what_waits_is_sent_as_soon_as_an_ack_makes_room() -> None:
    session = connected(Params(window_size=1, max_unacked_messages=1))
    session.write(b"a")
    session.write(b"b")
    assert session.messages_to_send(0) == [data(1, b"a")]
    assert feed(session, Ack(3, ISN + 1)) == [data(2, b"b")]
    assert session.events() == [Event.ACKNOWLEDGED]


def test_old_data_is_acknowledged_again_and_far_data_is_not() -> None:
    session = connected(Params(window_size=2))
    assert feed(session, data(1), data(1), data(3)) == [
        Ack(3, ISN + 1),
        Ack(3, ISN + 1),
        Ack(3, ISN + 3),
    ]
    assert feed(session, data(4)) == []
    statistics = session.statistics()
    assert statistics.duplicates == 1
    assert statistics.dropped == {"beyond the window": 1}
    assert statistics.unread == 1


@pytest.mark.parametrize(
    ("message", "counts"),
    [
        (Ack(3, 0), True),
        (Ack(3, 999), True),
        (CAck(3, 0), True),
        (Connect(5), True),
        (data(1), True),
        (data(50), True),
        (Data(3, ISN + 1, 1, 0, b"x"), True),
        (Data(3, ISN + 1, 2, 0, b"x"), False),
        (Ack(4, 0), False),
        (Data.of(4, ISN + 1, b"x"), False),
    ],
    ids=str,
)
def test_signs_of_life(message: Message, counts: bool) -> None:
    session = connected(Params(epoch_limit=2))
    tick(session)
    feed(session, message)
    tick(session)
    assert state_of(session) is (State.OPEN if counts else State.LOST)


def test_loss_comes_at_the_limit_th_tick_after_the_last_sign_of_life() -> None:
    session = connected(Params(epoch_limit=3))
    tick(session)
    tick(session)
    feed(session, Ack(3, 0))
    for _ in range(2):
        tick(session)
        assert state_of(session) is State.OPEN
    assert tick(session) == [], "a lost connection is silent"
    assert state_of(session) is State.LOST
    assert Event.LOST in session.events()
    assert feed(session, Ack(3, 0), data(1)) == []


def test_what_arrived_in_order_is_readable_after_a_loss() -> None:
    session = connected(Params(epoch_limit=1, window_size=9))
    feed(session, data(1, b"a"), data(2, b"b"), data(4, b"d"))
    tick(session)
    assert state_of(session) is State.LOST
    assert [session.read(), session.read(), session.read()] == [b"a", b"b", None]


def test_closing_after_a_loss_discards_what_is_unread() -> None:
    session = connected(Params(epoch_limit=1))
    feed(session, data(1))
    tick(session)
    session.close()
    assert session.read() is None
    assert session.statistics().receive_buffered == 0


def test_a_heartbeat_goes_out_exactly_when_no_data_did() -> None:
    session = connected(Params(epoch_limit=99, max_backoff_interval=4))
    assert tick(session) == [Ack(3, 0)]
    session.write(b"x")
    assert session.messages_to_send(0) == [data(1)]
    feed(session, Ack(3, ISN + 1))
    assert tick(session) == [], "Data was sent since the last tick"
    assert tick(session) == [Ack(3, 0)]
    feed(session, data(1))
    assert tick(session) == [Ack(3, 0)], "an Ack is no Data"


def test_epochs_without_a_resend_get_a_heartbeat() -> None:
    session = connected(Params(epoch_limit=99, max_backoff_interval=4))
    session.write(b"x")
    session.messages_to_send(0)
    resent, heartbeat = [data(1)], [Ack(3, 0)]
    sent = [tick(session) for _ in range(11)]
    assert sent == [
        resent, heartbeat, resent, heartbeat, heartbeat, resent,
        heartbeat, heartbeat, heartbeat, heartbeat, resent,
    ]  # fmt: skip
    assert session.statistics().resent == 4


def test_closing_an_idle_connection_is_immediate_and_a_busy_one_flushes() -> None:
    idle = connected()
    idle.close()
    assert state_of(idle) is State.CLOSED
    busy = connected()
    busy.write(b"x")
    busy.close()
    assert state_of(busy) is State.FLUSHING
    assert busy.messages_to_send(0) == [data(1)]
    assert tick(busy) == [data(1)]
    assert feed(busy, Ack(3, ISN + 1)) == []
    assert state_of(busy) is State.CLOSED
    assert busy.events()[-1] is Event.CLOSED
    assert tick(busy) == []


def test_a_flushing_side_acknowledges_what_it_discards() -> None:
    session = connected(Params(window_size=5), Limits(receive_buffer=1))
    session.write(b"x")
    session.close()
    session.messages_to_send(0)
    acks = [Ack(3, ISN + number) for number in (1, 2, 3)]
    assert feed(session, data(1), data(2), data(3)) == acks
    assert session.read() is None
    assert session.statistics().receive_buffered == 0


def test_the_receive_buffer_is_a_limit_while_flushing_too() -> None:
    session = connected(
        Params(window_size=1000), Limits(receive_buffer=2 * (1000 + MESSAGE_OVERHEAD))
    )
    session.write(b"x")
    session.close()
    session.messages_to_send(0)
    acks = feed(session, *(data(number, bytes(1000)) for number in range(2, 900)))
    assert acks == [Ack(3, ISN + 2), Ack(3, ISN + 3)]
    assert feed(session, data(1)) == [Ack(3, ISN + 1)]
    assert session.statistics().receive_buffered == 0


def test_a_payload_that_its_writer_changes_afterwards_is_resent_as_it_was() -> None:
    session = connected()
    payload = bytearray(b"before")
    session.write(payload)
    payload[:] = b"after!"
    assert session.messages_to_send(0) == [data(1, b"before")]
    with pytest.raises(TypeError):
        session.write("text")  # type: ignore[arg-type]  # what is being tested


def test_silence_counts_from_the_answer_to_the_connect() -> None:
    session = client(Params(epoch_limit=5))
    for _ in range(4):
        tick(session)
    feed(session, Ack(3, ISN))
    for _ in range(4):
        tick(session)
        assert state_of(session) is State.OPEN
    tick(session)
    assert state_of(session) is State.LOST


def test_the_window_in_use_spans_what_was_acknowledged_early() -> None:
    session = connected(Params(window_size=5, max_unacked_messages=5))
    for _ in range(9):
        session.write(b"x")
    session.messages_to_send(0)
    feed(session, Ack(3, ISN + 2), Ack(3, ISN + 3))
    statistics = session.statistics()
    assert (statistics.window, statistics.outstanding) == (5, 3)


def test_a_lost_flush_says_what_was_not_delivered() -> None:
    session = connected(Params(epoch_limit=1))
    session.write(b"x")
    session.write(b"y")
    session.close()
    tick(session)
    assert state_of(session) is State.LOST
    assert session.undelivered == 2


def test_writing_needs_an_open_connection() -> None:
    session = client()
    with pytest.raises(ConnectionClosed):
        session.write(b"x")
    lost = connected(Params(epoch_limit=1))
    tick(lost)
    with pytest.raises(ConnectionLost, match="connection 3 is lost"):
        lost.write(b"x")
    closed = connected()
    closed.close()
    with pytest.raises(ConnectionClosed, match="connection 3 is closed"):
        closed.write(b"x")


def test_a_payload_that_does_not_fit_a_datagram_is_refused_with_the_limit() -> None:
    session = connected()
    session.write(bytes(1000))
    with pytest.raises(PayloadTooLarge, match="1500 bytes is too large, the limit is") as caught:
        session.write(bytes(1500))
    limit = caught.value.limit
    session.write(bytes(limit))
    with pytest.raises(PayloadTooLarge):
        session.write(bytes(limit + 1))


def test_the_send_buffer_has_a_limit_that_acks_make_room_under() -> None:
    cost = 10 + MESSAGE_OVERHEAD
    session = connected(limits=Limits(send_buffer=2 * cost))
    session.write(bytes(10))
    session.write(bytes(10))
    with pytest.raises(SendBufferFull, match=str(2 * cost)):
        session.write(b"")
    session.messages_to_send(0)
    feed(session, Ack(3, ISN + 1))
    session.write(bytes(10))


def test_a_full_receive_buffer_drops_without_an_ack_and_goes_on_after_reading() -> None:
    session = connected(Params(window_size=9), Limits(receive_buffer=2 * (1 + MESSAGE_OVERHEAD)))
    assert feed(session, data(1), data(2), data(3)) == [Ack(3, ISN + 1), Ack(3, ISN + 2)]
    assert session.statistics().dropped == {"receive buffer full": 1}
    assert tick(session) == [Ack(3, 0)], "heartbeats go on"
    assert session.read() == b"x"
    assert feed(session, data(3)) == [Ack(3, ISN + 3)]


def test_early_data_never_shuts_out_what_it_waits_for() -> None:
    session = connected(Params(window_size=9), Limits(receive_buffer=2 * (1 + MESSAGE_OVERHEAD)))
    assert feed(session, data(3), data(4), data(5)) == [Ack(3, ISN + 3), Ack(3, ISN + 4)]
    assert feed(session, data(1), data(2)) == [Ack(3, ISN + 1), Ack(3, ISN + 2)]
    assert session.statistics().unread == 4


def test_aborting_forgets_everything() -> None:
    session = connected()
    session.write(b"x")
    session.abort()
    assert state_of(session) is State.CLOSED
    assert session.messages_to_send(0) == []
    assert tick(session) == []
    assert session.events() == [Event.CLOSED]
    session.abort()
    session.close()
    assert session.events() == []


def test_round_trip_time_is_measured_on_messages_sent_once() -> None:
    session = connected(Params(window_size=9, max_unacked_messages=9))
    session.write(b"a")
    session.messages_to_send(1_000_000)
    session.receive(Ack(3, ISN + 1), 1_250_000)
    assert session.statistics().round_trip_seconds == pytest.approx(0.25)
    session.write(b"b")
    session.messages_to_send(2_000_000)
    session.on_epoch()
    session.receive(Ack(3, ISN + 2), 9_000_000)
    assert session.statistics().round_trip_seconds == pytest.approx(0.25)
    session.write(b"c")
    session.messages_to_send(10_000_000)
    session.receive(CAck(3, ISN + 3), 11_050_000)
    assert session.statistics().round_trip_seconds == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"window_size": 0}, "window_size must be a whole number of at least 1, not 0"),
        ({"epoch_limit": -1}, "epoch_limit must be a whole number of at least 1, not -1"),
        ({"epoch_millis": 0}, "epoch_millis must be a whole number of at least 1, not 0"),
        ({"max_backoff_interval": -1}, "max_backoff_interval must be a whole number of at least 0"),
        ({"max_unacked_messages": True}, "at least 1, not True"),
    ],
)
def test_parameters_are_checked(values: dict[str, int], text: str) -> None:
    with pytest.raises(InvalidParameter, match=text):
        Params(**values)


def test_the_parameters_come_in_the_courses_order() -> None:
    assert Params() == Params(5, 2000, 1, 0, 1)
    params = Params(1, 2, 3, 4, 5)
    assert params.epoch_limit == 1
    assert params.epoch_millis == 2
    assert params.window_size == 3
    assert params.max_backoff_interval == 4
    assert params.max_unacked_messages == 5
