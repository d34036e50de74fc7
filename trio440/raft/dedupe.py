"""Client sessions: a command that comes twice is applied once (dissertation, 6.3). Pure.

A client opens a session, whose id is the index of that entry, and numbers its commands 1, 2, 3,
...; several may be on their way. With each it says which is the lowest number that it still waits
for; results below are forgotten. A command that comes again is answered with the result of its
first time.

::

    Open ──▶ Opened(7)
    Do(7, 1, 1, command) ──▶ Done(result)     again ──▶ Done(the same result)
    Do(7, 2, 2, command) ──▶ Done(result)     number 1 is forgotten: again ──▶ NotDone("stale")

Sessions end by the log alone, at every peer with the same entry: when there are too many, or
their results take too much memory, the one that was used least recently goes. A client whose
session has ended hears ``expired``: whether a command that it repeats was applied before, nobody
knows any more, and it must not be applied now.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import attrs
import msgspec

from trio440.errors import BadMessage, InvalidParameter, NotQueryable, WatchRefused
from trio440.raft.machine import Queryable, StateMachine, Watch, Watchable
from trio440.wire.codec import Codec

__all__ = [
    "Do",
    "Done",
    "NotDone",
    "Open",
    "Opened",
    "Reply",
    "Request",
    "SessionLimits",
    "Sessions",
    "decode_reply",
    "encode",
]

RESULT_BYTES: Final = 64
"""What a result is charged beside its bytes."""
VERSION: Final = 1
LENGTH_BYTES: Final = 8


@attrs.frozen
class Open:
    """Open a session."""


@attrs.frozen
class Do:
    """Carry out a command once."""

    session: int
    number: int
    """From 1; a client's own count."""
    lowest: int
    """The lowest number whose result the client still waits for; at most ``number``."""
    command: bytes


@attrs.frozen
class Opened:
    """A session is open."""

    session: int


@attrs.frozen
class Done:
    """A command was applied, now or before."""

    result: bytes


@attrs.frozen
class NotDone:
    """A command was not applied now.

    ``expired``: its session has ended. ``stale``: its client had the result before. ``full``: its
    number is too far above the lowest that the client waits for; it may come again, and what may
    not is never the lowest itself. ``malformed``: it is no request.
    """

    reason: Literal["expired", "stale", "full", "malformed"]


Request: TypeAlias = Open | Do
Reply: TypeAlias = Opened | Done | NotDone

_REQUESTS: Final = Codec[Request](Open, Do)
_REPLIES: Final = Codec[Reply](Opened, Done, NotDone)


def encode(message: Request | Reply) -> bytes:
    """Return the bytes of a request or a reply.

    Raises:
        InvalidParameter: it is neither.
    """
    if isinstance(message, Open | Do):
        return _REQUESTS.encode(message)
    return _REPLIES.encode(message)


def decode_reply(data: bytes) -> Reply:
    """Read a reply.

    Raises:
        BadMessage: it is none.
    """
    return _REPLIES.decode_untrusted(data)


