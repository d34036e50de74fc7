"""What members of a cluster say to each other, and how many bytes it takes. Pure.

========  =================================================================  ==================
message   meaning                                                            source
========  =================================================================  ==================
Ping      are you alive, and the node that I think you are?                  SWIM, section 3.1
PingReq   ping that one for me                                               SWIM, section 3.1
Ack       I am; or, from a helper: it is                                     SWIM, section 3.1
Nack      I am alive and have not heard from the one you asked about         Lifeguard, IV-A
Gossip    nothing but records                                                SWIM, section 4.1
PushPull  records of all I know; send me yours                               beside the papers
========  =================================================================  ==================

Each carries records of members: what the sender has to tell about them. The paper's *incarnation
number*, by which a member outdoes a suspicion (section 4.2), is called ``refutations`` here,
since an ``incarnation`` is one life of a node, as in the references of actors.
"""

import enum
from typing import Any, Final, TypeAlias

import attrs

from trio440.errors import InvalidParameter
from trio440.wire.codec import INT64_MAX, Codec

__all__ = [
    "CODEC",
    "MAX_ADDRESS_BYTES",
    "MAX_RECORDS",
    "MAX_REFUTATIONS",
    "Ack",
    "Gossip",
    "Message",
    "Nack",
    "Node",
    "Ping",
    "PingReq",
    "PushPull",
    "Record",
    "State",
    "head_size",
    "record_size",
]

MAX_ADDRESS_BYTES: Final = 255
MAX_REFUTATIONS: Final = 1 << 48
"""Of one life; who claims more has sent no message."""
MAX_RECORDS: Final = 1024
"""In one message, whatever carries it."""

_NODE_BYTES: Final = 32
"""The wire form of a node beside its address, at most: names of fields, lengths, a number."""
_RECORD_BYTES: Final = 42
"""The wire form of a record beside its node and the address in ``by``, at most."""
_HEAD_BYTES: Final = 72
"""The wire form of a message beside its nodes and its records, at most."""


def _whole(least: int, most: int) -> Any:
    def check(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidParameter(attribute.name, value, f"a whole number from {least} to {most}")

    return check


def _address(least: int) -> Any:
    def check(_: object, attribute: "attrs.Attribute[str]", value: Any) -> None:
        if not isinstance(value, str) or not least <= _bytes_of(value) <= MAX_ADDRESS_BYTES:
            allowed = f"text of {least} to {MAX_ADDRESS_BYTES} bytes"
            raise InvalidParameter(attribute.name, value, allowed)

    return check


def _few(_: object, attribute: "attrs.Attribute[Any]", value: tuple[Any, ...]) -> None:
    if len(value) > MAX_RECORDS:
        raise InvalidParameter(attribute.name, len(value), f"at most {MAX_RECORDS} records")


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


class State(enum.IntEnum):
    """What is known of a member; of two claims with equal ``refutations`` the greater holds."""

    ALIVE = 0
    SUSPECT = 1
    LOST = 2
    """It did not refute a suspicion in time; the paper says *confirmed* as failed."""
    LEFT = 3
    """It said that it leaves."""


@attrs.frozen
class Node:
    """One life of a node."""

    address: str = attrs.field(validator=_address(1))
    """Where messages to it go: 1 to 255 bytes of UTF-8."""
    incarnation: int = attrs.field(validator=_whole(0, INT64_MAX))
    """Greater than that of each earlier life at the address."""


@attrs.frozen
class Record:
    """A claim about a member."""

    node: Node
    state: State
    refutations: int = attrs.field(validator=_whole(0, MAX_REFUTATIONS))
    """What the member itself had counted up to when this was so; only it counts on."""
    by: str = attrs.field(default="", validator=_address(0))
    """The address of whoever suspects it; with another state, empty."""

    @property
    def rank(self) -> tuple[int, int, int]:
        """Of two records for one address the one of higher rank holds; SWIM, section 4.2.

        The paper lets a confirmed failure outdo all that is ever said of the member. Here the
        member may refute that too, or a partition could not heal without restarts.
        """
        return (self.node.incarnation, self.refutations, int(self.state))


@attrs.frozen
class Ping:
    """Asks the target for an ack."""

    source: Node
    target: Node
    """Another life at its address does not answer for it."""
    seq: int = attrs.field(validator=_whole(0, INT64_MAX))
    records: tuple[Record, ...] = attrs.field(default=(), validator=_few)


@attrs.frozen
class PingReq:
    """Asks a helper to ping the target and to pass its ack on."""

    source: Node
    target: Node
    seq: int = attrs.field(validator=_whole(0, INT64_MAX))
    records: tuple[Record, ...] = attrs.field(default=(), validator=_few)


@attrs.frozen
class Ack:
    """Answers a Ping, or a PingReq whose target has answered."""

    source: Node
    seq: int = attrs.field(validator=_whole(0, INT64_MAX))
    """That of the message it answers."""
    records: tuple[Record, ...] = attrs.field(default=(), validator=_few)


@attrs.frozen
class Nack:
    """Answers a PingReq whose target has not answered so far."""

    source: Node
    seq: int = attrs.field(validator=_whole(0, INT64_MAX))
    records: tuple[Record, ...] = attrs.field(default=(), validator=_few)


@attrs.frozen
class Gossip:
    """Carries records when no other message goes there."""

    source: Node
    records: tuple[Record, ...] = attrs.field(default=(), validator=_few)


@attrs.frozen
class PushPull:
    """One page of all that the sender knows; pages are independent of each other."""

    source: Node
    wants_reply: bool
    """Whether the receiver should send what it knows; set on one page."""
    records: tuple[Record, ...] = attrs.field(default=(), validator=_few)


Message: TypeAlias = Ping | PingReq | Ack | Nack | Gossip | PushPull

CODEC: Final = Codec[Message](Ping, PingReq, Ack, Nack, Gossip, PushPull)
"""Messages to bytes and back; ``decode_untrusted`` checks all ranges given here."""


def record_size(record: Record) -> int:
    """Return at least the bytes that a record takes in a message."""
    return _RECORD_BYTES + _node_size(record.node) + _bytes_of(record.by)


def head_size(*nodes: Node) -> int:
    """Return at least the bytes of a message with these nodes and without records."""
    return _HEAD_BYTES + sum(map(_node_size, nodes))


def _node_size(node: Node) -> int:
    return _NODE_BYTES + _bytes_of(node.address)
