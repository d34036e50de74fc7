"""Calls between two processes on loopback, beside a plain trio TCP echo.

    python benchmarks/rpc.py              a table, in about 30 seconds
    python benchmarks/rpc.py --rounds 9   more rounds, for a quieter median

Each call carries 100 bytes there and back. The server is a process of its own; no process is
pinned to a core. ``pipelined`` is one client process with so many tasks, each of which makes one
call after the other on the one connection they share. The sides take turns (A B A B), and a ratio
is that of the medians, with the least and the greatest of one round behind it.
"""

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Final, TypeAlias

import attrs
import trio

from trio440 import rpc

PAYLOAD: Final = bytes(100)
SEQUENTIAL: Final = 4_000
PIPELINED: Final = 40_000
WINDOW: Final = 256

Side: TypeAlias = Callable[[], Awaitable[float]]


@attrs.frozen
class Blob:
    """A hundred bytes."""

    data: bytes


class Echo(rpc.Service):
    """Answers what it was asked."""

    now = rpc.method(Blob, Blob)
    task = rpc.method(Blob, Blob)


def make_routes() -> rpc.Routes:
    """Answer each of the two in its own way."""
    routes = rpc.Routes()

    @routes.answers(Echo.now)
    def now(request: Blob, _: rpc.Peer) -> Blob:
        return request

    @routes.answers(Echo.task)
    async def task(request: Blob, _: rpc.Peer) -> Blob:
        return request

    return routes


async def echo_stream(stream: trio.SocketStream) -> None:
    """Send back what comes."""
    while data := await stream.receive_some(65_536):
        await stream.send_all(data)


async def serve() -> None:
    """Be the other process: print the ports and serve until killed."""
    gc.freeze()
    gc.set_threshold(50_000)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(rpc.serve, 0, make_routes()))
        listeners = await nursery.start(
            partial(trio.serve_tcp, echo_stream, 0, host="127.0.0.1"),
        )
        print(address[1], listeners[0].socket.getsockname()[1], flush=True)


async def sequential(port: int, name: str) -> float:
    """Make one call after the other and return how many a second."""
    async with rpc.open_client("127.0.0.1", port) as client:
        ask = getattr(Echo(client), name)
        blob = Blob(PAYLOAD)
        await ask(blob)
        began = time.perf_counter()
        for _ in range(SEQUENTIAL):
            await ask(blob)
        return SEQUENTIAL / (time.perf_counter() - began)


async def pipelined(port: int, name: str, *, seconds: float | None = None) -> float:
    """Make calls from many tasks and return how many a second."""

    async def work() -> None:
        for _ in range(PIPELINED // WINDOW):
            await ask(blob, timeout_seconds=seconds)

    async with rpc.open_client("127.0.0.1", port) as client:
        ask = getattr(Echo(client), name)
        blob = Blob(PAYLOAD)
        await ask(blob)
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(WINDOW):
                nursery.start_soon(work)
        return PIPELINED // WINDOW * WINDOW / (time.perf_counter() - began)


async def plain_echo(port: int) -> float:
    """Echo the same bytes through a plain trio stream."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        began = time.perf_counter()
        for _ in range(SEQUENTIAL):
            await stream.send_all(PAYLOAD)
            left = len(PAYLOAD)
            while left:
                left -= len(await stream.receive_some(65_536))
        return SEQUENTIAL / (time.perf_counter() - began)


def measure(rpc_port: int, echo_port: int, rounds: int) -> None:
    """Print the table."""
    gc.freeze()
    gc.set_threshold(50_000)
    sides: dict[str, Side] = {
        "plain TCP echo, one at a time": partial(plain_echo, echo_port),
        "sequential, def": partial(sequential, rpc_port, "now"),
        "sequential, async def": partial(sequential, rpc_port, "task"),
        f"pipelined ({WINDOW}), def": partial(pipelined, rpc_port, "now"),
        f"pipelined ({WINDOW}), async def": partial(pipelined, rpc_port, "task"),
        f"pipelined ({WINDOW}), def, 10 s each": partial(pipelined, rpc_port, "now", seconds=10),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(trio.run(side))
    plain = found["plain TCP echo, one at a time"]
    print(f"{'':34} {'calls/s':>9}   {'least':>9} {'greatest':>9}   of the plain echo")
    for name, rates in found.items():
        ratios = [ours / theirs for ours, theirs in zip(rates, plain, strict=True)]
        middle = statistics.median(rates)
        line = f"{name:34} {middle:9,.0f}   {min(rates):9,.0f} {max(rates):9,.0f}"
        if "pipelined" not in name:
            line += f"   {middle / statistics.median(plain):.2f}"
            line += f" ({min(ratios):.2f} to {max(ratios):.2f})"
        print(line)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each workload")
    parser.add_argument("--serve", action="store_true", help="be the server")
    arguments = parser.parse_args()
    if arguments.serve:
        trio.run(serve)
        return
    with ExitStack() as stack:
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True
        )
        stack.callback(server.wait)
        stack.callback(server.kill)
        if server.stdout is not None:
            ports = server.stdout.readline().split()
            measure(int(ports[0]), int(ports[1]), arguments.rounds)


if __name__ == "__main__":
    main()
