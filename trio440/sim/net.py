"""The network of a simulated world, and each machine's view of it.

A :class:`Network` puts what the machines send on a fabric and hands over what arrives; its
:meth:`Network.carry` is the one task that does so. A :class:`SimNet` is the network port of one
machine from one start to the next crash: once fenced it is dead for ever, and a restarted machine
is attached anew, under the same name and addresses.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Final, NamedTuple, TypeAlias

import trio

from trio440.core.host import Address
from trio440.sim.addressing import LOOPBACK, free_ports
from trio440.sim.chance import Seed, stream
from trio440.sim.fabric import LOOPBACK_DELAY, Arrival, Fabric
from trio440.sim.interface import RESOLVER_TIMEOUT, SimNet
from trio440.sim.packets import HEADER_BYTES, Packet, datagram_text
from trio440.sim.trace import WORLD, Trace
from trio440.sim.udp import MAX_DATAGRAM

__all__ = ["RESOLVER_TIMEOUT", "Filter", "Network", "SimNet"]

Filter: TypeAlias = Callable[[bytes, Address, Address], Iterable[tuple[int, bytes]]]
"""``(data, source, destination)`` to what travels instead: ``(microseconds, data)`` each."""

HANDSHAKE: Final = frozenset({"syn", "syn-ack", "rst"})
"""Packets that a cut link drops; all others are repeated by their sender's machine."""


class _Flight:
    """Something on its way; the fabric's tag of it."""

    __slots__ = ("drop", "land")

    def __init__(self, land: Callable[[bytes], None], drop: Callable[[str], None]) -> None:
        self.land = land
        self.drop = drop

    def __call__(self, arrival: Arrival) -> None:
        self.land(arrival.data)


class _Sent(NamedTuple):
    """A datagram on its way between two sockets."""

    sender: SimNet
    receiver: str
    source: Address
    destination: Address
    data: bytes
    """As it was sent."""
    told: tuple[str, int]
    """Its line in the trace, and the number of that."""


