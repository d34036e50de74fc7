"""The handshake: who meets whom, and whether the two belong together. Pure.

::

    client                                   server
      │ ── Hello(versions, who, expected) ──▶  │  judge_hello
      │ ◀── Welcome(version, who, limits) ───  │
      │  or Refused(reason, detail)            │

The client speaks first and waits. Whatever the server finds wrong it says in one ``Refused`` and
closes; what only the client can see it finds in the ``Welcome``. Both end up with one
``HandshakeRefused`` of the same reason. Nothing here proves who somebody is: that is the
business of TLS, below.
"""

from typing import Final, Literal, TypeAlias, get_args

import attrs

from trio440.core.host import Address, format_address
from trio440.errors import BadMessage, HandshakeRefused, InvalidParameter
from trio440.rpc.envelope import HELLO
from trio440.wire.codec import INT64_MAX, Codec
from trio440.wire.framing import frame

__all__ = [
    "ANONYMOUS",
    "MAX_HELLO_BYTES",
    "Expected",
    "Hello",
    "Identity",
    "Peer",
    "Refused",
    "Welcome",
    "busy",
    "check_welcome",
    "decode_answer_untrusted",
    "decode_hello_untrusted",
    "encode_answer",
    "encode_hello",
    "judge_hello",
    "refusal_error",
]

PROTOCOL: Final = "trio440-rpc"
OLDEST_VERSION: Final = 1
NEWEST_VERSION: Final = 1
MAX_HELLO_BYTES: Final = 2048
"""Of a frame, until the handshake is done."""
MAX_ID_LENGTH: Final = 128
MIN_SILENCE_US: Final = 10_000
"""Nobody may ask for more heartbeats than for this silence."""

Reason: TypeAlias = Literal["version", "cluster", "node", "incarnation", "busy"]


