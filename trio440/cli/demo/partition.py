"""A network that can be cut in two: the port under machines that are all in this process.

What a cut network does is what a real one does. Datagrams are lost. TCP holds back what is sent
until it is healed, and whoever connects waits. Only the end of a connection still gets across: the
kernel tells it.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import attrs
import trio

from trio440.core import REAL_HOST
from trio440.core.host import (
    Address,
    ByteStream,
    Datagram,
    Host,
    Net,
    StreamGroup,
    StreamListener,
    UdpSocket,
)

__all__ = ["Partition"]


class Partition:
    """Machines on loopback, and which of them hear each other: all, to begin with."""

    def __init__(self) -> None:
        self._owners: dict[int, int] = {}
        """The machine that each port belongs to."""
        self._apart: frozenset[int] = frozenset()
        """The machines on one of the two sides."""
        self._healed = trio.Event()

    def host(self, machine: int) -> Host:
        """Return the ports of a machine, by its number."""
        return attrs.evolve(REAL_HOST, net=_Net(self, machine))

    def cut(self, machines: Iterable[int]) -> None:
        """Let these machines and the others hear nothing of each other."""
        self._apart = frozenset(machines)

    def heal(self) -> None:
        """Let all hear each other again."""
        self._apart = frozenset()
        self._healed.set()
        self._healed = trio.Event()

    def own(self, port: int, machine: int) -> None:
        """Note whose a port is."""
        self._owners[port] = machine

    def divides(self, machine: int, port: int) -> bool:
        """Whether a machine is on the other side than the one that a port belongs to."""
        other = self._owners.get(port)
        return other is not None and (machine in self._apart) != (other in self._apart)

    async def wait_passable(self, machine: int, port: int) -> None:
        """Wait while they are on different sides."""
        while self.divides(machine, port):
            await self._healed.wait()


class _Net(Net):
    """The network as one machine has it."""

    def __init__(self, partition: Partition, machine: int) -> None:
        self._partition = partition
        self._machine = machine

    async def resolve(
        self, host: str, port: int, *, kind: Literal["udp", "tcp"], passive: bool = False
    ) -> list[Address]:
        return await REAL_HOST.net.resolve(host, port, kind=kind, passive=passive)

    async def bind_udp(self, host: str = "127.0.0.1", port: int = 0) -> UdpSocket:
        socket = await REAL_HOST.net.bind_udp(host, port)
        self._partition.own(socket.local_address[1], self._machine)
        return _Socket(socket, self._partition, self._machine)

    async def listen_tcp(
        self, host: str = "127.0.0.1", port: int = 0, *, backlog: int = 128
    ) -> StreamListener:
        listener = await REAL_HOST.net.listen_tcp(host, port, backlog=backlog)
        self._partition.own(listener.local_address[1], self._machine)
        return listener

    async def connect_tcp(self, host: str, port: int) -> ByteStream:
        await self._partition.wait_passable(self._machine, port)
        stream = await REAL_HOST.net.connect_tcp(host, port)
        return _Stream(stream, self._partition, self._machine)

    def open_stream_group(self) -> StreamGroup:
        return REAL_HOST.net.open_stream_group()


class _Socket(UdpSocket):
    """Loses what goes to the other side; both sides have such sockets."""

    def __init__(self, socket: UdpSocket, partition: Partition, machine: int) -> None:
        self._socket = socket
        self._partition = partition
        self._machine = machine

    @property
    def local_address(self) -> Address:
        return self._socket.local_address

    async def receive(self, limit: int = 64) -> list[Datagram]:
        return await self._socket.receive(limit)

    def receive_nowait(self, limit: int = 64) -> list[Datagram]:
        return self._socket.receive_nowait(limit)

    def send_nowait(self, datagrams: Sequence[Datagram]) -> int:
        divides, machine = self._partition.divides, self._machine
        places = [n for n, (_, to) in enumerate(datagrams) if not divides(machine, to[1])]
        sent = self._socket.send_nowait([datagrams[place] for place in places])
        return places[sent] if sent < len(places) else len(datagrams)

    def close(self) -> None:
        self._socket.close()


class _Stream(ByteStream):
    """The connecting side of a connection; it holds back both directions."""

    def __init__(self, stream: ByteStream, partition: Partition, machine: int) -> None:
        self._stream = stream
        self._partition = partition
        self._machine = machine
        self._port: Final = stream.remote_address[1]
        self._held: bytes | bytearray = b""
        """Received, and not handed over yet."""

    @property
    def local_address(self) -> Address:
        return self._stream.local_address

    @property
    def remote_address(self) -> Address:
        return self._stream.remote_address

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._wait_passable()
        await self._stream.send_all(data)

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        if self._partition.divides(self._machine, self._port):
            return 0
        return self._stream.send_nowait(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._wait_passable()
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._wait_passable()
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if not self._held:
            self._held = await self._stream.receive_some(max_bytes)
        await self._wait_passable()
        data, self._held = self._held[:max_bytes], self._held[max_bytes or len(self._held) :]
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _wait_passable(self) -> None:
        await self._partition.wait_passable(self._machine, self._port)