def _positive(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidParameter(attribute.name, value, "a whole number of at least 1")


@attrs.frozen(kw_only=True)
class SessionLimits:
    """The bounds of sessions, each at least 1; the same at every peer of a cluster."""

    sessions: int = attrs.field(default=10_000, validator=_positive)
    """Sessions; opening one more ends the one that was used least recently."""
    results: int = attrs.field(default=256, validator=_positive)
    """Results that one session remembers: a command whose number is so much above the lowest that
    its client waits for is not applied."""
    total_bytes: int = attrs.field(default=64 << 20, validator=_positive)
    """Results of all sessions, 64 bytes more for each; the session that was used least recently
    ends, and the last one ends too if it alone is too much."""


@attrs.define
class _Session:
    lowest: int = 1
    """Results below are forgotten."""
    results: dict[int, bytes] = attrs.Factory(dict)
    """By number, in the order in which they came to be."""


class Sessions:
    """A state machine around another one, whose commands it applies once each.

    Its own commands are a :data:`Request` each, its results a :data:`Reply`. Questions go to the
    inner machine as they are.
    """

    def __init__(self, machine: StateMachine, limits: SessionLimits | None = None) -> None:
        """Start without a session."""
        self.machine: Final = machine
        self._queryable = machine if isinstance(machine, Queryable) else None
        self._limits = limits or SessionLimits()
        self._sessions: OrderedDict[int, _Session] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many sessions are open."""
        return len(self._sessions)

    @property
    def byte_count(self) -> int:
        """What ``total_bytes`` limits."""
        return self._bytes

    def apply(self, index: int, command: bytes) -> bytes:
        """Carry out a request and return the reply; see :func:`encode`."""
        return _REPLIES.encode(self._answer(index, command))

    def query(self, request: bytes) -> bytes:
        """Ask the inner machine.

        Raises:
            NotQueryable: it answers no questions.
        """
        if self._queryable is None:
            raise NotQueryable
        return self._queryable.query(request)

    def watch(self, request: bytes) -> Watch:
        """Watch the inner machine.

        Raises:
            WatchRefused: it cannot be watched.
        """
        if not isinstance(self.machine, Watchable):
            raise WatchRefused("this state machine cannot be watched")
        return self.machine.watch(request)

    def _answer(self, index: int, data: bytes) -> Reply:
        try:
            request = _REQUESTS.decode_untrusted(data)
        except BadMessage:
            return NotDone("malformed")
        if isinstance(request, Open):
            self._sessions[index] = _Session()
            if len(self._sessions) > self._limits.sessions:
                self._end_oldest()
            return Opened(index)
        if not 1 <= request.lowest <= request.number:
            return NotDone("malformed")
        session = self._sessions.get(request.session)
        if session is None:
            return NotDone("expired")
        self._sessions.move_to_end(request.session)
        return self._do(index, session, request)

    def _do(self, index: int, session: _Session, request: Do) -> Reply:
        if request.lowest > session.lowest:
            session.lowest = request.lowest
            for number in [n for n in session.results if n < request.lowest]:
                self._bytes -= _cost(session.results.pop(number))
        if request.number < session.lowest:
            return NotDone("stale")
        result = session.results.get(request.number)
        if result is not None:
            return Done(result)
        if request.number >= session.lowest + self._limits.results:
            return NotDone("full")
        result = self.machine.apply(index, request.command)
        session.results[request.number] = result
        self._bytes += _cost(result)
        while self._bytes > self._limits.total_bytes:
            self._end_oldest()
        return Done(result)

    def _end_oldest(self) -> None:
        _, session = self._sessions.popitem(last=False)
        self._bytes -= sum(map(_cost, session.results.values()))

    # Snapshots: version, length of the sessions, sessions, the inner machine's

    def snapshot(self) -> Callable[[], bytes]:
        """Take hold of the sessions and of the inner machine."""
        sessions = [
            (number, session.lowest, list(session.results.items()))
            for number, session in self._sessions.items()
        ]
        inner = self.machine.snapshot()

        def encode_all() -> bytes:
            own = msgspec.msgpack.encode(sessions)
            return bytes([VERSION]) + len(own).to_bytes(LENGTH_BYTES) + own + inner()

        return encode_all

    def restore(self, data: bytes) -> None:
        """Replace the sessions and the inner machine's state.

        Raises:
            BadMessage: it is no snapshot; nothing was changed.
        """
        start = 1 + LENGTH_BYTES
        end = start + int.from_bytes(data[1:start])
        if len(data) < end or len(data) < start or data[0] != VERSION:
            raise BadMessage("this is no snapshot of sessions")
        try:
            found = _DECODER.decode(data[start:end])
        except msgspec.MsgspecError as error:
            raise BadMessage(f"this is no snapshot of sessions: {error}") from None
        self.machine.restore(data[end:])
        self._sessions = OrderedDict(
            (number, _Session(lowest, dict(results))) for number, lowest, results in found
        )
        self._bytes = sum(_cost(result) for _, _, results in found for _, result in results)


_DECODER: Final = msgspec.msgpack.Decoder(list[tuple[int, int, list[tuple[int, bytes]]]])


def _cost(result: bytes) -> int:
    return len(result) + RESULT_BYTES
