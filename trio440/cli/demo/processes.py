"""The processes of a demo: this package's own commands, each on a leash."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from trio440.errors import Trio440Error

__all__ = ["Lines", "Process", "ProcessFailed", "open_command"]

READ_BYTES: Final = 65_536


class ProcessFailed(Trio440Error):
    """A process of the demo ended, or spoke, as it should not have."""


class Lines:
    """The lines of one of a process's outputs."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._unfinished = b""

    async def next(self) -> str | None:
        """Return the next line, or None when the output has ended."""
        while b"\n" not in self._unfinished:
            data = await self._stream.receive_some(READ_BYTES)
            if not data:
                return None
            self._unfinished += data
        line, _, self._unfinished = self._unfinished.partition(b"\n")
        return line.decode()


class Process:
    """A running command.

    Attributes:
        name: what it is called in the demo.
        out: its standard output.
        notes: its standard error; to be read on, or the process would wait.
    """

    def __init__(
        self,
        name: str,
        process: trio.Process,
        out: trio.abc.ReceiveStream,
        notes: trio.abc.ReceiveStream,
    ) -> None:
        self.name = name
        self.out = Lines(out)
        self.notes = Lines(notes)
        self._process = process

    async def line(self) -> str:
        """Return the next line of its standard output.

        Raises:
            ProcessFailed: there is none: it has ended.
        """
        line = await self.out.next()
        if line is None:
            raise ProcessFailed(await self._explain_end())
        return line

    async def address(self) -> tuple[str, int]:
        """Return where a server says in its first line that it listens.

        Raises:
            ProcessFailed: it says something else, or nothing.
        """
        line = await self.line()
        host, _, port = line.removeprefix("listening on ").rpartition(":")
        if not port.isdecimal():
            raise ProcessFailed(f"{self.name} said {line!r}")
        return host, int(port)

    def kill(self) -> None:
        """Let it die at once, with no chance to say good-bye."""
        self._process.kill()

    async def finish(self) -> None:
        """Wait until it has ended by itself.

        Raises:
            ProcessFailed: its status was not 0.
        """
        if await self._process.wait():
            raise ProcessFailed(await self._explain_end())

    async def stop(self) -> None:
        """Ask it to stop and wait until it has.

        Raises:
            ProcessFailed: its status was not 0.
        """
        self._process.send_signal(signal.SIGTERM)
        if await self._process.wait():
            raise ProcessFailed(await self._explain_end())

    async def _explain_end(self) -> str:
        status = await self._process.wait()
        last = None
        while (line := await self.notes.next()) is not None:
            last = line
        return f"{self.name} ended with status {status}" + (f": {last}" if last else "")


@asynccontextmanager
async def open_command(name: str, *words: object) -> AsyncIterator[Process]:
    """Start ``trio440 WORDS...``; it is killed when the context ends, if it is still there.

    It also ends when this process is gone without having left the context: the pipe that is its
    standard input then ends.
    """
    command = [sys.executable, "-m", "trio440", "--end-with-stdin", *map(str, words)]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    leash, out, notes = process.stdin, process.stdout, process.stderr
    if leash is None or out is None or notes is None:
        raise AssertionError("input and outputs were to be pipes")
    try:
        yield Process(name, process, out, notes)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await leash.aclose()
            await out.aclose()
            await notes.aclose()
