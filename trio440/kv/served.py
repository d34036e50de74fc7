"""An atomic namespace of another process: served over rpc, and used as if it were here.

What is served is mostly the memory engine, whose keys are then those of one process for many
clients. Operations and results travel as :mod:`trio440.kv.packing` writes them.
"""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar, Final, TypeVar, final

import attrs
import trio

from trio440 import rpc
from trio440.core.host import Host, parse_address
from trio440.core.real import REAL_HOST
from trio440.errors import (
    AnswerLost,
    BadMessage,
    CallTimedOut,
    HandshakeRefused,
    HistoryCompacted,
    InvalidParameter,
    MessageTooLarge,
    RemoteError,
    RpcClosed,
    StoreUnavailable,
)
from trio440.kv.discovery import IDENTITY
from trio440.kv.memory import MemoryNamespace
from trio440.kv.namespace import AtomicNamespace, Engine
from trio440.kv.operation_types import check_types
from trio440.kv.operations import Change, Count, Get, List, Operation, Refused, Result
from trio440.kv.packing import decode_answer, decode_batch, encode_answer, encode_batch, pack
from trio440.kv.positions import decode_position, encode_position
from trio440.kv.unanswered import explain
from trio440.rpc.service import BoundMethod, Service, method

__all__ = [
    "Answers",
    "Atomic",
    "Batch",
    "FollowTable",
    "ServedNamespace",
    "TableFollowed",
    "open_served",
    "serve_routes",
]

A = TypeVar("A")
R = TypeVar("R")

TIMEOUT_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 2.0
FOLLOW_MS: Final = 20_000
LONGEST_WAIT_MS: Final = 60_000
READS: Final = (Get, List, Count)


@attrs.frozen
class Batch:
    """Operations, packed."""

    data: bytes


@attrs.frozen
class Answers:
    """Their results, packed."""

    data: bytes


@attrs.frozen
class FollowTable:
    """Ask for changes behind a revision, and wait for them where there are none."""

    prefix: bytes
    after: int
    """-1: ask for the revision of now."""
    wait_ms: int


@attrs.frozen
class TableFollowed:
    """Changes, in their order."""

    revision: int
    """Up to which these are all changes with the prefix."""
    compacted: int
    """Changes up to this revision are forgotten; -1: they are not asked for."""
    changes: tuple[tuple[bytes, bytes | None, int], ...] = ()
    """Key, value or None, revision."""


class Atomic(Service, name="kv.atomic"):
    """What clients ask of a namespace that is served."""

    execute = method(Batch, Answers)
    follow = method(FollowTable, TableFollowed)


# The server's side


def serve_routes(namespace: MemoryNamespace, routes: rpc.Routes, ports: Host) -> None:
    """Let clients ask a namespace."""

    @routes.answers(Atomic.execute)
    async def execute(batch: Batch, _: rpc.Peer) -> Answers:
        operations = decode_batch(batch.data)[1]
        results: list[Result] = []
        for operation in operations:
            if isinstance(operation, Refused):
                results.append(operation)
            else:
                results += namespace.execute_nowait([operation])
        await trio.lowlevel.checkpoint()
        return Answers(encode_answer(map(pack, results)))

    @routes.answers(Atomic.follow)
    async def follow(asked: FollowTable, _: rpc.Peer) -> TableFollowed:
        if asked.after < 0:
            return TableFollowed(namespace.revision, -1)
        found: list[Change] = []
        revision = asked.after
        seconds = min(max(0, asked.wait_ms), LONGEST_WAIT_MS) / 1000
        try:
            with ports.clock.move_on_after(seconds):
                revision, found = await namespace.wait_changes(asked.after, asked.prefix)
        except HistoryCompacted as error:
            return TableFollowed(asked.after, error.compacted)
        rows = tuple((change.key, change.value, change.version) for change in found)
        return TableFollowed(revision, -1, rows)


# The client's side


