"""Client sessions, against a model that remembers everything."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio440.errors import BadMessage, InvalidParameter
from trio440.raft.dedupe import (
    Do,
    Done,
    NotDone,
    Open,
    Opened,
    Reply,
    Request,
    SessionLimits,
    Sessions,
    decode_reply,
    encode,
)


class Journal:
    """A machine that remembers what it was given."""

    def __init__(self) -> None:
        self.applied: list[tuple[int, bytes]] = []

    def apply(self, index: int, command: bytes) -> bytes:
        self.applied.append((index, command))
        return b"%d:%s" % (len(self.applied), command)

    def query(self, request: bytes) -> bytes:
        return b"asked " + request

    def snapshot(self) -> Callable[[], bytes]:
        copy = list(self.applied)
        return lambda: b"\n".join(b"%d %s" % line for line in copy)

    def restore(self, data: bytes) -> None:
        if data == b"broken":
            raise BadMessage("broken")
        lines = [line.split(b" ", 1) for line in data.split(b"\n") if line]
        self.applied = [(int(index), command) for index, command in lines]


def make(limits: SessionLimits | None = None) -> tuple[Sessions, Journal]:
    journal = Journal()
    return Sessions(journal, limits), journal


def apply(sessions: Sessions, index: int, request: Request) -> Reply:
    return decode_reply(sessions.apply(index, encode(request)))


requests: st.SearchStrategy[Request] = st.just(Open()) | st.builds(
    Do,
    st.integers(1, 12),
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from([b"", b"x", b"y" * 30]),
)
LIMITS = SessionLimits(sessions=3, results=3, total_bytes=400)


class Model:
    """Every session that there ever was, in the order of its last use."""

    def __init__(self) -> None:
        self.open: list[int] = []
        self.lowest: dict[int, int] = {}
        self.results: dict[tuple[int, int], bytes] = {}
        self.count = 0

    def remembered(self, session: int) -> list[bytes]:
        return [
            result
            for (owner, number), result in self.results.items()
            if owner == session and number >= self.lowest[session]
        ]

    def used(self) -> int:
        return sum(len(result) + 64 for s in self.open for result in self.remembered(s))

    def apply(self, index: int, request: Request) -> Reply:
        if isinstance(request, Open):
            self.open.append(index)
            self.lowest[index] = 1
            del self.open[: -LIMITS.sessions]
            return Opened(index)
        if request.lowest > request.number:
            return NotDone("malformed")
        session = request.session
        if session not in self.open:
            return NotDone("expired")
        self.open.remove(session)
        self.open.append(session)
        self.lowest[session] = max(self.lowest[session], request.lowest)
        if request.number < self.lowest[session]:
            return NotDone("stale")
        if (session, request.number) not in self.results:
            if request.number - self.lowest[session] >= LIMITS.results:
                return NotDone("full")
            self.count += 1
            self.results[session, request.number] = b"%d:%s" % (self.count, request.command)
        result = self.results[session, request.number]
        while self.used() > LIMITS.total_bytes:
            del self.open[0]
        return Done(result)


@settings(max_examples=100)
@given(st.lists(requests, max_size=40), st.integers(0, 40))
def test_sessions_do_what_the_model_does(history: list[Request], restart: int) -> None:
    (sessions, journal), model = make(LIMITS), Model()
    for index, request in enumerate(history, 1):
        if index == restart:
            data = sessions.snapshot()()
            sessions, journal = make(LIMITS)
            sessions.restore(data)
            assert sessions.snapshot()() == data
        assert apply(sessions, index, request) == model.apply(index, request), (index, request)
        assert len(journal.applied) == model.count
        assert len(sessions) == len(model.open) <= LIMITS.sessions
        assert sessions.byte_count == model.used() <= LIMITS.total_bytes


def test_a_retried_command_is_applied_once() -> None:
    sessions, journal = make()
    assert apply(sessions, 7, Open()) == Opened(7)
    assert apply(sessions, 8, Do(7, 1, 1, b"pay")) == Done(b"1:pay")
    assert apply(sessions, 9, Do(7, 2, 1, b"tip")) == Done(b"2:tip")
    assert apply(sessions, 10, Do(7, 1, 1, b"pay")) == Done(b"1:pay")
    assert apply(sessions, 11, Do(7, 3, 3, b"go")) == Done(b"3:go")
    assert apply(sessions, 12, Do(7, 2, 1, b"tip")) == NotDone("stale")
    assert journal.applied == [(8, b"pay"), (9, b"tip"), (11, b"go")]


def test_a_command_that_was_lost_is_applied_though_many_after_it_were() -> None:
    sessions, journal = make(SessionLimits(results=3))
    apply(sessions, 1, Open())
    for number in (2, 3):
        apply(sessions, number, Do(1, number, 1, b"later"))
    assert apply(sessions, 4, Do(1, 4, 1, b"too early")) == NotDone("full")
    assert apply(sessions, 5, Do(1, 1, 1, b"lost before")) == Done(b"3:lost before")
    assert apply(sessions, 6, Do(1, 4, 4, b"too early")) == Done(b"4:too early")
    assert len(journal.applied) == 4


def test_an_expired_session_applies_nothing() -> None:
    sessions, journal = make(SessionLimits(sessions=2))
    for index in (1, 2):
        apply(sessions, index, Open())
    apply(sessions, 3, Do(1, 1, 1, b"used"))
    apply(sessions, 4, Open())
    assert apply(sessions, 5, Do(2, 1, 1, b"late")) == NotDone("expired")
    assert apply(sessions, 6, Do(1, 1, 1, b"used")) == Done(b"1:used")
    assert journal.applied == [(3, b"used")]


def test_a_result_that_alone_is_too_much_ends_its_own_session() -> None:
    sessions, _ = make(SessionLimits(total_bytes=100))
    apply(sessions, 1, Open())
    assert apply(sessions, 2, Do(1, 1, 1, b"z" * 50)) == Done(b"1:" + b"z" * 50)
    assert (len(sessions), sessions.byte_count) == (0, 0)


def test_a_snapshot_is_the_state_of_its_moment() -> None:
    sessions, _ = make()
    apply(sessions, 1, Open())
    apply(sessions, 2, Do(1, 1, 1, b"a"))
    encode_state = sessions.snapshot()
    data = encode_state()
    apply(sessions, 3, Do(1, 2, 2, b"b"))
    apply(sessions, 4, Open())
    assert encode_state() == data


@given(st.binary(max_size=30))
def test_garbage_is_refused(data: bytes) -> None:
    sessions, journal = make()
    apply(sessions, 1, Open())
    before = sessions.snapshot()()
    assert decode_reply(sessions.apply(2, data)) == NotDone("malformed")
    assert apply(sessions, 3, Do(1, 1, 0, b"")) == NotDone("malformed")
    for bad in (data, before[:5], before[:-1], b"\2" + before[1:], before + b"broken"):
        with pytest.raises(BadMessage):
            sessions.restore(bad)
    assert sessions.snapshot()() == before
    assert journal.applied == []


def test_questions_go_to_the_machine() -> None:
    assert make()[0].query(b"what") == b"asked what"


def test_limits_are_checked() -> None:
    with pytest.raises(InvalidParameter, match="sessions must be a whole number"):
        SessionLimits(sessions=0)
