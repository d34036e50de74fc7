"""Operations that are asked of a namespace at once, and the answers to be made of their results."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final, Protocol, TypeAlias, runtime_checkable

from trio440.errors import KvError
from trio440.kv.namespace import Namespace
from trio440.kv.operations import (
    Changed,
    Committed,
    Entry,
    Found,
    Get,
    Operation,
    Page,
    Put,
    Refused,
    Result,
)
from trio440.kv.resp.calls import Call, words
from trio440.kv.resp.limits import Counters
from trio440.kv.resp.outbox import Outbox
from trio440.kv.resp.replies import OK, Encoding, error

__all__ = [
    "Answer",
    "Asking",
    "Batch",
    "Step",
    "answers_alike",
    "next_changed",
    "next_found",
]

SEND_BYTES: Final = 64 << 10
"""Answers are put together up to here, and handed to the network."""

READS_AT_ONCE: Final = 16
"""Of one batch, where several cost no more than one: so many of the longest values are no answer
that the eventual engine takes for too long."""

Answer: TypeAlias = bytes | Callable[[Iterator[Result]], bytes]
"""An answer, or what makes one of the next results."""

Step: TypeAlias = Callable[[], Awaitable[object]]
"""What a command does once the batch before it is carried out."""


@runtime_checkable
class _ExecutesNow(Protocol):
    """A namespace in this process, which need not be waited for."""

    def execute_nowait(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """As :meth:`Namespace.execute`, at once."""


@runtime_checkable
class _ExecutesBatches(Protocol):
    """A namespace that is asked for several batches as cheaply as for one."""

    async def execute_batches(
        self, batches: Sequence[Sequence[Operation]]
    ) -> Sequence[Sequence[Result]]:
        """Carry out each batch by itself, as :meth:`Namespace.execute` does."""


class Asking:
    """Asks a namespace, and counts."""

    def __init__(self, namespace: Namespace, counters: Counters) -> None:
        self._namespace = namespace
        self._counters = counters
        self.now: Callable[[Sequence[Operation]], Sequence[Result]] | None = None
        """Asks without waiting, where the namespace can."""
        self._execute_batches: (
            Callable[[Sequence[Sequence[Operation]]], Awaitable[Sequence[Sequence[Result]]]] | None
        ) = None
        if isinstance(namespace, _ExecutesNow):
            self.now = namespace.execute_nowait
        elif isinstance(namespace, _ExecutesBatches):
            self._execute_batches = namespace.execute_batches

    @property
    def takes_batches(self) -> bool:
        """Whether several batches may be asked for: not where others would pay for one."""
        return self.now is not None or self._execute_batches is not None

    async def ask(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Return the results of operations; where the store fails each of them is refused.

        A checkpoint only where the namespace has to be waited for.
        """
        if self._execute_batches is not None:
            (results,) = await self.ask_batches([operations])
            return results
        self._count((operations,))
        try:
            if self.now is not None:
                return self.now(operations)
            return await self._namespace.execute(operations)
        except KvError as problem:
            return _refusals(problem, operations)

    def ask_now(self, batches: Sequence[Sequence[Operation]]) -> Sequence[Sequence[Result]]:
        """Return the results of several batches at once, where :attr:`now` does."""
        now = self.now
        assert now is not None  # noqa: S101 - what the caller has looked at
        self._count(batches)
        results: list[Sequence[Result]] = []
        for operations in batches:
            try:
                results.append(now(operations))
            except KvError as problem:
                results.append(_refusals(problem, operations))
        return results

    async def ask_batches(
        self, batches: Sequence[Sequence[Operation]]
    ) -> Sequence[Sequence[Result]]:
        """Return the results of several batches, where :attr:`now` does not do it."""
        execute = self._execute_batches
        assert execute is not None  # noqa: S101 - what the caller has looked at
        self._count(batches)
        split = [_pieces(operations) for operations in batches]
        try:
            answered = iter(await execute([piece for pieces in split for piece in pieces]))
        except KvError as problem:
            return [_refusals(problem, operations) for operations in batches]
        return [
            [result for results in islice(answered, len(pieces)) for result in results]
            for pieces in split
        ]

    def _count(self, batches: Sequence[Sequence[Operation]]) -> None:
        self._counters.batches += len(batches)
        self._counters.operations += sum(map(len, batches))


