"""The pure parts of RPC: messages, handshake, both sides of a connection, back-off, pulse."""

import random
from collections.abc import Iterable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import BadMessage, HandshakeRefused, InvalidParameter
from trio440.rpc.backoff import Backoff
from trio440.rpc.deadlines import Deadlines
from trio440.rpc.envelope import (
    HEARTBEAT_FRAME,
    MAX_DETAIL_BYTES,
    MAX_NAME_BYTES,
    NO_DEADLINE,
    Answer,
    Call,
    Cancel,
    Failure,
    Heartbeat,
    Message,
    Tell,
    decode_untrusted,
    encode_answer,
    encode_call,
    encode_cancel,
    encode_failure,
    encode_name,
    encode_tell,
)
from trio440.rpc.hello import (
    MAX_HELLO_BYTES,
    NEWEST_VERSION,
    Expected,
    Hello,
    Identity,
    Refused,
    Welcome,
    busy,
    check_welcome,
    decode_answer_untrusted,
    decode_hello_untrusted,
    encode_hello,
    judge_hello,
    refusal_error,
)
from trio440.rpc.hello import (
    encode_answer as encode_hello_answer,
)
from trio440.rpc.limits import ClientLimits, ServerLimits
from trio440.rpc.pulse import Pulse, tick_us
from trio440.rpc.service import Routes, Service, method, one_way
from trio440.rpc.session import AnsweringSession, CallingSession
from trio440.wire.codec import INT64_MAX
from trio440.wire.framing import HEADER_BYTES, FrameReader, frame

ids = st.integers(1, INT64_MAX)
names = st.text(min_size=1, max_size=40)
bodies = st.binary(max_size=50)
calls = st.builds(Call, ids, st.integers(NO_DEADLINE, INT64_MAX), names, bodies)
messages: st.SearchStrategy[Message] = st.one_of(
    calls,
    st.builds(Cancel, ids),
    st.builds(Tell, names, bodies),
    st.builds(Answer, ids, bodies),
    st.builds(Failure, ids, names, st.text(max_size=40)),
    st.just(Heartbeat()),
)


def encode(message: Message) -> bytes:
    match message:
        case Call(call_id, left, name, body):
            return encode_call(call_id, left, encode_name(name), body)
        case Cancel(call_id):
            return encode_cancel(call_id)
        case Tell(name, body):
            return encode_tell(encode_name(name), body)
        case Answer(call_id, body):
            return encode_answer(call_id, body)
        case Failure(call_id, name, detail):
            return encode_failure(call_id, name, detail)
        case Heartbeat():
            return HEARTBEAT_FRAME


def stream_of(some: Iterable[Message]) -> bytes:
    return b"".join(encode(message) for message in some)


# Messages


@given(messages)
def test_every_message_comes_back_from_one_frame(message: Message) -> None:
    (payload,) = FrameReader(10_000).feed_untrusted(encode(message))
    assert decode_untrusted(payload) == message


@given(message=messages, place=st.integers(0), bits=st.integers(1, 255), cut=st.integers(0))
def test_damaged_messages_are_messages_or_bad_ones(
    message: Message, place: int, bits: int, cut: int
) -> None:
    payload = bytearray(encode(message)[HEADER_BYTES:])
    payload[place % len(payload)] ^= bits
    for data in (payload, payload[: cut % (len(payload) + 1)]):
        try:
            found = decode_untrusted(bytes(data))
        except BadMessage:
            continue
        assert isinstance(found, Message)


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\x00", b"\x07", b"\xff" * 40, b"\x01", b"\x06 ", b"\x02" + bytes(9),
        b"\x01" + bytes(8) + bytes(8) + b"\x01a",  # call 0
        b"\x01" + bytes(7) + b"\x01" + b"\xff" * 7 + b"\xfe" + b"\x01a",  # -2 microseconds left
        b"\x01" + bytes(7) + b"\x01" + bytes(8) + b"\x00",  # no name
        b"\x01" + bytes(7) + b"\x01" + bytes(8) + b"\x05name",  # half a name
        b"\x01" + bytes(7) + b"\x01" + bytes(8) + b"\x01\xff",  # no UTF-8
        b"\x03\x00", b"\x03\x04nam", b"\x05" + bytes(8) + b"\x09name",
    ],
)  # fmt: skip
def test_what_is_no_message_is_a_bad_message(payload: bytes) -> None:
    with pytest.raises(BadMessage, match="is no message"):
        decode_untrusted(payload)


