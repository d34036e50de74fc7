"""The engine that is always there: the standard library's hashlib, in one process per lane.

Processes rather than threads, for hashlib keeps the interpreter's lock while it hashes so few
bytes. A process ends by itself when its standard input is closed, so none is ever left behind,
however this one dies (:mod:`trio440.mining.engines.hashlib_child`).
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, cast

import trio
from trio.abc import ReceiveStream, SendStream

from trio440.core.host import Host
from trio440.errors import EngineFailed
from trio440.mining.engines.sliced import SlicedEngine
from trio440.mining.hashing import Found
from trio440.mining.ranges import NonceRange

__all__ = ["open_hashlib_engine"]

SLICE_SECONDS: Final = 0.04
"""Long enough to make the way to the process and back small, short enough to be waited for."""

_CHILD: Final = Path(__file__).with_name("hashlib_child.py")


class _Process:
    """A lane: one process, spoken to over pipes."""

    def __init__(self, pid: int, stdin: SendStream, stdout: ReceiveStream) -> None:
        self._pid = pid
        self._stdin = stdin
        self._stdout = stdout
        self._requests = 0
        self._pending = b""

    async def search(self, prefix: bytes, nonces: NonceRange) -> Found:
        self._requests += 1
        request = f"{self._requests} {prefix.hex()} {nonces.lower} {nonces.upper}\n"
        try:
            await self._stdin.send_all(request.encode())
        except trio.BrokenResourceError:
            raise self._died() from None
        while True:
            number, found, nonce = map(int, (await self._read_line()).split())
            if number == self._requests:  # others were asked for by a search that was cancelled
                return Found(found, nonce)

    async def _read_line(self) -> bytes:
        while b"\n" not in self._pending:
            data = await self._stdout.receive_some()
            if not data:
                raise self._died()
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        return line

    def _died(self) -> EngineFailed:
        return EngineFailed(f"the hash process {self._pid} died")


@asynccontextmanager
async def _open_process() -> AsyncIterator[_Process]:
    try:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-I", "-S", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # a Ctrl-C on the terminal is for the parent alone
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise EngineFailed(f"a hash process cannot be started: {reason}") from None
    stdin, stdout = cast("SendStream", process.stdin), cast("ReceiveStream", process.stdout)
    try:
        yield _Process(process.pid, stdin, stdout)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await stdin.aclose()
            await stdout.aclose()


@asynccontextmanager
async def open_hashlib_engine(lanes: int, *, ports: Host) -> AsyncIterator[SlicedEngine]:
    """Start the engine; leaving the context kills its processes.

    Raises:
        EngineFailed: a process cannot be started.
    """
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(_open_process()) for _ in range(lanes)]
        yield SlicedEngine("hashlib", processes, slice_seconds=SLICE_SECONDS, clock=ports.clock)
