"""All TCP connections and listeners of one simulated machine: handshakes, and who gets what."""

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from trio440.core.host import Address, format_address
from trio440.sim.addressing import wildcard_of
from trio440.sim.packets import Packet, PacketKind
from trio440.sim.tcp import OnEnd, SimByteStream, Wire
from trio440.sim.tcp_listener import SimListener

__all__ = ["CONNECT_TIMEOUT", "TcpTable", "TcpWire"]

CONNECT_TIMEOUT: Final = 10_000_000
"""Microseconds after which an attempt to connect that nobody answers fails."""
FIRST_KNOCK: Final = 1_000_000
"""Microseconds until an unanswered attempt is repeated; doubles each time."""

_Key: TypeAlias = tuple[str, int]
"""A connection's name and the port of one end: both may be on one machine."""


class TcpWire(Wire, Protocol):
    """What the table needs of its machine, beside what streams need."""

    def note(self, kind: str, text: str, cause: int | None = None) -> None:
        """Write a line into the trace."""

    def drop(self, reason: str, text: str, cause: int | None) -> None:
        """Count and trace something that arrived in vain."""


class TcpTable:
    """The connections and listeners of one machine."""

    def __init__(
        self, wire: TcpWire, make_stream: Callable[[str, Address, Address, OnEnd], SimByteStream]
    ) -> None:
        """Start empty.

        Args:
            wire: of the machine.
            make_stream: ``(connection, local, remote, on_end)`` to an end of a connection.
        """
        self.listeners: dict[tuple[str, int], SimListener] = {}
        self.streams: dict[_Key, SimByteStream] = {}
        self._wire = wire
        self._make_stream = make_stream
        self._finished: set[_Key] = set()

    def listen(self, local: Address, backlog: int) -> SimListener:
        """Listen on an address that is free."""
        listener = SimListener(local, backlog, self._wire.check_power, self._forget_listener)
        self.listeners[local[:2]] = listener
        self._wire.note("open", f"tcp {format_address(local)} listens")
        return listener

    async def connect(self, connection: str, local: Address, remote: Address) -> SimByteStream:
        """Try to connect; the result is ``broken`` with the reason if nobody accepted."""
        stream = self._open(connection, local, remote)
        self._knock(stream, FIRST_KNOCK, self._wire.now() + CONNECT_TIMEOUT)
        try:
            await stream.wait_established()
        except BaseException:
            stream.close(reset=True)
            raise
        return stream

    def arrive(self, packet: Packet, text: str, cause: int | None) -> None:
        """Give a packet to its connection, or answer it for the machine."""
        key = (packet.connection, packet.destination[1])
        stream = self.streams.get(key)
        if packet.kind == "syn":
            self._welcome(packet, stream, text, cause)
            return
        if packet.kind != "ack":
            self._wire.note("arrive", text, cause)
        if stream is not None:
            stream.take(packet)
        elif packet.kind == "rst":
            return
        elif packet.kind in {"ack", "fin"} and key in self._finished:
            if packet.kind == "fin":
                self._answer(packet, "ack")
        else:
            self._answer(packet, "rst")

    def _welcome(
        self, packet: Packet, stream: SimByteStream | None, text: str, cause: int | None
    ) -> None:
        """Answer a wish to connect, also when it is heard again."""
        local, remote = packet.destination, packet.source
        if stream is None and (packet.connection, local[1]) not in self._finished:
            listener = self.listeners.get(local[:2])
            listener = listener or self.listeners.get((wildcard_of(local), local[1]))
            if listener is not None and listener.full:
                self._wire.drop("backlog", text, cause)
                return
            self._wire.note("arrive", text, cause)
            if listener is None:
                self._answer(packet, "rst")
                return
            stream = self._open(packet.connection, local, remote)
            stream.established = True
            listener.offer(stream)
        else:
            self._wire.note("arrive", text, cause)
        if stream is not None:
            self._answer(packet, "syn-ack")

    def _knock(self, stream: SimByteStream, wait: int, deadline: int) -> None:
        if stream.established or _key(stream) not in self.streams:
            return
        now = self._wire.now()
        if now >= deadline:
            stream.fail("connection timed out")
            return
        syn = Packet("syn", stream.connection, stream.local_address, stream.remote_address)
        self._wire.transmit(syn)
        wait = min(wait, deadline - now)
        self._wire.later(wait, lambda: self._knock(stream, wait * 2, deadline))

    def _answer(self, packet: Packet, kind: PacketKind) -> None:
        """Answer in the name of a connection that is not there, or not yet."""
        source, destination = packet.destination, packet.source
        answer = Packet(kind, packet.connection, source, destination, received=packet.end)
        self._wire.transmit(answer)

    def _open(self, connection: str, local: Address, remote: Address) -> SimByteStream:
        stream = self._make_stream(connection, local, remote, self._forget)
        self.streams[_key(stream)] = stream
        self._wire.note("open", _name(stream))
        return stream

    def _forget(self, stream: SimByteStream, reason: str) -> None:
        del self.streams[_key(stream)]
        if reason == "closed":
            self._finished.add(_key(stream))
        self._wire.note("close", f"{_name(stream)} {reason}")

    def _forget_listener(self, listener: SimListener) -> None:
        del self.listeners[listener.local_address[:2]]
        self._wire.note("close", f"tcp {format_address(listener.local_address)} listens")


def _name(stream: SimByteStream) -> str:
    return f"tcp {format_address(stream.local_address)} to {format_address(stream.remote_address)}"


def _key(stream: SimByteStream) -> _Key:
    return (stream.connection, stream.local_address[1])
