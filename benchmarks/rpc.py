"""Calls between two processes on loopback, beside a plain trio TCP echo.

    python benchmarks/rpc.py              a table, in about 30 seconds
    python benchmarks/rpc.py --rounds 9   more rounds, for a quieter median

Each call carries 100 bytes there and back. The server is a process of its own; no process is
pinned to a core. ``pipelined`` is one client process with so many tasks, each of which makes one
call after the other on the one connection they share. The sides take turns (A B A B), and a ratio
is that of the medians, with the least and the greatest of one round behind it. Processor time is
in microseconds for each call: what other processes of the machine take does not count in it. Its
ratio is the plain echo's time over that of the call, both sides together.
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

Side: TypeAlias = Callable[[], Awaitable["Rate"]]


@attrs.frozen
class Rate:
    """What one round has found."""

    calls_a_second: float
    client_us: float
    """Processor time of a call, and on the other side as well."""
    server_us: float

    @property
    def both_us(self) -> float:
        """What a call costs on both sides."""
        return self.client_us + self.server_us


@attrs.frozen
class Blob:
    """A hundred bytes."""

    data: bytes


@attrs.frozen
class Seconds:
    """Processor time."""

    spent: float = 0.0


class Echo(rpc.Service):
    """Answers what it was asked."""

    now = rpc.method(Blob, Blob)
    task = rpc.method(Blob, Blob)
    waits = rpc.method(Blob, Blob)
    spent = rpc.method(Seconds, Seconds)


def make_routes() -> rpc.Routes:
    """Answer each method in its own way."""
    routes = rpc.Routes()

    @routes.answers(Echo.now)
    def now(request: Blob, _: rpc.Peer) -> Blob:
        return request

    @routes.answers(Echo.task)
    async def task(request: Blob, _: rpc.Peer) -> Blob:
        return request

    @routes.answers(Echo.waits)
    async def waits(request: Blob, _: rpc.Peer) -> Blob:
        await trio.lowlevel.checkpoint()
        return request

    @routes.answers(Echo.spent)
    def spent(_request: Seconds, _: rpc.Peer) -> Seconds:
        return Seconds(time.process_time())

    return routes


@attrs.define
class Stopwatch:
    """Measures both sides."""

    _client: rpc.Client
    _began: float = 0.0
    _client_began: float = 0.0
    _server_began: float = 0.0

    async def start(self) -> None:
        """Begin, with a connection that is there."""
        self._server_began = (await Echo(self._client).spent(Seconds())).spent
        self._client_began = time.process_time()
        self._began = time.perf_counter()

    async def stop(self, calls: int) -> Rate:
        """Return what so many calls took."""
        rate = calls / (time.perf_counter() - self._began)
        client = time.process_time() - self._client_began
        server = (await Echo(self._client).spent(Seconds())).spent - self._server_began
        return Rate(rate, client / calls * 1e6, server / calls * 1e6)


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


async def sequential(port: int, name: str) -> Rate:
    """Make one call after the other and return how many a second."""
    async with rpc.open_client("127.0.0.1", port) as client:
        ask = getattr(Echo(client), name)
        blob = Blob(PAYLOAD)
        watch = Stopwatch(client)
        await watch.start()
        for _ in range(SEQUENTIAL):
            await ask(blob)
        return await watch.stop(SEQUENTIAL)


async def pipelined(port: int, name: str, *, seconds: float | None = None) -> Rate:
    """Make calls from many tasks and return how many a second."""

    async def work() -> None:
        for _ in range(PIPELINED // WINDOW):
            await ask(blob, timeout_seconds=seconds)

    async with rpc.open_client("127.0.0.1", port) as client:
        ask = getattr(Echo(client), name)
        blob = Blob(PAYLOAD)
        watch = Stopwatch(client)
        await watch.start()
        async with trio.open_nursery() as nursery:
            for _ in range(WINDOW):
                nursery.start_soon(work)
        return await watch.stop(PIPELINED // WINDOW * WINDOW)


async def plain_echo(rpc_port: int, port: int) -> Rate:
    """Echo the same bytes through a plain trio stream."""
    async with (
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
        rpc.open_client("127.0.0.1", rpc_port) as client,
    ):
        watch = Stopwatch(client)
        await watch.start()
        for _ in range(SEQUENTIAL):
            await stream.send_all(PAYLOAD)
            left = len(PAYLOAD)
            while left:
                left -= len(await stream.receive_some(65_536))
        return await watch.stop(SEQUENTIAL)


def measure(rpc_port: int, echo_port: int, rounds: int) -> None:
    """Print the table."""
    gc.freeze()
    gc.set_threshold(50_000)
    sides: dict[str, Side] = {
        "plain TCP echo, one at a time": partial(plain_echo, rpc_port, echo_port),
        "sequential, def": partial(sequential, rpc_port, "now"),
        "sequential, async def": partial(sequential, rpc_port, "task"),
        "sequential, async def that waits": partial(sequential, rpc_port, "waits"),
        f"pipelined ({WINDOW}), def": partial(pipelined, rpc_port, "now"),
        f"pipelined ({WINDOW}), async def": partial(pipelined, rpc_port, "task"),
        f"pipelined ({WINDOW}), async def that waits": partial(pipelined, rpc_port, "waits"),
        f"pipelined ({WINDOW}), def, 10 s each": partial(pipelined, rpc_port, "now", seconds=10),
    }
    found: dict[str, list[Rate]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(trio.run(side))
    plain = next(iter(found.values()))
    print(
        f"{'':37} {'calls/s':>9} {'least':>9} {'greatest':>9}"
        "    client   server   of the plain echo"
    )
    for name, rates in found.items():
        ways = [rate.calls_a_second for rate in rates]
        client = statistics.median(rate.client_us for rate in rates)
        server = statistics.median(rate.server_us for rate in rates)
        line = f"{name:37} {statistics.median(ways):9,.0f} {min(ways):9,.0f} {max(ways):9,.0f}"
        line += f" {client:6.1f} us {server:5.1f} us"
        if "pipelined" not in name:
            line += f"   {against(ways, [rate.calls_a_second for rate in plain])}"
            times = against([rate.both_us for rate in plain], [rate.both_us for rate in rates])
            line += f", processor time {times}"
        print(line)


def against(ours: list[float], theirs: list[float]) -> str:
    """Write a ratio of rates with its spread."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    middle = statistics.median(ours) / statistics.median(theirs)
    return f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


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
