"""The store's two runners: a server that says where it is, and a prompt for its clients."""

import shlex
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

from trio440 import kv
from trio440.cli.running import Stop, emit, note, read_stdin
from trio440.core.host import parse_address
from trio440.errors import AddressError, InvalidParameter, OperationRefused, StoreUnavailable

__all__ = ["STATUS_NOT_BOUND", "ask_store", "serve_store"]

STATUS_NOT_BOUND: Final = 3
MOST_INPUT: Final = 1 << 20
"""Bytes of one line of input."""
USAGE: Final = {"get": "Get key", "list": "List [prefix]", "put": "Put key value"}
PROMPT: Final = b"> "


async def serve_store(
    stop: Stop, host: str, port: int, count: int, descriptions: Sequence[str]
) -> int | None:
    """Be a server until the stop is requested; 3 where a port cannot be had."""
    emit("starting")
    try:
        async with kv.open_server(port, count, host=host, descriptions=descriptions) as server:
            emit(f"actor system on {server.address}")
            for address in server.client_addresses:
                emit(f"query actor on {address}")
            emit(f"description {shlex.quote(server.description)}")
            await stop.wait()
    except AddressError as error:
        note(f"kv_srunner: error: {error}")
        return STATUS_NOT_BOUND
    return None


async def ask_store(address: str) -> None:
    """Carry out the commands of standard input at one query actor, until the input ends.

    Raises:
        InvalidParameter: it is no address.
    """
    parse_address(address)
    async with kv.open_client([address]) as client, aclosing(_lines()) as lines:
        async for line in lines:
            words = line.split()
            if words:
                await _carry_out(client, words)


async def _carry_out(client: kv.EventualNamespace, words: Sequence[bytes]) -> None:
    name = words[0].decode(errors="replace").lower()
    commands: dict[tuple[str, int], Callable[..., Awaitable[None]]] = {
        ("get", 1): _get,
        ("list", 0): _list,
        ("list", 1): _list,
        ("put", 2): _put,
    }
    command = commands.get((name, len(words) - 1))
    if command is None:
        known = USAGE.get(name)
        emit(f"usage: {known}" if known else f"commands: {', '.join(USAGE.values())}")
        return
    try:
        await command(client, *words[1:])
    except (StoreUnavailable, OperationRefused) as error:
        emit(f"error: {error}")


async def _get(client: kv.EventualNamespace, key: bytes) -> None:
    entry = await client.get(key)
    emit(b"no such key" if entry is None else entry.value)


async def _put(client: kv.EventualNamespace, key: bytes, value: bytes) -> None:
    await client.put(key, value)
    emit("ok")


async def _list(client: kv.EventualNamespace, prefix: bytes = b"") -> None:
    after, more = None, True
    while more:
        page = await client.list(prefix, after=after)
        for entry in page.entries:
            emit(entry.key + b" " + entry.value)
            after = entry.key
        more = page.more


async def _lines() -> AsyncGenerator[bytes, None]:
    """Yield the lines of standard input; the last one may lack its end."""
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    buffered = b""
    while True:
        if is_terminal:
            emit(PROMPT, end=b"")
        if not (data := await read_stdin()):
            break
        *lines, buffered = (buffered + data).split(b"\n")
        for line in lines:
            yield line
        if len(buffered) > MOST_INPUT:
            raise InvalidParameter("line of input", len(buffered), f"at most {MOST_INPUT} bytes")
    if buffered:
        yield buffered