@final
class ServedNamespace(AtomicNamespace):
    """A namespace that another process serves; :func:`open_served` opens one."""

    engine: ClassVar[Engine] = "memory"

    def __init__(self, client: rpc.Client, address: str, seconds: float, ports: Host) -> None:
        self._client = client
        self._service = Atomic(client)
        self._address = address
        self._seconds = seconds
        self._clock = ports.clock

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Carry out operations in their order, at one moment; see :meth:`Namespace.execute`."""
        check_types(operations)
        packed = [_pack(operation) for operation in operations]
        fit = [data for data in packed if isinstance(data, bytes)]
        is_read = all(isinstance(operation, READS) for operation in operations)
        request = Batch(encode_batch(0, fit))
        try:
            answer = await self._call(
                self._service.execute, request, self._seconds, is_read=is_read
            )
            results = decode_answer(answer.data)
        except MessageTooLarge as error:
            return [Refused(f"the batch takes too many bytes: {error}")] * len(operations)
        except BadMessage as error:
            raise StoreUnavailable(f"{self._address}: {error}") from None
        if len(results) != len(fit):
            raise StoreUnavailable(f"{self._address}: its answer cannot be read")
        rest = iter(results)
        return [data if isinstance(data, Refused) else next(rest) for data in packed]

    def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Hear of changes; see :meth:`Namespace.watch`.

        Raises:
            InvalidParameter: ``after`` is no position of an atomic engine.
            StoreUnavailable: the server does not answer; the iterator raises it, too.
        """
        return self._watch(prefix, after)

    @asynccontextmanager
    async def _watch(
        self, prefix: bytes, after: bytes | None
    ) -> AsyncIterator[AsyncIterator[Change]]:
        if after is None:
            revision = (await self.follow(FollowTable(prefix, -1, 0))).revision
            yield _Changes(self, prefix, revision, ())
        else:
            revision = decode_position(after)
            first = await self.follow(FollowTable(prefix, revision, 0))
            yield _Changes(self, prefix, first.revision, first.changes)

    async def follow(self, request: FollowTable) -> TableFollowed:
        """Ask for changes.

        Raises:
            HistoryCompacted: they are forgotten.
            StoreUnavailable: the server does not answer.
        """
        seconds = self._seconds + request.wait_ms / 1000
        answer = await self._call(self._service.follow, request, seconds, is_read=True)
        if answer.compacted >= 0:
            raise HistoryCompacted(request.after, answer.compacted)
        return answer

    async def _call(
        self, call: BoundMethod[A, R], request: A, seconds: float, *, is_read: bool
    ) -> R:
        seconds_to_connect = min(CONNECT_SECONDS, self._seconds)
        try:
            with self._clock.move_on_after(seconds_to_connect) as scope:
                if not self._client.is_connected:
                    await self._client.wait_connected()
            if not scope.cancelled_caught:
                return await call(request, timeout_seconds=seconds)
            absent = explain(self._address, self._client.failure, seconds_to_connect)
            problem, happened = str(absent), False
        except (AnswerLost, CallTimedOut, RemoteError, BadMessage) as error:
            problem, happened = f"{self._address}: {error}", not is_read
        except RpcClosed as error:
            problem, happened = str(error), not is_read
        except HandshakeRefused as error:
            problem, happened = str(error), False
        raise StoreUnavailable(problem, may_have_happened=happened)


@final
class _Changes(AsyncIterator[Change]):
    """The changes behind a revision."""

    def __init__(
        self,
        namespace: ServedNamespace,
        prefix: bytes,
        revision: int,
        changes: Sequence[tuple[bytes, bytes | None, int]],
    ) -> None:
        self._namespace = namespace
        self._prefix = prefix
        self._revision = revision
        self._changes = deque(changes)

    async def __anext__(self) -> Change:
        if self._changes:
            await trio.lowlevel.checkpoint()
        while not self._changes:
            request = FollowTable(self._prefix, self._revision, FOLLOW_MS)
            answer = await self._namespace.follow(request)
            self._revision = answer.revision
            self._changes += answer.changes
        key, value, revision = self._changes.popleft()
        return Change(key, value, revision, encode_position(revision))


def _pack(operation: Operation) -> bytes | Refused:
    try:
        return pack(operation)
    except InvalidParameter:
        return Refused(f"{operation!r} is no operation", "unsupported")


@asynccontextmanager
async def open_served(
    address: str, *, timeout_seconds: float = TIMEOUT_SECONDS, ports: Host = REAL_HOST
) -> AsyncIterator[ServedNamespace]:
    """Use a namespace that another process serves, for as long as the body runs.

    Args:
        address: ``HOST:PORT`` of the server.
        timeout_seconds: for each call; one that finds no connection for 2 s ends then.
        ports: the machine to run on.

    Raises:
        InvalidParameter: the address is none.
    """
    host, port = parse_address(address)
    async with rpc.open_client(host, port, identity=IDENTITY, ports=ports) as client:
        yield ServedNamespace(client, address, timeout_seconds, ports)
