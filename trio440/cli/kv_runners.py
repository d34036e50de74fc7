"""The store's two runners: a server that says where it is, and a prompt for its clients."""

import shlex
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from trio440 import kv
from trio440.cli.running import Stop, emit, note
from trio440.cli.stdin_lines import StdinLines, is_person
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
    lines = StdinLines(MOST_INPUT)
    async with kv.open_client([address]) as client:
        while (line := await _next_line(lines)) is not None:
            if words := line.split():
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


async def _next_line(lines: StdinLines) -> bytes | None:
    """Return the next line of standard input, behind a prompt where a person types it.

    Raises:
        InvalidParameter: it is too long.
    """
    if is_person():
        emit(PROMPT, end=b"")
    line = await lines.next()
    if line is not None and len(line) > MOST_INPUT:
        raise InvalidParameter("line of input", "a longer one", f"at most {MOST_INPUT} bytes")
    return line
