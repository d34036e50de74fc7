"""What LSP promises, checked on what goes over the wire and on what applications get. Pure.

The watch sees every message twice: when its sender hands it to the network and when it reaches
the receiver's socket. What has reached a socket may not have been looked at yet, so that it
judges kindly by as much as one turn of the receiver: nothing here is a false alarm.
"""

from collections.abc import Hashable
from typing import TypeAlias

import attrs

from trio440.errors import BadMessage, InvariantViolated
from trio440.lsp.message import (
    Ack,
    CAck,
    Connect,
    Data,
    Message,
    PayloadFault,
    check_payload,
    decode_untrusted,
)
from trio440.lsp.params import Params

__all__ = ["Ledger", "Wire", "is_harmless"]

Place: TypeAlias = Hashable
"""An address, or whatever stands for one."""


@attrs.define(eq=False)
class _Side:
    """One end of one connection: what it sent, and what has reached it."""

    isn: int
    sent_to: int
    """The last number of Data that it has sent for the first time."""
    arrived_to: int
    """Every number up to here has reached it intact."""
    unacked: set[int] = attrs.field(factory=set)
    """Sent, and no acknowledgement has reached it."""
    early: set[int] = attrs.field(factory=set)
    """Numbers beyond ``arrived_to`` that have reached it intact."""
    last_sign: int = 0
    """When something that counts as a sign of life last reached it, in microseconds."""

    @classmethod
    def at(cls, isn: int, now: int) -> "_Side":
        return cls(isn, isn, isn, last_sign=now)


class Wire:
    """The rules of sending and acknowledging, as anybody can see them on the wire."""

    def __init__(self, params: Params, server: Place) -> None:
        """Watch the connections of the server at ``server``, which must not restart."""
        self._params = params
        self._server = server
        self._clients: dict[Place, _Side] = {}
        """By the client's address: its present connection."""
        self._servers: dict[tuple[Place, int], _Side] = {}
        """By the client's address and the connection's id."""

    def sent(self, now: int, source: Place, destination: Place, message: Message) -> None:
        """Check a message that is handed to the network.

        Raises:
            InvariantViolated: the protocol forbids it.
        """
        if isinstance(message, Connect):
            present = self._clients.get(source)
            if present is None or present.isn != message.seq_num:
                self._clients[source] = _Side.at(message.seq_num, now)
            return
        if source == self._server and isinstance(message, Ack):
            key = destination, message.conn_id
            if key not in self._servers:
                self._servers[key] = _Side.at(message.seq_num, now)
                return
        side = self._side(source, destination, message.conn_id)
        if side is None:
            raise InvariantViolated("who speaks has a connection", f"{message}")
        if isinstance(message, Data):
            self._check_data(side, message)
        else:
            self._check_ack(side, message)

    def arrived(self, now: int, source: Place, destination: Place, message: Message) -> None:
        """Take note of a message that reaches a socket, spoiled or not."""
        if isinstance(message, Connect):
            if destination == self._server:
                for (client, _), one in self._servers.items():
                    if client == source:
                        one.last_sign = now
            return
        side = self._side(destination, source, message.conn_id)
        if side is None:
            return
        if isinstance(message, Data):
            _take_data(side, message, now)
            return
        side.last_sign = now
        if isinstance(message, Ack):
            side.unacked.discard(message.seq_num)
        else:
            side.unacked = {number for number in side.unacked if number > message.seq_num}

    def last_sign(self, side_of: Place, other: Place, conn_id: int) -> int | None:
        """Return when one side last got a sign of life of the other; None if it never spoke."""
        side = self._side(side_of, other, conn_id)
        return None if side is None else side.last_sign

    def served(self) -> list[tuple[int, Place]]:
        """Return the connections that the server has given ids to, and their clients."""
        return [(conn_id, client) for client, conn_id in self._servers]

    def _side(self, mine: Place, other: Place, conn_id: int) -> _Side | None:
        if mine == self._server:
            return self._servers.get((other, conn_id))
        return self._clients.get(mine)

    def _check_data(self, side: _Side, data: Data) -> None:
        if check_payload(data) != data.payload:
            raise InvariantViolated("sent Data is whole", f"{data}")
        number = data.seq_num
        if number <= side.sent_to:
            if number <= side.isn:
                raise InvariantViolated("Data is numbered from ISN + 1", f"{number}")
            if number not in side.unacked:
                shown = f"{number} is sent again after its acknowledgement"
                raise InvariantViolated("what is readable is handled before a tick", shown)
            return
        if number != side.sent_to + 1:
            gap = f"{number} after {side.sent_to}"
            raise InvariantViolated("Data is numbered without gaps", gap)
        oldest = min(side.unacked, default=number)
        if number >= oldest + self._params.window_size:
            shown = f"{number} while {oldest} is unacknowledged, ω = {self._params.window_size}"
            raise InvariantViolated("the window is never passed", shown)
        side.sent_to = number
        side.unacked.add(number)
        if len(side.unacked) > self._params.max_unacked_messages:
            shown = f"{len(side.unacked)}, M = {self._params.max_unacked_messages}"
            raise InvariantViolated("max_unacked_messages is never passed", shown)

    def _check_ack(self, side: _Side, message: Ack | CAck) -> None:
        number = message.seq_num
        if isinstance(message, CAck):
            if number > side.arrived_to:
                raise InvariantViolated("a CAck covers what has arrived", f"{message}")
        elif number not in (0, side.isn) and (
            number > side.arrived_to and number not in side.early
        ):
            raise InvariantViolated("an Ack is for what has arrived", f"{message}")


