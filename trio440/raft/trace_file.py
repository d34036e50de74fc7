"""A trace of Raft peers in a file: lines gather in memory, and a worker appends them.

Nothing waits for it. Where the disk does not keep up, or fails, the trace ends there, since one
with a gap proves nothing; the peers go on.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio

from trio440.core.host import AppendFile, Host, Worker
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import TraceFailed
from trio440.raft.trace_lines import Recorder

__all__ = ["open_trace"]

QUEUED_BYTES: Final = 16 << 20


class _TraceFile:
    """What waits to be written."""

    def __init__(self, path: str, limit: int, report: Callable[[Exception], None]) -> None:
        self._path = path
        self._limit = limit
        self._report = report
        self._lines: list[bytes] = []
        self._queued = 0
        self._wake = trio.Event()
        self._is_over = False

    def write(self, line: bytes) -> None:
        """Take a line, unless the trace is over."""
        if self._is_over:
            return
        if self._queued + len(line) > self._limit:
            self._end(f"{self._limit} bytes wait to be written, which is the limit")
            return
        self._lines.append(line)
        self._queued += len(line)
        self._wake.set()

    def close(self) -> None:
        """Take no more lines; :meth:`run` returns when the rest is written."""
        self._is_over = True
        self._wake.set()

    def _end(self, reason: str) -> None:
        self.close()
        self._report(TraceFailed(self._path, reason))

    async def run(self, file: AppendFile, worker: Worker) -> None:
        """Append what comes, until closed."""
        while self._lines or not self._is_over:
            if not self._lines:
                self._wake = trio.Event()
                await self._wake.wait()
                continue
            lines, self._lines = self._lines, []
            data = b"".join(lines)
            try:
                await worker.run(file.append, data)
            except OSError as error:
                self._lines.clear()
                self._end(_reason(error))
            self._queued -= len(data)


@asynccontextmanager
async def open_trace(
    path: str,
    *,
    numbers: Mapping[str, int] | None = None,
    queued_bytes: int = QUEUED_BYTES,
    report: Callable[[Exception], None] = lambda _error: None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Recorder]:
    """Append to a file what peers do, for as long as the body runs.

    The recorder goes to :func:`trio440.raft.open_peer`, of one peer or of several: then their
    lines are in one order. Leaving normally writes what was recorded; leaving by exception or
    cancellation drops what waits.

    Args:
        path: the file; its directory is made where it is absent.
        numbers: what peers are called, see :class:`Recorder`.
        queued_bytes: what may wait to be written; then the trace ends.
        report: hears a ``TraceFailed`` when the trace ends before its time.
        ports: the machine to run on.

    Raises:
        TraceFailed: the file cannot be opened.
    """
    folder, _, name = path.rpartition("/")
    folder = folder or ("/" if path.startswith("/") else ".")
    lines = _TraceFile(path, queued_bytes, report)
    async with ports.blocking.open_worker("trio440 raft trace") as worker:
        try:
            file = await worker.run(lambda: ports.disk(folder).open_append(name))
        except OSError as error:
            raise TraceFailed(path, _reason(error)) from error
        try:
            async with open_service_nursery() as nursery:
                done = trio.Event()

                async def write() -> None:
                    await lines.run(file, worker)
                    done.set()

                nursery.start_soon(write)
                yield Recorder(lines.write, ports.wall.now_ns, numbers)
                lines.close()
                await done.wait()
        finally:
            lines.close()
            with trio.CancelScope(shield=True):
                await worker.run(file.close)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
