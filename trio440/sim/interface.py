"""A simulated machine's network port, from one start to the next crash."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Final, Literal, Protocol

import trio

from trio440.core.host import (
    Address,
    ByteStream,
    Datagram,
    Net,
    StreamGroup,
    StreamListener,
    UdpSocket,
    format_address,
)
from trio440.errors import (
    AddressInUse,
    AddressUnavailable,
    ConnectionRefused,
    InvalidParameter,
    ResolutionFailed,
)
from trio440.sim.addressing import (
    LOOPBACK,
    MAX_PORT,
    WILDCARDS,
    address_of,
    is_free,
    next_free_port,
    sorted_addresses,
    source_of,
    wildcard_of,
)
from trio440.sim.packets import Packet
from trio440.sim.power import PowerCut
from trio440.sim.stream_group import SimStreamGroup
from trio440.sim.tcp import REFUSED, OnEnd, SimByteStream
from trio440.sim.tcp_table import TcpTable
from trio440.sim.trace import Trace
from trio440.sim.udp import SimUdpSocket

__all__ = ["RESOLVER_TIMEOUT", "SimNet", "Wires"]

RESOLVER_TIMEOUT: Final = 5_000_000
"""Microseconds until the lookup of a name without addresses gives up."""


class Wires(Protocol):
    """What a machine needs of the network that it is attached to."""

    names: dict[str, list[str]]
    stream_capacity: int
    udp_queue_limit: int
    send_limit: int | None
    on_arrive: Callable[[Address, Address, bytes], None] | None
    trace: Trace
    now: Callable[[], int]

    def schedule(self, when: int, fn: Callable[[], None]) -> None:
        """Call ``fn`` at ``when``."""

    def lost(self, place: str, reason: str, text: str, cause: int | None) -> None:
        """Count and trace something that did not get through."""

    def next_connection(self, name: str) -> str:
        """Name the next connection that a machine opens."""

    def stream_rng(self, connection: str, local: Address) -> Random | None:
        """Return what decides where one end of a connection is split, if it is."""

    def send_datagram(
        self, sender: "SimNet", data: bytes, source: Address, destination: Address
    ) -> None:
        """Send a datagram on its way, or lose it."""

    def send_packet(
        self, sender: "SimNet", packet: Packet, not_taken: Callable[[], None] | None
    ) -> None:
        """Send a packet on its way."""


class SimNet(Net):
    """One machine's network; made by :meth:`Network.attach`."""

    def __init__(
        self, wires: Wires, name: str, addresses: Sequence[str], ports: Iterator[int]
    ) -> None:
        """Take part in a network under these addresses."""
        self.name = name
        self.alive = True
        self._wires = wires
        self._addresses = (*addresses, *LOOPBACK)
        self._free_ports = ports
        self._held = False
        self._outbox: deque[Callable[[], None]] = deque()
        self._inbox: deque[Callable[[], None]] = deque()
        self._udp: dict[tuple[str, int], SimUdpSocket] = {}
        self._sent: Counter[Address] = Counter()
        self._tcp = TcpTable(self, self._make_stream)

    # For the machine's owner

    def fence(self) -> None:
        """Cut the power: every later call raises, and nothing leaves any more.

        Tasks that wait in a call are left waiting, for the owner of the machine to cancel.
        """
        self.alive = False
        self._inbox.clear()
        self._outbox.clear()

    def hold(self) -> None:
        """Pause: what arrives waits, and what the machine sends does not leave."""
        self._held = True

    def release(self) -> None:
        """Go on after a pause: what was sent leaves, then what waited arrives."""
        self._held = False
        for queue in (self._outbox, self._inbox):
            while queue and not self._held:
                queue.popleft()()

    @property
    def open_endpoints(self) -> list[str]:
        """What this machine has open."""
        names = [f"udp {format_address(sock.local_address)}" for sock in self._udp.values()]
        listeners, streams = self._tcp.listeners.values(), self._tcp.streams.values()
        names += [f"tcp {format_address(listener.local_address)}" for listener in listeners]
        return names + [
            f"tcp {format_address(one.local_address)} to {format_address(one.remote_address)}"
            for one in streams
        ]

    # The port

    async def resolve(
        self, host: str, port: int, *, kind: Literal["udp", "tcp"], passive: bool = False
    ) -> list[Address]:
        """Look a name up in the network's table; see :class:`trio440.core.host.Net`."""
        del kind
        self.check_power()
        await trio.lowlevel.checkpoint()
        self.check_power()
        if not 0 <= port <= MAX_PORT:
            raise InvalidParameter("port", port, f"0 to {MAX_PORT}")
        if host:
            found = self._wires.names.get(host, [host])
        else:
            found = list(WILDCARDS if passive else LOOPBACK)
        if not found:
            await self._sleep(RESOLVER_TIMEOUT)
            raise ResolutionFailed(host, port, "has no address: no resolver answered")
        try:
            if "%" not in host:
                return sorted_addresses(found, port)
        except ValueError:
            pass
        raise ResolutionFailed(host, port, "is an unknown host")

    async def bind_udp(self, host: str = "127.0.0.1", port: int = 0) -> UdpSocket:
        """Bind a UDP socket of this machine; see :class:`trio440.core.host.Net`."""
        local = await self._local_address(host, port, "udp")
        sock = SimUdpSocket(
            local,
            send=self._send_datagram,
            check_power=self.check_power,
            on_close=self._forget_udp,
        )
        self._udp[local[:2]] = sock
        self.note("open", f"udp {format_address(local)}")
        return sock

    async def listen_tcp(
        self, host: str = "127.0.0.1", port: int = 0, *, backlog: int = 128
    ) -> StreamListener:
        """Listen on an address of this machine; see :class:`trio440.core.host.Net`."""
        self.check_power()
        if backlog < 1:
            raise InvalidParameter("backlog", backlog, "at least 1")
        local = await self._local_address(host, port, "tcp")
        return self._tcp.listen(local, backlog)

    async def connect_tcp(self, host: str, port: int) -> ByteStream:
        """Connect to a listener; see :class:`trio440.core.host.Net`.

        An address fails at once where a machine is up and nobody listens, and after
        :data:`~trio440.sim.tcp_table.CONNECT_TIMEOUT` where nobody answers.
        """
        reasons = []
        for remote in await self.resolve(host, port, kind="tcp"):
            source = source_of(self._addresses, address_of(wildcard_of(remote), 0), remote)
            local = address_of(source[0], self._free_port("tcp"))
            connection = self._wires.next_connection(self.name)
            connected = await self._tcp.connect(connection, local, remote)
            if not connected.broken:
                return connected
            reasons.append(connected.broken)
        problem = f"cannot be reached: {reasons[0]}"
        raise ConnectionRefused(host, port, problem, nobody_listens=reasons[0] == REFUSED)

    def open_stream_group(self) -> StreamGroup:
        """Return an empty group; see :class:`trio440.core.host.Net`."""
        return SimStreamGroup(self.check_power)

    # What sockets and the network need

    def check_power(self) -> None:
        """Raise ``PowerCut`` if this machine is dead."""
        if not self.alive:
            raise PowerCut

    def now(self) -> int:
        """Return the time in microseconds."""
        return self._wires.now()

    def later(self, delay: int, fn: Callable[[], None]) -> None:
        """Call ``fn`` after ``delay`` microseconds, later when paused, never when dead."""
        self._wires.schedule(self.now() + delay, partial(self._arrive, fn))

    def note(self, kind: str, text: str, cause: int | None = None) -> None:
        """Write a line of this machine into the trace."""
        self._wires.trace.add(self.now(), self.name, kind, text, cause)

    def drop(self, reason: str, text: str, cause: int | None) -> None:
        """Count and trace something that arrived in vain."""
        self._wires.lost(self.name, reason, text, cause)

    def transmit(self, packet: Packet, lost: Callable[[], None] | None = None) -> None:
        """Send a packet; ``lost`` is called when it met a dead machine."""
        self._leave(partial(self._wires.send_packet, self, packet, lost))

    def arrive_packet(self, packet: Packet, text: str, cause: int | None) -> None:
        """Take a packet that has crossed the network."""
        self._arrive(partial(self._tcp.arrive, packet, text, cause))

    def arrive_datagram(
        self, data: bytes, source: Address, destination: Address, told: tuple[str, int]
    ) -> None:
        """Take a datagram that has crossed the network; ``told`` is its line and its cause."""
        if self._held and len(self._inbox) >= self._wires.udp_queue_limit:
            self.drop("queue", *told)
        else:
            self._arrive(partial(self._take_datagram, data, source, destination, told))

    # Within

    def _leave(self, send: Callable[[], None]) -> None:
        if self._held:
            self._outbox.append(send)
        else:
            send()

    def _arrive(self, take: Callable[[], None]) -> None:
        if not self.alive:
            return
        if self._held:
            self._inbox.append(take)
        else:
            take()

    def _take_datagram(
        self, data: bytes, source: Address, destination: Address, told: tuple[str, int]
    ) -> None:
        sock = self._udp.get(destination[:2])
        sock = sock or self._udp.get((wildcard_of(destination), destination[1]))
        if sock is None:
            self.drop("no socket", *told)
        elif sock.offer(data, source, self._wires.udp_queue_limit):
            self.note("arrive", *told)
            if self._wires.on_arrive is not None:
                self._wires.on_arrive(source, destination, data)
        else:
            self.drop("queue", *told)

    def _send_datagram(self, local: Address, datagram: Datagram) -> bool:
        limit = self._wires.send_limit
        if limit is not None:
            if not self._sent:
                self.later(0, self._sent.clear)
            if self._sent[local] >= limit:
                return False
            self._sent[local] += 1
        data, destination = datagram
        source = source_of(self._addresses, local, destination)
        self._leave(partial(self._wires.send_datagram, self, data, source, destination))
        return True

    def _forget_udp(self, sock: SimUdpSocket) -> None:
        del self._udp[sock.local_address[:2]]
        self.note("close", f"udp {format_address(sock.local_address)}")

    def _make_stream(
        self, connection: str, local: Address, remote: Address, on_end: OnEnd
    ) -> SimByteStream:
        return SimByteStream(
            self,
            connection,
            local,
            remote,
            capacity=self._wires.stream_capacity,
            rng=self._wires.stream_rng(connection, local),
            on_end=on_end,
        )

    async def _sleep(self, delay: int) -> None:
        over = trio.lowlevel.ParkingLot()

        def wake() -> None:
            over.unpark_all()

        self.later(delay, wake)
        await over.park()
        self.check_power()

    async def _local_address(self, host: str, port: int, kind: Literal["udp", "tcp"]) -> Address:
        address = (await self.resolve(host, port, kind=kind, passive=True))[0]
        if address[0] not in (*self._addresses, *WILDCARDS):
            raise AddressUnavailable(host, port, "cannot be used: no such address here")
        if port and not is_free(address, self._udp if kind == "udp" else self._tcp.listeners):
            raise AddressInUse(host, port, "is already in use")
        return address if port else address_of(address[0], self._free_port(kind))

    def _free_port(self, kind: Literal["udp", "tcp"]) -> int:
        bound = self._udp if kind == "udp" else self._tcp.listeners
        taken = {port for _, port in bound}
        if kind == "tcp":
            taken.update(one.local_address[1] for one in self._tcp.streams.values())
        port = next_free_port(self._free_ports, taken)
        if port is None:
            raise AddressUnavailable(self._addresses[0], 0, "cannot be used: no port is free")
        return port
