"""The processes of a demo: this package's own commands, each on a leash."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from trio440.errors import Trio440Error

__all__ = ["Process", "ProcessFailed", "open_command"]

READ_BYTES = 65_536


class ProcessFailed(Trio440Error):
    """A process of the demo ended, or spoke, as it should not have."""


class Process:
    """A running command whose standard output is read line by line."""

    def __init__(self, name: str, process: trio.Process, stdout: trio.abc.ReceiveStream) -> None:
        self.name = name
        self._process = process
        self._stdout = stdout
        self._read = b""

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def line(self) -> str:
        """Return the next line of its standard output.

        Raises:
            ProcessFailed: there is none: it has ended.
        """
        while b"\n" not in self._read:
            data = await self._stdout.receive_some(READ_BYTES)
            if not data:
                status = await self._process.wait()
                raise ProcessFailed(f"{self.name} ended with status {status}")
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    async def address(self) -> tuple[str, int]:
        """Return where a server says in its first line that it listens."""
        line = await self.line()
        host, _, port = line.removeprefix("listening on ").rpartition(":")
        if not port.isdecimal():
            raise ProcessFailed(f"{self.name} said {line!r}")
        return host, int(port)

    def kill(self) -> None:
        """Let it die at once, with no chance to say good-bye."""
        self._process.kill()

    async def stop(self) -> None:
        """Ask it to stop and wait until it has.

        Raises:
            ProcessFailed: its status was not 0.
        """
        self._process.send_signal(signal.SIGTERM)
        if status := await self._process.wait():
            raise ProcessFailed(f"{self.name} ended with status {status}")

    async def wait(self) -> int:
        """Wait for its end and return its status."""
        return await self._process.wait()


@asynccontextmanager
async def open_command(name: str, *words: object) -> AsyncIterator[Process]:
    """Start ``trio440 WORDS...``; it is killed when the context ends, if it is still there."""
    command = [sys.executable, "-m", "trio440", *map(str, words)]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    stdout = process.stdout
    if stdout is None:
        raise AssertionError("standard output was to be a pipe")
    try:
        yield Process(name, process, stdout)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await stdout.aclose()
