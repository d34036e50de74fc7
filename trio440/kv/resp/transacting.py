"""MULTI, EXEC, DISCARD, WATCH and UNWATCH of one client."""

from collections.abc import Iterator, Mapping
from functools import partial

import trio

from trio440.kv.operations import Committed, Found, Get, Operation, Result, Transaction
from trio440.kv.resp.batch import Asking, Batch, Step
from trio440.kv.resp.calls import Call, Client, CommandError, constant, expect, too_long
from trio440.kv.resp.parser import ARGUMENT_BYTES, Request
from trio440.kv.resp.replies import OK, QUEUED, error
from trio440.kv.resp.table import Command, make_call
from trio440.kv.resp.transactions import ATTEMPTS, Execution, Plan, Queue

__all__ = ["Transacting"]

DISCARDED = "EXECABORT Transaction discarded because of"
ABORTED = f"{DISCARDED} previous errors."
KEPT_BYTES = 128
"""What a watched key, or a queued command, is charged beside its bytes."""
CALLS_AT_ONCE = 16
"""Queued commands that EXEC looks at before others have their turn."""
SAYS_OF_CLIENT = ("hello", "client")
"""Commands that change what is known of the client: not where EXEC does nothing."""


class Transacting:
    """What a client has queued, and what it watches."""

    def __init__(self, client: Client, asking: Asking, batch: Batch) -> None:
        self.queue: Queue | None = None
        """What was said since MULTI."""
        self.held_bytes = 0
        self._client = client
        self._asking = asking
        self._batch = batch
        self._watched: dict[bytes, int] = {}

    def forget(self) -> None:
        """End a transaction and every watch."""
        self.queue = None
        self._watched = {}
        self.held_bytes = 0

    def begin(self, step: str, request: Request) -> Step | None:
        """Carry out a command of transactions, at once or once the batch is carried out.

        Raises:
            CommandError: it is refused.
        """
        match step:
            case "multi":
                self.multi()
            case "discard":
                self.discard()
            case "unwatch":
                self.unwatch()
            case "watch":
                return partial(self.watch, request)
            case _:
                return self.execute()
        return None

    def multi(self) -> None:
        """Answer MULTI.

        On an engine without transactions it is refused, and so is everything up to EXEC or
        DISCARD: a client that does not look at this answer must not have it done one by one.
        """
        if self.queue is not None:
            raise CommandError("ERR MULTI calls can not be nested")
        self.queue = Queue()
        try:
            self._client.require_atomic("MULTI")
        except CommandError as problem:
            self.queue.refusal = problem
            raise
        self._batch.answers.append(OK)

    def reject(self, request: Request, problem: CommandError) -> str:
        """Return the answer to what is no command that can be carried out now.

        EXEC will do nothing then; where it is EXEC itself, the transaction has ended.
        """
        if request[0].lower() == b"exec":
            self.forget()
            return f"{DISCARDED}: {str(problem).removeprefix('ERR ')}"
        self._spoil()
        return str(problem)

    def _spoil(self) -> None:
        if self.queue is not None:
            self.queue.spoiled = True

    def add(self, command: Command, request: Request) -> None:
        """Queue a command; where that is refused EXEC will do nothing.

        Raises:
            CommandError: it is refused.
        """
        queue, limit = self.queue, self._client.server.limits.queued_commands
        if queue is None:
            raise AssertionError("nothing is queued without MULTI")
        problem = queue.refusal
        if problem is None and command.make is None and command.step != "unwatch":
            problem = CommandError("ERR Command not allowed inside a transaction")
        if problem is None and len(queue.commands) >= limit:
            problem = CommandError(f"ERR too many queued commands, the limit is {limit}")
        if problem is not None:
            self._spoil()
            raise problem
        queue.commands.append((command, request))
        self.held_bytes += sum(map(len, request)) + ARGUMENT_BYTES * len(request) + KEPT_BYTES
        self._batch.answers.append(QUEUED)

    def discard(self) -> None:
        """Answer DISCARD."""
        if self.queue is None:
            raise CommandError("ERR DISCARD without MULTI")
        self.forget()
        self._batch.answers.append(OK)

    def unwatch(self) -> None:
        """Answer UNWATCH."""
        if self.queue is None:
            self.forget()
        self._batch.answers.append(OK)

    def execute(self) -> Step | None:
        """Answer EXEC, or return what is to be done once the batch is carried out."""
        queue, watched = self.queue, self._watched
        if queue is None:
            raise CommandError("ERR EXEC without MULTI")
        self.forget()
        if queue.spoiled or queue.refusal is not None:
            raise CommandError(ABORTED)
        if len(queue.commands) > CALLS_AT_ONCE or any(
            command.name in SAYS_OF_CLIENT for command, _ in queue.commands
        ):
            return partial(self._execute_slowly, queue, watched)
        calls = list(self._calls(queue))
        execution = Execution(calls, watched, self._client.encoding, self._client.server.limits)
        if execution.keys_to_read():
            return partial(self.read_and_execute, execution)
        plan = execution.plan({})
        if not plan.transaction.then and not watched:
            self._batch.answers.append(plan.answer(Committed(0, True)) or b"")
            return None
        self._batch.operations.append(plan.transaction)

        def answer(results: Iterator[Result]) -> bytes:
            return _answer(plan, next(results)) or b""

        self._batch.answers.append(answer)
        return None

    async def _execute_slowly(self, queue: Queue, watched: Mapping[bytes, int]) -> None:
        """Answer an EXEC of many commands, or of such as change what is known of the client.

        The batch is empty.
        """
        client = self._client
        encoding, name = client.encoding, client.name
        is_done = False
        try:
            calls: list[Call] = []
            for call in self._calls(queue):
                calls.append(call)
                if len(calls) % CALLS_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            execution = Execution(calls, watched, encoding, client.server.limits)
            is_done = await self.read_and_execute(execution)
        finally:
            if not is_done:
                client.encoding, client.name = encoding, name

    def _calls(self, queue: Queue) -> Iterator[Call]:
        """Give what queued commands come to.

        Raises:
            CommandError: it is too much.
        """
        limits = self._client.server.limits
        limit = limits.queued_commands
        count = size = 0
        for command, request in queue.commands:
            call = self._call(command, request)
            count += sum(map(_length, call.operations))
            if count > limit:
                raise CommandError(
                    f"ERR a transaction is too long, the limit is {limit} operations"
                )
            if not call.operations:
                size += len(call.reply(()))
                if size > limits.answer_bytes:
                    raise too_long(limits)
            yield call

    def _call(self, command: Command, request: Request) -> Call:
        """Return what a queued command comes to, be it the error of its arguments."""
        if command.make is None:  # UNWATCH: EXEC has ended every watch
            return constant(OK)
        try:
            return make_call(command, request, self._client)
        except CommandError as problem:
            return constant(error(str(problem)))

    async def read_and_execute(self, execution: Execution) -> bool:
        """Answer an EXEC that has to read first, and return whether it was done.

        The batch is empty.
        """
        for _ in range(ATTEMPTS):
            to_read = execution.keys_to_read()
            plan = execution.plan(await self._versions(to_read) if to_read else {})
            if not (to_read or plan.transaction.then or execution.watched):
                result: Result = Committed(0, succeeded=True)
            else:
                (result,) = await self._asking.ask([plan.transaction])
            reply = _answer(plan, result)
            if reply is not None:
                self._batch.answers.append(reply)
                return isinstance(result, Committed) and result.succeeded
            await trio.lowlevel.checkpoint()
        raise CommandError(f"ERR others changed what EXEC had read, {ATTEMPTS} times")

    async def watch(self, request: Request) -> None:
        """Answer WATCH; the batch is empty."""
        if self.queue is not None:
            raise CommandError("ERR WATCH inside MULTI is not allowed")
        self._client.require_atomic("WATCH")
        limit = self._client.server.limits.watched_keys
        keys = [key for key in dict.fromkeys(request[1:]) if key not in self._watched]
        if len(self._watched) + len(keys) > limit:
            raise CommandError(f"ERR too many watched keys, the limit is {limit}")
        self._watched |= await self._versions(keys)
        self.held_bytes += sum(map(len, keys)) + KEPT_BYTES * len(keys)
        self._batch.answers.append(OK)

    async def _versions(self, keys: list[bytes]) -> Mapping[bytes, int]:
        """Return the versions that keys have, 0 for those that are not there."""
        results = await self._asking.ask([Get(key) for key in keys])
        entries = [expect(result, Found).entry for result in results]
        return {
            key: 0 if entry is None else entry.version
            for key, entry in zip(keys, entries, strict=True)
        }


def _length(operation: Operation) -> int:
    if isinstance(operation, Transaction):
        return max(len(operation.then), len(operation.otherwise))
    return 1


def _answer(plan: Plan, result: Result) -> bytes | None:
    try:
        return plan.answer(expect(result, Committed))
    except CommandError as problem:
        return error(str(problem))
