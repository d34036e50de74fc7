"""The job processes of a campaign, from the campaign's side."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from trio440.cli.simulation.wire import RUN, Answer, Request, decode_answer, encode
from trio440.core import REAL_HOST
from trio440.errors import SimulationError
from trio440.sim.campaign import hung
from trio440.sim.outcome import Failure, Outcome

__all__ = ["DIED", "Job", "JobFailed", "open_jobs"]

DIED: Final = "its process survives"
"""The promise that a history breaks in which its whole process dies."""

READ_BYTES: Final = 65_536
START_SECONDS: Final = 60.0
GRACE_SECONDS: Final = 1.0
"""How much later than its own limit a job is ended that did not end itself."""


class JobFailed(SimulationError):
    """Nothing can be run in the job processes."""


class _Process:
    """A running job process."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._unread = b""

    async def send(self, requests: Sequence[Request]) -> None:
        stdin = self.process.stdin
        if stdin is None:
            raise AssertionError("standard input was to be a pipe")
        try:
            await stdin.send_all(b"".join(map(encode, requests)))
        except trio.BrokenResourceError:
            return  # it has died: there will be no answer

    async def receive(self, seconds: float) -> Answer | None:
        """Return the next answer, or None when the process has ended.

        Raises:
            trio.TooSlowError: there is none after so many seconds.
        """
        stdout = self.process.stdout
        if stdout is None:
            raise AssertionError("standard output was to be a pipe")
        with REAL_HOST.clock.fail_after(seconds):
            while b"\n" not in self._unread:
                data = await stdout.receive_some(READ_BYTES)
                if not data:
                    return None
                self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return decode_answer(line)

    async def end(self) -> str:
        """End it at once if it has not ended, and say how it ended."""
        if self.process.returncode is None:
            self.process.kill()
        with trio.CancelScope(shield=True):
            status = await self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    await pipe.aclose()
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"


class Job:
    """Runs histories one after the other in a process, and in a new one when that is gone."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._process: _Process | None = None

    async def start(self) -> None:
        """Return when its process is ready to run histories.

        Raises:
            JobFailed: it ended before that.
        """
        if self._process is not None:
            return
        # Beside our own group, so that a terminal's Ctrl-C is heard by us alone.
        opened = await trio.lowlevel.open_process(
            [sys.executable, "-P", "-m", "trio440.cli.simulation.job", self._run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        self._process = process = _Process(opened)
        try:
            ready = await process.receive(START_SECONDS)
        except trio.TooSlowError:
            await self.stop()
            raise JobFailed(f"a job process was not ready after {START_SECONDS:g} s") from None
        if ready is None:
            raise JobFailed(f"a job process {await self.stop()} before it was ready")

    async def run(self, requests: Sequence[Request], report: Callable[[Outcome], None]) -> None:
        """Run histories in order and report what came of each.

        One that hangs, or takes its process down, has failed; the rest goes on in a new process.
        Cancelled: the process is left as it is, for :meth:`stop`.

        Raises:
            JobFailed: nothing can be run.
        """
        left = list(requests)
        while left:
            await self.start()
            process = self._process
            if process is None:
                raise AssertionError("it was started")
            await process.send(left)
            while left and self._process is not None:
                outcome = await self._next(process, left[0])
                left.pop(0)
                report(outcome)

    async def run_one(self, request: Request) -> Outcome:
        """Run one history and return what came of it.

        Raises:
            JobFailed: nothing can be run.
        """
        outcomes: list[Outcome] = []
        await self.run([request], outcomes.append)
        return outcomes[0]

    async def _next(self, process: _Process, request: Request) -> Outcome:
        limit = request.limit_seconds
        try:
            answer = await process.receive(limit + GRACE_SECONDS)
        except trio.TooSlowError:
            await self.stop()
            return hung(request.setup, limit)
        if answer is None:
            detail = f"the process that ran it {await self.stop()}"
            return Outcome(request.setup, "", 0, 0, failure=Failure(DIED, detail, at=0))
        if answer.error is not None:
            raise JobFailed(answer.error)
        if answer.last:
            await self.stop()
        if answer.outcome is None:
            raise AssertionError("a job says once that it is ready")
        return answer.outcome

    async def stop(self) -> str:
        """End its process, if there is one, and say how it ended."""
        process, self._process = self._process, None
        return "is gone" if process is None else await process.end()


@asynccontextmanager
async def open_jobs(count: int, run: str = RUN) -> AsyncIterator[list[Job]]:
    """Open so many jobs; their processes are gone when the context ends.

    Args:
        count: how many, at least 1.
        run: what runs a history, see :data:`trio440.cli.simulation.wire.RUN`.
    """
    jobs = [Job(run) for _ in range(count)]
    try:
        yield jobs
    finally:
        for job in jobs:
            await job.stop()