def _is_id(instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    del instance
    if len(value) > MAX_ID_LENGTH or not value.isprintable():
        raise InvalidParameter(attribute.name, value, f"{MAX_ID_LENGTH} printable characters")


def _not_negative(instance: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    del instance
    if not 0 <= value <= INT64_MAX:
        raise InvalidParameter(attribute.name, value, f"0 to {INT64_MAX}")


def _silence(instance: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    del instance
    if not MIN_SILENCE_US <= value <= INT64_MAX:
        raise InvalidParameter(attribute.name, value, f"at least {MIN_SILENCE_US} microseconds")


@attrs.frozen
class Identity:
    """Who one side of a connection says it is."""

    cluster_id: str = attrs.field(default="", validator=_is_id)
    """Both sides must have the same."""
    node_id: str = attrs.field(default="", validator=_is_id)
    """Empty for a client that is no node, such as a command."""
    incarnation: int = attrs.field(default=0, validator=_not_negative)
    """Which of the nodes that ever had this id, by whatever number it tells them apart; 0: it does
    not."""


ANONYMOUS: Final = Identity()


@attrs.frozen
class Expected:
    """Whom a client means to reach; None means anybody."""

    node_id: str | None = attrs.field(default=None, validator=attrs.validators.optional(_is_id))
    incarnation: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_not_negative)
    )


@attrs.frozen
class Peer:
    """The other side of a connection, as handlers and clients see it."""

    identity: Identity
    address: Address

    def __str__(self) -> str:
        where = format_address(self.address)
        return f"{self.identity.node_id} at {where}" if self.identity.node_id else where


@attrs.frozen
class Hello:
    """What a client says first."""

    protocol: str
    oldest: int
    newest: int
    """The versions that it speaks."""
    who: Identity
    expected: Expected
    silence_us: int = attrs.field(validator=_silence)
    """It takes a server for dead that says nothing for so long."""
    frame_bytes: int = attrs.field(validator=_not_negative)
    """The longest frame that it reads."""


@attrs.frozen
class Welcome:
    """The server's consent."""

    version: int
    """The one that both speak from here on."""
    who: Identity
    silence_us: int = attrs.field(validator=_silence)
    concurrency: int = attrs.field(validator=_not_negative)
    """How many calls of the connection are handled at a time; more had better wait."""
    frame_bytes: int = attrs.field(validator=_not_negative)
    """The longest frame that the server reads."""


@attrs.frozen
class Refused:
    """The server's refusal; it closes after it."""

    reason: str
    detail: str
    who: Identity


_HELLO: Final = Codec(Hello)
_ANSWER: Final = Codec[Welcome | Refused](Welcome, Refused)
_KIND: Final = bytes([HELLO])


def encode_hello(who: Identity, expected: Expected, *, silence_us: int, frame_bytes: int) -> bytes:
    """Return the frame that a client begins with."""
    versions = (OLDEST_VERSION, NEWEST_VERSION)
    hello = Hello(PROTOCOL, *versions, who, expected, silence_us, frame_bytes)
    return frame(_KIND + _HELLO.encode(hello), MAX_HELLO_BYTES)


def encode_answer(answer: Welcome | Refused) -> bytes:
    """Return the frame that a server answers with."""
    return frame(_KIND + _ANSWER.encode(answer), MAX_HELLO_BYTES)


def decode_hello_untrusted(payload: bytes) -> Hello:
    """Read a client's first frame.

    Raises:
        BadMessage: it is none of this protocol.
    """
    hello = _HELLO.decode_untrusted(_body_untrusted(payload))
    if hello.protocol != PROTOCOL:
        raise BadMessage(f"a client speaks {hello.protocol[:40]!r}, not {PROTOCOL}")
    return hello


def decode_answer_untrusted(payload: bytes) -> Welcome | Refused:
    """Read a server's first frame.

    Raises:
        BadMessage: it is none of this protocol.
    """
    return _ANSWER.decode_untrusted(_body_untrusted(payload))


def _body_untrusted(payload: bytes) -> bytes:
    if not payload.startswith(_KIND):
        raise BadMessage("the other side does not begin with a handshake")
    return payload[1:]


def judge_hello(
    hello: Hello, mine: Identity, *, silence_us: int, concurrency: int, frame_bytes: int
) -> Welcome | Refused:
    """Say what a server answers."""
    version = min(hello.newest, NEWEST_VERSION)
    if version < max(hello.oldest, OLDEST_VERSION):
        ours = f"{OLDEST_VERSION} to {NEWEST_VERSION}"
        return _refuse("version", f"{hello.oldest} to {hello.newest}", f"the server's {ours}", mine)
    if hello.who.cluster_id != mine.cluster_id:
        theirs = repr(hello.who.cluster_id)
        return _refuse("cluster", theirs, f"the server's {mine.cluster_id!r}", mine)
    wanted = hello.expected
    if wanted.node_id not in (None, mine.node_id):
        return _refuse("node", f"{wanted.node_id!r} is sought", f"this is {mine.node_id!r}", mine)
    if wanted.incarnation not in (None, mine.incarnation):
        sought = f"{wanted.incarnation} is sought"
        return _refuse("incarnation", sought, f"this is {mine.incarnation}", mine)
    return Welcome(version, mine, silence_us, concurrency, frame_bytes)


def _refuse(reason: Reason, client: str, server: str, mine: Identity) -> Refused:
    return Refused(reason, f"{reason}: {client}, {server}", mine)


def busy(mine: Identity, limit: int) -> Refused:
    """Say that a server has as many connections as it may have."""
    return Refused("busy", f"busy: the server has {limit} connections, its limit", mine)


def check_welcome(answer: Welcome | Refused, mine: Identity, expected: Expected) -> str | None:
    """Return the reason why a client must not go on; None: it may.

    A server of this package finds these itself; another may not have looked.
    """
    if isinstance(answer, Refused):
        return answer.reason if answer.reason in get_args(Reason) else "version"
    if not OLDEST_VERSION <= answer.version <= NEWEST_VERSION:
        return "version"
    if answer.who.cluster_id != mine.cluster_id:
        return "cluster"
    if expected.node_id not in (None, answer.who.node_id):
        return "node"
    if expected.incarnation not in (None, answer.who.incarnation):
        return "incarnation"
    return None


def refusal_error(address: str, reason: str, answer: Welcome | Refused) -> HandshakeRefused:
    """Return the error that either side raises or reports."""
    detail = answer.detail if isinstance(answer, Refused) else f"{reason}: {answer.who}"
    return HandshakeRefused(address, reason, detail[:200])
