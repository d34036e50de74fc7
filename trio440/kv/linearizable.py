"""The engine on Raft: every operation happens once, at one moment between its call and its answer.

::

    async with kv.open_linearizable([("10.0.0.1", 7000), ("10.0.0.2", 7000)]) as namespace:
        await namespace.put(b"k", b"v")

The cluster's peers are :func:`~trio440.kv.linearizable_peer.open_linearizable_peer`'s. What
changes something is an entry of their log, and repeated until it is answered, but carried out
once. What only asks is answered by a peer that has made sure that it has all that was acknowledged
before, with no entry (ReadIndex of the dissertation, 6.4). Calls that come together share entries
and questions.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import chain, islice
from typing import Final, Self, TypeAlias, final

import trio

from trio440 import raft
from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import (
    BadMessage,
    HandshakeRefused,
    InvalidParameter,
    NoAnswer,
    NotQueryable,
    PeerStopped,
    ReadRefused,
    SessionExpired,
    StoreUnavailable,
)
from trio440.kv.lanes import Lane
from trio440.kv.namespace import AtomicNamespace
from trio440.kv.operation_types import check_types
from trio440.kv.operations import Change, Count, Get, List, Operation, Refused, Result
from trio440.kv.packing import decode_answer, encode_batch, pack
from trio440.kv.positions import decode_position, encode_position
from trio440.kv.table_machine import TableMachine, encode_question
from trio440.raft.watched import WatchedChanges

__all__ = ["LinearizableNamespace", "LinearizableWatch", "open_linearizable"]

TIMEOUT_SECONDS: Final = 10.0
WRITES: Final = 4
"""Messages that change something, at a time: fewer make larger entries, more keep a slow one from
holding up all others."""
READS: Final = 4
MOST_BYTES: Final = (1 << 20) - (4 << 10)
"""Of one operation: an entry of the log has a limit, and so much less is left in it."""

UNANSWERED: Final = (
    *(NoAnswer, HandshakeRefused, BadMessage, SessionExpired),
    *(NotQueryable, ReadRefused, PeerStopped),
)

Ask: TypeAlias = Callable[[bytes], Awaitable[bytes]]


@final
class LinearizableNamespace(AtomicNamespace):
    """Keys and values of a Raft cluster; :func:`open_linearizable` opens one.

    A call raises ``StoreUnavailable`` when nobody has answered in time. Then what it asked may
    have been carried out, or still be, once; but see that error's ``may_have_happened``.
    """

    engine = "linearizable"

    def __init__(
        self, client: raft.Client, read: Ask, ports: Host, *, timeout_seconds: float
    ) -> None:
        self._client = client
        self._read = read
        self._wall = ports.wall
        self._timeout_seconds = timeout_seconds
        self._writes: Final = Lane(
            self._send_writes, ports.clock, timeout_seconds=timeout_seconds, changes=True
        )
        self._reads: Final = Lane(
            self._send_reads, ports.clock, timeout_seconds=timeout_seconds, changes=False
        )

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Carry out operations in their order; see :meth:`Namespace.execute`.

        Where none of them changes anything they cost no entry of the log.
        """
        check_types(operations)
        packed = [_pack(operation) for operation in operations]
        fit = [data for data in packed if not isinstance(data, Refused)]
        if not fit:
            await trio.lowlevel.checkpoint()
            return [data for data in packed if isinstance(data, Refused)]
        only_asks = all(isinstance(operation, Get | List | Count) for operation in operations)
        results = await (self._reads if only_asks else self._writes).carry(fit)
        if len(fit) == len(packed):
            return results
        carried = iter(results)
        return [data if isinstance(data, Refused) else next(carried) for data in packed]

    async def execute_batches(
        self, batches: Sequence[Sequence[Operation]]
    ) -> Sequence[Sequence[Result]]:
        """Carry out several batches as :meth:`execute` does each, in their order.

        Raises:
            StoreUnavailable: as for one batch, of any of them.
        """
        results = iter(await self.execute([*chain.from_iterable(batches)]))
        return [list(islice(results, len(operations))) for operations in batches]

    def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AbstractAsyncContextManager["LinearizableWatch"]:
        """Hear of changes; see :meth:`Namespace.watch`.

        Each is committed when it is told. Peers that fail are replaced by others meanwhile,
        without a gap or a repetition.

        Raises:
            StoreUnavailable: from entering the context, or from the iterator where none of the
                addresses belongs to the cluster any more.
            InvalidParameter: ``after`` is no position of an atomic engine.
        """
        return self._watch(prefix, after)

    @asynccontextmanager
    async def _watch(
        self, prefix: bytes, after: bytes | None
    ) -> AsyncIterator["LinearizableWatch"]:
        revision = None if after is None else decode_position(after)
        watch = self._client.watch(prefix, after=revision, timeout_seconds=self._timeout_seconds)
        async with AsyncExitStack() as stack:
            try:
                changes = await stack.enter_async_context(watch)
            except UNANSWERED as error:
                raise StoreUnavailable(str(error), may_have_happened=False) from error
            yield LinearizableWatch(changes)

    # Messages

    async def run(self) -> None:
        """Carry what is asked, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._writes.give_up)
            nursery.start_soon(self._reads.give_up)
            for _ in range(WRITES):
                nursery.start_soon(self._writes.run)
            for _ in range(READS):
                nursery.start_soon(self._reads.run)

    async def _send_writes(self, operations: list[bytes]) -> list[Result]:
        command = encode_batch(self._now_ms(), operations)
        try:
            data = await self._client.propose(command, timeout_seconds=self._timeout_seconds)
            return _results(data)
        except UNANSWERED as error:
            raise StoreUnavailable(str(error)) from error

    async def _send_reads(self, operations: list[bytes]) -> list[Result]:
        question = encode_question(encode_batch(self._now_ms(), operations))
        try:
            return _results(await self._read(question))
        except UNANSWERED as error:
            raise StoreUnavailable(str(error), may_have_happened=False) from error

    def _now_ms(self) -> int:
        return self._wall.now_ns() // 1_000_000


@final
class LinearizableWatch(AsyncIterator[Change]):
    """Changes of the keys with a prefix; :meth:`LinearizableNamespace.watch` opens one."""

    def __init__(self, changes: WatchedChanges) -> None:
        self._changes = changes

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Change:
        """Wait for the next change, as long as it takes. Cancelled: none was taken.

        Raises:
            HistoryCompacted: the cluster has forgotten changes that were not handed out.
            StoreUnavailable: none of the addresses belongs to this cluster any more.
        """
        try:
            change = await anext(self._changes)
        except (HandshakeRefused, BadMessage) as error:
            raise StoreUnavailable(str(error), may_have_happened=False) from error
        revision = change.revision
        return Change(change.key, change.value, revision, encode_position(revision))


def _pack(operation: Operation) -> bytes | Refused:
    try:
        data = pack(operation)
    except InvalidParameter:
        return Refused(f"{operation!r} is no operation", "unsupported")
    if len(data) > MOST_BYTES:
        return Refused(f"an operation of {len(data)} bytes is too long, the limit is {MOST_BYTES}")
    return data


def _results(data: bytes) -> list[Result]:
    results = decode_answer(data)
    if not results:
        raise BadMessage("a peer has answered operations with nothing")
    return results


@asynccontextmanager
async def open_linearizable(
    addresses: Sequence[tuple[str, int]] = (),
    *,
    peer: "raft.Peer[TableMachine] | None" = None,
    cluster: str = "raft",
    timeout_seconds: float = TIMEOUT_SECONDS,
    ports: Host = REAL_HOST,
) -> AsyncIterator[LinearizableNamespace]:
    """Use the namespace of a cluster for as long as the body runs.

    Does not wait for a connection: calls do. Leaving drops what is under way.

    Args:
        addresses: where peers listen; one that is up is enough to find the others.
        peer: one in this process, which answers what only asks without a message to others but
            those of Raft; its places are added to the addresses.
        cluster: its name.
        timeout_seconds: how long a call waits for its answer.
        ports: the machine to run on.

    Raises:
        InvalidParameter: there is no address.
    """
    known = [*addresses, *((p.host, p.port) for p in (peer.places if peer else ()))]
    async with (
        raft.open_client(known, cluster=cluster, ports=ports) as client,
        open_service_nursery() as nursery,
    ):
        space = LinearizableNamespace(
            client,
            _reader(client, peer, timeout_seconds, ports),
            ports,
            timeout_seconds=timeout_seconds,
        )
        nursery.start_soon(space.run)
        yield space


def _reader(
    client: raft.Client,
    peer: "raft.Peer[TableMachine] | None",
    timeout_seconds: float,
    ports: Host,
) -> Ask:
    if peer is None:
        return lambda question: client.read(question, timeout_seconds=timeout_seconds)

    async def read(question: bytes) -> bytes:
        with ports.clock.move_on_after(timeout_seconds):
            return await peer.read(question)
        raise NoAnswer("the question", timeout_seconds)

    return read
