"""The servers that ``kv.py`` measures, each a process of its own.

    python benchmarks/kv_servers/child.py resp ENGINE
    python benchmarks/kv_servers/child.py server COUNT [DESCRIPTION]
    python benchmarks/kv_servers/child.py peer ID DIRECTORY [DESCRIPTION]
    python benchmarks/kv_servers/child.py hold COUNT KEYS

Each prints one line of JSON, where it is reached or what it has found, and serves until it is
killed.
"""

import gc
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import trio

from trio440 import kv
from trio440.kv.resp import open_resp_server

BATCH: Final = 1000
PAGE_BYTES: Final = 4096


async def serve_resp(stack: AsyncExitStack, engine: str) -> dict[str, Any]:
    """Answer clients of Redis over an engine of this process."""
    namespace: kv.Namespace
    if engine == "memory":
        namespace = await stack.enter_async_context(kv.open_memory())
    else:
        namespace = (await stack.enter_async_context(kv.open_server())).namespace
    front = await stack.enter_async_context(open_resp_server(namespace, 0))
    return {"port": front.address[1]}


async def serve(stack: AsyncExitStack, count: str, *descriptions: str) -> dict[str, Any]:
    """Be a server of the eventual engine."""
    opening = kv.open_server(count=int(count), descriptions=descriptions)
    server = await stack.enter_async_context(opening)
    return {"clients": server.client_addresses, "description": server.description}


async def serve_peer(
    stack: AsyncExitStack, name: str, directory: str, *descriptions: str
) -> dict[str, Any]:
    """Be a durable server of the linearizable engine, and answer clients of Redis."""
    config = kv.StoreConfig(
        namespaces={"default": "linearizable"},
        directory=directory,
        id=name,
        descriptions=descriptions,
    )
    store = await stack.enter_async_context(kv.open_store(config))
    namespace = store.namespaces["default"]
    front = await stack.enter_async_context(open_resp_server(namespace, 0))
    return {
        "port": front.address[1],
        "clients": store.offers["default"].addresses,
        "description": store.description,
    }


async def hold(stack: AsyncExitStack, count: str, keys: str) -> dict[str, Any]:
    """Put keys into a server, a share by each of its actors, and say what it takes in memory."""
    actors, number = int(count), int(keys)
    server = await stack.enter_async_context(kv.open_server(count=actors))
    before = _resident()

    async def fill(place: int, address: str) -> None:
        async with AsyncExitStack() as inner:
            space: kv.Namespace = server.namespace
            if place:
                opening = kv.open_client([address], timeout_seconds=60)
                space = await inner.enter_async_context(opening)
            last = number * (place + 1) // actors
            for start in range(number * place // actors, last, BATCH):
                part = range(start, min(start + BATCH, last))
                await space.execute([kv.Put(b"key:%06d" % at, b"%010d" % at) for at in part])

    async with trio.open_nursery() as nursery:
        for place, address in enumerate(server.client_addresses):
            nursery.start_soon(fill, place, address)
    while True:
        if all(each.replica.keys == number for each in await server.inspect()):
            break
        await trio.sleep(0.5)
    gc.collect()
    return {"before": before, "after": _resident()}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


WORK: Final[dict[str, Callable[..., Awaitable[dict[str, Any]]]]] = {
    "resp": serve_resp,
    "server": serve,
    "peer": serve_peer,
    "hold": hold,
}


async def main(*words: str) -> None:
    """Do what the first word names."""
    async with AsyncExitStack() as stack:
        found = await WORK[words[0]](stack, *words[1:])
        gc.freeze()
        gc.set_threshold(50_000)
        print(json.dumps(found), flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
