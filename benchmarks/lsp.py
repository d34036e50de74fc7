"""LSP echoes on loopback, beside bare UDP echoes with as many datagrams on their way.

    python benchmarks/lsp.py              a table, in about 20 seconds
    python benchmarks/lsp.py --rounds 9   more rounds, for a quieter median

Client and server share one thread, so every figure is what one core does for both sides: an
LSP echo is four datagrams, each encoded, checksummed and decoded; a bare echo is two. The two
sides of a comparison take turns (A B A B); the ratio is that of the medians, with the least and
the greatest ratio of one round behind it.
"""

import argparse
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from trio440 import lsp
from trio440.core import REAL_HOST

WORKLOADS: Final = ((1, 10, 2_000), (32, 10, 8_000), (32, 1000, 6_000), (100, 10, 8_000))
"""Window, bytes of payload, echoes a round."""

Work = Callable[[], Awaitable[float]]


async def lsp_echoes(window: int, size: int, count: int) -> float:
    """Echo ``count`` messages with ``window`` on their way and return how many a second."""
    params = lsp.Params(window_size=window, max_unacked_messages=window)
    payload = bytes(size)

    async def echo(connection: lsp.Connection) -> None:
        async for message in connection:
            connection.write(message)

    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(lsp.serve, echo, 0, params=params))
        async with lsp.connect(*address[:2], params=params) as client:
            began = time.perf_counter()
            for _ in range(window):
                client.write(payload)
            for left in range(count, 0, -1):
                await client.receive()
                if left > window:
                    client.write(payload)
            elapsed = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    return count / elapsed


async def bare_echoes(window: int, size: int, count: int) -> float:
    """Do the same with bare datagrams through the same port."""
    server = await REAL_HOST.net.bind_udp()
    client = await REAL_HOST.net.bind_udp()
    payload = bytes(size)

    async def echo() -> None:
        while True:
            server.send_nowait(await server.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo)
        began = time.perf_counter()
        client.send_nowait([(payload, server.local_address)] * window)
        received = 0
        while received < count:
            batch = await client.receive()
            received += len(batch)
            client.send_nowait([(payload, server.local_address)] * len(batch))
        elapsed = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    server.close()
    client.close()
    return count / elapsed


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each workload")
    rounds = parser.parse_args().rounds
    print("window  bytes   LSP echoes/s   bare echoes/s   ratio (least to greatest)")
    for window, size, count in WORKLOADS:
        pairs = [
            (trio.run(lsp_echoes, window, size, count), trio.run(bare_echoes, window, size, count))
            for _ in range(rounds)
        ]
        ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratios = [a / b for a, b in pairs]
        print(
            f"{window:6}  {size:5}   {ours:12,.0f}   {bare:13,.0f}   "
            f"{ours / bare:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
