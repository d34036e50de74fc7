"""The linekv part: a server process, three busy clients, one that does not read."""

from typing import Final

import trio

from trio440.cli.demo.processes import ProcessFailed, open_command
from trio440.cli.demo.screen import Screen
from trio440.core import REAL_HOST
from trio440.linekv import Client, Limits, connect

__all__ = ["show"]

CLIENTS: Final = 3
WORK_SECONDS: Final = 2.0
VALUE: Final = b"v" * 50_000
UNREAD: Final = 2000
KEPT: Final = Limits().queued_messages
SILENCE_SECONDS: Final = 0.5


async def show(screen: Screen) -> None:
    """Show the part on ``screen``.

    Raises:
        ProcessFailed: the server did not do what it should.
    """
    async with open_command("the server", "linekv", "serve", "--port", 0) as server:
        host, port = await server.address()
        screen.say(f"A server listens on {host}:{port}; try `nc {host} {port}` and Get:client-0.")
        async with connect(host, port) as sleeper:
            await sleeper.put(b"big", VALUE)
            screen.say(f"A client asks {UNREAD} times for {len(VALUE)} bytes and does not read.")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sleeper.send, b"Get:big\n" * UNREAD)
                await _work_beside_it(screen, host, port)
            received = await _count_lines(sleeper)
            if not KEPT <= received < UNREAD:
                raise ProcessFailed(f"the sleeper got {received} lines")
            screen.say(
                f"The sleeper wakes and gets {received} lines;"
                f" {UNREAD - received} found its queue full and were dropped."
            )
        await server.stop()
        screen.say("SIGTERM: the server ended with status 0.")


async def _work_beside_it(screen: Screen, host: str, port: int) -> None:
    """Let the busy clients work, and say how fast they were."""
    start = trio.current_time()
    done = 0

    async def work(number: int) -> None:
        nonlocal done
        key = b"client-%d" % number
        async with connect(host, port) as client:
            while trio.current_time() < start + WORK_SECONDS:
                await client.put(key, b"1")
                await client.put(key, b"2")
                await client.update(key, b"1", b"3")
                if await client.get(key) != [b"2", b"3"]:
                    raise ProcessFailed(f"client {number} got a wrong answer")
                await client.delete(key)
                done += 1
                share = (trio.current_time() - start) / WORK_SECONDS
                screen.progress("three clients", min(share, 1.0), f"{done} rounds")

    async with trio.open_nursery() as nursery:
        for number in range(CLIENTS):
            nursery.start_soon(work, number)
    screen.say(
        f"Meanwhile {CLIENTS} clients did {done} rounds of put, update, get and delete,"
        f" {done / WORK_SECONDS:.0f} a second, and every answer was right."
    )


async def _count_lines(client: Client) -> int:
    """Read what waits for a client, and check that it is served again."""
    count = 0
    line: bytes | None = b""
    while line is not None:
        line = None
        with REAL_HOST.clock.move_on_after(SILENCE_SECONDS):
            line = await client.receive_line()
            count += 1
    if await client.get(b"big") != [VALUE]:
        raise ProcessFailed("the sleeper got a wrong answer")
    return count