class Network:
    """The wires between the machines of a world.

    Attributes:
        names: what :meth:`~trio440.core.host.Net.resolve` knows beside literals; every machine
            is entered under its name when it is attached. A name with an empty list fails only
            after :data:`RESOLVER_TIMEOUT`, an unknown one at once.
        dropped: how many datagrams and packets went lost, by reason: ``loss``, ``cut``,
            ``queue``, ``no socket``, ``no route``, ``too big``, ``down``, ``backlog``,
            ``checksum``, ``filter``.
        filter: sees every datagram before its link does and may drop, delay, double and change
            it: what it returns travels instead, each after so many microseconds more. None,
            until it is set, leaves all as it is.
        split: whether streams split and merge what is sent.
        stream_capacity: how many bytes one direction of a stream holds unread.
        udp_queue_limit: how many datagrams a UDP socket, or a paused machine, holds.
        send_limit: how many datagrams a UDP socket takes until :meth:`carry` has run again, as
            if its buffer were full then; None, until it is set, is no limit.
        loopback_delay: microseconds from a machine to itself.
        admit_spoiled: decides, from a datagram as it was sent and as it arrives, whether one that
            was spoiled on its way reaches its socket. None of them does unless this is replaced:
            UDP's own checksum catches them.
        on_send: called with source, destination and data of each datagram that is sent.
        on_arrive: called in the same way when a datagram has entered a socket's queue.
    """

    def __init__(
        self, fabric: Fabric, trace: Trace, now: Callable[[], int], *, seed: Seed = 0
    ) -> None:
        """Start without machines.

        Args:
            fabric: carries what is sent.
            trace: hears of it.
            now: the virtual time in microseconds, by trio's clock.
            seed: of the world; decides where streams are split.
        """
        self.fabric = fabric
        self.trace = trace
        self.now = now
        self.names: dict[str, list[str]] = {"localhost": list(LOOPBACK)}
        self.dropped: Counter[str] = Counter()
        self.filter: Filter | None = None
        self.split = True
        self.stream_capacity = 65_536
        self.udp_queue_limit = 1_024
        self.send_limit: int | None = None
        self.loopback_delay = LOOPBACK_DELAY
        self.admit_spoiled: Callable[[bytes, bytes], bool] = lambda _sent, _arrived: False
        self.on_send: Callable[[Address, Address, bytes], None] | None = None
        self.on_arrive: Callable[[Address, Address, bytes], None] | None = None
        self._seed = seed
        self._machines: dict[str, SimNet] = {}
        self._owners: dict[str, str] = {}
        self._ports: dict[str, Iterator[int]] = {}
        self._connections: Counter[str] = Counter()
        self._idle = trio.lowlevel.ParkingLot()
        self._idle_until: int | None = None

    def attach(self, name: str, addresses: Sequence[str]) -> SimNet:
        """Connect a machine, new or started again.

        Args:
            name: of the machine, as the fabric knows it.
            addresses: numeric ones of its own, at least one; it has 127.0.0.1 and ::1 as well.

        Raises:
            ValueError: an address belongs to another machine, or the machine is still attached.
        """
        for address in addresses:
            owner = self._owners.get(address, name)
            if owner != name or ipaddress.ip_address(address).is_loopback:
                raise ValueError(f"{address} belongs to a machine already")
        if name in self._machines and self._machines[name].alive:
            raise ValueError(f"{name} is attached already")
        self._owners.update(dict.fromkeys(addresses, name))
        self.names.setdefault(name, list(addresses))
        self._ports.setdefault(name, free_ports())
        machine = SimNet(self, name, addresses, self._ports[name])
        self._machines[name] = machine
        return machine

    @property
    def open_endpoints(self) -> list[str]:
        """What is open on the machines that live, e.g. ``udp 10.0.0.1:53``, in order."""
        alive = [machine for machine in self._machines.values() if machine.alive]
        return sorted(name for machine in alive for name in machine.open_endpoints)

    def schedule(self, when: int, fn: Callable[[], None]) -> None:
        """Call ``fn`` in the task of :meth:`carry` at ``when``, equal times in order."""
        self.fabric.at(when, lambda _arrival: fn())
        self.ring()

    def ring(self) -> None:
        """Have :meth:`carry` look again, after the fabric was given something from elsewhere."""
        due = self.fabric.next_due()
        if due is not None and (self._idle_until is None or due < self._idle_until):
            self._idle.unpark_all()

    def inject(self, data: bytes, source: Address, destination: Address) -> None:
        """Put a datagram on the wire in anybody's name; no filter and no weather meets it.

        Args:
            data: its payload.
            source: what it shows as its sender; no machine needs to have it.
            destination: an address of a machine, which it reaches at this instant.
        """
        text = datagram_text(source, destination, data)
        number = self.trace.add(self.now(), WORLD, "send", text)
        if self.on_send is not None:
            self.on_send(source, destination, data)
        receiver = self._owners[destination[0]]
        sent = _Sent(self._machines[receiver], receiver, source, destination, data, (text, number))
        self.schedule(self.now(), partial(self._land, sent, data, data))

    async def carry(self) -> None:
        """Deliver what is on its way, for ever."""
        while True:
            due = self.fabric.next_due()
            now = self.now()
            if due is None or due > now:
                self._idle_until = due
                if due is None:
                    await self._idle.park()
                    continue
                with trio.move_on_at(due / 1e6) as scope:
                    await self._idle.park()
                if not scope.cancelled_caught:
                    continue
                now = max(due, self.now())
            self._deliver_due(now)

    def _deliver_due(self, now: int) -> None:
        fabric = self.fabric
        arrival: Arrival | None = fabric.take_next(now)
        while True:
            for lost in fabric.dropped:
                lost.tag.drop("cut")
            if arrival is None:
                return
            arrival.tag(arrival)
            arrival = fabric.take_next(now)

    # For the machines

    def next_connection(self, name: str) -> str:
        """Name the next connection that a machine opens."""
        self._connections[name] += 1
        return f"{name}/{self._connections[name]}"

    def stream_rng(self, connection: str, local: Address) -> Random | None:
        """Return what decides where one end of a connection is split, if it is."""
        return stream(self._seed, "tcp", connection, local[0], local[1]) if self.split else None

    def lost(self, place: str, reason: str, text: str, cause: int | None) -> None:
        """Count and trace something that did not get through."""
        self.dropped[reason] += 1
        self.trace.add(self.now(), place, "drop", f"{text} ({reason})", cause)

    def route(self, sender: SimNet, source: Address, destination: Address) -> str | None:
        """Return the name of the machine that ``destination`` means for ``sender``, if any."""
        if destination[0] in LOOPBACK:
            return sender.name
        receiver = self._owners.get(destination[0])
        return None if source[0] in LOOPBACK and receiver != sender.name else receiver

    def send_datagram(
        self, sender: SimNet, data: bytes, source: Address, destination: Address
    ) -> None:
        """Send a datagram on its way, or lose it."""
        name, text = sender.name, datagram_text(source, destination, data)
        number = self.trace.add(self.now(), name, "send", text)
        if self.on_send is not None:
            self.on_send(source, destination, data)
        receiver = self.route(sender, source, destination)
        if receiver is None or len(data) > MAX_DATAGRAM:
            problem = "no route" if receiver is None else "too big"
            self.lost(receiver or name, problem, text, number)
            return

        sent = _Sent(sender, receiver, source, destination, data, (text, number))
        if self.filter is None:
            self._cross(sent, data)
            return
        copies = list(self.filter(data, source, destination))
        if not copies:
            self.lost(receiver, "filter", text, number)
        for delay, copy in copies:
            if delay:
                self.schedule(self.now() + delay, partial(self._cross, sent, copy))
            else:
                self._cross(sent, copy)

    def _cross(self, sent: _Sent, copy: bytes) -> None:
        """Let a datagram, or what travels in its place, go over its link."""
        name, receiver = sent.sender.name, sent.receiver

        def land(arrived: bytes) -> None:
            self._land(sent, copy, arrived)

        def lose(reason: str) -> None:
            self.lost(receiver, reason, *sent.told)

        if receiver == name:
            self._loop_back(sent.sender, lambda: land(copy))
            return
        reason = self.fabric.datagram(self.now(), name, receiver, copy, _Flight(land, lose))
        if reason is not None:
            lose(reason)
        self.ring()

    def _land(self, sent: _Sent, copy: bytes, arrived: bytes) -> None:
        """Let what is left of a copy reach its machine."""
        told = sent.told
        if arrived != sent.data:
            told = datagram_text(sent.source, sent.destination, arrived), told[1]
        machine = self._machines[sent.receiver]
        if not machine.alive:
            self.lost(sent.receiver, "down", *told)
        elif arrived != copy and not self.admit_spoiled(copy, arrived):
            self.lost(sent.receiver, "checksum", *told)
        else:
            machine.arrive_datagram(arrived, sent.source, sent.destination, told)

    def send_packet(
        self, sender: SimNet, packet: Packet, not_taken: Callable[[], None] | None
    ) -> None:
        """Send a TCP packet on its way; pure acknowledgements are not traced."""
        name, text = sender.name, packet.text()
        number: int | None = None
        if packet.kind != "ack":
            number = self.trace.add(self.now(), name, "send", text)
        receiver = self.route(sender, packet.source, packet.destination)
        if receiver is None:
            self.lost(name, "no route", text, number)
            return

        def land(_data: bytes) -> None:
            machine = self._machines[receiver]
            if machine.alive:
                machine.arrive_packet(packet, text, number)
                return
            if number is not None:
                self.lost(receiver, "down", text, number)
            if not_taken is not None and sender.alive:
                not_taken()

        if receiver == name:
            self._loop_back(sender, lambda: land(b""))
        elif packet.kind in HANDSHAKE and self.fabric.is_cut(name, receiver):
            self.lost(receiver, "cut", text, number)
        else:
            flight = _Flight(land, lambda reason: self.lost(receiver, reason, text, number))
            size = HEADER_BYTES + len(packet.data)
            self.fabric.segment(self.now(), name, receiver, size, packet.connection, flight)
            self.ring()

    def _loop_back(self, machine: SimNet, land: Callable[[], None]) -> None:
        """Let something travel within a machine; it is lost in silence when that crashes."""
        self.schedule(self.now() + self.loopback_delay, lambda: land() if machine.alive else None)
