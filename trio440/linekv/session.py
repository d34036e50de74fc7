"""One client of the line-protocol server: its lines in, its answers out.

What goes to the client is queued in an :class:`~trio440.linekv.outbox.Outbox`, which bounds it.
While the client reads, an answer longer than the queue waits for room. When it has taken
nothing for :data:`STALL_SECONDS` it counts as not reading: what finds no room is then dropped
and counted, until it takes something again.
"""

from typing import Final

import attrs
import trio

from trio440.core.channels import Chan
from trio440.core.host import ByteStream, Host
from trio440.errors import BadMessage, JournalFailed
from trio440.journal import Journal
from trio440.linekv.limits import Counters, Limits
from trio440.linekv.outbox import HeldAnswers, Outbox, Pool, UnsentAnswer
from trio440.linekv.protocol import (
    LineSplitter,
    Put,
    Request,
    error_line,
    parse_untrusted_request,
)
from trio440.linekv.store import Answer, Refused, Values

__all__ = ["Answers", "Batch", "Session", "disk_refusal"]

READ_BYTES: Final = 65_536
STALL_SECONDS: Final = 0.25
"""How long a client with a full queue may take no burst before lines are dropped."""
LINGER_SECONDS: Final = 0.25
"""How long a client that was sent everything may be silent before its connection is closed."""


@attrs.frozen
class Batch:
    """Requests of one client for the owner of the store, and where the answers go.

    At most one of the requests costs more the longer a list is, so that no client keeps the
    owner from the others for long. The channel always has room for the answers.
    """

    requests: list[Request]
    answers: "Chan[Answers]"


@attrs.frozen
class Answers:
    """What the owner of the store says to a batch, request by request."""

    answers: list[Answer]
    index: int
    """Up to where the journal must be on disk before a client may see this."""


def disk_refusal(failure: JournalFailed) -> Refused:
    """Return the answer to every request once the journal has failed.

    Reading is refused, too: the store in memory is then ahead of the disk.
    """
    return Refused(f"this server cannot write its disk any more: {failure.problem}")


class Session:
    """Serves one client; made when it was accepted."""

    def __init__(
        self,
        stream: ByteStream,
        *,
        requests: Chan[Batch],
        limits: Limits,
        counters: Counters,
        ports: Host,
        journal: Journal | None,
        pool: Pool,
        held: HeldAnswers,
    ) -> None:
        self._stream = stream
        self._requests = requests
        self._limits = limits
        self._counters = counters
        self._ports = ports
        self._journal = journal
        self._answers = Chan[Answers](1)
        self._outbox = Outbox(limits, pool)
        self._held = held
        self._written = trio.Event()
        self._stalled = False
        self._finishing = False
        self._receiving: trio.CancelScope | None = None

    def finish(self) -> None:
        """Read no more requests."""
        self._finishing = True
        if self._receiving is not None:
            self._receiving.cancel()

    async def run(self) -> None:
        """Serve until the requests end and their answers are flushed, or the connection breaks."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._serve_lines()
                self._outbox.end()
                with self._ports.clock.move_on_after(self._limits.flush_seconds):
                    await self._written.wait()
                    await self._linger()
                nursery.cancel_scope.cancel()
        except* trio.BrokenResourceError:
            pass
        finally:
            self._outbox.discard()
            await self._stream.aclose()

    async def _serve_lines(self) -> None:
        splitter = LineSplitter(self._limits.line_bytes)
        while data := await self._receive():
            batch: list[Request] = []
            for line in splitter.feed(data):
                try:
                    request = parse_untrusted_request(line)
                except BadMessage as error:
                    await self._ask(batch)
                    await self._refuse(str(error))
                    continue
                batch.append(request)
                if not isinstance(request, Put):
                    await self._ask(batch)
            await self._ask(batch)
            if splitter.too_long:
                await self._refuse(f"a line is too long, the limit is {splitter.limit} bytes")
                return

    async def _receive(self) -> bytes | bytearray:
        """Return the next bytes; none at the end of the requests."""
        if self._finishing:
            return b""
        with trio.CancelScope() as self._receiving:
            return await self._stream.receive_some(READ_BYTES)
        return b""

    async def _ask(self, batch: list[Request]) -> None:
        """Have a batch carried out, queue the answers and empty it."""
        if not batch:
            return
        await self._requests.send(Batch(batch.copy(), self._answers))
        batch.clear()
        answers = await self._settled(await self._answers.receive())
        answers.reverse()
        while answers:
            match answers.pop():
                case Values() as values:
                    answer = UnsentAnswer(values)
                    del values  # or a list that is cut would stay
                    await self._enqueue(answer)
                case Refused(problem):
                    await self._refuse(problem)

    async def _settled(self, answered: Answers) -> list[Answer]:
        """Return the answers when what they depend on is on disk; refusals if it never will be.

        Nobody sees that a change was made without an answer, so those do not wait.
        """
        answers = answered.answers
        if self._journal is not None and any(answer is not None for answer in answers):
            try:
                await self._journal.sync(answered.index)
            except JournalFailed as error:
                return [disk_refusal(error)] * len(answers)
        return answers

    async def _refuse(self, problem: str) -> None:
        if not await self._enqueue_patiently(error_line(problem)):
            self._counters.messages_dropped += 1

    async def _enqueue(self, answer: UnsentAnswer) -> None:
        """Queue a list in order; from the first line that finds no room on it is dropped."""
        waited = False
        try:
            while (line := self._outbox.fill(answer)) is not None:
                if not waited:
                    self._held.hold(answer)
                    waited = True
                if not await self._enqueue_patiently(line):
                    self._counters.messages_dropped += 1
                    break
        finally:
            self._held.release(answer)
        self._counters.messages_dropped += answer.left

    async def _enqueue_patiently(self, line: bytes) -> bool:
        """Queue a line, waiting for room while the client reads; whether there was some."""
        while not self._outbox.put_nowait(line):
            if self._stalled:
                return False
            with self._ports.clock.move_on_after(STALL_SECONDS) as scope:
                await self._outbox.wait_drained()
            self._stalled = scope.cancelled_caught
        return True

    async def _write(self) -> None:
        """Write the queue to the client, in bursts, until it is ended and empty."""
        while (burst := await self._outbox.take()) is not None:
            await self._stream.send_all(burst.data)
            self._outbox.sent(burst)
            self._counters.messages_sent += burst.lines
            self._stalled = False
        self._written.set()

    async def _linger(self) -> None:
        """Let the client read to the end: closing with bytes unread would reset its side."""
        await self._stream.send_eof()
        data: bytes | bytearray = b"unread"
        while data:
            data = b""
            with self._ports.clock.move_on_after(LINGER_SECONDS):
                data = await self._stream.receive_some(READ_BYTES)