def test_long_texts_of_failures_are_cut_between_characters() -> None:
    (payload,) = FrameReader(5000).feed_untrusted(encode_failure(1, "é" * 300, "€" * 3000))
    found = decode_untrusted(payload)
    assert found == Failure(1, "é" * (MAX_NAME_BYTES // 2), "€" * (MAX_DETAIL_BYTES // 3))


def test_names_have_a_length() -> None:
    assert encode_name("a" * 255) == b"\xff" + b"a" * 255
    for name in ("", "a" * 256, "é" * 128):
        with pytest.raises(InvalidParameter):
            encode_name(name)


# The calling side


def calling() -> CallingSession[str]:
    return CallingSession(FrameReader(1000))


def test_answers_find_their_callers_in_any_order() -> None:
    session = calling()
    for number in range(1, 6):
        call_id, sent = session.begin(f"task {number}", NO_DEADLINE, encode_name("m"), b"")
        assert sent == encode(Call(number, NO_DEADLINE, "m", b""))
        assert call_id == number
    answers: list[Message] = [Answer(3, b"c"), Failure(5, "No", ""), Heartbeat(), Answer(1, b"a")]
    found = list(session.receive_untrusted(stream_of(answers)))
    assert found == [
        ("task 3", Answer(3, b"c")),
        ("task 5", Failure(5, "No", "")),
        ("task 1", Answer(1, b"a")),
    ]
    assert len(session) == 2
    assert session.end() == ["task 2", "task 4"]
    assert session.end() == []


def test_late_and_double_answers_reach_nobody_and_ids_are_not_used_again() -> None:
    session = calling()
    first, _ = session.begin("first", 5, encode_name("m"), b"")
    assert [*session.waiting] == [first]
    assert session.forget(first) == "first"
    assert session.forget(first) is None
    second, _ = session.begin("second", 5, encode_name("m"), b"")
    assert second != first
    late = stream_of([Answer(first, b"late"), Answer(second, b""), Answer(second, b"again")])
    assert list(session.receive_untrusted(late)) == [("second", Answer(second, b""))]
    assert session.late_answers == 2
    assert session.cancel_frame(first) == encode(Cancel(first))


@pytest.mark.parametrize(
    "message", [Answer(2, b""), Failure(0, "x", ""), Answer(-1, b""), Cancel(1), Tell("m", b"")]
)
def test_a_server_that_breaks_the_rules_is_found_after_what_was_right(message: Message) -> None:
    session = calling()
    session.begin("task", 5, encode_name("m"), b"")
    found = session.receive_untrusted(encode(Answer(1, b"x")) + encode(message))
    assert next(found) == ("task", Answer(1, b"x"))
    with pytest.raises(BadMessage):
        next(found)


# The answering side


def answering(concurrency: int = 2) -> AnsweringSession[str]:
    return AnsweringSession(FrameReader(1000), concurrency)


def test_requests_come_out_in_order_and_heartbeats_do_not() -> None:
    sent: list[Message] = [Call(1, 5, "m", b""), Heartbeat(), Tell("t", b"x"), Cancel(1)]
    sent += [Call(7, NO_DEADLINE, "m", b"")]
    assert list(answering().receive_untrusted(stream_of(sent))) == [
        message for message in sent if message != Heartbeat()
    ]


def test_active_handlers_fill_the_room() -> None:
    session = answering(2)
    list(session.receive_untrusted(encode(Call(1, 5, "m", b""))))
    room = []
    session.start(1, "one")
    room.append(session.has_room)
    key = session.start(None, "told")
    room.append(session.has_room)
    assert (session.find(1), session.find(2)) == ("one", None)
    session.finish(1)
    room.append(session.has_room)
    assert room == [True, False, True]
    assert session.find(1) is None
    session.finish(key)
    assert len(session) == 0


@pytest.mark.parametrize(
    "sent",
    [
        [Call(2, 0, "m", b""), Call(2, 0, "m", b"")],
        [Call(2, 0, "m", b""), Call(1, 0, "m", b"")],
        [Cancel(1)],
        [Call(2, 0, "m", b""), Cancel(3)],
        [Answer(1, b"")],
        [Failure(1, "x", "")],
    ],
)
def test_a_client_that_breaks_the_rules_is_found(sent: list[Message]) -> None:
    with pytest.raises(BadMessage):
        list(answering().receive_untrusted(stream_of(sent)))


@given(st.binary(max_size=200))
def test_garbage_is_a_bad_message_or_waited_for(data: bytes) -> None:
    for session in (answering(), calling()):
        try:
            list(session.receive_untrusted(data))
        except BadMessage:
            continue


# The handshake

SERVER = Identity("c", "n1", 7)
CLIENT = Identity("c", "n2", 3)
LIMITS = {"silence_us": 5_000_000, "concurrency": 9, "frame_bytes": 1000}


def hello_of(who: Identity = CLIENT, expected: Expected | None = None) -> Hello:
    data = encode_hello(who, expected or Expected(), silence_us=1_000_000, frame_bytes=500)
    (payload,) = FrameReader(MAX_HELLO_BYTES).feed_untrusted(data)
    return decode_hello_untrusted(payload)


def test_two_that_belong_together_meet() -> None:
    hello = hello_of(expected=Expected("n1", 7))
    assert (hello.who, hello.silence_us, hello.frame_bytes) == (CLIENT, 1_000_000, 500)
    answer = judge_hello(hello, SERVER, **LIMITS)
    assert answer == Welcome(NEWEST_VERSION, SERVER, 5_000_000, 9, 1000)
    (payload,) = FrameReader(MAX_HELLO_BYTES).feed_untrusted(encode_hello_answer(answer))
    assert decode_answer_untrusted(payload) == answer
    assert check_welcome(answer, CLIENT, Expected("n1", 7)) is None


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (attrs.evolve(hello_of(), oldest=2, newest=9), "version"),
        (attrs.evolve(hello_of(), oldest=0, newest=0), "version"),
        (hello_of(Identity("other", "n2", 3)), "cluster"),
        (hello_of(expected=Expected("n3")), "node"),
        (hello_of(expected=Expected("n1", 6)), "incarnation"),
    ],
)
def test_a_mismatch_is_one_clear_error_on_both_sides(hello: Hello, reason: str) -> None:
    answer = judge_hello(hello, SERVER, **LIMITS)
    assert isinstance(answer, Refused)
    assert check_welcome(answer, CLIENT, Expected()) == reason
    error = refusal_error("10.0.0.1:5", reason, answer)
    assert isinstance(error, HandshakeRefused)
    assert (error.reason, error.address) == (reason, "10.0.0.1:5")
    assert str(error).startswith(f"10.0.0.1:5 and this side do not belong together: {reason}: ")
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("welcome", "expected", "reason"),
    [
        (Welcome(2, SERVER, 10_000, 1, 1), Expected(), "version"),
        (Welcome(1, Identity("d", "n1", 7), 10_000, 1, 1), Expected(), "cluster"),
        (Welcome(1, SERVER, 10_000, 1, 1), Expected("n3"), "node"),
        (Welcome(1, SERVER, 10_000, 1, 1), Expected("n1", 8), "incarnation"),
    ],
)
def test_a_client_looks_for_itself(welcome: Welcome, expected: Expected, reason: str) -> None:
    assert check_welcome(welcome, CLIENT, expected) == reason
    assert refusal_error("x", reason, welcome).detail.startswith(reason)