def _take_data(side: _Side, data: Data, now: int) -> None:
    payload = check_payload(data)
    if payload is not PayloadFault.SHORT:
        side.last_sign = now
    if isinstance(payload, bytes) and data.seq_num > side.arrived_to:
        side.early.add(data.seq_num)
        while side.arrived_to + 1 in side.early:
            side.arrived_to += 1
            side.early.discard(side.arrived_to)


class Ledger:
    """What was written and what was read on each connection: each once and in order."""

    def __init__(self) -> None:
        """Start with no connection."""
        self._written: dict[Hashable, list[bytes]] = {}
        self._read: dict[Hashable, int] = {}

    def wrote(self, direction: Hashable, payload: bytes) -> None:
        """Take note that ``payload`` was written in a direction of a connection."""
        self._written.setdefault(direction, []).append(payload)

    def read(self, direction: Hashable, payload: bytes) -> None:
        """Check that ``payload`` is what comes next in this direction.

        Raises:
            InvariantViolated: it is not.
        """
        place = self._read.get(direction, 0)
        written = self._written.get(direction, [])
        if place >= len(written):
            raise InvariantViolated("what is read was written", f"{direction}: {payload!r}")
        if written[place] != payload:
            shown = f"{direction}: {payload!r} in the place of {written[place]!r}"
            raise InvariantViolated("each message once and in order", shown)
        self._read[direction] = place + 1

    def read_count(self, direction: Hashable) -> int:
        """Return how many messages were read in a direction."""
        return self._read.get(direction, 0)

    def unread(self, direction: Hashable) -> int:
        """Return how many messages were written in a direction and not yet read."""
        return len(self._written.get(direction, [])) - self._read.get(direction, 0)


def is_harmless(original: bytes, spoiled: bytes) -> bool:
    """Whether LSP is bound to see that a datagram was spoiled.

    Only Data carries a checksum of LSP's own. What else is changed on its way is the business
    of UDP's checksum, and never reaches the protocol.
    """
    try:
        message = decode_untrusted(spoiled)
    except BadMessage:
        return True
    if not isinstance(message, Data):
        return False
    return isinstance(check_payload(message), PayloadFault) and spoiled != original