def _pieces(operations: Sequence[Operation]) -> list[Sequence[Operation]]:
    """Cut what reads much: an engine refuses what is behind a long answer in the same batch."""
    if (
        len(operations) <= READS_AT_ONCE
        or sum(type(each) is not Put for each in operations) <= READS_AT_ONCE
    ):
        return [operations]
    return [operations[at : at + READS_AT_ONCE] for at in range(0, len(operations), READS_AT_ONCE)]


def _refusals(problem: KvError, operations: Sequence[Operation]) -> list[Result]:
    return [Refused(str(problem), "limit")] * len(operations)


def _found(encoding: Encoding, result: Result) -> bytes:
    """Answer a GET."""
    if type(result) is Found:
        entry = result.entry
        if entry is None:
            return encoding.null
        value = entry.value
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return _refused(result)


def _changed(result: Result) -> bytes:
    """Answer a SET."""
    return OK if type(result) is Changed else _refused(result)


def _refused(result: Result) -> bytes:
    """Answer with the error of what was not carried out."""
    if isinstance(result, Refused):
        return error(words(result))
    raise AssertionError(f"{result} answers no such operation")


def _all_found(encoding: Encoding, results: Sequence[Result]) -> bytes:
    """Answer GETs."""
    null = encoding.null
    return b"".join(
        [
            (
                null
                if (entry := result.entry) is None
                else b"$%d\r\n%b\r\n" % (len(entry.value), entry.value)
            )
            if type(result) is Found
            else _refused(result)
            for result in results
        ]
    )


def _all_changed(results: Sequence[Result]) -> bytes:
    """Answer SETs."""
    return b"".join([OK if type(result) is Changed else _refused(result) for result in results])


def answers_alike(
    encoding: Encoding, operations: Sequence[Operation], results: Sequence[Result]
) -> bytes:
    """Answer nothing but GETs, or nothing but SETs."""
    is_get = type(operations[0]) is Get
    if len(results) == 1:
        return _found(encoding, results[0]) if is_get else _changed(results[0])
    return _all_found(encoding, results) if is_get else _all_changed(results)


def next_found(encoding: Encoding, results: Iterator[Result]) -> bytes:
    """Answer a GET with the next result."""
    return _found(encoding, next(results))


def next_changed(results: Iterator[Result]) -> bytes:
    """Answer a SET with the next result."""
    return _changed(next(results))


class Batch:
    """What one client asks at once."""

    def __init__(self, asking: Asking, outbox: Outbox) -> None:
        self.operations: list[Operation] = []
        self.answers: list[Answer] = []
        self._asking = asking
        self._outbox = outbox

    def call(self, call: Call) -> None:
        """Add a call."""
        if not call.operations:
            self.answers.append(call.reply(()))
            return
        self.operations += call.operations
        self.answers.append(partial(_reply, call))

    async def flush(self) -> None:
        """Carry out what there is and send the answers, in their order."""
        answers = self.answers
        if not answers:
            return
        operations = self.operations
        results = await self._asking.ask(operations) if operations else ()
        self.operations, self.answers = [], []
        following = iter(results)
        if len(answers) == 1:
            (answer,) = answers
            await self._outbox.send(answer if isinstance(answer, bytes) else answer(following))
            return
        pieces: list[bytes] = []
        size = 0
        try:
            for answer in answers:
                piece = answer if isinstance(answer, bytes) else answer(following)
                pieces.append(piece)
                size += len(piece)
                if size > SEND_BYTES:
                    self._outbox.account.hold_results(sum(map(_size, results)))
                    await self._outbox.send(b"".join(pieces))
                    pieces, size = [], 0
            if pieces:
                await self._outbox.send(b"".join(pieces))
        finally:
            self._outbox.account.hold_results(0)


def _size(result: Result) -> int:
    """Return the bytes of the entries that a result has."""
    match result:
        case Found(Entry(key, value)):
            return len(key) + len(value)
        case Page(entries):
            return sum(len(entry.key) + len(entry.value) for entry in entries)
        case Committed(_, _, results):
            return sum(map(_size, results))
    return 0


def _reply(call: Call, results: Iterator[Result]) -> bytes:
    return call.reply(list(islice(results, len(call.operations))))