def test_busy_is_a_refusal_with_its_limit() -> None:
    assert check_welcome(busy(SERVER, 5), CLIENT, Expected()) == "busy"
    assert "5 connections" in busy(SERVER, 5).detail
    assert check_welcome(Refused("from the future", "", SERVER), CLIENT, Expected()) == "version"


@given(st.binary(max_size=60))
def test_a_strange_hello_is_a_bad_message(data: bytes) -> None:
    for payload in (data, b"\0" + data):
        for decode in (decode_hello_untrusted, decode_answer_untrusted):
            with pytest.raises(BadMessage):
                decode(payload)


def test_another_protocol_and_impossible_wishes_are_bad_messages() -> None:
    from trio440.rpc import hello as module  # noqa: PLC0415 - its codec, for what none would send

    for change in ({"protocol": "http"}, {"frame_bytes": -1}, {"silence_us": 1}):
        with pytest.raises((BadMessage, InvalidParameter)):
            strange = attrs.evolve(hello_of(), **change)
            decode_hello_untrusted(b"\0" + module._HELLO.encode(strange))


def test_identities_are_printable_and_short() -> None:
    for wrong in ({"node_id": "a" * 129}, {"cluster_id": "a\nb"}, {"incarnation": -1}):
        with pytest.raises(InvalidParameter):
            Identity(**wrong)
    largest = Identity("é" * 128, "é" * 128, INT64_MAX)
    hello_of(largest, Expected("é" * 128, INT64_MAX))


