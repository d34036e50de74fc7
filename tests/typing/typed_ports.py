"""The types that users of the ports see; mypy reads this file, nothing runs it."""

import random
from contextlib import AbstractAsyncContextManager
from typing import assert_type

from trio440.core import REAL_HOST, Host
from trio440.core.host import (
    Address,
    AppendFile,
    ByteStream,
    Clock,
    Datagram,
    Disk,
    Net,
    Scope,
    StreamListener,
    UdpSocket,
    WallClock,
    Worker,
    format_address,
)


def a_host_bundles_typed_ports(ports: Host = REAL_HOST) -> None:
    assert_type(ports.clock, Clock)
    assert_type(ports.wall, WallClock)
    assert_type(ports.net, Net)
    assert_type(ports.disk("directory"), Disk)
    assert_type(ports.rng, random.Random)
    assert_type(ports.wall.now_ns(), int)
    ports.rng = random.Random(1)  # type: ignore[misc]  # a host is frozen


async def deadlines_may_cut_their_body_short(clock: Clock) -> str:
    with clock.move_on_after(1.0) as scope:
        assert_type(scope, Scope)
        return "in time"
    assert_type(scope.cancelled_caught, bool)
    return "late"


async def sockets(net: Net) -> None:
    udp = await net.bind_udp()
    assert_type(udp, UdpSocket)
    batch = await udp.receive()
    assert_type(batch, list[Datagram])
    assert_type(batch[0][1], Address)
    assert_type(udp.send_nowait([(b"data", ("127.0.0.1", 1))]), int)
    assert_type(format_address(udp.local_address), str)
    udp.send_nowait([("text", ("127.0.0.1", 1))])  # type: ignore[list-item]  # bytes only
    await net.resolve("localhost", 1)  # type: ignore[call-arg]  # what for?
    listener = await net.listen_tcp(port=0)
    assert_type(listener, StreamListener)
    stream = await listener.accept()
    assert_type(stream, ByteStream)
    assert_type(await stream.receive_some(), bytes | bytearray)


async def a_worker_keeps_the_types_of_what_it_runs(ports: Host) -> None:
    opened = ports.blocking.open_worker("name")
    assert_type(opened, AbstractAsyncContextManager[Worker])
    async with opened as worker:
        disk = ports.disk("directory")
        assert_type(await worker.run(disk.read, "file", 0), bytes)
        assert_type(await worker.run(disk.open_append, "file"), AppendFile)
        assert_type(await worker.run(disk.exists, "file"), bool)
        await worker.run(disk.exists, 3)  # type: ignore[arg-type]  # a path is text
