"""The network of the demo that can be cut: what crosses it, and when."""

import pytest
import trio

from tests.support.processes import PATIENCE_SECONDS
from trio440.cli.demo.partition import Partition
from trio440.core.host import ByteStream

pytestmark = pytest.mark.real


async def received(stream: ByteStream) -> bytes:
    with trio.fail_after(PATIENCE_SECONDS):
        return bytes(await stream.receive_some())


async def is_silent(stream: ByteStream) -> bool:
    with trio.move_on_after(0.05):
        await stream.receive_some()
        return False
    return True


async def test_a_connection_holds_back_what_is_sent_until_the_network_is_healed() -> None:
    partition = Partition()
    one, two = (partition.host(machine).net for machine in (1, 2))
    listener = await two.listen_tcp()
    here = await one.connect_tcp("127.0.0.1", listener.local_address[1])
    there = await listener.accept()
    await here.send_all(b"before")
    assert await received(there) == b"before"
    partition.cut({2})
    assert here.send_nowait(b"lost?") == 0
    await there.send_all(b"back")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.send_all, b"during")
        assert await is_silent(here)
        assert await is_silent(there)
        partition.heal()
    assert await received(here) == b"back"
    assert await received(there) == b"during"
    assert here.send_nowait(b"after") == 5
    assert await received(there) == b"after"
    for closing in (here, there, listener):
        await closing.aclose()


async def test_who_connects_across_the_cut_waits() -> None:
    partition = Partition()
    listeners = {machine: await partition.host(machine).net.listen_tcp() for machine in (1, 2, 3)}
    partition.cut({3})

    async def connect(machine: int, other: int) -> None:
        port = listeners[other].local_address[1]
        stream = await partition.host(machine).net.connect_tcp("127.0.0.1", port)
        await stream.aclose()

    for machine, other in ((1, 2), (2, 1), (3, 3)):
        with trio.fail_after(PATIENCE_SECONDS):
            await connect(machine, other)
    async with trio.open_nursery() as nursery:
        for machine, other in ((1, 3), (3, 2)):
            nursery.start_soon(connect, machine, other)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        partition.heal()
    for listener in listeners.values():
        await listener.aclose()


async def test_datagrams_to_the_other_side_are_lost_and_no_others() -> None:
    partition = Partition()
    one, two, three = [await partition.host(machine).net.bind_udp() for machine in (1, 2, 3)]
    mixed = [(b"a", three.local_address), (b"b", two.local_address), (b"c", three.local_address)]
    partition.cut({3})
    assert one.send_nowait(mixed) == 3
    assert three.send_nowait([(b"d", one.local_address)]) == 1
    with trio.fail_after(PATIENCE_SECONDS):
        assert [data for data, _ in await two.receive()] == [b"b"]
    partition.heal()
    assert one.send_nowait([(b"e", three.local_address)]) == 1
    with trio.fail_after(PATIENCE_SECONDS):
        assert [data for data, _ in await three.receive()] == [b"e"]
    assert one.receive_nowait() == []
    for socket in (one, two, three):
        socket.close()