# Waits and pulses


def test_waits_double_up_to_the_longest_and_begin_again() -> None:
    backoff = Backoff(0.1, 1.0, random.Random(1))
    waits = [backoff.next_wait() for _ in range(8)]
    for wait, whole in zip(waits, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0], strict=True):
        assert whole / 2 <= wait <= whole
    assert len(set(waits[4:])) == 4, "there is chance in it"
    backoff.succeeded()
    assert backoff.next_wait() <= 0.1


def test_a_pulse_asks_for_heartbeats_and_finds_silence() -> None:
    pulse = Pulse()
    beats = [pulse.tick() for _ in range(6)]
    assert [beat.send_heartbeat for beat in beats] == [False, True, True, True, True, True]
    assert [beat.is_silent for beat in beats] == [False] * 4 + [True] * 2
    pulse.heard = pulse.said = True
    beat = pulse.tick()
    assert (beat.send_heartbeat, beat.is_silent) == (False, False)


def test_a_deaf_side_blames_nobody() -> None:
    pulse = Pulse()
    pulse.is_deaf = True
    assert not any(pulse.tick().is_silent for _ in range(20))


def test_both_sides_tick_for_the_more_impatient() -> None:
    assert tick_us(8_000, 4_000) == tick_us(4_000, 8_000) == 1_000


# Services and limits


@attrs.frozen
class Word:
    text: str = ""


class Words(Service, name="w"):
    ask = method(Word, Word)
    say = one_way(Word)


def test_methods_are_named_for_their_service() -> None:
    assert (Words.ask.name, Words.say.name) == ("w.ask", "w.say")
    assert Words.ask.wire_name == b"\x05w.ask"
    assert repr(Words.ask) == "<Method w.ask>"
    with pytest.raises(InvalidParameter):
        type("Thief", (Service,), {"stolen": Words.ask})


def test_routes_know_which_handlers_wait() -> None:
    routes = Routes()

    @routes.answers(Words.ask)
    async def ask(request: Word, peer: object) -> Word:
        return request

    class Taker:
        async def __call__(self, message: Word, peer: object) -> None: ...

    routes.add_one_way(Words.say, Taker())
    assert [route.waits for route in routes.by_name.values()] == [True, True]
    with pytest.raises(InvalidParameter):
        routes.answers(Words.ask)(ask)
    with pytest.raises(InvalidParameter):
        routes.add(method(Word, Word), ask)


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame_bytes": 63}, {"frame_bytes": 1 << 31}, {"queued_bytes": 0},
        {"silence_seconds": 0.001}, {"flush_seconds": -1}, {"flush_seconds": float("nan")},
    ],
)  # fmt: skip
@pytest.mark.parametrize("limits", [ClientLimits, ServerLimits])
def test_limits_have_limits(limits: type, wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter):
        limits(**wrong)


def test_frames_of_the_handshake_are_frames() -> None:
    assert frame(b"x", MAX_HELLO_BYTES)[:HEADER_BYTES] == b"\0\0\0\1"


# Deadlines


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=300), st.integers(0, 100))
def test_deadlines_come_due_in_order_and_only_answered_calls_are_dropped(
    calls: list[tuple[int, bool]], now: int
) -> None:
    deadlines, waiting = Deadlines(), dict[int, int]()
    for call_id, (deadline, is_answered) in enumerate(calls):
        first = deadlines.first()
        is_first = deadlines.add(deadline, call_id, waiting, len(waiting))
        assert is_first or first is not None
        assert not (is_first and first is not None and call_id - 1 in waiting and first < deadline)
        if not is_answered:
            waiting[call_id] = deadline
        assert len(deadlines) <= 2 * len(waiting) + 66
    due = deadlines.take_due(now)
    assert [call_id for call_id in due if call_id in waiting] == sorted(
        (call_id for call_id, deadline in waiting.items() if deadline <= now),
        key=lambda call_id: (waiting[call_id], call_id),
    )
    assert all(calls[call_id][0] <= now for call_id in due)
    left = deadlines.first()
    assert left is None or left > now
